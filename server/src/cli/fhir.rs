use std::{
    collections::HashMap,
    io::{IsTerminal, Read, stderr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_stream::stream;
use clap::{Args, Subcommand};
use futures::Stream;
use indicatif::{ProgressBar, ProgressStyle};
use mavis_proto::v1::{self as pb, import_files_request::Part};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{Failure, client::ClientArgs, output::Format, watch};

/// Bytes of one message.
const CHUNK: usize = 256 << 10;
/// Endings of files that hold FHIR resources, each also with a compression's ending.
const ENDINGS: [&str; 3] = [".ndjson", ".json", ".jsonl"];
const COMPRESSIONS: [&str; 4] = [".gz", ".bz2", ".zst", ".zstd"];

#[derive(Debug, Subcommand)]
pub(super) enum FhirCommand {
    /// Send a folder of NDJSON files and Bundles (plain, gz, bz2 or zst) to the server, land them, and follow it
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The folder, with everything below it; or one file
    folder: PathBuf,
    /// Name of the source that the import becomes [default: the folder's name]
    #[arg(long)]
    source: Option<String>,
    /// Give the resources new ids instead of keeping their own
    #[arg(long)]
    not_authoritative: bool,
    /// Send files too that the server has already, and land those again that have not changed
    #[arg(long)]
    resend: bool,
}

/// A file to send: its name below the folder, where it is, and its size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Upload {
    name: String,
    path: PathBuf,
    size: u64,
}

impl FhirCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let Self::Import(import) = self;
        import.run(client, format).await
    }
}

impl Import {
    async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let uploads = uploads(&self.folder)?;
        let source = match self.source {
            Some(source) => source,
            None => name_of(&self.folder)?,
        };
        let options = pb::ImportOptions { source, not_authoritative: self.not_authoritative, again: self.resend };
        let mut ingest = client.ingest().await?;
        let there: HashMap<String, pb::ImportedFile> = if self.resend {
            HashMap::new()
        } else {
            let request = pb::ListImportedFilesRequest { options: Some(options.clone()) };
            let files = ingest.list_imported_files(request).await?.into_inner().files;
            files.into_iter().map(|file| (file.name.clone(), file)).collect()
        };
        let total = uploads.len();
        let (missing, landed) = unlike(uploads, &there)?;
        eprintln!(
            "{} of {total} files are to be sent; {landed} were landed before and have not changed",
            missing.len()
        );
        if !missing.is_empty() {
            let bar = progress(missing.iter().map(|upload| upload.size).sum());
            // The stream cannot fail towards tonic; what went wrong on this side is told here.
            let broken = Arc::new(Mutex::new(None));
            let sent = ingest.import_files(messages(options.clone(), missing, bar.clone(), broken.clone())).await;
            bar.finish_and_clear();
            if let Some(reason) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(Failure::failed(reason));
            }
            sent?;
        }
        let run_id = mavis_types::RunId::new().to_string();
        ingest.start_import(pb::StartImportRequest { run_id: run_id.clone(), options: Some(options) }).await?;
        watch::to_end(&mut ingest, &run_id, format).await
    }
}

/// The files that the server does not have as they are, and how many of the others it has finished with.
fn unlike(uploads: Vec<Upload>, there: &HashMap<String, pb::ImportedFile>) -> Result<(Vec<Upload>, usize), Failure> {
    let (mut missing, mut landed) = (Vec::new(), 0);
    for upload in uploads {
        match there.get(&upload.name).filter(|file| file.size == upload.size) {
            Some(file) if file.sha256 == sha256(&upload.path)? => landed += usize::from(file.landed),
            _ => missing.push(upload),
        }
    }
    Ok((missing, landed))
}

fn sha256(path: &Path) -> Result<String, Failure> {
    let hashed = || -> std::io::Result<String> {
        let (mut file, mut digest) = (std::fs::File::open(path)?, Sha256::new());
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(hex::encode(digest.finalize())),
                read => digest.update(&chunk[..read]),
            }
        }
    };
    hashed().map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

/// Every FHIR file of the folder, by name.
fn uploads(folder: &Path) -> Result<Vec<Upload>, Failure> {
    let failed =
        |path: &Path, error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let mut found = Vec::new();
    if std::fs::metadata(folder).map_err(|error| failed(folder, error))?.is_file() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let size = std::fs::metadata(folder).map_err(|error| failed(folder, error))?.len();
        return Ok(vec![Upload { name, path: folder.to_owned(), size }]);
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(&current).map_err(|error| failed(&current, error))? {
            let path = entry.map_err(|error| failed(&current, error))?.path();
            let metadata = std::fs::metadata(&path).map_err(|error| failed(&path, error))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if let Ok(below) = path.strip_prefix(folder)
                && holds_fhir(&below.to_string_lossy())
            {
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                found.push(Upload { name: parts.join("/"), size: metadata.len(), path });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() {
        return Err(Failure::failed(format!(
            "{} has no file that ends in .ndjson or .json (.gz, .bz2 or .zst behind it)",
            folder.display()
        )));
    }
    Ok(found)
}

fn holds_fhir(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let plain = COMPRESSIONS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    ENDINGS.iter().any(|ending| plain.ends_with(ending))
}

fn name_of(folder: &Path) -> Result<String, Failure> {
    let full = folder.canonicalize()?;
    let name = full.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    mavis_types::SourceName::new(&name)
        .map(|name| name.to_string())
        .map_err(|_| Failure::usage("the folder's name cannot name a source: give one with --source"))
}

fn progress(bytes: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("sending {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn messages(
    options: pb::ImportOptions,
    uploads: Vec<Upload>,
    bar: ProgressBar,
    broken: Arc<Mutex<Option<String>>>,
) -> impl Stream<Item = pb::ImportFilesRequest> + Send + 'static {
    let part = |part: Part| pb::ImportFilesRequest { part: Some(part) };
    stream! {
        yield part(Part::Options(options));
        for upload in uploads {
            let stop = |error: std::io::Error| {
                let reason = format!("cannot read {}: {error}", upload.path.display());
                broken.lock().unwrap_or_else(PoisonError::into_inner).replace(reason);
            };
            let file = match tokio::fs::File::open(&upload.path).await {
                Ok(file) => file,
                Err(error) => {
                    stop(error);
                    return;
                }
            };
            yield part(Part::File(pb::FileStart { name: upload.name.clone(), size: upload.size }));
            // A file that grows meanwhile is sent as it was listed.
            let mut file = file.take(upload.size);
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                match (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await {
                    Ok(0) => break,
                    Ok(read) => {
                        bar.inc(read as u64);
                        yield part(Part::Chunk(chunk));
                    }
                    Err(error) => {
                        // The server throws the file away, since it is shorter than announced.
                        stop(error);
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Patient.ndjson", true)]
    #[case("bundle.JSON.bz2", true)]
    #[case("a.json.zst", true)]
    #[case("readme.md", false)]
    #[case("archive.tar.gz", false)]
    fn only_files_of_resources_are_sent(#[case] name: &str, #[case] taken: bool) {
        assert_eq!(holds_fhir(name), taken);
    }

    #[test]
    fn files_below_the_folder_are_named_with_slashes_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/x.ndjson"), "12345").unwrap();
        std::fs::write(folder.path().join("a.json"), "{}").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no").unwrap();
        let names: Vec<_> = uploads(folder.path()).unwrap().into_iter().map(|u| (u.name, u.size)).collect();
        assert_eq!(names, [("a.json".to_owned(), 2), ("b/x.ndjson".to_owned(), 5)]);
    }

    #[test]
    fn only_files_that_differ_are_sent_even_where_their_size_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.json", "{1}"), ("b.json", "{2}"), ("c.json", "{3}"), ("d.json", "{4}")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let there = |name: &str, text: &str, landed| {
            let sha256 = hex::encode(Sha256::digest(text));
            (name.to_owned(), pb::ImportedFile { name: name.to_owned(), size: text.len() as u64, sha256, landed })
        };
        let there = HashMap::from([
            there("a.json", "{1}", true),
            there("b.json", "{9}", true),
            there("c.json", "{3}", false),
            there("x.json", "{4}", true),
        ]);
        let (missing, landed) = unlike(uploads(folder.path()).unwrap(), &there).unwrap();
        let names: Vec<_> = missing.iter().map(|upload| upload.name.as_str()).collect();
        assert_eq!((names, landed), (vec!["b.json", "d.json"], 1));
    }

    #[test]
    fn an_empty_folder_is_told_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(uploads(folder.path()).unwrap_err().message.contains("no file that ends in"));
    }
}

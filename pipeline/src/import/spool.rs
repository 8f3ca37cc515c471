//! Uploaded files on the local disk: stored by content, listed by name.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use mavis_types::{RunId, SourceName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::Error;

/// A file that is complete here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spooled {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// SHA-256 of the content, hexadecimal; the name of the file on disk.
    pub(crate) digest: String,
    /// When this content first came under this name, in microseconds of the Unix epoch: of two files that hold the same
    /// resource, the one that came later counts.
    #[serde(default)]
    pub(crate) taken_at: i64,
}

/// The folder of one source's uploads: `blobs/<digest>`, `names/<digest of the name>.json`, `sets/<run>.json`.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    root: PathBuf,
}

fn failed(doing: &str, error: &std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let hint = if full { "; the disk is full, make room and send the file again" } else { "" };
    Error::Busy { name: "the spool folder".to_owned(), reason: format!("{doing} failed: {error}{hint}") }
}

fn hex_digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Spool {
    pub(crate) fn of(folder: &Path, source: &SourceName) -> Self {
        Self { root: folder.join(source.as_str()) }
    }

    async fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.root.join(name);
        tokio::fs::create_dir_all(&folder).await.map_err(|error| failed("making a folder", &error))?;
        Ok(folder)
    }

    /// Where a file's content is.
    pub(crate) fn path(&self, file: &Spooled) -> PathBuf {
        self.root.join("blobs").join(&file.digest)
    }

    /// Takes a file in. It is listed only once it is complete and on the disk; the name is never a path.
    pub(crate) async fn take(
        &self,
        name: &str,
        mut content: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<u64, Error> {
        if name.is_empty() || name.len() > 1_024 {
            return Err(Error::Invalid { reason: "a file needs a name of at most 1,024 bytes".to_owned() });
        }
        let blobs = self.folder("blobs").await?;
        let part = blobs.join(format!("part-{}", uuid::Uuid::now_v7()));
        let written = async {
            let mut file = tokio::io::BufWriter::with_capacity(1 << 20, tokio::fs::File::create(&part).await?);
            let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
            while let Some(chunk) = content.next().await {
                let chunk = chunk?;
                digest.update(&chunk);
                bytes += chunk.len() as u64;
                file.write_all(&chunk).await?;
            }
            file.flush().await?;
            file.get_ref().sync_all().await?;
            Ok::<_, std::io::Error>((hex::encode(digest.finalize()), bytes))
        };
        let (digest, bytes) = match written.await {
            Ok(done) => done,
            Err(error) => {
                // The half file is of no use; that it may stay behind is harmless.
                let _removed = tokio::fs::remove_file(&part).await;
                return Err(failed("taking a file in", &error));
            }
        };
        let entry = self.folder("names").await?.join(format!("{}.json", hex_digest(name.as_bytes())));
        let known = tokio::fs::read(&entry).await.ok().and_then(|text| serde_json::from_slice::<Spooled>(&text).ok());
        let taken_at = match known {
            Some(known) if known.digest == digest => known.taken_at,
            _ => chrono::Utc::now().timestamp_micros(),
        };
        let file = Spooled { name: name.to_owned(), bytes, digest, taken_at };
        tokio::fs::rename(&part, self.path(&file)).await.map_err(|error| failed("storing a file", &error))?;
        write_whole(&entry, &file).await?;
        Ok(bytes)
    }

    /// The files that are complete, in the order in which they came.
    pub(crate) async fn files(&self) -> Result<Vec<Spooled>, Error> {
        let mut files = Vec::new();
        let listing = |error: std::io::Error| failed("listing files", &error);
        let mut entries = tokio::fs::read_dir(self.folder("names").await?).await.map_err(listing)?;
        while let Some(entry) = entries.next_entry().await.map_err(listing)? {
            if entry.path().extension().is_some_and(|extension| extension == "json") {
                let text = tokio::fs::read(entry.path()).await.map_err(listing)?;
                if let Ok(file) = serde_json::from_slice::<Spooled>(&text)
                    && tokio::fs::metadata(self.path(&file)).await.is_ok_and(|meta| meta.len() == file.bytes)
                {
                    files.push(file);
                }
            }
        }
        files.sort_by(|a, b| (a.taken_at, &a.name).cmp(&(b.taken_at, &b.name)));
        Ok(files)
    }

    /// Every content that is here, listed or not.
    pub(crate) async fn contents(&self) -> Result<Vec<PathBuf>, Error> {
        let listing = |error: std::io::Error| failed("listing files", &error);
        let mut paths = Vec::new();
        let mut entries = match tokio::fs::read_dir(self.root.join("blobs")).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(paths),
            entries => entries.map_err(listing)?,
        };
        while let Some(entry) = entries.next_entry().await.map_err(listing)? {
            paths.push(entry.path());
        }
        Ok(paths)
    }

    /// Deletes a content and the names that it is listed by.
    pub(crate) async fn drop_content(&self, path: &Path) -> Result<(), Error> {
        let deleting = |error: std::io::Error| failed("deleting a file", &error);
        for file in self.files().await?.iter().filter(|file| self.path(file) == path) {
            let entry = self.folder("names").await?.join(format!("{}.json", hex_digest(file.name.as_bytes())));
            tokio::fs::remove_file(entry).await.map_err(deleting)?;
        }
        tokio::fs::remove_file(path).await.map_err(deleting)
    }

    /// Notes which files a run lands: files that come later belong to a later run.
    pub(crate) async fn keep_set(&self, run: RunId, files: &[Spooled]) -> Result<(), Error> {
        let path = self.folder("sets").await?.join(format!("{run}.json"));
        write_whole(&path, &files).await
    }

    /// The files of a run.
    pub(crate) async fn set(&self, run: RunId) -> Result<Vec<Spooled>, Error> {
        let path = self.folder("sets").await?.join(format!("{run}.json"));
        let text = tokio::fs::read(&path).await.map_err(|error| failed("reading the list of a run's files", &error))?;
        serde_json::from_slice(&text).map_err(|_| Error::Invalid {
            reason: format!("the list of files of run {run} is damaged; start the import again"),
        })
    }
}

/// Writes a file whole or not at all.
async fn write_whole<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_vec(value).map_err(|error| Error::Invalid { reason: error.to_string() })?;
    let part = path.with_extension(format!("part-{}", uuid::Uuid::now_v7()));
    let written = async {
        let mut file = tokio::fs::File::create(&part).await?;
        file.write_all(&text).await?;
        file.sync_all().await?;
        tokio::fs::rename(&part, path).await
    };
    written.await.map_err(|error| failed("storing a list", &error))
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn content(parts: &[&'static str]) -> BoxStream<'static, std::io::Result<Bytes>> {
        stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect::<Vec<_>>()).boxed()
    }

    #[tokio::test]
    async fn files_are_listed_in_the_order_in_which_their_content_came() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::of(folder.path(), &SourceName::new("s").unwrap());
        let names = async || spool.files().await.unwrap().into_iter().map(|file| file.name).collect::<Vec<_>>();
        for (name, text) in [("z", "1"), ("a", "2"), ("z", "1")] {
            spool.take(name, content(&[text])).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        assert_eq!(names().await, ["z", "a"], "the same content again is no news");
        spool.take("z", content(&["3"])).await.unwrap();
        assert_eq!(names().await, ["a", "z"]);
    }

    #[tokio::test]
    async fn a_file_is_listed_once_and_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::of(folder.path(), &SourceName::new("s").unwrap());
        spool.take("../a.json", content(&["{", "}"])).await.unwrap();
        spool.take("../a.json", content(&["{}"])).await.unwrap();
        let cut = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]).boxed();
        assert!(spool.take("b.json", cut).await.is_err());
        let files = spool.files().await.unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].name.as_str(), files[0].bytes), ("../a.json", 2));
        assert!(spool.path(&files[0]).starts_with(folder.path()));
    }

    #[tokio::test]
    async fn a_runs_files_are_those_that_were_there_when_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::of(folder.path(), &SourceName::new("s").unwrap());
        spool.take("a", content(&["1"])).await.unwrap();
        let run = RunId::new();
        spool.keep_set(run, &spool.files().await.unwrap()).await.unwrap();
        spool.take("b", content(&["2"])).await.unwrap();
        assert_eq!(spool.set(run).await.unwrap().len(), 1);
    }
}

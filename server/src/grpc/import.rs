//! Uploads: one client stream of many files, each handed to the pipeline while it arrives.

use std::io;

use bytes::Bytes;
use futures::{StreamExt, future};
use mavis_pipeline::ImportOptions;
use mavis_proto::v1::{self as pb, import_files_request::Part};
use mavis_types::Principal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    convert::{required, source_name},
    status,
};
use crate::App;

/// Chunks of a file that may wait for the disk.
const WAITING: usize = 8;

pub(super) fn options(options: pb::ImportOptions) -> Result<ImportOptions, Status> {
    Ok(ImportOptions {
        source: source_name(&options.source)?,
        authoritative: !options.not_authoritative,
        again: options.again,
    })
}

/// Takes every file of the stream; answers with those that are complete. A file that ends before its size is thrown away,
/// and so is the one that was under way when the stream broke.
pub(super) async fn receive(
    app: &App,
    by: &Principal,
    mut stream: Streaming<pb::ImportFilesRequest>,
) -> Result<Vec<pb::ImportedFile>, Status> {
    let first = stream.message().await?.and_then(|message| message.part);
    let Some(Part::Options(options)) = first else {
        return Err(Status::invalid_argument("an import begins with its options"));
    };
    let options = self::options(options)?;
    super::visible::source_to_be(by, &options.source)?;
    super::hidden::no_hashes(app, by, &options.source, "import.files").await?;
    let mut files = Vec::new();
    let mut next = match stream.message().await? {
        Some(message) => required(message.part, "part")?,
        None => return Ok(files),
    };
    loop {
        let Part::File(file) = next else {
            return Err(Status::invalid_argument("after the options comes a file, then its chunks"));
        };
        check_name(&file.name)?;
        let (chunks, content) = mpsc::channel::<io::Result<Bytes>>(WAITING);
        let content = ReceiverStream::new(content).boxed();
        let (size, end) = future::join(
            app.pipeline.import_file(by, &options, &file.name, content),
            feed(&mut stream, chunks, file.size),
        )
        .await;
        // The stream's own failure is what the pipeline's would only repeat.
        let end = end?;
        let size = size.map_err(status)?;
        files.push(pb::ImportedFile { name: file.name, size, ..pb::ImportedFile::default() });
        match end {
            Some(part) => next = part,
            None => return Ok(files),
        }
    }
}

/// Passes chunks on until the file is over; answers with the message that ended it, if the stream did not.
async fn feed(
    stream: &mut Streaming<pb::ImportFilesRequest>,
    chunks: mpsc::Sender<io::Result<Bytes>>,
    size: u64,
) -> Result<Option<Part>, Status> {
    let mut arrived = 0;
    let mut taken = true;
    let end = loop {
        let part = match stream.message().await {
            Ok(Some(message)) => message.part,
            Ok(None) => break None,
            Err(error) => {
                cut(&chunks, "the upload broke off").await;
                return Err(error);
            }
        };
        match part {
            Some(Part::Chunk(chunk)) => {
                arrived += chunk.len() as u64;
                // A pipeline that has enough (it knows the file, or cannot write it) stops listening; its answer says why.
                taken = taken && chunks.send(Ok(chunk.into())).await.is_ok();
            }
            Some(part) => break Some(part),
            None => {
                cut(&chunks, "the upload holds a message without content").await;
                return Err(Status::invalid_argument("a message of the upload has no part"));
            }
        }
    };
    if arrived != size {
        let reason = format!("the file has {arrived} bytes and was announced with {size}");
        cut(&chunks, &reason).await;
        return Err(Status::data_loss(format!("{reason}: send it again")));
    }
    Ok(end)
}

async fn cut(chunks: &mpsc::Sender<io::Result<Bytes>>, reason: &str) {
    let error = io::Error::new(io::ErrorKind::UnexpectedEof, reason);
    // Where nobody listens any more, there is nothing to cut.
    drop(chunks.send(Err(error)).await);
}

/// Names become paths below the spool: nothing that could leave it is taken.
fn check_name(name: &str) -> Result<(), Status> {
    let good = !name.is_empty()
        && !name.contains(['\\', '\0'])
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if good {
        return Ok(());
    }
    Err(Status::invalid_argument("a file's name is a path below the imported folder, without `.` or `..`"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a/b.ndjson", true)]
    #[case("../etc/passwd", false)]
    #[case("/etc/passwd", false)]
    #[case("a//b", false)]
    #[case("a/./b", false)]
    #[case("a\\b", false)]
    #[case("", false)]
    fn names_stay_below_the_folder(#[case] name: &str, #[case] good: bool) {
        assert_eq!(check_name(name).is_ok(), good);
    }
}

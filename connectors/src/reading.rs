//! Readings that run on a thread of their own: the decoders are synchronous, the stream they feed is not.

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};
use mavis_types::Cursor;
use tokio::sync::mpsc;

use crate::{Error, ReadItem, ReadStream};

/// Why a reading ends early.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Nobody listens any more.
    Dropped,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error)
    }
}

/// Where a reading puts what it finds. Blocks while the reader is behind, so that batches never pile up.
#[derive(Debug)]
pub(crate) struct Output {
    sender: mpsc::Sender<Result<ReadItem, Error>>,
}

impl Output {
    pub(crate) fn batch(&self, batch: RecordBatch) -> Result<(), Halt> {
        if batch.num_rows() == 0 { Ok(()) } else { self.send(ReadItem::Batch(batch)) }
    }

    /// Keys of rows that are gone.
    #[allow(dead_code, reason = "for sources that tell of deletions")]
    pub(crate) fn gone(&self, keys: RecordBatch) -> Result<(), Halt> {
        if keys.num_rows() == 0 { Ok(()) } else { self.send(ReadItem::Gone(keys)) }
    }

    pub(crate) fn reject(&self, origin: String, reason: impl Into<String>, payload: String) -> Result<(), Halt> {
        self.send(ReadItem::Reject { origin, reason: reason.into(), payload })
    }

    pub(crate) fn cursor(&self, cursor: Cursor) -> Result<(), Halt> {
        self.send(ReadItem::Cursor(cursor))
    }

    pub(crate) fn end(&self, cursor: Option<Cursor>, whole: bool) -> Result<(), Halt> {
        self.send(ReadItem::End { cursor, whole })
    }

    /// Ends when nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }

    fn send(&self, item: ReadItem) -> Result<(), Halt> {
        self.sender.blocking_send(Ok(item)).map_err(|_| Halt::Dropped)
    }
}

/// Runs `work` on a blocking thread; what it puts out is the stream. Dropping the stream ends the work at its next item.
pub(crate) fn spawn(work: impl FnOnce(&Output) -> Result<(), Halt> + Send + 'static) -> ReadStream {
    let (sender, mut receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let output = Output { sender };
        if let Err(Halt::Failed(error)) = work(&output) {
            // A reader that is gone needs no error.
            drop(output.sender.blocking_send(Err(error)));
        }
    });
    stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
}

/// Runs synchronous work aside and waits for it.
pub(crate) async fn aside<T: Send + 'static>(
    place: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Malformed { place: place.to_owned(), reason: error.to_string() }),
    }
}

//! Batches of a client, looked through before they are read.
//!
//! arrow reads columns where a message's lengths say that they are, and panics where the body is shorter. So the lengths are
//! compared with the body first; what it trips over all the same is told as a message that cannot be read, too.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{RecordBatch as Columns, root_as_message},
};
use arrow_flight::{FlightData, decode::FlightRecordBatchStream, error::FlightError};
use futures::{Stream, StreamExt};
use tonic::Status;

/// Bytes of a column that is unpacked, at most: what Arrow's texts and lists can hold.
const UNPACKED: i64 = i32::MAX as i64;
/// Before each column that is packed stands its length; -1 where it is not packed after all.
const PREFIX: usize = 8;

/// What is wrong with a message, in words for its sender.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("message {number} cannot be read: {reason}")]
pub(super) struct Torn {
    /// From 1.
    number: usize,
    reason: &'static str,
}

/// The batches of a stream of messages. After an error there are no more.
pub(super) struct Received {
    batches: FlightRecordBatchStream,
    ended: bool,
}

impl Received {
    pub(super) fn new(messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static) -> Self {
        let looked = messages.zip(futures::stream::iter(1..)).map(|(message, number)| {
            let message = message?;
            match look(&message) {
                Ok(()) => Ok(message),
                Err(reason) => Err(FlightError::ExternalError(Box::new(Torn { number, reason }))),
            }
        });
        Self { batches: FlightRecordBatchStream::new_from_flight_data(looked), ended: false }
    }

    /// The columns, once they were told.
    pub(super) fn schema(&self) -> Option<&SchemaRef> {
        self.batches.schema()
    }
}

impl Stream for Received {
    type Item = Result<RecordBatch, FlightError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let batches = &mut self.batches;
        // Nothing of it is used again after a panic.
        let next = match catch_unwind(AssertUnwindSafe(|| batches.poll_next_unpin(cx))) {
            Ok(next) => ready!(next),
            Err(_) => Some(Err(FlightError::DecodeError("its lengths contradict each other".to_owned()))),
        };
        self.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

/// Whether the columns of a message are within its body.
fn look(message: &FlightData) -> Result<(), &'static str> {
    if message.data_header.is_empty() {
        return Ok(());
    }
    let header = root_as_message(&message.data_header).map_err(|_| "its header is no header of Arrow's")?;
    let body: &[u8] = &message.data_body;
    if let Some(batch) = header.header_as_record_batch() {
        return columns(&batch, body);
    }
    match header.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()) {
        Some(batch) => columns(&batch, body),
        None => Ok(()),
    }
}

fn columns(batch: &Columns<'_>, body: &[u8]) -> Result<(), &'static str> {
    let mut nodes = batch.nodes().into_iter().flatten();
    if batch.length() < 0 || nodes.any(|node| node.length() < 0 || node.null_count() < 0) {
        return Err("it has a number of rows below 0");
    }
    let is_packed = batch.compression().is_some();
    for buffer in batch.buffers().into_iter().flatten() {
        let (from, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let to = from.ok().zip(length.ok()).and_then(|(from, length)| Some((from, from.checked_add(length)?)));
        let column = to.and_then(|(from, to)| body.get(from..to));
        let column = column.ok_or("its body is shorter than its columns")?;
        if is_packed && !column.is_empty() {
            let length = column.first_chunk::<PREFIX>().map(|prefix| i64::from_le_bytes(*prefix));
            if !length.is_some_and(|length| (-1..=UNPACKED).contains(&length)) {
                return Err("a column that is packed has no length, or one above 2 GiB");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        ipc::{CompressionType, writer::IpcWriteOptions},
    };
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use futures::{TryStreamExt, stream};
    use rstest::rstest;

    use super::*;

    async fn messages(kind: Option<CompressionType>) -> (RecordBatch, Vec<FlightData>) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..1_000).map(|n| format!("text {n}"))));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(kind).unwrap();
        let encoder = FlightDataEncoderBuilder::new().with_options(options);
        let messages = encoder.build(stream::iter([Ok(batch.clone())])).try_collect().await.unwrap();
        (batch, messages)
    }

    async fn read(messages: Vec<FlightData>) -> Result<Vec<RecordBatch>, FlightError> {
        Received::new(stream::iter(messages).map(Ok)).try_collect().await
    }

    #[rstest]
    #[case(None)]
    #[case(Some(CompressionType::LZ4_FRAME))]
    #[case(Some(CompressionType::ZSTD))]
    #[tokio::test]
    async fn what_is_whole_is_read_and_what_is_cut_is_told_by_its_number(#[case] kind: Option<CompressionType>) {
        let (batch, whole) = messages(kind).await;
        assert_eq!(read(whole.clone()).await.unwrap(), [batch]);
        for length in [0, 1, 9, whole[1].data_body.len() / 2] {
            let mut cut = whole.clone();
            cut[1].data_body.truncate(length);
            let FlightError::ExternalError(torn) = read(cut).await.unwrap_err() else { panic!("another error") };
            assert_eq!(torn.to_string(), "message 2 cannot be read: its body is shorter than its columns");
        }
        let mut cut = whole.clone();
        let half = cut[1].data_header.len() / 2;
        cut[1].data_header.truncate(half);
        assert!(read(cut).await.unwrap_err().to_string().contains("message 2"));
    }

    #[tokio::test]
    async fn a_packed_column_does_not_claim_what_no_memory_has() {
        let (_, mut whole) = messages(Some(CompressionType::LZ4_FRAME)).await;
        let mut body = whole[1].data_body.to_vec();
        // The body begins with the length of its first column.
        body[..PREFIX].copy_from_slice(&(1_i64 << 60).to_le_bytes());
        whole[1].data_body = body.into();
        assert!(read(whole).await.unwrap_err().to_string().contains("2 GiB"));
    }
}

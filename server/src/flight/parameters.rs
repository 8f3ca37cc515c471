//! Values of parameters, between the client's batches and the handle that carries them.

use arrow::{
    array::RecordBatch,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use arrow_flight::{error::FlightError, sql::server::PeekableFlightDataStream};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use tonic::Status;

use super::received::Received;

/// A handle travels in every request of its statement.
const MAX_BYTES: usize = 1 << 20;
/// Each row runs the statement once.
const MAX_ROWS: usize = 10_000;
/// Rows of one call that writes.
const MAX_UPDATES: usize = 100_000;

/// The batches of a client as an IPC stream.
pub(super) async fn collect(values: PeekableFlightDataStream) -> Result<Bytes, Status> {
    let mut batches = Received::new(values);
    let mut writer: Option<StreamWriter<Vec<u8>>> = None;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.map_err(refused)? {
        rows += batch.num_rows();
        if rows > MAX_ROWS {
            return Err(Status::invalid_argument(format!(
                "more than {MAX_ROWS} rows of parameters: bind fewer at once"
            )));
        }
        let schema = batch.schema();
        let mut open = match writer.take() {
            Some(open) => open,
            None => StreamWriter::try_new(Vec::new(), &schema).map_err(|_| unreadable())?,
        };
        open.write(&batch).map_err(|_| unreadable())?;
        if open.get_ref().len() > MAX_BYTES {
            return Err(Status::invalid_argument("more than 1 MiB of parameters: bind fewer or smaller ones at once"));
        }
        writer = Some(open);
    }
    match (writer, batches.schema()) {
        (Some(open), _) => open.into_inner().map(Bytes::from).map_err(|_| unreadable()),
        (None, Some(schema)) => {
            let empty = StreamWriter::try_new(Vec::new(), schema).and_then(StreamWriter::into_inner);
            empty.map(Bytes::from).map_err(|_| unreadable())
        }
        (None, None) => Err(unreadable()),
    }
}

/// The values of each row that a client sends for statements that write.
pub(super) async fn rows(values: PeekableFlightDataStream) -> Result<Vec<Vec<ScalarValue>>, Status> {
    let mut batches = Received::new(values);
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(refused)? {
        if rows.len() + batch.num_rows() > MAX_UPDATES {
            return Err(Status::invalid_argument(format!(
                "more than {MAX_UPDATES} rows of parameters: bind fewer at once, or ingest them"
            )));
        }
        append(&mut rows, &batch)?;
    }
    Ok(rows)
}

fn append(rows: &mut Vec<Vec<ScalarValue>>, batch: &RecordBatch) -> Result<(), Status> {
    for row in 0..batch.num_rows() {
        let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, row).map(alone));
        rows.push(values.collect::<Result<_, _>>().map_err(|_| unreadable())?);
    }
    Ok(())
}

/// A union's one value: some clients send every value as one.
fn alone(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Union(Some((_, value)), ..) => alone(*value),
        ScalarValue::Union(None, ..) => ScalarValue::Null,
        other => other,
    }
}

/// The values of each row. Without a binding the statement runs once, without values.
pub(super) fn read(parameters: &Bytes) -> Result<Vec<Vec<ScalarValue>>, Status> {
    if parameters.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    let mut rows = Vec::new();
    for batch in StreamReader::try_new(parameters.as_ref(), None).map_err(|_| unreadable())? {
        append(&mut rows, &batch.map_err(|_| unreadable())?)?;
    }
    Ok(rows)
}

fn refused(error: FlightError) -> Status {
    match error {
        // The client went away.
        FlightError::Tonic(status) => *status,
        FlightError::ExternalError(torn) => Status::invalid_argument(format!("the parameters cannot be read: {torn}")),
        _ => unreadable(),
    }
}

fn unreadable() -> Status {
    Status::invalid_argument("the parameters cannot be read: send one record batch with a column per parameter")
}

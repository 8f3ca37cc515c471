//! What is said of rows that could not be written.

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use tonic::Status;

/// The status of an error of arrow-flight.
pub(super) fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(error) => unwritable(&error),
        other => {
            tracing::error!(error = &other as &dyn std::error::Error, "an answer could not be written");
            Status::internal("the answer could not be written; the server's log has the details")
        }
    }
}

/// What arrow says may quote a value; only that it failed is told.
pub(super) fn unwritable(error: &ArrowError) -> Status {
    let kind = match error {
        ArrowError::IpcError(_) => "ipc",
        ArrowError::SchemaError(_) => "schema",
        ArrowError::NotYetImplemented(_) => "not implemented",
        _ => "arrow",
    };
    tracing::error!(kind, "rows could not be written: {kind}");
    Status::internal("the answer could not be written as Arrow IPC: cast the columns that are not plain")
}

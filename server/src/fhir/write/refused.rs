//! Writes that were not done, as OperationOutcomes.

use axum::http::StatusCode;
use mavis_pipeline::{Reason, Refusal, WriteError};

use super::super::outcome::{Issue, Outcome};

/// `entry`: its number in a Bundle.
pub(super) fn refused(refusal: &Refusal, entry: Option<usize>) -> Outcome {
    let (status, code) = match refusal.reason {
        Reason::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        Reason::Unprocessable => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Reason::Precondition => (StatusCode::PRECONDITION_FAILED, "conflict"),
        Reason::Conflict => (StatusCode::CONFLICT, "conflict"),
        Reason::Unsupported => (StatusCode::BAD_REQUEST, "not-supported"),
        Reason::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        Reason::Missing => (StatusCode::NOT_FOUND, "not-found"),
    };
    let issues = refusal.issues.iter().map(|(path, message)| {
        let place = entry.map(|entry| format!("Bundle.entry[{entry}]"));
        let expression = match (place, path) {
            // The path begins with the resource's type.
            (Some(place), Some(path)) => {
                let rest = path.split_once('.').map_or(String::new(), |(_, rest)| format!(".{rest}"));
                Some(format!("{place}.resource{rest}"))
            }
            (place, path) => place.or_else(|| path.clone()),
        };
        Issue { code, message: message.clone(), expression }
    });
    Outcome::of_issues(status, issues.collect())
}

pub(super) fn failed(error: WriteError) -> Outcome {
    match error {
        WriteError::Refused { index, refusal } => refused(&refusal, Some(index)),
        WriteError::Busy { reason } => {
            Outcome::new(StatusCode::SERVICE_UNAVAILABLE, "transient", reason).retry_after(5)
        }
        WriteError::Recorded => {
            Outcome::new(StatusCode::SERVICE_UNAVAILABLE, "incomplete", WriteError::Recorded.to_string())
                .retry_after(30)
        }
        WriteError::Failed { reason } => {
            tracing::error!(reason, "a write failed");
            Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed; its log has the details")
        }
    }
}

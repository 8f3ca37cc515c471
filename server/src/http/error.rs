//! The one place that turns errors into HTTP statuses. Internal detail is logged here, once, and never answered.

use std::any::Any;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode, Uri,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Denied;

/// When to come back after the queue was full, and after a query ran into its time or memory.
const QUEUE_SECONDS: u32 = 2;
const LIMIT_SECONDS: u32 = 30;

/// What an HTTP caller is told: `{"error": {"code", "message"}}` with the status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub status: StatusCode,
    /// A word that programs can tell cases apart by; it stays when the message is reworded.
    pub code: &'static str,
    /// What is wrong, which, and what to do.
    pub message: String,
    /// Line and column of the SQL text, from 1, where the error is in one place of it.
    pub position: Option<(u64, u64)>,
    /// That line of the caller's own text.
    pub line_text: Option<String>,
    /// Seconds after which the same request may be answered.
    pub retry_after: Option<u32>,
}

/// The body of every error.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
struct ErrorDetail {
    /// A word that programs can tell cases apart by.
    #[schema(example = "invalid_sql")]
    code: &'static str,
    /// What is wrong, which, and what to do.
    message: String,
    /// Line of the SQL text, from 1, where the error is in one place of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// Column of the SQL text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    /// That line of the SQL text.
    #[serde(skip_serializing_if = "Option::is_none")]
    line_text: Option<String>,
    /// That line with a `^` below the column, to be shown in a fixed font; a long line is cut around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "FROM patien\n     ^")]
    pointer: Option<String>,
}

impl ApiError {
    #[must_use]
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), position: None, line_text: None, retry_after: None }
    }

    /// 400 for a request that no server would take.
    #[must_use]
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Adds the line of the caller's text that the position names.
    #[must_use]
    pub(crate) fn with_text(mut self, sql: &str) -> Self {
        let line = self.position.and_then(|(line, _)| usize::try_from(line).ok()?.checked_sub(1));
        self.line_text = line.and_then(|line| sql.lines().nth(line)).map(|line| line.trim_end().to_owned());
        self
    }

    /// An error of a statement, with the place in its text where it is known.
    #[must_use]
    pub(crate) fn of_statement(error: mavis_sql::Error, sql: &str) -> Self {
        let place = error.place(sql);
        let mut told = Self::from(error);
        told.position = told.position.or(place);
        told.with_text(sql)
    }

    /// The body that tells of this error.
    #[must_use]
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                code: self.code,
                message: self.message.clone(),
                line: self.position.map(|(line, _)| line),
                column: self.position.map(|(_, column)| column),
                line_text: self.line_text.clone(),
                pointer: self.line_text.as_deref().zip(self.position).map(|(line, (_, column))| pointed(line, column)),
            },
        }
    }

    /// 500: the detail goes to the log under a number that the answer carries.
    #[must_use]
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let number = Uuid::new_v4();
        error!(error, %number, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("the server failed; its log has the details under {number}"),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mavis\""));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let (status, code) = if denied.is_forbidden() {
            (StatusCode::FORBIDDEN, "forbidden")
        } else if denied.is_passing() {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        } else {
            (StatusCode::UNAUTHORIZED, "unauthenticated")
        };
        Self::new(status, code, denied.to_string())
    }
}

impl From<mavis_catalog::Error> for ApiError {
    fn from(error: mavis_catalog::Error) -> Self {
        use mavis_catalog::Error;
        match &error {
            Error::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string()),
            Error::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", error.to_string()),
            Error::Leased { .. } | Error::LeaseLost { .. } | Error::Promised { .. } => {
                Self::new(StatusCode::CONFLICT, "busy", error.to_string())
            }
            Error::Refused { .. } => Self::new(StatusCode::CONFLICT, "refused", error.to_string()),
            Error::Full => Self::new(StatusCode::SERVICE_UNAVAILABLE, "full", error.to_string()),
            Error::Open { .. } | Error::Corrupt { .. } | Error::Database(_) => Self::internal(&error),
        }
    }
}

impl From<mavis_lake::Error> for ApiError {
    fn from(error: mavis_lake::Error) -> Self {
        use mavis_lake::Error;
        match error {
            Error::NoSuchTable { .. } | Error::NoSuchVersion { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string())
            }
            Error::Conflict { .. } | Error::Busy { .. } => Self::new(StatusCode::CONFLICT, "busy", error.to_string()),
            Error::Evolution { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "evolution", error.to_string()),
            Error::InPlace { .. } => Self::new(StatusCode::CONFLICT, "in_place", error.to_string()),
            Error::Changed { .. } => Self::new(StatusCode::CONFLICT, "file_changed", error.to_string()),
            Error::Catalog(error) => error.into(),
            Error::CatalogBehind { .. }
            | Error::Store { .. }
            | Error::Unbalanced { .. }
            | Error::Delta(_)
            | Error::Query(_) => Self::internal(&error),
        }
    }
}

impl From<mavis_pipeline::Error> for ApiError {
    fn from(error: mavis_pipeline::Error) -> Self {
        use mavis_pipeline::Error;
        match error {
            Error::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string()),
            Error::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", error.to_string()),
            Error::Invalid { .. } => Self::invalid(error.to_string()),
            Error::WrongState { .. } => Self::new(StatusCode::CONFLICT, "wrong_state", error.to_string()),
            Error::Busy { .. } => Self::new(StatusCode::CONFLICT, "busy", error.to_string()),
            Error::Source(error) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "source", error.to_string()),
            Error::Lake(error) => error.into(),
            Error::Catalog(error) => error.into(),
        }
    }
}

impl From<mavis_sql::Error> for ApiError {
    fn from(error: mavis_sql::Error) -> Self {
        use mavis_sql::Error;
        match error {
            Error::Invalid { message, line, column } => {
                Self { position: line.zip(column), ..Self::new(StatusCode::BAD_REQUEST, "invalid_sql", message) }
            }
            Error::Value { .. } => Self::new(StatusCode::BAD_REQUEST, "invalid_value", error.to_string()),
            Error::NoSuchTable { .. } => Self::new(StatusCode::NOT_FOUND, "no_such_table", error.to_string()),
            Error::Refused { .. } => Self::new(StatusCode::FORBIDDEN, "refused", error.to_string()),
            // A full queue empties by itself; a query that is too large is so again.
            Error::Limit { limit: "queue limit", .. } => Self {
                retry_after: Some(QUEUE_SECONDS),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string())
            },
            // The same question has the same answer: more is asked for than the role may have.
            Error::Limit { limit: "row limit" | "result size limit", .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "limit", error.to_string())
            }
            // Asked for by the request itself: another one may ask for more.
            Error::Limit { limit: mavis_sql::OWN_TIME, .. } => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", error.to_string())
            }
            Error::Limit { .. } => Self {
                retry_after: Some(LIMIT_SECONDS),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "limit", error.to_string())
            },
            Error::Cancelled => Self::new(StatusCode::CONFLICT, "cancelled", error.to_string()),
            Error::SnapshotGone { .. } => Self::new(StatusCode::GONE, "snapshot_gone", error.to_string()),
            Error::Catalog(error) => error.into(),
            Error::Lake(error) => error.into(),
            Error::Execution { .. } => Self::internal(&error),
        }
    }
}

/// The line of a statement that an error is in, with a mark below the place; `None` where the place is not known.
pub(crate) fn pointer(error: &mavis_sql::Error, sql: &str) -> Option<String> {
    let (line, column) = error.place(sql)?;
    let text = sql.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    Some(pointed(text.trim_end(), column))
}

/// Letters of a line that are shown before and after the place of an error.
const AROUND: usize = 60;

/// A line with a mark below one of its columns (from 1).
fn pointed(line: &str, column: u64) -> String {
    let at = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let letters: Vec<char> = line.chars().map(|letter| if letter == '\t' { ' ' } else { letter }).collect();
    let at = at.min(letters.len());
    let (from, to) = (at.saturating_sub(AROUND), (at + AROUND).min(letters.len()));
    let shown: String = letters.get(from..to).unwrap_or_default().iter().collect();
    format!("{shown}\n{}^", " ".repeat(at - from))
}

pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

/// A panic is a defect of ours; what it says may hold a value and stays in the process.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    error!("a request panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed").into_response()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("  FRM patient", 3, "  FRM patient\n  ^")]
    #[case("\ta", 2, " a\n ^")]
    #[case("é b", 3, "é b\n  ^")]
    #[case("short", 99, "short\n     ^")]
    fn the_place_of_an_error_is_pointed_at(#[case] line: &str, #[case] column: u64, #[case] expected: &str) {
        assert_eq!(pointed(line, column), expected);
    }

    #[test]
    fn of_a_long_line_only_what_is_near_is_shown() {
        let line = "x".repeat(10_000);
        let text = pointed(&line, 5_000);
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [2 * AROUND, AROUND + 1]);
    }
}

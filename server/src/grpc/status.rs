//! The one place that turns errors into gRPC statuses. Internal detail is logged here, once, and never answered.

use mavis_connectors::Error as SourceError;
use tonic::{Code, Status};
use tracing::error;
use uuid::Uuid;

/// The status of an error of any crate below.
pub fn status(error: impl Into<Failure>) -> Status {
    let Failure { code, message } = error.into();
    Status::new(code, short(message))
}

/// Bytes of a message as it is sent, at most: clients take 8 KiB of headers, and break the connection off at more.
const LONGEST: usize = 4 << 10;
/// What a message ends with that was cut.
const CUT: &str = " [...]";

/// A message that fits into a header. All but letters and digits are counted as three bytes, as which most are sent.
pub(crate) fn short(mut message: String) -> String {
    let mut sent = 0;
    let end = message.char_indices().find(|(_, letter)| {
        sent += if letter.is_ascii_alphanumeric() { 1 } else { 3 * letter.len_utf8() };
        sent > LONGEST
    });
    if let Some((end, _)) = end {
        message.truncate(end);
        message.push_str(CUT);
    }
    message
}

/// An error with its code, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    fn new(code: Code, error: &dyn std::error::Error) -> Self {
        Self { code, message: error.to_string() }
    }

    /// The detail goes to the log under a number that the answer carries.
    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let number = Uuid::new_v4();
        error!(error, %number, "a request failed");
        Self { code: Code::Internal, message: format!("the server failed; its log has the details under {number}") }
    }
}

impl From<mavis_types::NameError> for Failure {
    fn from(error: mavis_types::NameError) -> Self {
        Self::new(Code::InvalidArgument, &error)
    }
}

impl From<mavis_catalog::Error> for Failure {
    fn from(error: mavis_catalog::Error) -> Self {
        use mavis_catalog::Error;
        match error {
            Error::NotFound { .. } => Self::new(Code::NotFound, &error),
            Error::Exists { .. } => Self::new(Code::AlreadyExists, &error),
            Error::Leased { .. } | Error::LeaseLost { .. } | Error::Promised { .. } => Self::new(Code::Aborted, &error),
            Error::Refused { .. } => Self::new(Code::FailedPrecondition, &error),
            Error::Full => Self::new(Code::ResourceExhausted, &error),
            Error::Open { .. } | Error::Corrupt { .. } | Error::Database(_) => Self::internal(&error),
        }
    }
}

impl From<mavis_lake::Error> for Failure {
    fn from(error: mavis_lake::Error) -> Self {
        use mavis_lake::Error;
        match error {
            Error::NoSuchTable { .. } | Error::NoSuchVersion { .. } => Self::new(Code::NotFound, &error),
            Error::Conflict { .. } | Error::Busy { .. } => Self::new(Code::Aborted, &error),
            Error::Evolution { .. } | Error::CatalogBehind { .. } | Error::InPlace { .. } | Error::Changed { .. } => {
                Self::new(Code::FailedPrecondition, &error)
            }
            Error::Catalog(error) => error.into(),
            Error::Store { .. } | Error::Unbalanced { .. } | Error::Delta(_) | Error::Query(_) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        // UNAVAILABLE would say that *this* server cannot be reached.
        let code = match error {
            SourceError::UnknownKind { .. } | SourceError::Params { .. } | SourceError::Unsupported { .. } => {
                Code::InvalidArgument
            }
            SourceError::NoSuchTable { .. } => Code::NotFound,
            SourceError::MissingSecret { .. }
            | SourceError::Unreachable { .. }
            | SourceError::Refused { .. }
            | SourceError::Malformed { .. }
            | SourceError::Interrupted { .. } => Code::FailedPrecondition,
        };
        Self::new(code, &error)
    }
}

impl From<mavis_pipeline::Error> for Failure {
    fn from(error: mavis_pipeline::Error) -> Self {
        use mavis_pipeline::Error;
        match error {
            Error::NotFound { .. } => Self::new(Code::NotFound, &error),
            Error::Exists { .. } => Self::new(Code::AlreadyExists, &error),
            Error::Invalid { .. } => Self::new(Code::InvalidArgument, &error),
            Error::WrongState { .. } => Self::new(Code::FailedPrecondition, &error),
            Error::Busy { .. } => Self::new(Code::Aborted, &error),
            Error::Source(error) => error.into(),
            Error::Lake(error) => error.into(),
            Error::Catalog(error) => error.into(),
        }
    }
}

impl From<mavis_sql::Error> for Failure {
    fn from(error: mavis_sql::Error) -> Self {
        use mavis_sql::Error;
        match error {
            Error::Invalid { ref message, line, column } => {
                let place = match (line, column) {
                    (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
                    _ => String::new(),
                };
                Self { code: Code::InvalidArgument, message: format!("{message}{place}") }
            }
            Error::Value { .. } => Self::new(Code::InvalidArgument, &error),
            Error::NoSuchTable { .. } => Self::new(Code::NotFound, &error),
            Error::Refused { .. } => Self::new(Code::PermissionDenied, &error),
            Error::Limit { .. } => Self::new(Code::ResourceExhausted, &error),
            Error::Cancelled => Self::new(Code::Cancelled, &error),
            Error::SnapshotGone { .. } => Self::new(Code::FailedPrecondition, &error),
            Error::Catalog(error) => error.into(),
            Error::Lake(error) => error.into(),
            Error::Execution { .. } => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_fits_into_a_header() {
        for text in ["x", "\u{e9}", "a b", "\u{1f9ec}"] {
            let invalid = mavis_sql::Error::Invalid { message: text.repeat(10_000), line: None, column: None };
            let status = status(invalid);
            let headers = status.into_http::<()>().into_parts().0.headers;
            assert!(headers["grpc-message"].len() < 5_000, "{text}");
        }
        let told = status(mavis_sql::Error::Invalid { message: "short".to_owned(), line: None, column: None });
        assert_eq!(told.message(), "short");
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        let secret = mavis_sql::Error::Execution { message: "cannot cast 'Jeanne Martin' to a date".to_owned() };
        let status = status(secret);
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("Jeanne"));
    }
}

//! Why a unit of a run did not go through, and whether trying again can help.

use std::error::Error as _;

use datafusion::error::DataFusionError;
use mavis_lake::{DISK_FULL, is_disk_full};

/// What ended a unit. The text is for the run's log: it names tables and stages, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Somebody asked for it, or the server is stopping.
    #[error("cancelled")]
    Cancelled,
    /// The same call may succeed later: a source that does not answer, a table in use.
    #[error("{0}")]
    Transient(String),
    /// A source that was being read does so no more: its way broke, and may take a while to come back.
    #[error("{0}")]
    Interrupted(String),
    /// Nobody but a person can help.
    #[error("{0}")]
    Permanent(String),
}

/// What to add where a disk is full.
fn room(error: &(dyn std::error::Error + 'static)) -> &'static str {
    if is_disk_full(error) { DISK_FULL } else { "" }
}

impl Failure {
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_) | Self::Interrupted(_))
    }

    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent(message.into())
    }

    /// The failure with where it happened put before it.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Cancelled => Self::Cancelled,
            Self::Transient(message) => Self::Transient(format!("{place}: {message}")),
            Self::Interrupted(message) => Self::Interrupted(format!("{place}: {message}")),
            Self::Permanent(message) => Self::Permanent(format!("{place}: {message}")),
        }
    }
}

impl From<mavis_connectors::Error> for Failure {
    fn from(error: mavis_connectors::Error) -> Self {
        match &error {
            mavis_connectors::Error::Interrupted { .. } => Self::Interrupted(error.to_string()),
            _ if error.is_transient() => Self::Transient(error.to_string()),
            _ => Self::Permanent(error.to_string()),
        }
    }
}

impl From<mavis_lake::Error> for Failure {
    fn from(error: mavis_lake::Error) -> Self {
        use mavis_lake::Error;
        match error {
            Error::Conflict { .. } | Error::Busy { .. } | Error::Store { .. } | Error::Changed { .. } => {
                Self::Transient(error.to_string())
            }
            Error::Catalog(error) => error.into(),
            Error::Query(error) => error.into(),
            Error::Delta(error) => {
                Self::Transient(format!("the table's log could not be read or written: {error}{}", room(&error)))
            }
            error => Self::Permanent(error.to_string()),
        }
    }
}

impl From<mavis_catalog::Error> for Failure {
    fn from(error: mavis_catalog::Error) -> Self {
        use mavis_catalog::Error;
        match &error {
            Error::Leased { .. } | Error::LeaseLost { .. } | Error::Promised { .. } => {
                Self::Transient(error.to_string())
            }
            Error::Full => Self::Transient(error.to_string()),
            Error::Database(cause) => Self::Transient(format!("{error}: {cause}")),
            _ => Self::Permanent(error.to_string()),
        }
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        if let Some(trouble) = mavis_lake::in_place::trouble(&error) {
            return Self::Transient(trouble.to_string());
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Transient(
                "the memory for queries is used up: give the server more, or run fewer at once".to_owned(),
            ),
            // These speak of names and types.
            DataFusionError::Plan(message) => Self::Permanent(message.clone()),
            DataFusionError::SchemaError(cause, _) => Self::Permanent(cause.to_string()),
            DataFusionError::SQL(cause, _) => Self::Permanent(cause.to_string()),
            DataFusionError::NotImplemented(what) => Self::Permanent(format!("not supported in an expression: {what}")),
            DataFusionError::ObjectStore(cause) => {
                Self::Transient(format!("the lake's store failed: {cause}{}", room(cause.as_ref())))
            }
            DataFusionError::IoError(cause) => {
                Self::Transient(format!("reading or writing failed: {cause}{}", room(cause)))
            }
            DataFusionError::External(cause) => match cause.downcast_ref::<mavis_lake::Error>() {
                Some(lake) => Self::Permanent(lake.to_string()),
                None => Self::Permanent("a provider of the query failed".to_owned()),
            },
            // What is left may quote a value (a failing cast does): say what kind it was, not the text.
            root => {
                tracing::debug!(has_source = root.source().is_some(), "an expression failed while running");
                Self::Permanent(
                    "an expression failed while running: a value does not fit the type that it is turned into; use \
                     try_cast, or clean the column"
                        .to_owned(),
                )
            }
        }
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Transient(format!("the spool folder failed: {error}{}", room(&error)))
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        if error.is_cancelled() {
            Self::Cancelled
        } else {
            Self::permanent("a task of the pipeline broke; see the server's log")
        }
    }
}

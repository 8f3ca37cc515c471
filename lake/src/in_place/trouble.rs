//! What is wrong with a foreign file, for whoever can do something about it: without its name, which may tell of rows.

use std::{error::Error as StdError, fmt};

use mavis_types::{TableName, file_label, system_cause};
use object_store::{Error as StoreError, path::Path};

use crate::Error;

const STORE: &str = "taken over in place";

/// How a foreign file is not what was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Changed,
    Gone,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => {
                "was changed by its owner since; run its source again (`mavis ingest`) to take it over as it is now"
            }
            Self::Gone => {
                "is gone, its owner deleted or moved it; run its source again (`mavis ingest`), which tells what to do"
            }
        })
    }
}

/// A foreign file that cannot be read.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("file `{label}` {change}")]
    Other { label: String, change: Change },
    #[error("file `{label}` cannot be read: {reason}")]
    Unread { label: String, reason: String },
}

/// A foreign file in errors and logs.
pub(super) fn label(path: &Path, bytes: u64, modified_millis: i64) -> String {
    file_label(path.as_ref(), bytes, modified_millis.div_euclid(1000))
}

/// An error of a foreign store, without the file's name.
pub(super) fn told(label: String, error: &StoreError) -> StoreError {
    let trouble = match error {
        StoreError::Precondition { .. } => Trouble::Other { label, change: Change::Changed },
        StoreError::NotFound { .. } => Trouble::Other { label, change: Change::Gone },
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            Trouble::Unread { label, reason: "its store refuses; check the source's keys and rights there".to_owned() }
        }
        error => {
            let reason =
                system_cause(error).unwrap_or_else(|| "its store failed; test the source's connection".to_owned());
            Trouble::Unread { label, reason }
        }
    };
    StoreError::Generic { store: STORE, source: Box::new(trouble) }
}

/// How a foreign file is not what was taken over, where that is why something failed.
pub(super) fn change(error: &(dyn StdError + 'static)) -> Option<Change> {
    causes(error).find_map(|error| match error.downcast_ref::<StoreError>() {
        Some(StoreError::Generic { store: STORE, source }) => match source.downcast_ref::<Trouble>() {
            Some(Trouble::Other { change, .. }) => Some(*change),
            _ => None,
        },
        _ => None,
    })
}

/// [`Error::Changed`], where that is why something failed.
#[must_use]
pub fn trouble(error: &(dyn StdError + 'static)) -> Option<Error> {
    causes(error).find_map(|error| match error.downcast_ref::<Error>() {
        Some(Error::Changed { table, change }) => Some(Error::Changed { table: table.clone(), change: *change }),
        _ => None,
    })
}

/// An error of reading a file of a table taken over in place.
pub(crate) fn reading(doing: &str, table: &TableName, error: &(dyn StdError + 'static)) -> Error {
    match change(error) {
        Some(change) => Error::Changed { table: table.clone(), change },
        None => Error::store(doing, error),
    }
}

/// An error, and what it came from.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let next = |error: &&'a (dyn StdError + 'static)| -> Option<&'a (dyn StdError + 'static)> { (*error).source() };
    std::iter::successors(Some(error), next)
}

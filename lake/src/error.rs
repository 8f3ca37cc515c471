use mavis_types::TableName;

use crate::in_place::Change;

/// Why the lake did not do what was asked. After any of them nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another writer committed in between; begin the unit again.
    #[error("version {version} of table `{table}` was committed by another writer")]
    Conflict { table: TableName, version: i64 },
    /// Delta knows a transaction that the catalog does not: the catalog was restored from an older backup.
    #[error(
        "the catalog is older than the lake: table `{table}` is at step {sequence} of `{app_id}`, which the catalog does \
         not know; restore a newer catalog, or ingest the table again in full"
    )]
    CatalogBehind { table: TableName, app_id: String, sequence: i64 },
    #[error("table `{table}` is in use: {reason}")]
    Busy { table: TableName, reason: String },
    /// A column changed in a way that would lose values.
    #[error("column `{column}` of table `{table}` cannot change from {from} to {to}: {instead}")]
    Evolution { table: TableName, column: String, from: String, to: String, instead: String },
    #[error("there is no table `{table}`")]
    NoSuchTable { table: String },
    #[error("table `{table}` has no version {wanted}; it has versions {oldest} to {newest}")]
    NoSuchVersion { table: TableName, wanted: String, oldest: i64, newest: i64 },
    /// Disk full, store unreachable: nothing was committed.
    #[error("the lake's store failed while {doing}: {reason}")]
    Store { doing: String, reason: String },
    #[error("counts of table `{table}` do not add up: {detail}; nothing was committed")]
    Unbalanced { table: TableName, detail: String },
    /// A table taken over in place and its tree do not fit.
    #[error("table `{table}`, taken over in place: {reason}")]
    InPlace { table: TableName, reason: String },
    /// A file that a table taken over in place names is not any more what was taken over. Taking the tree over again helps.
    #[error("a file of table `{table}`, which was taken over in place, {change}")]
    Changed { table: TableName, change: Change },
    #[error(transparent)]
    Catalog(#[from] mavis_catalog::Error),
    #[error(transparent)]
    Delta(#[from] deltalake_core::DeltaTableError),
    #[error(transparent)]
    Query(#[from] datafusion::error::DataFusionError),
}

/// What to do where a disk is full; put after what went wrong.
pub const DISK_FULL: &str = "; the disk of the data folder is full: nothing was changed, make room there and try again";

/// Whether an error, or one that it came from, is a disk's (or a quota's) without room.
#[must_use]
pub fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let full = |error: &std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    };
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(full) {
            return true;
        }
        next = error.source();
    }
    false
}

impl Error {
    pub(crate) fn store(doing: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            source = inner.source();
        }
        if is_disk_full(error) {
            reason.push_str(DISK_FULL);
        }
        Self::Store { doing: doing.to_owned(), reason }
    }

    /// An Arrow error of our own kernels; it names types, never values.
    pub(crate) fn arrow(error: arrow::error::ArrowError) -> Self {
        Self::Query(datafusion::error::DataFusionError::ArrowError(Box::new(error), None))
    }

    pub(crate) fn task(doing: &str, error: &tokio::task::JoinError) -> Self {
        Self::Store { doing: doing.to_owned(), reason: format!("the task ended early: {error}") }
    }
}

//! OPTIMIZE, VACUUM, checkpoints and log clean-up: apart from ingestion, under the same lease.

use std::time::Duration;

use mavis_types::{RunId, TableId};
use serde::{Deserialize, Serialize};

use crate::{Error, Lake};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Optimized {
    pub files_before: u64,
    pub files_after: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuumed {
    pub files_deleted: u64,
}

impl Lake {
    /// Puts small files together, sorted as the table says, and checkpoints the log.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`].
    pub async fn optimize(&self, table: TableId, run: RunId) -> Result<Optimized, Error> {
        let _ = (table, run);
        todo!()
    }

    /// Deletes files that no version younger than `retention` uses. Less than 24 hours is refused: pinned snapshots live
    /// that long.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`].
    pub async fn vacuum(&self, table: TableId, retention: Duration, run: RunId) -> Result<Vacuumed, Error> {
        let _ = (table, retention, run);
        todo!()
    }

    /// Writes a checkpoint where a hundred commits have gathered, and cleans up the log.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`].
    pub async fn checkpoint(&self, table: TableId, run: RunId) -> Result<(), Error> {
        let _ = (table, run);
        todo!()
    }
}

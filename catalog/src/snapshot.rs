use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use mavis_types::{RunId, SnapshotId, TableId};

use crate::{Catalog, Error};

/// The Delta versions that belong together: what a FHIR request or a query on `fhir` sees.
#[derive(Debug, Clone, PartialEq)]
pub struct LakeSnapshot {
    pub id: SnapshotId,
    pub published_at: DateTime<Utc>,
    /// Version per table of the FHIR zone, current and history. A table that is not named was not there yet.
    pub versions: BTreeMap<TableId, i64>,
}

impl Catalog {
    /// Publishes a new snapshot: the newest one's versions with `changed` put over them. Serialised by the database.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn publish_snapshot(
        &self,
        run: Option<RunId>,
        changed: &BTreeMap<TableId, i64>,
    ) -> Result<LakeSnapshot, Error> {
        let _ = (run, changed);
        todo!()
    }

    /// The newest snapshot; `None` before the first publication.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn latest_snapshot(&self) -> Result<Option<LakeSnapshot>, Error> {
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`] when it was never published or has been forgotten.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<LakeSnapshot, Error> {
        let _ = id;
        todo!()
    }

    /// Forgets snapshots older than `age`, never the newest.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_snapshots(&self, age: Duration) -> Result<u64, Error> {
        let _ = age;
        todo!()
    }
}

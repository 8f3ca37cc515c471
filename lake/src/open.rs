//! A table that is open: its newest version, and what was made of older ones.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use datafusion::{catalog::TableProvider, common::ColumnStatistics};
use deltalake_core::{DeltaTable, kernel::Version};
use mavis_catalog::Table;
use mavis_types::{TableId, TableName};
use moka::sync::Cache;
use object_store::{ObjectStoreExt, path::Path};
use tokio::sync::Mutex;

use crate::{Error, in_place::Foreign};

/// Versions of a table that stay open.
const OPEN_VERSIONS: u64 = 16;

/// An open table.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: TableId,
    pub(crate) name: TableName,
    pub(crate) location: String,
    delta: Mutex<DeltaTable>,
    pub(crate) providers: Cache<(i64, Scan), Scanned>,
    /// Of a table taken over in place: how its files are read.
    foreign: Option<Foreign>,
    /// The version whose foreign files are known.
    noted: AtomicI64,
}

/// A provider, and what the log tells of its columns.
#[derive(Debug, Clone)]
pub(crate) struct Scanned {
    pub(crate) provider: Arc<dyn TableProvider>,
    pub(crate) columns: Arc<[ColumnStatistics]>,
    pub(crate) rows: Option<u64>,
}

/// How a provider scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scan {
    /// Skips files and row groups, then reads whole.
    Whole,
    /// Filters while it decodes: for queries that want few rows.
    LookUp,
}

impl Open {
    /// A table whose log was loaded. `foreign`: of one taken over in place.
    pub(crate) fn new(table: Table, delta: DeltaTable, foreign: Option<Foreign>) -> Self {
        Self {
            id: table.id,
            name: table.name,
            location: table.location,
            delta: Mutex::new(delta),
            providers: Cache::new(OPEN_VERSIONS),
            foreign,
            noted: AtomicI64::new(-1),
        }
    }

    /// The newest version, as a value of its own; for who reads. Who writes on it, or deletes what it does not name, asks
    /// [`Open::newest_listed`].
    pub(crate) async fn newest(&self) -> Result<DeltaTable, Error> {
        let known = self.delta.lock().await.clone();
        if self.is_newest(&known).await? { Ok(known) } else { self.newest_listed().await }
    }

    /// The newest version that the log lists.
    pub(crate) async fn newest_listed(&self) -> Result<DeltaTable, Error> {
        let mut delta = self.delta.lock().await;
        delta.update_incremental(None).await.map_err(|error| opening(&self.name, error))?;
        self.note(&delta)?;
        Ok(delta.clone())
    }

    /// Whether a version that was read is the newest still: the next commit is not there and its own is. The past is forgotten
    /// from its beginning, so that where its own is gone others after it may be, and where it is there none after it is. (What
    /// cleans up by age leaves commits for far longer than a table stays open that nobody asks for.)
    async fn is_newest(&self, known: &DeltaTable) -> Result<bool, Error> {
        let version = version_of(known)?;
        if self.foreign.is_some() && self.noted.load(Ordering::Acquire) != version {
            return Ok(false);
        }
        let store = known.log_store().object_store(None);
        let next = store.head(&commit_path(version.saturating_add(1))).await;
        // What is wrong with the store is told by whoever lists the log then.
        Ok(matches!(next, Err(object_store::Error::NotFound { .. })) && store.head(&commit_path(version)).await.is_ok())
    }

    /// The newest version read from the log anew, trusting nothing in memory.
    pub(crate) async fn reload(&self) -> Result<DeltaTable, Error> {
        let mut delta = self.delta.lock().await;
        let mut fresh = DeltaTable::new(delta.log_store());
        fresh.load().await.map_err(|error| opening(&self.name, error))?;
        self.note(&fresh)?;
        *delta = fresh.clone();
        Ok(fresh)
    }

    /// How the files of a table taken over in place are read; `None` for a table whose files are ours.
    pub(crate) fn foreign(&self) -> Option<&Foreign> {
        self.foreign.as_ref()
    }

    /// # Errors
    /// Where the table was taken over in place: rows are not written into it.
    pub(crate) fn copied(&self) -> Result<(), Error> {
        if self.foreign.is_none() {
            return Ok(());
        }
        let reason = "rows cannot be copied into it; declare the tree that is to be copied as a source of another name";
        Err(Error::InPlace { table: self.name.clone(), reason: reason.to_owned() })
    }

    /// Lets the foreign files of the newest version be read.
    fn note(&self, newest: &DeltaTable) -> Result<(), Error> {
        let Some(foreign) = &self.foreign else { return Ok(()) };
        let version = version_of(newest)?;
        if self.noted.load(Ordering::Acquire) == version {
            return Ok(());
        }
        if foreign.note(newest, &self.name, true)? {
            // What older versions name may be another file by now.
            self.forget_versions();
        }
        self.noted.store(version, Ordering::Release);
        Ok(())
    }

    /// Drops what is kept of versions that are no more.
    pub(crate) fn forget_versions(&self) {
        self.providers.invalidate_all();
    }
}

pub(crate) fn opening(name: &TableName, error: deltalake_core::DeltaTableError) -> Error {
    match error {
        deltalake_core::DeltaTableError::NotATable(_) => Error::NoSuchTable { table: name.to_string() },
        error => Error::store(&format!("opening table `{name}`"), &error),
    }
}

/// Where a table has the log entry of a version (Delta protocol, "Delta Log Entries").
fn commit_path(version: i64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

pub(crate) fn version_of(table: &DeltaTable) -> Result<i64, Error> {
    Ok(i64::try_from(table.snapshot()?.version()).unwrap_or(i64::MAX))
}

pub(crate) fn to_delta(version: i64) -> Version {
    Version::try_from(version).unwrap_or_default()
}

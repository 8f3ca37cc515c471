//! A unit of writing: one table, one application transaction, committed once.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use deltalake_core::DeltaTable;
use mavis_catalog::{NewQuarantined, Table};
use mavis_types::{Counts, Cursor, RunId, SourceId, TableId};

use crate::{
    Error, Lake, commit,
    create::tell_catalog,
    lease::Hold,
    scan,
    table::{Open, version_of},
    write::{Missing, Writing},
};

/// The name of an application transaction in the Delta log; never contains a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppId(pub(crate) String);

impl AppId {
    /// Rows of a source's table into a table of the lake.
    #[must_use]
    pub fn ingest(source: SourceId, table: TableId) -> Self {
        Self(format!("in:{source}:{table}"))
    }

    /// One partition of a stream into a table; the transaction version is the next offset.
    #[must_use]
    pub fn partition(source: SourceId, table: TableId, partition: i32) -> Self {
        Self(format!("in:{source}:{table}:{partition}"))
    }

    /// Changes of one table into another under a rule.
    #[must_use]
    pub fn hop(input: TableId, rule: &str) -> Self {
        Self(format!("hop:{input}:{rule}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How rows meet those that are there. Rows are told apart by the table's key (in the catalog); without a key, and
/// where every column of the key is null, by `__hash`: equal rows are counted and numbered by `__occurrence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Every row is new.
    Append,
    /// The rows are the table as the source has it: only differences are written, and rows that are missing are deleted
    /// if [`End::whole`] says that nothing was left out. Of several rows of one key the last one counts.
    Snapshot,
    /// A row replaces the one of its key; the others stay. Of several rows of one key the last one counts.
    Upsert,
}

/// How a writing ends.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// Where the source was read to; `None` leaves the cursor where it was.
    pub cursor: Option<Cursor>,
    /// Every row that the source has was pushed.
    pub whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Delta version after the commit.
    pub version: i64,
    /// The application transaction's version; 0 where the application has committed nothing yet.
    pub sequence: i64,
    pub counts: Counts,
    /// Keys of which several rows were pushed that do not say the same; the last of each was kept.
    pub differing_keys: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rows of a source: the transaction counts steps, each with a cursor row.
    Ingest,
    /// Changes of another table: the transaction is that table's version.
    Hop,
}

/// Where the last committed unit of an application ended, asked without the table's lease. `None` where it committed nothing,
/// and where there is no such table yet.
pub(crate) async fn committed(lake: &Lake, table: TableId, app: &AppId) -> Result<Option<Cursor>, Error> {
    let open = match lake.opened(table).await {
        Ok(open) => open,
        Err(Error::NoSuchTable { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let base = open.newest_listed().await?;
    let Some(sequence) = base.snapshot()?.transaction_version(&base.log_store(), app.as_str()).await? else {
        return Ok(None);
    };
    match lake.catalog().cursor(app.as_str(), sequence).await? {
        Some(row) => commit::committed_cursor(lake, &base, row).await,
        None => Err(Error::CatalogBehind { table: open.name.clone(), app_id: app.0.clone(), sequence }),
    }
}

/// What a unit stands on.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) lake: Lake,
    pub(crate) open: Arc<Open>,
    pub(crate) table: Table,
    pub(crate) base: DeltaTable,
    pub(crate) base_version: i64,
    pub(crate) app: AppId,
    pub(crate) run: RunId,
    pub(crate) kind: Kind,
    pub(crate) hold: Hold,
    /// The application's last committed transaction.
    pub(crate) previous: Option<i64>,
    pub(crate) sequence: i64,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) began: DateTime<Utc>,
}

impl Work {
    pub(crate) async fn begin(lake: &Lake, table: TableId, app: AppId, run: RunId, kind: Kind) -> Result<Self, Error> {
        let open = lake.opened(table).await?;
        let hold = lake.hold(table, &open.name, run).await?;
        // From here on nobody else commits, as long as the lease is ours.
        let table = lake.catalog().table_by_id(table).await?;
        let base = open.newest_listed().await?;
        let base_version = version_of(&base)?;
        let log = base.log_store();
        let previous = base.snapshot()?.transaction_version(&log, app.as_str()).await?;
        let sequence = previous.map_or(1, |previous| previous + 1);
        let mut cursor = None;
        if let (Kind::Ingest, Some(previous)) = (kind, previous) {
            match lake.catalog().cursor(app.as_str(), previous).await? {
                Some(row) => cursor = commit::committed_cursor(lake, &base, row).await?,
                None => {
                    hold.release().await;
                    return Err(Error::CatalogBehind { table: table.name, app_id: app.0, sequence: previous });
                }
            }
        }
        if table.version != Some(base_version) {
            // An earlier process died between its commit and telling the catalog.
            tell_catalog(lake, &table, &base, true).await;
        }
        let began = Utc::now();
        let lake = lake.clone();
        Ok(Self { lake, open, table, base, base_version, app, run, kind, hold, previous, sequence, cursor, began })
    }

    /// Names the quarantined rows of this unit and of every earlier try of it, and of no committed one.
    pub(crate) fn quarantine_sequence(&self) -> i64 {
        match self.kind {
            Kind::Ingest => self.sequence,
            Kind::Hop => self.previous.map_or(0, |previous| previous + 1),
        }
    }

    /// Rows that the unit stands on; `None` where the log does not say.
    pub(crate) fn base_rows(&self) -> Result<Option<u64>, Error> {
        scan::row_count(&self.base)
    }
}

/// The right to write one table once. Dropping it commits nothing.
#[derive(Debug)]
pub struct Unit {
    pub(crate) work: Box<Work>,
}

impl Unit {
    /// Where the last committed unit of this application ended.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.work.cursor.as_ref()
    }

    /// The transaction version that this unit will commit.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.work.sequence
    }

    /// Delta version that this unit stands on.
    #[must_use]
    pub fn base_version(&self) -> i64 {
        self.work.base_version
    }

    /// Whether the table certainly has no row.
    ///
    /// # Errors
    /// [`Error::Delta`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.work.base_rows()? == Some(0))
    }

    /// Starts writing. `schema`: the table's own columns in this writing (new ones are added to the table with the
    /// commit). `__hash`, `__occurrence`, `__run`, `__ingested_at` and `__source` are filled in where the schema lacks
    /// them.
    ///
    /// # Errors
    /// [`Error::Evolution`] when the schema cannot be united with the table's.
    pub async fn write(self, mode: WriteMode, schema: SchemaRef) -> Result<Writer, Error> {
        let writing = Box::pin(Writing::start(*self.work, mode, &schema, Missing::IfWhole, None)).await?;
        Ok(Writer { writing: Box::new(writing) })
    }

    /// Gives the lease back without writing.
    pub async fn abandon(self) {
        self.work.hold.release().await;
    }
}

/// Takes rows and stages them. Memory is bounded: rows go to files as they come. Dropping it commits nothing and deletes
/// what was staged.
#[derive(Debug)]
pub struct Writer {
    pub(crate) writing: Box<Writing>,
}

impl Writer {
    /// Stages a batch. Columns may come in any order; missing ones are null. Where the table has no column
    /// [`crate::hop::DELETED`] of its own, rows in which it is true delete their key.
    ///
    /// # Errors
    /// [`Error::Evolution`] also for a column that the schema given to [`Unit::write`] does not have; [`Error::Store`].
    pub async fn push(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.writing.push(batch).await
    }

    /// Adds columns in the middle of the writing. Files under way end, so that files hold what their rows populate; call it
    /// seldom.
    ///
    /// # Errors
    /// [`Error::Evolution`] when the columns cannot be united with those that there are, or one would change its type.
    pub async fn widen(&mut self, schema: SchemaRef) -> Result<(), Error> {
        self.writing.widen(&schema).await
    }

    /// The rows of these keys are gone, in the table as in what was pushed so far; a row of such a key that is pushed later is
    /// there. `keys` has the columns of the table's key; others are not looked at. They count as deleted, not as read.
    ///
    /// # Errors
    /// [`Error::Evolution`] for a table without a key, keys that lack a column, and [`WriteMode::Append`].
    pub fn delete(&mut self, keys: &RecordBatch) -> Result<(), Error> {
        self.writing.delete(keys)
    }

    /// Every row that the table has, and every one pushed so far, is gone (TRUNCATE). Rows pushed later are compared with
    /// those of the table all the same: one that is there again as it was counts as unchanged.
    ///
    /// # Errors
    /// [`Error::Evolution`] for [`WriteMode::Append`].
    pub fn empty(&mut self) -> Result<(), Error> {
        self.writing.empty()
    }

    /// Sets rows aside; they count as read and quarantined. `app_id`, `sequence` and `ordinal` are filled in.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn quarantine(&mut self, row: NewQuarantined) -> Result<(), Error> {
        self.writing.quarantine(row).await
    }

    /// Rows that the caller read and found to be copies of others; they count as read and deduplicated.
    pub fn note_deduplicated(&mut self, rows: u64) {
        self.writing.note_deduplicated(rows);
    }

    /// Rows that the caller made out of one (a mapping's fan-out): of the rows pushed, this many were not read.
    pub fn note_fanned_out(&mut self, rows: u64) {
        self.writing.note_fanned_out(rows);
    }

    /// Merges, writes the cursor row, commits once, and gives the lease back. Where nothing changed but the cursor
    /// moved, commits the transaction alone; where nothing moved, commits nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] (begin again), [`Error::Unbalanced`], [`Error::Store`]. In each case nothing was committed,
    /// except that a store which fails and cannot be asked either leaves it open: then the next unit finds out.
    pub async fn finish(self, end: End) -> Result<Committed, Error> {
        Box::pin(self.writing.finish(end)).await
    }

    /// As [`Writer::finish`], of a hop that began [ahead](crate::hop::Ahead) of its input: `version` is the input's version
    /// that the rows make up.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub async fn finish_at(mut self, version: i64, end: End) -> Result<Committed, Error> {
        self.writing.reached(version);
        self.finish(end).await
    }

    /// Throws away what was staged and gives the lease back.
    pub async fn abandon(self) {
        Box::pin(self.writing.abandon()).await;
    }
}

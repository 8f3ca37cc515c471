//! A unit of writing: one table, one application transaction, committed once.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use mavis_catalog::NewQuarantined;
use mavis_types::{Counts, Cursor, SourceId, TableId};

use crate::Error;

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

/// How rows meet those that are there. Rows are told apart by the table's key (in the catalog); without a key by
/// `__hash` and `__occurrence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Every row is new.
    Append,
    /// The rows are the table as the source has it: only differences are written, and rows that are missing are deleted
    /// if [`End::whole`] says that nothing was left out.
    Snapshot,
    /// A row replaces the one of its key; the others stay. Of several rows of one key the last one counts.
    Upsert,
}

/// How a writing ends.
#[derive(Debug, Clone, Default)]
pub struct End {
    pub cursor: Option<Cursor>,
    /// Every row that the source has was pushed.
    pub whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Delta version after the commit.
    pub version: i64,
    /// The application transaction's version.
    pub sequence: i64,
    pub counts: Counts,
}

/// The right to write one table once. Dropping it commits nothing.
#[derive(Debug)]
pub struct Unit {}

impl Unit {
    /// Where the last committed unit of this application ended.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        todo!()
    }

    /// The transaction version that this unit will commit.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        todo!()
    }

    /// Delta version that this unit stands on.
    #[must_use]
    pub fn base_version(&self) -> i64 {
        todo!()
    }

    /// Starts writing. `schema`: the table's own columns in this writing (new ones are added to the table with the
    /// commit). `__hash`, `__occurrence`, `__run`, `__ingested_at` and `__source` are filled in where the schema lacks
    /// them.
    ///
    /// # Errors
    /// [`Error::Evolution`] when the schema cannot be united with the table's.
    pub async fn write(self, mode: WriteMode, schema: SchemaRef) -> Result<Writer, Error> {
        let _ = (mode, schema);
        todo!()
    }

    /// Gives the lease back without writing.
    pub async fn abandon(self) {}
}

/// Takes rows and stages them. Memory is bounded: rows go to files as they come.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Stages a batch. Columns may come in any order; missing ones are null.
    ///
    /// # Errors
    /// [`Error::Evolution`], [`Error::Store`].
    pub async fn push(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let _ = batch;
        todo!()
    }

    /// Sets rows aside; they count as read and quarantined. `app_id`, `sequence` and `ordinal` are filled in.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn quarantine(&mut self, row: NewQuarantined) -> Result<(), Error> {
        let _ = row;
        todo!()
    }

    /// Rows that the caller read and found to be copies of others; they count as read and deduplicated.
    pub fn note_deduplicated(&mut self, rows: u64) {
        let _ = rows;
    }

    /// Rows that the caller made out of one (a mapping's fan-out).
    pub fn note_fanned_out(&mut self, rows: u64) {
        let _ = rows;
    }

    /// Merges, writes the cursor row, commits once, and gives the lease back. Where nothing changed but the cursor
    /// moved, commits the transaction alone; where nothing moved, commits nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] (begin again), [`Error::Unbalanced`], [`Error::Store`]. In each case nothing was committed.
    pub async fn finish(self, end: End) -> Result<Committed, Error> {
        let _ = end;
        todo!()
    }

    /// Throws away what was staged and gives the lease back.
    pub async fn abandon(self) {}
}

//! Tables: made empty, opened once, kept fresh.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use mavis_catalog::{Catalog, NewColumn, NewTable, Table};
use mavis_types::{RunId, TableId};

use crate::{AppId, Error, Hop, LakeOptions, Sessions, Unit};

/// What a table should be; used by [`Lake::ensure`].
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub table: NewTable,
    /// The table's own columns; Mavis's columns (`__run`, `__ingested_at`, `__hash`, `__source`, and `__occurrence` where
    /// there is no key) are put after them unless the schema already has some of them.
    pub schema: SchemaRef,
    /// For the catalog: what the source calls the columns. Matched by name; missing ones are filled from `schema`.
    pub columns: Vec<NewColumn>,
    /// Whether the table keeps a change feed (processed and raw do; FHIR history is append-only and needs none).
    pub change_feed: bool,
    /// Flat, unique top-level columns that Delta keeps statistics of; empty: the first 32.
    pub statistics: Vec<String>,
    /// Columns that files are sorted by when they are written in bulk or optimised.
    pub sort: Vec<String>,
}

/// The lake: cheap to clone, safe to share.
#[derive(Debug, Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
}

impl Lake {
    /// Connects to the store, checks that it can be written, and builds the shared runtime.
    ///
    /// # Errors
    /// [`Error::Store`] when the root cannot be read and written.
    pub async fn open(options: LakeOptions, catalog: Catalog) -> Result<Self, Error> {
        let _ = options;
        Ok(Self { inner: Arc::new(Inner { catalog }) })
    }

    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// Sessions over the lake's runtime.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        todo!()
    }

    /// The table, made empty if it is not there; columns that the schema has and the table lacks are added (a change
    /// that would lose values is refused).
    ///
    /// # Errors
    /// [`Error::Evolution`], [`Error::Store`].
    pub async fn ensure(&self, spec: &TableSpec) -> Result<Table, Error> {
        let _ = spec;
        todo!()
    }

    /// Arrow schema of the newest version.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn schema(&self, table: TableId) -> Result<SchemaRef, Error> {
        let _ = table;
        todo!()
    }

    /// Newest version, refreshed from the log.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn version(&self, table: TableId) -> Result<i64, Error> {
        let _ = table;
        todo!()
    }

    /// A provider of one version (`None`: the newest). Opened once and cached; a refresh that finds nothing new costs
    /// well under a millisecond on a local disk.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchVersion`], [`Error::Store`].
    pub async fn provider(&self, table: TableId, version: Option<i64>) -> Result<Arc<dyn TableProvider>, Error> {
        let _ = (table, version);
        todo!()
    }

    /// The version that was newest at a time.
    ///
    /// # Errors
    /// [`Error::NoSuchVersion`] when the table is younger, or its log is gone.
    pub async fn version_at(&self, table: TableId, at: DateTime<Utc>) -> Result<i64, Error> {
        let _ = (table, at);
        todo!()
    }

    /// Rows of a version from the log's statistics, without reading data.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn row_count(&self, table: TableId, version: Option<i64>) -> Result<Option<u64>, Error> {
        let _ = (table, version);
        todo!()
    }

    /// Takes the table's lease, loads a snapshot, reads where the application stands, and finishes or discards what an
    /// earlier process left. The lease is renewed while the unit lives and given back when it ends.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::CatalogBehind`], [`Error::Store`].
    pub async fn begin(&self, table: TableId, app: AppId, run: RunId) -> Result<Unit, Error> {
        let _ = (table, app, run);
        todo!()
    }

    /// Begins to carry the changes of `input` into `output` under a rule; the hop's transaction version is the input's
    /// Delta version. See [`Hop`].
    ///
    /// # Errors
    /// As [`Lake::begin`].
    pub async fn begin_hop(&self, input: TableId, output: TableId, rule: &str, run: RunId) -> Result<Hop, Error> {
        let _ = (input, output, rule, run);
        todo!()
    }
}

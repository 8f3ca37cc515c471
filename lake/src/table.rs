//! Tables: made empty, opened once, kept fresh.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::{catalog::TableProvider, common::ColumnStatistics};
use deltalake_core::DeltaTable;
use mavis_catalog::{Catalog, NewColumn, NewTable, Table};
use mavis_types::{Cursor, RunId, TableId, TableName};
use moka::sync::Cache;
use object_store::ObjectStore;
use uuid::Uuid;

use crate::{
    AppId, Error, Hop, LakeOptions, Sessions, Unit,
    columns::is_lake_column,
    create, history,
    hop::{self, Ahead},
    in_place::{Elsewhere, Foreign, ForeignTable, IN_PLACE},
    keyed::Keyed,
    known,
    lease::Hold,
    open::{Scan, Scanned, opening},
    pages::{PagedTable, Pages, PagesUse},
    scan,
    store::Store,
    unit::{self, Kind, Work},
};

pub(crate) use crate::open::{Open, to_delta, version_of};

/// Tables that stay open.
const OPEN_TABLES: u64 = 2_000;
/// An open table that nobody asked for is closed after this time.
const OPEN_FOR: Duration = Duration::from_secs(3600);

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
    /// Columns that [`Lake::optimize`] sorts files by; until then rows lie as they came.
    pub sort: Vec<String>,
}

/// One version of a table, to be scanned in either of two ways that give the same rows.
#[derive(Debug, Clone)]
pub struct Providers {
    pub version: i64,
    /// The lake and the table, where rows can also be read by key ([`Lake::scan_by_key`]).
    pub lake: Option<(Lake, TableId)>,
    /// Skips files and row groups, then reads whole: for queries that want most rows.
    pub whole: Arc<dyn TableProvider>,
    /// Applies filters while it decodes, and decodes other columns only where they hold: several times faster for queries
    /// that want few rows of many.
    pub look_up: Arc<dyn TableProvider>,
    /// Estimates of each column, in the order of the schema, from the log alone: bounds of numbers and dates, nulls.
    pub columns: Arc<[ColumnStatistics]>,
    /// Rows, where the log tells.
    pub rows: Option<u64>,
}

/// Times and sizes that a server leaves as they are; tests make them small.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How long a lease lasts without being renewed.
    pub lease_ttl: Duration,
    /// How long a unit waits for a table that somebody else writes.
    pub lease_wait: Duration,
    /// Keys that a comparison holds in memory, 48 bytes each; more go to the spill folder.
    pub keys_in_memory: usize,
    /// How long a commit that failed waits before it is tried again; each further wait is four times as long.
    pub retry_wait: Duration,
    /// Bits of a key's hash in an index of a file, up to 64; fewer make keys meet, which is slower and never wrong.
    pub key_hash_bits: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(60),
            lease_wait: Duration::from_secs(30),
            keys_in_memory: crate::ledger::MEMORY_RECORDS,
            retry_wait: Duration::from_millis(100),
            key_hash_bits: 64,
        }
    }
}

/// The lake: cheap to clone, safe to share.
#[derive(Debug, Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    options: LakeOptions,
    tuning: Tuning,
    store: Store,
    sessions: Sessions,
    tables: Cache<TableId, Arc<Open>>,
    keyed: Keyed,
    pages: Pages,
}

impl Lake {
    /// Connects to the store, checks that it can be written, builds the shared runtime, and ends the leases of this
    /// server's earlier life.
    ///
    /// # Errors
    /// [`Error::Store`] when the root cannot be read and written.
    pub async fn open(options: LakeOptions, catalog: Catalog) -> Result<Self, Error> {
        let store = Store::connect(&options.url, &options.storage)?;
        Self::build(store, options, catalog, Tuning::default()).await
    }

    /// A lake in a store that the caller brings, rooted as the URL's scheme says (`/` of a disk, the bucket).
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn open_in(
        root: Arc<dyn ObjectStore>,
        options: LakeOptions,
        catalog: Catalog,
        tuning: Tuning,
    ) -> Result<Self, Error> {
        let store = Store::with_root(root, &options.url);
        Self::build(store, options, catalog, tuning).await
    }

    async fn build(store: Store, options: LakeOptions, catalog: Catalog, tuning: Tuning) -> Result<Self, Error> {
        std::fs::create_dir_all(&options.spill_dir).map_err(|error| Error::store("making the spill folder", &error))?;
        store.probe().await?;
        let sessions = Sessions::new(&options, &store)?;
        catalog.release_all(&format!("{}/", options.server)).await?;
        let tables = Cache::builder().max_capacity(OPEN_TABLES).time_to_idle(OPEN_FOR).build();
        let pages = Pages::new(options.pages_bytes);
        let keyed = Keyed::new(options.memory_bytes, &pages);
        Ok(Self { inner: Arc::new(Inner { catalog, options, tuning, store, sessions, tables, keyed, pages }) })
    }

    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// What this server is called as the holder of leases.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.inner.options.server
    }

    /// Sessions over the lake's runtime.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    pub(crate) fn options(&self) -> &LakeOptions {
        &self.inner.options
    }

    pub(crate) fn tuning(&self) -> Tuning {
        self.inner.tuning
    }

    pub(crate) fn keyed(&self) -> &Keyed {
        &self.inner.keyed
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.inner.pages
    }

    /// How the column chunks do that are kept in memory.
    #[must_use]
    pub fn pages_use(&self) -> PagesUse {
        self.pages().used()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The table, made empty if it is not there; columns that the schema has and the table lacks are added (a change
    /// that would lose values is refused). A column whose type widens is rewritten by the next unit that brings values.
    ///
    /// # Errors
    /// [`Error::Evolution`], [`Error::Store`].
    pub async fn ensure(&self, spec: &TableSpec) -> Result<Table, Error> {
        Box::pin(create::ensure(self, spec)).await
    }

    /// Arrow schema of the newest version: plain text and binary types, the lake's columns last.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn schema(&self, table: TableId) -> Result<SchemaRef, Error> {
        Ok(self.opened(table).await?.newest().await?.snapshot()?.snapshot().arrow_schema())
    }

    /// Newest version, refreshed from the log.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn version(&self, table: TableId) -> Result<i64, Error> {
        version_of(&self.opened(table).await?.newest().await?)
    }

    /// A provider of one version (`None`: the newest). Opened once and cached; a refresh that finds nothing new costs
    /// well under a millisecond on a local disk. Its types are those of [`Lake::schema`].
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchVersion`], [`Error::Store`].
    pub async fn provider(&self, table: TableId, version: Option<i64>) -> Result<Arc<dyn TableProvider>, Error> {
        Ok(self.scan(table, version, Scan::Whole).await?.1.provider)
    }

    /// Both ways to scan one version: [`Lake::provider`]'s, and one that applies filters while it decodes. For queries: what
    /// they read often is kept in memory.
    ///
    /// # Errors
    /// As [`Lake::provider`].
    pub async fn providers(&self, table: TableId, version: Option<i64>) -> Result<Providers, Error> {
        let (version, whole) = self.scan(table, version, Scan::Whole).await?;
        // of the same version, also where a commit came in between
        let (_, look_up) = self.scan(table, Some(version), Scan::LookUp).await?;
        // Files of somebody else are read anew: they may have been changed or deleted.
        let foreign = self.opened(table).await?.foreign().is_some();
        let paged = |provider| if foreign { provider } else { PagedTable::over(provider, self.pages()) };
        Ok(Providers {
            version,
            lake: Some((self.clone(), table)),
            whole: paged(whole.provider),
            look_up: paged(look_up.provider),
            columns: whole.columns,
            rows: whole.rows,
        })
    }

    async fn scan(&self, table: TableId, version: Option<i64>, scan: Scan) -> Result<(i64, Scanned), Error> {
        let open = self.opened(table).await?;
        if let Some(version) = version
            && let Some(known) = open.providers.get(&(version, scan))
        {
            return Ok((version, known));
        }
        let delta = self.at(&open, version).await?;
        let version = version_of(&delta)?;
        if let Some(known) = open.providers.get(&(version, scan)) {
            return Ok((version, known));
        }
        let state = match scan {
            Scan::Whole => self.sessions().state(),
            Scan::LookUp => self.sessions().lookup_state(),
        };
        let provider = delta.table_provider().with_session(state).await?;
        let provider = match open.foreign() {
            Some(foreign) => ForeignTable::over(provider, &open.name, foreign),
            None => provider,
        };
        let (columns, rows) = match scan {
            Scan::Whole => (known::columns(&delta, &provider.schema())?, crate::scan::row_count(&delta)?),
            Scan::LookUp => (Arc::default(), None),
        };
        let scanned = Scanned { provider, columns, rows };
        open.providers.insert((version, scan), scanned.clone());
        Ok((version, scanned))
    }

    /// The version that was newest at a time.
    ///
    /// # Errors
    /// [`Error::NoSuchVersion`] when the table is younger, or its log is gone.
    pub async fn version_at(&self, table: TableId, at: DateTime<Utc>) -> Result<i64, Error> {
        let open = self.opened(table).await?;
        history::version_at(&open, &open.newest().await?, at).await
    }

    /// The columns whose values the folders of a table's files say, in the folders' order; none where files are found by
    /// their statistics alone, as those are that the lake writes.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn folder_columns(&self, table: TableId) -> Result<Vec<String>, Error> {
        let delta = self.opened(table).await?.newest().await?;
        let partitions = delta.snapshot()?.metadata().partition_columns();
        Ok(partitions.iter().filter(|name| !is_lake_column(name)).cloned().collect())
    }

    /// The newest commits of a table, the newest first, as far as its log is kept.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn commits(&self, table: TableId, limit: usize) -> Result<Vec<crate::Commit>, Error> {
        history::commits(&self.opened(table).await?.newest().await?, limit).await
    }

    /// Whether a commit in `(from, to]` changed what the table holds or how it is stored; one that only notes a transaction
    /// does not.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn changed_between(&self, table: TableId, from: i64, to: i64) -> Result<bool, Error> {
        history::touched(&self.opened(table).await?.newest().await?, from, to).await
    }

    /// Rows of a version from the log's statistics, without reading data.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn row_count(&self, table: TableId, version: Option<i64>) -> Result<Option<u64>, Error> {
        let open = self.opened(table).await?;
        scan::row_count(&self.at(&open, version).await?)
    }

    /// Data files of the newest version.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn file_count(&self, table: TableId) -> Result<usize, Error> {
        Ok(self.opened(table).await?.newest().await?.snapshot()?.log_data().iter().count())
    }

    /// Where the last committed unit of an application ended, whoever writes the table now. `None` where it committed nothing,
    /// and where the table is not there yet.
    ///
    /// # Errors
    /// [`Error::CatalogBehind`], [`Error::Delta`].
    pub async fn cursor(&self, table: TableId, app: &AppId) -> Result<Option<Cursor>, Error> {
        Box::pin(unit::committed(self, table, app)).await
    }

    /// Takes the table's lease, loads a snapshot, reads where the application stands, and finishes or discards what an
    /// earlier process left. The lease is renewed while the unit lives and given back when it ends.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::CatalogBehind`], [`Error::Store`].
    pub async fn begin(&self, table: TableId, app: AppId, run: RunId) -> Result<Unit, Error> {
        Ok(Unit { work: Box::new(Box::pin(Work::begin(self, table, app, run, Kind::Ingest)).await?) })
    }

    /// Begins to carry the changes of `input` into `output` under a rule; the hop's transaction version is the input's
    /// Delta version. See [`Hop`].
    ///
    /// # Errors
    /// As [`Lake::begin`].
    pub async fn begin_hop(&self, input: TableId, output: TableId, rule: &str, run: RunId) -> Result<Hop, Error> {
        Box::pin(hop::begin(self, input, output, rule, run)).await
    }

    /// Begins a hop whose input is about to be written by the caller, who holds the input's lease. `None` where the output
    /// is not up to date with the input as it is: hop first.
    ///
    /// # Errors
    /// As [`Lake::begin`].
    pub async fn begin_ahead(
        &self,
        input: TableId,
        output: TableId,
        rule: &str,
        run: RunId,
    ) -> Result<Option<Ahead>, Error> {
        Box::pin(hop::ahead(self, input, output, rule, run)).await
    }

    /// The newest versions of both tables where the output is up to date with the input under the rule. Waits for no lease.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn hop_is_even(&self, input: TableId, output: TableId, rule: &str) -> Result<Option<(i64, i64)>, Error> {
        Box::pin(hop::even(self, input, output, rule)).await
    }

    pub(crate) async fn opened(&self, id: TableId) -> Result<Arc<Open>, Error> {
        if let Some(open) = self.inner.tables.get(&id) {
            return Ok(open);
        }
        let table = match self.inner.catalog.table_by_id(id).await {
            Err(mavis_catalog::Error::NotFound { .. }) => return Err(Error::NoSuchTable { table: id.to_string() }),
            other => other?,
        };
        let mut delta = self.inner.store.delta(&table.location)?;
        let there = delta.verify_deltatable_existence().await;
        if !there.map_err(|error| opening(&table.name, error))? {
            return Err(Error::NoSuchTable { table: table.name.to_string() });
        }
        delta.load().await.map_err(|error| opening(&table.name, error))?;
        let authority = delta.snapshot()?.metadata().configuration().get(IN_PLACE).cloned();
        let foreign = match authority {
            Some(authority) => Some(self.foreign(&table, authority).await?),
            None => None,
        };
        let open = Open::new(table, delta, foreign);
        Ok(self.inner.tables.get_with(id, || Arc::new(open)))
    }

    /// How a table's foreign files are read.
    async fn foreign(&self, table: &Table, authority: String) -> Result<Foreign, Error> {
        let failed = |reason: String| Error::Store {
            doing: format!("finding the files of `{}`, which was taken over in place", table.name),
            reason,
        };
        let source = table.source.ok_or_else(|| failed("the table has no source".to_owned()))?;
        let routes = Arc::clone(self.store().routes());
        let store = routes.store(source, &authority).await.map_err(failed)?;
        let own = self.store().authority();
        let is_own = own.as_str().trim_end_matches('/') == authority.trim_end_matches('/');
        let runtime = self.sessions().runtime();
        let routed = routes.way(&authority, &runtime, is_own.then(|| self.store().root()))?;
        Ok(Foreign { authority, store, routed, routes, runtime })
    }

    /// Says who knows how files of tables taken over in place are read. Who was named first stays.
    pub fn find_elsewhere(&self, finder: Arc<dyn Elsewhere>) {
        self.store().routes().set_finder(finder);
    }

    /// Forgets that a table is open: its name is another, or it is no more.
    pub(crate) fn close(&self, id: TableId) {
        self.inner.tables.invalidate(&id);
    }

    /// The table at a version.
    pub(crate) async fn at(&self, open: &Open, version: Option<i64>) -> Result<DeltaTable, Error> {
        let newest = open.newest().await?;
        let Some(wanted) = version else { return Ok(newest) };
        let last = version_of(&newest)?;
        if wanted == last {
            return Ok(newest);
        }
        let mut old = DeltaTable::new(newest.log_store());
        if (0..last).contains(&wanted) && old.load_version(to_delta(wanted)).await.is_ok() {
            if let Some(foreign) = open.foreign() {
                foreign.note(&old, &open.name, false)?;
            }
            return Ok(old);
        }
        let oldest = history::oldest(&newest).await?;
        Err(Error::NoSuchVersion { table: open.name.clone(), wanted: wanted.to_string(), oldest, newest: last })
    }

    pub(crate) async fn hold(&self, table: TableId, name: &TableName, run: RunId) -> Result<Hold, Error> {
        let holder = format!("{}/{run}/{}", self.inner.options.server, Uuid::new_v4());
        Hold::take(&self.inner.catalog, (table, name), &holder, self.inner.tuning).await
    }

    /// The lease, or nothing where somebody keeps it for long.
    pub(crate) async fn hold_now(&self, table: TableId, name: &TableName, run: RunId) -> Result<Option<Hold>, Error> {
        match self.hold(table, name, run).await {
            Ok(hold) => Ok(Some(hold)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

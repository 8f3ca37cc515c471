//! A lake in a folder, stores that fail when told, and short forms for tables and rows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "tests; each file of them uses a part of it"
)]

use std::{
    fmt,
    ops::Range,
    path::Path as FsPath,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use mavis_catalog::{Catalog, NewTable, Table};
use mavis_lake::{AppId, Committed, End, Error, Lake, LakeOptions, TableSpec, Tuning, WriteMode};
use mavis_types::{Cursor, RunId, SourceId, TableId, TableName, Zone};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, UploadPart, local::LocalFileSystem, path::Path,
};
use tempfile::TempDir;
use url::Url;

/// When a store fails.
#[derive(Debug)]
pub struct Faults {
    /// Writes that still work; below zero: all of them.
    left: AtomicI64,
    /// Whether the write that fails takes effect all the same.
    takes_effect: AtomicBool,
    /// Whether everything fails from then on (the process died), or only that one write.
    for_ever: AtomicBool,
    dead: AtomicBool,
    /// Only writes whose path contains this count.
    only: std::sync::Mutex<&'static str>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            left: AtomicI64::new(-1),
            takes_effect: AtomicBool::new(false),
            for_ever: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            only: std::sync::Mutex::new(""),
        }
    }
}

impl Faults {
    /// Fails the write after the next `writes` ones.
    pub fn fail_after(&self, writes: i64, takes_effect: bool, for_ever: bool) {
        self.takes_effect.store(takes_effect, Ordering::SeqCst);
        self.for_ever.store(for_ever, Ordering::SeqCst);
        self.left.store(writes, Ordering::SeqCst);
    }

    /// Fails the next write of a commit.
    pub fn fail_commit(&self, takes_effect: bool, for_ever: bool) {
        *self.only.lock().unwrap() = "_delta_log";
        self.fail_after(0, takes_effect, for_ever);
    }

    fn check(&self) -> object_store::Result<()> {
        if self.dead.load(Ordering::SeqCst) { Err(broken()) } else { Ok(()) }
    }

    /// What to do with this write: `None`: as always; `Some(true)`: do it and fail; `Some(false)`: fail.
    fn next(&self, location: &Path) -> object_store::Result<Option<bool>> {
        self.check()?;
        if !location.as_ref().contains(*self.only.lock().unwrap()) || self.left.load(Ordering::SeqCst) < 0 {
            return Ok(None);
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(None);
        }
        if self.for_ever.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
        }
        Ok(Some(self.takes_effect.load(Ordering::SeqCst)))
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "no space left on device".into() }
}

/// A store that fails when told.
#[derive(Debug, Clone)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    pub faults: Arc<Faults>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        match self.faults.next(location)? {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(true) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(broken())
            }
            Some(false) => Err(broken()),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        if self.faults.next(location)?.is_some() {
            return Err(broken());
        }
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultyUpload { inner, faults: Arc::clone(&self.faults), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.faults.check()?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.faults.check()?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.faults.check() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.faults.check() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.faults.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.faults.check()?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.faults.check()?;
        self.inner.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Faults>,
    location: Path,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.faults.next(&self.location) {
            Ok(None) => self.inner.put_part(data),
            _ => Box::pin(async { Err(broken()) }),
        }
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.faults.check()?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.inner.abort().await
    }
}

/// A folder with a lake and a catalog in it, which several processes (lakes) may open.
#[derive(Debug)]
pub struct House {
    pub folder: TempDir,
    pub tuning: Tuning,
}

impl House {
    pub fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    fn below(folder: TempDir) -> Self {
        let tuning = Tuning {
            lease_ttl: Duration::from_secs(20),
            lease_wait: Duration::from_secs(10),
            retry_wait: Duration::from_millis(1),
            ..Tuning::default()
        };
        Self { folder, tuning }
    }

    pub fn path(&self) -> &FsPath {
        self.folder.path()
    }

    pub async fn catalog(&self) -> Catalog {
        let path = self.path().join("catalog.sqlite");
        Catalog::open(&format!("sqlite://{}", path.display())).await.unwrap()
    }

    pub fn options(&self, server: &str) -> LakeOptions {
        LakeOptions {
            url: Url::from_directory_path(self.path().join("lake")).unwrap(),
            storage: std::collections::HashMap::new(),
            memory_bytes: 256 << 20,
            pages_bytes: 32 << 20,
            spill_dir: self.path().join("spill"),
            partitions: 2,
            server: server.to_owned(),
        }
    }

    /// A process with the lake's own store.
    pub async fn lake(&self, server: &str) -> Lake {
        Lake::open(self.options(server), self.catalog().await).await.unwrap()
    }

    /// A process whose store fails when told.
    pub async fn faulty(&self, server: &str) -> (Lake, Arc<Faults>) {
        std::fs::create_dir_all(self.path().join("lake")).unwrap();
        let faults = Arc::new(Faults::default());
        let store = Faulty { inner: Arc::new(LocalFileSystem::new()), faults: Arc::clone(&faults) };
        let lake =
            Lake::open_in(Arc::new(store), self.options(server), self.catalog().await, self.tuning).await.unwrap();
        (lake, faults)
    }
}

/// Columns `id` (Int64) and `name` (Utf8).
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]))
}

pub fn rows(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, name)| *name)));
    RecordBatch::try_new(schema(), vec![ids, names]).unwrap()
}

pub fn spec(table: &str, key: &[&str], change_feed: bool) -> TableSpec {
    TableSpec {
        table: NewTable {
            name: TableName::new(Zone::Raw, "test", table),
            source: None,
            source_schema: None,
            source_table: None,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            comment: None,
        },
        schema: schema(),
        columns: Vec::new(),
        change_feed,
        statistics: Vec::new(),
        sort: Vec::new(),
    }
}

pub async fn keyed(lake: &Lake) -> Table {
    lake.ensure(&spec("keyed", &["id"], true)).await.unwrap()
}

pub async fn keyless(lake: &Lake) -> Table {
    lake.ensure(&spec("keyless", &[], true)).await.unwrap()
}

pub fn cursor(at: i64) -> Cursor {
    Cursor(serde_json::json!({ "at": at }))
}

pub fn app(table: TableId) -> AppId {
    AppId::ingest(SourceId::from_uuid(*table.as_uuid()), table)
}

/// One unit from beginning to end.
pub async fn write(
    lake: &Lake,
    table: TableId,
    mode: WriteMode,
    batches: &[RecordBatch],
    end: End,
) -> Result<Committed, Error> {
    let unit = lake.begin(table, app(table), RunId::new()).await?;
    let mut writer = unit.write(mode, batches.first().map_or_else(schema, |batch| batch.schema())).await?;
    for batch in batches {
        writer.push(batch).await?;
    }
    writer.finish(end).await
}

pub fn whole() -> End {
    End { cursor: None, whole: true }
}

pub fn at(position: i64) -> End {
    End { cursor: Some(cursor(position)), whole: false }
}

pub async fn sql(lake: &Lake, table: TableId, version: Option<i64>, query: &str) -> Vec<RecordBatch> {
    let session = lake.sessions().session(64 << 20);
    session.register_table("t", lake.provider(table, version).await.unwrap()).unwrap();
    session.sql(query).await.unwrap().collect().await.unwrap()
}

pub async fn number(lake: &Lake, table: TableId, query: &str) -> i64 {
    let batches = sql(lake, table, None, query).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// `id` and `name` of every row, sorted.
pub async fn content(lake: &Lake, table: TableId, version: Option<i64>) -> Vec<(i64, String)> {
    let batches = sql(lake, table, version, "SELECT id, name FROM t ORDER BY id, name").await;
    batches
        .iter()
        .flat_map(|batch| {
            let ids = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
            let names: Vec<_> =
                batch.column(1).as_string::<i32>().iter().map(|n| n.unwrap_or("-").to_owned()).collect();
            ids.into_iter().zip(names)
        })
        .collect()
}

pub fn pairs(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

/// Parquet files in the table's folder, change files left out.
pub fn data_files(house: &House, table: &Table) -> usize {
    let folder = house.path().join("lake").join(&table.location);
    std::fs::read_dir(folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "parquet"))
        .count()
}

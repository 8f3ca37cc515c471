//! A disk that is full in the middle of a run.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use mavis_catalog::{Catalog, RunState};
use mavis_connectors::{Registry, Secrets};
use mavis_lake::{Lake, LakeOptions, Tuning};
use mavis_pipeline::{Pipeline, PipelineOptions};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, local::LocalFileSystem, path::Path,
};
use serde_json::json;

use crate::support::{House, Life};

/// A disk with so much room left.
#[derive(Debug, Clone)]
struct Small {
    inner: Arc<LocalFileSystem>,
    room: Arc<AtomicI64>,
}

impl fmt::Display for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Small")
    }
}

impl Small {
    fn take(&self, bytes: usize) -> object_store::Result<()> {
        let bytes = i64::try_from(bytes).unwrap();
        if self.room.fetch_sub(bytes, Ordering::SeqCst) >= bytes {
            return Ok(());
        }
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(object_store::Error::Generic { store: "LocalFileSystem", source: full.into() })
    }
}

#[async_trait]
impl ObjectStore for Small {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.take(payload.content_length())?;
        self.inner.put_opts(location, payload, opts).await
    }
    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        // As much as a part is at least.
        self.take(5 << 20)?;
        self.inner.put_multipart_opts(location, opts).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

async fn start(house: &House, disk: &Small) -> Life {
    let catalog = Catalog::open(&format!("sqlite://{}", house.path("catalog.sqlite").display())).await.unwrap();
    for name in ["lake", "spill", "spool"] {
        std::fs::create_dir_all(house.path(name)).unwrap();
    }
    let options = LakeOptions {
        url: url::Url::from_directory_path(house.path("lake")).unwrap(),
        storage: HashMap::new(),
        memory_bytes: 1 << 30,
        pages_bytes: 0,
        spill_dir: house.path("spill"),
        partitions: 2,
        server: "test".to_owned(),
    };
    let lake = Lake::open_in(Arc::new(disk.clone()), options, catalog.clone(), Tuning::default()).await.unwrap();
    let options = PipelineOptions { workers: 1, tables_per_run: 1, spool: house.path("spool"), attempts: 1 };
    let pipeline =
        Pipeline::start(catalog.clone(), lake.clone(), Registry::built_in(), Secrets::from_pairs([]), options);
    Life { pipeline: pipeline.await.unwrap(), lake, catalog }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_to_be_full_and_every_row_is_there_once_when_there_is_room_again() {
    let house = House::new();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT i, hex(randomblob(50)) FROM n";
    let mut statements = Vec::new();
    for n in 0..4 {
        statements.push(format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY, v TEXT)"));
        statements.push(format!("INSERT INTO t{n} {rows}"));
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    house.sqlite("a.db", &statements).await;
    let disk = Small { inner: Arc::new(LocalFileSystem::new()), room: Arc::new(AtomicI64::new(700_000)) };
    let life = start(&house, &disk).await;
    life.add("a", "sqlite", json!({"path": house.path("a.db")})).await;
    let run = life.ingest("a").await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    let log = life.log(run.id).await.join("\n").to_lowercase();
    assert!(log.contains("no storage space") || log.contains("no space left"), "{log}");
    let whole = async |life: &Life| {
        let mut counts = Vec::new();
        for n in 0..4 {
            let name = format!("raw.a.t{n}");
            let there = life.catalog.find_table(&name.parse().unwrap()).await.unwrap();
            if there.is_some_and(|table| table.rows.is_some_and(|rows| rows > 0)) {
                counts.push(life.count(&name).await);
            }
        }
        counts
    };
    assert!(whole(&life).await.iter().all(|rows| *rows == 4_000), "no table is there in part");
    drop(life);
    disk.room.store(i64::MAX / 2, Ordering::SeqCst);
    let life = start(&house, &disk).await;
    let run = life.ingest("a").await;
    assert_eq!(run.state, RunState::Completed, "{:?}", run.error);
    assert_eq!(whole(&life).await, [4_000; 4]);
    for n in 0..4 {
        let distinct = life.ask(&format!("raw.a.t{n}"), "SELECT count(DISTINCT id) FROM t").await;
        assert_eq!(distinct, [Some("4000".to_owned())]);
    }
}

//! A pipeline over a catalog and a lake in a folder that goes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub, reason = "tests")]

use std::{collections::HashMap, path::PathBuf, time::Duration};

use arrow::array::{Array, ArrayRef, AsArray};
use futures::StreamExt;
use mavis_catalog::{Catalog, QuarantineFilter, Quarantined, Run, RunState, Step};
use mavis_connectors::{Registry, Secrets, SourceSpec};
use mavis_lake::{Lake, LakeOptions};
use mavis_pipeline::{IngestRequest, Pipeline, PipelineOptions, RunEvent};
use mavis_types::{Counts, Principal, Role, RunId, Scope, SourceName, TableName, TokenId};
use sqlx::Connection;

pub struct House {
    pub folder: tempfile::TempDir,
}

/// One life of the server.
pub struct Life {
    pub pipeline: Pipeline,
    pub lake: Lake,
    pub catalog: Catalog,
}

impl House {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn start(&self) -> Life {
        self.start_as("test").await
    }

    /// One of several servers that share the catalog and the lake.
    pub async fn start_as(&self, server: &str) -> Life {
        self.start_all(server, Registry::built_in()).await
    }

    pub async fn start_with(&self, registry: Registry) -> Life {
        self.start_all("test", registry).await
    }

    async fn start_all(&self, server: &str, registry: Registry) -> Life {
        self.start_knowing(server, registry, Secrets::from_pairs([])).await
    }

    pub async fn start_knowing(&self, server: &str, registry: Registry, secrets: Secrets) -> Life {
        let catalog = Catalog::open(&format!("sqlite://{}", self.path("catalog.sqlite").display())).await.unwrap();
        for name in ["lake", "spill", "spool"] {
            std::fs::create_dir_all(self.path(name)).unwrap();
        }
        catalog.release_all(&format!("{server}/")).await.unwrap();
        let options = LakeOptions {
            url: url::Url::from_directory_path(self.path("lake")).unwrap(),
            storage: HashMap::new(),
            memory_bytes: 1 << 30,
            pages_bytes: 16 << 20,
            spill_dir: self.path("spill"),
            partitions: 2,
            server: server.to_owned(),
        };
        let lake = Lake::open(options, catalog.clone()).await.unwrap();
        let options = PipelineOptions { workers: 2, tables_per_run: 2, spool: self.path("spool"), attempts: 1 };
        let pipeline = Pipeline::start(catalog.clone(), lake.clone(), registry, secrets, options).await.unwrap();
        Life { pipeline, lake, catalog }
    }

    /// Runs statements in a SQLite file of the house.
    pub async fn sqlite(&self, file: &str, statements: &[&str]) {
        let url = format!("sqlite://{}?mode=rwc", self.path(file).display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }
}

pub fn me() -> Principal {
    Principal::new(TokenId::new(), "tester", Role::Admin, Scope::All)
}

pub fn name(text: &str) -> SourceName {
    SourceName::new(text).unwrap()
}

pub fn request(source: &str) -> IngestRequest {
    IngestRequest { source: name(source), tables: Vec::new(), full: false }
}

impl Life {
    pub async fn add(&self, source: &str, kind: &str, params: serde_json::Value) {
        let spec = SourceSpec { name: name(source), kind: kind.to_owned(), params, authoritative: false };
        self.pipeline.add_source(&me(), spec).await.unwrap();
    }

    /// Waits for a run's end and returns its row; prints its log.
    pub async fn wait(&self, run: RunId) -> Run {
        let mut events = self.pipeline.watch(run).await.unwrap();
        let all = async {
            while let Some(event) = events.next().await {
                if let RunEvent::Log(line) = event {
                    println!("{:?} {}", line.level, line.message);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(600), all).await.expect("the run does not end");
        self.catalog.run(run).await.unwrap()
    }

    pub async fn ingest(&self, source: &str) -> Run {
        let run = self.pipeline.start_run(&me(), RunId::new(), request(source)).await.unwrap();
        self.wait(run.id).await
    }

    pub async fn log(&self, run: RunId) -> Vec<String> {
        self.catalog.run_log(run, 0).await.unwrap().into_iter().map(|line| line.message).collect()
    }

    /// First column of an answer, as text; the table stands as `t`.
    pub async fn ask(&self, table: &str, sql: &str) -> Vec<Option<String>> {
        let table: TableName = table.parse().unwrap();
        let table = self.catalog.table(&table).await.unwrap();
        let provider = self.lake.provider(table.id, None).await.unwrap();
        let session = self.lake.sessions().session(256 << 20);
        session.register_table("t", provider).unwrap();
        let mut out = Vec::new();
        for batch in session.sql(sql).await.unwrap().collect().await.unwrap() {
            let column: ArrayRef = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
            out.extend(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
            assert_eq!(column.len(), batch.num_rows());
        }
        out
    }

    pub async fn count(&self, table: &str) -> u64 {
        let answer = self.ask(table, "SELECT count(*) FROM t").await;
        answer[0].as_ref().unwrap().parse().unwrap()
    }

    pub async fn version(&self, table: &str) -> i64 {
        let table = self.catalog.table(&table.parse().unwrap()).await.unwrap();
        self.lake.version(table.id).await.unwrap()
    }

    /// Newest version of every table of the lake.
    pub async fn versions(&self) -> Vec<(String, i64)> {
        let mut all = Vec::new();
        for table in self.catalog.tables(None, None, None, None).await.unwrap() {
            all.push((table.name.to_string(), self.lake.version(table.id).await.unwrap_or(-1)));
        }
        all
    }

    pub async fn counts(&self, run: RunId, step: Step, table: &str) -> Counts {
        let table = self.catalog.table(&table.parse().unwrap()).await.unwrap();
        let units = self.catalog.run_units(run).await.unwrap();
        let unit = units.iter().find(|unit| unit.step == step && unit.table == table.id);
        unit.unwrap_or_else(|| panic!("no unit {step:?} of {}", table.name)).counts
    }

    pub async fn quarantine(&self) -> Vec<Quarantined> {
        self.catalog.quarantined(&QuarantineFilter::default()).await.unwrap()
    }
}

pub fn completed(run: &Run) -> bool {
    matches!(run.state, RunState::Completed | RunState::CompletedWithWarnings)
}

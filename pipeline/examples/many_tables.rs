//! How long many tables take: discovery of many databases as one job, a second look at them, and the ingestion of small tables.
//!
//!     many_tables DATA SOURCES TABLES ROWS INGESTED
//!
//! `MAVIS_TEST_POSTGRES` names a server; a database `mavis_many` is made there with a schema per source, each presented as a
//! source of its own, with TABLES tables of ROWS rows. INGESTED sources are read into the lake below DATA.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement")]

use std::{collections::HashMap, path::Path, time::Instant};

use futures::StreamExt;
use mavis_catalog::{Catalog, RunState};
use mavis_connectors::{Registry, Secrets, SourceSpec};
use mavis_lake::{Lake, LakeOptions};
use mavis_pipeline::{IngestRequest, Pipeline, PipelineOptions};
use mavis_types::{Principal, Role, RunId, Scope, SourceName, TokenId};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| arguments[n].parse::<usize>().unwrap();
    let (folder, sources, tables, rows, ingested) = (&arguments[0], number(1), number(2), number(3), number(4));
    let server = url::Url::parse(&std::env::var("MAVIS_TEST_POSTGRES").unwrap()).unwrap();
    make(&server, sources, tables, rows).await;
    let (catalog, pipeline) = start(Path::new(folder)).await;
    let by = Principal::new(TokenId::new(), "example", Role::Admin, Scope::All);
    let names: Vec<SourceName> = (0..sources).map(|n| SourceName::new(&format!("s{n}")).unwrap()).collect();
    for name in &names {
        let params = serde_json::json!({
            "host": server.host_str().unwrap(), "port": server.port().unwrap(), "user": server.username(),
            "database": "mavis_many", "schemas": [name.as_str()], "sslmode": "disable",
        });
        let spec = SourceSpec { name: name.clone(), kind: "postgres".to_owned(), params, authoritative: false };
        // A second measurement on one folder finds them there.
        drop(pipeline.add_source(&by, spec).await);
    }
    for look in ["first", "second"] {
        let began = Instant::now();
        let run = pipeline.discover_many(&by, RunId::new(), &[]).await.unwrap();
        wait(&pipeline, run.id).await;
        let seconds = began.elapsed().as_secs_f64();
        let items = catalog.discovery_items(run.id).await.unwrap();
        let found: u64 = items.iter().filter_map(|item| item.tables).sum();
        println!(
            "{look} look: {} databases, {found} tables in {seconds:.1} s ({:.2} ms a table), {}",
            items.len(),
            seconds * 1e3 / found.max(1) as f64,
            memory()
        );
    }
    let began = Instant::now();
    let mut runs = Vec::new();
    for name in names.iter().take(ingested) {
        let request = IngestRequest { source: name.clone(), tables: Vec::new(), full: false };
        runs.push(pipeline.start_run(&by, RunId::new(), request).await.unwrap().id);
    }
    for run in runs {
        wait(&pipeline, run).await;
        let run = catalog.run(run).await.unwrap();
        assert!(matches!(run.state, RunState::Completed | RunState::CompletedWithWarnings), "{run:?}");
    }
    let (seconds, many) = (began.elapsed().as_secs_f64(), ingested * tables);
    println!(
        "ingested {many} tables in {seconds:.1} s ({:.1} ms a table, raw and processed), {}",
        seconds * 1e3 / many.max(1) as f64,
        memory()
    );
    pipeline.stop().await;
}

async fn make(server: &url::Url, sources: usize, tables: usize, rows: usize) {
    let mut connection = PgConnection::connect(server.as_str()).await.unwrap();
    if connection.execute("CREATE DATABASE mavis_many").await.is_err() {
        println!("the database is there already");
    }
    let mut of_ours = server.clone();
    of_ours.set_path("mavis_many");
    let mut connection = PgConnection::connect(of_ours.as_str()).await.unwrap();
    for source in 0..sources {
        let made = connection.execute(AssertSqlSafe(format!("CREATE SCHEMA s{source}"))).await;
        if made.is_err() {
            continue;
        }
        let statement = format!(
            "DO $$ BEGIN FOR n IN 1..{tables} LOOP EXECUTE format(
                'CREATE TABLE s{source}.t%s (id int PRIMARY KEY, name text, born date, weight numeric(6,2), note text)', n);
             IF {rows} > 0 THEN EXECUTE format(
                'INSERT INTO s{source}.t%s SELECT i, ''name '' || i, date ''2020-01-01'' + i, i * 1.5, NULL
                 FROM generate_series(1, {rows}) i', n); END IF; END LOOP; END $$"
        );
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}

async fn start(folder: &Path) -> (Catalog, Pipeline) {
    for name in ["lake", "spill", "spool"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let catalog = Catalog::open(&format!("sqlite://{}", folder.join("catalog.sqlite").display())).await.unwrap();
    let options = LakeOptions {
        url: url::Url::from_directory_path(folder.join("lake")).unwrap(),
        storage: HashMap::new(),
        memory_bytes: 1 << 30,
        pages_bytes: 0,
        spill_dir: folder.join("spill"),
        partitions: 2,
        server: "example".to_owned(),
    };
    let lake = Lake::open(options, catalog.clone()).await.unwrap();
    let options = PipelineOptions { workers: 2, tables_per_run: 2, spool: folder.join("spool"), attempts: 1 };
    let pipeline = Pipeline::start(catalog.clone(), lake, Registry::built_in(), Secrets::from_pairs([]), options);
    (catalog, pipeline.await.unwrap())
}

async fn wait(pipeline: &Pipeline, run: RunId) {
    let mut events = pipeline.watch(run).await.unwrap();
    while events.next().await.is_some() {}
}

/// The process's memory now and at most.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
    };
    format!("{} MiB of memory, at most {} MiB", of("VmRSS:"), of("VmHWM:"))
}

//! Changes of a PostgreSQL database by logical replication, through the pipeline: each in the lake once, the slot let go of.

use std::{collections::BTreeMap, panic::AssertUnwindSafe};

use crate::support::*;
use futures::FutureExt;
use mavis_catalog::RunState;
use mavis_pipeline::IngestRequest;
use mavis_types::RunId;
use sqlx::{Connection, Executor, PgConnection};

struct Source {
    url: String,
    params: serde_json::Value,
    slot: String,
}

impl Source {
    async fn new(statements: &str) -> Option<Self> {
        let Some(admin) = std::env::var("MAVIS_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_POSTGRES is not set");
            eprintln!("skipped: MAVIS_TEST_POSTGRES is not set; run `make test`");
            return None;
        };
        let name = format!("pipeline_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (base, _) = admin.rsplit_once('/').unwrap();
        let (user, address) = base.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        let slot = format!("p_{}", uuid::Uuid::new_v4().simple());
        let params = serde_json::json!({
            "host": host, "port": port.parse::<u16>().unwrap(), "user": user, "database": name,
            "replication": { "slot": slot, "publication": "mavis" },
        });
        let source = Self { url: format!("{base}/{name}"), params, slot };
        source.execute(statements).await;
        Some(source)
    }

    async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
    }

    async fn text(&self, query: &str) -> Option<String> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    async fn drop_slot(&self) {
        let slot = &self.slot;
        for _ in 0..50 {
            let text = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'"
            );
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            if connection.execute(sqlx::AssertSqlSafe(text)).await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn rows(life: &Life, table: &str) -> BTreeMap<String, String> {
    let text = "SELECT concat(arrow_cast(id, 'Utf8'), '=', v) FROM t";
    let pairs = life.ask(table, text).await.into_iter().flatten();
    pairs.map(|pair| pair.split_once('=').map(|(id, v)| (id.to_owned(), v.to_owned())).unwrap()).collect()
}

async fn follow(source: &Source) {
    let house = House::new();
    let life = house.start().await;
    life.add("his", "postgres", source.params.clone()).await;
    life.pipeline.discover(&me(), &name("his")).await.unwrap();
    let slots = format!("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = '{}'", source.slot);
    assert_eq!(source.text(&slots).await.unwrap(), "0", "looking at a few rows makes no slot");
    let run = life.ingest("his").await;
    assert!(completed(&run), "{:?}", run.error);
    let confirmed =
        format!("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{}'", source.slot);
    let mut before = source.text(&confirmed).await;
    for (changes, busy) in [
        ("UPDATE a SET v = 'x' WHERE id < 10; DELETE FROM a WHERE id = 50; INSERT INTO a VALUES (1000, 'n')", "a"),
        ("TRUNCATE b; INSERT INTO b VALUES (7, 'only')", "b"),
        ("UPDATE a SET id = id + 5000 WHERE id BETWEEN 20 AND 30", "a"),
    ] {
        source.execute(changes).await;
        let run = life.ingest("his").await;
        assert!(completed(&run), "{:?}", run.error);
        for table in ["a", "b"] {
            let truth = source.text(&format!("SELECT string_agg(id || '=' || v, ',' ORDER BY id) FROM {table}")).await;
            let zone = rows(&life, &format!("raw.his.{table}")).await;
            assert_eq!(zone, rows(&life, &format!("processed.his.{table}")).await, "{changes}");
            let mut zone: Vec<(i64, String)> = zone.into_iter().map(|(id, v)| (id.parse().unwrap(), v)).collect();
            zone.sort();
            let zone: Vec<String> = zone.into_iter().map(|(id, v)| format!("{id}={v}")).collect();
            assert_eq!(Some(zone.join(",")), truth, "{changes}");
        }
        let after = source.text(&confirmed).await;
        assert_ne!(after, before, "the slot is let go of after `{busy}` changed, though the other table was idle");
        before = after;
    }
    let versions = life.versions().await;
    assert!(!life.ingest("his").await.counts.changed());
    assert_eq!(life.versions().await, versions, "a run without changes writes nothing");

    // The slot is made anew behind our back: nothing is lost silently, and a full ingest puts it right.
    source.drop_slot().await;
    source.execute("UPDATE a SET v = 'unseen' WHERE id = 1; DELETE FROM a WHERE id = 2").await;
    source.execute(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", source.slot)).await;
    source.execute("INSERT INTO a VALUES (2000, 'later')").await;
    let run = life.ingest("his").await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.as_ref().unwrap().contains("in full"), "{:?}", run.error);
    let full = IngestRequest { full: true, ..request("his") };
    let run = life.pipeline.start_run(&me(), RunId::new(), full).await.unwrap();
    assert!(completed(&life.wait(run.id).await));
    source.execute("UPDATE a SET v = 'again' WHERE id = 3").await;
    assert!(completed(&life.ingest("his").await));
    let a = rows(&life, "raw.his.a").await;
    assert_eq!([a.get("1"), a.get("3")].map(|v| v.map(String::as_str)), [Some("unseen"), Some("again")]);
    assert!(!a.contains_key("2") && a.contains_key("2000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_arrive_once_in_both_zones_and_the_slot_is_let_go_of() {
    let Some(source) = Source::new(
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);
         INSERT INTO a SELECT i, 'v' || i FROM generate_series(1, 100) i; INSERT INTO b VALUES (1, 'one'), (2, 'two');
         CREATE PUBLICATION mavis FOR TABLE a, b",
    )
    .await
    else {
        return;
    };
    let outcome = AssertUnwindSafe(follow(&source)).catch_unwind().await;
    source.drop_slot().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

//! `kill -9` while changes are read from a replication slot, under a writer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mavis_tests::{Postgres, Server};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::{Gate, declare, ingest, killed, params_of};

/// A slot that goes with the test, before its database does.
struct Slot<'a> {
    database: &'a Postgres,
    name: String,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let text =
            format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{name}'");
        let end = Instant::now() + Duration::from_secs(10);
        // Whoever reads it may take a moment to go.
        while self.database.execute(&text).is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Transactions, some of them taken back, until told to stop; counts those that were made.
async fn write(url: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut random = StdRng::seed_from_u64(7);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut next = 100_000;
    while !stop.load(Ordering::SeqCst) {
        let mut statements = String::from("BEGIN;");
        for _ in 0..random.random_range(1..6) {
            let id = random.random_range(1..3_000);
            next += 1;
            statements.push_str(&match random.random_range(0..20) {
                0..9 => format!("UPDATE account SET v = v + 1 WHERE id = {id};"),
                9..14 => format!("INSERT INTO account VALUES ({next}, 0, repeat('x', 100));"),
                14..17 => format!("DELETE FROM account WHERE id = {id};"),
                17..19 => format!("INSERT INTO ledger VALUES ({next}, {id}, 'l');"),
                _ => "TRUNCATE ledger;".to_owned(),
            });
        }
        statements.push_str(if random.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" });
        connection.execute(sqlx::AssertSqlSafe(statements)).await.unwrap();
        done.fetch_add(1, Ordering::SeqCst);
    }
}

async fn rows(server: &Server, table: &str) -> BTreeMap<i64, i64> {
    let rows = server.sql(&format!("SELECT id, v FROM {table}")).await.unwrap();
    let count = rows.len();
    let rows: BTreeMap<i64, i64> =
        rows.iter().map(|row| (row["id"].as_i64().unwrap(), row["v"].as_i64().unwrap())).collect();
    assert_eq!(rows.len(), count, "a row of `{table}` is there twice");
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_follows_a_slot_under_a_writer_lands_every_change_once() {
    let Some(database) = Postgres::create().unwrap() else { return };
    database
        .execute(
            "CREATE TABLE account (id bigint PRIMARY KEY, v bigint, words text);
             CREATE TABLE ledger (id bigint PRIMARY KEY, v bigint, words text);
             INSERT INTO account SELECT i, 0, repeat(md5(i::text), 4) FROM generate_series(1, 3000) i;
             CREATE PUBLICATION mavis FOR TABLE account, ledger",
        )
        .unwrap();
    let slot = Slot { database: &database, name: format!("e2e_{}", uuid::Uuid::new_v4().simple()) };
    let gate = Gate::to(database.port).await;
    let mut server = Server::start().await.unwrap();
    let mut params = params_of(&database, gate.port);
    params["replication"] = json!({ "slot": slot.name, "publication": "mavis" });
    declare(&server, "his", "postgres", &params);

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn(write(database.url.clone(), Arc::clone(&stop), Arc::clone(&done)));
    let mut random = StdRng::seed_from_u64(20_264);
    // The first reads the tables, the others the log, of which at least so much is there each time.
    for (round, moment) in killed::moments(&mut random, 60_000).into_iter().enumerate() {
        let enough = done.load(Ordering::SeqCst) + 400;
        while round > 0 && done.load(Ordering::SeqCst) < enough {
            assert!(!writer.is_finished(), "the writer goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        killed::killed_once(&mut server, &gate, "his", moment).await;
        for table in ["account", "ledger"] {
            rows(&server, &format!("raw.his.{table}")).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    ingest(&server, "his");
    for table in ["account", "ledger"] {
        let text = format!("SELECT coalesce(json_object_agg(id, v), '{{}}') FROM {table}");
        let truth: BTreeMap<i64, i64> = serde_json::from_str(&database.execute(&text).unwrap()).unwrap();
        for zone in ["raw", "processed"] {
            assert!(
                rows(&server, &format!("{zone}.his.{table}")).await == truth,
                "{zone}.his.{table} is another table"
            );
        }
    }
}

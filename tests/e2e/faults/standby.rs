//! Standbys of PostgreSQL: one that takes the primary's place, without the slot that changes were read from, and one that is read.

use std::collections::BTreeMap;

use mavis_tests::{Server, ServerBuilder};
use serde_json::{Value, json};

use super::{Gate, OwnPostgres, begin, declare, ended, ingest, log, told, totals, totals_of};

fn server() -> ServerBuilder {
    let config = "[pipeline]\nworkers = 1\ntables_per_run = 1\nattempts = 1\n";
    Server::builder().config(config).env("POSTGRES_PASSWORD_HIS", "admin")
}

fn params(port: u16) -> Value {
    json!({ "host": "127.0.0.1", "port": port, "user": "mavis", "database": "postgres" })
}

/// Waits until the standby has everything that the primary has.
fn caught_up(primary: &OwnPostgres, standby: &OwnPostgres) {
    let until = primary.execute("SELECT pg_current_wal_lsn()");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while standby.execute(&format!("SELECT pg_last_wal_replay_lsn() >= '{until}'")) != "t" {
        assert!(std::time::Instant::now() < end, "the standby does not follow");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Waits until the standby has everything, or has stood still for a second: it waits for a reading then, which waits for us.
fn come_to_a_reader(primary: &OwnPostgres, standby: &OwnPostgres) {
    let until = primary.execute("SELECT pg_current_wal_lsn()");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut place = (String::new(), std::time::Instant::now());
    while standby.execute(&format!("SELECT pg_last_wal_replay_lsn() >= '{until}'")) != "t" {
        let now = standby.execute("SELECT pg_last_wal_replay_lsn()");
        // (What it has received, and does not apply.)
        let has_more = standby.execute("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()") == "t";
        if now != place.0 || !has_more {
            place = (now, std::time::Instant::now());
        } else if place.1.elapsed() >= std::time::Duration::from_secs(1) {
            return;
        }
        assert!(std::time::Instant::now() < end, "the standby does not follow");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

async fn assert_same(server: &Server, database: &OwnPostgres, after: &str) {
    let text = database.execute("SELECT coalesce(json_object_agg(id, v), '{}') FROM t");
    let truth: BTreeMap<i64, i64> = serde_json::from_str(&text).unwrap();
    for zone in ["raw", "processed"] {
        let rows = server.sql(&format!("SELECT id, v FROM {zone}.his.t")).await.unwrap();
        let found: BTreeMap<i64, i64> =
            rows.iter().map(|row| (row["id"].as_i64().unwrap(), row["v"].as_i64().unwrap())).collect();
        assert_eq!(found.len(), rows.len(), "{zone} after {after}: a row is there twice");
        assert_eq!(found, truth, "{zone} after {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_takes_the_place_of_a_replicated_primary_is_refused_until_everything_is_read_again() {
    let Some(primary) = OwnPostgres::start(&["wal_keep_size=1GB"]) else { return };
    primary.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i;
         CREATE PUBLICATION mavis FOR TABLE t",
    );
    let mut standby = primary.standby(&[]);
    let port = primary.port;
    let server = server().start().await.unwrap();
    let mut params = params(port);
    params["replication"] = json!({ "slot": "s", "publication": "mavis" });
    declare(&server, "his", "postgres", &params);
    ingest(&server, "his");
    primary.execute("UPDATE t SET v = 1 WHERE id <= 10; INSERT INTO t VALUES (1000, 5)");
    ingest(&server, "his");
    assert_same(&server, &primary, "changes").await;

    // Pointed at the standby, it says where to point.
    caught_up(&primary, &standby);
    let mut there = params.clone();
    there["port"] = json!(standby.port);
    declare(&server, "aside", "postgres", &{
        there["secret"] = json!("his");
        there
    });
    let run = begin(&server, "aside");
    let (state, error) = ended(&server, &run).await;
    assert_eq!(state, "failed", "{}", log(&server, &run).await);
    for part in ["standby", "primary"] {
        assert!(error.contains(part), "`{part}` is not in `{error}`");
    }

    // What the standby never got is lost with the primary, although it was read already.
    standby.execute("SELECT pg_wal_replay_pause()");
    primary.execute("INSERT INTO t VALUES (2000, 7); DELETE FROM t WHERE id = 20");
    ingest(&server, "his");
    assert_same(&server, &primary, "changes that only the primary has").await;
    primary.stop();
    standby.execute("SELECT pg_wal_replay_resume()");
    standby.promote();
    standby.move_to(port, &[]);
    // No slot has these.
    standby.execute("DELETE FROM t WHERE id BETWEEN 30 AND 40; UPDATE t SET v = 9 WHERE id = 50");
    for slot in ["", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')"] {
        // Whether or not somebody made a slot of that name there: what was committed before it is not in it.
        if !slot.is_empty() {
            standby.execute(slot);
            standby.execute("UPDATE t SET v = 10 WHERE id = 51");
        }
        let run = begin(&server, "his");
        let (state, error) = ended(&server, &run).await;
        assert_eq!(state, "failed", "{}", log(&server, &run).await);
        for part in ["failed over", "changes may be missing", "in full"] {
            assert!(error.contains(part), "`{part}` is not in `{error}`");
        }
        assert_eq!(server.count("SELECT v FROM raw.his.t WHERE id = 50").await.unwrap(), 0, "nothing is half there");
    }
    server.mavis(&["ingest", "his", "--full"]).unwrap().ok().unwrap();
    assert_same(&server, &standby, "a full ingest").await;
    standby.execute("UPDATE t SET v = 11 WHERE id = 52; DELETE FROM t WHERE id = 53; INSERT INTO t VALUES (3000, 1)");
    ingest(&server, "his");
    assert_same(&server, &standby, "changes of the new primary").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_cancels_a_reading_is_read_again() {
    let Some(primary) = OwnPostgres::start(&["wal_keep_size=1GB"]) else { return };
    for table in ["event", "patient"] {
        primary.execute(&format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint, words text) WITH (autovacuum_enabled = off);
             INSERT INTO {table} SELECT i, i % 1000, repeat(md5(i::text), 24) FROM generate_series(1, 40000) i"
        ));
    }
    // It does not wait for its readers.
    let standby = primary.standby(&["max_standby_streaming_delay=0"]);
    caught_up(&primary, &standby);
    let gate = Gate::to(standby.port).await;
    let server = server().start().await.unwrap();
    let mut params = params(gate.port);
    params["cursor_columns"] = json!({ "event": "id" });
    declare(&server, "his", "postgres", &params);
    for table in ["event", "patient"] {
        // Rows that the reading sees are removed for good.
        // More is to come than all buffers hold, of this table or of the one before it.
        gate.hold_after(if table == "event" { 4_000_000 } else { 6_000_000 });
        let run = begin(&server, "his");
        gate.holding().await;
        let changes = format!("UPDATE {table} SET v = v + 1; DELETE FROM {table} WHERE id % 10 = 0 AND id > 25000");
        primary.execute(&changes);
        primary.execute(&format!("VACUUM {table}"));
        come_to_a_reader(&primary, &standby);
        gate.open();
        told(&server, &run, "the standby cancelled the reading").await;
        let (state, error) = ended(&server, &run).await;
        let words = log(&server, &run).await;
        assert!(state.starts_with("completed"), "{error}\n{words}");
        assert!(words.contains("max_standby_streaming_delay"), "{words}");
        caught_up(&primary, &standby);
    }
    // A table that is read on from a cursor sees neither changes nor deletions of before; all of it is compared.
    server.mavis(&["ingest", "his", "--full"]).unwrap().ok().unwrap();
    for table in ["event", "patient"] {
        let truth: Value = serde_json::from_str(&primary.execute(&totals_of("json_build_object", table))).unwrap();
        for zone in ["raw", "processed"] {
            assert_eq!(totals(&server, &format!("{zone}.his.{table}")).await, truth, "{zone} {table}");
        }
    }
}

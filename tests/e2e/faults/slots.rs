//! Replication slots that are lost, dropped or held back, and what a user without further rights may follow.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mavis_tests::Server;
use serde_json::{Value, json};

use super::{OwnPostgres, begin, declare, ended, ingest, log};

const PASSWORD: &str = "of-the-reader-4811";

/// A server whose role `reader` may log in, replicate and read, and nothing else.
fn server_of(settings: &[&str], statements: &str) -> Option<OwnPostgres> {
    let database = OwnPostgres::start(settings)?;
    database.execute(&format!(
        "CREATE ROLE reader LOGIN REPLICATION NOSUPERUSER PASSWORD '{PASSWORD}'; {statements};
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    ));
    Some(database)
}

fn params(database: &OwnPostgres) -> Value {
    json!({ "host": "127.0.0.1", "port": database.port, "user": "reader", "database": "postgres",
            "replication": { "slot": "s", "publication": "mavis" } })
}

async fn started() -> Server {
    Server::builder().env("POSTGRES_PASSWORD_HIS", PASSWORD).config("[pipeline]\nattempts = 1\n").start().await.unwrap()
}

/// Rows of a table by key, from the database and from the raw zone.
async fn assert_same(server: &Server, database: &OwnPostgres, table: &str, after: &str) {
    let text = database.execute(&format!("SELECT coalesce(json_object_agg(id, v), '{{}}') FROM {table}"));
    let truth: BTreeMap<i64, i64> = serde_json::from_str(&text).unwrap();
    for zone in ["raw", "processed"] {
        let rows = server.sql(&format!("SELECT id, v FROM {zone}.his.{table}")).await.unwrap();
        let count = rows.len();
        let rows: BTreeMap<i64, i64> =
            rows.iter().map(|row| (row["id"].as_i64().unwrap(), row["v"].as_i64().unwrap())).collect();
        assert_eq!(rows.len(), count, "{zone} after {after}: a row is there twice");
        assert_eq!(rows, truth, "{zone} after {after}");
    }
}

/// A metric of the source.
async fn metric(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").await.unwrap().text();
    let wanted = format!("mavis_replication_{name}{{source=\"his\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
    line.unwrap_or_else(|| panic!("no {wanted} in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_watched_and_one_that_is_lost_is_refused_until_everything_is_read_again() {
    let small = ["max_slot_wal_keep_size=8MB", "max_wal_size=4MB", "min_wal_size=2MB", "checkpoint_timeout=30s"];
    let statements =
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i;
        CREATE TABLE noise (words text); CREATE PUBLICATION mavis FOR TABLE t";
    let Some(database) = server_of(&small, statements) else { return };
    let server = started().await;
    declare(&server, "his", "postgres", &params(&database));
    ingest(&server, "his");
    database.execute("UPDATE t SET v = 1 WHERE id <= 10; DELETE FROM t WHERE id = 11; INSERT INTO t VALUES (1000, 5)");
    ingest(&server, "his");
    assert_same(&server, &database, "t", "changes").await;
    assert_eq!(metric(&server, "sound").await, 1.0);
    let (kept, left) = (metric(&server, "kept_bytes").await, metric(&server, "left_bytes").await);
    assert!(kept > 0.0 && left > 0.0 && left < (16 << 20) as f64, "{kept} {left}");
    let before = metric(&server, "lag_bytes").await;
    let noise = "INSERT INTO noise SELECT repeat(md5(i::text), 30) FROM generate_series(1, 1000) i";
    database.execute(noise);
    // A run that finds nothing lets go of what others wrote.
    ingest(&server, "his");
    assert!(metric(&server, "lag_bytes").await < before + (1 << 20) as f64);

    // Somebody else writes more than the server keeps.
    database.execute("UPDATE t SET v = 2 WHERE id = 1");
    let end = Instant::now() + Duration::from_secs(60);
    let status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 's'";
    while database.execute(status) != "lost" {
        assert!(Instant::now() < end, "the slot is never lost");
        database.execute(noise);
        database.execute("SELECT pg_switch_wal()");
        database.execute("CHECKPOINT");
    }
    let run = begin(&server, "his");
    let (state, error) = ended(&server, &run).await;
    assert_eq!(state, "failed", "{}", log(&server, &run).await);
    for part in ["slot `s` is lost", "pg_drop_replication_slot('s')", "in full"] {
        assert!(error.contains(part), "what happened and what to do: `{part}` is not in `{error}`");
    }
    assert_eq!(metric(&server, "sound").await, 0.0);
    let tested = server.mavis(&["source", "test", "his"]).unwrap();
    assert!(format!("{}{}", tested.stdout, tested.stderr).contains("is lost"), "{tested:?}");
    assert_eq!(server.count("SELECT v FROM raw.his.t WHERE id = 1").await.unwrap(), 1, "what was there stays");

    // What it says is done.
    database.execute("SELECT pg_drop_replication_slot('s'); DELETE FROM t WHERE id = 12");
    server.mavis(&["ingest", "his", "--full"]).unwrap().ok().unwrap();
    assert_same(&server, &database, "t", "a full ingest").await;
    database.execute("UPDATE t SET v = 3 WHERE id = 2; DELETE FROM t WHERE id = 13");
    ingest(&server, "his");
    assert_same(&server, &database, "t", "changes behind it").await;
    assert_eq!(metric(&server, "sound").await, 1.0);

    // Gone, and made anew by somebody else: changes may lack, which is not passed over.
    database.execute("SELECT pg_drop_replication_slot('s'); UPDATE t SET v = 4 WHERE id = 3");
    let run = begin(&server, "his");
    let (state, error) = ended(&server, &run).await;
    assert!(state == "failed" && error.contains("is gone") && error.contains("in full"), "{state} {error}");
    database.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    let run = begin(&server, "his");
    let (state, error) = ended(&server, &run).await;
    assert!(state == "failed" && error.contains("made anew") && error.contains("in full"), "{state} {error}");
    server.mavis(&["ingest", "his", "--full"]).unwrap().ok().unwrap();
    assert_same(&server, &database, "t", "the second full ingest").await;

    let told = format!("{}{}", server.get("/metrics").await.unwrap().text(), server.log());
    assert!(!told.contains(PASSWORD), "a password is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitioned_tables_are_followed_through_their_root() {
    let statements = "
        CREATE TABLE m (id int, day date, v int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE m1 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
        CREATE TABLE m2 PARTITION OF m FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
        INSERT INTO m SELECT i, '2024-01-01'::date + i % 60, i FROM generate_series(1, 600) i;
        CREATE PUBLICATION mavis FOR TABLE m WITH (publish_via_partition_root)";
    let Some(database) = server_of(&[], statements) else { return };
    let server = started().await;
    let mut params = params(&database);
    params["tables_to_include"] = json!(["m"]);
    declare(&server, "his", "postgres", &params);
    ingest(&server, "his");
    assert_same(&server, &database, "m", "the first reading").await;
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_catalog = 'raw' AND table_schema = 'his'";
    assert_eq!(server.count(tables).await.unwrap(), 1, "a partition is no table of its own");
    for change in [
        "UPDATE m SET v = -v WHERE id % 10 = 0; DELETE FROM m WHERE id % 11 = 0; INSERT INTO m VALUES (1000, '2024-02-02', 1)",
        // A row that moves to another partition.
        "UPDATE m SET day = day + 31 WHERE id BETWEEN 1 AND 5 AND day < '2024-02-01'",
        "CREATE TABLE m3 PARTITION OF m FOR VALUES FROM ('2024-03-01') TO ('2024-04-01'); INSERT INTO m VALUES (1001, '2024-03-05', 2)",
        // What the log does not tell of.
        "CREATE TABLE m4 (LIKE m INCLUDING ALL); INSERT INTO m4 VALUES (1002, '2024-04-05', 3);
         ALTER TABLE m ATTACH PARTITION m4 FOR VALUES FROM ('2024-04-01') TO ('2024-05-01')",
        "TRUNCATE m2",
        "ALTER TABLE m DETACH PARTITION m1",
        "DROP TABLE m4",
        "TRUNCATE m; INSERT INTO m VALUES (1, '2024-02-03', 9)",
    ] {
        database.execute(change);
        ingest(&server, "his");
        assert_same(&server, &database, "m", change).await;
    }
    let run = begin(&server, "his");
    assert_eq!(ended(&server, &run).await.0, "completed");
    let read = format!("SELECT rows_read FROM system.ops.runs WHERE id = '{run}'");
    assert_eq!(server.count(&read).await.unwrap(), 0, "nothing has changed, and nothing is read");
}

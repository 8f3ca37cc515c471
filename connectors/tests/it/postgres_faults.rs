//! What may happen to a PostgreSQL source while it is read, and the ways to read less or more gently.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::postgres::{Database, table};
use futures::StreamExt;
use mavis_connectors::{
    Error, ReadItem, ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec,
    testkit::{Expectation, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

/// A server of its own, to be stopped and started.
struct Server {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(bin) = std::env::var_os("MAVIS_TEST_PG_BIN").map(PathBuf::from) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_PG_BIN is not set");
            eprintln!("skipped: MAVIS_TEST_PG_BIN is not set; run `make test`");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = std::env::temp_dir().join(format!("mavis-pg-{}", uuid::Uuid::new_v4().simple()));
        let server = Self { bin, data, port };
        server.run("initdb", &["-A", "trust", "-U", "mavis", "-E", "UTF8", "--no-locale"]);
        let options = format!("-p {port} -h 127.0.0.1 -k {} -c fsync=off -c wal_level=logical", server.data.display());
        server.run("pg_ctl", &["-w", "-o", &options, "-l", &server.data.join("log").display().to_string(), "start"]);
        Some(server)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.bin.join(program);
        let is_root = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim() == "0";
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let status =
            command.arg("-D").arg(&self.data).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "{arguments:?}");
    }

    fn restart(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "restart"]);
    }

    fn url(&self) -> String {
        format!("postgres://mavis@127.0.0.1:{}/postgres", self.port)
    }

    async fn execute(&self, statement: &str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
    }

    fn source(&self, more: Value) -> Arc<dyn Source> {
        let mut params = json!({ "host": "127.0.0.1", "port": self.port, "user": "mavis", "database": "postgres" });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec =
            SourceSpec { name: SourceName::new("his").unwrap(), kind: "postgres".into(), params, authoritative: false };
        Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
        drop(std::fs::remove_dir_all(&self.data));
    }
}

fn from(cursor: Option<&Cursor>, name: &str) -> ReadRequest {
    ReadRequest { from: cursor.cloned(), ..ReadRequest::whole(table(name)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_in_the_middle_of_a_table_costs_no_row_and_doubles_none() {
    let Some(server) = Server::start() else { return };
    server
        .execute(
            "CREATE TABLE big AS SELECT i AS id, repeat('x', 500) AS v FROM generate_series(1, 120000) i;
             ALTER TABLE big ADD PRIMARY KEY (id); CREATE PUBLICATION mavis FOR TABLE big",
        )
        .await;
    let source = server.source(json!({ "cursor_columns": { "big": "id" } }));
    let request = ReadRequest { batch_rows: 1_000, ..ReadRequest::whole(table("big")) };
    let mut stream = source.read(request).await.unwrap();
    let (mut rows, mut cursor) = (0, None);
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(ReadItem::Batch(batch)) => rows += batch.num_rows(),
            Ok(ReadItem::Cursor(at)) => {
                if cursor.is_none() {
                    server.restart();
                }
                // What follows a cursor that was not yet yielded is read again.
                cursor = Some((at, rows));
            }
            Ok(other) => panic!("the server is gone: {other:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error}");
    let (cursor, before) = cursor.unwrap();
    let rest = read_all(&*source, from(Some(&cursor), "big")).await.unwrap();
    assert_eq!(before + rest.rows.len(), 120_000);

    // The slot, too, is there after a crash of the server.
    let replication = json!({ "replication": { "slot": "s", "publication": "mavis" } });
    let first = read_all(&*server.source(replication.clone()), from(None, "big")).await.unwrap();
    server.execute("DELETE FROM big WHERE id <= 10; INSERT INTO big VALUES (0, 'new')").await;
    server.restart();
    server.execute("UPDATE big SET v = 'after' WHERE id = 11").await;
    let at = &first.cursors.last().unwrap().0;
    let second = read_all(&*server.source(replication.clone()), from(Some(at), "big")).await.unwrap();
    let mut model = BTreeMap::new();
    first.apply(&["id"], &mut model);
    second.apply(&["id"], &mut model);
    assert_eq!((model.len(), second.rows.len()), (119_991, 2));

    // A server that is another one behind the same address.
    server.execute("SELECT pg_drop_replication_slot('s')").await;
    drop(server);
    let error = source.changed(&table("big"), Some(&cursor)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_table_that_is_being_read_is_neither_dropped_nor_altered_until_it_was_read() {
    let Some(database) =
        Database::with("CREATE TABLE t AS SELECT i AS id, repeat('x', 900) AS v FROM generate_series(1, 100000) i")
            .await
    else {
        return;
    };
    let source = database.source(json!({}));
    let mut stream = source.read(ReadRequest { batch_rows: 500, ..ReadRequest::whole(table("t")) }).await.unwrap();
    let mut rows = 0;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other.execute("SET lock_timeout = '100ms'").await.unwrap();
    let mut tried = false;
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            ReadItem::Batch(batch) => rows += batch.num_rows(),
            ReadItem::End { whole, .. } => assert!(whole),
            other => panic!("{other:?}"),
        }
        if !tried {
            tried = true;
            for change in
                ["DROP TABLE t", "ALTER TABLE t ALTER id TYPE text", "ALTER TABLE t RENAME TO u", "TRUNCATE t"]
            {
                assert!(other.execute(change).await.is_err(), "{change} waits");
            }
        }
    }
    assert_eq!(rows, 100_000);
    other.execute("ALTER TABLE t RENAME TO u").await.unwrap();
    let error = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
}

#[tokio::test]
async fn a_table_that_somebody_has_locked_and_a_statement_that_takes_too_long_are_told_and_tried_again() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
         CREATE VIEW slow AS SELECT id, pg_sleep(20)::text AS nap FROM t",
    )
    .await
    else {
        return;
    };
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    holder.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let source = database.source(json!({ "lock_timeout_seconds": 1, "statement_timeout_seconds": 2 }));
    let error = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("locked it"), "{error}");
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap().rows.len(), 1);
    let error = read_all(&*source, ReadRequest::whole(table("slow"))).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("statement_timeout_seconds"), "{error}");
}

#[tokio::test]
async fn several_connections_read_what_one_reads_in_the_same_order() {
    let Some(database) = Database::with(
        "CREATE TABLE big (id int PRIMARY KEY, v text, until date);
         INSERT INTO big SELECT i, repeat(md5(i::text), 30), CASE WHEN i % 30000 = 0 THEN 'infinity'::date END
         FROM generate_series(1, 90000) i;
         DELETE FROM big WHERE id % 97 = 0; CREATE TABLE small (id int); INSERT INTO small VALUES (1), (2)",
    )
    .await
    else {
        return;
    };
    let serial = read_all(&*database.source(json!({})), ReadRequest::whole(table("big"))).await.unwrap();
    let parallel = database.source(json!({ "parallel": 3 }));
    let several = read_all(&*parallel, ReadRequest::whole(table("big"))).await.unwrap();
    assert!(several.rows == serial.rows, "the same rows in the same order");
    assert_eq!((several.rejects.len(), serial.rejects.len(), several.whole), (3, 3, true));
    assert_eq!(read_all(&*parallel, ReadRequest::whole(table("small"))).await.unwrap().rows.len(), 2);
    for taken in [0, 1, 2] {
        let mut stream = parallel.read(ReadRequest::whole(table("big"))).await.unwrap();
        for _ in 0..taken {
            stream.next().await;
        }
    }
}

#[tokio::test]
async fn a_rate_is_kept() {
    let Some(database) =
        Database::with("CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS v FROM generate_series(1, 3000) i")
            .await
    else {
        return;
    };
    for limit in [json!({ "max_rows_per_second": 2000 }), json!({ "max_megabytes_per_second": 2 })] {
        let began = Instant::now();
        let source = database.source(limit.clone());
        assert_eq!(read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap().rows.len(), 3000);
        let took = began.elapsed();
        assert!((Duration::from_millis(1200)..Duration::from_secs(20)).contains(&took), "{limit}: {took:?}");
    }
}

#[tokio::test]
async fn rows_written_since_are_found_by_their_transactions_also_those_of_one_that_was_open() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'a' FROM generate_series(1, 500) i;
         CREATE TABLE keyless (v text); CREATE VIEW seen AS SELECT * FROM t",
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({ "xmin": ["*"] }));
    let discovery = source.discover(&Selection::default()).await.unwrap();
    let mode = |name: &str| discovery.tables.iter().find(|table| table.table.name == name).unwrap().mode;
    assert_eq!(
        [mode("t"), mode("keyless"), mode("seen")],
        [ReadMode::Incremental, ReadMode::Snapshot, ReadMode::Snapshot]
    );
    let mut open = PgConnection::connect(&database.url).await.unwrap();
    // A transaction of another test that was open while the rows were written has them read again.
    let passed = "SELECT txid_snapshot_xmin(txid_current_snapshot()) > (SELECT max(xmin::text::int8) FROM t)";
    for _ in 0..1_200 {
        if sqlx::query_scalar::<_, bool>(passed).fetch_one(&mut open).await.unwrap() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let expected = Expectation::default().table("t", 500).table("keyless", 0).table("seen", 500);
    assert_contract(&*source, expected).await;

    open.execute("BEGIN; UPDATE t SET v = 'open' WHERE id = 1; SAVEPOINT s; UPDATE t SET v = 'inner' WHERE id = 2")
        .await
        .unwrap();
    let mut model = BTreeMap::new();
    let first = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap();
    first.apply(&["id"], &mut model);
    assert!(first.whole);
    open.execute("RELEASE s; COMMIT").await.unwrap();
    database.execute("INSERT INTO t VALUES (1000, 'new'); UPDATE t SET v = 'b' WHERE id = 3").await;
    let mut cursor = first.cursors.last().unwrap().0.clone();
    assert_eq!(source.changed(&table("t"), Some(&cursor)).await.unwrap(), Some(true));
    let second = read_all(&*source, from(Some(&cursor), "t")).await.unwrap();
    second.apply(&["id"], &mut model);
    assert!(!second.whole);
    let mut truth = BTreeMap::new();
    read_all(&*database.source(json!({})), ReadRequest::whole(table("t"))).await.unwrap().apply(&["id"], &mut truth);
    assert_eq!(model, truth);
    // Other tests' transactions may be open; what they hold back is read again, and no more than that.
    cursor = second.cursors.last().unwrap().0.clone();
    let third = read_all(&*source, from(Some(&cursor), "t")).await.unwrap();
    assert!(third.rows.len() <= second.rows.len(), "{}", third.rows.len());
    // A cursor of another cluster says nothing: everything is read.
    let other = Cursor(json!({ "xmin": 5, "system": "1" }));
    assert_eq!(read_all(&*source, from(Some(&other), "t")).await.unwrap().rows.len(), 501);
}

#[tokio::test]
async fn a_table_with_a_cursor_column_is_asked_whether_there_is_more() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamp); INSERT INTO t SELECT i, '2024-01-01'::timestamp + i * interval '1 s' FROM generate_series(1, 1000) i",
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({ "cursor_columns": { "t": "at" } }));
    let first = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap();
    let cursor = first.cursors.last().map(|(cursor, ..)| cursor.clone());
    assert_eq!(source.changed(&table("t"), cursor.as_ref()).await.unwrap(), Some(false));
    assert_eq!(source.changed(&table("t"), None).await.unwrap(), None);
    database.execute("UPDATE t SET at = now() WHERE id = 5").await;
    assert_eq!(source.changed(&table("t"), cursor.as_ref()).await.unwrap(), Some(true));
    assert_eq!(database.source(json!({})).changed(&table("t"), cursor.as_ref()).await.unwrap(), None);
}

//! What goes wrong while a table is read.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use futures::StreamExt;
use mavis_connectors::{Error, ReadItem, ReadRequest, ReadStream, Selection, Source, testkit::read_all};
use mavis_types::Cursor;
use serde_json::json;

use super::{
    fill,
    support::{Database, Server, table},
};
use crate::ssh::sshd::{Proxy, Sshd};

fn rows() -> String {
    format!(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY, V VARCHAR(200)); COMMIT; {}",
        fill(60_000, "INSERT INTO T VALUES (:I, LPAD('', 200, 'x'))")
    )
}

fn request(from: Option<Cursor>) -> ReadRequest {
    ReadRequest { batch_rows: 1000, from, ..ReadRequest::whole(table("T")) }
}

fn ids_of(batch: &arrow::array::RecordBatch) -> Vec<i32> {
    batch.column(0).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec()
}

/// Reads until a number of rows have come, and leaves the stream to the caller.
async fn begin(source: &dyn Source, wanted: usize) -> (ReadStream, Vec<i32>, Option<Cursor>) {
    let mut stream = source.read(request(None)).await.unwrap();
    let (mut ids, mut cursor) = (Vec::new(), None);
    while ids.len() < wanted || cursor.is_none() {
        match stream.next().await.unwrap().unwrap() {
            ReadItem::Batch(batch) => ids.extend(ids_of(&batch)),
            ReadItem::Cursor(at) => cursor = Some(at),
            other => panic!("{other:?}"),
        }
    }
    (stream, ids, cursor)
}

#[tokio::test]
async fn a_server_that_is_killed_interrupts_and_the_reading_goes_on_from_its_cursor_when_it_is_back() {
    let Some(mut server) = Server::start() else { return };
    let database = Database::on(server.port, &server.data(), &rows());
    let source = database.source(json!({ "cursor_columns": { "T": "ID" } }));
    let (mut stream, mut ids, mut cursor) = begin(&*source, 3000).await;
    server.kill();
    let error = loop {
        match stream.next().await.expect("a stream that breaks says so") {
            Ok(ReadItem::Batch(batch)) => ids.extend(ids_of(&batch)),
            Ok(ReadItem::Cursor(at)) => cursor = Some(at),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error}");
    let last = cursor.as_ref().unwrap().0["rows"]["last"].as_str().unwrap().to_owned();
    // What came after the last cursor is not kept.
    ids.truncate(ids.iter().position(|id| id.to_string() == last).unwrap() + 1);
    let down = source.read(request(cursor.clone())).await.err().expect("nobody answers");
    assert!(down.is_transient(), "{down}");
    server.restart();
    let rest = read_all(&*source, request(cursor)).await.unwrap();
    ids.extend(rest.batches.iter().flat_map(ids_of));
    let wrong = ids.iter().zip(1..).position(|(id, expected)| *id != expected);
    assert_eq!((ids.len(), wrong), (60_000, None), "every row once, in order");
}

#[tokio::test]
async fn an_attachment_that_is_ended_by_the_administrator_interrupts() {
    let Some(database) = Database::with(&rows()) else { return };
    let source = database.source(json!({ "cursor_columns": { "T": "ID" } }));
    let (mut stream, ..) = begin(&*source, 1000).await;
    database
        .execute("DELETE FROM MON$ATTACHMENTS WHERE MON$ATTACHMENT_ID <> CURRENT_CONNECTION AND MON$SYSTEM_FLAG = 0;");
    let error = loop {
        match stream.next().await.expect("a stream that breaks says so") {
            Ok(ReadItem::End { .. }) => panic!("it cannot be whole"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error}");
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows.len(), 60_000);
}

#[tokio::test]
async fn a_reading_that_is_dropped_lets_its_thread_and_its_attachment_go() {
    let Some(database) =
        Database::with(&format!("{} COMMIT; CREATE VIEW SLOW AS SELECT A.ID FROM T A, T B ORDER BY A.V, B.V;", rows()))
    else {
        return;
    };
    let source = database.source(json!({}));
    // The server sorts for minutes before the first row.
    let stream = source.read(ReadRequest::whole(table("SLOW"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begin = Instant::now();
    drop(stream);
    let discovery = source.discover(&Selection::default()).await.unwrap();
    assert_eq!(discovery.tables.len(), 2);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    // The runtime of this test ends only when its threads do.
}

#[tokio::test]
async fn a_table_that_is_altered_or_dropped_is_read_as_it_is_then_or_not_at_all() {
    let Some(database) = Database::with("CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY); INSERT INTO T VALUES (1);")
    else {
        return;
    };
    let source = database.source(json!({}));
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows, ["ID=1"]);
    database.execute("ALTER TABLE T ADD MORE VARCHAR(5) DEFAULT 'x' NOT NULL;");
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows, ["ID=1|MORE=x"]);
    // A writer that holds rows keeps no reader waiting.
    let mut holder = database.hold("SET TRANSACTION; UPDATE T SET MORE = 'y';\n");
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows, ["ID=1|MORE=x"]);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    database.execute("DROP TABLE T;");
    let error = read_all(&*source, request(None)).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
}

#[tokio::test]
async fn a_computed_column_that_cannot_be_computed_fails_with_advice_and_without_the_value() {
    let Some(database) = Database::with(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY, A INTEGER, B COMPUTED BY (100 / A)); COMMIT;
         INSERT INTO T (ID, A) VALUES (1, 5); INSERT INTO T (ID, A) VALUES (2, 0);",
    ) else {
        return;
    };
    let error = read_all(&*database.source(json!({})), request(None)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains("computed"), "{error}");
}

#[tokio::test]
async fn a_user_without_the_right_is_told_so() {
    let Some(database) = Database::with(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY); CREATE TABLE U (ID INTEGER); INSERT INTO T VALUES (1);",
    ) else {
        return;
    };
    let user = format!("U{}", &uuid::Uuid::new_v4().simple().to_string()[..8]).to_uppercase();
    database.execute(&format!("CREATE USER {user} PASSWORD 'old'; COMMIT; GRANT SELECT ON U TO {user};"));
    let source = database.source_with(json!({ "user": user.clone() }), "old");
    let error = read_all(&*source, request(None)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains("GRANT SELECT"), "{error}");
    assert_eq!(read_all(&*source, ReadRequest::whole(table("U"))).await.unwrap().rows.len(), 0);
    // A password that was changed.
    database.execute(&format!("ALTER USER {user} PASSWORD 'new';"));
    let error = read_all(&*source, ReadRequest::whole(table("U"))).await.unwrap_err();
    assert!(error.to_string().contains("FIREBIRD_PASSWORD_MIS"), "{error}");
    let renewed = database.source_with(json!({ "user": user }), "new");
    assert_eq!(read_all(&*renewed, ReadRequest::whole(table("U"))).await.unwrap().rows.len(), 0);
}

#[tokio::test]
async fn a_network_that_is_cut_interrupts_and_the_reading_goes_on_from_its_cursor() {
    let Some(database) = Database::with(&rows()) else { return };
    let network = Proxy::to(database.port).await;
    let source = database.source(json!({ "port": network.port, "cursor_columns": { "T": "ID" } }));
    let (mut stream, _, mut cursor) = begin(&*source, 1000).await;
    network.cut();
    let error = loop {
        match stream.next().await.expect("a stream that breaks says so") {
            Ok(ReadItem::Cursor(at)) => cursor = Some(at),
            Ok(ReadItem::End { .. }) => panic!("it cannot be whole"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error}");
    let first: usize = cursor.as_ref().unwrap().0["rows"]["last"].as_str().unwrap().parse().unwrap();
    let rest = read_all(&*source, request(cursor)).await.unwrap();
    assert_eq!(first + rest.rows.len(), 60_000, "every row once");
}

#[tokio::test]
async fn a_database_behind_ssh_is_read_and_a_gate_that_is_closed_is_told_of() {
    let Some(mut gate) = Sshd::start("") else { return };
    let Some(database) = Database::with(&rows()) else { return };
    let source = database.source(json!({ "ssh": gate.block() }));
    let reports = source.check().await;
    assert!(reports.iter().all(|report| report.outcome == mavis_connectors::StageOutcome::Passed), "{reports:?}");
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows.len(), 60_000);
    gate.stop();
    let error = read_all(&*source, request(None)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

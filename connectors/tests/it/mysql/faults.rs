//! What goes wrong while a table is read.

use std::time::Duration;

use futures::StreamExt;
use mavis_connectors::{
    Error, ReadItem, ReadRequest, Source,
    testkit::{Reading, read_all},
};
use mavis_types::Cursor;
use serde_json::json;
use sqlx::Executor;

use super::support::{Database, Server, table};
use crate::ssh::sshd::{Proxy, Sshd};

const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v varchar(200)) ENGINE=InnoDB;
    INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_300000;";

fn request(from: Option<Cursor>) -> ReadRequest {
    ReadRequest { batch_rows: 1000, from, ..ReadRequest::whole(table("t")) }
}

/// Reads until a number of rows have come, and leaves the stream to the caller.
async fn begin(
    source: &dyn Source,
    from: Option<Cursor>,
    wanted: usize,
) -> (mavis_connectors::ReadStream, Vec<i32>, Option<Cursor>) {
    let mut stream = source.read(request(from)).await.unwrap();
    let (mut ids, mut cursor) = (Vec::new(), None);
    while ids.len() < wanted {
        match stream.next().await.unwrap().unwrap() {
            ReadItem::Batch(batch) => ids.extend(ids_of(&batch)),
            ReadItem::Cursor(at) => cursor = Some(at),
            other => panic!("{other:?}"),
        }
    }
    (stream, ids, cursor)
}

fn ids_of(batch: &arrow::array::RecordBatch) -> Vec<i32> {
    arrow::array::AsArray::as_primitive::<arrow::datatypes::Int32Type>(batch.column(0)).values().to_vec()
}

/// Reads on to the error.
async fn until_error(
    mut stream: mavis_connectors::ReadStream,
    ids: &mut Vec<i32>,
    cursor: &mut Option<Cursor>,
) -> Error {
    loop {
        match stream.next().await.expect("a stream that breaks says so") {
            Ok(ReadItem::Batch(batch)) => ids.extend(ids_of(&batch)),
            Ok(ReadItem::Cursor(at)) => *cursor = Some(at),
            Ok(other) => panic!("{other:?}"),
            Err(error) => return error,
        }
    }
}

fn ids_of_all(reading: &Reading) -> Vec<i32> {
    reading.batches.iter().flat_map(ids_of).collect()
}

#[tokio::test]
async fn a_server_that_is_killed_interrupts_and_the_reading_goes_on_from_its_cursor_when_it_is_back() {
    let Some(mut server) = Server::start().await else { return };
    let database = Database::on(&server.admin(), ROWS).await;
    let source = database.source(json!({ "cursor_columns": { "t": "id" } }));
    let (stream, mut ids, mut cursor) = begin(&*source, None, 5000).await;
    server.kill();
    let error = until_error(stream, &mut ids, &mut cursor).await;
    assert!(error.is_transient(), "{error}");
    // What came after the last cursor is not kept.
    ids.truncate(ids.iter().position(|id| Some(id.to_string()) == last(cursor.as_ref())).unwrap() + 1);
    let down = source.read(request(cursor.clone())).await.err().expect("nobody answers");
    assert!(down.is_transient(), "{down}");
    server.restart().await;
    let rest = read_all(&*source, request(cursor)).await.unwrap();
    ids.extend(ids_of_all(&rest));
    let wrong = ids.iter().zip(1..).position(|(id, expected)| *id != expected);
    assert_eq!((ids.len(), wrong), (300_000, None), "every row once, in order");
}

fn last(cursor: Option<&Cursor>) -> Option<String> {
    Some(cursor?.0["last"].as_str()?.to_owned())
}

#[tokio::test]
async fn a_connection_that_is_killed_interrupts() {
    let Some(database) = Database::with(ROWS).await else { return };
    let source = database.source(json!({}));
    let (stream, mut ids, mut cursor) = begin(&*source, None, 2000).await;
    database
        .execute(&format!(
            "BEGIN NOT ATOMIC
               DECLARE victim int DEFAULT (SELECT ID FROM information_schema.PROCESSLIST
                                           WHERE DB = '{}' AND ID <> CONNECTION_ID() LIMIT 1);
               KILL victim;
             END",
            database.name
        ))
        .await;
    let error = until_error(stream, &mut ids, &mut cursor).await;
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows.len(), 300_000);
}

#[tokio::test]
async fn a_locked_table_is_waited_for_so_long_and_then_said_to_be_locked() {
    let Some(database) =
        Database::with("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);").await
    else {
        return;
    };
    let mut holder = database.connection().await;
    holder.execute("LOCK TABLES t WRITE").await.unwrap();
    let source = database.source(json!({ "lock_timeout_seconds": 1 }));
    let error = read_all(&*source, request(None)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("lock"), "{error}");
    let patient = database.source(json!({ "lock_timeout_seconds": 30 }));
    let waiting = tokio::spawn(async move { read_all(&*patient, request(None)).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    holder.execute("UNLOCK TABLES").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_table_that_is_altered_or_dropped_is_read_as_it_was_or_not_at_all() {
    let Some(database) = Database::with(ROWS).await else { return };
    // While rows flow, the server holds the table as it is: whoever alters it waits, and the reading is whole.
    let source = database.source(json!({}));
    let (mut stream, mut ids, _) = begin(&*source, None, 1000).await;
    let altering = {
        let mut connection = database.connection().await;
        tokio::spawn(async move { connection.execute("ALTER TABLE t ADD COLUMN more int FIRST").await.map(|_| ()) })
    };
    let mut ended = false;
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            ReadItem::Batch(batch) => ids.extend(ids_of(&batch)),
            ReadItem::End { whole, .. } => ended = whole,
            _ => {}
        }
    }
    assert!(ended && ids.len() == 300_000, "{}", ids.len());
    altering.await.unwrap().unwrap();
    let after = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap();
    assert_eq!(after.batches[0].schema().field(0).name(), "more", "the next reading sees the new column");

    database.execute("RENAME TABLE t TO other").await;
    let error = read_all(&*source, request(None)).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
}

#[tokio::test]
async fn a_password_that_is_changed_is_refused_at_the_next_reading_and_accepted_with_the_new_one() {
    let Some(database) = Database::with("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);").await else {
        return;
    };
    let (name, user) = (&database.name, format!("u{}", &database.name[database.name.len() - 12..]));
    database
        .execute(&format!("CREATE USER {user}@'%' IDENTIFIED BY 'old'; GRANT SELECT ON {name}.* TO {user}@'%';"))
        .await;
    let with = |password| database.source_with(json!({ "user": user }), password);
    assert_eq!(read_all(&*with("old"), request(None)).await.unwrap().rows.len(), 1);
    database.execute(&format!("ALTER USER {user}@'%' IDENTIFIED BY 'new'")).await;
    let error = read_all(&*with("old"), request(None)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains("MYSQL_PASSWORD_HIS"), "{error}");
    assert_eq!(read_all(&*with("new"), request(None)).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_network_that_is_cut_interrupts_and_the_reading_goes_on_from_its_cursor() {
    let Some(database) = Database::with(ROWS).await else { return };
    let network = Proxy::to(database.port).await;
    let source = database.source(json!({ "port": network.port, "cursor_columns": { "t": "id" } }));
    let (stream, mut ids, mut cursor) = begin(&*source, None, 2000).await;
    network.cut();
    let error = until_error(stream, &mut ids, &mut cursor).await;
    assert!(error.is_transient(), "{error}");
    let first = last(cursor.as_ref()).unwrap().parse::<usize>().unwrap();
    let rest = read_all(&*source, request(cursor)).await.unwrap();
    assert_eq!(first + rest.rows.len(), 300_000, "every row once");
}

#[tokio::test]
async fn a_database_behind_ssh_is_read_and_a_gate_that_is_closed_is_told_of() {
    let Some(mut gate) = Sshd::start("") else { return };
    let Some(database) =
        Database::with("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT seq FROM seq_1_to_3000;").await
    else {
        return;
    };
    let source = database.source(json!({ "ssh": gate.block() }));
    let reports = source.check().await;
    assert!(reports.iter().all(|report| report.outcome == mavis_connectors::StageOutcome::Passed), "{reports:?}");
    assert_eq!(read_all(&*source, request(None)).await.unwrap().rows.len(), 3000);
    gate.stop();
    let error = read_all(&*source, request(None)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

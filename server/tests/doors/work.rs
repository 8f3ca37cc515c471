//! Statements that write, and batches of clients, at every door.

use std::{sync::Arc, time::Duration};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::{
    error::FlightError,
    sql::{CommandStatementIngest, TableDefinitionOptions, client::FlightSqlServiceClient},
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_proto::v1::Role;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::harness::TestServer;

const SECRET: &str = "Kanarienvogel";

async fn flight(test: &TestServer, token: &str) -> FlightSqlServiceClient<Channel> {
    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.set_token(token.to_owned());
    client
}

async fn http(test: &TestServer, token: &str, body: Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(token).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn count(test: &TestServer, token: &str, table: &str) -> i64 {
    let (status, answer) = http(test, token, json!({ "sql": format!("SELECT count(*) FROM {table}") })).await;
    assert_eq!(status, 200, "{answer}");
    answer["rows"][0][0].as_i64().unwrap()
}

fn batch(from: i64, rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("name {n}"))));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_answers_a_statement_that_writes_with_its_rows() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let (status, made) =
        http(&test, &ana, json!({"sql": "CREATE TABLE t AS SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'b'"}))
            .await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made, json!({"command": "CREATE TABLE AS", "target": "work.ana.t", "rows_affected": 2}));
    let (status, done) = http(&test, &ana, json!({"sql": "INSERT INTO t VALUES (?, ?)", "params": [3, SECRET]})).await;
    assert_eq!((status, &done["rows_affected"]), (200, &json!(1)), "{done}");
    let (status, done) = http(
        &test,
        &ana,
        json!({"sql": "UPDATE t SET name = :name WHERE id < :most", "params": {"name": "c", "most": 3}}),
    )
    .await;
    assert_eq!((status, &done["rows_affected"]), (200, &json!(2)), "{done}");
    assert_eq!(count(&test, &ana, "work.ana.t").await, 3);

    let reader = test.token("reader", Role::Reader, &["work.ana"]).await;
    assert_eq!(count(&test, &reader, "work.ana.t").await, 3);
    for (token, sql, expected) in [
        (&reader, "DELETE FROM work.ana.t", 403),
        (&ana, "DELETE FROM work.bob.t", 403),
        (&ana, "INSERT INTO raw.x.t VALUES (1)", 403),
        (&ana, "DELETE FROM nothing", 404),
        (&ana, "CREATE TABLE t (a INT)", 409),
        (&ana, "INSERT INTO t VALUES (1)", 400),
        (&ana, "INSERT INTO t (id) VALUES ('x')", 400),
    ] {
        let (status, answer) = http(&test, token, json!({ "sql": sql })).await;
        assert_eq!(status, expected, "{sql}: {answer}");
    }
    assert_eq!(count(&test, &ana, "t").await, 3);

    // The audit says who wrote what, and never a value.
    let lines = "SELECT action, object, allowed, rows FROM system.ops.audit WHERE action LIKE 'write%' ORDER BY id";
    let mut lines_told = Vec::new();
    for _ in 0..200 {
        let (_, answer) = http(&test, &test.admin_token(), json!({ "sql": lines })).await;
        lines_told = answer["rows"].as_array().cloned().unwrap();
        if lines_told.len() >= 10 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(lines_told.contains(&json!(["write.create_table_as", "t", true, 2])), "{lines_told:?}");
    assert!(lines_told.contains(&json!(["write.insert", "t", true, 1])), "{lines_told:?}");
    assert!(lines_told.contains(&json!(["write", "work.bob.t", false, 0])), "{lines_told:?}");
    assert!(!format!("{lines_told:?}").contains(SECRET));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_executes_updates_plain_prepared_and_sent_as_queries() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let mut client = flight(&test, &ana).await;
    assert_eq!(client.execute_update("CREATE TABLE t (id BIGINT, name TEXT)".to_owned(), None).await.unwrap(), 0);
    assert_eq!(client.execute_update("INSERT INTO t VALUES (1, 'a'), (2, 'b')".to_owned(), None).await.unwrap(), 2);

    // A client that sends everything as a query: it runs once, when its info is asked for.
    let info = client.execute("INSERT INTO t VALUES (3, 'c')".to_owned(), None).await.unwrap();
    assert_eq!((info.total_records, info.endpoint.len()), (1, 1));
    assert_eq!(info.try_decode_schema().unwrap().field(0).name(), "count");
    assert_eq!(count(&test, &ana, "t").await, 3);

    let mut prepared = client.prepare("INSERT INTO t VALUES (?, ?)".to_owned(), None).await.unwrap();
    assert!(prepared.dataset_schema().unwrap().fields().is_empty(), "that is how JDBC knows an update");
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 2);
    prepared.set_parameters(batch(100, 50)).unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 50);
    prepared.close().await.unwrap();
    let mut prepared = client.prepare("DELETE FROM t WHERE id >= 100".to_owned(), None).await.unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 50);
    assert_eq!(count(&test, &ana, "t").await, 3);

    let error = client.execute_update("DELETE FROM work.bob.t".to_owned(), None).await.unwrap_err();
    assert!(error.to_string().contains("work.ana"), "{error}");
    let error = client.execute_update("SELECT 1".to_owned(), None).await.unwrap_err();
    assert!(error.to_string().contains("query"), "{error}");
    test.stop().await;
}

fn command(table: &str, if_not_exist: i32, if_exists: i32) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions { if_not_exist, if_exists }),
        table: table.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_takes_batches_into_tables() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let mut client = flight(&test, &ana).await;
    let batches = || stream::iter([Ok(batch(0, 1_000)), Ok(batch(1_000, 500))]);
    assert_eq!(client.execute_ingest(command("t", 1, 1), batches()).await.unwrap(), 1_500);
    assert_eq!(count(&test, &ana, "work.ana.t").await, 1_500);
    let error = client.execute_ingest(command("t", 1, 1), batches()).await.unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(client.execute_ingest(command("t", 2, 2), batches()).await.unwrap(), 1_500);
    assert_eq!(count(&test, &ana, "t").await, 3_000);
    assert_eq!(client.execute_ingest(command("t", 1, 3), batches()).await.unwrap(), 1_500);
    assert_eq!(count(&test, &ana, "t").await, 1_500);
    let empty = stream::iter([Ok(batch(0, 0))]);
    assert_eq!(client.execute_ingest(command("empty", 1, 1), empty).await.unwrap(), 0);
    assert_eq!(count(&test, &ana, "empty").await, 0);

    for (change, word) in [
        (CommandStatementIngest { temporary: true, ..command("u", 1, 1) }, "temporary"),
        (CommandStatementIngest { transaction_id: Some("x".into()), ..command("u", 1, 1) }, "transactions"),
        (CommandStatementIngest { catalog: Some("raw".to_owned()), ..command("u", 1, 1) }, "permission"),
        (CommandStatementIngest { catalog: Some("fhir".to_owned()), ..command("u", 1, 1) }, "read-only"),
        (CommandStatementIngest { schema: Some("bob".to_owned()), ..command("u", 1, 1) }, "work.ana"),
        (command("", 1, 1), "names a table"),
        (command("nothing", 2, 2), "there is no table"),
    ] {
        let error = client.execute_ingest(change, batches()).await.unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    test.stop().await;
}

/// An upload whose last batch never comes; `sent` is told once the first was taken.
fn unfinished(
    from: i64,
    sent: tokio::sync::oneshot::Sender<()>,
) -> impl futures::Stream<Item = Result<RecordBatch, FlightError>> + Send {
    stream::iter([Ok(batch(from, 10)), Ok(batch(from + 10, 10))]).chain(stream::once(async move {
        sent.send(()).unwrap();
        std::future::pending().await
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_its_client_gives_up_leaves_nothing() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let mut client = flight(&test, &ana).await;
    let whole = || stream::iter([Ok(batch(0, 1_000))]);
    assert_eq!(client.execute_ingest(command("t", 1, 1), whole()).await.unwrap(), 1_000);
    for (table, if_not_exist, if_exists) in [("t", 2, 2), ("t", 1, 3), ("made", 1, 1)] {
        for _ in 0..5 {
            let (sent, is_sent) = tokio::sync::oneshot::channel();
            let upload = client.execute_ingest(command(table, if_not_exist, if_exists), unfinished(5_000, sent));
            tokio::select! {
                outcome = upload => panic!("the upload ended: {outcome:?}"),
                _ = async { is_sent.await.unwrap(); tokio::time::sleep(Duration::from_millis(50)).await } => {}
            }
        }
    }
    // The connection is the same; the next upload comes after whatever became of the others.
    assert_eq!(client.execute_ingest(command("t", 2, 2), whole()).await.unwrap(), 1_000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(count(&test, &ana, "t").await, 2_000);
    let (status, answer) = http(&test, &ana, json!({ "sql": "SELECT count(*) FROM made" })).await;
    assert_eq!(status, 404, "{answer}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_connection_breaks_leaves_nothing() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let mut client = flight(&test, &ana).await;
    assert_eq!(client.execute_ingest(command("t", 1, 1), stream::iter([Ok(batch(0, 7))])).await.unwrap(), 7);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap();
    let server = test.grpc_address();
    let line = tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.unwrap();
        let mut there = tokio::net::TcpStream::connect(server).await.unwrap();
        tokio::io::copy_bidirectional(&mut here, &mut there).await.unwrap();
    });
    let channel = Channel::from_shared(format!("http://{between}")).unwrap().connect().await.unwrap();
    let mut cut = FlightSqlServiceClient::new(channel);
    cut.set_token(ana.clone());
    let (sent, is_sent) = tokio::sync::oneshot::channel();
    let upload = tokio::spawn(async move { cut.execute_ingest(command("t", 2, 2), unfinished(5_000, sent)).await });
    is_sent.await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    line.abort();
    upload.await.unwrap().unwrap_err();
    assert_eq!(client.execute_ingest(command("t", 2, 2), stream::iter([Ok(batch(0, 7))])).await.unwrap(), 7);
    assert_eq!(count(&test, &ana, "t").await, 14);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_how_many_rows() {
    let test = TestServer::start().await;
    let out = test.mavis(&["sql", "CREATE TABLE work.a.t AS SELECT 1 AS n UNION ALL SELECT 2"]).await;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "2 rows");
    let out = test.mavis(&["--format", "json", "sql", "DELETE FROM work.a.t WHERE n = 1"]).await;
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "{\"rows_affected\":1}");
    test.stop().await;
}

/// The rows of a query over Flight, to see that reading goes on as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_ingested_is_listed_and_read() {
    let test = TestServer::start().await;
    let token = test.admin_token();
    let mut client = flight(&test, &token).await;
    let into = CommandStatementIngest { schema: Some("lab".to_owned()), ..command("t", 1, 1) };
    client.execute_ingest(into, stream::iter([Ok(batch(0, 3))])).await.unwrap();
    let info = client.execute("SELECT id FROM work.lab.t ORDER BY id".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<RecordBatch> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(batches.iter().flat_map(|batch| batch.columns()[0].to_data().buffers()[0].to_vec()).count(), 24);
    assert!(stream::iter(batches).next().await.is_some());
    test.stop().await;
}

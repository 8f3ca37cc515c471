//! What the wire takes and refuses before anybody is let in, and what stands and falls with a transaction.

use std::time::Duration;

use sqlx::{Executor, PgConnection, Row};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::connect;
use crate::harness::TestServer;

async fn socket(test: &TestServer) -> TcpStream {
    TcpStream::connect(test.server.postgres_address().unwrap()).await.unwrap()
}

/// What the server says until it closes.
async fn until_closed(mut socket: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut said)).await.expect("it closes");
    // What was not read of what we said resets the connection.
    assert!(closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_start_is_turned_away_without_harm() {
    let test = TestServer::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x00\x00\x00\x04",
        b"\x7f\xff\xff\xff\x00\x03\x00\x00",
        b"\x00\x00\x00\x08\x00\x02\x00\x00",
        b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x01",
    ] {
        let mut socket = socket(&test).await;
        socket.write_all(bytes).await.unwrap();
        // What is too short to be a start is waited for only as long as more may come.
        socket.shutdown().await.unwrap();
        until_closed(socket).await;
    }
    // Somebody who is let in may still speak nonsense.
    let mut socket = socket(&test).await;
    socket.write_all(b"\x00\x00\x00\x10\x00\x03\x00\x00user\0x\0\0").await.unwrap();
    let mut asked = [0; 9];
    socket.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"R\0\0\0\x08\0\0\0\x03");
    socket.write_all(b"Q\0\0\0\x0dSELECT 1\0").await.unwrap();
    let said = until_closed(socket).await;
    assert!(said.windows(5).any(|part| part == b"08P01"), "{said:?}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_encryption_is_declined_and_the_start_goes_on() {
    let test = TestServer::start().await;
    let mut socket = socket(&test).await;
    for request in [80_877_103_u32, 80_877_104] {
        socket.write_all(&[&8_u32.to_be_bytes()[..], &request.to_be_bytes()[..]].concat()).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'N');
    }
    test.stop().await;
}

/// The first value of an answer.
async fn first(connection: &mut PgConnection, sql: &'static str) -> String {
    (&mut *connection).fetch_one(sqlx::raw_sql(sql)).await.unwrap().get_unchecked(0)
}

async fn run(connection: &mut PgConnection, statements: &[&'static str]) {
    for sql in statements.iter().copied() {
        (&mut *connection).execute(sqlx::raw_sql(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// The state with which a statement fails.
async fn state(connection: &mut PgConnection, sql: &'static str) -> String {
    let error = (&mut *connection).fetch_all(sqlx::raw_sql(sql)).await.unwrap_err();
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_stand_and_fall_with_their_transaction() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let timeout = "SHOW statement_timeout";
    run(&mut connection, &["BEGIN", "SET LOCAL statement_timeout = '5s'"]).await;
    assert_eq!(first(&mut connection, timeout).await, "5000");
    run(&mut connection, &["COMMIT"]).await;
    assert_eq!(first(&mut connection, timeout).await, "0");
    run(&mut connection, &["BEGIN", "SET statement_timeout = '6s'", "ROLLBACK"]).await;
    assert_eq!(first(&mut connection, timeout).await, "0");
    run(&mut connection, &["BEGIN", "SET statement_timeout = '7s'", "SET LOCAL statement_timeout = '8s'", "COMMIT"])
        .await;
    assert_eq!(first(&mut connection, timeout).await, "7000");
    run(&mut connection, &["BEGIN", "SAVEPOINT s", "SET statement_timeout = '9s'", "ROLLBACK TO s", "COMMIT"]).await;
    assert_eq!(first(&mut connection, timeout).await, "7000");
    run(&mut connection, &["RESET statement_timeout"]).await;
    assert_eq!(first(&mut connection, timeout).await, "0");
    let connections = test.server.app().config.postgres.connections.to_string();
    assert_eq!(first(&mut connection, "SHOW max_connections").await, connections);
    assert_eq!(first(&mut connection, "SHOW ssl").await, "off");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_stand_and_fall_with_their_transaction() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT 7";
    run(&mut connection, &["BEGIN", declare, "ROLLBACK"]).await;
    assert_eq!(state(&mut connection, "FETCH c").await, "34000");
    run(&mut connection, &["BEGIN", declare, "COMMIT"]).await;
    assert_eq!(first(&mut connection, "FETCH c").await, "7");
    run(&mut connection, &["BEGIN", "ROLLBACK"]).await;
    run(&mut connection, &["FETCH c", "CLOSE c", "BEGIN", "DECLARE a CURSOR FOR SELECT 1", "SAVEPOINT s"]).await;
    run(&mut connection, &["DECLARE b CURSOR FOR SELECT 2", "ROLLBACK TO s", "FETCH a"]).await;
    assert_eq!(state(&mut connection, "FETCH b").await, "34000");
    run(&mut connection, &["ROLLBACK"]).await;
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_whose_query_failed_does_not_look_empty() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT 1 / (n - 3) FROM (SELECT unnest(range(0, 5)) AS n)";
    run(&mut connection, &[declare]).await;
    assert_eq!(state(&mut connection, "FETCH ALL FROM c").await, "22012");
    assert_eq!(state(&mut connection, "FETCH c").await, "34000");
    run(&mut connection, &[declare]).await;
    assert_eq!(state(&mut connection, "MOVE ALL IN c").await, "22012");
    assert_eq!(state(&mut connection, "FETCH c").await, "34000");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_takes_values() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let sql = "DECLARE c CURSOR WITH HOLD FOR SELECT n FROM (VALUES (1), (2), (3)) AS t(n) WHERE n > $1 ORDER BY n";
    sqlx::query(sql).bind(1_i64).execute(&mut connection).await.unwrap();
    let rows = connection.fetch_all(sqlx::raw_sql("FETCH ALL FROM c")).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>(), [2, 3]);
    test.stop().await;
}

//! Statements that write and come as queries, uploads at once and uploads that are cut, and answers that outlive a token.

use std::{sync::Arc, time::Duration};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema};
use arrow_flight::{
    FlightData, FlightDescriptor, FlightInfo, SchemaResult,
    decode::FlightRecordBatchStream,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_client::FlightServiceClient,
    sql::{
        CommandStatementIngest, CommandStatementQuery, ProstMessageExt, TableDefinitionOptions,
        client::FlightSqlServiceClient,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_proto::v1::Role;
use prost::Message;
use rstest::rstest;
use tokio::sync::Barrier;
use tonic::{Code, transport::Channel};

use crate::harness::{TestServer, with};

type Client = FlightSqlServiceClient<Channel>;

async fn client(test: &TestServer, token: &str) -> Client {
    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.set_token(token.to_owned());
    client
}

/// Every row of the one endpoint of an info, whose columns must be those that were told.
async fn fetch(client: &mut Client, info: &FlightInfo) -> Vec<RecordBatch> {
    let [endpoint] = info.endpoint.as_slice() else { panic!("{} endpoints", info.endpoint.len()) };
    let mut stream = client.do_get(endpoint.ticket.clone().unwrap()).await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        batches.push(batch);
    }
    assert_eq!(stream.schema().unwrap().as_ref(), &info.clone().try_decode_schema().unwrap());
    batches
}

fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

async fn count(client: &mut Client, table: &str) -> i64 {
    let info = client.execute(format!("SELECT count(*) AS n FROM {table}"), None).await.unwrap();
    numbers(&fetch(client, &info).await)[0]
}

fn batch(from: i64, rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

fn command(table: &str, if_not_exist: i32, if_exists: i32) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions { if_not_exist, if_exists }),
        table: table.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_as_a_query_runs_once_and_says_what_it_did() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let mut client = client(&test, &ana).await;
    let info = client.execute("CREATE TABLE t (id BIGINT)".to_owned(), None).await.unwrap();
    assert_eq!(numbers(&fetch(&mut client, &info).await), [0]);

    // To ask for the columns runs nothing.
    let insert = "INSERT INTO t VALUES (1), (2)";
    let command = CommandStatementQuery { query: insert.to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let mut flight = FlightServiceClient::new(test.channel().await);
    let told: SchemaResult = flight.get_schema(with(&ana, descriptor.clone())).await.unwrap().into_inner();
    assert_eq!(count(&mut client, "t").await, 0);

    let info = client.execute(insert.to_owned(), None).await.unwrap();
    assert_eq!(Schema::try_from(&told).unwrap(), info.clone().try_decode_schema().unwrap());
    assert_eq!(info.total_records, 2, "what clients tell as the rows concerned");
    for _ in 0..2 {
        let batches = fetch(&mut client, &info).await;
        assert_eq!((batches[0].schema().field(0).name().as_str(), numbers(&batches)), ("count", vec![2]));
    }
    assert_eq!(count(&mut client, "t").await, 2);

    let mut prepared = client.prepare("INSERT INTO t VALUES (?)".to_owned(), None).await.unwrap();
    prepared.set_parameters(batch(10, 5)).unwrap();
    let info = prepared.execute().await.unwrap();
    assert_eq!(numbers(&fetch(&mut client, &info).await), [5]);
    assert_eq!(count(&mut client, "t").await, 7);

    let info = client.execute("CREATE TABLE u AS SELECT * FROM t".to_owned(), None).await.unwrap();
    assert_eq!(numbers(&fetch(&mut client, &info).await), [7]);

    let polled = flight.poll_flight_info(with(&ana, descriptor)).await.unwrap().into_inner();
    assert!(polled.flight_descriptor.is_none(), "it is done");
    assert_eq!(numbers(&fetch(&mut client, &polled.info.unwrap()).await), [2]);
    assert_eq!(count(&mut client, "t").await, 9);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_about_rights_runs_when_its_info_is_asked_for() {
    let test = TestServer::start().await;
    let mut admin = client(&test, &test.admin_token()).await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let bob = test.token("bob", Role::Reader, &["raw.nothing"]).await;
    client(&test, &ana).await.execute("CREATE TABLE t AS SELECT 1 AS id".to_owned(), None).await.unwrap();
    let mut reader = client(&test, &bob).await;
    let query = "SELECT count(*) AS n FROM work.ana.t".to_owned();
    assert!(reader.execute(query.clone(), None).await.is_err());

    let info = admin.execute("GRANT SELECT ON work.ana.t TO USER bob".to_owned(), None).await.unwrap();
    assert!(reader.execute(query.clone(), None).await.is_ok(), "before it was fetched");
    let batches = fetch(&mut admin, &info).await;
    assert!(!batches[0].column(0).as_string::<i32>().value(0).is_empty());
    admin.execute_update("REVOKE SELECT ON work.ana.t FROM USER bob".to_owned(), None).await.unwrap();
    fetch(&mut admin, &info).await;
    assert!(reader.execute(query, None).await.is_err(), "to fetch it again grants nothing");
    test.stop().await;
}

#[rstest]
#[case::create_append(2, 40)]
#[case::replace(3, 20)]
#[tokio::test(flavor = "multi_thread")]
async fn two_uploads_that_make_one_table_at_once_both_succeed(#[case] if_exists: i32, #[case] rows: i64) {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let both = Arc::new(Barrier::new(2));
    let upload = async |from: i64| {
        let mut client = client(&test, &ana).await;
        let both = Arc::clone(&both);
        let rest = async move {
            both.wait().await;
            // Both are begun by then, and there is no table yet.
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok::<_, FlightError>(batch(from + 10, 10))
        };
        let rows = stream::iter([Ok(batch(from, 10))]).chain(stream::once(rest));
        client.execute_ingest(command("t", 1, if_exists), rows).await
    };
    let (one, other) = futures::join!(upload(0), upload(100));
    assert_eq!((one.unwrap(), other.unwrap()), (20, 20));
    let mut client = client(&test, &ana).await;
    assert_eq!(count(&mut client, "t").await, rows);
    let info = client.execute("SELECT count(DISTINCT id) AS n FROM t".to_owned(), None).await.unwrap();
    assert_eq!(numbers(&fetch(&mut client, &info).await), [rows]);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_short_is_told_and_writes_nothing() {
    let test = TestServer::start().await;
    let ana = test.token("ana", Role::Analyst, &[]).await;
    let descriptor = FlightDescriptor::new_cmd(command("t", 1, 1).as_any().encode_to_vec());
    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
    let batches = stream::iter([Ok(batch(0, 100)), Ok(batch(100, 100))]);
    let mut messages: Vec<FlightData> = encoder.build(batches).try_collect().await.unwrap();
    let last = messages.last_mut().unwrap();
    last.data_body.truncate(16);
    let mut flight = FlightServiceClient::new(test.channel().await);
    let answered = match flight.do_put(with(&ana, stream::iter(messages))).await {
        Ok(answer) => answer.into_inner().try_collect::<Vec<_>>().await.map(drop),
        Err(status) => Err(status),
    };
    let status = answered.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("message 3"), "{status}");
    assert!(client(&test, &ana).await.execute("SELECT * FROM t".to_owned(), None).await.is_err());
    test.stop().await;
}

/// More than the connection holds on the way.
const MANY: &str = "SELECT n, n AS m FROM (SELECT unnest(range(0, 4000000)) AS n)";

#[rstest]
#[case::as_it_was(None, None)]
#[case::revoked(Some("revoked"), Some(Code::Unauthenticated))]
#[case::more_rights(Some("GRANT SELECT ON ZONE raw TO USER bob"), None)]
#[case::less_rights(Some("REVOKE SELECT ON ZONE processed FROM USER bob"), Some(Code::PermissionDenied))]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_changes_reads_no_further(#[case] change: Option<&str>, #[case] end: Option<Code>) {
    let test = TestServer::start().await;
    let bob = test.token("bob", Role::Reader, &["raw.nothing"]).await;
    let mut admin = client(&test, &test.admin_token()).await;
    admin.execute_update("GRANT SELECT ON ZONE processed TO USER bob".to_owned(), None).await.unwrap();
    let info = client(&test, &bob).await.execute(MANY.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut flight = FlightServiceClient::new(test.channel().await);
    let stream = flight.do_get(with(&bob, ticket)).await.unwrap().into_inner();
    let mut rows = FlightRecordBatchStream::new_from_flight_data(stream.map_err(Into::into));
    let mut read = rows.try_next().await.unwrap().unwrap().num_rows();
    match change {
        Some("revoked") => test.server.app().catalog.revoke_token("bob").await.unwrap(),
        Some(sql) => {
            admin.execute_update(sql.to_owned(), None).await.unwrap();
        }
        None => {}
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let ended = loop {
        match rows.try_next().await {
            Ok(Some(batch)) => read += batch.num_rows(),
            Ok(None) => break None,
            Err(FlightError::Tonic(status)) => break Some(status.code()),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(ended, end);
    assert_eq!(read == 4_000_000, end.is_none());
    test.stop().await;
}

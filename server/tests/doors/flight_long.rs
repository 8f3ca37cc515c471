//! Flight SQL beyond one statement and one stream: several endpoints, polled queries, sessions, compression.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
    ipc::{CompressionType, root_as_message},
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, PollInfo, RenewFlightEndpointRequest, Ticket,
    decode::FlightRecordBatchStream,
    flight_service_client::FlightServiceClient,
    sql::{CommandStatementQuery, ProstMessageExt, client::FlightSqlServiceClient},
};
use futures::{StreamExt, TryStreamExt};
use mavis_catalog::{NewColumn, NewTable};
use mavis_proto::v1 as pb;
use mavis_types::{TableName, Zone};
use prost::Message;
use rstest::rstest;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};

use crate::harness::{TestServer, with};

const MANY: &str = "SELECT n FROM (SELECT unnest(range(0, 300000)) AS n)";
const ENDLESS: &str = "WITH r AS (SELECT unnest(range(0, 60000)) AS n) \
                       SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5";

/// A client that says whatever headers it is told to.
pub(crate) struct Caller {
    client: FlightServiceClient<Channel>,
    token: String,
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub(crate) async fn of(test: &TestServer) -> Self {
        Self::with(test, &test.admin_token(), &[]).await
    }

    pub(crate) async fn with(test: &TestServer, token: &str, headers: &[(&'static str, &str)]) -> Self {
        let client = FlightServiceClient::new(test.channel().await);
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { client, token: token.to_owned(), headers }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = with(&self.token, message);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(*name, MetadataValue::try_from(value).unwrap());
        }
        request
    }

    async fn info(&mut self, sql: &str) -> Result<FlightInfo, Status> {
        let request = self.request(statement(sql));
        self.client.get_flight_info(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn fetch(&mut self, ticket: Ticket) -> Result<Vec<RecordBatch>, Status> {
        let request = self.request(ticket);
        let stream = self.client.do_get(request).await?.into_inner();
        let rows = FlightRecordBatchStream::new_from_flight_data(stream.map_err(Into::into)).try_collect().await;
        rows.map_err(|error| match error {
            arrow_flight::error::FlightError::Tonic(status) => *status,
            other => Status::internal(other.to_string()),
        })
    }

    async fn poll(&mut self, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
        let request = self.request(descriptor);
        self.client.poll_flight_info(request).await.map(tonic::Response::into_inner)
    }

    /// The answer of an action, and the cookie that came with it.
    async fn act(&mut self, name: &str, body: Vec<u8>) -> Result<(Vec<u8>, Option<String>), Status> {
        let request = self.request(Action::new(name, body));
        let answer = self.client.do_action(request).await?;
        let cookie = cookie(answer.metadata());
        Ok((answer.into_inner().message().await?.unwrap().body.to_vec(), cookie))
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<i64>, Status> {
        let info = self.info(sql).await?;
        let mut rows = Vec::new();
        for ticket in tickets(&info) {
            rows.extend(numbers(&self.fetch(ticket).await?));
        }
        Ok(rows)
    }
}

fn statement(sql: &str) -> FlightDescriptor {
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// `name=value` of the cookie that a client would send back.
fn cookie(metadata: &tonic::metadata::MetadataMap) -> Option<String> {
    let line = metadata.get("set-cookie")?.to_str().unwrap();
    Some(line.split(';').next().unwrap().to_owned())
}

pub(crate) fn tickets(info: &FlightInfo) -> Vec<Ticket> {
    info.endpoint.iter().map(|endpoint| endpoint.ticket.clone().unwrap()).collect()
}

fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn works(busy: bool) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let before = cpu();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let used = cpu() - before;
        if (used > Duration::from_millis(250)) == busy && (busy || used < Duration::from_millis(100)) {
            return;
        }
        assert!(Instant::now() < end, "busy is to be {busy}, and it used {used:?} of half a second");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_is_read_from_several_endpoints_at_once() {
    let test = TestServer::start().await;
    let mut caller = Caller::with(&test, &test.admin_token(), &[("x-mavis-endpoints", "3")]).await;
    let info = caller.info(MANY).await.unwrap();
    assert_eq!((info.endpoint.len(), info.ordered), (3, false));
    let promised = info.clone().try_decode_schema().unwrap();
    let mut fetched = Vec::new();
    for ticket in tickets(&info) {
        let mut client = FlightSqlServiceClient::new(test.channel().await);
        client.set_token(test.admin_token());
        fetched.push(tokio::spawn(async move {
            let mut stream = client.do_get(ticket).await.unwrap();
            let mut batches = Vec::new();
            while let Some(batch) = stream.try_next().await.unwrap() {
                batches.push(batch);
            }
            (stream.schema().unwrap().clone(), batches)
        }));
    }
    let mut rows = Vec::new();
    for part in fetched {
        let (schema, batches) = part.await.unwrap();
        assert_eq!(schema.as_ref(), &promised, "one schema in both phases and at every endpoint");
        rows.extend(numbers(&batches));
    }
    rows.sort_unstable();
    assert_eq!(rows, (0..300_000).collect::<Vec<_>>(), "every row once");
    let again = caller.fetch(tickets(&info).remove(0)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition, "{again}");

    // Who reads only the first endpoint has all rows.
    let info = caller.info(MANY).await.unwrap();
    assert_eq!(numbers(&caller.fetch(tickets(&info).remove(0)).await.unwrap()).len(), 300_000);
    assert!(caller.fetch(tickets(&info).remove(2)).await.unwrap().is_empty());

    let ordered = caller.info(&format!("{MANY} ORDER BY n")).await.unwrap();
    assert_eq!((ordered.endpoint.len(), ordered.ordered), (1, true));
    let mut plain = Caller::of(&test).await;
    for sql in ["SELECT 1 AS n", "SELECT count(*) AS n FROM system.catalog.tables", "SHOW TABLES"] {
        assert_eq!(plain.info(sql).await.unwrap().endpoint.len(), 1, "{sql}");
    }
    let partitions = test.server.app().config.query.partitions.clamp(1, 8);
    assert_eq!(plain.info(MANY).await.unwrap().endpoint.len(), partitions);
    let other = test.token("other", pb::Role::Reader, &[]).await;
    let info = caller.info(MANY).await.unwrap();
    assert_eq!(numbers(&caller.fetch(tickets(&info).remove(1)).await.unwrap()).len(), 300_000);
    let mut other = Caller::with(&test, &other, &[]).await;
    assert!(other.fetch(tickets(&info).remove(0)).await.is_err(), "it is somebody else's query");
    let wrong = Caller::with(&test, &test.admin_token(), &[("x-mavis-endpoints", "many")]).await.info(MANY).await;
    assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
    test.stop().await;
}

#[rstest]
#[case("none", None)]
#[case("lz4", Some(CompressionType::LZ4_FRAME))]
#[case("zstd", Some(CompressionType::ZSTD))]
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_compressed_as_the_caller_asks(#[case] word: &str, #[case] codec: Option<CompressionType>) {
    let test = TestServer::start().await;
    let mut caller = Caller::with(&test, &test.admin_token(), &[("x-mavis-compression", word)]).await;
    let ticket = tickets(&caller.info(&format!("{MANY} ORDER BY n")).await.unwrap()).remove(0);
    let request = caller.request(ticket.clone());
    let messages: Vec<_> = caller.client.do_get(request).await.unwrap().into_inner().try_collect().await.unwrap();
    let mut seen = 0;
    for message in &messages {
        let header = root_as_message(&message.data_header).unwrap();
        if let Some(batch) = header.header_as_record_batch() {
            assert_eq!(batch.compression().map(|compression| compression.codec()), codec);
            seen += 1;
        }
    }
    assert!(seen > 0);
    assert_eq!(numbers(&caller.fetch(ticket).await.unwrap()), (0..300_000).collect::<Vec<_>>());
    let wrong =
        Caller::with(&test, &test.admin_token(), &[("x-mavis-compression", "rar")]).await.info("SELECT 1").await;
    assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_query_runs_while_the_client_asks_and_is_then_fetched_again_and_again() {
    let test = TestServer::start().await;
    let mut caller = Caller::of(&test).await;
    let sql = "WITH r AS (SELECT unnest(range(0, 3000)) AS n) \
               SELECT a.n AS n, b.n AS m FROM r a, r b WHERE (a.n * b.n) % 997 = 3";
    let mut polled = caller.poll(statement(sql)).await.unwrap();
    let mut rounds = 0;
    while let Some(descriptor) = polled.flight_descriptor.clone() {
        assert!(polled.expiration_time.is_some() && polled.progress.is_none_or(|share| (0.0..=1.0).contains(&share)));
        assert!(polled.info.as_ref().unwrap().endpoint.is_empty());
        polled = caller.poll(descriptor).await.unwrap();
        rounds += 1;
        assert!(rounds < 60);
    }
    let info = polled.info.unwrap();
    assert_eq!(polled.progress, Some(1.0));
    let promised = info.clone().try_decode_schema().unwrap();
    assert_eq!(promised.field(1).name(), "m");
    let rows: usize = {
        let batches = caller.fetch(tickets(&info).remove(0)).await.unwrap();
        assert_eq!(batches[0].schema().as_ref(), &promised);
        batches.iter().map(RecordBatch::num_rows).sum()
    };
    assert_eq!(i64::try_from(rows).unwrap(), info.total_records);
    assert!(info.endpoint[0].expiration_time.is_some(), "an endpoint that may be fetched again");
    assert_eq!(
        caller.fetch(tickets(&info).remove(0)).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(),
        rows
    );
    let cancel = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let (answer, _) = caller.act("CancelFlightInfo", cancel).await.unwrap();
    assert_eq!(
        CancelFlightInfoResult::decode(answer.as_slice()).unwrap().status(),
        CancelStatus::NotCancellable,
        "it is done, and its answer stays"
    );
    assert_eq!(
        caller.fetch(tickets(&info).remove(0)).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(),
        rows
    );
    let renew = RenewFlightEndpointRequest { endpoint: Some(info.endpoint[0].clone()) }.encode_to_vec();
    let (renewed, _) = caller.act("RenewFlightEndpoint", renew).await.unwrap();
    assert!(FlightEndpoint::decode(renewed.as_slice()).unwrap().expiration_time.is_some());
    let other = test.token("other", pb::Role::Reader, &[]).await;
    let refused = Caller::with(&test, &other, &[]).await.fetch(tickets(&info).remove(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    let nothing = caller.poll(statement("SELECT 1 AS n WHERE false")).await.unwrap().info.unwrap();
    assert_eq!((nothing.endpoint.len(), nothing.total_records), (1, 0));
    assert!(caller.fetch(tickets(&nothing).remove(0)).await.unwrap().is_empty());
    for (sql, code) in [("SELECT FRM", Code::InvalidArgument), ("SELECT * FROM raw.no.where", Code::NotFound)] {
        assert_eq!(caller.poll(statement(sql)).await.unwrap_err().code(), code, "{sql}");
    }
    let fails = caller.poll(statement("SELECT 1 / (n - 5) FROM (SELECT unnest(range(0, 9)) AS n)")).await;
    assert_eq!(fails.unwrap_err().code(), Code::InvalidArgument);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_work_of_a_polled_query_and_of_a_fetched_one() {
    let test = TestServer::start().await;
    let mut caller = Caller::of(&test).await;
    let polled = caller.poll(statement(ENDLESS)).await.unwrap();
    let again = polled.flight_descriptor.clone().expect("it is not done");
    works(true).await;
    let cancel = |info: FlightInfo| CancelFlightInfoRequest::new(info).encode_to_vec();
    let status = |body: Vec<u8>| CancelFlightInfoResult::decode(body.as_slice()).unwrap().status();
    let (answer, _) = caller.act("CancelFlightInfo", cancel(polled.info.unwrap())).await.unwrap();
    assert_eq!(status(answer), CancelStatus::Cancelled);
    works(false).await;
    assert_eq!(caller.poll(again).await.unwrap_err().code(), Code::Cancelled);

    let info = caller.info(ENDLESS).await.unwrap();
    let mut reader = Caller::of(&test).await;
    let ticket = tickets(&info).remove(0);
    let fetched = tokio::spawn(async move { reader.fetch(ticket).await });
    works(true).await;
    let (answer, _) = caller.act("CancelFlightInfo", cancel(info)).await.unwrap();
    assert_eq!(status(answer), CancelStatus::Cancelled);
    works(false).await;
    assert!(fetched.await.unwrap().unwrap_err().message().contains("cancelled"));
    test.stop().await;
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Refused {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, Error>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Error {
    #[prost(int32, tag = "1")]
    value: i32,
}

fn options(set: &[(&str, &str)]) -> Vec<u8> {
    let option = |text: &str| OptionValue { text: Some(text.to_owned()) };
    Options { options: set.iter().map(|(name, text)| ((*name).to_owned(), option(text))).collect() }.encode_to_vec()
}

/// A table of the catalog, without rows in the lake.
pub(crate) async fn table(test: &TestServer, schema: &str, name: &str, columns: &[&str]) {
    let catalog = &test.server.app().catalog;
    let column = |name: &&str| NewColumn {
        name: (*name).to_owned(),
        source_name: None,
        data_type: "Int64".to_owned(),
        source_type: None,
        nullable: true,
        comment: None,
    };
    let source = catalog.source(&mavis_types::SourceName::new(schema).unwrap()).await.ok().map(|source| source.id);
    let new = NewTable {
        name: TableName::new(Zone::Raw, schema, name),
        source,
        source_schema: None,
        source_table: None,
        key: vec!["id".to_owned()],
        comment: None,
    };
    let table = catalog.ensure_table(new).await.unwrap();
    let columns: Vec<NewColumn> = columns.iter().map(column).collect();
    catalog.set_columns(table.id, &columns).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_knows_its_catalog_and_schema_for_as_long_as_the_client_keeps_its_cookie() {
    let test = TestServer::start().await;
    table(&test, "clinic", "patients", &["id"]).await;
    let mut caller = Caller::of(&test).await;
    let column = "SELECT column_name FROM information_schema.columns WHERE false";
    caller.info(column).await.unwrap();
    let unknown = caller.info("SELECT id FROM patients").await.unwrap_err();
    assert!(unknown.code() == Code::NotFound && unknown.message().contains("did you mean"), "{unknown}");
    let set = [("catalog", "raw"), ("schema", "clinic"), ("colour", "red"), ("compression", "rar")];
    let (answer, kept) = caller.act("SetSessionOptions", options(&set)).await.unwrap();
    let refused: HashMap<String, i32> = Refused::decode(answer.as_slice())
        .unwrap()
        .errors
        .into_iter()
        .map(|(name, error)| (name, error.value))
        .collect();
    assert_eq!(refused, HashMap::from([("colour".to_owned(), 1), ("compression".to_owned(), 2)]));
    let kept = kept.expect("a cookie");
    assert!(kept.starts_with("arrow_flight_session_id="));

    let mut in_session = Caller::with(&test, &test.admin_token(), &[("cookie", &kept)]).await;
    in_session.info("SHOW TBLPROPERTIES system.catalog.tables").await.unwrap();
    for sql in ["SELECT id FROM patients", "SELECT id FROM clinic.patients"] {
        // Known by its whole name; it was never written.
        let found = in_session.info(sql).await.unwrap_err();
        assert!(!found.message().contains("did you mean"), "{found}");
    }
    let (told, _) = in_session.act("GetSessionOptions", Vec::new()).await.unwrap();
    let told = Options::decode(told.as_slice()).unwrap().options;
    assert_eq!((told["catalog"].text.as_deref(), told["schema"].text.as_deref()), (Some("raw"), Some("clinic")));
    for wrong in [("catalog", "nowhere"), ("schema", "nowhere"), ("catalog", "clinic"), ("endpoints", "0")] {
        let (answer, _) = in_session.act("SetSessionOptions", options(&[wrong])).await.unwrap();
        assert_eq!(Refused::decode(answer.as_slice()).unwrap().errors[wrong.0].value, 2, "{wrong:?}");
    }
    // A ticket means what it meant when it was made, without the cookie, too.
    let ticket =
        tickets(&in_session.info("SELECT count(*) AS n FROM information_schema.tables").await.unwrap()).remove(0);
    caller.fetch(ticket).await.unwrap();

    let other = test.token("other", pb::Role::Reader, &[]).await;
    let refused = Caller::with(&test, &other, &[("cookie", &kept)]).await.info("SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "a session is its token's own");
    let (closed, forget) = in_session.act("CloseSession", Vec::new()).await.unwrap();
    assert_eq!((closed, forget.as_deref()), (vec![8, 1], Some("arrow_flight_session_id=")));
    assert_eq!(in_session.info("SELECT 1").await.unwrap_err().code(), Code::Unauthenticated);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn use_changes_the_session() {
    let test = TestServer::start().await;
    table(&test, "clinic", "patients", &["id"]).await;
    let mut caller = Caller::of(&test).await;
    for (sql, catalog, schema) in [
        ("USE raw.clinic", "raw", "clinic"),
        ("use clinic", "raw", "clinic"),
        ("USE CATALOG raw", "raw", ""),
        ("USE fhir", "fhir", "r4"),
        ("USE system.ops", "system", "ops"),
    ] {
        let ticket = tickets(&caller.info(sql).await.unwrap()).remove(0);
        let request = caller.request(ticket);
        let answer = caller.client.do_get(request).await.unwrap();
        let kept = cookie(answer.metadata()).expect("a cookie");
        assert!(answer.into_inner().count().await >= 2, "a schema and a row");
        let mut in_session = Caller::with(&test, &test.admin_token(), &[("cookie", &kept)]).await;
        let (told, _) = in_session.act("GetSessionOptions", Vec::new()).await.unwrap();
        let told = Options::decode(told.as_slice()).unwrap().options;
        let text = |name: &str| told[name].text.clone().unwrap_or_default();
        assert_eq!((text("catalog").as_str(), text("schema").as_str()), (catalog, schema), "{sql}");
        let found = in_session.info("SELECT id FROM patients").await.unwrap_err();
        assert_eq!(found.message().contains("did you mean"), schema != "clinic", "{sql}: {found}");
        assert_eq!(in_session.info("SELECT * FROM runs").await.is_ok(), schema == "ops", "{sql}");
    }
    assert_eq!(caller.info("USE nowhere").await.unwrap_err().code(), Code::InvalidArgument);
    let half = test.token("half", pb::Role::Reader, &["raw.other"]).await;
    let hidden = Caller::with(&test, &half, &[]).await.info("USE raw.clinic").await.unwrap_err();
    assert_eq!(hidden.code(), Code::InvalidArgument, "what may not be seen is as if it were not there");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_statement_come_through_any_number_of_headers() {
    let test = TestServer::start().await;
    let headers = [("x-mavis-endpoints", "2"), ("x-mavis-compression", "lz4"), ("cookie", "theme=dark; lang=fr")];
    let mut caller = Caller::with(&test, &test.admin_token(), &headers).await;
    let mut rows = caller.rows(MANY).await.unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (0..300_000).collect::<Vec<_>>());
    test.stop().await;
}

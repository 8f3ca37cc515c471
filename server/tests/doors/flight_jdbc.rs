//! What Arrow's JDBC driver sends when it connects and for a query, message by message. It goes through prepared statements
//! for everything, tells a query from an update by the statement's columns, reads the server's abilities once and casts each
//! to the type that its definition says, and keeps cookies.

use arrow::{
    array::{Array, AsArray, Int64Array, RecordBatch, UnionArray},
    datatypes::{DataType, Field, Int64Type, Schema, UInt32Type},
};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightInfo,
    decode::FlightRecordBatchStream,
    encode::FlightDataEncoderBuilder,
    flight_service_client::FlightServiceClient,
    sql::{
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
        Any, CommandGetCatalogs, CommandGetSqlInfo, CommandGetTables, CommandPreparedStatementQuery,
        DoPutPreparedStatementResult, ProstMessageExt,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{TryStreamExt, stream};
use prost::Message;
use tonic::{Request, metadata::MetadataValue, transport::Channel};

use crate::harness::TestServer;

/// The type of each code of SqlInfo, by its definition: t text, b boolean, l 64 bits, i 32 bits, s list of texts, m map.
const TYPES: &[(&str, &[u32])] = &[
    ("t", &[0, 1, 2, 6, 7, 504, 513, 514, 529, 530, 531]),
    ("b", &[3, 4, 5, 9, 10, 11, 500, 501, 502, 506, 515, 516, 518, 519, 520, 521, 523, 524, 527, 532, 536, 537, 539]),
    ("b", &[556, 563, 565, 566, 572, 573, 574, 575, 576]),
    ("l", &[541, 542, 543, 544, 545, 546, 547, 548, 549, 550, 551, 552, 553, 554, 555, 557, 558, 559, 560, 561]),
    (
        "i",
        &[8, 100, 101, 503, 505, 507, 522, 525, 526, 528, 533, 534, 535, 538, 540, 562, 564, 567, 568, 569, 570, 571],
    ),
    ("s", &[508, 509, 510, 511, 512]),
    ("m", &[517]),
];

struct Driver {
    client: FlightServiceClient<Channel>,
    authorization: String,
    cookie: Option<String>,
}

impl Driver {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("authorization", MetadataValue::try_from(&self.authorization).unwrap());
        if let Some(cookie) = &self.cookie {
            headers.insert("cookie", MetadataValue::try_from(cookie).unwrap());
        }
        request
    }

    async fn info(&mut self, command: Any) -> FlightInfo {
        let request = self.request(FlightDescriptor::new_cmd(command.encode_to_vec()));
        self.client.get_flight_info(request).await.unwrap().into_inner()
    }

    /// Every endpoint, one after the other.
    async fn fetch(&mut self, info: &FlightInfo) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        for endpoint in &info.endpoint {
            assert!(endpoint.location.is_empty(), "on this server");
            let request = self.request(endpoint.ticket.clone().unwrap());
            let stream = self.client.do_get(request).await.unwrap().into_inner();
            let rows = FlightRecordBatchStream::new_from_flight_data(stream.map_err(Into::into));
            batches.extend(rows.try_collect::<Vec<_>>().await.unwrap());
        }
        batches
    }

    async fn act(&mut self, name: &str, body: Vec<u8>) -> Vec<u8> {
        let request = self.request(Action::new(name, body));
        let answer = self.client.do_action(request).await.unwrap();
        if let Some(kept) = answer.metadata().get("set-cookie") {
            self.cookie = kept.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        let mut stream = answer.into_inner();
        stream.message().await.unwrap().map(|result| result.body.to_vec()).unwrap_or_default()
    }

    async fn prepare(&mut self, sql: &str) -> ActionCreatePreparedStatementResult {
        let request = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let body = self.act("CreatePreparedStatement", request.as_any().encode_to_vec()).await;
        Any::decode(body.as_slice()).unwrap().unpack().unwrap().unwrap()
    }

    async fn close(&mut self, handle: prost::bytes::Bytes) {
        let request = ActionClosePreparedStatementRequest { prepared_statement_handle: handle };
        self.act("ClosePreparedStatement", request.as_any().encode_to_vec()).await;
    }

    async fn run(&mut self, handle: prost::bytes::Bytes) -> Vec<RecordBatch> {
        let info = self.info(CommandPreparedStatementQuery { prepared_statement_handle: handle }.as_any()).await;
        self.fetch(&info).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_the_jdbc_driver_are_answered() {
    let test = TestServer::start().await;
    // Connecting with a user and a password: the handshake has no message, its header is Basic.
    let mut client = FlightServiceClient::new(test.channel().await);
    let mut hello = Request::new(stream::empty());
    let basic = STANDARD.encode(format!("analyst:{}", test.admin_token()));
    hello.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Basic {basic}")).unwrap());
    let hello = client.handshake(hello).await.unwrap();
    let authorization = hello.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
    assert!(authorization.starts_with("Bearer "));
    let mut driver = Driver { client, authorization, cookie: None };

    // The property `catalog` of the connection's URL.
    let answer = driver.act("SetSessionOptions", session_option("catalog", "fhir")).await;
    assert!(answer.is_empty(), "no option was refused: {answer:?}");
    assert!(driver.cookie.is_some());

    // What the server can do: once, all of it.
    let info = driver.info(CommandGetSqlInfo { info: vec![] }.as_any()).await;
    let batches = driver.fetch(&info).await;
    for (kind, codes) in TYPES {
        for code in *codes {
            assert_eq!(kind_of(&batches, *code).as_deref(), Some(*kind), "SqlInfo {code}");
        }
    }
    assert_eq!(TYPES.iter().map(|(_, codes)| codes.len()).sum::<usize>(), 91);

    // A query without parameters.
    let prepared = driver.prepare("SELECT 1 AS one, 'x' AS t").await;
    let dataset = schema(&prepared.dataset_schema);
    assert_eq!(dataset.fields().len(), 2, "it has columns: not an update");
    assert_eq!(schema(&prepared.parameter_schema).fields().len(), 0);
    let rows = driver.run(prepared.prepared_statement_handle.clone()).await;
    assert_eq!((rows[0].num_rows(), rows[0].schema().as_ref()), (1, &dataset));
    driver.close(prepared.prepared_statement_handle).await;

    // One with parameters: bound by DoPut, fetched by the new handle, and by old drivers with the one of before.
    let prepared = driver.prepare("SELECT ? + 1 AS n").await;
    let parameters = schema(&prepared.parameter_schema);
    assert_eq!(parameters.field(0).data_type(), &DataType::Int64);
    let old = prepared.prepared_statement_handle.clone();
    let command = CommandPreparedStatementQuery { prepared_statement_handle: old.clone() };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let values = Int64Array::from(vec![41]);
    let of = Schema::new(vec![Field::new("$1", DataType::Int64, true)]);
    let batch = RecordBatch::try_new(of.into(), vec![std::sync::Arc::new(values)]).unwrap();
    let data: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .build(stream::iter([Ok(batch)]))
        .try_collect()
        .await
        .unwrap();
    let request = driver.request(stream::iter(data));
    let mut put = driver.client.do_put(request).await.unwrap().into_inner();
    let bound = DoPutPreparedStatementResult::decode(put.message().await.unwrap().unwrap().app_metadata).unwrap();
    for handle in [bound.prepared_statement_handle.unwrap(), old.clone()] {
        let rows = driver.run(handle).await;
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 42);
    }
    driver.close(old.clone()).await;
    let info = CommandPreparedStatementQuery { prepared_statement_handle: old }.as_any();
    let request = driver.request(FlightDescriptor::new_cmd(info.encode_to_vec()));
    assert!(driver.client.get_flight_info(request).await.is_err(), "the values went with the statement");

    // DatabaseMetaData.getCatalogs, getTables and getColumns.
    let info = driver.info(CommandGetCatalogs {}.as_any()).await;
    assert!(driver.fetch(&info).await[0].num_rows() >= 5);
    for include_schema in [false, true] {
        let command = CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: Some("ops".to_owned()),
            table_name_filter_pattern: Some("%".to_owned()),
            table_types: vec![],
            include_schema,
        };
        let info = driver.info(command.as_any()).await;
        let tables = driver.fetch(&info).await;
        assert_eq!(tables[0].num_columns(), if include_schema { 5 } else { 4 });
        assert!(tables.iter().map(RecordBatch::num_rows).sum::<usize>() >= 5);
    }
    let closed = driver.act("CloseSession", Vec::new()).await;
    assert_eq!(closed, [8, 1]);
    test.stop().await;
}

/// `SetSessionOptionsRequest` with one text.
fn session_option(name: &str, text: &str) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[(tag << 3) | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let value = field(1, text.as_bytes());
    field(1, &[field(1, name.as_bytes()), field(2, &value)].concat())
}

fn schema(bytes: &[u8]) -> Schema {
    if bytes.is_empty() {
        return Schema::empty();
    }
    Schema::try_from(arrow_flight::IpcMessage(bytes.to_vec().into())).unwrap()
}

/// Which member of the union a code's value is.
fn kind_of(batches: &[RecordBatch], code: u32) -> Option<String> {
    for batch in batches {
        let codes = batch.column(0).as_primitive::<UInt32Type>();
        if let Some(row) = (0..batch.num_rows()).find(|row| codes.value(*row) == code) {
            let values = batch.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
            assert!(!values.value(row).is_null(0), "{code}");
            return Some(["t", "b", "l", "i", "s", "m"][usize::try_from(values.type_id(row)).unwrap()].to_owned());
        }
    }
    None
}

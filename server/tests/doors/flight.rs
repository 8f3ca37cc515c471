use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo,
    flight_service_client::FlightServiceClient,
    sql::{
        Any, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandStatementQuery, ProstMessageExt,
        SqlInfo, client::FlightSqlServiceClient,
    },
};
use futures::TryStreamExt;
use mavis_catalog::{NewColumn, NewTable};
use mavis_proto::v1 as pb;
use mavis_types::{TableName, Zone};
use prost::Message;
use tonic::{Code, transport::Channel};

use crate::harness::{TestServer, with};

type Client = FlightSqlServiceClient<Channel>;

async fn client(test: &TestServer) -> Client {
    client_as(test, &test.admin_token()).await
}

async fn client_as(test: &TestServer, token: &str) -> Client {
    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.set_token(token.to_owned());
    client
}

/// The rows of an info; both phases must tell one schema.
async fn fetch(client: &mut Client, info: FlightInfo) -> Vec<RecordBatch> {
    let promised = info.clone().try_decode_schema().unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        batches.push(batch);
    }
    let sent = stream.schema().expect("a schema comes even without rows");
    assert_eq!(sent.as_ref(), &promised, "the schema of GetFlightInfo is that of DoGet");
    batches
}

async fn rows(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    fetch(client, info).await
}

fn integers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn texts(batches: &[RecordBatch], column: usize) -> Vec<String> {
    let of = |batch: &RecordBatch| {
        let column = batch.column(column).as_string::<i32>().clone();
        (0..column.len()).map(move |row| column.value(row).to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// A table of the catalog, without rows in the lake.
async fn table(test: &TestServer, zone: Zone, schema: &str, name: &str) {
    let catalog = &test.server.app().catalog;
    let column = |name: &str, kind: &str| NewColumn {
        name: name.to_owned(),
        source_name: None,
        data_type: kind.to_owned(),
        source_type: None,
        nullable: true,
        comment: None,
    };
    let new = NewTable {
        name: TableName::new(zone, schema, name),
        source: None,
        source_schema: None,
        source_table: None,
        key: vec!["id".to_owned()],
        comment: None,
    };
    let table = catalog.ensure_table(new).await.unwrap();
    catalog.set_columns(table.id, &[column("id", "Int64"), column("nom", "Utf8")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_answered_with_the_schema_that_was_promised() {
    let test = TestServer::start().await;
    let mut client = client(&test).await;
    for sql in [
        "SELECT 1 AS one",
        "SELECT 'a' AS t, CAST(NULL AS INT) AS n",
        "SELECT count(*) AS n, max(name) AS m FROM system.catalog.sources",
        "SELECT name FROM system.catalog.sources WHERE false",
        "SELECT make_array(1, 2) AS list, named_struct('a', 1) AS s",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        // Two columns of one name.
        "SELECT t.*, n, 'b' AS n FROM (SELECT 'a' AS n) t",
        "EXPLAIN SELECT t.*, n FROM (SELECT 'a' AS n) t",
    ] {
        let info = client.execute(sql.to_owned(), None).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        fetch(&mut client, info).await;
    }
    assert_eq!(integers(&rows(&mut client, "SELECT 41 + 1 AS n").await), [42]);
    let alike = rows(&mut client, "SELECT t.*, n FROM (SELECT 'a' AS n) t").await;
    assert_eq!((texts(&alike, 0), texts(&alike, 1)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert!(alike.iter().all(|batch| batch.schema().fields().iter().all(|field| field.name() == "n")));
    let many = rows(&mut client, "SELECT unnest(range(0, 300000)) AS n").await;
    assert_eq!(integers(&many).len(), 300_000);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_code_and_words_for_people() {
    let test = TestServer::start().await;
    let mut client = client(&test).await;
    for (sql, code, word) in [
        ("SELECT 1,\n FRM x", Code::InvalidArgument, "line 2"),
        ("SELECT * FROM raw.nowhere.nothing", Code::NotFound, "nothing"),
        ("DROP TABLE raw.a.b", Code::PermissionDenied, "not allowed"),
        ("SELECT $1", Code::InvalidArgument, "parameters"),
    ] {
        let error = client.execute(sql.to_owned(), None).await.unwrap_err();
        let arrow_flight::error::FlightError::Tonic(status) = error else { panic!("{sql}: {error}") };
        assert_eq!(status.code(), code, "{sql}: {status}");
        assert!(status.message().contains(word), "{sql}: {status}");
    }
    // One that goes wrong while it runs.
    let info =
        client.execute("SELECT 1 / (n - n) FROM (SELECT unnest(range(0, 3)) AS n)".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let ended = match client.do_get(ticket).await {
        Ok(stream) => stream.try_collect::<Vec<_>>().await.map(drop).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert!(ended.is_err());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_gives_nobody_more_than_their_own_token_does() {
    let test = TestServer::start().await;
    table(&test, Zone::Raw, "closed", "t").await;
    let half = test.token("half", pb::Role::Reader, &["raw.open"]).await;
    let mut admin = client(&test).await;
    let info = admin.execute("SELECT count(*) FROM system.ops.audit".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut reader = client_as(&test, &half).await;
    assert!(reader.do_get(ticket.clone()).await.is_err(), "planned again for the reader");
    let mut forged = ticket.ticket.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(admin.do_get(arrow_flight::Ticket::new(forged)).await.is_err());
    assert!(client_as(&test, "wrong").await.execute("SELECT 1".to_owned(), None).await.is_err());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_run_once_for_each_row_of_values() {
    let test = TestServer::start().await;
    let mut client = client(&test).await;
    let mut prepared = client.prepare("SELECT $1 + 1 AS n WHERE $2 <> 'no'".to_owned(), None).await.unwrap();
    let parameters = prepared.parameter_schema().unwrap();
    assert_eq!(parameters.fields().len(), 2);
    assert_eq!(parameters.field(0).data_type(), &DataType::Int64);
    assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "n");
    let values: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec!["a", "no", "b"]))];
    let schema = Schema::new(vec![Field::new("0", DataType::Int64, true), Field::new("1", DataType::Utf8, true)]);
    prepared.set_parameters(RecordBatch::try_new(schema.into(), values).unwrap()).unwrap();
    let info = prepared.execute().await.unwrap();
    assert_eq!(integers(&fetch(&mut client, info).await), [2, 4]);
    prepared.close().await.unwrap();

    let mut plain = client.prepare("SELECT 7 AS n".to_owned(), None).await.unwrap();
    let info = plain.execute().await.unwrap();
    assert_eq!(integers(&fetch(&mut client, info).await), [7]);
    assert!(client.prepare("DROP TABLE raw.a.b".to_owned(), None).await.is_err());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_may_be_anything_is_what_its_value_is() {
    let test = TestServer::start().await;
    let mut client = client(&test).await;
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![20, 22]));
    let bytes: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![b"\xff\x00", b"x"]));
    for (sql, values, expected) in [
        ("SELECT ? AS x", &integers, DataType::Int64),
        ("SELECT ? AS x", &bytes, DataType::Binary),
        ("SELECT ? + ? AS x", &integers, DataType::Int64),
    ] {
        let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "x", "{sql}");
        let columns = sql.matches('?').count();
        let named = (0..columns).map(|place| (place.to_string(), Arc::clone(values)));
        prepared.set_parameters(RecordBatch::try_from_iter(named).unwrap()).unwrap();
        let info = prepared.execute().await.unwrap();
        let batches = fetch(&mut client, info).await;
        assert_eq!(batches[0].schema().field(0).data_type(), &expected, "{sql}");
        if columns == 1 {
            let rows: Vec<ArrayRef> = batches.iter().map(|batch| Arc::clone(batch.column(0))).collect();
            let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
            assert_eq!(&arrow::compute::concat(&rows).unwrap(), values, "{sql}");
        } else {
            assert_eq!(self::integers(&batches), [40, 44]);
        }
    }
    assert!(client.prepare("SELECT ? + no_such_column".to_owned(), None).await.is_err());
    test.stop().await;
}

fn all_tables(include_schema: bool) -> CommandGetTables {
    CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: None,
        table_name_filter_pattern: None,
        table_types: vec![],
        include_schema,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tells_what_the_principal_may_read() {
    let test = TestServer::start().await;
    table(&test, Zone::Raw, "clinic", "patients").await;
    table(&test, Zone::Raw, "closed", "t").await;
    let half = test.token("half", pb::Role::Reader, &["raw.clinic"]).await;
    let mut admin = client(&test).await;
    let mut reader = client_as(&test, &half).await;

    let info = admin.get_catalogs().await.unwrap();
    let catalogs = texts(&fetch(&mut admin, info).await, 0);
    for zone in ["fhir", "processed", "raw", "system"] {
        assert!(catalogs.iter().any(|name| name == zone), "{catalogs:?}");
    }
    let of_raw = || CommandGetDbSchemas { catalog: Some("raw".to_owned()), db_schema_filter_pattern: None };
    let info = admin.get_db_schemas(of_raw()).await.unwrap();
    assert_eq!(texts(&fetch(&mut admin, info).await, 1), ["clinic", "closed"]);
    let info = reader.get_db_schemas(of_raw()).await.unwrap();
    assert_eq!(texts(&fetch(&mut reader, info).await, 1), ["clinic"]);

    let raw = CommandGetTables { catalog: Some("raw".to_owned()), ..all_tables(false) };
    let info = admin.get_tables(raw).await.unwrap();
    let tables = fetch(&mut admin, info).await;
    assert_eq!(tables[0].num_columns(), 4);
    assert_eq!(texts(&tables, 2), ["patients", "t"]);
    let info =
        reader.get_tables(CommandGetTables { catalog: Some("raw".to_owned()), ..all_tables(true) }).await.unwrap();
    let tables = fetch(&mut reader, info).await;
    assert_eq!((tables[0].num_columns(), texts(&tables, 2)), (5, vec!["patients".to_owned()]));
    let schema = tables[0].column(4).as_binary::<i32>().value(0).to_vec();
    let schema = Schema::try_from(arrow_flight::IpcMessage(schema.into())).unwrap();
    let name = schema.field_with_name("nom").unwrap();
    assert_eq!(name.data_type(), &DataType::Utf8);
    assert_eq!(
        (&*name.metadata()["ARROW:FLIGHT:SQL:TABLE_NAME"], &*name.metadata()["ARROW:FLIGHT:SQL:TYPE_NAME"]),
        ("patients", "VARCHAR")
    );
    for (pattern, listed) in
        [("information%", true), ("information\\_schema", true), ("%", false), ("\u{5f}nformation_schema", false)]
    {
        let command = CommandGetTables {
            catalog: Some("raw".to_owned()),
            db_schema_filter_pattern: Some(pattern.to_owned()),
            ..all_tables(false)
        };
        let info = admin.get_tables(command).await.unwrap();
        let schemas = texts(&fetch(&mut admin, info).await, 1);
        assert_eq!(schemas.contains(&"information_schema".to_owned()), listed, "{pattern}: {schemas:?}");
    }
    for (pattern, kinds, expected) in [
        (Some("pat%"), vec![], vec!["patients"]),
        (Some("pat_ents"), vec!["TABLE"], vec!["patients"]),
        (Some("pat\\_ents"), vec![], vec![]),
        (None, vec!["VIEW"], vec![]),
    ] {
        let command = CommandGetTables {
            db_schema_filter_pattern: Some("cli%".to_owned()),
            table_name_filter_pattern: pattern.map(str::to_owned),
            table_types: kinds.into_iter().map(str::to_owned).collect(),
            ..all_tables(false)
        };
        let info = admin.get_tables(command).await.unwrap();
        assert_eq!(texts(&fetch(&mut admin, info).await, 2), expected, "{pattern:?}");
    }
    let kinds = vec!["SYSTEM TABLE".to_owned()];
    let info = admin.get_tables(CommandGetTables { table_types: kinds, ..all_tables(false) }).await.unwrap();
    assert!(texts(&fetch(&mut admin, info).await, 2).contains(&"columns".to_owned()));

    let key = CommandGetPrimaryKeys {
        catalog: Some("raw".to_owned()),
        db_schema: Some("clinic".to_owned()),
        table: "patients".to_owned(),
    };
    let info = reader.get_primary_keys(key).await.unwrap();
    assert_eq!(texts(&fetch(&mut reader, info).await, 3), ["id"]);
    let hidden = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: "t".to_owned() };
    let info = reader.get_primary_keys(hidden).await.unwrap();
    assert!(texts(&fetch(&mut reader, info).await, 3).is_empty());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_listing_has_the_schema_it_promises() {
    let test = TestServer::start().await;
    let mut client = client(&test).await;
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await, 0), ["SYSTEM TABLE", "TABLE", "VIEW"]);
    let info =
        client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerTransaction]).await.unwrap();
    assert_eq!(fetch(&mut client, info).await[0].num_rows(), 2);
    let info = client.get_sql_info(vec![]).await.unwrap();
    assert!(fetch(&mut client, info).await[0].num_rows() >= 90);
    let info = client.get_xdbc_type_info(arrow_flight::sql::CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    assert!(fetch(&mut client, info).await[0].num_rows() > 10);
    let command = arrow_flight::sql::CommandGetImportedKeys { catalog: None, db_schema: None, table: "t".to_owned() };
    let info = client.get_imported_keys(command).await.unwrap();
    fetch(&mut client, info).await;
    let command = arrow_flight::sql::CommandGetExportedKeys { catalog: None, db_schema: None, table: "t".to_owned() };
    let info = client.get_exported_keys(command).await.unwrap();
    fetch(&mut client, info).await;
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_stopped_by_its_info_and_only_by_who_started_it() {
    let test = TestServer::start().await;
    let reader = test.token("reader", pb::Role::Reader, &[]).await;
    let mut client = client(&test).await;
    let sql = "WITH r AS (SELECT unnest(range(0, 60000)) AS n) \
               SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let fetched = tokio::spawn(async move {
        let stream = client.do_get(ticket).await?;
        stream.try_collect::<Vec<_>>().await
    });
    let cancel = async |token: &str| {
        let action = Action::new("CancelFlightInfo", CancelFlightInfoRequest::new(info.clone()).encode_to_vec());
        let mut flight = FlightServiceClient::new(test.channel().await);
        let mut answer = flight.do_action(with(token, action)).await.unwrap().into_inner();
        let body = answer.message().await.unwrap().unwrap().body;
        CancelFlightInfoResult::decode(body).unwrap().status()
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cancel(&reader).await, CancelStatus::NotCancellable);
    let end = Instant::now() + Duration::from_secs(10);
    while cancel(&test.admin_token()).await != CancelStatus::Cancelled {
        assert!(Instant::now() < end, "the query was never there to cancel");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), fetched).await.expect("it stops soon").unwrap();
    assert!(ended.unwrap_err().to_string().contains("cancelled"));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flight_itself_offers_is_answered_or_refused_in_words() {
    let test = TestServer::start().await;
    let token = test.admin_token();
    let mut flight = FlightServiceClient::new(test.channel().await);
    let command = CommandStatementQuery { query: "SELECT 1 AS one".to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let schema = flight.get_schema(with(&token, descriptor.clone())).await.unwrap().into_inner();
    assert_eq!(Schema::try_from(&schema).unwrap().field(0).name(), "one");
    let poll = flight.poll_flight_info(with(&token, descriptor)).await.unwrap().into_inner();
    assert!(poll.info.is_some());
    for (name, closes) in [("CloseSession", true), ("GetSessionOptions", true), ("Nothing", false)] {
        let answer = flight.do_action(with(&token, Action::new(name, Vec::new()))).await;
        assert_eq!(answer.is_ok(), closes, "{name}");
    }
    let mut client = client(&test).await;
    let refused = client.begin_transaction().await.unwrap_err().to_string();
    assert!(refused.contains("no transactions"), "{refused}");
    let refused = client.execute_update("DELETE FROM fhir.r4.patient".to_owned(), None).await.unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");
    let unknown = Any { type_url: "type.googleapis.com/x.Y".to_owned(), value: Default::default() };
    let unknown = flight.get_flight_info(with(&token, FlightDescriptor::new_cmd(unknown.encode_to_vec()))).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    let path = flight.get_flight_info(with(&token, FlightDescriptor::new_path(vec!["a".to_owned()]))).await;
    assert_eq!(path.unwrap_err().code(), Code::InvalidArgument);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_turns_a_password_into_a_bearer_token() {
    let test = TestServer::start().await;
    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.handshake("anyone", &test.admin_token()).await.unwrap();
    assert_eq!(integers(&rows(&mut client, "SELECT 1 AS n").await), [1]);
    let mut wrong = FlightSqlServiceClient::new(test.channel().await);
    assert!(wrong.handshake("anyone", "wrong").await.is_err());
    test.stop().await;
}

const ADBC: &str = r#"
import sys
import adbc_driver_flightsql.dbapi as flight
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions

uri, token = sys.argv[1:3]
options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
with flight.connect(uri, db_kwargs=options, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one, 'x' AS t, CAST(NULL AS DATE) AS d")
        assert cursor.fetchall() == [(1, "x", None)]
        cursor.execute("SELECT ? + 1 AS n", parameters=(41,))
        assert cursor.fetchall() == [(42,)], "a bound parameter"
        cursor.execute("SELECT unnest(range(0, 200000)) AS n")
        assert cursor.fetch_arrow_table().num_rows == 200000
        cursor.adbc_prepare("SELECT 1 AS one")
        for sql, word in [("SELECT * FROM raw.nowhere.nothing", "nothing"), ("DROP TABLE raw.a.b", "not allowed")]:
            try:
                cursor.execute(sql)
                cursor.fetchall()
                raise SystemExit(f"answered: {sql}")
            except flight.Error as error:
                assert word in str(error), error
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "Mavis", info
    objects = connection.adbc_get_objects(depth="columns", catalog_filter="raw").read_all().to_pylist()
    names = [(s["db_schema_name"], t["table_name"], [c["column_name"] for c in t["table_columns"]])
             for s in objects[0]["catalog_db_schemas"] for t in s["db_schema_tables"]]
    assert names == [("clinic", "patients", ["id", "nom"])], names
    schema = connection.adbc_get_table_schema("patients", catalog_filter="raw", db_schema_filter="clinic")
    assert schema.names == ["id", "nom"], schema
    assert "TABLE" in connection.adbc_get_table_types()

try:
    wrong = {DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer wrong"}
    flight.connect(uri, db_kwargs=wrong).cursor().execute("SELECT 1")
    raise SystemExit("a wrong token was let in")
except flight.Error:
    pass
with flight.connect(uri, db_kwargs={"username": "admin", "password": token}, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchall() == [(1,)], "Basic becomes Bearer"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_adbc_driver_connects_lists_binds_and_fetches() {
    let Ok(python) = std::env::var("MAVIS_TEST_PYTHON") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_PYTHON is not set");
        eprintln!("skipped: the Python with the Flight SQL driver is not there (MAVIS_TEST_PYTHON); run `make test`");
        return;
    };
    let test = TestServer::start().await;
    table(&test, Zone::Raw, "clinic", "patients").await;
    let script = test.folder.path().join("client.py");
    std::fs::write(&script, ADBC).unwrap();
    let mut command = std::process::Command::new(python);
    command.arg(script).arg(format!("grpc://{}", test.server.grpc_address())).arg(test.admin_token());
    let ran = crate::harness::run(command).await;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    test.stop().await;
}

/// Not a test of speed: it prints what `SELECT 1` takes warm, and fails only where something waits that should not.
#[tokio::test(flavor = "multi_thread")]
async fn select_one_does_not_wait_for_anything() {
    let test = TestServer::start().await;
    let mut client = client(&test).await;
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let began = Instant::now();
        rows(&mut client, "SELECT 1 AS one").await;
        best = best.min(began.elapsed());
    }
    eprintln!("SELECT 1 over Flight SQL, both phases: {best:?}");
    let http = reqwest::Client::new();
    let mut best_http = Duration::MAX;
    for _ in 0..50 {
        let began = Instant::now();
        let request = http.post(test.http("/api/v1/sql")).bearer_auth(test.admin_token());
        request.json(&serde_json::json!({"sql": "SELECT 1"})).send().await.unwrap().bytes().await.unwrap();
        best_http = best_http.min(began.elapsed());
    }
    eprintln!("SELECT 1 over HTTP: {best_http:?}");
    assert!(best < Duration::from_millis(200) && best_http < Duration::from_millis(200));
    test.stop().await;
}

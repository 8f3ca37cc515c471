//! Rows by key over HTTP: one, as it was, several, in order; for whom the guard lets them through.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use mavis_catalog::NewTable;
use mavis_lake::{AppId, End, TableSpec, WriteMode};
use mavis_proto::v1::{self as pb, token_service_client::TokenServiceClient};
use mavis_types::{RunId, SourceId, TableName, Zone};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    fhir_read::import,
    harness::{TestServer, with},
};

async fn ask(test: &TestServer, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = reqwest::Client::new().request(method, test.http(path)).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn get(test: &TestServer, path: &str) -> (u16, Value) {
    ask(test, &test.admin_token(), Method::GET, path, None).await
}

fn schema() -> Arc<Schema> {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![text("site"), Field::new("n", DataType::Int64, true), text("value")]))
}

fn readings(rows: &[(&str, i64, &str)]) -> RecordBatch {
    let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    let sites = text(rows.iter().map(|row| row.0).collect());
    RecordBatch::try_new(schema(), vec![sites, numbers, text(rows.iter().map(|row| row.2).collect())]).unwrap()
}

/// `raw.lab.readings` with the key (site, n), made in three steps: eight rows; `a`/2 changed; `a`/3 deleted.
async fn lab(test: &TestServer) {
    let lake = &test.server.app().lake;
    let spec = TableSpec {
        table: NewTable {
            name: TableName::new(Zone::Raw, "lab", "readings"),
            source: None,
            source_schema: None,
            source_table: None,
            key: vec!["site".to_owned(), "n".to_owned()],
            comment: None,
        },
        schema: schema(),
        columns: Vec::new(),
        change_feed: false,
        statistics: Vec::new(),
        sort: Vec::new(),
    };
    let table = lake.ensure(&spec).await.unwrap();
    let mut rows = vec![("a", 1, "x"), ("a", 2, "y"), ("a", 3, "z"), ("a,b", 1, "comma"), ("a/b", 1, "slash")];
    rows.extend([("b", 1, "p"), ("b%", 2, "q"), ("bc", 3, "r")]);
    for step in 0..3 {
        match step {
            0 => {}
            1 => rows[1].2 = "changed",
            _ => {
                rows.remove(2);
            }
        }
        let source = SourceId::from_uuid(*table.id.as_uuid());
        let unit = lake.begin(table.id, AppId::ingest(source, table.id), RunId::new()).await.unwrap();
        let mut writer = unit.write(WriteMode::Snapshot, schema()).await.unwrap();
        writer.push(&readings(&rows)).await.unwrap();
        writer.finish(End { cursor: None, whole: true }).await.unwrap();
        // Times of commits are told in milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

const READINGS: &str = "/api/v1/tables/raw/lab/readings/rows";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_work_has_a_version_where_it_changed_and_not_with_every_commit() {
    let test = TestServer::start().await;
    for sql in [
        "CREATE TABLE work.a.t (id BIGINT, name VARCHAR)",
        "INSERT INTO work.a.t VALUES (1, 'a'), (2, 'b')",
        "UPDATE work.a.t SET name = 'x' WHERE id = 2",
        "ALTER TABLE work.a.t ADD COLUMN age INT",
        "UPDATE work.a.t SET name = 'c' WHERE id = 1",
        "INSERT INTO work.a.t VALUES (3, 'd', 4)",
    ] {
        let body = Some(json!({ "sql": sql }));
        let (status, answer) = ask(&test, &test.admin_token(), Method::POST, "/api/v1/sql", body).await;
        assert_eq!(status, 200, "{sql}: {answer}");
    }
    for columns in ["", "&columns=name"] {
        let (zone, table) = ("work", "a/t");
        let path = format!("/api/v1/tables/{zone}/{table}/rows/1?by=id&versions=10{columns}");
        let (status, past) = get(&test, &path).await;
        assert_eq!(status, 200, "{past}");
        let states = past["versions"].as_array().unwrap();
        assert_eq!(states.iter().map(|state| &state["row"]["name"]).collect::<Vec<_>>(), ["c", "a"], "{past}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_answered_by_its_key_and_as_it_was() {
    let test = TestServer::start().await;
    lab(&test).await;
    for (key, value) in [("a,2", "changed"), ("a%2Cb,1", "comma"), ("a%2Fb,1", "slash"), ("b%25,2", "q")] {
        let (status, answer) = get(&test, &format!("{READINGS}/{key}?columns=value,n")).await;
        assert_eq!(status, 200, "{key}: {answer}");
        assert_eq!(answer["row"]["value"], value, "{key}");
        assert_eq!(answer["row"].as_object().unwrap().len(), 2);
    }
    for (path, status, code) in [
        ("/a,3", 404, "no_such_row"),
        ("/a,x", 404, "no_such_row"),
        ("/a", 400, "invalid"),
        ("/a,1?columns=nothing", 400, "invalid"),
        ("/a?by=site", 409, "several_rows"),
        ("/a,1?versions=0", 400, "invalid"),
        ("/a,1?at=yesterday", 400, "invalid"),
    ] {
        let (got, answer) = get(&test, &format!("{READINGS}{path}")).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
    }
    assert_eq!(get(&test, &format!("{READINGS}/y?by=value")).await.0, 404);
    assert_eq!(get(&test, &format!("{READINGS}/changed?by=value")).await.1["row"]["n"], 2);

    let (status, past) = get(&test, &format!("{READINGS}/a,2?versions=10&columns=value")).await;
    assert_eq!(status, 200, "{past}");
    let states: Vec<&Value> = past["versions"].as_array().unwrap().iter().map(|state| &state["row"]["value"]).collect();
    assert_eq!(states, ["changed", "y"], "{past}");
    assert!(past["sees_back_to"]["time"].is_string(), "{past}");
    let (_, past) = get(&test, &format!("{READINGS}/a,3?versions=10")).await;
    let states: Vec<bool> =
        past["versions"].as_array().unwrap().iter().map(|state| state["deleted"].as_bool().unwrap()).collect();
    assert_eq!(states, [true, false], "{past}");
    let (_, one) = get(&test, &format!("{READINGS}/a,3?versions=1")).await;
    assert_eq!(one["versions"].as_array().unwrap().len(), 1);
    assert_eq!(get(&test, &format!("{READINGS}/nobody,3?versions=10")).await.0, 404);

    // The state that a version brought, a moment after it began.
    let (_, past) = get(&test, &format!("{READINGS}/a,2?versions=10")).await;
    let since = past["versions"][1]["since"].as_str().unwrap();
    let (status, then) = get(&test, &format!("{READINGS}/a,2?at={since}")).await;
    assert_eq!((status, &then["row"]["value"]), (200, &json!("y")), "{then}");
    assert_eq!(get(&test, &format!("{READINGS}/a,2?at=2001-01-01T00:00:00Z")).await.0, 404);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_keys_are_answered_at_once_and_those_without_a_row_are_left_out() {
    let test = TestServer::start().await;
    lab(&test).await;
    let token = test.admin_token();
    let body = json!({"keys": [["b", 1], ["a", "1"], ["a", 3], ["a", null]], "columns": ["value"]});
    let (status, answer) = ask(&test, &token, Method::POST, READINGS, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let mut values: Vec<&str> =
        answer["rows"].as_array().unwrap().iter().map(|row| row["value"].as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["p", "x"]);
    let body = json!({"keys": ["p", "r"], "by": ["value"], "columns": ["n"]});
    let (_, answer) = ask(&test, &token, Method::POST, READINGS, Some(body)).await;
    assert_eq!(answer["rows"].as_array().unwrap().len(), 2);
    let many: Vec<_> = (0..1_001).map(|n| ("crowd", n, "same")).collect();
    let lake = &test.server.app().lake;
    let name = TableName::new(Zone::Raw, "lab", "readings");
    let table = test.server.app().catalog.table(&name).await.unwrap();
    let source = SourceId::from_uuid(*table.id.as_uuid());
    let unit = lake.begin(table.id, AppId::ingest(source, table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Upsert, schema()).await.unwrap();
    writer.push(&readings(&many)).await.unwrap();
    writer.finish(End { cursor: None, whole: false }).await.unwrap();
    let body = json!({"keys": ["same"], "by": ["value"], "columns": ["n"]});
    let (status, answer) = ask(&test, &token, Method::POST, READINGS, Some(body)).await;
    assert_eq!(status, 409, "nothing is cut off: {answer}");
    for wrong in [json!({"keys": [["a"]]}), json!({"keys": [[["a"], 1]]}), json!({"keys": [], "more": 1})] {
        assert_eq!(ask(&test, &token, Method::POST, READINGS, Some(wrong)).await.0, 400);
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_ends_between_rows_of_one_value_loses_none() {
    let test = TestServer::start().await;
    lab(&test).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = get(&test, &format!("{READINGS}?by=site&limit=1{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["rows"].as_array().unwrap().iter().map(|row| format!("{}/{}", row["site"], row["n"])));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert_eq!(seen[..2], ["\"a\"/1", "\"a\"/2"]);
    test.stop().await;
}

#[rstest]
#[case("", &["a/1", "a/2", "a,b/1", "a/b/1", "b/1", "b%/2", "bc/3"])]
#[case("prefix=a", &["a/1", "a/2", "a,b/1", "a/b/1"])]
#[case("prefix=b%25", &["b%/2"])]
#[case("from=a%2Cb&to=bc", &["a,b/1", "a/b/1", "b/1", "b%/2"])]
#[case("prefix=nothing", &[])]
#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_walked_in_the_order_of_keys_and_sees_one_state(#[case] range: &str, #[case] expected: &[&str]) {
    let test = TestServer::start().await;
    lab(&test).await;
    let reader = test.token("reader", pb::Role::Reader, &["raw.lab"]).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = get(&test, &format!("{READINGS}?{range}&limit=2&columns=site,n{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        for row in page["rows"].as_array().unwrap() {
            assert_eq!(row.as_object().unwrap().len(), 2, "{row}");
            seen.push(format!("{}/{}", row["site"].as_str().unwrap(), row["n"]));
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
        // A row that would stand on a later page: the walk does not see it.
        let lake = &test.server.app().lake;
        let name = TableName::new(Zone::Raw, "lab", "readings");
        let table = test.server.app().catalog.table(&name).await.unwrap();
        let source = SourceId::from_uuid(*table.id.as_uuid());
        let unit = lake.begin(table.id, AppId::ingest(source, table.id), RunId::new()).await.unwrap();
        let mut writer = unit.write(WriteMode::Upsert, schema()).await.unwrap();
        writer.push(&readings(&[("bb", i64::try_from(seen.len()).unwrap(), "late"), ("ab", 1, "late")])).await.unwrap();
        writer.finish(End { cursor: None, whole: false }).await.unwrap();
        let other = get(&test, &format!("{READINGS}?prefix=other&limit=2{cursor}")).await;
        assert_eq!(other.0, 400, "a cursor of another range was taken");
        let path = format!("{READINGS}?{range}&limit=2&columns=site,n");
        assert_eq!(ask(&test, &reader, Method::GET, &path, None).await.0, 200);
        let other = ask(&test, &reader, Method::GET, &format!("{path}{cursor}"), None).await;
        assert_eq!(other.0, 400, "a cursor of somebody else was taken");
    }
    assert_eq!(seen, expected);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_hidden_from_whom_the_table_is_and_every_read_is_audited_without_its_key() {
    let test = TestServer::start().await;
    lab(&test).await;
    let other = test.token("other", pb::Role::Reader, &["raw.elsewhere"]).await;
    let reader = test.token("reader", pb::Role::Reader, &["raw.lab"]).await;
    let keys = Some(json!({"keys": [["a", 1]]}));
    for (method, path, body) in [
        (Method::GET, format!("{READINGS}/a,1"), None),
        (Method::GET, format!("{READINGS}/a,1?versions=3"), None),
        (Method::GET, READINGS.to_owned(), None),
        (Method::POST, READINGS.to_owned(), keys),
    ] {
        let absent = path.replace("readings", "nothing");
        let (status, told) = ask(&test, &other, method.clone(), &path, body.clone()).await;
        let (none, same) = ask(&test, &other, method.clone(), &absent, body.clone()).await;
        assert_eq!((status, none), (404, 404), "{told}");
        let told = told.to_string().replace("readings", "nothing");
        assert_eq!(told, same.to_string(), "a hidden table is told from one that is not there");
        assert_eq!(ask(&test, &reader, method, &path, body).await.0, 200);
    }
    test.server.app().catalog.revoke_token("reader").await.unwrap();
    assert_eq!(ask(&test, &reader, Method::GET, &format!("{READINGS}/a,1"), None).await.0, 401);

    test.server.app().reads.flush().await;
    let lines = test.server.app().catalog.audit_entries(100).await.unwrap();
    let reads: Vec<_> = lines.iter().filter(|line| line.action == "read" && line.actor == "reader").collect();
    assert_eq!(reads.len(), 4, "{lines:?}");
    assert!(reads.iter().all(|line| line.object == "raw.lab.readings" && line.allowed), "{reads:?}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_resources_are_those_of_their_history() {
    let test = TestServer::start().await;
    let patient = |family: &str| {
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": [{
            "resource": { "resourceType": "Patient", "id": "a", "name": [{ "family": family }] },
            "request": { "method": "PUT", "url": "Patient/a" } }] })
    };
    import(&test, "1", &patient("One")).await;
    import(&test, "1", &patient("Two")).await;
    let delete = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "request": { "method": "DELETE", "url": "Patient/a" } }] });
    let rows = "/api/v1/tables/fhir/r4/patient/rows/a";
    let (status, now) = get(&test, &format!("{rows}?columns=id,__version")).await;
    assert_eq!((status, &now["row"]), (200, &json!({"id": "a", "__version": 2})), "{now}");
    import(&test, "1", &delete).await;
    assert_eq!(get(&test, rows).await.0, 404);
    let (status, past) = get(&test, &format!("{rows}?versions=10&columns=resource")).await;
    assert_eq!(status, 200, "{past}");
    let told: Vec<(i64, bool)> = past["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (version["version"].as_i64().unwrap(), version["deleted"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [(3, true), (2, false), (1, false)], "{past}");
    assert!(past["versions"][2]["row"]["resource"].as_str().unwrap().contains("One"));
    let second = past["versions"][1]["since"].as_str().unwrap();
    // Times are told in milliseconds; a version is there from the next one on.
    let after = chrono::DateTime::parse_from_rfc3339(second).unwrap() + chrono::Duration::milliseconds(1);
    let path = format!("{rows}?at={}", after.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
    let (status, then) = get(&test, &path).await;
    assert_eq!((status, &then["version"]), (200, &json!(2)), "{then}");
    // Leave to read the resources is not leave to read what they were.
    let reader = test.token("reader", pb::Role::Reader, &["fhir.r4"]).await;
    assert_eq!(ask(&test, &reader, Method::GET, &format!("{rows}?versions=10"), None).await.0, 404);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_granted_is_not_named() {
    let test = TestServer::start().await;
    lab(&test).await;
    let request = pb::CreateTokenRequest {
        name: "partial".to_owned(),
        role: pb::Role::Reader.into(),
        granted_only: true,
        ..Default::default()
    };
    let mut tokens = TokenServiceClient::new(test.channel().await);
    let token = tokens.create_token(with(&test.admin_token(), request)).await.unwrap().into_inner().secret;
    let grant = json!({ "sql": "GRANT SELECT (n) ON raw.lab.readings TO USER partial" });
    assert_eq!(ask(&test, &test.admin_token(), Method::POST, "/api/v1/sql", Some(grant)).await.0, 200);
    for (method, path, body) in [
        (Method::GET, format!("{READINGS}/a,1"), None),
        (Method::GET, format!("{READINGS}/a"), None),
        (Method::GET, READINGS.to_owned(), None),
        (Method::POST, READINGS.to_owned(), Some(json!({ "keys": [["a", 1]] }))),
        (Method::POST, READINGS.to_owned(), Some(json!({ "keys": ["a"] }))),
    ] {
        let (status, told) = ask(&test, &token, method, &path, body).await;
        assert_eq!((status, told["error"]["code"].as_str()), (409, Some("no_key")), "{told}");
        assert!(!told.to_string().contains("site"), "{told}");
    }
    test.stop().await;
}

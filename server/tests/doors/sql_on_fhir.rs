//! SQL on FHIR over HTTP: the official suite with views and resources in the request, stored views in every door, errors.

use std::{fs, path::Path};

use mavis_proto::v1 as pb;
use reqwest::{Method, Response, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::TestServer;

async fn send_as(test: &TestServer, token: &str, method: Method, path: &str, body: Option<Value>) -> Response {
    let request = reqwest::Client::new().request(method, test.http(path)).bearer_auth(token);
    let request = match body {
        Some(body) => request.header("content-type", "application/fhir+json").body(body.to_string()),
        None => request,
    };
    request.send().await.unwrap()
}

async fn send(test: &TestServer, method: Method, path: &str, body: Option<Value>) -> Response {
    send_as(test, &test.admin_token(), method, path, body).await
}

fn parameters(view: &Value, resources: &[Value], more: &[Value]) -> Value {
    let mut list = vec![json!({"name": "subjectResource", "resource": view})];
    list.extend(resources.iter().map(|resource| json!({"name": "resource", "resource": resource})));
    list.extend(more.iter().cloned());
    json!({"resourceType": "Parameters", "parameter": list})
}

/// Numbers by value, members by name.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<String> = rows.as_array().unwrap().iter().map(|row| plain(row).to_string()).collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_suite_passes_with_everything_in_the_request() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/sql-on-fhir"));
    let Ok(entries) = fs::read_dir(folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the SQL on FHIR suite is missing");
        println!("skipped: the SQL on FHIR suite is missing");
        return;
    };
    let test = TestServer::start().await;
    let (mut count, mut failed) = (0, Vec::new());
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let suite: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let resources = suite["resources"].as_array().unwrap();
        for case in suite["tests"].as_array().unwrap() {
            count += 1;
            let body = parameters(&case["view"], resources, &[json!({"name": "_format", "valueCode": "json"})]);
            let answer = send(&test, Method::POST, "/fhir/$viewdefinition-run", Some(body)).await;
            let status = answer.status();
            let text = answer.text().await.unwrap();
            let passed = if case["expectError"] == json!(true) {
                status == StatusCode::UNPROCESSABLE_ENTITY && text.contains("OperationOutcome")
            } else {
                status == StatusCode::OK && sorted(&serde_json::from_str(&text).unwrap()) == sorted(&case["expect"])
            };
            if !passed {
                failed.push(format!("{}: {}: {status} {text}", path.display(), case["title"]));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(count, 144);
}

fn names() -> Value {
    json!({
        "resourceType": "ViewDefinition", "name": "Names", "url": "http://example.org/Names", "status": "active",
        "resource": "Patient",
        "select": [
            {"column": [{"name": "id", "path": "getResourceKey()", "type": "id"}]},
            {"forEach": "name", "column": [
                {"name": "family", "path": "family", "type": "string"},
                {"name": "given", "path": "given", "type": "string", "collection": true},
                {"name": "n", "path": "%rowIndex", "type": "integer"}]}]
    })
}

fn patients() -> Vec<Value> {
    vec![
        json!({"resourceType": "Patient", "id": "a", "gender": "male",
            "name": [{"family": "One", "given": ["A", "B"]}, {"family": "Two"}]}),
        json!({"resourceType": "Patient", "id": "b", "name": [{"given": ["C,\"D\""]}]}),
        json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"},
            "subject": {"reference": "Patient/a"}}),
    ]
}

#[rstest]
#[case(
    "json",
    "application/json",
    "[{\"id\":\"a\",\"family\":\"One\",\"given\":[\"A\",\"B\"],\"n\":0}\n,{\"id\":\"a\",\"family\":\"Two\",\"given\":[],\"n\":1}\n,{\"id\":\"b\",\"family\":null,\"given\":[\"C,\\\"D\\\"\"],\"n\":0}\n]\n"
)]
#[case(
    "ndjson",
    "application/x-ndjson",
    "{\"id\":\"a\",\"family\":\"One\",\"given\":[\"A\",\"B\"],\"n\":0}\n{\"id\":\"a\",\"family\":\"Two\",\"given\":[],\"n\":1}\n{\"id\":\"b\",\"family\":null,\"given\":[\"C,\\\"D\\\"\"],\"n\":0}\n"
)]
#[case(
    "csv",
    "text/csv; charset=utf-8; header=present",
    "id,family,given,n\na,One,\"[\"\"A\"\",\"\"B\"\"]\",0\na,Two,[],1\nb,,\"[\"\"C,\\\"\"D\\\"\"\"\"]\",0\n"
)]
#[case(
    "fhir",
    "application/fhir+json; fhirVersion=4.0",
    "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"row\",\"part\":[{\"name\":\"id\",\"valueString\":\"a\"},{\"name\":\"family\",\"valueString\":\"One\"},{\"name\":\"given\",\"valueString\":\"A\"},{\"name\":\"given\",\"valueString\":\"B\"},{\"name\":\"n\",\"valueInteger\":0}]},\n{\"name\":\"row\",\"part\":[{\"name\":\"id\",\"valueString\":\"a\"},{\"name\":\"family\",\"valueString\":\"Two\"},{\"name\":\"n\",\"valueInteger\":1}]},\n{\"name\":\"row\",\"part\":[{\"name\":\"id\",\"valueString\":\"b\"},{\"name\":\"given\",\"valueString\":\"C,\\\"D\\\"\"},{\"name\":\"n\",\"valueInteger\":0}]}]}\n"
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_format_is_written_as_asked(#[case] format: &str, #[case] media: &str, #[case] expected: &str) {
    let test = TestServer::start().await;
    let body = parameters(&names(), &patients(), &[]);
    let answer = send(&test, Method::POST, &format!("/fhir/$sql-run?_format={format}"), Some(body)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], media);
    assert_eq!(answer.text().await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_limited_and_of_the_patients_asked_for() {
    let test = TestServer::start().await;
    let run = async |more: &[Value]| {
        let answer = send(&test, Method::POST, "/fhir/$sql-run", Some(parameters(&names(), &patients(), more))).await;
        let rows: Value = answer.json().await.unwrap();
        rows.as_array().unwrap().iter().map(|row| format!("{}{}", row["id"], row["n"])).collect::<String>()
    };
    assert_eq!(run(&[]).await, "\"a\"0\"a\"1\"b\"0");
    assert_eq!(run(&[json!({"name": "_limit", "valueInteger": 1})]).await, "\"a\"0");
    let patient = json!({"name": "patient", "valueReference": {"reference": "Patient/b"}});
    assert_eq!(run(&[patient]).await, "\"b\"0");
    assert_eq!(run(&[json!({"name": "_since", "valueInstant": "2020-01-01T00:00:00Z"})]).await, "");
}

#[rstest]
#[case(Method::GET, "/fhir/$sql-run", None, 400)]
#[case(Method::GET, "/fhir/$sql-run?subjectReference=ViewDefinition/none", None, 404)]
#[case(Method::GET, "/fhir/$sql-run?subjectReference=Library/none", None, 404)]
#[case(Method::GET, "/fhir/$sql-run?subjectReference=Patient/none", None, 400)]
#[case(Method::GET, "/fhir/$sql-run?subjectCanonical=http://none.org", None, 404)]
#[case(Method::GET, "/fhir/$sql-run?subjectReference=ViewDefinition/x&_format=xml", None, 406)]
#[case(Method::GET, "/fhir/$sql-run?surprise=1", None, 400)]
#[case(Method::GET, "/fhir/$sql-run?subjectReference=ViewDefinition/x&_limit=some", None, 400)]
#[case(Method::POST, "/fhir/$sql-run", Some(json!({"resourceType": "Patient"})), 400)]
#[case(Method::POST, "/fhir/$sql-run", Some(json!({"resourceType": "Parameters", "parameter": [{"name": "subjectResource", "resource": {"resourceType": "ViewDefinition"}}]})), 422)]
#[case(Method::POST, "/fhir/$sql-run", Some(json!({"resourceType": "Parameters", "parameter": [{"name": "subjectResource", "resource": {"resourceType": "Library"}}]})), 422)]
#[case(Method::DELETE, "/fhir/$sql-run", None, 405)]
#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_an_operation_outcome(
    #[case] method: Method,
    #[case] path: &str,
    #[case] body: Option<Value>,
    #[case] status: u16,
) {
    let test = TestServer::start().await;
    let answer = send(&test, method, path, body).await;
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(answer.json::<Value>().await.unwrap()["resourceType"], "OperationOutcome");
}

async fn sql(test: &TestServer, token: &str, sql: &str) -> Value {
    let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(token);
    request.json(&json!({"sql": sql})).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_view_is_a_table_for_whoever_may_read_its_resources() {
    let test = TestServer::start().await;
    let folder = test.folder.path().join("ward");
    fs::create_dir(&folder).unwrap();
    let lines: String = patients().iter().map(|patient| format!("{patient}\n")).collect();
    fs::write(folder.join("all.ndjson"), lines).unwrap();
    let imported = test.mavis(&["fhir", "import", folder.to_str().unwrap()]).await;
    assert!(imported.status.success(), "{}", crate::harness::stderr(&imported));

    let reader = test.token("reader", pb::Role::Reader, &["fhir.r4"]).await;
    let stranger = test.token("stranger", pb::Role::Reader, &["raw.nothing"]).await;
    let mut view = names();
    view["id"] = json!("names");
    let refused = send_as(&test, &reader, Method::PUT, "/fhir/ViewDefinition/names", Some(view.clone())).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let made = send(&test, Method::PUT, "/fhir/ViewDefinition/names", Some(view.clone())).await;
    assert_eq!(made.status(), StatusCode::CREATED, "{}", made.text().await.unwrap());
    let again = send(&test, Method::PUT, "/fhir/ViewDefinition/names", Some(view.clone())).await;
    assert_eq!((again.status(), again.headers()["etag"].to_str().unwrap()), (StatusCode::OK, "W/\"1\""));
    let mut broken = view.clone();
    broken["select"][0]["column"][0]["path"] = json!("name.");
    let invalid = send(&test, Method::PUT, "/fhir/ViewDefinition/names", Some(broken)).await;
    assert_eq!(invalid.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let read: Value =
        send_as(&test, &reader, Method::GET, "/fhir/ViewDefinition/names", None).await.json().await.unwrap();
    assert_eq!((&read["name"], &read["meta"]["versionId"]), (&json!("Names"), &json!("1")));
    let list: Value = send_as(&test, &reader, Method::GET, "/fhir/ViewDefinition", None).await.json().await.unwrap();
    assert_eq!(list["total"], 1);
    let hidden: Value =
        send_as(&test, &stranger, Method::GET, "/fhir/ViewDefinition", None).await.json().await.unwrap();
    assert_eq!(hidden["total"], 0);
    let hidden = send_as(&test, &stranger, Method::GET, "/fhir/ViewDefinition/names", None).await;
    assert_eq!(hidden.status(), StatusCode::NOT_FOUND);

    let question = "SELECT family, n FROM fhir.views.names WHERE id = 'a' ORDER BY n";
    assert_eq!(sql(&test, &reader, question).await["rows"], json!([["One", 0], ["Two", 1]]));
    assert_eq!(sql(&test, &reader, "SELECT count(*) FROM views.names").await["rows"], json!([[3]]));
    let joined = "SELECT p.gender, v.family FROM patient p JOIN fhir.views.names v ON p.id = v.id WHERE v.n = 1";
    assert_eq!(sql(&test, &reader, joined).await["rows"], json!([["male", "Two"]]));
    let tables = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'views'";
    assert_eq!(sql(&test, &reader, tables).await["rows"], json!([["names", "VIEW"]]));
    let columns = "SELECT column_name FROM fhir.information_schema.columns WHERE table_schema = 'views'";
    assert_eq!(sql(&test, &reader, columns).await["rows"], json!([["id"], ["family"], ["given"], ["n"]]));
    let explained = sql(&test, &reader, "EXPLAIN SELECT family FROM fhir.views.names").await.to_string();
    assert!(explained.contains("FhirView: resource=Patient, columns=[family]"), "{explained}");
    // Only the rows of the resource asked for are made: the filter above the view keeps all of what it gets.
    let asked = "EXPLAIN ANALYZE SELECT family FROM fhir.views.names WHERE id = 'a'";
    let explained = sql(&test, &reader, asked).await.to_string();
    assert!(explained.contains("(2/2)"), "{explained}");
    let error = sql(&test, &stranger, question).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("there is no table"), "{error}");

    let path = "/fhir/$sql-run?subjectReference=ViewDefinition/names&_format=csv&header=false&patient=Patient/a";
    let answer = send_as(&test, &reader, Method::GET, path, None).await;
    assert_eq!(answer.text().await.unwrap(), "a,One,\"[\"\"A\"\",\"\"B\"\"]\",0\na,Two,[],1\n");
    let path = "/fhir/$sql-run?subjectCanonical=http://example.org/Names&_limit=2";
    let rows: Value = send_as(&test, &reader, Method::GET, path, None).await.json().await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let answer = send_as(&test, &stranger, Method::GET, path, None).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);

    // SQL over the view, with a parameter
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let query = "SELECT family FROM patient_names WHERE n = :place ORDER BY family";
    let library = json!({
        "resourceType": "Library", "status": "active", "type": {"coding": [{"code": "sql-query"}]},
        "parameter": [{"name": "place", "use": "in", "type": "integer"}],
        "relatedArtifact": [{"type": "depends-on", "label": "patient_names", "resource": "http://example.org/Names"}],
        "content": [{"contentType": "application/sql", "data": STANDARD.encode(query)}]
    });
    let given = json!({"name": "parameters", "resource": {"resourceType": "Parameters",
        "parameter": [{"name": "place", "valueInteger": 1}]}});
    let body = parameters(&library, &[], &[given]);
    let answer = send_as(&test, &reader, Method::POST, "/fhir/$sqlquery-run", Some(body.clone())).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (StatusCode::OK, json!([{"family": "Two"}])));
    // A value that the query cannot work with is the caller's to mend, and is not told.
    let mut failing = library.clone();
    failing["content"][0]["data"] = json!(STANDARD.encode("SELECT CAST(family AS INT) AS n FROM patient_names"));
    failing["parameter"] = json!([]);
    let answer =
        send_as(&test, &reader, Method::POST, "/fhir/$sqlquery-run", Some(parameters(&failing, &[], &[]))).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!answer.text().await.unwrap().contains("One"));
    let answer = send_as(&test, &stranger, Method::POST, "/fhir/$sqlquery-run", Some(body)).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let gone = send(&test, Method::DELETE, "/fhir/ViewDefinition/names", None).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert!(sql(&test, &reader, question).await["error"].is_object());
}

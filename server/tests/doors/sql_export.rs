//! `$sql-export` over HTTP: begin, ask, fetch, cancel.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mavis_proto::v1::Role;
use reqwest::{Method, Response, StatusCode, redirect};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    fhir_client::{Client, header},
    harness::TestServer,
};

fn names() -> Value {
    json!({
        "resourceType": "ViewDefinition", "name": "Names", "status": "active", "resource": "Patient",
        "select": [{ "column": [{ "name": "id", "path": "getResourceKey()" }] },
                   { "forEach": "name", "column": [{ "name": "family", "path": "family" }] }]
    })
}

fn subjects() -> Value {
    json!({
        "resourceType": "ViewDefinition", "name": "Subjects", "status": "active", "resource": "Observation",
        "select": [{ "column": [{ "name": "id", "path": "getResourceKey()" },
                                { "name": "subject", "path": "subject.getReferenceKey(Patient)" }] }]
    })
}

fn query(sql: &str) -> Value {
    json!({
        "resourceType": "Library", "name": "Families", "status": "active",
        "type": { "coding": [{ "code": "sql-query" }] },
        "parameter": [{ "name": "beginning", "use": "in", "type": "string" }],
        "relatedArtifact": [{ "type": "depends-on", "label": "n", "resource": "http://example.org/Names" }],
        "content": [{ "contentType": "application/sql", "data": STANDARD.encode(sql) }]
    })
}

/// Patients `a`, `b` and `c`; `o1` is of `a`, `o2` of `b` and performed by `a`. A Group of `a`. A stored view `names`.
async fn lake(client: &Client<'_>) {
    let patient =
        |id: &str, family: &str| json!({ "resourceType": "Patient", "id": id, "name": [{ "family": family }] });
    let observation = |id: &str, subject: &str| {
        json!({ "resourceType": "Observation", "id": id, "status": "final", "code": { "text": "x" },
                "subject": { "reference": format!("Patient/{subject}") } })
    };
    let mut performed = observation("o2", "b");
    performed["performer"] = json!([{ "reference": "Patient/a" }]);
    client
        .put(&[
            patient("a", "Abel"),
            patient("b", "Bond"),
            patient("c", "Cole"),
            observation("o1", "a"),
            performed,
            json!({ "resourceType": "Group", "id": "g", "type": "person", "actual": true,
                    "member": [{ "entity": { "reference": "Patient/a" } }] }),
        ])
        .await;
    let mut view = names();
    view["id"] = json!("names");
    view["url"] = json!("http://example.org/Names");
    let request = client.request(Method::PUT, "/fhir/ViewDefinition/names").json(&view);
    assert_eq!(request.header("content-type", "application/fhir+json").send().await.unwrap().status(), 201);
}

fn inline(view: &Value) -> Value {
    json!({ "name": "subject", "part": [{ "name": "subjectResource", "resource": view }] })
}

fn stored() -> Value {
    let reference = json!({ "reference": "ViewDefinition/names" });
    json!({ "name": "subject", "part": [{ "name": "subjectReference", "valueReference": reference }] })
}

async fn kick_off(client: &Client<'_>, parameters: Value) -> Response {
    let body = json!({ "resourceType": "Parameters", "parameter": parameters });
    let request = client.request(Method::POST, "/fhir/$sql-export").header("prefer", "respond-async");
    request.header("content-type", "application/fhir+json").body(body.to_string()).send().await.unwrap()
}

/// Without following redirects.
async fn get(url: &str, token: &str) -> Response {
    let client = reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    client.get(url).bearer_auth(token).send().await.unwrap()
}

/// Asks until the answer is another than 202; the place of the result.
async fn ended(client: &Client<'_>, place: &str) -> String {
    for _ in 0..600 {
        let answer = get(place, &client.token).await;
        if answer.status() == StatusCode::ACCEPTED {
            assert!(!header(&answer, "retry-after").is_empty() && !header(&answer, "x-progress").is_empty());
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        return header(&answer, "location").to_owned();
    }
    panic!("it does not end");
}

fn values<'v>(manifest: &'v Value, name: &str) -> Vec<&'v Value> {
    manifest["parameter"].as_array().unwrap().iter().filter(|parameter| parameter["name"] == name).collect()
}

/// Name, URL and count of each output.
fn outputs(manifest: &Value) -> Vec<(String, String, u64)> {
    let part = |output: &Value, name: &str, value: &str| {
        let parts = output["part"].as_array().unwrap();
        parts.iter().find(|part| part["name"] == name).map(|part| part[value].clone()).unwrap()
    };
    let outputs = values(manifest, "output").into_iter().map(|output| {
        let text = |name: &str, value: &str| part(output, name, value).as_str().unwrap().to_owned();
        (
            text("name", "valueString"),
            text("location", "valueUri"),
            part(output, "count", "valueInteger").as_u64().unwrap(),
        )
    });
    outputs.collect()
}

async fn manifest(client: &Client<'_>, parameters: Value) -> Value {
    let begun = kick_off(client, parameters).await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let place = header(&begun, "content-location").to_owned();
    let result = ended(client, &place).await;
    let answer = get(&result, &client.token).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!header(&answer, "expires").is_empty());
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_subjects_become_files_of_one_state() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let mut named = inline(&query("SELECT family FROM n WHERE family LIKE :beginning ORDER BY family"));
    let parts = named["part"].as_array_mut().unwrap();
    parts.push(json!({ "name": "name", "valueString": "those / with B" }));
    parts.push(json!({ "name": "parameters", "resource": { "resourceType": "Parameters",
        "parameter": [{ "name": "beginning", "valueString": "B%" }] } }));
    let tracking = json!({ "name": "clientTrackingId", "valueString": "mine" });
    let manifest = manifest(&client, json!([stored(), inline(&subjects()), named, tracking])).await;
    assert_eq!(values(&manifest, "status")[0]["valueCode"], "completed");
    assert_eq!(values(&manifest, "clientTrackingId")[0]["valueString"], "mine");
    let outputs = outputs(&manifest);
    let named: Vec<(&str, u64)> = outputs.iter().map(|(name, _, count)| (name.as_str(), *count)).collect();
    assert_eq!(named, [("Names", 3), ("Subjects", 2), ("those / with B", 1)]);
    let (_, url, _) = &outputs[2];
    assert_eq!(reqwest::get(url).await.unwrap().status(), StatusCode::UNAUTHORIZED, "files need the token");
    let file = get(url, &client.token).await;
    assert_eq!(header(&file, "content-type"), "application/x-ndjson");
    assert_eq!(file.text().await.unwrap(), "{\"family\":\"Bond\"}\n");
}

#[rstest]
#[case("csv", "text/csv; charset=utf-8; header=present", "id,family\na,Abel\n")]
#[case("json", "application/json", "[{\"id\":\"a\",\"family\":\"Abel\"}\n]\n")]
#[case("ndjson", "application/x-ndjson", "{\"id\":\"a\",\"family\":\"Abel\"}\n")]
#[tokio::test(flavor = "multi_thread")]
async fn files_have_the_format_that_was_asked_for(#[case] format: &str, #[case] kind: &str, #[case] text: &str) {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let of_group = json!({ "name": "group", "valueReference": { "reference": "Group/g" } });
    let asked = json!([stored(), { "name": "_format", "valueCode": format }, of_group]);
    let outputs = outputs(&manifest(&client, asked).await);
    let file = get(&outputs[0].1, &client.token).await;
    assert_eq!(header(&file, "content-type"), kind);
    assert_eq!(file.text().await.unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_has_the_columns_and_the_rows_of_the_patients_asked_for() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let of_a = json!({ "name": "patient", "valueReference": { "reference": "Patient/a" } });
    let format = json!({ "name": "_format", "valueCode": "parquet" });
    let outputs = outputs(&manifest(&client, json!([inline(&subjects()), format, of_a])).await);
    let bytes = get(&outputs[0].1, &client.token).await.bytes().await.unwrap();
    let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    // What `a` performed for `b` is in the compartment of both.
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
    assert!(batches[0].column_by_name("subject").is_some());
    let later = json!({ "name": "_since", "valueInstant": "2999-01-01T00:00:00Z" });
    let none = manifest(&client, json!([stored(), later])).await;
    assert_eq!(self::outputs(&none)[0].2, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_ends_with_a_redirect_to_its_failure() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let begun = kick_off(&client, json!([inline(&query("SELECT CAST(family AS INT) AS n FROM n"))])).await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let place = header(&begun, "content-location").to_owned();
    let result = ended(&client, &place).await;
    let answer = get(&result, &client.token).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let outcome: Value = answer.json().await.unwrap();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert!(!outcome.to_string().contains("Abel"), "{outcome}");
}

#[rstest]
#[case(json!([]), 400)]
#[case(json!([{ "name": "subject", "part": [] }]), 400)]
#[case(json!([stored(), stored()]), 400)]
#[case(json!([stored(), { "name": "_format", "valueCode": "xml" }]), 406)]
#[case(json!([{ "name": "subject", "part": [{ "name": "subjectReference", "valueString": "ViewDefinition/none" }] }]), 404)]
#[case(json!([inline(&json!({ "resourceType": "ViewDefinition" }))]), 422)]
#[case(json!([stored(), { "name": "group", "valueString": "Group/none" }]), 404)]
#[case(json!([stored(), { "name": "nonsense", "valueString": "x" }]), 400)]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_at_once(#[case] parameters: Value, #[case] status: u16) {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let answer = kick_off(&client, parameters).await;
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(answer.json::<Value>().await.unwrap()["resourceType"], "OperationOutcome");
    assert_eq!(client.get("/fhir/$sql-export").await.0, 405, "subjects cannot be said in a query");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_belongs_to_who_began_it_and_ends_when_it_is_deleted() {
    let test = TestServer::start().await;
    let admin = Client::admin(&test);
    lake(&admin).await;
    let reader = Client { test: &test, token: test.token("reader", Role::Reader, &["fhir.r4"]).await };
    let other = Client { test: &test, token: test.token("other", Role::Reader, &["fhir.r4"]).await };
    let stranger = Client { test: &test, token: test.token("stranger", Role::Reader, &["raw.none"]).await };
    assert_eq!(kick_off(&stranger, json!([stored()])).await.status(), StatusCode::NOT_FOUND);
    let begun = kick_off(&reader, json!([stored()])).await;
    let place = header(&begun, "content-location").to_owned();
    let result = ended(&reader, &place).await;
    let found: Value = get(&result, &reader.token).await.json().await.unwrap();
    let file = outputs(&found)[0].1.clone();
    for url in [&place, &result, &file] {
        assert_eq!(get(url, &other.token).await.status(), StatusCode::NOT_FOUND, "{url}");
    }
    let id = place.rsplit('/').next().unwrap();
    assert_eq!(reader.get(&format!("/fhir/_export/{id}")).await.0, 404, "it is no export of resources");
    let deleted = reqwest::Client::new().delete(&place).bearer_auth(&reader.token).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    for url in [&place, &result, &file] {
        assert_eq!(get(url, &reader.token).await.status(), StatusCode::NOT_FOUND, "{url}");
    }
}

//! What the audit says of FHIR requests: who, what, how many, allowed or not; never a value.

use std::time::Duration;

use mavis_proto::v1::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    fhir_client::{Client, header},
    harness::TestServer,
};

const NAME: &str = "Kanarienvogel";

/// The audit's lines of an actor at the FHIR door, oldest first, once there are so many.
async fn lines(test: &TestServer, actor: &str, at_least: usize) -> Vec<Value> {
    let sql = format!(
        "SELECT action, object, allowed, rows FROM system.ops.audit WHERE door = 'fhir' AND actor = '{actor}' ORDER BY id"
    );
    let mut rows = Vec::new();
    for _ in 0..200 {
        let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(test.admin_token());
        let answer: Value = request.json(&json!({ "sql": sql })).send().await.unwrap().json().await.unwrap();
        rows = answer["rows"].as_array().cloned().unwrap_or_default();
        if rows.len() >= at_least {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{at_least} lines do not come: {rows:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_interaction_leaves_a_line_without_values() {
    let test = TestServer::start().await;
    let admin = Client::admin(&test);
    let person = json!({ "resourceType": "Patient", "id": "p", "name": [{ "family": NAME }] });
    let seen = json!({ "resourceType": "Observation", "id": "o", "status": "final", "code": { "text": "x" },
                       "subject": { "reference": "Patient/p" } });
    admin.put(&[person.clone(), seen]).await;

    let reader =
        Client { test: &test, token: test.token("reader", Role::Reader, &["fhir.r4", "fhir.r4_history"]).await };
    for (path, status) in [
        ("Patient/p", 200),
        ("Patient/nobody", 404),
        ("Patient/p/_history/1", 200),
        ("Patient/p/_history", 200),
        (&format!("Patient?family={NAME}&_count=5"), 200),
        (&format!("Observation?patient.family:exact={NAME}"), 200),
        (&format!("Patient?{NAME}"), 200),
        ("Patient/p/$everything?_type=Observation", 200),
        ("ValueSet/$expand?url=http://nowhere.org/x", 404),
    ] {
        let (got, answer) = reader.get(&format!("/fhir/{path}")).await;
        assert_eq!(got, status, "{path}: {answer}");
    }
    let form = reader
        .request(Method::POST, "/fhir/Patient/_search")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("family={NAME}&active:missing=true"));
    assert_eq!(form.send().await.unwrap().status(), 200);
    let refused = reader.request(Method::PUT, "/fhir/Patient/p").json(&person);
    assert_eq!(refused.header("content-type", "application/fhir+json").send().await.unwrap().status(), 403);
    let (_, manifest) = reader.wait(reader.kick_off("/fhir/$export?_type=Patient").await).await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    let file = reqwest::Client::new().get(url).bearer_auth(&reader.token).send().await.unwrap();
    assert!(header(&file, "content-type").contains("ndjson"));

    let lines = lines(&test, "reader", 13).await;
    let file = url.split_once("/fhir/").unwrap().1;
    assert_eq!(
        json!(lines),
        json!([
            ["fhir.read", "Patient/p", true, 1],
            ["fhir.read", "Patient/nobody", true, 0],
            ["fhir.vread", "Patient/p/_history/1", true, 1],
            ["fhir.history", "Patient/p/_history", true, 1],
            ["fhir.search", "Patient?family&_count", true, 1],
            ["fhir.search", "Observation?patient.family:exact", true, 1],
            ["fhir.search", "Patient", true, 1],
            ["fhir.everything", "Patient/p/$everything?_type", true, 1],
            ["fhir.expand", "ValueSet/$expand?url", true, null],
            ["fhir.search", "Patient/_search?family&active:missing", true, 1],
            ["fhir.update", "Patient/p", false, null],
            ["fhir.export", "$export?_type", true, null],
            ["fhir.export.file", file, true, 1],
        ])
    );
    assert!(!json!(lines).to_string().contains(NAME));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_of_a_batch_leaves_its_line() {
    let test = TestServer::start().await;
    let admin = Client::admin(&test);
    let entries = json!([{ "request": { "method": "GET", "url": "Patient?family=x" } },
                         { "request": { "method": "GET", "url": "Patient/nobody" } }]);
    let batch = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
    assert_eq!(admin.post("/fhir", &batch).await.0, 200);
    let found = lines(&test, "admin", 3).await;
    let actions: Vec<&Value> = found.iter().map(|line| &line[0]).collect();
    assert_eq!(json!(actions), json!(["fhir.search", "fhir.read", "fhir.bundle"]));
}

//! What SMART scopes and masks hide is told by no answer to a write, a condition or a search.

use mavis_proto::v1 as pb;
use reqwest::Method;
use serde_json::json;

use crate::smart::{Client, lake, observation};

/// Asks for what is hidden, for what was deleted while it was hidden, and for what never was: every answer is the same, but for
/// the id in it.
pub(crate) async fn same_as_missing(app: &Client<'_>, admin: &Client<'_>) {
    assert_eq!(admin.write(Method::PUT, "Observation/obx", &observation("obx", "b", "laboratory")).await, 201);
    assert_eq!(admin.ask(Method::DELETE, "/fhir/Observation/obx", None, None).await.0, 204);
    for (method, path) in [
        (Method::GET, "Observation/ID"),
        (Method::GET, "Observation/ID/_history"),
        (Method::GET, "Observation/ID/_history/1"),
        (Method::PUT, "Observation/ID"),
        (Method::PUT, "Observation?identifier=urn:o|nothing"),
        (Method::DELETE, "Observation/ID"),
    ] {
        for tag in [None, Some("W/\"1\""), Some("W/\"2\"")] {
            let mut told = Vec::new();
            for id in ["ob1", "obx", "obn"] {
                let client = reqwest::Client::new();
                let path = app.test.http(&format!("/fhir/{}", path.replace("ID", id)));
                let mut request = client.request(method.clone(), path).bearer_auth(&app.token);
                if method == Method::PUT {
                    let body = observation(id, "a", "laboratory").to_string();
                    request = request.header("content-type", "application/fhir+json").body(body);
                }
                if let Some(tag) = tag {
                    request = request.header("if-match", tag);
                }
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let stamps = ["etag", "last-modified", "location"].map(|name| answer.headers().contains_key(name));
                told.push((status, stamps, answer.text().await.unwrap().replace(id, "ID")));
            }
            assert!(told.iter().all(|one| *one == told[0] && one.1 == [false; 3]), "{method} {path} {tag:?}: {told:?}");
        }
    }
    assert_eq!(admin.status("Observation/ob1").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_in_a_reference_is_hidden_with_that_of_the_patient() {
    let test = lake().await;
    let admin = Client::admin(&test);
    let app = Client::new(&test, "system/Observation.crs system/Patient.rs", "").await;
    let patient =
        json!({ "resourceType": "Patient", "id": "c", "identifier": [{ "system": "urn:mrn", "value": "Mrncanary" }] });
    let observation = json!({
        "resourceType": "Observation", "id": "oc", "status": "final", "code": { "text": "x" },
        "subject": { "reference": "Patient/c", "identifier": { "system": "urn:mrn", "value": "Mrncanary" } },
    });
    assert_eq!(admin.write(Method::PUT, "Patient/c", &patient).await, 201);
    assert_eq!(admin.write(Method::PUT, "Observation/oc", &observation).await, 201);
    let found = "Observation?subject:identifier=urn:mrn|Mrncanary";
    let paths = [
        "Observation/oc",
        "Observation/oc/_history",
        "Observation?_id=oc&_include=Observation:subject",
        "Patient?_id=c&_revinclude=Observation:subject",
        "Patient/c/$everything",
        "Patient/c/Observation",
    ];
    let columns = ["subject", "subject.identifier", "resource"]
        .map(|column| format!("SELECT {column} FROM observation WHERE id = 'oc'"));
    let history = "SELECT resource FROM r4_history.observation WHERE id = 'oc'".to_owned();
    let queries: Vec<String> = columns.into_iter().chain([history]).collect();
    let body = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" } });
    let condition = ("if-none-exist", "subject:identifier=urn:mrn|Mrncanary");
    let create = async || app.ask(Method::POST, "/fhir/Observation", Some(&body), Some(condition)).await;
    let reader = Client { test: &test, token: test.token("rita", pb::Role::Reader, &[]).await };
    let ask = async |sql: &str| reader.ask(Method::POST, "/api/v1/sql", Some(&json!({ "sql": sql })), None).await;
    for hidden in [false, true] {
        if hidden {
            let mask = json!({ "sql": "CREATE MASK ON fhir.r4.patient (identifier) TO ROLE reader USING NULL" });
            assert_eq!(admin.ask(Method::POST, "/api/v1/sql", Some(&mask), None).await.0, 200);
        }
        for path in paths {
            let (status, told) = reader.get(path).await;
            assert_eq!((status, told.to_string().contains("Mrncanary")), (200, !hidden), "{path}: {told}");
        }
        for sql in &queries {
            let (status, told) = ask(sql).await;
            assert_eq!((status, told.to_string().contains("Mrncanary")), (200, !hidden), "{sql}: {told}");
        }
        assert_eq!(reader.found(found).await.len(), usize::from(!hidden));
        let (status, told) = create().await;
        assert_eq!(status, if hidden { 403 } else { 200 }, "{told}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_does_not_tell_of_what_is_masked() {
    let test = lake().await;
    let admin = Client::admin(&test);
    let app = Client::new(&test, "system/Observation.crs system/Patient.rs", "").await;
    let condition = ("if-none-exist", "identifier=urn:o|ob1&subject:Patient.family=Secretb");
    let body = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" } });
    let create = async || app.ask(Method::POST, "/fhir/Observation", Some(&body), Some(condition)).await;
    let transaction = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [{
        "resource": {
            "resourceType": "Observation",
            "status": "final",
            "code": { "text": "y" },
            "subject": { "reference": "Patient?family=Secretb" },
        },
        "request": { "method": "POST", "url": "Observation" },
    }] });
    let refer = async || app.ask(Method::POST, "/fhir", Some(&transaction), None).await;
    assert_eq!((create().await.0, refer().await.0), (200, 200));
    let mask = json!({ "sql": "CREATE MASK ON fhir.r4.patient (name) TO ROLE reader USING NULL" });
    assert_eq!(admin.ask(Method::POST, "/api/v1/sql", Some(&mask), None).await.0, 200);
    for (status, told) in [create().await, refer().await] {
        assert_eq!(status, 403, "{told}");
        assert!(told.to_string().contains("something of Patient is not granted here, or hidden"), "{told}");
    }
    test.stop().await;
}

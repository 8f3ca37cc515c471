//! SMART scopes: what a token with them reads, finds and writes, at the FHIR door and beside it.

use std::collections::BTreeSet;

use mavis_proto::v1::{
    self as pb, ingest_service_client::IngestServiceClient, token_service_client::TokenServiceClient,
};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    fhir_read::import,
    harness::{TestServer, with},
    smart_hidden,
};

pub(crate) fn observation(id: &str, patient: &str, category: &str) -> Value {
    json!({
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "identifier": [{ "system": "urn:o", "value": id }],
        "code": { "coding": [{ "system": "urn:c", "code": "x" }] },
        "category": [{ "coding": [{ "system": "urn:cat", "code": category }] }],
        "subject": { "reference": format!("Patient/{patient}") },
        "performer": [{ "reference": "Practitioner/p" }],
    })
}

/// Two patients, `a` and `b`, with what belongs to them.
pub(crate) async fn lake() -> TestServer {
    let test = TestServer::start().await;
    let patient =
        |id: &str| json!({ "resourceType": "Patient", "id": id, "name": [{ "family": format!("Secret{id}") }] });
    let condition = |id: &str, patient: &str| json!({ "resourceType": "Condition", "id": id, "subject": { "reference": format!("Patient/{patient}") } });
    let resources = [
        patient("a"),
        patient("b"),
        observation("oa1", "a", "laboratory"),
        observation("oa2", "a", "vital-signs"),
        observation("ob1", "b", "laboratory"),
        condition("ca", "a"),
        condition("cb", "b"),
        json!({ "resourceType": "Practitioner", "id": "p", "name": [{ "family": "Secretp" }] }),
    ];
    let entries = resources.map(|resource| {
        let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
    });
    import(&test, "1", &json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries })).await;
    test
}

pub(crate) struct Client<'t> {
    pub(crate) test: &'t TestServer,
    pub(crate) token: String,
}

impl<'t> Client<'t> {
    pub(crate) async fn new(test: &'t TestServer, scopes: &str, patient: &str) -> Self {
        Self::of_role(test, pb::Role::Reader, scopes, patient).await
    }

    async fn of_role(test: &'t TestServer, role: pb::Role, scopes: &str, patient: &str) -> Self {
        let request = pb::CreateTokenRequest {
            name: format!("app {scopes} {patient}"),
            role: role.into(),
            smart: scopes.to_owned(),
            patient: patient.to_owned(),
            ..Default::default()
        };
        let mut tokens = TokenServiceClient::new(test.channel().await);
        let token = tokens.create_token(with(&test.admin_token(), request)).await.unwrap().into_inner().secret;
        Self { test, token }
    }

    pub(crate) fn admin(test: &'t TestServer) -> Self {
        Self { test, token: test.admin_token() }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        header: Option<(&str, &str)>,
    ) -> (u16, Value) {
        let mut request = reqwest::Client::new().request(method, self.test.http(path)).bearer_auth(&self.token);
        if let Some(body) = body {
            let kind = if path.starts_with("/fhir") { "application/fhir+json" } else { "application/json" };
            request = request.header("content-type", kind).body(body.to_string());
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, &format!("/fhir/{path}"), None, None).await
    }

    pub(crate) async fn status(&self, path: &str) -> u16 {
        self.get(path).await.0
    }

    pub(crate) async fn write(&self, method: Method, path: &str, body: &Value) -> u16 {
        self.ask(method, &format!("/fhir/{path}"), Some(body), None).await.0
    }

    /// `Type/id` of everything in a Bundle.
    pub(crate) async fn found(&self, path: &str) -> BTreeSet<String> {
        let (status, bundle) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {bundle}");
        let text = bundle["entry"].to_string();
        assert!(self.token == self.test.admin_token() || !text.contains("Secretb"), "{path}: {text}");
        let name = |entry: &Value| {
            let resource = &entry["resource"];
            format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap())
        };
        bundle["entry"].as_array().map(|entries| entries.iter().map(name).collect()).unwrap_or_default()
    }

    /// Values of the first column.
    async fn sql(&self, sql: &str) -> Result<Vec<Value>, Value> {
        let (status, answer) = self.ask(Method::POST, "/api/v1/sql", Some(&json!({ "sql": sql })), None).await;
        if status != 200 {
            return Err(answer);
        }
        let rows = answer.as_array().or_else(|| answer["rows"].as_array()).unwrap_or_else(|| panic!("{answer}"));
        let first = |row: &Value| match row {
            Value::Object(row) => row.values().next().unwrap().clone(),
            Value::Array(row) => row[0].clone(),
            other => other.clone(),
        };
        Ok(rows.iter().map(first).collect())
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_of_a_patient_shows_the_compartment_and_nothing_else_at_any_door() {
    let test = lake().await;
    let app = Client::new(&test, "patient/*.rs", "a").await;
    for (path, status) in [
        ("Patient/a", 200),
        ("Patient/b", 404),
        ("Patient/nobody", 404),
        ("Observation/oa1", 200),
        ("Observation/ob1", 404),
        ("Observation/ob1/_history/1", 404),
        ("Observation/ob1/_history", 404),
        ("Observation/oa1/_history/1", 200),
        ("Condition/cb", 404),
        ("Practitioner/p", 404),
        ("Patient/b/$everything", 404),
    ] {
        assert_eq!(app.status(path).await, status, "{path}");
    }
    let own = ["Observation/oa1", "Observation/oa2"];
    for (path, found) in [
        ("Observation", names(&own)),
        ("Observation?patient=b", names(&[])),
        ("Observation?subject:Patient.name=Secretb", names(&[])),
        ("Observation?performer:Practitioner.name=Secretp", names(&[])),
        ("Observation?_id=oa1&_include=Observation:performer", names(&["Observation/oa1"])),
        ("Observation?_include=*", names(&["Observation/oa1", "Observation/oa2", "Patient/a"])),
        ("Patient", names(&["Patient/a"])),
        ("Patient?_revinclude=Observation:subject", names(&["Patient/a", own[0], own[1]])),
        ("Patient?_has:Observation:patient:code=x", names(&["Patient/a"])),
        ("Patient/a/Condition", names(&["Condition/ca"])),
        ("Patient/b/Condition", names(&[])),
        ("?_type=Patient,Observation,Condition", names(&["Patient/a", "Condition/ca", own[0], own[1]])),
        ("Observation/_history", names(&own)),
        ("_history", names(&["Patient/a", "Condition/ca", own[0], own[1]])),
        ("Patient/a/$everything", names(&["Patient/a", "Condition/ca", own[0], own[1]])),
    ] {
        assert_eq!(app.found(path).await, found, "{path}");
    }
    let (_, counted) = app.get("Observation?_summary=count").await;
    assert_eq!(counted["total"], 2);

    // Other doors open on the same rows, and on nothing beside the resources.
    for table in ["fhir.r4.observation", "fhir.r4_history.observation"] {
        let mut ids = app.sql(&format!("SELECT id FROM {table}")).await.unwrap();
        ids.sort_by_key(ToString::to_string);
        assert_eq!(ids, [json!("oa1"), json!("oa2")], "{table}");
    }
    assert_eq!(app.sql("SELECT count(*) FROM fhir.r4.patient").await.unwrap(), [json!(1)]);
    assert_eq!(app.sql("SELECT count(*) FROM fhir.r4.patient WHERE id = 'b'").await.unwrap(), [json!(0)]);
    let refused = app.sql("SELECT * FROM raw.given.files").await.unwrap_err();
    assert_eq!(refused["error"]["code"], "no_such_table", "{refused}");
    for (id, status) in [("oa1", 200), ("ob1", 404)] {
        let path = format!("/api/v1/tables/fhir/r4/observation/rows/{id}");
        assert_eq!(app.ask(Method::GET, &path, None, None).await.0, status, "{path}");
    }
    assert_eq!(app.write(Method::POST, "Observation", &observation("x", "a", "laboratory")).await, 403);
    test.stop().await;
}

#[rstest]
#[case("system/Observation.rs?category=laboratory", "", &["oa1", "ob1"])]
#[case("system/Observation.rs?category=urn:cat|vital-signs", "", &["oa2"])]
#[case("patient/Observation.rs?category=laboratory", "a", &["oa1"])]
#[case("patient/Observation.rs?category=laboratory patient/Observation.rs?category=vital-signs", "a", &["oa1", "oa2"])]
#[case("user/Observation.rs", "", &["oa1", "oa2", "ob1"])]
#[case("system/Observation.read", "", &["oa1", "oa2", "ob1"])]
#[case("system/Observation.rs?code:in=http://x", "", &[])]
#[tokio::test(flavor = "multi_thread")]
async fn scopes_narrow_by_search_parameters_and_add_up(
    #[case] scopes: &str,
    #[case] patient: &str,
    #[case] shown: &[&str],
) {
    let test = lake().await;
    let app = Client::new(&test, scopes, patient).await;
    let expected = shown.iter().map(|id| format!("Observation/{id}")).collect();
    assert_eq!(app.found("Observation").await, expected);
    assert_eq!(app.found("Observation/_history").await, expected);
    for id in ["oa1", "oa2", "ob1"] {
        let status = if shown.contains(&id) { 200 } else { 404 };
        assert_eq!(app.status(&format!("Observation/{id}")).await, status, "{id}");
    }
    let (status, outcome) = app.get("Condition").await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (403, &json!("forbidden")), "{outcome}");
    assert_eq!(app.status("Condition/ca").await, 403, "a type that no scope is about");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_interaction_needs_its_letter() {
    let test = lake().await;
    let body = observation("oa1", "a", "laboratory");
    for (letters, read, found, created, updated, deleted) in [
        ("r", 200, 403, 403, 403, 403),
        ("s", 403, 200, 403, 403, 403),
        ("c", 403, 403, 201, 403, 403),
        ("u", 403, 403, 403, 200, 403),
        ("d", 403, 403, 403, 403, 204),
    ] {
        let app = Client::new(&test, &format!("system/Observation.{letters}"), "").await;
        assert_eq!(app.status("Observation/oa2").await, read, "{letters}: read");
        assert_eq!(app.status("Observation/oa2/_history").await, read, "{letters}: history");
        assert_eq!(app.status("Observation?status=final").await, found, "{letters}: search");
        assert_eq!(app.write(Method::POST, "Observation", &body).await, created, "{letters}: create");
        assert_eq!(app.write(Method::PUT, "Observation/oa1", &body).await, updated, "{letters}: update");
        assert_eq!(app.ask(Method::DELETE, "/fhir/Observation/ob1", None, None).await.0, deleted, "{letters}: delete");
        let conditional = "Observation?identifier=urn:o|oa1";
        assert_eq!(app.write(Method::PUT, conditional, &body).await, 403, "{letters}: a condition is a search too");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_in_the_compartment_before_and_after_and_nothing_is_told_of_the_rest() {
    let test = lake().await;
    let app = Client::new(&test, "patient/Observation.cruds", "a").await;
    let admin = Client::admin(&test);
    let of = |id: &str, patient: &str| observation(id, patient, "laboratory");
    for (what, method, path, body, status) in [
        ("creates its own", Method::POST, "Observation", of("x", "a"), 201),
        ("creates somebody else's", Method::POST, "Observation", of("x", "b"), 403),
        (
            "creates nobody's",
            Method::POST,
            "Observation",
            json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" } }),
            403,
        ),
        (
            "changes its own",
            Method::PUT,
            "Observation/oa1",
            json!({ "resourceType": "Observation", "id": "oa1", "status": "amended", "code": { "text": "x" }, "subject": { "reference": "Patient/a" } }),
            200,
        ),
        ("gives its own away", Method::PUT, "Observation/oa1", of("oa1", "b"), 403),
        ("takes somebody else's", Method::PUT, "Observation/ob1", of("ob1", "a"), 404),
        ("writes under an id that nobody has", Method::PUT, "Observation/new", of("new", "a"), 404),
        (
            "writes another type",
            Method::POST,
            "Condition",
            json!({ "resourceType": "Condition", "subject": { "reference": "Patient/a" } }),
            403,
        ),
    ] {
        assert_eq!(app.write(method, path, &body).await, status, "{what}");
    }
    let delete = async |path: &str| app.ask(Method::DELETE, &format!("/fhir/{path}"), None, None).await.0;
    let (hidden, absent) = (delete("Observation/ob1").await, delete("Observation/nothing").await);
    assert_eq!((hidden, absent), (204, 204), "one that is hidden is as one that is not there");
    assert_eq!(admin.status("Observation/ob1").await, 200, "and is not deleted");
    assert_eq!(delete("Observation/oa2").await, 204);
    assert_eq!(admin.status("Observation/oa2").await, 410);
    smart_hidden::same_as_missing(&app, &admin).await;

    // A condition meets only what is shown: the one of `b` is not, so that another is made.
    let condition = ("if-none-exist", "identifier=urn:o|ob1");
    let (status, made) = app.ask(Method::POST, "/fhir/Observation", Some(&of("x", "a")), Some(condition)).await;
    assert_eq!(status, 201, "{made}");
    let moved = app.write(Method::PUT, "Observation?identifier=urn:o|ob1", &json!({ "resourceType": "Observation", "status": "final", "code": { "text": "moved" }, "subject": { "reference": "Patient/a" } })).await;
    assert!(moved == 200 || moved == 201, "{moved}");
    let (_, ob1) = admin.get("Observation/ob1").await;
    assert_eq!(ob1["subject"]["reference"], "Patient/b", "that of the other patient stays");

    let entry = |method: &str, url: &str, resource: Value| json!({ "resource": resource, "request": { "method": method, "url": url } });
    let batch = json!({ "resourceType": "Bundle", "type": "batch", "entry": [
        entry("POST", "Observation", of("x", "a")),
        entry("POST", "Observation", of("x", "b")),
        entry("POST", "Condition", json!({ "resourceType": "Condition", "subject": { "reference": "Patient/a" } })),
        { "request": { "method": "GET", "url": "Observation/oa1" } },
        { "request": { "method": "GET", "url": "Observation/ob1" } },
        { "request": { "method": "GET", "url": "Patient/a" } },
        { "request": { "method": "GET", "url": "Observation?subject=Patient/b" } },
    ]});
    let (status, answer) = app.ask(Method::POST, "/fhir", Some(&batch), None).await;
    assert_eq!(status, 200, "{answer}");
    let told: Vec<&str> = answer["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["response"]["status"].as_str().unwrap()[..3])
        .collect();
    assert_eq!(told, ["201", "403", "403", "200", "404", "403", "200"]);
    assert!(answer["entry"][6]["resource"]["entry"].is_null(), "{answer}");

    let before = admin.found("Observation?_count=1000").await;
    let transaction = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        entry("POST", "Observation", of("x", "a")),
        entry("POST", "Observation", of("x", "b")),
    ]});
    assert_eq!(app.ask(Method::POST, "/fhir", Some(&transaction), None).await.0, 403);
    assert_eq!(admin.found("Observation?_count=1000").await, before, "all or nothing");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_token_with_scopes_is_no_administrators() {
    let test = lake().await;
    let app = Client::of_role(&test, pb::Role::Admin, "system/*.cruds", "").await;
    assert_eq!(app.status("Patient/b").await, 200);
    assert_eq!(app.write(Method::POST, "$import", &json!({})).await, 403);
    assert_eq!(app.write(Method::POST, "Patient/a/$erase", &json!({})).await, 403);
    assert_eq!(app.write(Method::POST, "ViewDefinition", &json!({ "resourceType": "ViewDefinition" })).await, 403);
    let channel = test.channel().await;
    let mut tokens = TokenServiceClient::new(channel.clone());
    let refused = tokens.list_tokens(with(&app.token, pb::ListTokensRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let run = pb::StartRunRequest { source: "given".to_owned(), ..Default::default() };
    let refused = IngestServiceClient::new(channel).start_run(with(&app.token, run)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_is_told_without_a_token_and_refusals_are_audited() {
    let test = lake().await;
    let open = async |path: &str| -> Value { reqwest::get(test.http(path)).await.unwrap().json().await.unwrap() };
    let told = open("/fhir/.well-known/smart-configuration").await;
    assert!(told["capabilities"].as_array().unwrap().contains(&json!("permission-v2")), "{told}");
    let told = open("/fhir/metadata").await;
    let security = &told["rest"][0]["security"];
    assert_eq!(security["service"][0]["coding"][0]["code"], "SMART-on-FHIR", "{security}");

    let app = Client::new(&test, "patient/Observation.rs", "a").await;
    assert_eq!(app.status("Condition?code=canary").await, 403);
    test.server.app().reads.flush().await;
    let audit = test.server.app().catalog.audit_entries(50).await.unwrap();
    let refused = audit.iter().find(|entry| entry.object.starts_with("Condition")).unwrap();
    assert!(!refused.allowed && refused.action == "fhir.search" && !refused.object.contains("canary"), "{refused:?}");
    let made = audit.iter().find(|entry| entry.action == "token.create").unwrap();
    assert!(made.allowed && made.actor == "admin", "{made:?}");
    test.stop().await;
}

#[rstest]
#[case("patient/*.rs", "", "Patient")]
#[case("patient/*.sr", "a", "cruds")]
#[case("openid", "", "SMART scope")]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_scopes_that_mean_nothing_is_not_made(
    #[case] scopes: &str,
    #[case] patient: &str,
    #[case] says: &str,
) {
    let test = TestServer::start().await;
    let mut arguments = vec!["token", "create", "app", "--role", "reader", "--smart", scopes];
    if !patient.is_empty() {
        arguments.extend(["--patient", patient]);
    }
    let made = test.mavis(&arguments).await;
    let told = crate::harness::stderr(&made);
    assert!(!made.status.success() && told.contains(says), "{told}");
    let good = test
        .mavis(&[
            "token",
            "create",
            "app",
            "--role",
            "reader",
            "--smart",
            "patient/*.rs",
            "--patient",
            "a",
            "--expires",
            "30d",
        ])
        .await;
    assert!(good.status.success(), "{}", crate::harness::stderr(&good));
    test.stop().await;
}

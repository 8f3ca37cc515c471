//! Writes over HTTP: one by one, conditional, in batches and transactions; who may not, and what is refused.

use mavis_proto::v1::Role;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::TestServer;

struct Client<'t> {
    test: &'t TestServer,
    token: String,
}

impl<'t> Client<'t> {
    fn admin(test: &'t TestServer) -> Self {
        Self { test, token: test.admin_token() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        reqwest::Client::new().request(method, self.test.http(path)).bearer_auth(&self.token)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        let request = self.request(method, path).header("content-type", "application/fhir+json");
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn status(&self, method: Method, path: &str, body: &Value) -> u16 {
        self.send(method, path, body).await.status().as_u16()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn patient(id: Option<&str>, identifier: &str, family: &str) -> Value {
    let mut patient = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:s", "value": identifier }],
        "name": [{ "family": family }],
    });
    if let Some(id) = id {
        patient["id"] = json!(id);
    }
    patient
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_can_be_read_at_once() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let created = client.send(Method::POST, "/fhir/Patient", &patient(Some("mine"), "1", "One")).await;
    assert_eq!((created.status(), header(&created, "etag")), (StatusCode::CREATED, "W/\"1\""));
    assert!(!header(&created, "last-modified").is_empty());
    let location = header(&created, "location").to_owned();
    let body: Value = created.json().await.unwrap();
    let id = body["id"].as_str().unwrap().to_owned();
    assert_ne!(id, "mine", "an id in a create does not count");
    assert!(location.ends_with(&format!("/fhir/Patient/{id}/_history/1")), "{location}");
    let (status, read) = client.get(&format!("/fhir/Patient/{id}")).await;
    assert_eq!((status, &read), (200, &body));
    assert_eq!(read["meta"]["versionId"], "1");
    let (_, found) = client.get("/fhir/Patient?identifier=urn:s|1").await;
    assert_eq!(found["entry"][0]["resource"]["id"], id);
    // What was read and is sent again as it is makes no version.
    let again = client.send(Method::PUT, &format!("/fhir/Patient/{id}"), &read).await;
    assert_eq!((again.status(), header(&again, "etag")), (StatusCode::OK, "W/\"1\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_makes_a_version_and_a_deletion_ends_it() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let at = "/fhir/Patient/a";
    let created = client.send(Method::PUT, at, &patient(Some("a"), "1", "One")).await;
    assert_eq!((created.status(), header(&created, "etag")), (StatusCode::CREATED, "W/\"1\""));
    let updated = client.send(Method::PUT, at, &patient(Some("a"), "1", "Two")).await;
    assert_eq!((updated.status(), header(&updated, "etag")), (StatusCode::OK, "W/\"2\""));
    for (tag, status) in [("W/\"1\"", 412), ("W/\"2\"", 200), ("W/\"2\"", 412), ("nonsense", 400)] {
        let body = patient(Some("a"), "1", "Three").to_string();
        let request =
            client.request(Method::PUT, at).header("if-match", tag).header("content-type", "application/json");
        assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), status, "{tag}");
    }
    let deleted = client.request(Method::DELETE, at).send().await.unwrap();
    assert_eq!((deleted.status(), header(&deleted, "etag")), (StatusCode::NO_CONTENT, "W/\"4\""));
    assert_eq!(client.get(at).await.0, 410);
    assert_eq!(client.get(&format!("{at}/_history/3")).await.0, 200);
    assert_eq!(client.get(&format!("{at}/_history/4")).await.0, 410);
    assert_eq!(client.status(Method::DELETE, at, &json!(null)).await, 204);
    assert_eq!(client.status(Method::DELETE, "/fhir/Patient/nobody", &json!(null)).await, 204);
    let (_, found) = client.get("/fhir/Patient").await;
    assert!(found.get("entry").is_none());
    let revived = client.send(Method::PUT, at, &patient(Some("a"), "1", "Five")).await;
    assert_eq!((revived.status(), header(&revived, "etag")), (StatusCode::CREATED, "W/\"5\""));
    assert_eq!(client.get(&format!("{at}/_history")).await.1["total"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_body_that_was_asked_for() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    for (preference, kind) in [
        ("return=minimal", None),
        ("return=OperationOutcome", Some("OperationOutcome")),
        ("return=representation", Some("Patient")),
    ] {
        let request = client.request(Method::POST, "/fhir/Patient").header("prefer", preference);
        let answer = request
            .header("content-type", "application/json")
            .body(patient(None, "1", "x").to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert!(!header(&answer, "location").is_empty());
        let text = answer.text().await.unwrap();
        match kind {
            None => assert_eq!(text, ""),
            Some(kind) => assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["resourceType"], kind),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_writes_do_what_the_number_of_matches_says() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let create = async |value: &str, query: &str| {
        let request = client.request(Method::POST, "/fhir/Patient").header("if-none-exist", query);
        let body = patient(None, value, "x").to_string();
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, first) = create("1", "identifier=urn:s|1").await;
    assert_eq!(status, 201);
    let (status, existing) = create("1", "identifier=urn:s|1").await;
    assert_eq!((status, &existing["id"]), (200, &first["id"]));
    assert_eq!(create("1", "identifier=urn:s|other").await.0, 201);
    assert_eq!(create("1", "identifier=urn:s|1").await.0, 412, "two match");
    assert_eq!(create("1", "nonsense=1").await.0, 400);
    assert_eq!(create("1", "").await.0, 400);

    let put = async |query: &str, body: Value| client.send(Method::PUT, &format!("/fhir/Patient?{query}"), &body).await;
    assert_eq!(put("identifier=urn:s|2", patient(None, "2", "x")).await.status().as_u16(), 201);
    let updated = put("identifier=urn:s|2", patient(None, "2", "y")).await;
    assert_eq!((updated.status().as_u16(), header(&updated, "etag")), (200, "W/\"2\""));
    assert_eq!(put("identifier=urn:s|2", patient(Some("z"), "2", "y")).await.status().as_u16(), 400);
    assert_eq!(put("identifier=urn:s|1", patient(None, "1", "y")).await.status().as_u16(), 412);
    assert_eq!(put("identifier=urn:s|3", patient(Some("three"), "3", "y")).await.status().as_u16(), 201);
    assert_eq!(client.get("/fhir/Patient/three").await.0, 200);

    let delete =
        async |query: &str| client.status(Method::DELETE, &format!("/fhir/Patient?{query}"), &json!(null)).await;
    assert_eq!(delete("identifier=urn:s|1").await, 412);
    assert_eq!(delete("identifier=urn:s|3").await, 204);
    assert_eq!(client.get("/fhir/Patient/three").await.0, 410);
    assert_eq!(delete("identifier=urn:s|nobody").await, 204);
    assert_eq!(delete("").await, 400, "everything is no condition");
}

fn entry(method: &str, url: &str, resource: Option<Value>) -> Value {
    let mut entry = json!({ "request": { "method": method, "url": url } });
    if let Some(resource) = resource {
        entry["resource"] = resource;
    }
    entry
}

fn bundle(kind: &str, entries: Vec<Value>) -> Value {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

fn observation(subject: &str) -> Value {
    json!({
        "resourceType": "Observation",
        "status": "final",
        "code": { "text": "x" },
        "valueQuantity": { "value": 1.10 },
        "subject": { "reference": subject },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_resolves_what_its_entries_call_each_other() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    client
        .send(
            Method::PUT,
            "/fhir/Practitioner/dr",
            &json!({
                "resourceType": "Practitioner", "id": "dr", "identifier": [{ "system": "urn:d", "value": "7" }]
            }),
        )
        .await;
    let mut made = entry("POST", "Patient", Some(patient(None, "1", "One")));
    made["fullUrl"] = json!("urn:uuid:11111111-1111-1111-1111-111111111111");
    let mut remote = entry("POST", "Patient", Some(patient(Some("23"), "2", "Two")));
    remote["fullUrl"] = json!("http://elsewhere.org/fhir/Patient/23");
    let mut seen = observation("urn:uuid:11111111-1111-1111-1111-111111111111");
    seen["performer"] = json!([{ "reference": "Practitioner?identifier=urn:d|7" }]);
    let mut second = entry("POST", "Observation", Some(observation("Patient/23")));
    second["fullUrl"] = json!("http://elsewhere.org/fhir/Observation/1");
    let third = entry("POST", "Observation", Some(observation("Patient?identifier=urn:s|2")));
    let entries = vec![entry("POST", "Observation", Some(seen)), made, remote, second, third];
    let answer = client.send(Method::POST, "/fhir", &bundle("transaction", entries)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["type"], "transaction-response");
    let places: Vec<String> = answer["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(entry["response"]["status"], "201 Created");
            entry["response"]["location"].as_str().unwrap().trim_end_matches("/_history/1").to_owned()
        })
        .collect();
    let read = async |index: usize| client.get(&format!("/fhir/{}", places[index])).await.1;
    let first = read(0).await;
    assert_eq!(first["subject"]["reference"], places[1]);
    assert_eq!(first["performer"][0]["reference"], "Practitioner/dr");
    assert_eq!(read(3).await["subject"]["reference"], places[2]);
    assert_eq!(read(4).await["subject"]["reference"], places[2], "also what the transaction itself makes");
    let text = client.request(Method::GET, &format!("/fhir/{}", places[0])).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("1.1"), "{text}");
}

#[rstest]
#[case::invalid(vec![entry("POST", "Patient", Some(json!({ "resourceType": "Patient", "birthDate": "2024-13-45" })))], 422)]
#[case::wrong_type(vec![entry("POST", "Patient", Some(observation("Patient/a")))], 400)]
#[case::no_such_condition(vec![entry("POST", "Observation", Some(observation("Patient?identifier=urn:s|nobody")))], 412)]
#[case::twice(vec![entry("DELETE", "Patient/x", None), entry("PUT", "Patient/x", Some(patient(Some("x"), "1", "x")))], 400)]
#[case::method(vec![entry("PATCH", "Patient/x", None)], 400)]
#[case::no_resource(vec![entry("POST", "Patient", None)], 400)]
#[case::read(vec![entry("GET", "Patient", None)], 400)]
#[case::unknown_type(vec![entry("DELETE", "Nonsense/1", None)], 404)]
#[case::id(vec![entry("PUT", "Patient/..", Some(patient(Some(".."), "1", "x"))), entry("DELETE", "Patient/a%2Fb", None)], 400)]
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_with_one_bad_entry_does_nothing(#[case] bad: Vec<Value>, #[case] status: u16) {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let mut entries = vec![entry("PUT", "Patient/good", Some(patient(Some("good"), "1", "x")))];
    entries.extend(bad);
    let answer = client.send(Method::POST, "/fhir", &bundle("transaction", entries)).await;
    assert_eq!(answer.status().as_u16(), status);
    let outcome: Value = answer.json().await.unwrap();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert!(outcome["issue"][0]["expression"][0].as_str().unwrap().starts_with("Bundle.entry["), "{outcome}");
    assert_eq!(client.get("/fhir/Patient/good").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_batch_stand_for_themselves() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    client.send(Method::PUT, "/fhir/Patient/old", &patient(Some("old"), "0", "Old")).await;
    let entries = vec![
        entry("PUT", "Patient/a", Some(patient(Some("a"), "1", "One"))),
        entry("POST", "Patient", Some(json!({ "resourceType": "Patient", "active": "yes" }))),
        entry("GET", "Patient/old", None),
        entry("GET", "Patient/nobody", None),
        entry("PUT", "Patient/a", Some(patient(Some("a"), "1", "Two"))),
        entry("DELETE", "Patient/old", None),
        entry("GET", "Patient?identifier=urn:s|1", None),
        json!({ "request": { "method": "GET" } }),
    ];
    let answer = client.send(Method::POST, "/fhir/", &bundle("batch", entries)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    let entries = answer["entry"].as_array().unwrap();
    let status = |index: usize| entries[index]["response"]["status"].as_str().unwrap()[..3].parse::<u16>().unwrap();
    assert_eq!((0..8).map(status).collect::<Vec<_>>(), [201, 422, 410, 404, 200, 204, 200, 400]);
    assert_eq!(entries[1]["response"]["outcome"]["resourceType"], "OperationOutcome");
    assert_eq!(entries[6]["resource"]["entry"][0]["resource"]["name"][0]["family"], "Two");
    let (_, now) = client.get("/fhir/Patient/a").await;
    assert_eq!((&now["name"][0]["family"], &now["meta"]["versionId"]), (&json!("Two"), &json!("2")));
}

#[rstest]
#[case(Role::Reader)]
#[case(Role::Engineer)]
#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_write(#[case] role: Role) {
    let test = TestServer::start().await;
    let token = test.token("someone", role, &["fhir.r4"]).await;
    let client = Client { test: &test, token };
    let one = patient(Some("a"), "1", "x");
    let batch = bundle("batch", vec![entry("DELETE", "Patient/a", None)]);
    for (method, path, body) in [
        (Method::POST, "/fhir/Patient", &one),
        (Method::PUT, "/fhir/Patient/a", &one),
        (Method::DELETE, "/fhir/Patient/a", &one),
        (Method::PUT, "/fhir/Patient?identifier=1", &one),
        (Method::DELETE, "/fhir/Patient?identifier=1", &one),
        (Method::POST, "/fhir", &batch),
    ] {
        let answer = client.send(method.clone(), path, body).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["resourceType"], "OperationOutcome");
    }
}

fn deep(levels: usize) -> String {
    let (open, close) = ("{\"extension\":[".repeat(levels), "]}".repeat(levels));
    format!("{{\"resourceType\":\"Patient\",\"extension\":[{open}{close}]}}")
}

#[rstest]
#[case::deep("/fhir/Patient", "application/json", deep(200), 400)]
#[case::not_json("/fhir/Patient", "application/json", "{\"resourceType\":\"Patient\"".to_owned(), 400)]
#[case::a_list("/fhir/Patient", "application/json", "[]".to_owned(), 400)]
#[case::twice("/fhir/Patient", "application/json", r#"{"resourceType":"Patient","active":true,"active":false}"#.to_owned(), 400)]
#[case::date("/fhir/Patient", "application/json", r#"{"resourceType":"Patient","birthDate":"2024-02-30"}"#.to_owned(), 422)]
#[case::number("/fhir/Observation", "application/json", r#"{"resourceType":"Observation","status":"final","code":{},"valueInteger":99999999999}"#.to_owned(), 422)]
#[case::missing("/fhir/Observation", "application/json", r#"{"resourceType":"Observation"}"#.to_owned(), 422)]
#[case::xml("/fhir/Patient", "application/fhir+xml", "<Patient/>".to_owned(), 415)]
#[case::form("/fhir/Patient", "application/x-www-form-urlencoded", "a=b".to_owned(), 415)]
#[case::empty("/fhir/Patient", "application/json", String::new(), 400)]
#[case::bundle_of_nothing("/fhir", "application/json", "{}".to_owned(), 400)]
#[case::cut_bundle("/fhir", "application/json", r#"{"resourceType":"Bundle","type":"transaction","entry":[{"#.to_owned(), 400)]
#[case::searchset("/fhir", "application/json", r#"{"resourceType":"Bundle","type":"searchset"}"#.to_owned(), 400)]
#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_are_refused_and_the_server_goes_on(
    #[case] path: &str,
    #[case] kind: &str,
    #[case] body: String,
    #[case] status: u16,
) {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let answer = client.request(Method::POST, path).header("content-type", kind).body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(answer.json::<Value>().await.unwrap()["resourceType"], "OperationOutcome");
    assert_eq!(client.status(Method::POST, "/fhir/Patient", &patient(None, "1", "x")).await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_a_float_is_kept_as_it_was_written() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let digits = format!("0.{}1", "0".repeat(400));
    let body = format!(
        r#"{{"resourceType":"Observation","id":"n","status":"final","code":{{"text":"x"}},"valueQuantity":{{"value":{digits}}}}}"#
    );
    let request = client.request(Method::PUT, "/fhir/Observation/n").header("content-type", "application/json");
    assert_eq!(request.body(body).send().await.unwrap().status(), StatusCode::CREATED);
    let text = client.request(Method::GET, "/fhir/Observation/n").send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&digits));
}

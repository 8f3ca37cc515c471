//! `fhir_server` against a server that keeps to the specification and one that does not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base64::Engine;
use mavis_connectors::{
    Error, ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, TableKind, TableRef,
    testkit::{Change, Expectation, Reading, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use rstest::rstest;
use serde_json::{Value, json};

use crate::stub::{Asked, Reply, Stub};

fn connect(url: &str, more: Value) -> Arc<dyn Source> {
    let mut params = json!({ "base_url": format!("{url}/fhir"), "timeout": 1, "connect_timeout": 1, "max_retries": 1, "page_size": 4 });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = SourceSpec {
        name: SourceName::new("ehr").unwrap(),
        kind: "fhir_server".to_owned(),
        params,
        authoritative: false,
    };
    let key = key();
    let secrets = Secrets::from_pairs([("FHIR_SERVER_PASSWORD_EHR", "tiger"), ("FHIR_SERVER_PRIVATE_KEY_EHR", &key)]);
    Registry::built_in().connect(&spec, &secrets).unwrap()
}

async fn read(source: &dyn Source, kind: &str, from: Option<Cursor>) -> Result<Reading, Error> {
    let table = TableRef { schema: None, name: kind.to_owned() };
    read_all(source, ReadRequest { from, ..ReadRequest::whole(table) }).await
}

fn end(reading: &Reading) -> Option<Cursor> {
    reading.cursors.last().map(|(cursor, _, _)| cursor.clone())
}

fn ids(reading: &Reading) -> Vec<String> {
    reading.rows.iter().map(|row| row.split(['=', '|']).nth(1).unwrap().to_owned()).collect()
}

fn gone(reading: &Reading) -> Vec<usize> {
    reading
        .steps
        .iter()
        .filter_map(|step| match step {
            Change::Gone(batch) => Some(batch.num_rows()),
            _ => None,
        })
        .collect()
}

/// A store of patients, as a FHIR server has it.
#[derive(Debug, Clone, Default)]
struct Store {
    patients: Arc<Mutex<BTreeMap<String, Value>>>,
    deleted: Arc<Mutex<Vec<(String, String)>>>,
}

fn at(second: usize) -> String {
    format!("2024-01-01T00:{:02}:{:02}.000Z", second / 60, second % 60)
}

impl Store {
    fn of(count: usize) -> Self {
        let store = Self::default();
        for number in 0..count {
            // Several of one moment.
            store.put(&format!("p{number:02}"), number / 3);
        }
        store
    }

    fn put(&self, id: &str, second: usize) {
        let resource = json!({"resourceType": "Patient", "id": id, "meta": {"versionId": "1", "lastUpdated": at(second)},
                              "multipleBirthInteger": 1.50});
        self.patients.lock().unwrap().insert(id.to_owned(), resource);
    }

    fn delete(&self, id: &str, second: usize) {
        self.patients.lock().unwrap().remove(id);
        self.deleted.lock().unwrap().push((id.to_owned(), at(second)));
    }

    /// Those from a moment on, the oldest first.
    fn since(&self, moment: &str) -> Vec<Value> {
        let patients = self.patients.lock().unwrap();
        let mut found: Vec<Value> = patients
            .values()
            .filter(|patient| patient["meta"]["lastUpdated"].as_str().unwrap() >= moment)
            .cloned()
            .collect();
        found.sort_by_key(|patient| patient["meta"]["lastUpdated"].as_str().unwrap().to_owned());
        found
    }

    fn search(&self, asked: &Asked) -> Reply {
        let moment = asked.query.get("_lastUpdated").map_or("", |value| value.strip_prefix("ge").unwrap());
        let found = self.since(moment);
        if asked.query.get("_summary").map(String::as_str) == Some("count") {
            return Reply::json(json!({"resourceType": "Bundle", "type": "searchset", "total": found.len()}));
        }
        let (start, count) = (asked.number("_start", 0), asked.number("_count", 10));
        let host = &asked.headers["host"];
        let query: Vec<String> = asked
            .query
            .iter()
            .filter(|(name, _)| *name != "_start")
            .map(|(name, value)| format!("{name}={}", value.replace('+', "%2B")))
            .collect();
        let address = format!("http://{host}{}?{}", asked.path, query.join("&"));
        let mut links = vec![json!({"relation": "self", "url": address})];
        if start + count < found.len() {
            links.push(json!({"relation": "next", "url": format!("{address}&_start={}", start + count)}));
        }
        let page: Vec<Value> = found
            .iter()
            .skip(start)
            .take(count)
            .map(|resource| json!({"resource": resource, "search": {"mode": "match"}}))
            .collect();
        Reply::json(
            json!({"resourceType": "Bundle", "type": "searchset", "total": found.len(), "link": links, "entry": page}),
        )
    }

    fn history(&self, since: &str) -> Reply {
        let entries: Vec<Value> = self
            .deleted
            .lock()
            .unwrap()
            .iter()
            .rev()
            .filter(|(_, moment)| moment.as_str() >= since)
            .map(|(id, _)| json!({"request": {"method": "DELETE", "url": format!("Patient/{id}")}}))
            .collect();
        Reply::json(json!({"resourceType": "Bundle", "type": "history", "entry": entries}))
    }

    fn answer(&self, asked: &Asked) -> Reply {
        match asked.path.as_str() {
            "/fhir/metadata" => Reply::json(json!({
                "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
                "rest": [{"resource": [
                    {"type": "Patient", "interaction": [{"code": "search-type"}]},
                    {"type": "Basic", "interaction": [{"code": "search-type"}]},
                    {"type": "Binary", "interaction": [{"code": "read"}]},
                ]}],
            })),
            "/fhir/Patient" => self.search(asked),
            "/fhir/Patient/_history" => self.history(&asked.query["_since"]),
            "/fhir/Basic" => Reply::json(json!({"resourceType": "Bundle", "type": "searchset", "total": 0})),
            _ => Reply::status(404),
        }
    }

    async fn serve(&self) -> Stub {
        let store = self.clone();
        Stub::start(move |asked, _| store.answer(asked)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_a_search() {
    let stub = Store::of(31).serve().await;
    for more in [json!({}), json!({"overlap_seconds": 0}), json!({"sorted": false})] {
        assert_contract(connect(&stub.url, more).as_ref(), Expectation::default().table("Patient", 31)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_those_that_the_server_has_resources_of_and_a_resource_keeps_its_text() {
    let stub = Store::of(2).serve().await;
    let source = connect(&stub.url, json!({}));
    let tables = source.discover(&Selection::default()).await.unwrap().tables;
    let [patient] = tables.as_slice() else { panic!("{tables:?}") };
    assert_eq!((patient.kind, patient.mode), (TableKind::Resources, ReadMode::Incremental));
    assert_eq!((patient.key.as_slice(), patient.row_estimate), (&["id".to_owned()][..], Some(2)));
    let reading = read(source.as_ref(), "Patient", None).await.unwrap();
    assert!(reading.whole && reading.rows[0].contains(r#""multipleBirthInteger":1.5"#), "{:?}", reading.rows);
    assert!(
        reading.rows[0].contains("last_updated=2024-01-01T00:00:00.000Z") && reading.rows[0].contains("version_id=1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_versions_come_those_of_the_last_moment_too_and_late_ones_within_the_overlap() {
    let store = Store::of(30);
    let stub = store.serve().await;
    let source = connect(&stub.url, json!({"overlap_seconds": 5}));
    let first = read(source.as_ref(), "Patient", None).await.unwrap();
    assert_eq!(first.rows.len(), 30);
    store.put("same-moment", 9);
    store.put("late", 6);
    store.put("p00", 20);
    let second = read(source.as_ref(), "Patient", end(&first)).await.unwrap();
    assert_eq!(ids(&second), ["late", "same-moment", "p00"]);
    assert!(!second.whole);
    assert!(read(source.as_ref(), "Patient", end(&second)).await.unwrap().steps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_of_the_future_does_not_hide_what_comes_after() {
    let store = Store::of(3);
    store.patients.lock().unwrap().insert(
        "wrong".to_owned(),
        json!({"resourceType": "Patient", "id": "wrong", "meta": {"lastUpdated": "2199-01-01T00:00:00Z"}}),
    );
    let stub = store.serve().await;
    let source = connect(&stub.url, json!({}));
    let first = read(source.as_ref(), "Patient", None).await.unwrap();
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    store
        .patients
        .lock()
        .unwrap()
        .insert("new".to_owned(), json!({"resourceType": "Patient", "id": "new", "meta": {"lastUpdated": now}}));
    let second = read(source.as_ref(), "Patient", end(&first)).await.unwrap();
    assert!(ids(&second).contains(&"new".to_owned()), "{:?}", second.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_what_is_gone() {
    let store = Store::of(6);
    let stub = store.serve().await;
    let source = connect(&stub.url, json!({"deletions": "history"}));
    let first = read(source.as_ref(), "Patient", None).await.unwrap();
    store.delete("p01", 30);
    let second = read(source.as_ref(), "Patient", end(&first)).await.unwrap();
    let mut table = BTreeMap::new();
    first.apply(&["id"], &mut table);
    second.apply(&["id"], &mut table);
    assert_eq!((table.len(), gone(&second)), (5, vec![1]));
}

#[rstest]
#[case::other_host(json!({"link": [{"relation": "next", "url": "http://127.0.0.2:9/fhir?x=1"}]}), "`trusted_origins`")]
#[case::round(json!({"link": [{"relation": "next", "url": "?again=1"}]}), "go round")]
#[case::outcome(json!({"entry": [{"resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": "zebra"}]}, "search": {"mode": "outcome"}}]}), "failed in part")]
#[case::no_bundle(json!({"resourceType": "OperationOutcome", "issue": []}), "no Bundle")]
#[case::batch(json!({"type": "batch-response"}), "no Bundle of the type searchset")]
#[case::unsorted(json!({"link": [{"relation": "self", "url": "Patient?_sort=_lastUpdated"}], "entry": [
    {"resource": {"resourceType": "Patient", "id": "1", "meta": {"lastUpdated": "2024-01-02T00:00:00Z"}}},
    {"resource": {"resourceType": "Patient", "id": "2", "meta": {"lastUpdated": "2024-01-01T00:00:00Z"}}}]}), "set `sorted` to false")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_keep_to_the_rules_is_told(#[case] answer: Value, #[case] part: &str) {
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": {"resourceType": "Patient", "id": "1"}}]});
    bundle.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    let stub = Stub::start(move |_, _| Reply::json(&bundle)).await;
    let error = read(connect(&stub.url, json!({})).as_ref(), "Patient", None).await.unwrap_err().to_string();
    assert!(error.contains(part) && !error.contains("zebra"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_resource_of_the_type_is_a_reject_and_includes_are_left_out() {
    let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": 9, "entry": [
        {"resource": {"resourceType": "Patient", "id": "1"}},
        {"resource": {"resourceType": "Patient"}},
        {"resource": {"resourceType": "Group", "id": "2"}},
        {"resource": {"resourceType": "Organization", "id": "3"}, "search": {"mode": "include"}},
        {"fullUrl": "x"},
    ]});
    let stub = Stub::start(move |_, _| Reply::json(&bundle)).await;
    let reading = read(connect(&stub.url, json!({})).as_ref(), "Patient", None).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len()), (1, 3), "{:?}", reading.rejects);
    assert!(!reading.whole, "the server counted nine");
}

/// A server of exports.
#[derive(Debug, Clone)]
struct Exporter {
    store: Store,
    token: bool,
    /// What is done to the file of patients, the first time.
    spoil: fn(String) -> Reply,
    errors: bool,
    /// A line between those of the file of deletions.
    garbled: Option<&'static str>,
}

fn good(text: String) -> Reply {
    Reply::of(200, "application/fhir+ndjson", text)
}

impl Exporter {
    fn of(store: &Store) -> Self {
        Self { store: store.clone(), token: false, spoil: good, errors: false, garbled: None }
    }

    fn answer(&self, asked: &Asked, log: &Mutex<BTreeMap<String, usize>>) -> Reply {
        let before = {
            let mut log = log.lock().unwrap();
            let count = log.entry(asked.path.clone()).or_default();
            *count += 1;
            *count - 1
        };
        let since = || asked.query.get("_since").cloned().unwrap_or_default();
        let host = &asked.headers["host"];
        let file = |name: &str, since: &str| format!("http://{host}/files/{name}?_since={since}");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/fhir/$export") => {
                assert_eq!(asked.headers["prefer"], "respond-async");
                assert_eq!(asked.query["_type"], "Patient");
                Reply::of(202, "text/plain", "")
                    .with("Content-Location", &format!("http://{host}/jobs/1?_since={}", since()))
            }
            ("GET", "/jobs/1") if before % 2 == 0 => Reply::of(202, "text/plain", "").with("Retry-After", "0"),
            ("GET", "/jobs/1") => {
                let mut manifest = json!({
                    "transactionTime": at(3000), "requiresAccessToken": self.token,
                    "output": [{"type": "Patient", "url": file("patients", &since()), "count": self.store.since(&since()).len()},
                               {"type": "Group", "url": file("groups", "")}],
                    "deleted": [{"type": "Bundle", "url": file("deleted", &since())}],
                });
                if self.errors {
                    manifest["error"] = json!([{"type": "OperationOutcome", "url": file("errors", "")}]);
                }
                Reply::json(manifest)
            }
            ("DELETE", "/jobs/1") => Reply::of(202, "text/plain", ""),
            ("GET", path) if path.starts_with("/files/") => {
                assert_eq!(asked.headers.contains_key("authorization"), self.token, "{asked:?}");
                let lines = |values: Vec<Value>| values.iter().map(|value| format!("{value}\n")).collect::<String>();
                match path {
                    "/files/patients" => {
                        let text = lines(self.store.since(&since()));
                        if before == 0 { (self.spoil)(text) } else { good(text) }
                    }
                    "/files/deleted" => {
                        let deleted = self.store.deleted.lock().unwrap();
                        let entries: Vec<Value> = deleted
                            .iter()
                            .filter(|(_, moment)| *moment >= since())
                            .map(|(id, _)| json!({"request": {"method": "DELETE", "url": format!("Patient/{id}")}}))
                            .collect();
                        let bundle =
                            lines(vec![json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})]);
                        good(self.garbled.map_or_else(|| bundle.clone(), |line| format!("{line}\n{bundle}")))
                    }
                    "/files/errors" => good(lines(vec![
                        json!({"resourceType": "OperationOutcome", "issue": [{"severity": "information"}]}),
                        json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}),
                    ])),
                    _ => Reply::status(404),
                }
            }
            _ => self.store.answer(asked),
        }
    }

    async fn serve(self) -> Stub {
        let log = Mutex::new(BTreeMap::new());
        Stub::start(move |asked, _| self.answer(asked, &log)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_an_export() {
    let stub = Exporter::of(&Store::of(31)).serve().await;
    let source = connect(&stub.url, json!({"mode": "bulk", "auth": {"type": "bearer"}}));
    assert_contract(source.as_ref(), Expectation::default().table("Patient", 31)).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(stub.asked().iter().any(|asked| asked.method == "DELETE"), "the server may forget the export");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_export_brings_what_changed_and_what_is_gone() {
    let store = Store::of(9);
    let stub = Exporter::of(&store).serve().await;
    let source = connect(&stub.url, json!({"mode": "bulk"}));
    let first = read(source.as_ref(), "Patient", None).await.unwrap();
    assert!(first.whole && first.rows.len() == 9);
    store.delete("p01", 3001);
    store.put("p02", 3002);
    let second = read(source.as_ref(), "Patient", end(&first)).await.unwrap();
    assert_eq!((ids(&second), gone(&second), second.whole), (vec!["p02".to_owned()], vec![1], false));
}

#[rstest]
#[case::cut_json(r#"{"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": "Patient/zebra"}}"#)]
#[case::text("zebra")]
#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_deletions_that_cannot_be_read_ends_the_reading_and_is_not_passed_over(#[case] line: &'static str) {
    let store = Store::of(9);
    let good = Exporter::of(&store).serve().await;
    let first = read(connect(&good.url, json!({"mode": "bulk"})).as_ref(), "Patient", None).await.unwrap();
    store.delete("p01", 3001);
    let mut exporter = Exporter::of(&store);
    exporter.garbled = Some(line);
    let stub = exporter.serve().await;
    let source = connect(&stub.url, json!({"mode": "bulk"}));
    let error = read(source.as_ref(), "Patient", end(&first)).await.unwrap_err().to_string();
    assert!(error.contains("deletions") && error.contains("line 1") && !error.contains("zebra"), "{error}");
    // When the server has mended it, the deletion comes.
    let second = read(connect(&good.url, json!({"mode": "bulk"})).as_ref(), "Patient", end(&first)).await.unwrap();
    assert_eq!(gone(&second), [1]);
}

#[rstest]
#[case::cut(|text: String| Reply::cut("application/fhir+ndjson", &text, 100))]
#[case::short(|text: String| good(text.lines().take(3).map(|line| format!("{line}\n")).collect()))]
#[case::broken(|_: String| Reply::status(503).with("Retry-After", "0"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_off_is_fetched_again(#[case] spoil: fn(String) -> Reply) {
    let mut exporter = Exporter::of(&Store::of(9));
    (exporter.spoil, exporter.token) = (spoil, true);
    let stub = exporter.serve().await;
    let source = connect(&stub.url, json!({"mode": "bulk", "auth": {"type": "bearer"}}));
    assert_eq!(read(source.as_ref(), "Patient", None).await.unwrap().rows.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_with_errors_is_neither_whole_nor_passed_over() {
    let mut exporter = Exporter::of(&Store::of(9));
    exporter.errors = true;
    let stub = exporter.serve().await;
    let reading = read(connect(&stub.url, json!({"mode": "bulk"})).as_ref(), "Patient", None).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len(), reading.whole), (9, 1, false));
    assert!(reading.cursors.is_empty(), "the next export asks for the same again");
}

#[rstest]
#[case::no_export(|_: &Asked| Reply::json(json!({"resourceType": "Bundle"})), "did not accept an export")]
#[case::nowhere(|_: &Asked| Reply::of(202, "text/plain", ""), "Content-Location")]
#[case::elsewhere(|_: &Asked| Reply::of(202, "text/plain", "").with("Content-Location", "http://127.0.0.2:9/job"), "`trusted_origins`")]
#[case::failed(|asked: &Asked| if asked.path == "/job" { Reply::status(410) } else { Reply::of(202, "text/plain", "").with("Content-Location", "/job") }, "410")]
#[case::garbled(|asked: &Asked| if asked.path == "/job" { Reply::json("{}") } else { Reply::of(202, "text/plain", "").with("Content-Location", "/job") }, "manifest cannot be read")]
#[case::for_ever(|asked: &Asked| if asked.path == "/job" { Reply::of(202, "text/plain", "").with("Retry-After", "7200") } else { Reply::of(202, "text/plain", "").with("Content-Location", "/job") }, "not done within 1 minutes")]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_does_not_come_to_an_end_is_told(#[case] answer: fn(&Asked) -> Reply, #[case] part: &str) {
    let stub = Stub::start(move |asked, _| answer(asked)).await;
    let source = connect(&stub.url, json!({"mode": "bulk", "bulk": {"patience_minutes": 1}}));
    let error = read(source.as_ref(), "Patient", None).await.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

/// A private key as PEM.
fn key() -> String {
    let algorithm = &ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
    let pair = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &ring::rand::SystemRandom::new()).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(pair.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_service_buys_a_token_with_a_signed_assertion_and_a_new_one_when_it_is_refused() {
    let store = Store::of(5);
    let stub = Stub::start(move |asked, _| match asked.path.as_str() {
        "/fhir/.well-known/smart-configuration" => {
            Reply::json(json!({"token_endpoint": format!("http://{}/token", asked.headers["host"])}))
        }
        "/token" => {
            let form: BTreeMap<String, String> =
                url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
            assert_eq!((form["grant_type"].as_str(), form["scope"].as_str()), ("client_credentials", "system/*.read"));
            let parts: Vec<&str> = form["client_assertion"].split('.').collect();
            assert_eq!(parts.len(), 3);
            // 96 bytes of a P-384 signature.
            assert_eq!(parts[2].len(), 128);
            Reply::json(json!({"access_token": format!("t{}", asked.body.len() % 7), "expires_in": 300}))
        }
        _ if asked.headers.get("authorization").is_none_or(|value| !value.starts_with("Bearer t")) => {
            Reply::status(401)
        }
        _ => store.answer(asked),
    })
    .await;
    let source = connect(&stub.url, json!({"auth": {"type": "smart_backend", "client_id": "mavis", "key_id": "k1"}}));
    assert_eq!(read(source.as_ref(), "Patient", None).await.unwrap().rows.len(), 5);
    let bought = stub.asked().iter().filter(|asked| asked.path == "/token").count();
    assert_eq!(bought, 1, "one token for all pages");
}

#[rstest]
#[case(json!({"base_url": "https://h/fhir?a=1"}), "`base_url` has parameters")]
#[case(json!({"types": ["../x"]}), "`../x` is not the name")]
#[case(json!({"bulk": {"level": "group"}}), "`bulk.group`")]
#[case(json!({"bulk": {"level": "group", "group": "a/b"}}), "`bulk.group`")]
fn parameters_that_cannot_work_are_refused(#[case] more: Value, #[case] part: &str) {
    let mut params = json!({"base_url": "http://127.0.0.1:1/"});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = SourceSpec {
        name: SourceName::new("ehr").unwrap(),
        kind: "fhir_server".to_owned(),
        params,
        authoritative: false,
    };
    let error = Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

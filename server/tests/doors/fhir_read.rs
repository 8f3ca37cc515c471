//! Reads, conditional reads, versions and histories over HTTP, on imported resources.

use bytes::Bytes;
use futures::{StreamExt, stream};
use mavis_pipeline::ImportOptions;
use mavis_types::{Principal, Role, RunId, Scope, SourceName, TokenId};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::TestServer;

fn me() -> Principal {
    Principal::new(TokenId::new(), "tester", Role::Admin, Scope::All)
}

/// Imports one file, keeping the ids in it, and waits until it is published.
pub(crate) async fn import(test: &TestServer, file: &str, content: &Value) {
    let pipeline = &test.server.app().pipeline;
    let options = ImportOptions { source: SourceName::new("given").unwrap(), authoritative: true, again: false };
    let bytes = Bytes::from(content.to_string());
    pipeline.import_file(&me(), &options, file, stream::iter([Ok(bytes)]).boxed()).await.unwrap();
    let run = pipeline.start_import(&me(), RunId::new(), options).await.unwrap();
    let mut events = pipeline.watch(run.id).await.unwrap();
    while events.next().await.is_some() {}
}

fn transaction(entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries })
}

fn put(resource: &Value) -> Value {
    let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
}

fn patient(id: &str, family: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id, "name": [{ "family": family }] })
}

/// `a` in three versions, the second one a deletion; `b` in one; a Practitioner `p`.
async fn lake() -> TestServer {
    let test = TestServer::start().await;
    let practitioner = json!({ "resourceType": "Practitioner", "id": "p", "active": true });
    import(&test, "1", &transaction(&[put(&patient("a", "One")), put(&patient("b", "Only")), put(&practitioner)]))
        .await;
    let delete = json!({ "request": { "method": "DELETE", "url": "Patient/a" } });
    import(&test, "1", &transaction(&[delete])).await;
    import(&test, "1", &transaction(&[put(&patient("a", "Three"))])).await;
    test
}

fn request(test: &TestServer, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, test.http(path)).bearer_auth(test.admin_token())
}

async fn get(test: &TestServer, path: &str) -> Response {
    request(test, Method::GET, path).send().await.unwrap()
}

async fn bundle(test: &TestServer, path: &str) -> Value {
    let answer = get(test, path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// `Type/id/version` of each entry, with `-` before the version of a deletion.
fn listed(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let full = entry["fullUrl"].as_str().unwrap();
            let name = full.rsplitn(3, '/').take(2).collect::<Vec<_>>();
            let version = entry["response"]["etag"].as_str().unwrap().trim_matches(['W', '/', '"']).to_owned();
            let mark = if entry["resource"].is_null() { "-" } else { "" };
            format!("{}/{}/{mark}{version}", name[1], name[0])
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_read_one_by_one_and_deletions_are_gone() {
    let test = Box::pin(lake()).await;
    let now = get(&test, "/fhir/Patient/a").await;
    assert_eq!((now.status(), header(&now, "etag")), (StatusCode::OK, "W/\"3\""));
    assert!(header(&now, "last-modified").ends_with(" GMT"));
    assert!(header(&now, "content-type").starts_with("application/fhir+json"));
    let now: Value = now.json().await.unwrap();
    assert_eq!((&now["name"][0]["family"], &now["meta"]["versionId"]), (&json!("Three"), &json!("3")));

    for (path, status, family) in [
        ("/fhir/Patient/a/_history/1", 200, "One"),
        ("/fhir/Patient/a/_history/3", 200, "Three"),
        ("/fhir/Patient/a/_history/2", 410, ""),
        ("/fhir/Patient/a/_history/4", 404, ""),
        ("/fhir/Patient/a/_history/x", 404, ""),
        ("/fhir/Patient/nobody", 404, ""),
        ("/fhir/Patient/nobody/_history", 404, ""),
        ("/fhir/Observation/a", 404, ""),
        ("/fhir/Person/..%2F..%2Fetc", 404, ""),
        ("/fhir/Nonsense/a", 404, ""),
    ] {
        let answer = get(&test, path).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let body: Value = answer.json().await.unwrap();
        if status == 200 {
            assert_eq!(body["name"][0]["family"], family, "{path}");
        } else {
            assert_eq!(body["resourceType"], "OperationOutcome", "{path}");
        }
    }
    let delete = json!({ "request": { "method": "DELETE", "url": "Patient/b" } });
    import(&test, "1", &transaction(&[delete])).await;
    let gone = get(&test, "/fhir/Patient/b").await;
    assert_eq!((gone.status(), header(&gone, "etag")), (StatusCode::GONE, "W/\"2\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_list_every_version_newest_first() {
    let test = Box::pin(lake()).await;
    let of_a = bundle(&test, "/fhir/Patient/a/_history").await;
    assert_eq!(of_a["type"], "history");
    assert_eq!(of_a["total"], 3);
    assert_eq!(listed(&of_a), ["Patient/a/3", "Patient/a/-2", "Patient/a/1"]);
    assert_eq!(of_a["entry"][1]["request"], json!({ "method": "DELETE", "url": "Patient/a" }));
    assert_eq!(of_a["entry"][2]["request"]["method"], "POST");
    assert_eq!(of_a["entry"][0]["request"], json!({ "method": "PUT", "url": "Patient/a" }));
    assert_eq!(of_a["entry"][2]["resource"]["name"][0]["family"], "One");

    let of_type = bundle(&test, "/fhir/Patient/_history").await;
    assert_eq!(listed(&of_type), ["Patient/a/3", "Patient/a/-2", "Patient/a/1", "Patient/b/1"]);
    let of_all = bundle(&test, "/fhir/_history").await;
    assert_eq!(of_all["total"], 5);
    assert_eq!(listed(&of_all)[..2], ["Patient/a/3", "Patient/a/-2"]);
    let nothing = bundle(&test, "/fhir/Observation/_history").await;
    assert_eq!((nothing["total"].as_i64(), listed(&nothing)), (Some(0), vec![]));

    // From the middle version on, and as of moments around it.
    let second = of_a["entry"][1]["response"]["lastModified"].as_str().unwrap();
    let since = bundle(&test, &format!("/fhir/Patient/_history?_since={second}")).await;
    assert_eq!(listed(&since), ["Patient/a/3", "Patient/a/-2"]);
    let third = of_a["entry"][0]["response"]["lastModified"].as_str().unwrap();
    let at = bundle(&test, &format!("/fhir/Patient/_history?_at={third}")).await;
    let mut current = listed(&at);
    // Until its millisecond was over, the deletion before it was current too.
    current.retain(|version| version != "Patient/a/-2");
    assert_eq!(current, ["Patient/a/3", "Patient/b/1"], "at {third}");
    let before = bundle(&test, "/fhir/Patient/_history?_at=2001").await;
    assert_eq!(before["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_over_a_history_sees_one_state() {
    let test = Box::pin(lake()).await;
    let mut seen = Vec::new();
    let mut page = bundle(&test, "/fhir/_history?_count=2").await;
    import(&test, "1", &transaction(&[put(&patient("a", "Four"))])).await;
    loop {
        assert_eq!(page["total"], 5);
        seen.extend(listed(&page));
        let links = page["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        let url = next["url"].as_str().unwrap().to_owned();
        let path = url.split_once("/fhir").unwrap().1.to_owned();
        page = bundle(&test, &format!("/fhir{path}")).await;
    }
    // Types are written one after the other: the three that came together stand in any order of types.
    assert_eq!(seen[..2], ["Patient/a/3", "Patient/a/-2"]);
    seen[2..].sort();
    assert_eq!(seen[2..], ["Patient/a/1", "Patient/b/1", "Practitioner/p/1"]);
    let forged = get(&test, "/fhir/_history?_count=2&_page=AAAA").await;
    assert_eq!(forged.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_version_is_sent_nothing() {
    let test = Box::pin(lake()).await;
    let modified = header(&get(&test, "/fhir/Patient/a").await, "last-modified").to_owned();
    for (name, value, status) in [
        ("if-none-match", "W/\"3\"", 304),
        ("if-none-match", "W/\"2\"", 200),
        ("if-modified-since", modified.as_str(), 304),
        ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let answer = request(&test, Method::GET, "/fhir/Patient/a").header(name, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name}: {value}");
        assert_eq!(header(&answer, "etag"), "W/\"3\"");
        assert_eq!(answer.bytes().await.unwrap().is_empty(), status == 304);
    }
    let head = request(&test, Method::HEAD, "/fhir/Patient/a").send().await.unwrap();
    assert_eq!((head.status(), header(&head, "etag")), (StatusCode::OK, "W/\"3\""));
}

#[rstest]
#[case::method(Method::DELETE, "/fhir/metadata", &[], 405)]
#[case::format(Method::GET, "/fhir/Patient/a?_format=xml", &[], 406)]
#[case::accept(Method::GET, "/fhir/Patient/a", &[("accept", "application/fhir+xml")], 406)]
#[case::parameter(Method::GET, "/fhir/Patient/a?name=x", &[], 400)]
#[case::pretty(Method::GET, "/fhir/Patient/a?_pretty=perhaps", &[], 400)]
#[case::nowhere(Method::GET, "/fhir/a/b/c/d/e/f", &[], 404)]
#[case::history_parameter(Method::GET, "/fhir/Patient/_history?_list=List/1", &[], 400)]
#[case::history_time(Method::GET, "/fhir/_history?_since=2024-13-45", &[], 400)]
#[case::bad_path(Method::GET, "/fhir/Patient/%ff", &[], 400)]
#[case::form(Method::POST, "/fhir/Patient/_search", &[("content-type", "text/plain")], 415)]
#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_an_operation_outcome(
    #[case] method: Method,
    #[case] path: &str,
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
) {
    let test = TestServer::start().await;
    let mut asked = request(&test, method.clone(), path).body(if method == Method::POST { "x" } else { "" });
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), status);
    assert!(header(&answer, "content-type").starts_with("application/fhir+json"));
    assert_eq!(status == 405, !header(&answer, "allow").is_empty());
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["resourceType"], "OperationOutcome");
    assert_eq!(body["issue"][0]["severity"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_whoever_takes_it_and_pretty_where_asked() {
    let test = Box::pin(lake()).await;
    for encoding in ["gzip", "zstd"] {
        let client = reqwest::Client::builder().no_gzip().build().unwrap();
        let asked = client.get(test.http("/fhir/_history")).bearer_auth(test.admin_token());
        let answer = asked.header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(header(&answer, "content-encoding"), encoding);
    }
    let plain = get(&test, "/fhir/Patient/a").await.text().await.unwrap();
    let pretty = get(&test, "/fhir/Patient/a?_pretty=true&_format=json").await.text().await.unwrap();
    assert!(pretty.contains("\n  \"") && !plain.contains('\n'));
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(value(&plain), value(&pretty));
}

//! `http` against servers that keep to the rules and servers that do not.

mod badly;
mod formats;
mod incremental;

use std::sync::Arc;

use mavis_connectors::{
    Error, ReadRequest, Registry, Secrets, Source, SourceSpec, TableRef,
    testkit::{Expectation, Reading, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use rstest::rstest;
use serde_json::{Value, json};

use crate::stub::{Asked, Reply, Stub};

/// A source of short patience.
pub(crate) fn connect(url: &str, more: Value) -> Result<Arc<dyn Source>, Error> {
    let mut params = json!({ "api_url": url, "timeout": 1, "connect_timeout": 1, "max_retries": 1 });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec =
        SourceSpec { name: SourceName::new("qms").unwrap(), kind: "http".to_owned(), params, authoritative: false };
    Registry::built_in().connect(&spec, &Secrets::from_pairs([("HTTP_PASSWORD_QMS", "tiger")]))
}

pub(crate) async fn read(source: &dyn Source, table: &str, from: Option<Cursor>) -> Result<Reading, Error> {
    let table = TableRef { schema: None, name: table.to_owned() };
    read_all(source, ReadRequest { from, ..ReadRequest::whole(table) }).await
}

pub(crate) fn end(reading: &Reading) -> Option<Cursor> {
    reading.cursors.last().map(|(cursor, _, _)| cursor.clone())
}

pub(crate) fn patient(number: usize) -> Value {
    json!({"id": number, "name": format!("p{number}"), "weight": if number.is_multiple_of(3) { Value::Null } else { json!(number as f64 + 0.5) }, "tags": [number]})
}

pub(crate) fn patients(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(patient).collect()
}

const ALL: usize = 23;
const SIZE: usize = 5;

/// A server that pages in every way.
fn paged(asked: &Asked, _: usize) -> Reply {
    let slice = |start: usize| patients(start.min(ALL), (start + SIZE).min(ALL));
    let host = &asked.headers["host"];
    match asked.path.as_str() {
        "/all" => Reply::json(json!(patients(0, ALL))),
        "/page" => Reply::json(json!({"data": slice((asked.number("page", 1) - 1) * SIZE), "total": ALL})),
        "/offset" => Reply::json(json!({"meta": {"more": true}, "items": slice(asked.number("offset", 0))})),
        "/cursor" => {
            let start = asked.number("after", 0);
            let next = if start + SIZE < ALL { json!((start + SIZE).to_string()) } else { Value::Null };
            Reply::json(json!({"data": slice(start), "next": next}))
        }
        "/link" => {
            let start = asked.number("start", 0);
            let answer = Reply::json(json!(slice(start)));
            let next = format!("<http://{host}/link?start={}>; rel=\"next\"", start + SIZE);
            if start + SIZE < ALL { answer.with("Link", &next) } else { answer }
        }
        "/next" => {
            let start = asked.number("start", 0);
            let next = (start + SIZE < ALL).then(|| format!("/next?start={}", start + SIZE));
            Reply::json(json!({"data": {"records": slice(start)}, "links": {"next": next}}))
        }
        "/post" => {
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            let page = usize::try_from(body["paging"]["page"].as_u64().unwrap()).unwrap();
            assert_eq!((asked.method.as_str(), &body["what"]), ("POST", &json!("patients")));
            Reply::json(json!({"data": slice((page - 1) * SIZE)}))
        }
        _ => Reply::status(404),
    }
}

fn declared() -> Value {
    json!({"tables": {
        "all": {"path": "all"},
        "page": {"path": "page", "paging": {"type": "page", "size_parameter": "n", "size": 5, "total": "total"}},
        "offset": {"path": "offset", "records": "items", "paging": {"type": "offset", "overlap": 2}},
        "cursor": {"path": "cursor", "records": "data", "paging": {"type": "cursor", "parameter": "after", "next": "next"}},
        "link": {"path": "link", "paging": {"type": "link"}},
        "next": {"path": "next", "records": "data.records", "paging": {"type": "next", "next": "links.next"}},
        "post": {"path": "post", "method": "POST", "body": {"what": "patients", "paging": {"size": 5}}, "key": ["id"],
                 "paging": {"type": "page", "parameter": "paging.page", "carrier": "body"}},
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_every_way_of_paging() {
    let stub = Stub::start(paged).await;
    let source = connect(&stub.url, declared()).unwrap();
    let tables = ["all", "page", "offset", "cursor", "link", "next", "post"];
    let expectation = tables.iter().fold(Expectation::default(), |all, table| all.table(table, ALL));
    assert_contract(source.as_ref(), expectation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_paging_gives_the_same_rows_and_types() {
    let stub = Stub::start(paged).await;
    let source = connect(&stub.url, declared()).unwrap();
    let all = read(source.as_ref(), "all", None).await.unwrap();
    assert!(all.whole && all.rows[4].contains("tags=[4]") && all.rows[4].contains("weight=4.5"), "{:?}", all.rows);
    for table in ["page", "offset", "cursor", "link", "next", "post"] {
        let reading = read(source.as_ref(), table, None).await.unwrap();
        assert_eq!(reading.rows, all.rows, "{table}");
        assert!(reading.whole, "{table}");
        assert_eq!(reading.batches[0].schema(), all.batches[0].schema(), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_of_the_replaced_system_is_declared_as_it_was() {
    let stub = Stub::start(|asked, _| {
        assert!(!asked.headers.contains_key("authorization"));
        Reply::json(json!({"patients": patients(0, 9), "count": 9}))
    })
    .await;
    let list = format!(
        r#"[{{"name": "qMS", "type": "qms", "api_url": "{}/export/patients.json", "timeout": 300, "connect_timeout": 30, "max_retries": 2}}]"#,
        stub.url
    );
    let spec = SourceSpec::from_data_sources(&list).unwrap().remove(0);
    assert_eq!(spec.kind, "http");
    let source = Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap();
    assert_contract(source.as_ref(), Expectation::default().table("patients", 9)).await;
    assert!(stub.asked().iter().all(|asked| asked.path == "/export/patients.json" && asked.query.is_empty()));
}

#[rstest]
#[case(json!({"type": "basic", "user": "reader"}), "authorization", "Basic cmVhZGVyOnRpZ2Vy")]
#[case(json!({"type": "bearer"}), "authorization", "Bearer tiger")]
#[case(json!({"type": "header", "name": "X-Api-Key"}), "x-api-key", "tiger")]
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_goes_as_declared(#[case] auth: Value, #[case] header: &'static str, #[case] value: &'static str) {
    let stub = Stub::start(move |asked, _| {
        if asked.headers.get(header).map(String::as_str) == Some(value) {
            Reply::json(json!(patients(0, 3)))
        } else {
            Reply::status(401)
        }
    })
    .await;
    let source = connect(&stub.url, json!({"auth": auth})).unwrap();
    assert_eq!(read(source.as_ref(), "export", None).await.unwrap().rows.len(), 3);
    assert!(!format!("{source:?}").contains("tiger"));

    let stranger = connect(&stub.url, json!({"auth": {"type": "header", "name": "X-Other"}})).unwrap();
    let error = read(stranger.as_ref(), "export", None).await.unwrap_err().to_string();
    assert!(error.contains("(login)") && error.contains("401") && !error.contains("tiger"), "{error}");
    let stages = stranger.check().await;
    assert_eq!(stages.last().unwrap().stage, mavis_connectors::Stage::Login, "{stages:?}");
}

#[rstest]
#[case(json!({"auth": {"type": "bearer", "token": "lion"}}), "unknown field `token`")]
#[case(json!({"headers": {"Authorization": "lion"}}), "`headers.Authorization` holds a secret")]
#[case(json!({"api_url": "http://reader:lion@h/"}), "declare `auth`")]
#[case(json!({"api_url": "http://h/?api_key=lion"}), "declare `auth`")]
#[case(json!({"api_url": "ftp://h/"}), "not an http or https address")]
#[case(json!({"tables": {"t": {"path": "https://other.example.org/t"}}}), "`trusted_origins`")]
#[case(json!({"trusted_origins": ["other.example.org"]}), "`trusted_origins`")]
#[case(json!({"ca_file": "/nowhere"}), "`ca_file`")]
fn parameters_that_cannot_work_are_refused(#[case] more: Value, #[case] part: &str) {
    let error = connect("http://127.0.0.1:1/", more).unwrap_err().to_string();
    assert!(error.contains(part) && !error.contains("lion"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_names_its_variable() {
    let spec = SourceSpec {
        name: SourceName::new("other").unwrap(),
        kind: "http".to_owned(),
        params: json!({"api_url": "http://127.0.0.1:1/", "auth": {"type": "bearer"}}),
        authoritative: false,
    };
    let source = Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap();
    let error = read(source.as_ref(), "export", None).await.unwrap_err().to_string();
    assert!(error.contains("HTTP_PASSWORD_OTHER"), "{error}");
}

//! JSON, NDJSON, XML and CSV, plain and compressed, complete and cut.

use std::io::Write;

use mavis_connectors::{
    Selection,
    testkit::{Expectation, assert_contract},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{connect, patients, read};
use crate::stub::{Reply, Stub};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const XML: &str = r#"<?xml version="1.0"?>
<export xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><info>x</info><patients total="2">
  <patient id="007"><name>Anne &amp; Luc</name><phone>1</phone><phone>2</phone><died xsi:nil="true"/><empty/>
    <address><city>Lyon</city></address><note><![CDATA[a<b]]></note></patient>
  <patient id="008"><name>Zo&#233;</name></patient>
</patients></export>"#;

#[rstest]
#[case::json("application/json", json!([{"a": "007", "b": 1}, {"a": null, "b": 2}]).to_string(), json!({}), &["a=007|b=1", "b=2"])]
#[case::fhir_like("application/vnd.x+json", json!({"items": [{"a": 1}], "n": 1}).to_string(), json!({}), &["a=1"])]
#[case::one("application/json", json!({"a": {"b": 1}}).to_string(), json!({"records": "."}), &["a={\"b\":1}"])]
#[case::ndjson("application/x-ndjson", "{\"a\":1}\n\n{\"a\":2}".to_owned(), json!({}), &["a=1", "a=2"])]
#[case::ndjson_untold("text/plain", "{\"a\":1}\n{\"a\":2}\n".to_owned(), json!({}), &["a=1", "a=2"])]
#[case::csv("text/csv", "id;name\r\n007;\"a;b\"\r\n8;\r\n".to_owned(), json!({}), &["id=007|name=a;b", "id=8"])]
#[case::declared_types("text/csv", "id,n\n7,1\n8,2\n".to_owned(), json!({"types": {"n": "text"}}), &["id=7|n=1", "id=8|n=2"])]
#[case::xml("application/xml", XML.to_owned(), json!({"records": "export/patients/patient"}), &[
    "@id=007|address={\"city\":\"Lyon\"}|name=Anne & Luc|note=a<b|phone=[\"1\",\"2\"]",
    "@id=008|name=Zoé",
])]
#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_its_records(
    #[case] media: &'static str,
    #[case] body: String,
    #[case] table: Value,
    #[case] rows: &[&str],
    #[values(false, true)] compressed: bool,
) {
    let stub = Stub::start(move |_, _| {
        let bytes = body.clone().into_bytes();
        if compressed {
            Reply::of(200, media, gzip(&bytes)).with("Content-Encoding", "gzip")
        } else {
            Reply::of(200, media, bytes)
        }
    })
    .await;
    let source = connect(&stub.url, json!({"tables": {"t": table}})).unwrap();
    assert_contract(source.as_ref(), Expectation::default().table("t", rows.len())).await;
    assert_eq!(read(source.as_ref(), "t", None).await.unwrap().rows, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_in_other_encodings_are_read() {
    let stub = Stub::start(|asked, _| {
        let (text, _, _) = encoding_rs::WINDOWS_1251.encode(match asked.path.as_str() {
            "/csv" => "id,имя\n1,Анна\n",
            _ => "<?xml version=\"1.0\" encoding=\"windows-1251\"?><r><p><имя>Анна</имя></p></r>",
        });
        let media = if asked.path == "/csv" { "text/csv; charset=windows-1251" } else { "text/xml" };
        Reply::of(200, media, text.into_owned())
    })
    .await;
    let source = connect(&stub.url, json!({"tables": {"c": {"path": "csv"}, "x": {"path": "xml"}}})).unwrap();
    assert_eq!(read(source.as_ref(), "c", None).await.unwrap().rows, ["id=1|имя=Анна"]);
    assert_eq!(read(source.as_ref(), "x", None).await.unwrap().rows, ["имя=Анна"]);
}

#[rstest]
#[case::csv("text/csv", "a,b\n1,2\n")]
#[case::ndjson("application/x-ndjson", "{\"a\":1}\n")]
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_end_with_the_connection_are_taken_and_not_whole(
    #[case] media: &'static str,
    #[case] body: &'static str,
) {
    let stub = Stub::start(move |_, _| {
        Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\nconnection: close\r\n\r\n{body}").into_bytes())
    })
    .await;
    let source = connect(&stub.url, json!({})).unwrap();
    let reading = read(source.as_ref(), "export", None).await.unwrap();
    assert_eq!((reading.rows.len(), reading.whole), (1, false));
}

#[rstest]
#[case::xml("application/xml", &XML[..XML.len() - 30], "ends in the middle")]
#[case::wrong_end("application/xml", "<a><b></a></b>", "not well-formed")]
#[case::entities("application/xml", "<!DOCTYPE a [<!ENTITY x \"y\">]><a><b><c>&x;</c></b></a>", "an entity")]
#[case::other_root("application/xml", "<error><code>5</code></error>", "is it an error message?")]
#[case::ndjson("application/x-ndjson", "{\"a\":1}\n{\"a\":", "ends in the middle")]
#[case::no_records("application/x-ndjson", "oops\nagain\n", "none of its 2 records")]
#[case::csv_is_json("application/json", "{\"error\": 1}", "where CSV should be")]
#[case::csv_is_empty("text/csv", "", "without a line of names")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_or_something_else_is_an_error(
    #[case] media: &'static str,
    #[case] body: &'static str,
    #[case] part: &str,
) {
    let stub = Stub::start(move |_, _| Reply::of(200, media, body)).await;
    let table = if part.contains("CSV") { json!({"format": "csv"}) } else { json!({}) };
    let table = if media.ends_with("xml") { json!({"records": "export/patients/patient"}) } else { table };
    let table = if part.contains("entity") || part.contains("formed") { json!({"records": "a/b"}) } else { table };
    let source = connect(&stub.url, json!({"max_retries": 0, "tables": {"t": table}})).unwrap();
    let error = read(source.as_ref(), "t", None).await.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[rstest]
#[case(json!({"a": [{"x": 1}], "b": [{"x": 1}]}), "the lists a, b")]
#[case(json!({"error": "zebra"}), "set `records`")]
#[tokio::test(flavor = "multi_thread")]
async fn where_the_records_are_is_asked_where_it_is_not_plain(#[case] body: Value, #[case] part: &str) {
    let stub = Stub::start(move |_, _| Reply::json(body.clone())).await;
    let source = connect(&stub.url, json!({})).unwrap();
    let discovery = source.discover(&Selection::default()).await.unwrap();
    let (_, reason) = &discovery.failures[0];
    assert!(discovery.tables.is_empty() && reason.contains(part) && !reason.contains("zebra"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_come_from_the_first_pages_and_stay() {
    let stub = Stub::start(|asked, _| match asked.number("page", 1) {
        page @ 1..=5 => Reply::json(json!([{"id": page, "n": page}])),
        6 => Reply::json(json!([{"id": 6, "n": "six"}, {"id": 7, "n": 7, "late": true}])),
        _ => Reply::json(json!([])),
    })
    .await;
    let source = connect(&stub.url, json!({"tables": {"t": {"paging": {"type": "page"}}}})).unwrap();
    let reading = read(source.as_ref(), "t", None).await.unwrap();
    assert_eq!(reading.rows.len(), 6);
    assert!(reading.rows[5].contains("late=true") && reading.rows[5].contains("n=7"), "{:?}", reading.rows);
    let (origin, reason, payload) = &reading.rejects[0];
    assert_eq!((origin.as_str(), reason.as_str()), ("t page 6 record 1", "the member `n` is not a whole number"));
    assert!(payload.contains("six"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_larger_than_memory_is_kept_for_is_read_in_batches() {
    let line = json!({"id": 1, "text": "x".repeat(2000)}).to_string();
    let body = format!("[{}]", vec![line; 8000].join(","));
    let stub = Stub::start(move |_, _| Reply::json(&body)).await;
    let source = connect(&stub.url, json!({"timeout": 20})).unwrap();
    let reading = read(source.as_ref(), "export", None).await.unwrap();
    assert_eq!((reading.rows.len(), reading.whole), (8000, true));
    let request = mavis_connectors::ReadRequest {
        batch_bytes: 1 << 20,
        ..mavis_connectors::ReadRequest::whole(mavis_connectors::TableRef { schema: None, name: "export".to_owned() })
    };
    let small = mavis_connectors::testkit::read_all(source.as_ref(), request).await.unwrap();
    assert!(small.batches.iter().all(|batch| batch.num_rows() <= 600), "{}", small.batches[0].num_rows());
    drop(patients(0, 1));
}

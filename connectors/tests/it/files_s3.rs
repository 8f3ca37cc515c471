//! `files` and `fhir_files` in an S3 bucket: the same contract as on disk.

use std::io::{Read, Write};

use mavis_connectors::{
    Registry, Secrets, SourceSpec, Stage, StageOutcome,
    testkit::{Expectation, assert_contract},
};
use mavis_types::SourceName;
use object_store::{ObjectStoreExt, aws::AmazonS3Builder, path::Path};
use serde_json::json;

/// The S3 server of the tests; `None` where there is none.
fn endpoint() -> Option<String> {
    let endpoint = std::env::var("MAVIS_TEST_S3").ok();
    if endpoint.is_none() {
        assert!(std::env::var("CI").is_err(), "MAVIS_TEST_S3 names no S3 server");
        println!("skipped: MAVIS_TEST_S3 names no S3 server");
    }
    endpoint
}

fn make_bucket(endpoint: &str, bucket: &str) {
    let host = endpoint.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut connection = std::net::TcpStream::connect(host).unwrap();
    write!(connection, "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_in_a_bucket() {
    let Some(endpoint) = endpoint() else { return };
    let bucket = format!("connectors-{}", uuid::Uuid::new_v4().simple());
    make_bucket(&endpoint, &bucket);
    let store = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_bucket_name(&bucket)
        .with_region("us-east-1")
        .with_access_key_id("tests")
        .with_secret_access_key("tests")
        .build()
        .unwrap();
    let patients: String =
        (0..20).map(|number| format!("{{\"resourceType\":\"Patient\",\"id\":\"{number}\"}}\n")).collect();
    for (name, content) in [
        ("in/a.csv", "a,b\n1,2\n3,4\n".to_owned()),
        ("in/b.csv", "a,b\n5,6\n7\n".to_owned()),
        ("fhir/p.ndjson", patients),
    ] {
        store.put(&Path::from(name), content.into()).await.unwrap();
    }
    let connect = |kind: &str, path: &str, table: Option<&str>, password: &str| {
        let storage = json!({"aws_endpoint": endpoint, "aws_region": "us-east-1", "aws_access_key_id": "tests",
                             "aws_allow_http": "true"});
        let mut params = json!({"path": format!("s3://{bucket}/{path}"), "storage": storage});
        if let Some(table) = table {
            params["table"] = json!(table);
        }
        let spec =
            SourceSpec { name: SourceName::new("lab").unwrap(), kind: kind.to_owned(), params, authoritative: false };
        Registry::built_in().connect(&spec, &Secrets::from_pairs([(password, "tests")])).unwrap()
    };
    let many = connect("files", "in/*.csv", Some("all"), "FILES_PASSWORD_LAB");
    assert_contract(many.as_ref(), Expectation::default().table_with_rejects("all", 3, 1)).await;
    let each = connect("files", "in/", None, "FILES_PASSWORD_LAB");
    assert_contract(each.as_ref(), Expectation::default().table("a", 2).table_with_rejects("b", 1, 1)).await;
    let fhir = connect("fhir_files", "fhir/p.ndjson", None, "FHIR_FILES_PASSWORD_LAB");
    assert_contract(fhir.as_ref(), Expectation::default().table("Patient", 20)).await;

    let absent = connect("files", "nowhere/*.csv", None, "FILES_PASSWORD_LAB").check().await;
    let last = absent.last().unwrap();
    assert_eq!((last.stage, last.outcome), (Stage::Read, StageOutcome::Failed), "{absent:?}");
}

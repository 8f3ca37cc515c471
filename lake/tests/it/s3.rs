//! The lake in an S3 bucket. Needs an S3 server: `MAVIS_TEST_S3` is its endpoint URL.

use std::collections::HashMap;

use crate::support::*;
use mavis_catalog::Catalog;
use mavis_lake::{Error, Lake, LakeOptions, WriteMode};
use mavis_types::RunId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

/// The endpoint, or `None` where there is none; on CI that is a failure.
fn endpoint() -> Option<Url> {
    match std::env::var("MAVIS_TEST_S3") {
        Ok(url) => Some(Url::parse(&url).unwrap()),
        Err(_) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "set MAVIS_TEST_S3 to the endpoint of an S3 server");
            eprintln!("skipped: MAVIS_TEST_S3 is not set");
            None
        }
    }
}

async fn make_bucket(endpoint: &Url, bucket: &str) {
    let host = format!("{}:{}", endpoint.host_str().unwrap(), endpoint.port_or_known_default().unwrap());
    let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
    let credential =
        "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {credential}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A process with a catalog of its own: its leases bind nobody else.
async fn process(house: &House, endpoint: &Url, bucket: &str, name: &str) -> Lake {
    let options = LakeOptions {
        url: Url::parse(&format!("s3://{bucket}/some/lake")).unwrap(),
        storage: HashMap::from(
            [
                ("aws_endpoint", endpoint.as_str().trim_end_matches('/')),
                ("aws_access_key_id", "test"),
                ("aws_secret_access_key", "test"),
                ("aws_region", "us-east-1"),
                ("aws_allow_http", "true"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        ),
        ..house.options(name)
    };
    let catalog = format!("sqlite://{}", house.path().join(format!("{name}.sqlite")).display());
    Lake::open(options, Catalog::open(&catalog).await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_that_race_exactly_one_wins() {
    let Some(endpoint) = endpoint() else { return };
    let house = House::new();
    let bucket = format!("race-{}", uuid::Uuid::new_v4());
    make_bucket(&endpoint, &bucket).await;
    let one = process(&house, &endpoint, &bucket, "one").await;
    let two = process(&house, &endpoint, &bucket, "two").await;
    let (a, b) = (keyed(&one).await.id, keyed(&two).await.id);
    assert_ne!(a, b, "two catalogs, one folder");
    for round in 0..3_i64 {
        let mut writers = Vec::new();
        for (lake, table, id) in [(&one, a, 10 * round), (&two, b, 10 * round + 1)] {
            let unit = lake.begin(table, app(table), RunId::new()).await.unwrap();
            let mut writer = unit.write(WriteMode::Upsert, schema()).await.unwrap();
            writer.push(&rows(&[(id, "x")])).await.unwrap();
            writers.push(writer);
        }
        let (second, first) = (writers.pop().unwrap(), writers.pop().unwrap());
        let (first, second) = tokio::join!(first.finish(at(round + 1)), second.finish(at(round + 1)));
        let lost = match (&first, &second) {
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
            both => panic!("{both:?}"),
        };
        assert!(matches!(lost, Error::Conflict { .. }), "{lost}");
        assert_eq!(number(&one, a, "SELECT count(*) FROM t").await, round + 1);
        assert_eq!(number(&two, b, "SELECT count(*) FROM t").await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_holds_a_lake_like_a_folder_does() {
    let Some(endpoint) = endpoint() else { return };
    let house = House::new();
    let bucket = format!("lake-{}", uuid::Uuid::new_v4());
    make_bucket(&endpoint, &bucket).await;
    let lake = process(&house, &endpoint, &bucket, "one").await;
    let table = keyed(&lake).await.id;
    write(&lake, table, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b")])], whole()).await.unwrap();
    write(&lake, table, WriteMode::Snapshot, &[rows(&[(1, "A"), (3, "c")])], whole()).await.unwrap();
    assert_eq!(content(&lake, table, None).await, pairs(&[(1, "A"), (3, "c")]));
    assert_eq!(content(&lake, table, Some(1)).await, pairs(&[(1, "a"), (2, "b")]));
    lake.optimize(table, RunId::new()).await.unwrap();
    lake.vacuum(table, std::time::Duration::from_secs(24 * 3600), RunId::new()).await.unwrap();
    assert_eq!(content(&lake, table, None).await, pairs(&[(1, "A"), (3, "c")]));
}

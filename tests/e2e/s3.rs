//! The lake in an object store.

use mavis_tests::{Server, patients_csv, s3_endpoint, write};

#[tokio::test]
async fn the_lake_lives_in_an_s3_bucket() {
    let Some(endpoint) = s3_endpoint() else { return };
    let bucket = format!("lake-{}", uuid::Uuid::new_v4().simple());
    let made = make_bucket(&endpoint, &bucket).await;
    assert!(made, "the bucket can be made");
    let config = format!(
        "[lake]\nurl = \"s3://{bucket}/mavis\"\n[lake.storage]\naws_endpoint = \"{endpoint}\"\naws_region = \"us-east-1\"\n\
         aws_access_key_id = \"test\"\naws_secret_access_key = \"test\"\naws_allow_http = \"true\"\n"
    );
    let mut server = Server::builder().config(config).start().await.unwrap();
    let file = server.scratch().join("in/patients.csv");
    write(&file, patients_csv(200)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    assert_eq!(server.count("SELECT count(*) FROM processed.clinic.patients").await.unwrap(), 200);
    server.kill().unwrap();
    server.spawn().unwrap();
    server.ready().await.unwrap();
    write(&file, patients_csv(250)).unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    assert_eq!(server.count("SELECT count(*) FROM processed.clinic.patients").await.unwrap(), 250);
}

/// Makes a bucket with a plain PUT, which the test server takes without a signature.
async fn make_bucket(endpoint: &str, bucket: &str) -> bool {
    let status = tokio::process::Command::new("curl")
        .args(["-s", "-f", "-o", "/dev/null", "-X", "PUT", &format!("{endpoint}/{bucket}")])
        .status()
        .await;
    status.is_ok_and(|status| status.success())
}

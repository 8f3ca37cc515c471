//! SQL clients that others have written: drivers, data frames, a dashboard, and a prober of HTTP descriptions.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use mavis_tests::{Server, patients_csv, python, superset, write};

async fn clinic() -> Server {
    let server = Server::start().await.unwrap();
    let file = server.scratch().join("in/patients.csv");
    write(&file, patients_csv(300)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    server
}

fn runs(server: &Server, python: &Path, name: &str, text: &str, address: &str) {
    let script: PathBuf = server.scratch().join(name);
    write(&script, text).unwrap();
    let ran = Command::new(python).arg(&script).arg(address).arg(server.token().unwrap()).output().unwrap();
    let told = || format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && ran.stdout.ends_with(b"ok\n"), "{}", told());
}

#[tokio::test]
async fn adbc_lists_binds_cancels_keeps_a_session_and_feeds_pandas_and_polars() {
    let Some(python) = python() else { return };
    let server = clinic().await;
    let address = format!("grpc://{}", server.grpc);
    runs(&server, &python, "flight_adbc.py", include_str!("clients/flight_adbc.py"), &address);
}

#[tokio::test]
async fn pyarrow_flight_reads_several_endpoints_and_is_told_what_is_not_offered() {
    let Some(python) = python() else { return };
    let server = clinic().await;
    let address = format!("grpc://{}", server.grpc);
    runs(&server, &python, "flight_pyarrow.py", include_str!("clients/flight_pyarrow.py"), &address);
}

#[tokio::test]
async fn superset_makes_and_runs_the_query_of_a_chart() {
    let Some(python) = superset() else { return };
    let server = clinic().await;
    runs(&server, &python, "chart.py", include_str!("clients/superset.py"), &server.grpc);
}

#[tokio::test]
async fn no_request_that_the_description_allows_or_almost_allows_makes_the_server_fail() {
    let Some(python) = python() else { return };
    let server = clinic().await;
    let token = server.token().unwrap();
    let runner = python.with_file_name("schemathesis");
    let ran = Command::new(runner)
        .args(["run", &format!("http://{}/openapi.json", server.http)])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "not_a_server_error,content_type_conformance,status_code_conformance"])
        .args(["--max-examples", "15", "--seed", "7", "--request-timeout", "20", "--workers", "2"])
        // A stream of events has no end of its own.
        .args(["--exclude-path", "/api/v1/runs/{id}/events"])
        .current_dir(server.scratch())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}

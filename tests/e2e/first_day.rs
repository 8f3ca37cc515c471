//! What a data engineer does on the first day: a source, a test, a discovery, an ingest, a mapping, a query.

use mavis_tests::{Server, patients_csv, write};
use serde_json::{Value, json};

const MAPPING: &str = r#"
version  = 1
resource = "Patient"
from     = "processed.clinic.patients p"
key      = "p.patient_id"

[set]
"identifier[0].system" = "'urn:mavis:clinic:patient'"
"identifier[0].value"  = "p.patient_id"
"name[0].family"       = "p.nom"
"name[0].given[0]"     = "p.prenom"
"gender"               = "CASE p.sexe WHEN 'M' THEN 'male' WHEN 'F' THEN 'female' END"
"birthDate"            = "p.date_naissance"
"#;

async fn clinic(rows: usize) -> Server {
    let server = Server::start().await.unwrap();
    let file = server.scratch().join("in/patients.csv");
    write(&file, patients_csv(rows)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server
}

#[tokio::test]
async fn a_csv_file_is_discovered_ingested_mapped_and_answered_as_sql_and_fhir() {
    let server = clinic(500).await;
    server.mavis(&["source", "test", "clinic"]).unwrap().ok().unwrap();
    server.mavis(&["source", "discover", "clinic"]).unwrap().ok().unwrap();
    let mapping = server.scratch().join("patients.toml");
    write(&mapping, MAPPING).unwrap();
    let mapping = mapping.to_str().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    server.mavis(&["map", "check", mapping]).unwrap().ok().unwrap();
    server.mavis(&["map", "apply", mapping, "--name", "clinic.patients"]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();

    assert_eq!(server.count("SELECT count(*) FROM raw.clinic.patients").await.unwrap(), 500);
    assert_eq!(server.count("SELECT count(*) FROM processed.clinic.patients").await.unwrap(), 500);
    assert_eq!(server.count("SELECT count(*) FROM patient").await.unwrap(), 500);
    assert_eq!(server.count("SELECT count(*) FROM clinic.patients").await.unwrap(), 500, "a two-part name is found");
    let born = "SELECT arrow_typeof(date_naissance) FROM processed.clinic.patients LIMIT 1";
    assert_eq!(server.value(born).await.unwrap(), "Date32", "a text date becomes a date");
    let birth = "SELECT birthDate FROM patient WHERE gender = 'female' ORDER BY BIRTHDATE LIMIT 1";
    assert!(server.value(birth).await.unwrap().as_str().unwrap().starts_with("193"));

    let found = server.get("/fhir/Patient?family=nom42&gender=female").await.unwrap();
    assert_eq!(found.status, 200, "{}", found.text());
    assert!(found.content_type.starts_with("application/fhir+json"), "{}", found.content_type);
    let bundle = found.json().unwrap();
    let names: Vec<&Value> =
        bundle["entry"].as_array().unwrap().iter().map(|e| &e["resource"]["name"][0]["family"]).collect();
    // A string search matches from the start: Nom42, and Nom420 to Nom429; those with an even number are women.
    assert_eq!(names.len(), 6, "{names:?}");
    let id = bundle["entry"][0]["resource"]["id"].as_str().unwrap();
    let read = server.get(&format!("/fhir/Patient/{id}")).await.unwrap();
    assert_eq!(read.json().unwrap()["meta"]["versionId"], "1");
    assert_eq!(server.get("/fhir/Patient/no-such-id").await.unwrap().status, 404);
}

#[tokio::test]
async fn a_second_ingest_of_an_unchanged_source_writes_nothing() {
    let server = clinic(50).await;
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    let versions = "SELECT table_schema || '.' || table_name AS t FROM information_schema.tables ORDER BY 1";
    let tables = server.sql(versions).await.unwrap();
    let files = count_files(&server.data.join("lake"));
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    assert_eq!(count_files(&server.data.join("lake")), files, "no new file in the lake");
    assert_eq!(server.sql(versions).await.unwrap(), tables);
}

fn count_files(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { count_files(&path) } else { 1 }
        })
        .sum()
}

#[tokio::test]
async fn changed_and_new_rows_arrive_and_the_old_version_can_still_be_read() {
    let server = clinic(50).await;
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    let more = patients_csv(60).replace("Prenom7,", "Autre7,");
    write(server.scratch().join("in/patients.csv"), more).unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    assert_eq!(server.count("SELECT count(*) FROM raw.clinic.patients").await.unwrap(), 60);
    let changed = "SELECT prenom FROM processed.clinic.patients WHERE nom = 'Nom7'";
    assert_eq!(server.value(changed).await.unwrap(), "Autre7");
    let history = server.sql("SELECT count(*) AS n FROM raw.clinic.patients VERSION AS OF 1").await.unwrap();
    assert_eq!(history, [json!({ "n": 50 })]);
}

#[tokio::test]
async fn answers_come_in_every_format_that_is_asked_for() {
    let server = Server::start().await.unwrap();
    let body = json!({ "sql": "SELECT 1 AS one, 'a,b' AS two UNION ALL SELECT 2, NULL ORDER BY 1" });
    for (accept, starts) in [
        ("text/csv", b"one,two\n1,\"a,b\"\n2,\n".as_slice()),
        ("application/x-ndjson", b"{\"one\":1,\"two\":\"a,b\"}\n{\"one\":2,\"two\":null}\n".as_slice()),
        ("application/vnd.apache.parquet", b"PAR1".as_slice()),
        ("application/vnd.apache.arrow.stream", [0xff, 0xff, 0xff, 0xff].as_slice()),
    ] {
        let headers = [("accept", accept)];
        let answer = server.request("POST", "/api/v1/sql", &headers, Some(body.clone())).await.unwrap();
        assert_eq!(answer.status, 200, "{accept}: {}", answer.text());
        assert!(answer.content_type.starts_with(accept), "{accept}: {}", answer.content_type);
        assert!(answer.body.starts_with(starts), "{accept}: {:?}", answer.text());
    }
    let params = json!({ "sql": "SELECT $1 + 1 AS n, $2 AS t", "params": [41, "x"] });
    let answer =
        server.request("POST", "/api/v1/sql", &[("accept", "application/x-ndjson")], Some(params)).await.unwrap();
    assert_eq!(answer.text().trim(), r#"{"n":42,"t":"x"}"#);
}

#[tokio::test]
async fn the_doors_for_people_and_machines_are_open() {
    let server = Server::start().await.unwrap();
    for path in ["/health/live", "/health/ready"] {
        let anonymous = server.request("GET", path, &[("authorization", "")], None).await.unwrap();
        assert_eq!(anonymous.status, 200, "{path}");
    }
    let metadata = server.request("GET", "/fhir/metadata", &[("authorization", "")], None).await.unwrap();
    assert_eq!(metadata.json().unwrap()["resourceType"], "CapabilityStatement");
    for path in ["/openapi.json", "/api/v1/sources", "/api/v1/tables", "/api/v1/runs"] {
        let answer = server.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json().unwrap();
    }
    let metrics = server.get("/metrics").await.unwrap();
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("# TYPE"), "{}", metrics.text());
}

#[tokio::test]
async fn a_server_stops_on_sigterm_and_its_data_is_there_again() {
    let mut server = clinic(50).await;
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    assert_eq!(server.stop().await.unwrap(), 0, "{}", server.log());
    server.spawn().unwrap();
    server.ready().await.unwrap();
    assert_eq!(server.count("SELECT count(*) FROM raw.clinic.patients").await.unwrap(), 50);
}

//! Bad input gets an answer that says what, where and what to do; nothing is lost.

use mavis_tests::{Server, write};
use serde_json::json;

#[tokio::test]
async fn an_unknown_source_kind_lists_the_kinds_there_are() {
    let server = Server::start().await.unwrap();
    let said = server.mavis(&["source", "add", "x", "--kind", "oracle", "--param", "path=/"]).unwrap();
    assert_ne!(said.code, 0);
    for word in ["oracle", "files", "sqlite", "postgres"] {
        assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
    }
}

#[tokio::test]
async fn wrong_sql_names_line_and_column_and_writing_sql_is_refused() {
    let server = Server::start().await.unwrap();
    let cases = [
        ("SELECT 1,\n  FROM patient x y", 400),
        ("SELECT nothing_like_it FROM system.catalog.tables", 400),
        ("SELECT * FROM raw.nowhere.nothing", 404),
        ("DROP TABLE raw.a.b", 403),
        ("DELETE FROM fhir.r4.patient", 403),
        ("COPY patient TO 'x.csv'", 403),
        ("CREATE TABLE raw.me.t AS SELECT 1", 403),
        ("SELECT 1; SELECT 2", 403),
    ];
    for (sql, status) in cases {
        let answer = server.request("POST", "/api/v1/sql", &[], Some(json!({ "sql": sql }))).await.unwrap();
        assert_eq!(answer.status, status, "{sql}: {}", answer.text());
        let message = answer.json().unwrap()["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.is_empty(), "{sql}");
    }
    let answer =
        server.request("POST", "/api/v1/sql", &[], Some(json!({ "sql": "SELECT 1,\n  FRM patient" }))).await.unwrap();
    let error = &answer.json().unwrap()["error"];
    assert_eq!(error["line"], 2, "{error}");
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_quarantined_with_file_and_line_and_the_rest_arrives() {
    let server = Server::start().await.unwrap();
    let file = server.scratch().join("in/labs.csv");
    let mut csv = b"id,name,value\n1,anna,5\n2,bob\n3,c\xff\xfe,7\n4,\"multi\nline\",8\n5,eve,9,extra\n".to_vec();
    csv.extend_from_slice("6,zoé,10\n".as_bytes());
    write(&file, csv).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "labs", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    let ran = server.mavis(&["ingest", "labs"]).unwrap();
    assert_eq!(ran.code, 0, "warnings are no failure: {}{}", ran.stdout, ran.stderr);
    assert_eq!(server.count("SELECT count(*) FROM raw.labs.labs").await.unwrap(), 3);
    let listed = server.mavis(&["quarantine", "list", "--format", "json"]).unwrap().ok().unwrap();
    for line in ["line 3", "line 4", "line 7"] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    assert!(!server.log().contains("eve"), "no value in the log");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_every_door_at_once() {
    let server = Server::start().await.unwrap();
    let made =
        server.mavis(&["token", "create", "guest", "--role", "reader", "--format", "json"]).unwrap().ok().unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let secret = made[0]["secret"].as_str().unwrap();
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", bearer.as_str())];
    let body = json!({ "sql": "SELECT 1" });
    let ask = || server.request("POST", "/api/v1/sql", &headers, Some(body.clone()));
    assert_eq!(ask().await.unwrap().status, 200);
    let refused =
        server.request("POST", "/fhir/Patient/_nope", &[("authorization", "Bearer wrong")], None).await.unwrap();
    assert_eq!(refused.status, 401);
    server.mavis(&["token", "revoke", "guest"]).unwrap().ok().unwrap();
    assert_eq!(ask().await.unwrap().status, 401);
    let fhir = server.request("GET", "/fhir/Patient", &headers, None).await.unwrap();
    assert_eq!(fhir.status, 401);
    assert_eq!(fhir.json().unwrap()["resourceType"], "OperationOutcome");
}

#[tokio::test]
async fn a_reader_of_one_schema_sees_no_other_one() {
    let server = Server::start().await.unwrap();
    for name in ["open", "closed"] {
        let file = server.scratch().join(format!("{name}/t.csv"));
        write(&file, "id,canary\n1,seven\n").unwrap();
        let path = format!("path={}", file.display());
        server.mavis(&["source", "add", name, "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
        server.mavis(&["ingest", name]).unwrap().ok().unwrap();
    }
    let args = ["token", "create", "half", "--role", "reader", "--schema", "raw.open", "--format", "json"];
    let made: serde_json::Value = serde_json::from_str(&server.mavis(&args).unwrap().ok().unwrap()).unwrap();
    let bearer = format!("Bearer {}", made[0]["secret"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str()), ("accept", "application/x-ndjson")];
    let ask = |sql: &str| server.request("POST", "/api/v1/sql", &headers, Some(json!({ "sql": sql })));
    assert_eq!(ask("SELECT canary FROM raw.open.t").await.unwrap().status, 200);
    let hidden = ask("SELECT canary FROM raw.closed.t").await.unwrap();
    let absent = ask("SELECT canary FROM raw.closer.t").await.unwrap();
    assert_eq!((hidden.status, absent.status), (404, 404), "hidden looks like absent");
    assert_eq!(hidden.text().replace("closed", "closer"), absent.text());
    for sql in [
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM system.catalog.tables",
        "SELECT * FROM system.catalog.columns",
        "SELECT * FROM system.catalog.sources",
        "SELECT * FROM system.ops.runs",
        "SELECT * FROM system.ops.run_log",
    ] {
        let answer = ask(sql).await.unwrap();
        assert!(!answer.text().contains("closed"), "{sql}: {}", answer.text());
    }
    let cast = ask("SELECT (SELECT CAST(canary AS INT) FROM raw.closed.t) AS n FROM raw.open.t").await.unwrap();
    assert!(!cast.text().contains("seven"), "{}", cast.text());
}

#[tokio::test]
async fn a_mapping_with_an_unknown_path_or_column_is_told_before_it_runs() {
    let server = Server::start().await.unwrap();
    let file = server.scratch().join("in/p.csv");
    write(&file, "id,nom\n1,Durand\n").unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    let cases = [
        ("\"name[0].famly\" = \"p.nom\"", "famly"),
        ("\"name[0].family\" = \"p.nmo\"", "nmo"),
        ("\"active\" = \"p.nom\"", "active"),
    ];
    for (set, word) in cases {
        let mapping = server.scratch().join("m.toml");
        let text = format!(
            "version = 1\nresource = \"Patient\"\nfrom = \"processed.clinic.p p\"\nkey = \"p.id\"\n[set]\n{set}\n"
        );
        write(&mapping, text).unwrap();
        let checked = server.mavis(&["map", "check", mapping.to_str().unwrap()]).unwrap();
        assert_ne!(checked.code, 0, "{set}");
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn a_bundle_cut_in_half_and_a_wrong_type_are_set_aside_and_the_rest_is_imported() {
    let server = Server::start().await.unwrap();
    let folder = server.scratch().join("fhir");
    write(folder.join("good.ndjson"), "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"male\"}\n").unwrap();
    write(folder.join("wrong.ndjson"), "{\"resourceType\":\"Patient\",\"id\":\"b\",\"name\":{\"family\":17}}\n")
        .unwrap();
    let cut = "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"c\"}},{\"reso";
    write(folder.join("cut.json"), cut).unwrap();
    let ran = server.mavis(&["fhir", "import", folder.to_str().unwrap()]).unwrap();
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(server.count("SELECT count(*) FROM patient WHERE id = 'a'").await.unwrap(), 1, "{said}");
    assert_eq!(server.count("SELECT count(*) FROM patient WHERE id = 'b'").await.unwrap(), 0, "{said}");
    let listed = server.mavis(&["quarantine", "list", "--format", "json"]).unwrap().ok().unwrap();
    assert!(listed.contains("cut.json"), "{listed}");
    assert!(listed.contains("wrong.ndjson"), "{listed}");
}

use rstest::rstest;
use serde_json::Value;

use crate::harness::{TestServer, client, run, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_failures_apart() {
    let test = TestServer::start().await;
    let server = test.server.grpc_address().to_string();
    let good = test.mavis(&["source", "list"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let failed = test.mavis(&["run", "show", "not-a-run"]).await;
    assert_eq!(failed.status.code(), Some(1));
    let usage = test.mavis(&["source", "add"]).await;
    assert_eq!(usage.status.code(), Some(2));
    let unauthorised = test.mavis_as("wrong", &["source", "list"]).await;
    assert_eq!(unauthorised.status.code(), Some(4));
    assert_eq!(stderr(&unauthorised).lines().count(), 1, "one sentence: {}", stderr(&unauthorised));
    let tokenless = run(client(&server, "", &["source", "list"])).await;
    assert_eq!(tokenless.status.code(), Some(4));
    assert!(stderr(&tokenless).contains("--token-file"), "{}", stderr(&tokenless));
    for refused in ["SELECT 1; SELECT 2", "DELETE FROM fhir.r4.patient"] {
        let output = test.mavis(&["sql", refused]).await;
        assert_eq!(output.status.code(), Some(1), "{refused}: {}", stderr(&output));
        assert!(stderr(&output).contains("not allowed"), "{}", stderr(&output));
    }
    let http = run(client(&test.server.http_address().to_string(), &test.admin_token(), &["source", "list"])).await;
    assert_eq!(http.status.code(), Some(3), "{}", stderr(&http));
    assert!(stderr(&http).contains("HTTP door"), "{}", stderr(&http));
    test.stop().await;
    let portless = run(client("foo", "x", &["source", "list"])).await;
    assert_eq!(portless.status.code(), Some(2), "{}", stderr(&portless));
    let unreachable = run(client("127.0.0.1:1", "x", &["source", "list"])).await;
    assert_eq!(unreachable.status.code(), Some(3));
    assert!(stderr(&unreachable).contains("mavis serve"), "{}", stderr(&unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_found_in_the_default_data_folder() {
    let test = TestServer::start().await;
    let server = test.server.grpc_address().to_string();
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("mavis")).unwrap();
    std::fs::copy(test.server.data().token_file(), home.path().join("mavis/admin.token")).unwrap();
    let mut command = client(&server, "", &["source", "list"]);
    command.env("XDG_DATA_HOME", home.path());
    let output = run(command).await;
    assert!(output.status.success(), "{}", stderr(&output));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_token_is_alone_on_standard_output_and_works() {
    let test = TestServer::start().await;
    let made = test.mavis(&["token", "create", "dr_nadia", "--role", "engineer", "--schema", "fhir.r4"]).await;
    assert!(made.status.success(), "{}", stderr(&made));
    let secret = stdout(&made);
    assert_eq!(secret.split_whitespace().count(), 1);
    assert!(test.mavis_as(secret.trim(), &["source", "list"]).await.status.success());
    let list: Value = serde_json::from_str(&stdout(&test.mavis(&["token", "list", "--format", "json"]).await)).unwrap();
    let nadia = list.as_array().unwrap().iter().find(|token| token["name"] == "dr_nadia").unwrap();
    assert_eq!((&nadia["role"], &nadia["schemas"][0]), (&"engineer".into(), &"fhir.r4".into()));
    assert!(!list.to_string().contains(secret.trim()), "no list shows a secret");
    assert!(test.mavis(&["token", "revoke", "dr_nadia"]).await.status.success());
    assert_eq!(test.mavis_as(secret.trim(), &["source", "list"]).await.status.code(), Some(4));
    let twice = test.mavis(&["token", "create", "x", "--role", "reader", "--schema", "silver.r4"]).await;
    assert!(stderr(&twice).contains("there is no zone `silver`"), "{}", stderr(&twice));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_added_tested_changed_and_removed() {
    let test = TestServer::start().await;
    let file = test.folder.path().join("visits.csv");
    std::fs::write(&file, "id,ward\n1,A\n2,B\n").unwrap();
    let path = format!("path={}", file.display());
    let added = test.mavis(&["source", "add", "visits", "--kind", "files", "--param", &path]).await;
    assert!(added.status.success(), "{}", stderr(&added));
    let again = test.mavis(&["source", "add", "visits", "--kind", "files", "--param", &path]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("exists already"), "{}", stderr(&again));
    let tested = test.mavis(&["source", "test", "visits"]).await;
    assert!(tested.status.success(), "{}{}", stdout(&tested), stderr(&tested));
    let gone = format!("path={}/nothing-here.csv", test.folder.path().display());
    let updated = test.mavis(&["source", "update", "visits", "--kind", "files", "--param", &gone]).await;
    assert!(updated.status.success(), "{}", stderr(&updated));
    let tested = test.mavis(&["source", "test", "visits"]).await;
    assert_eq!(tested.status.code(), Some(1), "{}", stdout(&tested));
    assert!(test.mavis(&["source", "remove", "visits"]).await.status.success());
    let list: Value =
        serde_json::from_str(&stdout(&test.mavis(&["source", "list", "--format", "json"]).await)).unwrap();
    assert_eq!(list, serde_json::json!([]));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_of_a_data_sources_file_is_registered() {
    let test = TestServer::start().await;
    let file = test.folder.path().join("data_sources.json");
    let json = r#"[{"name": "new_db", "type": "postgres",
        "db": {"host": "localhost", "port": 5432, "user": "u", "database": "d"}, "tables_to_include": ["a"]}]"#;
    std::fs::write(&file, json).unwrap();
    let added = test.mavis(&["source", "add", "--from", &file.display().to_string(), "--format", "csv"]).await;
    // Its password is not in the server's environment, which is told when it is used, or already here.
    let told = format!("{}{}", stdout(&added), stderr(&added));
    assert!(told.contains("new_db"), "{told}");
    assert!(added.status.success() || told.contains("POSTGRES_PASSWORD_NEW_DB"), "{told}");
    test.stop().await;
}

#[rstest]
#[case(&["source", "add", "x", "--kind", "mainframe"], &["mainframe", "files", "sqlite", "postgres"])]
#[case(&["source", "add", "x", "--kind", "files", "--param", "pfad=/tmp"], &["pfad"])]
#[case(&["ingest", "nobody"], &["nobody"])]
#[case(&["source", "discover", "nobody"], &["nobody"])]
#[case(&["lake", "optimize", "nobody"], &["zone.schema.table"])]
#[case(&["quarantine", "show", "4711"], &["4711"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_told_what_to_do(#[case] args: &[&str], #[case] says: &[&str]) {
    let test = TestServer::start().await;
    let output = test.mavis(args).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for word in says {
        assert!(stderr(&output).contains(word), "`{word}` is not in: {}", stderr(&output));
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_found_beside_the_data_folder() {
    let test = TestServer::start().await;
    let mut command = client(&test.server.grpc_address().to_string(), "", &["source", "list"]);
    command.current_dir(test.folder.path());
    let output = run(command).await;
    assert!(output.status.success(), "{}", stderr(&output));
    test.stop().await;
}

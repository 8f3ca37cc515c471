use mavis_proto::v1::{self as pb, ingest_service_client::IngestServiceClient};
use serde_json::Value;
use tonic::Code;

use crate::harness::{TestServer, stderr, stdout, with};

/// A CSV source of three rows, one of them twice.
async fn visits(test: &TestServer) {
    let file = test.folder.path().join("visits.csv");
    std::fs::write(&file, "id,ward\n1,A\n2,B\n2,B\n").unwrap();
    let path = format!("path={}", file.display());
    for args in
        [&["source", "add", "visits", "--kind", "files", "--param", &path][..], &["source", "discover", "visits"]]
    {
        let output = test.mavis(args).await;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_is_watched_to_its_end_and_accounts_for_every_row() {
    let test = TestServer::start().await;
    visits(&test).await;
    let output = test.mavis(&["ingest", "visits", "--format", "json"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let units: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let raw = units.as_array().unwrap().iter().find(|unit| unit["step"] == "to_raw").unwrap();
    assert_eq!((&raw["table"], &raw["read"]), (&"raw.visits.visits".into(), &3.into()), "{units:#}");
    // Once more: nothing is new.
    let again = test.mavis(&["ingest", "visits", "--format", "json"]).await;
    let units: Value = serde_json::from_str(&stdout(&again)).unwrap();
    for unit in units.as_array().unwrap() {
        assert_eq!((&unit["inserted"], &unit["updated"], &unit["deleted"]), (&0.into(), &0.into(), &0.into()));
    }
    let runs: Value = serde_json::from_str(&stdout(&test.mavis(&["run", "list", "--format", "json"]).await)).unwrap();
    let ingests = runs.as_array().unwrap().iter().filter(|run| run["kind"] == "ingest").count();
    assert_eq!(ingests, 2, "{runs:#}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_asked_for_twice_with_one_id_runs_once() {
    let test = TestServer::start().await;
    visits(&test).await;
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let request = || pb::StartRunRequest {
        run_id: "0190f3b4-0000-7000-8000-000000000001".to_owned(),
        source: "visits".to_owned(),
        ..Default::default()
    };
    let first = ingest.start_run(with(&test.admin_token(), request())).await.unwrap().into_inner();
    let second = ingest.start_run(with(&test.admin_token(), request())).await;
    match second {
        Ok(second) => assert_eq!(second.into_inner().run.unwrap().id, first.run.unwrap().id),
        Err(status) => assert_eq!(status.code(), Code::AlreadyExists),
    }
    let list = pb::ListRunsRequest { source: "visits".to_owned(), limit: 0 };
    let runs = ingest.list_runs(with(&test.admin_token(), list)).await.unwrap().into_inner().runs;
    assert_eq!(runs.iter().filter(|run| run.kind == "ingest").count(), 1);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_keeps_ids_and_sends_only_what_is_missing() {
    let test = TestServer::start().await;
    let folder = test.folder.path().join("export");
    std::fs::create_dir_all(folder.join("b")).unwrap();
    let patient = |id: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}\n");
    std::fs::write(folder.join("a.ndjson"), patient("one") + &patient("two")).unwrap();
    std::fs::write(folder.join("b/c.ndjson"), patient("three")).unwrap();
    let path = folder.display().to_string();
    let first = test.mavis(&["fhir", "import", &path]).await;
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(stderr(&first).contains("2 of 2 files are to be sent"), "{}", stderr(&first));
    std::fs::write(folder.join("d.ndjson"), patient("four")).unwrap();
    let second = test.mavis(&["fhir", "import", &path]).await;
    assert!(second.status.success(), "{}", stderr(&second));
    assert!(stderr(&second).contains("1 of 3 files are to be sent"), "{}", stderr(&second));
    let rows = test.server.app().catalog.table(&"fhir.r4.patient".parse().unwrap()).await.unwrap().rows;
    assert_eq!(rows, Some(4));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_shorter_than_announced_is_thrown_away() {
    use pb::import_files_request::Part;

    let test = TestServer::start().await;
    let options = pb::ImportOptions { source: "cut".to_owned(), not_authoritative: false, again: false };
    let part = |part: Part| pb::ImportFilesRequest { part: Some(part) };
    let messages = [
        part(Part::Options(options.clone())),
        part(Part::File(pb::FileStart { name: "whole.ndjson".to_owned(), size: 4 })),
        part(Part::Chunk(b"{}\n\n".to_vec())),
        part(Part::File(pb::FileStart { name: "cut.ndjson".to_owned(), size: 100 })),
        part(Part::Chunk(b"{\"resourceType\"".to_vec())),
    ];
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let refused = ingest.import_files(with(&test.admin_token(), tokio_stream::iter(messages))).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");
    let request = pb::ListImportedFilesRequest { options: Some(options) };
    let files = ingest.list_imported_files(with(&test.admin_token(), request)).await.unwrap().into_inner().files;
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["whole.ndjson"]);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_over_http_once_and_asked_for_until_it_ends() {
    let test = TestServer::start().await;
    visits(&test).await;
    let body = serde_json::json!({"source": "visits", "id": "0190f3b4-0000-7000-8000-000000000002"});
    let http = reqwest::Client::new();
    let post = async |token: &str, body: &Value| {
        let answer = http.post(test.http("/api/v1/runs")).bearer_auth(token).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let admin = test.admin_token();
    for _ in 0..2 {
        let (status, run) = post(&admin, &body).await;
        assert_eq!((status, &run["id"]), (202, &body["id"]), "{run}");
    }
    let url = test.http(&format!("/api/v1/runs/{}", body["id"].as_str().unwrap()));
    let ended = async {
        loop {
            let run: Value = http.get(&url).bearer_auth(&admin).send().await.unwrap().json().await.unwrap();
            if !["pending", "running"].contains(&run["state"].as_str().unwrap()) {
                return run;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let run = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("it does not end");
    assert_eq!(run["counts"]["read"], 6, "raw and processed: {run}");
    let reader = test.token("reader", pb::Role::Reader, &[]).await;
    assert_eq!(post(&reader, &serde_json::json!({"source": "visits"})).await.0, 403);
    assert_eq!(post(&admin, &serde_json::json!({"source": "nobody"})).await.0, 404);
    assert_eq!(post(&admin, &serde_json::json!({"source": "visits", "colour": 1})).await.0, 400);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_set_followed_disabled_and_taken_away() {
    let test = TestServer::start().await;
    visits(&test).await;
    let set = test.mavis(&["schedule", "set", "visits", "--every", "1h", "--fresh", "1d", "--format", "json"]).await;
    assert!(set.status.success(), "{}", stderr(&set));
    let ask = async |sql: &str| -> Value {
        let output = test.mavis(&["sql", sql, "--format", "json"]).await;
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{sql}: {}", stderr(&output)))
    };
    let followed = async {
        while ask("SELECT state FROM system.ops.runs WHERE requested_by = 'schedule'").await[0]["state"] != "completed"
        {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), followed).await.expect("no run completes by schedule");
    let fresh = ask("SELECT source, table_name, late, expected_seconds FROM system.ops.freshness").await;
    assert_eq!(
        (&fresh[0]["source"], &fresh[0]["late"], &fresh[0]["expected_seconds"]),
        (&"visits".into(), &false.into(), &86_400.into())
    );
    assert!(test.mavis(&["schedule", "disable", "visits"]).await.status.success());
    let schedules = ask("SELECT enabled, disabled_reason, next_at FROM system.ops.schedules").await;
    assert_eq!((&schedules[0]["enabled"], &schedules[0]["next_at"]), (&false.into(), &Value::Null), "{schedules}");
    assert!(test.mavis(&["schedule", "enable", "visits"]).await.status.success());
    let wrong = test.mavis(&["schedule", "set", "visits", "--cron", "61 * * * *"]).await;
    assert!(!wrong.status.success() && stderr(&wrong).contains("no cron expression"), "{}", stderr(&wrong));
    assert!(test.mavis(&["schedule", "remove", "visits"]).await.status.success());
    assert_eq!(ask("SELECT count(*) AS n FROM system.ops.schedules").await[0]["n"], 0);
    test.stop().await;
}

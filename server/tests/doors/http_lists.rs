use mavis_catalog::{NewRun, NewSource, NewTable, RunKind, RunState};
use mavis_proto::v1::{self as pb, ingest_service_client::IngestServiceClient};
use mavis_types::{RunId, SourceName, TableName, Zone};
use serde_json::{Value, json};

use crate::harness::{TestServer, with};

async fn get(test: &TestServer, token: &str, path: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().get(test.http(path)).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Two sources with a table in raw and processed and a finished run each.
async fn lake(test: &TestServer) -> Vec<RunId> {
    let catalog = &test.server.app().catalog;
    let mut runs = Vec::new();
    for name in ["closed", "open"] {
        let source = NewSource {
            name: SourceName::new(name).unwrap(),
            kind: "files".to_owned(),
            params: json!({"path": "/data"}),
            authoritative: false,
        };
        let source = catalog.add_source(source).await.unwrap();
        for zone in [Zone::Raw, Zone::Processed] {
            let table = NewTable {
                name: TableName::new(zone, name, "t"),
                source: Some(source.id),
                source_schema: None,
                source_table: Some("T".to_owned()),
                key: vec!["id".to_owned()],
                comment: None,
            };
            catalog.ensure_table(table).await.unwrap();
        }
        let id = RunId::new();
        let run = NewRun {
            id,
            kind: RunKind::Ingest,
            source: Some(source.id),
            request: json!({}),
            requested_by: "admin".to_owned(),
            parent: None,
            attempt: 1,
        };
        catalog.add_run(run).await.unwrap();
        catalog.set_run_state(id, RunState::Failed, mavis_types::Counts::default(), Some("no file")).await.unwrap();
        runs.push(id);
    }
    runs
}

/// What the list at the other door holds for a reader of `raw.open`.
async fn grpc_tells_the_same(test: &TestServer, half: &str, runs: &[RunId]) {
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let sources = ingest.list_sources(with(half, pb::ListSourcesRequest {})).await.unwrap().into_inner().sources;
    let specs: Vec<_> = sources.into_iter().filter_map(|source| source.spec).collect();
    assert_eq!(specs.iter().map(|spec| (&*spec.name, &*spec.params_json)).collect::<Vec<_>>(), [("open", "")]);
    let request = pb::ListRunsRequest { limit: 1, ..Default::default() };
    let listed = ingest.list_runs(with(half, request)).await.unwrap().into_inner().runs;
    assert_eq!(listed.iter().map(|run| &*run.id).collect::<Vec<_>>(), [runs[1].to_string()]);
    for (run, seen) in [(runs[0], false), (runs[1], true)] {
        let request = pb::GetRunRequest { run_id: run.to_string() };
        assert_eq!(ingest.get_run(with(half, request)).await.is_ok(), seen);
        let request = pb::WatchRunRequest { run_id: run.to_string() };
        assert_eq!(ingest.watch_run(with(half, request)).await.is_ok(), seen);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_what_the_principal_may_see_and_nothing_else() {
    let test = TestServer::start().await;
    let runs = lake(&test).await;
    let admin = test.admin_token();
    let half = test.token("half", pb::Role::Reader, &["raw.open"]).await;

    let (_, all) = get(&test, &admin, "/api/v1/sources").await;
    assert_eq!(names(&all["sources"]), ["closed", "open"]);
    assert_eq!(all["sources"][0]["params"], json!({"path": "/data"}));
    let (_, some) = get(&test, &half, "/api/v1/sources").await;
    assert_eq!(names(&some["sources"]), ["open"]);
    assert!(some["sources"][0].get("params").is_none(), "{some}");

    let (_, all) = get(&test, &admin, "/api/v1/tables").await;
    assert_eq!(names(&all["tables"]), ["processed.closed.t", "processed.open.t", "raw.closed.t", "raw.open.t"]);
    let (_, some) = get(&test, &half, "/api/v1/tables").await;
    assert_eq!(names(&some["tables"]), ["raw.open.t"]);
    assert!(some.get("next").is_none());

    let (_, all) = get(&test, &admin, "/api/v1/runs").await;
    assert_eq!(all["runs"].as_array().unwrap().len(), 2);
    let (_, some) = get(&test, &half, "/api/v1/runs?limit=1").await;
    assert_eq!(some["runs"].as_array().unwrap().len(), 1);
    assert_eq!((&some["runs"][0]["source"], &some["runs"][0]["state"]), (&json!("open"), &json!("failed")));
    assert_eq!(all["runs"][0]["error"], "no file");
    let untold = (&some["runs"][0]["error"], &some["runs"][0]["counts"]);
    assert_eq!(untold, (&Value::Null, &Value::Null), "the run met tables that may not be read");
    assert_eq!(get(&test, &half, "/api/v1/runs?source=closed").await.0, 404);
    for (index, (as_admin, as_half)) in [(200, 404), (200, 200)].into_iter().enumerate() {
        let path = format!("/api/v1/runs/{}", runs[index]);
        assert_eq!(get(&test, &admin, &path).await.0, as_admin);
        assert_eq!(get(&test, &half, &path).await.0, as_half);
        if as_half == 404 {
            assert_eq!(get(&test, &half, &format!("{path}/events")).await.0, 404);
        }
    }
    assert_eq!(get(&test, &admin, "/api/v1/runs/not-a-run").await.0, 404);
    grpc_tells_the_same(&test, &half, &runs).await;
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_paged_without_a_gap() {
    let test = TestServer::start().await;
    lake(&test).await;
    let admin = test.admin_token();
    let (mut seen, mut path) = (Vec::new(), "/api/v1/tables?limit=3".to_owned());
    loop {
        let (status, page) = get(&test, &admin, &path).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(names(&page["tables"]).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tables?limit=3&after={next}");
    }
    assert_eq!(seen, ["processed.closed.t", "processed.open.t", "raw.closed.t", "raw.open.t"]);
    let (_, raw) = get(&test, &admin, "/api/v1/tables?zone=raw&schema=open").await;
    assert_eq!(names(&raw["tables"]), ["raw.open.t"]);
    for wrong in ["zone=silver", "after=x", "limit=0", "limit=100000", "colour=red"] {
        let (status, body) = get(&test, &admin, &format!("/api/v1/tables?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}: {body}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_health_and_the_front_page_are_open() {
    let test = TestServer::start().await;
    let client = reqwest::Client::new();
    for (path, status) in [
        ("/", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/openapi.json", 401),
        ("/metrics", 401),
        ("/api/v1/sources", 401),
        ("/api/v1/tables", 401),
        ("/api/v1/runs", 401),
        ("/api/v1/nothing", 404),
    ] {
        let answer = client.get(test.http(path)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let (_, api) = get(&test, &test.admin_token(), "/openapi.json").await;
    assert!(api["paths"]["/api/v1/sql"]["post"]["security"].is_array(), "{api}");
    test.stop().await;
}

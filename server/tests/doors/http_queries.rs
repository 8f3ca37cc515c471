//! Long queries over HTTP, and what a request may say beside its statement.

use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use mavis_proto::v1 as pb;
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::TestServer;

const ENDLESS: &str = "WITH r AS (SELECT unnest(range(0, 60000)) AS n) \
                       SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5";

fn request(test: &TestServer, token: &str, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, test.http(path)).bearer_auth(token)
}

async fn get(test: &TestServer, path: &str) -> Response {
    request(test, &test.admin_token(), Method::GET, path).send().await.unwrap()
}

async fn ask(test: &TestServer, body: Value) -> Response {
    request(test, &test.admin_token(), Method::POST, "/api/v1/sql").json(&body).send().await.unwrap()
}

/// Submits a query; its path.
async fn submit(test: &TestServer, token: &str, body: Value) -> String {
    let answer = request(test, token, Method::POST, "/api/v1/queries").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{body}");
    let place = answer.headers()["location"].to_str().unwrap().to_owned();
    let told: Value = answer.json().await.unwrap();
    assert!(place.ends_with(told["id"].as_str().unwrap()), "{told}");
    place
}

/// What is told of a query once it ended.
async fn ended(test: &TestServer, path: &str) -> Value {
    let told: Value = get(test, &format!("{path}?wait=30")).await.json().await.unwrap();
    assert!(told["ended_at"].is_string(), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_is_submitted_and_its_rows_are_fetched_in_pages_of_any_format() {
    let test = TestServer::start().await;
    let sql = "SELECT n, n % 3 AS r FROM (SELECT unnest(range(0, 100000)) AS n) WHERE n >= :from ORDER BY n";
    let path = submit(&test, &test.admin_token(), json!({"sql": sql, "params": {"from": 50000}})).await;
    let told = ended(&test, &path).await;
    assert_eq!((&told["state"], &told["rows"], &told["progress"]), (&json!("completed"), &json!(50000), &json!(1.0)));
    assert_eq!(told["columns"][0], json!({"name": "n", "type": "Int64"}));
    assert!(told["expires_at"].is_string());

    let page = get(&test, &format!("{path}/rows?offset=49998&limit=100")).await;
    assert_eq!(page.headers()["x-mavis-rows"], "50000");
    assert!(page.headers().get("link").is_none(), "the last page");
    let page: Value = page.json().await.unwrap();
    assert_eq!(page["rows"], json!([[99998, 2], [99999, 0]]));

    // From page to page as the links say.
    let (mut next, mut lines) = (Some(format!("{path}/rows?limit=20000&format=csv")), 0);
    while let Some(place) = next {
        let page = get(&test, &place).await;
        let link = page.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        lines += page.text().await.unwrap().lines().count() - 1;
    }
    assert_eq!(lines, 50_000);

    let arrow = get(&test, &format!("{path}/rows?format=arrow")).await.bytes().await.unwrap();
    let rows = StreamReader::try_new(arrow.as_ref(), None).unwrap().map(|batch| batch.unwrap().num_rows());
    assert_eq!(rows.sum::<usize>(), 50_000);
    for format in ["ndjson", "parquet"] {
        assert_eq!(get(&test, &format!("{path}/rows?format={format}&limit=10")).await.status(), 200, "{format}");
    }
    let listed: Value = get(&test, "/api/v1/queries").await.json().await.unwrap();
    assert_eq!(listed["queries"].as_array().unwrap().len(), 1);

    let folder = test.folder.path().join("data/results");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let gone = request(&test, &test.admin_token(), Method::DELETE, &path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(get(&test, &path).await.status(), 404);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "its files are deleted");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_is_its_owners_alone_and_tells_what_went_wrong() {
    let test = TestServer::start().await;
    let other = test.token("other", pb::Role::Reader, &[]).await;
    let path = submit(
        &test,
        &test.admin_token(),
        json!({"sql": "SELECT 1 / (n - 5) AS q FROM (SELECT unnest(range(0, 9)) AS n)"}),
    )
    .await;
    for (method, place) in
        [(Method::GET, path.clone()), (Method::GET, format!("{path}/rows")), (Method::DELETE, path.clone())]
    {
        assert_eq!(request(&test, &other, method, &place).send().await.unwrap().status(), 404, "{place}");
    }
    let told = ended(&test, &path).await;
    assert_eq!((&told["state"], &told["failure"]["error"]["code"]), (&json!("failed"), &json!("invalid_value")));
    assert_eq!(get(&test, &format!("{path}/rows")).await.status(), 400);

    for (body, status) in [
        (json!({"sql": "SELECT 1,\n FRM x"}), 400),
        (json!({"sql": "SELECT $1"}), 400),
        (json!({"sql": "SELECT * FROM raw.nowhere.nothing"}), 404),
        (json!({"sql": "DROP TABLE raw.a.b"}), 400),
        (json!({"sql": "CREATE TABLE work.a.t AS SELECT 1 AS x"}), 400),
        (json!({"sql": "WITH x AS (SELECT 1) DELETE FROM work.a.t"}), 403),
        (json!({"sql": "SELECT 1", "timeout": -1}), 400),
        (json!({"sql": "SELECT 1", "max_rows": 5}), 400),
    ] {
        let answer = request(&test, &test.admin_token(), Method::POST, "/api/v1/queries").json(&body).send().await;
        assert_eq!(answer.unwrap().status(), status, "{body}");
    }
    for path in ["/api/v1/queries/x", "/api/v1/queries/00000000-0000-7000-8000-000000000000/rows"] {
        assert_eq!(get(&test, path).await.status(), 404);
    }
    test.stop().await;
}

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_query_works_no_more() {
    let test = TestServer::start().await;
    let path = submit(&test, &test.admin_token(), json!({"sql": ENDLESS})).await;
    let before = cpu();
    let end = Instant::now() + Duration::from_secs(20);
    while cpu() - before < Duration::from_millis(300) {
        assert!(Instant::now() < end, "it never worked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(&test, &format!("{path}/rows")).await.status(), 409);
    request(&test, &test.admin_token(), Method::DELETE, &path).send().await.unwrap().error_for_status().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let before = cpu();
        tokio::time::sleep(Duration::from_millis(500)).await;
        if cpu() - before < Duration::from_millis(100) {
            break;
        }
        assert!(Instant::now() < end, "it works on");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_fetched_goes_with_every_erasure_and_with_the_server() {
    let test = TestServer::start().await;
    let path = submit(&test, &test.admin_token(), json!({"sql": "SELECT 1 AS one"})).await;
    ended(&test, &path).await;
    assert_eq!(test.server.app().results.remove_all().await.unwrap(), 1);
    assert_eq!(get(&test, &path).await.status(), 404);
    let path = submit(&test, &test.admin_token(), json!({"sql": "SELECT 1 AS one"})).await;
    ended(&test, &path).await;
    let folder = test.stop().await;
    let left = std::fs::read_dir(folder.path().join("data/results")).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0);
    let test = TestServer::start_in(folder).await;
    assert_eq!(get(&test, &path).await.status(), 404);
    test.stop().await;
}

#[rstest]
#[case(json!({"sql": "SELECT :n + 1 AS n, :t AS t, :n AS again", "params": {"n": 41, "t": "x"}}), json!([[42, "x", 41]]))]
#[case(json!({"sql": "SELECT :d AS d", "params": {"d": {"type": "date", "value": "1950-01-02"}}}), json!([["1950-01-02"]]))]
#[case(json!({"sql": "SELECT arrow_typeof($1) AS t", "params": [{"type": "decimal(10,2)", "value": "1.50"}]}), json!([["Decimal128(10, 2)"]]))]
#[case(json!({"sql": "SELECT ':n' AS t, 7::int AS i", "params": {}}), json!([[":n", 7]]))]
#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_names_and_types(#[case] body: Value, #[case] rows: Value) {
    let test = TestServer::start().await;
    let answer: Value = ask(&test, body.clone()).await.json().await.unwrap();
    assert_eq!(answer["rows"], rows, "{answer}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_too_few_or_too_many_is_told_by_its_name() {
    let test = TestServer::start().await;
    for (params, word) in [(json!({}), ":n"), (json!({"n": 1, "m": 2}), ":m"), (json!({"n": [1]}), ":n")] {
        let answer = ask(&test, json!({"sql": "SELECT :n AS n", "params": params})).await;
        assert_eq!(answer.status(), 400, "{params}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"]["message"].as_str().unwrap().contains(word), "{body}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_cut_says_so() {
    let test = TestServer::start().await;
    for (most, rows, cut) in [(0, 0, true), (5, 5, true), (10, 10, false), (11, 10, false)] {
        let body = json!({"sql": "SELECT n FROM (SELECT unnest(range(0, 10)) AS n)", "max_rows": most});
        let answer = ask(&test, body.clone()).await;
        assert_eq!(answer.headers()["x-mavis-cut"], cut.to_string(), "{most}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["cut"]), (rows, &json!(cut)), "{most}");
        for format in ["csv", "ndjson", "arrow", "parquet"] {
            let path = format!("/api/v1/sql?format={format}");
            let answer = request(&test, &test.admin_token(), Method::POST, &path).json(&body).send().await.unwrap();
            assert_eq!(answer.headers()["x-mavis-cut"], cut.to_string(), "{format}");
        }
    }
    // More than is read ahead: the answer's end tells.
    let body = json!({"sql": "SELECT n, repeat('x', 100) AS t FROM (SELECT unnest(range(0, 400000)) AS n)", "max_rows": 300000});
    let answer = ask(&test, body).await;
    assert!(answer.headers().get("x-mavis-cut").is_none() && answer.headers()["trailer"] == "x-mavis-cut");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("],\"cut\":true}\n"), "{}", &text[text.len() - 40..]);
    let plain: Value = ask(&test, json!({"sql": "SELECT 1 AS one"})).await.json().await.unwrap();
    assert!(plain.get("cut").is_none());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_at_the_time_that_was_asked_for() {
    let test = TestServer::start().await;
    let began = Instant::now();
    let answer = ask(&test, json!({"sql": ENDLESS, "timeout": 0.5})).await;
    assert_eq!(answer.status(), 504);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["error"]["code"], "timeout", "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("the request gave the query 0.5 s"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(20));
    for timeout in [json!(0), json!(-1), json!("x")] {
        assert_eq!(ask(&test, json!({"sql": "SELECT 1", "timeout": timeout})).await.status(), 400, "{timeout}");
    }
    test.stop().await;
}

#[rstest]
#[case("SELECT 1,\n  FRM patient", "  FRM patient\n", 2)]
#[case("SELECT *\nFROM raw.nowhere.nothing", "FROM raw.nowhere.nothing\n     ^", 2)]
#[case("SELECT nothing\nFROM system.catalog.tables", "SELECT nothing\n       ^", 1)]
#[case("SELECT x FROM (VALUES (1)) AS t(x)\nORDER BY nothing", "ORDER BY nothing\n         ^", 2)]
#[case("SELECT count(*) FROM (VALUES (1)) AS t(x)\nGROUP BY nothing", "GROUP BY nothing\n         ^", 2)]
#[tokio::test(flavor = "multi_thread")]
async fn an_error_points_at_its_place(#[case] sql: &str, #[case] pointer: &str, #[case] line: u64) {
    let test = TestServer::start().await;
    let body: Value = ask(&test, json!({"sql": sql})).await.json().await.unwrap();
    assert_eq!(body["error"]["line"], line, "{body}");
    assert!(body["error"]["pointer"].as_str().unwrap().starts_with(pointer), "{body}");
    test.stop().await;
}

/// Resident memory of this process, in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_ten_gigabytes_holds_no_memory_while_it_is_read_slowly() {
    let test = TestServer::start().await;
    let sql = "SELECT value, repeat('x', 100) AS t FROM generate_series(1, 100000000)";
    let path = "/api/v1/sql?format=csv";
    let answer = request(&test, &test.admin_token(), Method::POST, path).json(&json!({"sql": sql})).send().await;
    let mut answer = answer.unwrap();
    let mut read = 0;
    let warm = Instant::now() + Duration::from_secs(3);
    while read < 4 << 20 || Instant::now() < warm {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    let before = resident();
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        read += answer.chunk().await.unwrap().unwrap().len();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after = resident();
    eprintln!("read {} MiB, resident {before} MiB, then {after} MiB", read >> 20);
    assert!(after < before + 96, "{before} MiB, then {after} MiB");
    test.stop().await;
}

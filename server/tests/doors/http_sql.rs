use std::time::{Duration, Instant};

use arrow::{array::AsArray, datatypes::Int64Type, ipc::reader::StreamReader};
use futures::StreamExt;
use mavis_proto::v1 as pb;
use mavis_server::{Server, config::Config};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{TestServer, config};

/// As many rows as are in several batches.
const MANY: &str = "SELECT n FROM (SELECT unnest(range(0, 100000)) AS n)";
/// Fails when many rows are through.
const BREAKS: &str = "SELECT 10 / (90000 - n) AS q FROM (SELECT unnest(range(0, 100000)) AS n)";
/// Takes longer than any test.
const ENDLESS: &str = "WITH r AS (SELECT unnest(range(0, 60000)) AS n) \
                       SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5";

async fn ask(test: &TestServer, accept: Option<&str>, body: Value) -> Response {
    ask_as(test, &test.admin_token(), accept, body).await
}

async fn ask_as(test: &TestServer, token: &str, accept: Option<&str>, body: Value) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(ACCEPT, accept.parse().unwrap());
    }
    let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(token).headers(headers);
    request.json(&body).send().await.unwrap()
}

fn content_type(response: &Response) -> String {
    response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_holds_the_same_rows() {
    let test = TestServer::start().await;
    let sql =
        json!({"sql": "SELECT 1 AS one, 'a,\"b' AS two UNION ALL SELECT 2, NULL UNION ALL SELECT 3, '' ORDER BY 1"});
    let json: Value = ask(&test, None, sql.clone()).await.json().await.unwrap();
    assert_eq!(
        json,
        json!({"columns": [{"name": "one", "type": "Int64"}, {"name": "two", "type": "Utf8"}],
            "rows": [[1, "a,\"b"], [2, null], [3, ""]]})
    );
    let lines = ask(&test, Some("application/x-ndjson"), sql.clone()).await;
    assert_eq!(content_type(&lines), "application/x-ndjson");
    assert_eq!(
        lines.text().await.unwrap(),
        "{\"one\":1,\"two\":\"a,\\\"b\"}\n{\"one\":2,\"two\":null}\n{\"one\":3,\"two\":\"\"}\n"
    );
    let csv = ask(&test, Some("text/csv"), sql.clone()).await;
    assert!(content_type(&csv).starts_with("text/csv"));
    assert_eq!(csv.text().await.unwrap(), "one,two\n1,\"a,\"\"b\"\n2,\n3,\"\"\n");
    let arrow = ask(&test, Some("application/vnd.apache.arrow.stream"), sql.clone()).await.bytes().await.unwrap();
    let batches: Vec<_> = StreamReader::try_new(arrow.as_ref(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 1);
    let parquet = ask(&test, Some("application/vnd.apache.parquet"), sql).await;
    assert!(parquet.headers().get("content-encoding").is_none());
    let reader = ParquetRecordBatchReaderBuilder::try_new(parquet.bytes().await.unwrap()).unwrap().build().unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_columns_of_one_name_come_in_formats_without_names_beside_values() {
    let test = TestServer::start().await;
    for sql in [
        "SELECT t.*, x AS a FROM (SELECT 1 AS a, 2 AS x) t",
        "SELECT t.*, u.* FROM (SELECT 1 AS a) t, (SELECT 2 AS a) u",
    ] {
        let sql = json!({"sql": sql});
        let csv = ask(&test, Some("text/csv"), sql.clone()).await.text().await.unwrap();
        let (head, row) = csv.split_once('\n').unwrap();
        assert_eq!((head.matches('a').count(), row.ends_with("2\n")), (2, true), "{csv}");
        let json: Value = ask(&test, None, sql.clone()).await.json().await.unwrap();
        let names = json["columns"].as_array().unwrap().iter().filter(|column| column["name"] == "a");
        assert_eq!(names.count(), 2, "{json}");
        let arrow = ask(&test, Some("application/vnd.apache.arrow.stream"), sql.clone()).await.bytes().await.unwrap();
        let batch = StreamReader::try_new(arrow.as_ref(), None).unwrap().next().unwrap().unwrap();
        let schema = batch.schema();
        assert_eq!(schema.fields().iter().filter(|field| field.name() == "a").count(), 2, "{schema}");
        for format in ["application/x-ndjson", "application/vnd.apache.parquet"] {
            let refused = ask(&test, Some(format), sql.clone()).await;
            assert_eq!(refused.status(), 400, "{format}");
            let text = refused.text().await.unwrap();
            assert!(text.contains("two columns are called `a`") && text.contains("AS"), "{text}");
        }
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_written_exactly() {
    let test = TestServer::start().await;
    let cases = [
        ("9223372036854775807", "9223372036854775807"),
        ("CAST('12345678901234567890.123456' AS DECIMAL(38,6))", "12345678901234567890.123456"),
        ("CAST(0.1 AS DOUBLE)", "0.1"),
        ("CAST('NaN' AS DOUBLE)", "\"NaN\""),
        ("[1.5, CAST('-inf' AS DOUBLE), NULL]", "[1.5,\"-Infinity\",null]"),
        ("MAP([1, 2], ['a', 'b'])", "{\"1\":\"a\",\"2\":\"b\"}"),
        ("TIMESTAMP '9999-12-31'", "\"9999-12-31T00:00:00\""),
        ("TIMESTAMPTZ '0001-01-01 00:00:00+00'", "\"0001-01-01T00:00:00Z\""),
        ("X'00ff'", "\"00ff\""),
        ("DATE '1950-02-03'", "\"1950-02-03\""),
        ("TIMESTAMP '1950-02-03 04:05:06.789'", "\"1950-02-03T04:05:06.789\""),
        ("make_array(1, NULL, 3)", "[1,null,3]"),
        ("named_struct('a', 1, 'b', 'x')", "{\"a\":1,\"b\":\"x\"}"),
        ("true", "true"),
        ("NULL", "null"),
    ];
    for (sql, expected) in cases {
        let body = json!({"sql": format!("SELECT {sql} AS v")});
        let line = ask(&test, Some("application/x-ndjson"), body.clone()).await.text().await.unwrap();
        assert_eq!(line, format!("{{\"v\":{expected}}}\n"), "{sql}");
        for accept in ["text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"] {
            let answer = ask(&test, Some(accept), body.clone()).await;
            assert_eq!(answer.status(), 200, "{sql} as {accept}");
            answer.bytes().await.unwrap();
        }
    }
    let odd = json!({"sql": "SELECT CAST('NaN' AS DOUBLE) AS a, CAST('inf' AS REAL) AS b, NULL AS c"});
    assert_eq!(ask(&test, Some("text/csv"), odd).await.text().await.unwrap(), "a,b,c\nNaN,Infinity,\n");
    let list = ask(&test, Some("text/csv"), json!({"sql": "SELECT make_array('a', 'b') AS v"})).await;
    assert_eq!(list.text().await.unwrap(), "v\n\"[\"\"a\"\",\"\"b\"\"]\"\n");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound_by_position() {
    let test = TestServer::start().await;
    let cases = [
        (json!({"sql": "SELECT $1 + 1 AS n, $2 AS t", "params": [41, "x"]}), json!([[42, "x"]])),
        (json!({"sql": "SELECT ? AS a, ? AS b, ? AS c", "params": [true, null, 0.5]}), json!([[true, null, 0.5]])),
        (json!({"sql": "SELECT DATE '1950-01-02' = $1 AS d", "params": ["1950-01-02"]}), json!([[true]])),
        (json!({"sql": "SELECT $1 AS s", "params": ["'; DROP TABLE x"]}), json!([["'; DROP TABLE x"]])),
    ];
    for (body, rows) in cases {
        let answer: Value = ask(&test, None, body.clone()).await.json().await.unwrap();
        assert_eq!(answer["rows"], rows, "{body}");
    }
    for params in [json!([]), json!([1, 2])] {
        let answer = ask(&test, None, json!({"sql": "SELECT $1 AS n", "params": params})).await;
        assert_eq!(answer.status(), 400, "{params}");
    }
    test.stop().await;
}

#[rstest]
#[case("SELECT 1,\n  FRM patient", 400, "invalid_sql")]
#[case("SELECT 1; SELECT 2", 403, "refused")]
#[case("SELECT * FROM raw.nowhere.nothing", 404, "no_such_table")]
#[case("DROP TABLE raw.a.b", 403, "refused")]
#[case("COPY (SELECT 1) TO 'x.csv'", 403, "refused")]
#[tokio::test(flavor = "multi_thread")]
async fn wrong_statements_are_told_apart(#[case] sql: &str, #[case] status: u16, #[case] code: &str) {
    let test = TestServer::start().await;
    let answer = ask(&test, None, json!({"sql": sql})).await;
    assert_eq!(answer.status(), status);
    assert!(content_type(&answer).starts_with("application/json"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    if sql.contains("FRM") {
        assert_eq!((&body["error"]["line"], &body["error"]["line_text"]), (&json!(2), &json!("  FRM patient")));
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_statement_is_refused_before_it_runs() {
    let test = TestServer::start().await;
    let token = test.admin_token();
    let client = reqwest::Client::new();
    let post = || client.post(test.http("/api/v1/sql"));
    let cases = [
        (post().json(&json!({"sql": "SELECT 1"})), 401),
        (post().bearer_auth("mavis_wrong").json(&json!({"sql": "SELECT 1"})), 401),
        (post().bearer_auth(&token).body("SELECT 1"), 415),
        (post().bearer_auth(&token).header(CONTENT_TYPE, "application/json").body("{"), 400),
        (post().bearer_auth(&token).json(&json!({"query": "SELECT 1"})), 400),
        (post().bearer_auth(&token).json(&json!({"sql": "SELECT $1", "params": [[1]]})), 400),
        (post().bearer_auth(&token).header(ACCEPT, "text/html").json(&json!({"sql": "SELECT 1"})), 406),
        (post().bearer_auth(&token).query(&[("format", "xml")]).json(&json!({"sql": "SELECT 1"})), 400),
        (client.get(test.http("/api/v1/sql")).bearer_auth(&token), 405),
    ];
    for (number, (request, status)) in cases.into_iter().enumerate() {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "case {number}");
        if status == 401 {
            assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        }
        if status != 405 {
            let body: Value = answer.json().await.unwrap();
            assert!(body["error"]["message"].is_string(), "case {number}: {body}");
        }
    }
    let overridden = post().bearer_auth(&token).query(&[("format", "csv")]).header(ACCEPT, "text/html");
    let answer = overridden.json(&json!({"sql": "SELECT 1 AS a"})).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "a\n1\n");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_come_whole_and_in_pieces() {
    let test = TestServer::start().await;
    let lines = ask(&test, Some("application/x-ndjson"), json!({"sql": format!("{MANY} ORDER BY n")})).await;
    assert!(lines.headers().get("content-length").is_none(), "streamed");
    let text = lines.text().await.unwrap();
    assert_eq!(text.lines().count(), 100_000);
    assert_eq!(text.lines().last().unwrap(), "{\"n\":99999}");
    let json: Value = ask(&test, None, json!({"sql": MANY})).await.json().await.unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 100_000);
    let parquet = ask(&test, Some("application/vnd.apache.parquet"), json!({"sql": MANY})).await.bytes().await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap().build().unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 100_000);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_first_rows_is_seen() {
    let test = TestServer::start().await;
    for accept in
        ["application/json", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"]
    {
        let answer = ask(&test, Some(accept), json!({"sql": BREAKS})).await;
        assert_eq!(answer.status(), 200, "{accept}: rows came first");
        assert!(answer.bytes().await.is_err(), "{accept}: the transfer is broken off");
    }
    let lines = ask(&test, Some("application/x-ndjson"), json!({"sql": BREAKS})).await.text().await.unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last["error"]["message"].is_string(), "{last}");
    assert!(lines.lines().count() > 1_000);
    // One that fails at once has the status of its error.
    let once = ask(&test, None, json!({"sql": "SELECT 1 / (n - n) FROM (SELECT unnest(range(0, 3)) AS n)"})).await;
    assert_eq!(once.status(), 400);
    test.stop().await;
}

#[rstest]
#[case("SELECT CAST('Durand' AS INT)")]
#[case("SELECT 1/0")]
#[case("SELECT CAST(name AS INT) FROM (SELECT 'Durand' || n AS name FROM (SELECT unnest(range(0, 3)) AS n))")]
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_is_the_callers_to_mend(#[case] sql: &str) {
    let test = TestServer::start().await;
    let answer = ask(&test, None, json!({"sql": sql})).await;
    assert_eq!(answer.status(), 400);
    let body = answer.text().await.unwrap();
    assert!(!body.contains("Durand") && !body.contains("the server failed"), "{body}");
    let told = test.mavis(&["sql", sql]).await;
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(!told.contains("Durand") && !told.contains("the server failed"), "{told}");
    test.stop().await;
}

async fn small(change: impl FnOnce(&mut Config)) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder.path().join("data"));
    change(&mut config);
    let server = Box::pin(Server::start_with(config, mavis_connectors::Secrets::from_pairs([]))).await.unwrap();
    TestServer { server, folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_its_query_and_a_full_queue_says_when_to_come_back() {
    let test = small(|config| {
        config.query.concurrent = 1;
        config.query.queued = 0;
    })
    .await;
    let (url, token) = (test.http("/api/v1/sql"), test.admin_token());
    let long = tokio::spawn(async move {
        let client = reqwest::Client::new();
        loop {
            let request = client.post(&url).bearer_auth(&token).json(&json!({"sql": ENDLESS}));
            let status = request.send().await.map(|answer| answer.status().as_u16());
            // The place may be taken by one of those that ask below whether it is.
            if !matches!(status, Ok(503)) {
                break status;
            }
        }
    });
    // It runs when another one finds no place.
    let end = Instant::now() + Duration::from_secs(20);
    let mut number = 0;
    let full = loop {
        assert!(Instant::now() < end && !long.is_finished(), "the long query does not run: {:?}", long.is_finished());
        // An answer that is kept takes no place.
        number += 1;
        let answer = ask(&test, None, json!({"sql": format!("SELECT {number}")})).await;
        if answer.status() == 503 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(full.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    long.abort();
    drop(long.await);
    let freed = Instant::now();
    while ask(&test, None, json!({"sql": "SELECT 'free'"})).await.status() != 200 {
        assert!(freed.elapsed() < Duration::from_secs(10), "the query of a client that went away still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_stopped() {
    let test = small(|config| config.query.time_seconds = 1).await;
    let answer = ask(&test, None, json!({"sql": ENDLESS})).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_counted_and_audited_without_their_text() {
    let test = TestServer::start().await;
    let reader = test.token("reader", pb::Role::Reader, &[]).await;
    let sql = "SELECT name, 'Jeanne Martin' AS who FROM system.catalog.sources";
    assert_eq!(ask_as(&test, &reader, None, json!({"sql": sql})).await.status(), 200);
    assert_eq!(ask_as(&test, &reader, None, json!({"sql": "DROP TABLE raw.a.b"})).await.status(), 403);
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let entries = test.server.app().catalog.audit_entries(100).await.unwrap();
        let queries: Vec<_> =
            entries.iter().filter(|entry| entry.action == "query" || entry.action == "write").collect();
        let told = |object: &str, allowed: bool| {
            queries
                .iter()
                .any(|e| e.object == object && e.allowed == allowed && e.actor == "reader" && e.door == "http")
        };
        if told("system.catalog.sources", true) && told("raw.a.b", false) {
            assert!(!format!("{entries:?}").contains("Jeanne"));
            break;
        }
        assert!(Instant::now() < end, "{queries:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ask = |token: &str| reqwest::Client::new().get(test.http("/metrics")).bearer_auth(token).send();
    assert_eq!(ask(&reader).await.unwrap().status(), 403, "they tell of everybody");
    let prometheus = test.token("prometheus", pb::Role::Engineer, &[]).await;
    let metrics = ask(&prometheus).await.unwrap();
    assert!(metrics.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    let metrics = metrics.text().await.unwrap();
    for line in [
        "mavis_queries_total{door=\"http\",outcome=\"ok\"}",
        "mavis_queries_total{door=\"http\",outcome=\"refused\"}",
        "# TYPE mavis_query_seconds",
        "process_resident_memory_bytes ",
        "mavis_runs{state=\"failed\"} ",
    ] {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_who_asks() {
    let test = TestServer::start().await;
    let ask = |encoding: &'static str, accept: &'static str| {
        let request = reqwest::Client::builder().no_gzip().build().unwrap().post(test.http("/api/v1/sql"));
        request
            .bearer_auth(test.admin_token())
            .header("accept-encoding", encoding)
            .header(ACCEPT, accept)
            .json(&json!({"sql": MANY}))
            .send()
    };
    for encoding in ["gzip", "zstd"] {
        let answer = ask(encoding, "text/csv").await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        assert!(answer.bytes().await.unwrap().len() < 400_000);
    }
    let plain = ask("gzip", "application/vnd.apache.parquet").await.unwrap();
    assert!(plain.headers().get("content-encoding").is_none());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_id_and_gets_one_where_it_has_none() {
    let test = TestServer::start().await;
    let client = reqwest::Client::new();
    let live = client.get(test.http("/health/live")).header("x-request-id", "abc-1").send().await.unwrap();
    assert_eq!(live.headers()["x-request-id"], "abc-1");
    let odd = client.get(test.http("/nothing")).header("x-request-id", "a b").send().await.unwrap();
    assert_eq!(odd.status(), 404);
    assert_eq!(odd.headers()["x-request-id"].len(), 36);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_sent_before_the_query_is_through() {
    let test = TestServer::start().await;
    let sql = "SELECT a.n FROM (SELECT unnest(range(0, 50000)) AS n) a, (SELECT unnest(range(0, 50000)) AS n) b";
    let answer = ask(&test, Some("application/x-ndjson"), json!({"sql": sql})).await;
    let mut body = answer.bytes_stream();
    let mut read = 0;
    while read < 1_000_000 {
        read += body.next().await.unwrap().unwrap().len();
    }
    drop(body);
    test.stop().await;
}

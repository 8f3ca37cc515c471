//! Servers that stall, cut, repeat, refuse, and say that all is well when it is not.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use super::{connect, patients, read};
use crate::stub::{Asked, Reply, Stub};

const PAGES: usize = 4;

fn page(asked: &Asked) -> Value {
    let page = asked.number("page", 1);
    if page > PAGES { json!([]) } else { json!(patients((page - 1) * 5, page * 5)) }
}

fn by_page() -> Value {
    json!({"tables": {"t": {"key": ["id"], "paging": {"type": "page"}}}})
}

/// Bad once, on the third page, then as it should be.
#[rstest]
#[case::stall(|_: &Asked| Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n[{\"id\": 10".to_vec()))]
#[case::silence(|_: &Asked| Reply::Stall(Vec::new()))]
#[case::cut(|asked: &Asked| Reply::cut("application/json", &page(asked).to_string(), 60))]
#[case::cut_without_a_length(|asked: &Asked| {
    let body = page(asked).to_string();
    Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{}", &body[..body.len() - 9]).into_bytes())
})]
#[case::cut_in_a_chunk(|_: &Asked| {
    Reply::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[{\"id\r\n".to_vec())
})]
#[case::closed(|_: &Asked| Reply::Raw(Vec::new()))]
#[case::too_many(|_: &Asked| Reply::status(429).with("Retry-After", "1"))]
#[case::broken(|_: &Asked| Reply::status(500))]
#[case::repeated(|_: &Asked| Reply::json(json!(patients(5, 10))))]
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_answer_is_asked_for_again_and_no_row_comes_twice_or_is_missing(#[case] bad: fn(&Asked) -> Reply) {
    let stub = Stub::start(move |asked, before| if before == 2 { bad(asked) } else { Reply::json(page(asked)) }).await;
    let source = connect(&stub.url, by_page()).unwrap();
    let reading = read(source.as_ref(), "t", None).await.unwrap();
    let ids: Vec<String> = reading.rows.iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..PAGES * 5).map(|number| format!("id={number}")).collect::<Vec<_>>());
    assert!(reading.whole && reading.rejects.is_empty());
    assert_eq!(stub.asked().len(), PAGES + 2, "each page once, the bad one twice, and the empty one");
}

/// Bad on every try of the third page.
#[rstest]
#[case::stall(|_: &Asked| Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n[".to_vec()), "stalls", true)]
#[case::cut(|asked: &Asked| Reply::cut("application/json", &page(asked).to_string(), 60), "broke off", true)]
#[case::broken(|_: &Asked| Reply::status(500), "500", true)]
#[case::busy(|_: &Asked| Reply::status(429).with("Retry-After", "3600"), "come back in 3600 s", true)]
#[case::forbidden(|_: &Asked| Reply::status(403), "403", false)]
#[case::gone(|_: &Asked| Reply::status(404), "404", false)]
#[case::repeated(|_: &Asked| Reply::json(json!(patients(5, 10))), "page 3 came back the same as page 2, twice", false)]
#[case::html(|_: &Asked| Reply::of(200, "text/html", "<html>session expired</html>"), "a page of HTML", false)]
#[case::html_as_json(|_: &Asked| Reply::of(200, "application/json", " <!DOCTYPE html><html>"), "a page of HTML", false)]
#[case::error_object(|_: &Asked| Reply::json(json!({"error": "zebra"})), "is it an error message?", false)]
#[case::null(|_: &Asked| Reply::json("null"), "null where the list of records", false)]
#[case::not_json(|_: &Asked| Reply::json("[{\"id\": zebra}]"), "not valid JSON", false)]
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stays_bad_ends_the_reading_with_the_reason(
    #[case] bad: fn(&Asked) -> Reply,
    #[case] part: &str,
    #[case] transient: bool,
) {
    let stub =
        Stub::start(move |asked, _| if asked.number("page", 1) == 3 { bad(asked) } else { Reply::json(page(asked)) })
            .await;
    let source = connect(&stub.url, by_page()).unwrap();
    let started = Instant::now();
    let error = read(source.as_ref(), "t", None).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(error.is_transient(), transient, "{error}");
    let error = error.to_string();
    assert!(error.contains(part), "{error}");
    assert!(!error.contains("zebra"), "{error}");
}

#[rstest]
#[case(json!({"type": "page", "parameter": "p"}), "does not go by p")]
#[case(json!({"type": "offset"}), "does not go by offset")]
#[case(json!({"type": "cursor", "parameter": "after", "next": "next"}), "came back the same")]
#[case(json!({"type": "next", "next": "here"}), "leads back to a page that was read")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_the_same_for_ever_is_told(#[case] paging: Value, #[case] part: &str) {
    let stub = Stub::start(|_, before| {
        Reply::json(json!({"data": patients(0, 5), "next": format!("word {before}"), "here": "/?again=1"}))
    })
    .await;
    let source = connect(&stub.url, json!({"tables": {"t": {"records": "data", "paging": paging}}})).unwrap();
    let error = read(source.as_ref(), "t", None).await.unwrap_err().to_string();
    assert!(error.contains(part) || error.contains("came back the same"), "{error}");
    assert!(stub.asked().len() <= 4, "{}", stub.asked().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_to_the_next_page_come_once_and_a_list_that_loses_rows_is_told() {
    // Between page 1 and 2 a row is inserted at the beginning: row 4 comes again.
    let shifted = |asked: &Asked| match asked.number("page", 1) {
        1 => json!(patients(0, 5)),
        2 => json!(patients(4, 9)),
        _ => json!([]),
    };
    let stub = Stub::start(move |asked, _| Reply::json(shifted(asked))).await;
    let source = connect(&stub.url, by_page()).unwrap();
    assert_eq!(read(source.as_ref(), "t", None).await.unwrap().rows.len(), 9);

    // A row is deleted from what was read: with an overlap that is seen.
    let moved = |asked: &Asked| match asked.number("offset", 0) {
        0 => json!(patients(0, 5)),
        _ => json!(patients(5, 10)),
    };
    let stub = Stub::start(move |asked, _| Reply::json(moved(asked))).await;
    let paging = json!({"tables": {"t": {"paging": {"type": "offset", "overlap": 1}}}});
    let error = read(connect(&stub.url, paging).unwrap().as_ref(), "t", None).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("the list moved"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_records_than_the_server_says_are_an_error() {
    let stub = Stub::start(|asked, _| {
        let rows = if asked.number("page", 1) == 1 { patients(0, 5) } else { Vec::new() };
        Reply::json(json!(rows)).with("X-Total-Count", "12")
    })
    .await;
    let paging = json!({"tables": {"t": {"paging": {"type": "page", "total": "header:X-Total-Count"}}}});
    let error = read(connect(&stub.url, paging).unwrap().as_ref(), "t", None).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("says 12 records and gave 5"), "{error}");
}

#[rstest]
#[case(json!({"type": "bearer"}))]
#[case(json!({"type": "basic", "user": "u"}))]
#[case(json!({"type": "header", "name": "X-Api-Key"}))]
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_carries_no_credentials(#[case] auth: Value) {
    let other = Stub::start(|_, _| Reply::json(json!(patients(0, 2)))).await;
    let there = other.url.clone();
    let stub = Stub::start(move |asked, _| match asked.path.as_str() {
        "/here" => Reply::json(json!(patients(0, 4))),
        "/moved" => Reply::status(302).with("Location", "/here"),
        _ => Reply::status(307).with("Location", &format!("{there}/files")),
    })
    .await;
    let params = json!({"auth": auth, "headers": {"X-Tenant": "t1"}, "tables": {"away": {"path": "away"}, "moved": {"path": "moved"}}});
    let source = connect(&stub.url, params).unwrap();
    assert_eq!(read(source.as_ref(), "moved", None).await.unwrap().rows.len(), 4);
    let last = stub.asked().pop().unwrap();
    assert!(
        last.headers
            .values()
            .any(|value| value.contains("tiger") || value.contains("dGlnZXI") || value.starts_with("Basic"))
    );
    assert_eq!(read(source.as_ref(), "away", None).await.unwrap().rows.len(), 2);
    for asked in other.asked() {
        for name in ["authorization", "x-api-key", "x-tenant", "cookie"] {
            assert!(!asked.headers.contains_key(name), "{asked:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_page_on_another_host_is_refused_unless_declared() {
    let other = Stub::start(|_, _| Reply::json(json!({"data": patients(5, 7), "next": null}))).await;
    let next = format!("{}/more", other.url);
    let stub = Stub::start(move |_, _| Reply::json(json!({"data": patients(0, 5), "next": next}))).await;
    let tables = json!({"t": {"records": "data", "paging": {"type": "next", "next": "next"}}});
    let source = connect(&stub.url, json!({"tables": tables})).unwrap();
    let error = read(source.as_ref(), "t", None).await.unwrap_err().to_string();
    assert!(error.contains("`trusted_origins`") && other.asked().is_empty(), "{error}");
    let source = connect(&stub.url, json!({"tables": tables, "trusted_origins": [other.url]})).unwrap();
    assert_eq!(read(source.as_ref(), "t", None).await.unwrap().rows.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_never_end_do() {
    let stub = Stub::start(|_, before| Reply::status(302).with("Location", &format!("/{before}"))).await;
    let error = read(connect(&stub.url, json!({})).unwrap().as_ref(), "export", None).await.unwrap_err().to_string();
    assert!(error.contains("redirects more than"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_test_says_which_stage_failed() {
    let stages = |url: String| async move { connect(&url, json!({})).unwrap().check().await };
    let last = stages("http://no-such-host.invalid/".to_owned()).await.pop().unwrap();
    assert_eq!(last.stage, mavis_connectors::Stage::Name, "{last:?}");
    let last = stages("http://127.0.0.1:1/".to_owned()).await.pop().unwrap();
    assert_eq!(last.stage, mavis_connectors::Stage::Route, "{last:?}");
    let login = Stub::start(|_, _| Reply::of(200, "text/html", "<html>log in</html>")).await;
    let last = stages(login.url.clone()).await.pop().unwrap();
    assert_eq!(last.stage, mavis_connectors::Stage::Read, "{last:?}");
    assert!(last.message.contains("HTML"), "{last:?}");
}

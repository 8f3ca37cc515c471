//! Readings that ask only for what is new.

use std::sync::{Arc, Mutex};

use mavis_connectors::{
    ReadMode, Selection,
    testkit::{Expectation, assert_contract},
};
use serde_json::{Value, json};

use super::{connect, end, read};
use crate::stub::{Asked, Reply, Stub};

/// Rows with the time of their last change; `since` is inclusive, as most servers have it.
type Rows = Arc<Mutex<Vec<Value>>>;

fn row(id: usize, at: usize) -> Value {
    json!({"id": id, "at": format!("2024-01-01T00:00:{at:02}Z"), "n": null})
}

fn answer(rows: &Rows, asked: &Asked) -> Reply {
    let since = asked.query.get("since").cloned().unwrap_or_default();
    let mut found: Vec<Value> =
        rows.lock().unwrap().iter().filter(|row| row["at"].as_str().unwrap() >= since.as_str()).cloned().collect();
    found.sort_by_key(|row| row["at"].as_str().unwrap().to_owned());
    let start = asked.number("offset", 0).min(found.len());
    let page = &found[start..(start + 4).min(found.len())];
    Reply::json(json!({"data": page, "time": "2024-01-01T00:00:30Z"}))
}

fn declared(more: Value) -> Value {
    let mut incremental = json!({"parameter": "since", "column": "at"});
    incremental.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"tables": {"t": {"records": "data", "key": ["id"], "paging": {"type": "offset"}, "incremental": incremental}}})
}

async fn serve(rows: &Rows) -> Stub {
    let rows = Arc::clone(rows);
    Stub::start(move |asked, _| answer(&rows, asked)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_whether_the_server_sorts_or_not() {
    // Many rows of one time, at the end, too.
    let rows: Rows = Arc::new(Mutex::new((0..30).map(|id| row(id, id / 7)).collect()));
    let stub = serve(&rows).await;
    for sorted in [false, true] {
        let source = connect(&stub.url, declared(json!({"sorted": sorted}))).unwrap();
        let mode = source.discover(&Selection::default()).await.unwrap().tables[0].mode;
        assert_eq!(mode, ReadMode::Incremental);
        assert_contract(source.as_ref(), Expectation::default().table("t", 30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_comes_and_rows_of_the_last_moment_are_not_lost() {
    let rows: Rows = Arc::new(Mutex::new((0..9).map(|id| row(id, id)).collect()));
    let stub = serve(&rows).await;
    let source = connect(&stub.url, declared(json!({}))).unwrap();
    let first = read(source.as_ref(), "t", None).await.unwrap();
    assert_eq!((first.rows.len(), first.whole), (9, true));
    // Another row of the last second, one that is changed, one that is new.
    rows.lock().unwrap().extend([row(20, 8), row(21, 9)]);
    rows.lock().unwrap()[0] = row(0, 9);
    let second = read(source.as_ref(), "t", end(&first)).await.unwrap();
    let mut ids: Vec<&str> = second.rows.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["id=0", "id=20", "id=21"]);
    assert!(!second.whole);
    assert_eq!(stub.asked().last().unwrap().query["since"], "2024-01-01T00:00:08Z");
    let third = read(source.as_ref(), "t", end(&second)).await.unwrap();
    assert!(third.rows.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_brings_rows_that_became_visible_late_and_no_row_twice() {
    let rows: Rows = Arc::new(Mutex::new((0..9).map(|id| row(id, id)).collect()));
    let stub = serve(&rows).await;
    let source = connect(&stub.url, declared(json!({"overlap_seconds": 5}))).unwrap();
    let first = read(source.as_ref(), "t", None).await.unwrap();
    rows.lock().unwrap().push(row(50, 4));
    let second = read(source.as_ref(), "t", end(&first)).await.unwrap();
    assert_eq!(second.rows.len(), 1, "{:?}", second.rows);
    assert!(second.rows[0].contains("id=50"));
    let third = read(source.as_ref(), "t", end(&second)).await.unwrap();
    assert!(third.rows.is_empty(), "{:?}", third.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_the_first_reading_found_hold_for_the_next() {
    let rows: Rows = Arc::new(Mutex::new(vec![json!({"id": 1, "at": "2024-01-01T00:00:00Z", "n": 5})]));
    let stub = serve(&rows).await;
    let first = read(connect(&stub.url, declared(json!({}))).unwrap().as_ref(), "t", None).await.unwrap();
    // A later reading sees only nulls, in another process.
    rows.lock().unwrap().push(row(2, 1));
    let second = read(connect(&stub.url, declared(json!({}))).unwrap().as_ref(), "t", end(&first)).await.unwrap();
    assert_eq!(second.batches[0].schema(), first.batches[0].schema());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_may_say_what_to_ask_with_next_time() {
    let rows: Rows = Arc::new(Mutex::new((0..3).map(|id| row(id, id)).collect()));
    let stub = serve(&rows).await;
    let mut params = declared(json!({"answer": "time", "initial": "2000"}));
    params["tables"]["t"]["incremental"].as_object_mut().unwrap().remove("column");
    let source = connect(&stub.url, params).unwrap();
    let first = read(source.as_ref(), "t", None).await.unwrap();
    assert_eq!((first.rows.len(), first.whole), (3, false), "what was before `initial` was not asked for");
    read(source.as_ref(), "t", end(&first)).await.unwrap();
    let asked: Vec<String> = stub.asked().iter().map(|asked| asked.query["since"].clone()).collect();
    assert_eq!((asked[0].as_str(), asked.last().unwrap().as_str()), ("2000", "2024-01-01T00:00:30Z"));
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod answers;
mod dates;
mod refusals;
mod results;

use arrow::array::{AsArray, RecordBatch};
use chrono::{DateTime, TimeZone, Utc};
use datafusion::prelude::SessionContext;

use super::*;
use crate::{
    json,
    shape::{Encoder, Meta, patient_of},
};

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 1, 1, 0, 0, 0).unwrap()
}

/// A current table with these resources; their ids are in them.
fn table(resource: &str, texts: &[&str]) -> RecordBatch {
    let resource: ResourceType = resource.parse().unwrap();
    let mut encoder = Encoder::new(resource, None);
    for (index, text) in texts.iter().enumerate() {
        let value = json::parse(text.as_bytes()).expect(text);
        let id = value.get("id").and_then(json::Value::as_str).unwrap();
        assert!(patient_of(resource, &value, id).is_none_or(|patient| !patient.is_empty()));
        let last_updated = now() + chrono::Duration::hours(i64::try_from(index).unwrap());
        let meta = Meta { id, version: 1, last_updated, source: "s", run: "r", hash: [0; 16] };
        encoder.push(&value, text, &meta);
    }
    encoder.finish().unwrap()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn compiled(resource: &str, table: &RecordBatch, query: &str, handling: Handling) -> Result<Search, SearchError> {
    compile(resource.parse().unwrap(), &pairs(query), table.schema_ref(), handling, now())
}

/// Ids of the matches, in the order of the answer.
fn answer(resource: &str, table: &RecordBatch, query: &str) -> Vec<String> {
    let search = compiled(resource, table, query, Handling::Strict).unwrap_or_else(|error| panic!("{query}: {error}"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let context = SessionContext::new();
        let mut frame = context.read_batch(table.clone()).unwrap();
        if let Some(filter) = search.filter {
            frame = frame.filter(filter).unwrap();
        }
        let batches = frame.sort(search.sort).unwrap().select_columns(&["id"]).unwrap().collect().await.unwrap();
        let ids = |batch: &RecordBatch| -> Vec<String> {
            batch.column(0).as_string::<i32>().iter().map(|id| id.unwrap().to_owned()).collect()
        };
        batches.iter().flat_map(ids).collect()
    })
}

fn ids(query: &str, resource: &str, table: &RecordBatch) -> String {
    answer(resource, table, query).join(" ")
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod answers;
mod chains;
mod composites;
mod concepts;
mod dates;
mod includes;
mod letter;
mod reach;
mod refusals;
mod results;

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use chrono::{DateTime, TimeZone, Utc};
use datafusion::prelude::{DataFrame, SessionContext};

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

/// Current tables by type.
type Tables = BTreeMap<ResourceType, RecordBatch>;

fn tables(all: &[(&str, &[&str])]) -> Tables {
    all.iter().map(|(resource, texts)| (resource.parse().unwrap(), table(resource, texts))).collect()
}

fn one(resource: &str, table: &RecordBatch) -> Tables {
    BTreeMap::from([(resource.parse().unwrap(), table.clone())])
}

fn search(resource: &str, tables: &Tables, query: &str, handling: Handling) -> Result<Search, SearchError> {
    search_knowing(resource, tables, query, handling, None)
}

fn search_knowing(
    resource: &str,
    tables: &Tables,
    query: &str,
    handling: Handling,
    codes: Option<&KnownCodes>,
) -> Result<Search, SearchError> {
    let schemas = tables.iter().map(|(resource, table)| (*resource, table.schema())).collect();
    let parameters = pairs(query);
    let base = Some("https://here.org/fhir");
    let request = Request { parameters: &parameters, handling, now: now(), base, types: &[], codes };
    let resource = resource.parse().unwrap();
    // what is asked for before the schemas are known is what is asked for with them
    let needed = super::tables(resource, request);
    let search = compile::compile(resource, request, &schemas).and_then(compile::Compiled::whole);
    match (needed, search) {
        (Ok(needed), Ok(compiled)) => {
            assert_eq!(needed, compiled.tables, "{query}");
            Ok(compiled.search)
        }
        (Err(one), Err(other)) => {
            assert_eq!(one, other, "{query}");
            Err(other)
        }
        (one, other) => panic!("{query}: {one:?} {:?}", other.map(|_| ())),
    }
}

fn compiled(resource: &str, table: &RecordBatch, query: &str, handling: Handling) -> Result<Search, SearchError> {
    search(resource, &one(resource, table), query, handling)
}

/// Ids of the matches, in the order of the answer.
fn answer(resource: &str, tables: &Tables, query: &str) -> Vec<String> {
    answer_knowing(resource, tables, query, None)
}

fn answer_knowing(resource: &str, tables: &Tables, query: &str, codes: Option<&KnownCodes>) -> Vec<String> {
    let found = search_knowing(resource, tables, query, Handling::Strict, codes);
    let found = found.unwrap_or_else(|error| panic!("{query}: {error}"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let context = SessionContext::new();
        let scan = |batch: &RecordBatch| context.read_batch(batch.clone()).unwrap().into_unoptimized_plan();
        let plans: Plans = tables.iter().map(|(resource, batch)| (*resource, scan(batch))).collect();
        let plan = narrow(resource.parse().unwrap(), &found.criteria, &plans).unwrap().unwrap();
        let frame = DataFrame::new(context.state(), plan);
        let batches = frame.sort(found.sort).unwrap().select_columns(&["id"]).unwrap().collect().await;
        let ids = |batch: &RecordBatch| -> Vec<String> {
            batch.column(0).as_string::<i32>().iter().map(|id| id.unwrap().to_owned()).collect()
        };
        batches.unwrap_or_else(|error| panic!("{query}: {error}")).iter().flat_map(ids).collect()
    })
}

fn ids(query: &str, resource: &str, table: &RecordBatch) -> String {
    answer(resource, &one(resource, table), query).join(" ")
}

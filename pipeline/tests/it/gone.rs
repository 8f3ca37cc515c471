//! A source that tells of deletions: they reach every zone, once, wherever a run ends.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::support::*;
use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use mavis_catalog::Step;
use mavis_connectors::{
    Discovery, Error, ReadItem, ReadMode, ReadRequest, ReadStream, Selection, Source, SourceColumn, SourceKind,
    SourceTable, StageReport, TableKind, TableRef,
};
use mavis_types::Cursor;
use serde::{Deserialize, Serialize};

/// What happens to the table, one line of a file each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Row(i64, String),
    Gone(i64),
    Emptied,
    /// The reading breaks here, the first time.
    Break,
}

/// A table that is read on from the line where the last reading ended; its cursor counts lines.
struct Script;

#[derive(Debug)]
struct ScriptSource(PathBuf);

#[derive(Deserialize, schemars::JsonSchema)]
struct Params {
    path: PathBuf,
}

impl SourceKind for Script {
    const NAME: &'static str = "script";
    const SUMMARY: &'static str = "lines of a file";
    type Params = Params;

    fn connect(_: &str, params: Params, _: &mavis_connectors::Ambient) -> Result<Arc<dyn Source>, Error> {
        Ok(Arc::new(ScriptSource(params.path)))
    }
}

#[async_trait]
impl Source for ScriptSource {
    async fn check(&self) -> Vec<StageReport> {
        Vec::new()
    }

    async fn discover(&self, _: &Selection) -> Result<Discovery, Error> {
        let column = |name: &str, data_type| SourceColumn {
            name: name.to_owned(),
            data_type,
            nullable: true,
            source_type: String::new(),
            comment: None,
        };
        let table = SourceTable {
            table: TableRef { schema: None, name: "Person".to_owned() },
            kind: TableKind::Table,
            columns: vec![column("Id", DataType::Int64), column("Name", DataType::Utf8)],
            key: vec!["Id".to_owned()],
            foreign_keys: Vec::new(),
            comment: None,
            row_estimate: None,
            mode: ReadMode::Incremental,
        };
        Ok(Discovery { tables: vec![table], failures: Vec::new() })
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let from = request.from.as_ref().and_then(|cursor| cursor.0.as_u64()).unwrap_or(0);
        let at = |line: usize| Cursor((from + line as u64).into());
        let lines = events(&self.0);
        let mut items: Vec<Result<ReadItem, Error>> = Vec::new();
        let rest = &lines[usize::try_from(from).unwrap()..];
        for (number, event) in rest.iter().enumerate() {
            let key: ArrayRef = Arc::new(Int64Array::from(match event {
                Event::Row(id, _) | Event::Gone(id) => vec![*id],
                _ => Vec::new(),
            }));
            let id = Field::new("Id", DataType::Int64, true);
            items.push(match event {
                Event::Row(_, name) => {
                    let schema = Schema::new(vec![id, Field::new("Name", DataType::Utf8, true)]);
                    let name: ArrayRef = Arc::new(StringArray::from(vec![name.as_str()]));
                    Ok(ReadItem::Batch(RecordBatch::try_new(Arc::new(schema), vec![key, name]).unwrap()))
                }
                Event::Gone(_) => {
                    Ok(ReadItem::Gone(RecordBatch::try_new(Arc::new(Schema::new(vec![id])), vec![key]).unwrap()))
                }
                Event::Emptied => Ok(ReadItem::Emptied),
                Event::Break if request.sample => continue,
                Event::Break => {
                    let mark = self.0.with_extension(format!("broken-{}", from + number as u64));
                    if mark.exists() {
                        continue;
                    }
                    std::fs::write(mark, "").unwrap();
                    Err(Error::Interrupted { place: "the script".to_owned(), reason: "it says so".to_owned() })
                }
            });
            items.push(Ok(ReadItem::Cursor(at(number + 1))));
        }
        items.push(Ok(ReadItem::End { cursor: Some(at(rest.len())), whole: from == 0 }));
        Ok(stream::iter(items).boxed())
    }
}

fn events(path: &Path) -> Vec<Event> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn append(path: &Path, more: &[Event]) {
    let mut text = std::fs::read_to_string(path).unwrap_or_default();
    for event in more {
        text.push_str(&serde_json::to_string(event).unwrap());
        text.push('\n');
    }
    std::fs::write(path, text).unwrap();
}

const PERSON: &str = r#"
version = 1
resource = "Patient"
from = "processed.hr.person p"
key = "p.id"
[set]
"name[0].family" = "p.name"
"#;

async fn people(house: &House) -> (Life, PathBuf) {
    let path = house.path("script.jsonl");
    append(&path, &[Event::Row(1, "Ann".into()), Event::Row(2, "Bob".into()), Event::Row(3, "Cid".into())]);
    let registry = mavis_connectors::Registry::built_in().with::<Script>();
    let life = house.start_with(registry).await;
    life.add("hr", "script", serde_json::json!({ "path": path })).await;
    life.pipeline.discover(&me(), &name("hr")).await.unwrap();
    life.pipeline.apply_mapping(&me(), "hr.person", PERSON).await.unwrap();
    (life, path)
}

async fn rows(life: &Life, table: &str) -> Vec<String> {
    let text = "SELECT concat(arrow_cast(id, 'Utf8'), '=', name) FROM t ORDER BY id";
    life.ask(table, text).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_reach_processed_and_fhir_as_those_of_a_compared_source_do() {
    let house = House::new();
    let (life, path) = people(&house).await;
    assert!(completed(&life.ingest("hr").await));
    assert_eq!(life.count("fhir.r4.patient").await, 3);
    append(&path, &[Event::Gone(2), Event::Row(4, "Dan".into()), Event::Row(3, "Cyd".into()), Event::Break]);
    let run = life.ingest("hr").await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(rows(&life, "raw.hr.person").await, ["1=Ann", "3=Cyd", "4=Dan"]);
    assert_eq!(rows(&life, "processed.hr.person").await, ["1=Ann", "3=Cyd", "4=Dan"]);
    let counts = life.counts(run.id, Step::ToRaw, "raw.hr.person").await;
    assert_eq!((counts.read, counts.inserted, counts.updated, counts.deleted), (2, 1, 1, 1));
    let fhir = life.counts(run.id, Step::ToFhir, "fhir.r4.patient").await;
    assert_eq!((fhir.inserted, fhir.updated, fhir.deleted), (1, 1, 1));
    assert_eq!(life.count("fhir.r4_history.patient").await, 6, "the end of a row is a version");
    append(&path, &[Event::Emptied, Event::Row(1, "Ann".into())]);
    let run = life.ingest("hr").await;
    assert_eq!(rows(&life, "processed.hr.person").await, ["1=Ann"]);
    let counts = life.counts(run.id, Step::ToRaw, "raw.hr.person").await;
    assert_eq!((counts.read, counts.unchanged, counts.deleted), (1, 1, 2));
    assert_eq!(life.count("fhir.r4.patient").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_read_from_its_beginning_again_loses_what_the_source_lost_meanwhile() {
    let house = House::new();
    let (life, path) = people(&house).await;
    assert!(completed(&life.ingest("hr").await));
    // The script is another one now, as if its log had been lost; only a full ingest may go on.
    std::fs::remove_file(&path).unwrap();
    append(&path, &[Event::Row(1, "Ann".into()), Event::Row(7, "Eva".into())]);
    let full = mavis_pipeline::IngestRequest { full: true, ..request("hr") };
    let run = life.pipeline.start_run(&me(), mavis_types::RunId::new(), full).await.unwrap();
    assert!(completed(&life.wait(run.id).await));
    assert_eq!(rows(&life, "raw.hr.person").await, ["1=Ann", "7=Eva"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_changes_in_runs_cut_anywhere_arrive_once_in_raw_and_processed() {
    let house = House::new();
    let (life, path) = people(&house).await;
    let mut seed = 11_u64;
    let mut dice = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    let mut model: BTreeMap<i64, String> =
        [(1, "Ann"), (2, "Bob"), (3, "Cid")].map(|(id, name)| (id, name.to_owned())).into();
    for round in 0..6 {
        let mut more = Vec::new();
        for _ in 0..dice(25) {
            let id = i64::try_from(dice(9)).unwrap();
            more.push(match dice(12) {
                0 => Event::Emptied,
                1 => Event::Break,
                2..=4 => Event::Gone(id),
                _ => Event::Row(id, format!("n{}", dice(5))),
            });
        }
        for event in &more {
            match event {
                Event::Row(id, name) => drop(model.insert(*id, name.clone())),
                Event::Gone(id) => drop(model.remove(id)),
                Event::Emptied => model.clear(),
                Event::Break => {}
            }
        }
        append(&path, &more);
        // Each break is one try; a unit has four of them within a run.
        while !completed(&life.ingest("hr").await) {}
        let expected: Vec<String> = model.iter().map(|(id, name)| format!("{id}={name}")).collect();
        assert_eq!(rows(&life, "raw.hr.person").await, expected, "round {round}");
        assert_eq!(rows(&life, "processed.hr.person").await, expected, "round {round}");
        assert_eq!(life.count("fhir.r4.patient").await, expected.len() as u64, "round {round}");
    }
}

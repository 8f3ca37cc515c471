//! A source with a slot of its own, and what a model in memory makes of its readings.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use crate::postgres::{Database, table};
use futures::FutureExt;
use mavis_connectors::{
    Error, ReadRequest, Source, TableRef,
    testkit::{Reading, read_all},
};
use mavis_types::Cursor;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

/// A table of the lake, as it would be.
#[derive(Default)]
pub(super) struct Copy {
    pub(super) key: Vec<&'static str>,
    pub(super) rows: BTreeMap<String, String>,
    pub(super) cursor: Option<Cursor>,
    /// Rows that came, whatever became of them.
    pub(super) read: usize,
}

/// A source with a slot of its own, which goes with it.
pub(super) struct House {
    pub(super) database: Database,
    pub(super) slot: String,
    pub(super) copies: BTreeMap<&'static str, Copy>,
    pub(super) kept: Option<Cursor>,
}

/// Runs a test and drops its slot, also where it fails.
pub(super) async fn with<F>(statements: &str, test: impl FnOnce(House) -> F)
where
    F: Future<Output = ()>,
{
    let Some(database) = Database::with(statements).await else { return };
    let slot = format!("t_{}", uuid::Uuid::new_v4().simple());
    let url = database.url.clone();
    let house = House { database, slot: slot.clone(), copies: BTreeMap::new(), kept: None };
    let outcome = AssertUnwindSafe(test(house)).catch_unwind().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut dropped = false;
    for _ in 0..50 {
        let text =
            format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'");
        dropped = connection.execute(sqlx::AssertSqlSafe(text)).await.is_ok();
        if dropped {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert!(dropped, "the slot is in use by somebody");
}

impl House {
    pub(super) fn copy(mut self, table: &'static str, key: &[&'static str]) -> Self {
        self.copies.insert(table, Copy { key: key.to_vec(), ..Copy::default() });
        self
    }

    pub(super) fn source(&self) -> Arc<dyn Source> {
        self.source_with(json!({}))
    }

    pub(super) fn source_with(&self, more: serde_json::Value) -> Arc<dyn Source> {
        let mut replication = json!({ "slot": self.slot, "publication": "mavis" });
        replication.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.database.source(json!({ "replication": replication }))
    }

    /// One table of one run; what it committed stays.
    pub(super) async fn read(&mut self, source: &dyn Source, name: &str) -> Result<Reading, Error> {
        let copy = self.copies.get_mut(name).unwrap();
        let request = ReadRequest { from: copy.cursor.clone(), batch_rows: 50, ..ReadRequest::whole(table(name)) };
        let reading = read_all(source, request).await?;
        reading.apply(&copy.key, &mut copy.rows);
        copy.read += reading.rows.len();
        if let Some((cursor, ..)) = reading.cursors.last() {
            copy.cursor = Some(Cursor::from_json(&cursor.to_json()).unwrap());
        }
        Ok(reading)
    }

    /// The end of a run.
    pub(super) async fn settle(&mut self, source: &dyn Source) -> Vec<String> {
        let committed: Vec<(TableRef, Cursor)> =
            self.copies.iter().filter_map(|(name, copy)| Some((table(name), copy.cursor.clone()?))).collect();
        let settled = source.settle(&committed).await.unwrap();
        if let Some(keep) = settled.keep {
            self.kept = Some(Cursor::from_json(&keep.to_json()).unwrap());
        }
        source.kept(self.kept.as_ref()).await.unwrap();
        settled.notes
    }

    /// A whole run over every table.
    pub(super) async fn run(&mut self) -> Vec<String> {
        let source = self.source();
        assert!(source.kept(self.kept.as_ref()).await.unwrap(), "such a source wants to be settled");
        let names: Vec<&'static str> = self.copies.keys().copied().collect();
        for name in names {
            self.read(&*source, name).await.unwrap();
        }
        self.settle(&*source).await
    }

    /// What the table holds now, read whole by another source.
    pub(super) async fn truth(&self, name: &str) -> BTreeMap<String, String> {
        let reading = read_all(&*self.database.source(json!({})), ReadRequest::whole(table(name))).await.unwrap();
        let mut rows = BTreeMap::new();
        reading.apply(&self.copies[name].key, &mut rows);
        rows
    }

    pub(super) async fn assert_same(&self, name: &str) {
        let (truth, rows) = (self.truth(name).await, &self.copies[name].rows);
        assert_eq!(rows, &truth, "`{name}`");
    }

    pub(super) async fn confirmed(&self) -> String {
        let slot = &self.slot;
        self.database
            .text(&format!("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{slot}'"))
            .await
    }
}

pub(super) const TWO: &str = "
    CREATE TABLE patient (id int PRIMARY KEY, name text, born date);
    CREATE TABLE stay (ward int, bed int, note text, PRIMARY KEY (bed, ward));
    INSERT INTO patient SELECT i, 'n' || i, '1980-01-01'::date + i FROM generate_series(1, 300) i;
    INSERT INTO stay SELECT i, i % 7, 'x' FROM generate_series(1, 100) i;
    CREATE PUBLICATION mavis FOR TABLE patient, stay";

pub(super) fn two(house: House) -> House {
    house.copy("patient", &["id"]).copy("stay", &["bed", "ward"])
}

//! The contract that every connector passes; its tests call [`assert_contract`] with a source they know.
//!
//! The suite reads the source only through the trait, so what it proves holds for the pipeline too: nothing is lost,
//! nothing comes twice, whatever cursor a reading starts from.

#![allow(clippy::expect_used, clippy::panic, reason = "a broken contract fails the test that asks")]

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, new_null_array},
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::StreamExt;
use mavis_types::Cursor;

use crate::{
    Discovery, Error, ReadItem, ReadMode, ReadRequest, Selection, Source, SourceTable, StageOutcome, TableRef,
};

/// What a test knows about its source.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// Each table as `schema.name` or `name`, with the rows and the rejects that a reading from the beginning yields.
    pub tables: BTreeMap<String, Rows>,
}

/// How many records of a table can and cannot be rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
    pub rows: usize,
    pub rejects: usize,
}

impl Expectation {
    /// Adds a table that has only good records.
    #[must_use]
    pub fn table(self, name: &str, rows: usize) -> Self {
        self.table_with_rejects(name, rows, 0)
    }

    /// Adds a table of which some records cannot be rows.
    #[must_use]
    pub fn table_with_rejects(mut self, name: &str, rows: usize, rejects: usize) -> Self {
        self.tables.insert(name.to_owned(), Rows { rows, rejects });
        self
    }
}

/// Everything that one reading yielded, in order.
#[derive(Debug, Clone)]
pub struct Reading {
    /// One text per row: `column=value` of its non-null columns, sorted by column.
    pub rows: Vec<String>,
    /// Origin, reason and payload of each reject.
    pub rejects: Vec<(String, String, String)>,
    /// Each cursor with the number of rows and of rejects yielded before it; the one of the end is the last.
    pub cursors: Vec<(Cursor, usize, usize)>,
    pub batches: Vec<RecordBatch>,
    /// Rows and deletions, in order.
    pub steps: Vec<Change>,
    /// `whole` of the end.
    pub whole: bool,
}

/// One item of a reading that changes what rows there are.
#[derive(Debug, Clone)]
pub enum Change {
    Rows(RecordBatch),
    /// Columns of the key.
    Gone(RecordBatch),
    Emptied,
}

impl Reading {
    /// Does to a table in memory, by key, what the reading says: rows as texts (`column=value` of non-null columns).
    ///
    /// # Panics
    /// Where a batch lacks a column of the key.
    pub fn apply(&self, key: &[&str], table: &mut BTreeMap<String, String>) {
        let keys = |batch: &RecordBatch| {
            let indices: Vec<usize> =
                key.iter().map(|name| batch.schema().index_of(name).expect("the key is there")).collect();
            row_texts(&batch.project(&indices).expect("columns that are there"))
        };
        for step in &self.steps {
            match step {
                Change::Rows(batch) => table.extend(keys(batch).into_iter().zip(row_texts(batch))),
                Change::Gone(batch) => keys(batch).iter().for_each(|key| drop(table.remove(key))),
                Change::Emptied => table.clear(),
            }
        }
    }

    /// All rows as one batch of the union of the batches' columns; `None` without a batch.
    #[must_use]
    pub fn as_one_batch(&self) -> Option<RecordBatch> {
        let first = self.batches.first()?;
        let mut fields: Vec<Arc<Field>> = first.schema().fields().iter().cloned().collect();
        for batch in &self.batches {
            for field in batch.schema().fields() {
                if !fields.iter().any(|known| known.name() == field.name()) {
                    fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
                }
            }
        }
        let schema: SchemaRef = Arc::new(Schema::new(
            fields.into_iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
        ));
        let aligned: Vec<RecordBatch> = self.batches.iter().filter_map(|batch| align(batch, &schema)).collect();
        concat_batches(&schema, &aligned).ok()
    }
}

fn align(batch: &RecordBatch, schema: &SchemaRef) -> Option<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), batch.num_rows()),
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns).ok()
}

/// Reads to the end.
///
/// # Errors
/// What the source answers, or that the stream stopped without an end.
pub async fn read_all(source: &dyn Source, request: ReadRequest) -> Result<Reading, Error> {
    let place = request.table.to_string();
    let mut stream = source.read(request).await?;
    let mut reading = Reading {
        rows: Vec::new(),
        rejects: Vec::new(),
        cursors: Vec::new(),
        batches: Vec::new(),
        steps: Vec::new(),
        whole: false,
    };
    while let Some(item) = stream.next().await {
        match item? {
            ReadItem::Batch(batch) => {
                reading.rows.extend(row_texts(&batch));
                reading.steps.push(Change::Rows(batch.clone()));
                reading.batches.push(batch);
            }
            ReadItem::Gone(keys) => reading.steps.push(Change::Gone(keys)),
            ReadItem::Emptied => reading.steps.push(Change::Emptied),
            ReadItem::Reject { origin, reason, payload } => reading.rejects.push((origin, reason, payload)),
            ReadItem::Cursor(cursor) => {
                reading.cursors.push((cursor, reading.rows.len(), reading.rejects.len()));
            }
            ReadItem::End { cursor, whole } => {
                if let Some(cursor) = cursor {
                    reading.cursors.push((cursor, reading.rows.len(), reading.rejects.len()));
                }
                reading.whole = whole;
                if stream.next().await.is_some() {
                    return Err(Error::Malformed { place, reason: "something follows the end".to_owned() });
                }
                return Ok(reading);
            }
        }
    }
    Err(Error::Interrupted { place, reason: "the stream stopped without an end".to_owned() })
}

fn row_texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let schema = batch.schema();
    let mut columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns()).collect();
    columns.sort_by_key(|(name, _)| *name);
    let formatters: Vec<_> = columns
        .iter()
        .filter_map(|(name, array)| Some((*name, array, ArrayFormatter::try_new(array.as_ref(), &options).ok()?)))
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<String> = formatters
                .iter()
                .filter(|(_, array, _)| array.is_valid(row))
                .map(|(name, _, formatter)| format!("{name}={}", formatter.value(row)))
                .collect();
            cells.join("|")
        })
        .collect()
}

/// Proves that the source keeps the contract of [`Source`].
///
/// # Panics
/// When it does not, saying which rule is broken.
pub async fn assert_contract(source: &dyn Source, expectation: Expectation) {
    assert_check(source).await;
    let discovery = source.discover(&Selection::default()).await.expect("discovery answers");
    assert_discovery(&discovery, &expectation);
    assert_selection(source, &discovery).await;
    for table in &discovery.tables {
        let expected = expectation.tables[&table.table.to_string()];
        assert_table(source, table, expected).await;
    }
    let absent = TableRef { schema: None, name: "a_table_that_is_not_there".to_owned() };
    match read_all(source, ReadRequest::whole(absent)).await {
        Err(Error::NoSuchTable { .. }) => {}
        other => panic!("an absent table must be answered with NoSuchTable, not {other:?}"),
    }
}

async fn assert_check(source: &dyn Source) {
    let stages = source.check().await;
    assert!(!stages.is_empty(), "a check reports at least one stage");
    assert!(stages.is_sorted_by(|a, b| a.stage < b.stage), "stages come in order, each once: {stages:?}");
    for stage in &stages {
        assert_ne!(stage.outcome, StageOutcome::Failed, "every stage passes: {stage:?}");
        assert!(!stage.message.is_empty(), "each stage says what was found: {stage:?}");
    }
}

fn assert_discovery(discovery: &Discovery, expectation: &Expectation) {
    let found: Vec<String> = discovery.tables.iter().map(|table| table.table.to_string()).collect();
    let unique: HashSet<&String> = found.iter().collect();
    assert_eq!(unique.len(), found.len(), "tables have unique names: {found:?}");
    let mut sorted = found.clone();
    sorted.sort();
    let expected: Vec<&String> = expectation.tables.keys().collect();
    assert_eq!(sorted.iter().collect::<Vec<_>>(), expected, "discovery finds the tables there are");
    for table in &discovery.tables {
        let place = &table.table;
        assert!(!table.columns.is_empty(), "`{place}` has columns");
        let names: HashSet<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names.len(), table.columns.len(), "`{place}` has unique column names");
        assert!(!names.contains(""), "the columns of `{place}` have names");
        for key in &table.key {
            assert!(names.contains(key.as_str()), "key column `{key}` of `{place}` is a column");
        }
        for column in table.foreign_keys.iter().flat_map(|key| &key.columns) {
            assert!(names.contains(column.as_str()), "foreign key column `{column}` of `{place}` is a column");
        }
    }
}

async fn assert_selection(source: &dyn Source, discovery: &Discovery) {
    let Some(first) = discovery.tables.first() else { return };
    let only = Selection { include: vec![first.table.to_string()], exclude: Vec::new() };
    let some = source.discover(&only).await.expect("discovery of one table answers");
    assert_eq!(some.tables.len(), 1, "a selection of one name finds one table");
    assert_eq!(some.tables[0].table, first.table);
}

async fn assert_table(source: &dyn Source, table: &SourceTable, expected: Rows) {
    let place = &table.table;
    let small = |from: Option<Cursor>| ReadRequest { batch_rows: 7, from, ..ReadRequest::whole(place.clone()) };
    let whole = read_all(source, small(None)).await.unwrap_or_else(|error| panic!("reading `{place}`: {error}"));

    assert_eq!(
        Rows { rows: whole.rows.len(), rejects: whole.rejects.len() },
        expected,
        "`{place}`: rows and rejects; rejects: {:?}",
        whole.rejects
    );
    if table.mode == ReadMode::Snapshot {
        assert!(whole.whole, "a snapshot of `{place}` from the beginning is whole");
    }
    let types: BTreeMap<&str, &DataType> =
        table.columns.iter().map(|column| (column.name.as_str(), &column.data_type)).collect();
    for batch in &whole.batches {
        assert!(batch.num_rows() > 0, "`{place}` yields no empty batch");
        assert!(batch.num_rows() <= 7, "`{place}` keeps to the rows of a batch: {}", batch.num_rows());
        for field in batch.schema().fields() {
            assert_eq!(
                types.get(field.name().as_str()),
                Some(&field.data_type()),
                "column `{}` of `{place}` is as discovered",
                field.name()
            );
        }
    }
    for (origin, reason, _) in &whole.rejects {
        assert!(!origin.is_empty() && !reason.is_empty(), "a reject of `{place}` says where and why");
    }

    let large = read_all(source, ReadRequest::whole(place.clone())).await.expect("a second reading answers");
    assert_eq!(large.rows, whole.rows, "reading `{place}` twice yields the same rows in the same order");
    assert_eq!(large.rejects, whole.rejects, "reading `{place}` twice yields the same rejects");

    // From every cursor of a small table, from some of a large one.
    let step = whole.cursors.len().div_ceil(20).max(1);
    for (cursor, rows, rejects) in whole.cursors.iter().step_by(step).chain(whole.cursors.last()) {
        let cursor = Cursor::from_json(&cursor.to_json()).expect("a cursor survives the catalog");
        let rest = read_all(source, small(Some(cursor.clone()))).await.expect("reading on from a cursor answers");
        let is_end = *rows == whole.rows.len() && *rejects == whole.rejects.len();
        if table.mode == ReadMode::Snapshot && rest.whole {
            // A snapshot is not read on: what comes is everything, and it says so.
            assert_eq!(rest.rows, whole.rows, "a snapshot of `{place}` from {cursor:?} is everything or the remainder");
            continue;
        }
        assert_eq!(rest.rows, whole.rows[*rows..], "`{place}` from {cursor:?} yields exactly the remainder");
        assert_eq!(rest.rejects, whole.rejects[*rejects..], "`{place}` from {cursor:?}: rejects of the remainder");
        assert!(!(is_end && rest.whole && !whole.rows.is_empty()), "a reading of nothing of `{place}` is not whole");
    }
    if table.mode != ReadMode::Snapshot {
        let (end, rows, rejects) = whole.cursors.last().expect("a table that is read on ends with a cursor");
        assert_eq!((*rows, *rejects), (whole.rows.len(), whole.rejects.len()));
        let nothing = read_all(source, small(Some(end.clone()))).await.expect("reading on from the end answers");
        assert!(nothing.steps.is_empty() && nothing.rejects.is_empty(), "`{place}` has nothing after its end");
    }

    for taken in [0, 1, 3] {
        let mut stream = source.read(small(None)).await.expect("a reading starts");
        for _ in 0..taken {
            stream.next().await;
        }
        drop(stream);
    }
    let again = read_all(source, small(None)).await.expect("a reading after dropped ones answers");
    assert_eq!(again.rows, whole.rows, "dropped readings of `{place}` leave nothing behind");
}

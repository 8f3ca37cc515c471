//! Deletions within an upsert, against a table in memory: by key, and of everything.

use std::{collections::BTreeMap, sync::Arc};

use crate::support::*;
use arrow::{
    array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use mavis_catalog::Table;
use mavis_lake::{End, Error, HopInput, Lake, WriteMode, hop::DELETED};
use mavis_types::RunId;
use rstest::rstest;

fn keys(ids: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(ids.to_vec()))]).unwrap()
}

fn with_deleted() -> SchemaRef {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, true)));
    Arc::new(Schema::new(fields))
}

/// Carries what changed into the output, as every hop of the house does.
async fn carry(lake: &Lake, input: &Table, output: &Table) {
    let hop = lake.begin_hop(input.id, output.id, "rule", RunId::new()).await.unwrap();
    let rows = match hop.input() {
        HopInput::Nothing => return hop.abandon().await,
        HopInput::Changes { rows, .. } | HopInput::Whole { rows, .. } => Arc::clone(rows),
    };
    let session = lake.sessions().session(64 << 20);
    session.register_table("changes", rows).unwrap();
    let columns = format!("SELECT id, name, {DELETED} FROM changes");
    let batches = session.sql(&columns).await.unwrap().collect().await.unwrap();
    let mut writer = hop.write(with_deleted(), None).await.unwrap();
    for batch in &batches {
        writer.push(batch).await.unwrap();
    }
    assert!(writer.finish(End::default()).await.unwrap().counts.balances());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_word_on_a_key_counts_whether_it_is_a_row_or_its_end() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, "b"), (3, "c")])], at(1)).await.unwrap();
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Upsert, schema()).await.unwrap();
    writer.delete(&keys(&[1, 9])).unwrap();
    writer.push(&rows(&[(4, "d"), (2, "B")])).await.unwrap();
    writer.delete(&keys(&[2, 4])).unwrap();
    writer.push(&rows(&[(1, "A")])).await.unwrap();
    let done = writer.finish(at(2)).await.unwrap();
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "A"), (3, "c")]));
    let counts = done.counts;
    assert_eq!(
        (counts.read, counts.inserted, counts.updated, counts.deduplicated, counts.deleted),
        (3, 0, 1, 2, 1),
        "row 4 came and went, row 9 never was"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptying_takes_what_was_there_and_what_came_before_and_keeps_what_comes_again() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, "b"), (3, "c")])], at(1)).await.unwrap();
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Upsert, schema()).await.unwrap();
    writer.push(&rows(&[(5, "e"), (1, "x")])).await.unwrap();
    writer.empty().unwrap();
    writer.push(&rows(&[(2, "b"), (3, "C"), (6, "f")])).await.unwrap();
    let counts = writer.finish(at(2)).await.unwrap().counts;
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(2, "b"), (3, "C"), (6, "f")]));
    assert_eq!(
        [counts.read, counts.inserted, counts.updated, counts.unchanged, counts.deduplicated, counts.deleted],
        [5, 1, 1, 1, 2, 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_deleted_by_the_whole_key_of_a_table_that_has_one() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (keyed, keyless) = (keyed(&lake).await, keyless(&lake).await);
    let wrong = {
        let schema = Schema::new(vec![Field::new("name", DataType::Utf8, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(StringArray::from(vec!["a"]))]).unwrap()
    };
    for (table, mode, batch) in [
        (&keyed, WriteMode::Upsert, &wrong),
        (&keyless, WriteMode::Upsert, &keys(&[1])),
        (&keyed, WriteMode::Append, &keys(&[1])),
    ] {
        let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
        let mut writer = unit.write(mode, schema()).await.unwrap();
        let error = writer.delete(batch).unwrap_err();
        assert!(matches!(error, Error::Evolution { .. }), "{mode:?}: {error}");
        assert!(mode != WriteMode::Append || writer.empty().is_err());
        writer.abandon().await;
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn id(&mut self) -> i64 {
        i64::try_from(self.below(60)).unwrap()
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_of_rows_deletions_and_emptyings_cut_anywhere_is_what_a_table_in_memory_says(
    #[values(1, 2, 3, 4)] seed: u64,
    #[values(7, 1 << 20)] keys_in_memory: usize,
) {
    let mut house = House::new();
    house.tuning.keys_in_memory = keys_in_memory;
    let (lake, _) = house.faulty("a").await;
    let table = keyed(&lake).await;
    let output = lake.ensure(&spec("output", &["id"], true)).await.unwrap();
    let mut dice = Dice(seed);
    let mut model: BTreeMap<i64, String> = BTreeMap::new();
    for commit in 1..=12 {
        let before = model.len() as u64;
        let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
        // A whole reading may tell of deletions, too.
        let mode = if dice.below(4) == 0 { WriteMode::Snapshot } else { WriteMode::Upsert };
        let mut writer = unit.write(mode, schema()).await.unwrap();
        let mut read = 0;
        for _ in 0..dice.below(14) {
            match dice.below(10) {
                0 => {
                    writer.empty().unwrap();
                    model.clear();
                }
                1..=4 => {
                    let ids: Vec<i64> = (0..1 + dice.below(8)).map(|_| dice.id()).collect();
                    writer.delete(&keys(&ids)).unwrap();
                    ids.iter().for_each(|id| drop(model.remove(id)));
                }
                _ => {
                    let some: Vec<(i64, String)> =
                        (0..1 + dice.below(12)).map(|_| (dice.id(), format!("v{}", dice.below(4)))).collect();
                    let borrowed: Vec<(i64, &str)> = some.iter().map(|(id, name)| (*id, name.as_str())).collect();
                    writer.push(&rows(&borrowed)).await.unwrap();
                    read += some.len() as u64;
                    model.extend(some);
                }
            }
        }
        let counts = writer.finish(at(commit)).await.unwrap().counts;
        assert!(counts.balances() && counts.read == read, "commit {commit}: {counts:?}");
        assert_eq!(before + counts.inserted, model.len() as u64 + counts.deleted, "commit {commit}: {counts:?}");
        let expected: Vec<(i64, String)> = model.clone().into_iter().collect();
        assert_eq!(content(&lake, table.id, None).await, expected, "commit {commit}");
        if dice.below(3) > 0 {
            carry(&lake, &table, &output).await;
            assert_eq!(content(&lake, output.id, None).await, expected, "the hop after commit {commit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_change_feed_tells_of_deletions_once() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let output = lake.ensure(&spec("output", &["id"], true)).await.unwrap();
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, "b")])], at(1)).await.unwrap();
    carry(&lake, &table, &output).await;
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Upsert, schema()).await.unwrap();
    writer.delete(&keys(&[2])).unwrap();
    writer.finish(at(2)).await.unwrap();
    let hop = lake.begin_hop(table.id, output.id, "rule", RunId::new()).await.unwrap();
    let HopInput::Changes { rows, .. } = hop.input() else { panic!("the feed tells") };
    let session = lake.sessions().session(64 << 20);
    session.register_table("changes", Arc::clone(rows)).unwrap();
    let batches = session.sql(&format!("SELECT id, {DELETED} FROM changes")).await.unwrap().collect().await.unwrap();
    hop.abandon().await;
    let [batch] = &batches.iter().filter(|batch| batch.num_rows() > 0).collect::<Vec<_>>()[..] else { panic!("one") };
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values().to_vec(), [2]);
    assert_eq!(batch.column(1).as_boolean(), &BooleanArray::from(vec![true]));
}

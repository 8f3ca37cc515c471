//! From table to table: changes, whole tables, and what a hop may delete.

use std::sync::Arc;

use crate::support::*;
use arrow::{
    array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use mavis_catalog::Table;
use mavis_lake::{End, Hop, HopInput, Lake, WriteMode, hop::DELETED};
use mavis_types::{Counts, RunId};
use rstest::rstest;

async fn tables(lake: &Lake, key: &[&str], change_feed: bool) -> (Table, Table) {
    let input = lake.ensure(&spec("input", key, change_feed)).await.unwrap();
    let output = lake.ensure(&spec("output", &["id"], true)).await.unwrap();
    (input, output)
}

async fn read(hop: &Hop, lake: &Lake) -> Vec<RecordBatch> {
    let rows = match hop.input() {
        HopInput::Nothing => return Vec::new(),
        HopInput::Changes { rows, .. } | HopInput::Whole { rows, .. } => Arc::clone(rows),
    };
    let session = lake.sessions().session(64 << 20);
    session.register_table("changes", rows).unwrap();
    session.sql(&format!("SELECT id, name, {DELETED} FROM changes ORDER BY id")).await.unwrap().collect().await.unwrap()
}

fn with_deleted() -> SchemaRef {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, true)));
    Arc::new(Schema::new(fields))
}

fn kind(hop: &Hop) -> &'static str {
    match hop.input() {
        HopInput::Nothing => "nothing",
        HopInput::Changes { .. } => "changes",
        HopInput::Whole { .. } => "whole",
    }
}

/// Carries everything over as it is.
async fn carry(lake: &Lake, input: &Table, output: &Table, rule: &str) -> (&'static str, Counts) {
    let hop = lake.begin_hop(input.id, output.id, rule, RunId::new()).await.unwrap();
    let kind = kind(&hop);
    if kind == "nothing" {
        hop.abandon().await;
        return (kind, Counts::default());
    }
    let batches = read(&hop, lake).await;
    let mut writer = hop.write(with_deleted(), None).await.unwrap();
    for batch in &batches {
        writer.push(batch).await.unwrap();
    }
    let counts = writer.finish(End::default()).await.unwrap().counts;
    assert!(counts.balances());
    (kind, counts)
}

#[rstest]
#[case::with_a_change_feed(true)]
#[case::from_the_files_alone(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_carries_the_last_change_of_each_key(#[case] change_feed: bool) {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], change_feed).await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b"), (3, "c")])], whole()).await.unwrap();
    assert_eq!(carry(&lake, &input, &output, "r").await.0, "whole");
    assert_eq!(carry(&lake, &input, &output, "r").await.0, "nothing");
    for batch in
        [rows(&[(1, "a"), (2, "B"), (4, "d")]), rows(&[(1, "a"), (2, "BB"), (4, "d")]), rows(&[(1, "a"), (2, "BB")])]
    {
        write(&lake, input.id, WriteMode::Snapshot, &[batch], whole()).await.unwrap();
    }
    let (kind, counts) = carry(&lake, &input, &output, "r").await;
    assert_eq!(kind, "changes");
    assert_eq!(
        (counts.updated, counts.inserted, counts.deleted),
        (1, 0, 1),
        "4 came and went, 3 went, 2 changed twice"
    );
    assert_eq!(content(&lake, output.id, None).await, content(&lake, input.id, None).await);
    assert_eq!(carry(&lake, &input, &output, "r").await.0, "nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_rule_compares_the_whole_table_and_deletes_what_it_does_not_make() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], true).await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b")])], whole()).await.unwrap();
    carry(&lake, &input, &output, "one").await;
    let hop = lake.begin_hop(input.id, output.id, "two", RunId::new()).await.unwrap();
    assert_eq!(kind(&hop), "whole");
    let mut writer = hop.write(schema(), None).await.unwrap();
    writer.push(&rows(&[(2, "b")])).await.unwrap();
    let counts = writer.finish(End::default()).await.unwrap().counts;
    assert_eq!((counts.unchanged, counts.deleted), (1, 1));
    assert_eq!(content(&lake, output.id, None).await, pairs(&[(2, "b")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_deletes_only_rows_that_it_owns() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], true).await;
    write(&lake, output.id, WriteMode::Upsert, &[rows(&[(8, "other"), (9, "mine")])], at(1)).await.unwrap();
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "mine")])], whole()).await.unwrap();
    let hop = lake.begin_hop(input.id, output.id, "r", RunId::new()).await.unwrap();
    let mut writer = hop.write(schema(), Some("name = 'mine'")).await.unwrap();
    writer.push(&rows(&[(1, "mine")])).await.unwrap();
    let counts = writer.finish(End::default()).await.unwrap().counts;
    assert_eq!((counts.inserted, counts.deleted), (1, 1));
    assert_eq!(content(&lake, output.id, None).await, pairs(&[(1, "mine"), (8, "other")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_row_needs_only_its_key() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], true).await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b")])], whole()).await.unwrap();
    carry(&lake, &input, &output, "r").await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "a")])], whole()).await.unwrap();
    let hop = lake.begin_hop(input.id, output.id, "r", RunId::new()).await.unwrap();
    let mut writer = hop.write(with_deleted(), None).await.unwrap();
    let only_keys = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![2, 77])) as _, true),
        ("name", Arc::new(StringArray::new_null(2)) as _, true),
        (DELETED, Arc::new(BooleanArray::from(vec![true, true])) as _, true),
    ])
    .unwrap();
    writer.push(&only_keys).await.unwrap();
    let counts = writer.finish(End::default()).await.unwrap().counts;
    assert_eq!((counts.read, counts.deleted), (0, 1));
    assert_eq!(content(&lake, output.id, None).await, pairs(&[(1, "a")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appended_rows_of_an_input_without_a_key_are_all_carried_once() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, _) = tables(&lake, &[], false).await;
    let output = lake.ensure(&spec("by_id", &["id"], true)).await.unwrap();
    write(&lake, input.id, WriteMode::Append, &[rows(&[(1, "a"), (2, "b")])], at(1)).await.unwrap();
    carry(&lake, &input, &output, "r").await;
    write(&lake, input.id, WriteMode::Append, &[rows(&[(3, "c"), (3, "c"), (1, "A")])], at(2)).await.unwrap();
    write(&lake, input.id, WriteMode::Append, &[rows(&[(3, "c")])], at(3)).await.unwrap();
    let hop = lake.begin_hop(input.id, output.id, "r", RunId::new()).await.unwrap();
    assert_eq!(kind(&hop), "changes");
    let seen: usize = read(&hop, &lake).await.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(seen, 4, "equal rows that were appended are rows of their own");
    hop.abandon().await;
    carry(&lake, &input, &output, "r").await;
    assert_eq!(content(&lake, output.id, None).await, pairs(&[(1, "A"), (2, "b"), (3, "c")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_without_a_key_is_compared_as_a_whole() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, _) = tables(&lake, &["id"], true).await;
    let output = lake.ensure(&spec("keyless_output", &[], true)).await.unwrap();
    for batch in [rows(&[(1, "a"), (2, "b")]), rows(&[(1, "a"), (3, "c")])] {
        write(&lake, input.id, WriteMode::Snapshot, &[batch], whole()).await.unwrap();
        assert_eq!(carry(&lake, &input, &output, "r").await.0, "whole");
    }
    assert_eq!(content(&lake, output.id, None).await, pairs(&[(1, "a"), (3, "c")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_was_only_rearranged_brings_no_rows() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], true).await;
    for id in 0..3 {
        write(&lake, input.id, WriteMode::Upsert, &[rows(&[(id, "a")])], at(id + 1)).await.unwrap();
    }
    carry(&lake, &input, &output, "r").await;
    lake.optimize(input.id, RunId::new()).await.unwrap();
    let (kind, counts) = carry(&lake, &input, &output, "r").await;
    assert_eq!((kind, counts), ("changes", Counts::default()));
    assert_eq!(carry(&lake, &input, &output, "r").await.0, "nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_whose_files_are_gone_gives_the_whole_table() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], true).await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b")])], whole()).await.unwrap();
    carry(&lake, &input, &output, "r").await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "A"), (2, "b")])], whole()).await.unwrap();
    std::fs::remove_dir_all(house.path().join("lake").join(&input.location).join("_change_data")).unwrap();
    let (kind, counts) = carry(&lake, &input, &output, "r").await;
    assert_eq!((kind, counts.updated, counts.unchanged), ("whole", 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_versions_of_a_hop_are_those_of_its_input() {
    let house = House::new();
    let lake = house.lake("a").await;
    let (input, output) = tables(&lake, &["id"], true).await;
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "a")])], whole()).await.unwrap();
    write(&lake, input.id, WriteMode::Snapshot, &[rows(&[(1, "b")])], whole()).await.unwrap();
    let hop = lake.begin_hop(input.id, output.id, "r", RunId::new()).await.unwrap();
    assert!(matches!(hop.input(), HopInput::Whole { to: 2, .. }));
    let batches = read(&hop, &lake).await;
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 1);
    let mut writer = hop.write(with_deleted(), None).await.unwrap();
    writer.push(&batches[0]).await.unwrap();
    assert_eq!(writer.finish(End::default()).await.unwrap().sequence, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_table_with_tombstones_the_flag_is_data_and_hops_see_it() {
    let house = House::new();
    let lake = house.lake("a").await;
    let mut history = spec("history", &[], false);
    history.schema = with_deleted();
    let input = lake.ensure(&history).await.unwrap();
    let output = lake.ensure(&spec("current", &["id"], true)).await.unwrap();
    let versions = |rows: &[(i64, &str, bool)]| {
        RecordBatch::try_new(
            with_deleted(),
            vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
                Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.2)))),
            ],
        )
        .unwrap()
    };
    write(&lake, input.id, WriteMode::Append, &[versions(&[(1, "a", false), (2, "b", false)])], at(1)).await.unwrap();
    carry(&lake, &input, &output, "r").await;
    write(&lake, input.id, WriteMode::Append, &[versions(&[(2, "b", true), (3, "c", false)])], at(2)).await.unwrap();
    assert_eq!(number(&lake, input.id, "SELECT count(*) FROM t WHERE __deleted").await, 1);
    let (kind, counts) = carry(&lake, &input, &output, "r").await;
    assert_eq!((kind, counts.deleted, counts.inserted), ("changes", 1, 1));
    assert_eq!(content(&lake, output.id, None).await, pairs(&[(1, "a"), (3, "c")]));
    let plain = lake.ensure(&spec("plain", &[], false)).await.unwrap();
    let refused = write(&lake, plain.id, WriteMode::Append, &[versions(&[(1, "a", true)])], at(1)).await;
    assert!(refused.is_err(), "an append that deletes is no append");
}

//! Snapshots and upserts against what is there.

use std::sync::Arc;

use crate::support::*;
use arrow::{
    array::{Array, AsArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema},
};
use datafusion::prelude::SessionContext;
use deltalake_core::{DeltaTableBuilder, delta_datafusion::DeltaCdfTableProvider};
use mavis_lake::{End, Error, WriteMode};
use mavis_types::{Counts, RunId};
use rstest::rstest;
use url::Url;

fn counts(counts: Counts) -> [u64; 6] {
    assert!(counts.balances(), "{counts:?}");
    [counts.read, counts.inserted, counts.updated, counts.unchanged, counts.deduplicated, counts.deleted]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_writes_only_differences() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let first = [rows(&[(1, "a"), (2, "b"), (3, "c")])];
    let done = write(&lake, table.id, WriteMode::Snapshot, &first, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [3, 3, 0, 0, 0, 0]);
    let second = [rows(&[(1, "a"), (2, "B")]), rows(&[(4, "d")])];
    let done = write(&lake, table.id, WriteMode::Snapshot, &second, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [3, 1, 1, 1, 0, 1]);
    assert_eq!(done.version, 2);
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a"), (2, "B"), (4, "d")]));
    assert_eq!(content(&lake, table.id, Some(1)).await, pairs(&[(1, "a"), (2, "b"), (3, "c")]));
    let done = write(&lake, table.id, WriteMode::Snapshot, &second, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [3, 0, 0, 3, 0, 0]);
    assert_eq!(done.version, 2, "nothing changed, nothing is committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_whole_snapshot_deletes() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b")])], whole()).await.unwrap();
    let done = write(&lake, table.id, WriteMode::Snapshot, &[rows(&[(1, "A")])], End::default()).await.unwrap();
    assert_eq!(counts(done.counts), [1, 0, 1, 0, 0, 0]);
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "A"), (2, "b")]));
    let done = write(&lake, table.id, WriteMode::Snapshot, &[], whole()).await.unwrap();
    assert_eq!(counts(done.counts), [0, 0, 0, 0, 0, 2], "an empty source empties the table");
    assert_eq!(lake.row_count(table.id, None).await.unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_rows_with_one_key_the_last_one_counts_on_an_empty_table_too() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let batches = [rows(&[(1, "old"), (2, "b")]), rows(&[(1, "new"), (2, "b")])];
    let done = write(&lake, table.id, WriteMode::Snapshot, &batches, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [4, 2, 0, 0, 2, 0]);
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "new"), (2, "b")]));
    assert_eq!(data_files(&house, &table), 1, "the file with the dropped rows is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upsert_replaces_by_key_and_leaves_the_others() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, "b")])], at(1)).await.unwrap();
    let done =
        write(&lake, table.id, WriteMode::Upsert, &[rows(&[(2, "B"), (3, "c"), (1, "a")])], at(2)).await.unwrap();
    assert_eq!(counts(done.counts), [3, 1, 1, 1, 0, 0]);
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a"), (2, "B"), (3, "c")]));
    // Read again from the same place: nothing changes, the transaction moves with the cursor.
    let done = write(&lake, table.id, WriteMode::Upsert, &[rows(&[(3, "c")])], at(3)).await.unwrap();
    assert_eq!((counts(done.counts), done.sequence), ([1, 0, 0, 1, 0, 0], 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_key_are_told_apart_by_hash_and_occurrence() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let first = [rows(&[(1, "a"), (1, "a"), (1, "a"), (2, "b")])];
    let done = write(&lake, table.id, WriteMode::Snapshot, &first, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [4, 4, 0, 0, 0, 0]);
    let again = write(&lake, table.id, WriteMode::Snapshot, &first, whole()).await.unwrap();
    assert_eq!(counts(again.counts), [4, 0, 0, 4, 0, 0]);
    let fewer = [rows(&[(1, "a"), (1, "a"), (3, "c"), (3, "c")])];
    let done = write(&lake, table.id, WriteMode::Snapshot, &fewer, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [4, 2, 0, 2, 0, 2]);
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a"), (1, "a"), (3, "c"), (3, "c")]));
    let distinct = "SELECT count(DISTINCT (id, __occurrence)) FROM t";
    assert_eq!(number(&lake, table.id, distinct).await, 4);
    assert_eq!(number(&lake, table.id, "SELECT max(__occurrence) FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_key_is_null_are_kept_each() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let ids = Int64Array::from(vec![None, None, Some(1), None]);
    let names = StringArray::from(vec!["a", "b", "c", "a"]);
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap();
    let done = write(&lake, table.id, WriteMode::Snapshot, std::slice::from_ref(&batch), whole()).await.unwrap();
    assert_eq!(counts(done.counts), [4, 4, 0, 0, 0, 0]);
    let again = write(&lake, table.id, WriteMode::Snapshot, &[batch], whole()).await.unwrap();
    assert_eq!(counts(again.counts), [4, 0, 0, 4, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_of_more_keys_than_fit_in_memory_spills_and_is_the_same() {
    let mut house = House::new();
    house.tuning.keys_in_memory = 50;
    let (lake, _) = house.faulty("a").await;
    let table = keyed(&lake).await;
    let rows_of = |from: i64, to: i64, name: &str| rows(&(from..to).map(|id| (id, name)).collect::<Vec<_>>());
    write(&lake, table.id, WriteMode::Snapshot, &[rows_of(0, 1000, "a")], whole()).await.unwrap();
    let second = [rows_of(100, 600, "a"), rows_of(600, 1100, "b")];
    let done = write(&lake, table.id, WriteMode::Snapshot, &second, whole()).await.unwrap();
    assert_eq!(counts(done.counts), [1000, 100, 400, 500, 0, 100]);
    assert_eq!(number(&lake, table.id, "SELECT count(DISTINCT id) FROM t").await, 1000);
    assert_eq!(number(&lake, table.id, "SELECT sum(id) FROM t").await, (100..1100).sum::<i64>());
    assert_eq!(
        std::fs::read_dir(house.path().join("spill"))
            .unwrap()
            .filter(|e| {
                let name = e.as_ref().unwrap().file_name().into_string().unwrap();
                name.starts_with("keys-") || name.starts_with("rows-")
            })
            .count(),
        0
    );
}

async fn feed(house: &House, location: &str, from: u64, text: &str) -> Vec<(String, i64, String)> {
    let url = Url::from_directory_path(house.path().join("lake").join(location)).unwrap();
    let table = DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap();
    let provider = DeltaCdfTableProvider::try_new(table.scan_cdf().with_starting_version(from)).unwrap();
    let session = SessionContext::new();
    session.register_table("feed", Arc::new(provider)).unwrap();
    // Sorted here: the feed's plan has groups without a file, which a sort in the query does not plan over.
    let query = format!(
        "SELECT arrow_cast(_change_type, 'Utf8'), id, arrow_cast({text}, 'Utf8'), arrow_cast(_commit_version, 'Int64') \
         FROM feed"
    );
    let batches = session.sql(&query).await.unwrap().collect().await.unwrap();
    let mut found: Vec<(i64, i64, String, String)> = batches
        .iter()
        .flat_map(|batch| {
            let text = |at: usize| batch.column(at).as_string::<i32>().clone();
            let number = |at: usize| batch.column(at).as_primitive::<arrow::datatypes::Int64Type>().clone();
            let (kinds, ids, names, versions) = (text(0), number(1), text(2), number(3));
            (0..batch.num_rows())
                .map(|row| {
                    (versions.value(row), ids.value(row), kinds.value(row).to_owned(), names.value(row).to_owned())
                })
                .collect::<Vec<_>>()
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, id, kind, name)| (kind, id, name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_change_feed_that_other_programs_read_tells_every_change_once() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let first = [rows(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")])];
    write(&lake, table.id, WriteMode::Snapshot, &first, whole()).await.unwrap();
    let second = [rows(&[(1, "a"), (2, "B"), (4, "d"), (5, "e")])];
    write(&lake, table.id, WriteMode::Snapshot, &second, whole()).await.unwrap();
    let said = |kind: &str, id: i64, name: &str| (kind.to_owned(), id, name.to_owned());
    assert_eq!(
        feed(&house, &table.location, 2, "name").await,
        [
            said("update_postimage", 2, "B"),
            said("update_preimage", 2, "b"),
            said("delete", 3, "c"),
            said("insert", 5, "e"),
        ]
    );
    assert_eq!(feed(&house, &table.location, 1, "name").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn optimize_between_the_beginning_and_the_end_of_a_merge_waits_or_makes_it_void() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    for id in 0..3 {
        write(&lake, table.id, WriteMode::Upsert, &[rows(&[(id, "a")])], at(id + 1)).await.unwrap();
    }
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Snapshot, schema()).await.unwrap();
    writer.push(&rows(&[(0, "a"), (1, "b")])).await.unwrap();
    // A process that does not heed the lease, as after a take-over.
    let zombie = house.lake("a").await;
    let done = zombie.optimize(table.id, RunId::new()).await.unwrap();
    assert_eq!((done.files_before, done.files_after), (3, 1));
    assert!(writer.finish(whole()).await.is_err());
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(0, "a"), (1, "a"), (2, "a")]));
    write(&lake, table.id, WriteMode::Snapshot, &[rows(&[(0, "a"), (1, "b")])], whole()).await.unwrap();
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(0, "a"), (1, "b")]));
}

fn batch(fields: Vec<(&str, Arc<dyn Array>)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(fields.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_column_is_added_with_the_commit_and_changes_no_other_row() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Snapshot, &[rows(&[(1, "a"), (2, "b")])], whole()).await.unwrap();
    let wider = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("extra", Arc::new(StringArray::from(vec![None, Some("x")]))),
        ("name", Arc::new(StringArray::from(vec!["a", "b"]))),
    ]);
    let done = write(&lake, table.id, WriteMode::Snapshot, &[wider], whole()).await.unwrap();
    assert_eq!(counts(done.counts), [2, 0, 1, 1, 0, 0]);
    let names: Vec<_> = lake.schema(table.id).await.unwrap().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names[..3], ["id", "name", "extra"]);
    assert_eq!(number(&lake, table.id, "SELECT count(extra) FROM t").await, 1);
    assert_eq!(lake.catalog().columns(table.id).await.unwrap().len(), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_widens_keeps_every_value_and_the_old_files_are_rewritten() {
    let house = House::new();
    let lake = house.lake("a").await;
    let mut wanted = spec("widening", &["id"], true);
    wanted.schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("n", DataType::Int32, true)]));
    let table = lake.ensure(&wanted).await.unwrap();
    let small =
        batch(vec![("id", Arc::new(Int64Array::from(vec![1, 2]))), ("n", Arc::new(Int32Array::from(vec![7, 8])))]);
    write(&lake, table.id, WriteMode::Upsert, &[small], at(1)).await.unwrap();
    let big = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 3]))),
        ("n", Arc::new(Int64Array::from(vec![7, 1 << 40]))),
    ]);
    let done = write(&lake, table.id, WriteMode::Upsert, &[big], at(2)).await.unwrap();
    assert_eq!(counts(done.counts), [2, 1, 0, 1, 0, 0], "a wider type alone is no change");
    assert_eq!(number(&lake, table.id, "SELECT sum(n) FROM t").await, 15 + (1 << 40));
    assert_eq!(lake.schema(table.id).await.unwrap().field_with_name("n").unwrap().data_type(), &DataType::Int64);
    assert_eq!(feed(&house, &table.location, 2, "n").await.len(), 1, "the copies are no news");
}

#[rstest]
#[case::snapshot(WriteMode::Snapshot)]
#[case::append(WriteMode::Append)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_loses_values_is_refused_and_says_what_to_do(#[case] mode: WriteMode) {
    let house = House::new();
    let lake = house.lake("a").await;
    let mut wanted = spec("refusing", &["id"], true);
    wanted.schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("n", DataType::Boolean, true)]));
    let table = lake.ensure(&wanted).await.unwrap();
    let other =
        batch(vec![("id", Arc::new(Int64Array::from(vec![1]))), ("n", Arc::new(Float64Array::from(vec![0.5])))]);
    let error = write(&lake, table.id, mode, &[other], whole()).await.unwrap_err();
    let Error::Evolution { column, instead, .. } = &error else { panic!("{error}") };
    assert_eq!(column, "n");
    assert!(instead.contains("read the column as text"), "{instead}");
    assert_eq!(lake.version(table.id).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensuring_a_table_again_adds_its_new_columns_and_changes_nothing_else() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    assert_eq!(keyed(&lake).await.id, table.id);
    assert_eq!(lake.version(table.id).await.unwrap(), 0);
    let mut wider = spec("keyed", &["id"], true);
    wider.schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("more", DataType::Date32, true),
    ]));
    lake.ensure(&wider).await.unwrap();
    assert_eq!(lake.version(table.id).await.unwrap(), 1);
    let names: Vec<_> = lake.schema(table.id).await.unwrap().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names[..3], ["id", "name", "more"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_grow_inside_lists_of_structs_are_null_in_older_rows() {
    let house = House::new();
    let lake = house.lake("a").await;
    let names = |fields: &[&str]| -> Arc<dyn Array> {
        let columns = fields.iter().map(|field| {
            let array: Arc<dyn Array> = Arc::new(StringArray::from(vec![format!("{field} 1"), format!("{field} 2")]));
            (Arc::new(Field::new(*field, DataType::Utf8, true)), array)
        });
        let items = StructArray::from(columns.collect::<Vec<_>>());
        let item = Arc::new(Field::new("item", items.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 1]), Arc::new(items), None))
    };
    let people = |first: i64, fields: &[&str]| {
        batch(vec![("id", Arc::new(Int64Array::from(vec![first, first + 1]))), ("name", names(fields))])
    };
    let mut wanted = spec("people", &["id"], true);
    wanted.schema = people(0, &["family"]).schema();
    let table = lake.ensure(&wanted).await.unwrap();
    write(&lake, table.id, WriteMode::Upsert, &[people(0, &["family"])], at(1)).await.unwrap();
    write(&lake, table.id, WriteMode::Append, &[people(2, &["given", "family"])], at(2)).await.unwrap();
    write(&lake, table.id, WriteMode::Upsert, &[people(3, &["family", "use"])], at(3)).await.unwrap();
    assert_eq!(number(&lake, table.id, "SELECT count(name[1]['family']) FROM t").await, 5);
    assert_eq!(number(&lake, table.id, "SELECT count(name[1]['given']) FROM t").await, 1);
    assert_eq!(number(&lake, table.id, "SELECT count(name[1]['use']) FROM t").await, 2);
    let query = "SELECT count(*) FROM t WHERE name[1]['given'] IS NULL AND name[1]['family'] = 'family 1'";
    assert_eq!(number(&lake, table.id, query).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_may_make_the_same_table() {
    let house = House::new();
    let (one, two) = (house.lake("a").await, house.lake("b").await);
    let (a, b) = tokio::join!(keyed(&one), keyed(&two));
    assert_eq!(a.id, b.id);
    assert_eq!(one.version(a.id).await.unwrap(), 0);
}

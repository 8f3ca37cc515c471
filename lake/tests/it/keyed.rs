//! Rows by key are the rows of the version that is asked, whatever is done to the table.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::support::*;
use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use mavis_lake::{Error, Lake, Tuning, WriteMode};
use mavis_types::{RunId, TableId};

fn ids(ids: &[i64]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", column)]).unwrap()
}

/// `id` and `name` of the rows with some ids, sorted.
async fn by_id(lake: &Lake, table: TableId, version: i64, keys: &[i64]) -> Vec<(i64, String)> {
    let found =
        lake.rows_by_key(table, version, &ids(keys), &["name", "id"], usize::MAX).await.unwrap().expect("read by key");
    assert_eq!(found.rows.num_rows(), found.keys.len());
    let names = found.rows.column(0).as_string::<i32>();
    let read = found.rows.column(1).as_primitive::<Int64Type>();
    let mut pairs = Vec::new();
    for row in 0..found.rows.num_rows() {
        assert_eq!(keys[found.keys[row]], read.value(row), "a row of another key");
        pairs.push((read.value(row), names.value(row).to_owned()));
    }
    pairs.sort();
    pairs
}

/// Every version that was ever made answers every key as a scan of it does.
async fn holds(lake: &Lake, table: TableId, keys: std::ops::Range<i64>) {
    let newest = lake.version(table).await.unwrap();
    let all: Vec<i64> = keys.collect();
    for version in 1..=newest {
        let scanned = content(lake, table, Some(version)).await;
        assert_eq!(by_id(lake, table, version, &all).await, scanned, "version {version}, all at once");
        for key in &all {
            let one: Vec<_> = scanned.iter().filter(|(id, _)| id == key).cloned().collect();
            assert_eq!(by_id(lake, table, version, &[*key]).await, one, "version {version}, key {key}");
        }
    }
}

async fn change(lake: &Lake, table: TableId) {
    let some = |n: i64, text: &str| (0..n).map(|id| (id * 2, format!("{text}{id}"))).collect::<Vec<_>>();
    let mut position = 0;
    for (text, n) in [("a", 40), ("b", 10), ("c", 25)] {
        let owned = some(n, text);
        let batch = rows(&owned.iter().map(|(id, name)| (*id, name.as_str())).collect::<Vec<_>>());
        position += 1;
        write(lake, table, WriteMode::Upsert, &[batch], at(position)).await.unwrap();
    }
    // Everything else is deleted.
    write(lake, table, WriteMode::Snapshot, &[rows(&[(2, "left"), (7, "new"), (30, "c15")])], whole()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_answers_as_a_scan_of_it_through_merges_deletions_and_optimize() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    change(&lake, table.id).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(8, "again"), (9, "x")])], at(9)).await.unwrap();
    holds(&lake, table.id, -1..82).await;
    lake.optimize(table.id, RunId::new()).await.unwrap();
    holds(&lake, table.id, -1..82).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_whose_hashes_meet_are_told_apart() {
    let mut house = House::new();
    house.tuning = Tuning { key_hash_bits: 2, ..house.tuning };
    let (lake, _) = house.faulty("a").await;
    let table = keyed(&lake).await;
    change(&lake, table.id).await;
    holds(&lake, table.id, -1..82).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_whose_files_were_vacuumed_fails_and_the_newest_does_not() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, "b")])], at(1)).await.unwrap();
    let first = lake.version(table.id).await.unwrap();
    assert_eq!(by_id(&lake, table.id, first, &[1]).await, pairs(&[(1, "a")]));
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "z")])], at(2)).await.unwrap();
    let second = lake.version(table.id).await.unwrap();
    let folder = house.path().join("lake").join(&table.location);
    let live = data_files(&house, &table);
    // As a vacuum after its retention: the files that only the first version names.
    let log = std::fs::read_to_string(folder.join(format!("_delta_log/{second:020}.json"))).unwrap();
    for line in log.lines() {
        let action: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(path) = action.pointer("/remove/path").and_then(|path| path.as_str()) {
            std::fs::remove_file(folder.join(path)).unwrap();
        }
    }
    assert!(data_files(&house, &table) < live);
    assert_eq!(by_id(&lake, table.id, second, &[1, 2]).await, pairs(&[(1, "z"), (2, "b")]));
    // What is in memory of a file is still known, and right; elsewhere it is gone with its file.
    assert_eq!(by_id(&lake, table.id, first, &[1]).await, pairs(&[(1, "a")]));
    let other = house.lake("b").await;
    let gone = other.rows_by_key(table.id, first, &ids(&[2]), &["name"], usize::MAX).await;
    assert!(matches!(gone, Err(Error::Store { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_older_than_a_column_or_its_type_answers_in_the_newer_one() {
    let house = House::new();
    let lake = house.lake("a").await;
    let batch = |ids: ArrayRef, name: &str| {
        let names: ArrayRef = Arc::new(StringArray::from(vec![name; ids.len()]));
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap()
    };
    let mut narrow = spec("grows", &["id"], false);
    narrow.schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, true), Field::new("name", DataType::Utf8, true)]));
    let table = lake.ensure(&narrow).await.unwrap();
    write(&lake, table.id, WriteMode::Upsert, &[batch(Arc::new(Int32Array::from(vec![1, 2])), "old")], at(1))
        .await
        .unwrap();
    let before = lake.version(table.id).await.unwrap();
    let wide = batch(Arc::new(Int64Array::from(vec![5_000_000_000_i64])), "new");
    write(&lake, table.id, WriteMode::Upsert, &[wide], at(2)).await.unwrap();
    let after = lake.version(table.id).await.unwrap();
    assert_eq!(by_id(&lake, table.id, after, &[1, 5_000_000_000]).await, pairs(&[(1, "old"), (5_000_000_000, "new")]));
    // In the older version the column is narrow, and holds no such number.
    let found =
        lake.rows_by_key(table.id, before, &ids(&[2, 5_000_000_000]), &["name"], usize::MAX).await.unwrap().unwrap();
    assert_eq!(found.keys, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_several_columns_and_any_other_column_are_looked_up_and_nulls_are_nobodys_key() {
    let house = House::new();
    let lake = house.lake("a").await;
    let mut two = spec("two", &["id", "name"], false);
    two.schema = schema();
    let table = lake.ensure(&two).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(2), None, Some(3)]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), Some("a"), None]));
    let batch = RecordBatch::try_new(schema(), vec![ids, names]).unwrap();
    write(&lake, table.id, WriteMode::Upsert, &[batch], at(1)).await.unwrap();
    let version = lake.version(table.id).await.unwrap();
    let text = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let number = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;

    let both = RecordBatch::try_from_iter([
        ("name", text(&[Some("a"), Some("b"), Some("a"), None])),
        ("id", number(&[Some(1), Some(2), None, Some(3)])),
    ]);
    let found = lake.rows_by_key(table.id, version, &both.unwrap(), &["id"], usize::MAX).await.unwrap().unwrap();
    assert_eq!(found.keys, [0]);

    let name = RecordBatch::try_from_iter([("name", text(&[Some("b"), Some("a")]))]).unwrap();
    let found = lake.rows_by_key(table.id, version, &name, &["id"], usize::MAX).await.unwrap().unwrap();
    let mut counts = BTreeMap::new();
    for key in found.keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(0, 1), (1, 3)]));
    // As many as there are, and one less than that.
    for (most, read) in [(4, true), (3, false)] {
        let found = lake.rows_by_key(table.id, version, &name, &["id"], most).await.unwrap();
        assert_eq!(found.is_some(), read, "{most}");
    }
    // A text that is no number is no key of a number.
    let wrong = RecordBatch::try_from_iter([("id", text(&[Some("x"), Some("2")]))]).unwrap();
    let found = lake.rows_by_key(table.id, version, &wrong, &["name"], usize::MAX).await.unwrap().unwrap();
    assert_eq!(found.keys, [1]);
    assert!(lake.rows_by_key(table.id, version, &name, &["absent"], usize::MAX).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_writer_see_whole_versions() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let count = 60;
    let state = |n: i64| (0..count).map(|id| (id, format!("{n}"))).collect::<Vec<_>>();
    let push = async |n: i64| {
        let owned = state(n);
        let batch = rows(&owned.iter().map(|(id, name)| (*id, name.as_str())).collect::<Vec<_>>());
        write(&lake, table.id, WriteMode::Upsert, &[batch], at(n)).await.unwrap();
    };
    push(1).await;
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (lake, stop, reads, id) = (lake.clone(), Arc::clone(&stop), Arc::clone(&reads), table.id);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let version = lake.version(id).await.unwrap();
                    let all: Vec<i64> = (0..count).collect();
                    let found = by_id(&lake, id, version, &all).await;
                    assert_eq!(found.len(), 60, "version {version}");
                    assert!(found.iter().all(|(_, name)| *name == found[0].1), "version {version} is mixed");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 2..12 {
        push(n).await;
    }
    lake.optimize(table.id, RunId::new()).await.unwrap();
    let began = SystemTime::now();
    while reads.load(Ordering::Relaxed) < 20 && began.elapsed().unwrap() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// What reading single rows brought into memory serves scans, too: the files are known by the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_scans_share_what_is_in_memory() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    let many: Vec<(i64, String)> = (0..30_000).map(|id| (id, format!("name {}", id % 97))).collect();
    let many: Vec<(i64, &str)> = many.iter().map(|(id, name)| (*id, name.as_str())).collect();
    write(&lake, table.id, WriteMode::Upsert, &[rows(&many)], at(1)).await.unwrap();
    let version = lake.version(table.id).await.unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    for id in (0..30_000).cycle().step_by(7) {
        assert_eq!(by_id(&lake, table.id, version, &[id]).await.len(), 1);
        if lake.pages_use().bytes > 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{:?}", lake.pages_use());
    }
    let providers = lake.providers(table.id, None).await.unwrap();
    let served = lake.pages_use().served;
    let session = lake.sessions().session(64 << 20);
    let scanned = session.read_table(providers.whole).unwrap().collect().await.unwrap();
    assert_eq!(scanned.iter().map(RecordBatch::num_rows).sum::<usize>(), 30_000);
    assert!(lake.pages_use().served > served, "{:?}", lake.pages_use());
    lake.forget_rows();
    assert_eq!(by_id(&lake, table.id, version, &[5]).await, pairs(&[(5, "name 5")]));
}

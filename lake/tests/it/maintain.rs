//! OPTIMIZE, VACUUM and checkpoints change no row.

use std::time::{Duration, SystemTime};

use crate::support::*;
use mavis_lake::{Error, Lake, WriteMode};
use mavis_types::{RunId, TableId};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn fill(lake: &Lake, table: TableId, units: i64) {
    for id in 0..units {
        write(lake, table, WriteMode::Upsert, &[rows(&[(units - id, "a")])], at(id + 1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn optimize_puts_files_together_sorted_and_keeps_rows_and_transactions() {
    let house = House::new();
    let lake = house.lake("a").await;
    let mut wanted = spec("sorted", &["id"], true);
    wanted.sort = vec!["id".to_owned()];
    let table = lake.ensure(&wanted).await.unwrap();
    fill(&lake, table.id, 4).await;
    let before = content(&lake, table.id, None).await;
    let done = lake.optimize(table.id, RunId::new()).await.unwrap();
    assert_eq!((done.files_before, done.files_after), (4, 1));
    assert_eq!(content(&lake, table.id, None).await, before);
    let unsorted = sql(&lake, table.id, None, "SELECT id FROM t").await;
    let ids: Vec<i64> = unsorted
        .iter()
        .flat_map(|batch| {
            arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(batch.column(0)).values().to_vec()
        })
        .collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!((unit.sequence(), unit.cursor()), (5, Some(&cursor(4))));
    unit.abandon().await;
    let again = lake.optimize(table.id, RunId::new()).await.unwrap();
    assert_eq!((again.files_before, again.files_after), (1, 1), "nothing left to do");
    assert_eq!(lake.version(table.id).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_deletes_old_unused_files_and_nothing_else() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    fill(&lake, table.id, 3).await;
    lake.optimize(table.id, RunId::new()).await.unwrap();
    let folder = house.path().join("lake").join(&table.location);
    for name in ["part-old-orphan.parquet", "part-new-orphan.parquet"] {
        std::fs::write(folder.join(name), "left behind").unwrap();
    }
    let old = std::fs::File::options().write(true).open(folder.join("part-old-orphan.parquet")).unwrap();
    old.set_modified(SystemTime::now() - 3 * DAY).unwrap();
    let done = lake.vacuum(table.id, DAY, RunId::new()).await.unwrap();
    assert_eq!(done.files_deleted, 1, "files removed a moment ago belong to versions that may be pinned");
    assert!(!folder.join("part-old-orphan.parquet").exists());
    assert!(folder.join("part-new-orphan.parquet").exists());
    assert_eq!(content(&lake, table.id, None).await.len(), 3);
    assert_eq!(content(&lake, table.id, Some(3)).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacuum_that_could_take_pinned_files_is_refused() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    for retention in [DAY - Duration::from_secs(1), DAY * 31] {
        let error = lake.vacuum(table.id, retention, RunId::new()).await.unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{error}");
    }
    let short = lake.vacuum(table.id, DAY / 2, RunId::new()).await.unwrap_err();
    assert!(short.to_string().contains("give 24 hours or more"), "{short}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_comes_after_a_hundred_commits_and_remembers_transactions() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let log = house.path().join("lake").join(&table.location).join("_delta_log");
    for step in 1..100 {
        write(&lake, table.id, WriteMode::Append, &[], at(step)).await.unwrap();
    }
    lake.checkpoint(table.id, RunId::new()).await.unwrap();
    assert!(!log.join("_last_checkpoint").exists());
    write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(100)).await.unwrap();
    lake.checkpoint(table.id, RunId::new()).await.unwrap();
    assert!(log.join("_last_checkpoint").exists());
    // The log before the checkpoint may go; where the application stands is in the checkpoint.
    for version in 0..100 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let lake = house.lake("a").await;
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!((unit.sequence(), unit.cursor()), (101, Some(&cursor(100))));
    unit.abandon().await;
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a")]));
}

//! Erased rows are in no version, in no file and in no log entry; what is left goes on.

use std::{path::PathBuf, sync::Arc};

use crate::support::*;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use mavis_catalog::Table;
use mavis_lake::{Error, HopInput, Lake, WriteMode, erase::Matches};
use mavis_types::RunId;
use rstest::rstest;

const NAME: &str = "kanarienvogel";

fn named(name: &'static str) -> Matches {
    Arc::new(move |batch: &RecordBatch| {
        Ok(batch.column(0).as_string::<i32>().iter().map(|own| Some(own == Some(name))).collect::<BooleanArray>())
    })
}

async fn erase(lake: &Lake, table: &Table, name: &'static str) -> u64 {
    lake.erase(table.id, &["name".to_owned()], named(name), RunId::new()).await.unwrap().rows
}

fn log(house: &House, table: &Table) -> Vec<PathBuf> {
    let folder = house.path().join("lake").join(&table.location).join("_delta_log");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Rows that a hop of this rule would carry now.
async fn waiting(lake: &Lake, input: &Table, output: &Table) -> usize {
    let hop = lake.begin_hop(input.id, output.id, "rule", RunId::new()).await.unwrap();
    let rows = match hop.input().clone() {
        HopInput::Nothing => None,
        HopInput::Changes { rows, .. } | HopInput::Whole { rows, .. } => Some(rows),
    };
    let mut count = 0;
    if let Some(rows) = rows {
        let session = lake.sessions().session(64 << 20);
        count = session.read_table(rows).unwrap().count().await.unwrap();
    }
    hop.abandon().await;
    count
}

#[rstest]
#[case::with_a_change_feed(true)]
#[case::without(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_rows_leave_every_version_once_the_past_is_forgotten(#[case] change_feed: bool) {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = lake.ensure(&spec("people", &["id"], change_feed)).await.unwrap();
    for (position, batch) in
        [rows(&[(1, "a"), (2, NAME)]), rows(&[(3, NAME), (4, "d")]), rows(&[(3, "c")])].iter().enumerate()
    {
        let end = at(i64::try_from(position).unwrap() + 1);
        write(&lake, table.id, WriteMode::Upsert, std::slice::from_ref(batch), end).await.unwrap();
    }
    let before = lake.version(table.id).await.unwrap();
    assert_eq!(erase(&lake, &table, "nobody").await, 0);
    assert_eq!(lake.version(table.id).await.unwrap(), before, "nothing to erase is no version");
    assert_eq!(erase(&lake, &table, NAME).await, 1);
    let left = pairs(&[(1, "a"), (3, "c"), (4, "d")]);
    assert_eq!(content(&lake, table.id, None).await, left);
    assert_eq!(
        content(&lake, table.id, Some(before)).await.len(),
        4,
        "older versions are there until they are forgotten"
    );

    let now = lake.version(table.id).await.unwrap();
    let refused = lake.forget_past(table.id, Some(before), RunId::new()).await.unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    lake.forget_past(table.id, Some(now), RunId::new()).await.unwrap();
    assert!(matches!(lake.provider(table.id, Some(before)).await, Err(Error::NoSuchVersion { .. })));
    assert_eq!(content(&lake, table.id, None).await, left);
    let newest = format!("{now:020}");
    for entry in log(&house, &table) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with(&newest) || name.starts_with("_last_checkpoint"), "{name}");
        let text = std::fs::read(&entry).unwrap();
        assert!(!text.windows(NAME.len()).any(|window| window == NAME.as_bytes()), "{name}");
    }
    let files: usize = sql(&lake, table.id, None, "SELECT 1 FROM t").await.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(files, 3);

    // The application goes on where it was; another process opens the table.
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(5, "e")])], at(9)).await.unwrap();
    let other = house.lake("b").await;
    assert_eq!(content(&other, table.id, None).await.len(), 4);
    let unit = other.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!((unit.sequence(), unit.cursor()), (5, Some(&cursor(9))));
    unit.abandon().await;
}

/// The entries after the version that the other has open are gone with it: that the next is not there does not make it the
/// newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_sees_the_newest_version_after_the_past_was_forgotten() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, NAME)])], at(1)).await.unwrap();
    let other = house.lake("b").await;
    assert_eq!(content(&other, table.id, None).await.len(), 2);
    for position in 2..5 {
        write(&lake, table.id, WriteMode::Upsert, &[rows(&[(position, "x")])], at(position)).await.unwrap();
        assert_eq!(content(&other, table.id, None).await.len(), usize::try_from(position).unwrap());
    }
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(9, "y")])], at(9)).await.unwrap();
    erase(&lake, &table, NAME).await;
    lake.forget_past(table.id, None, RunId::new()).await.unwrap();
    assert_eq!(other.version(table.id).await.unwrap(), lake.version(table.id).await.unwrap());
    assert_eq!(content(&other, table.id, None).await, content(&lake, table.id, None).await);
}

/// Who writes trusts the list of the log alone: whatever is missing after the version that it has open, it writes on the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_with_an_old_version_open_does_not_write_into_a_hole() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyed(&lake).await;
    write(&lake, table.id, WriteMode::Upsert, &[rows(&[(1, "a")])], at(1)).await.unwrap();
    let other = house.lake("b").await;
    assert_eq!(content(&other, table.id, None).await.len(), 1);
    let old = other.version(table.id).await.unwrap();
    for position in 2..6 {
        write(&lake, table.id, WriteMode::Upsert, &[rows(&[(position, "x")])], at(position)).await.unwrap();
    }
    lake.optimize(table.id, RunId::new()).await.unwrap();
    // As a clean-up leaves it that ended in the middle, and began there.
    let next = format!("{:020}.json", old + 1);
    let hole = log(&house, &table).into_iter().find(|entry| entry.ends_with(&next)).unwrap();
    std::fs::remove_file(hole).unwrap();
    write(&other, table.id, WriteMode::Upsert, &[rows(&[(6, "y")])], at(6)).await.unwrap();
    let all = pairs(&[(1, "a"), (2, "x"), (3, "x"), (4, "x"), (5, "x"), (6, "y")]);
    assert_eq!(content(&other, table.id, None).await, all);
    assert_eq!(content(&house.lake("c").await, table.id, None).await, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_passes_over_what_was_erased() {
    let house = House::new();
    let lake = house.lake("a").await;
    let input = lake.ensure(&spec("input", &["id"], true)).await.unwrap();
    let output = lake.ensure(&spec("output", &["id"], true)).await.unwrap();
    write(&lake, input.id, WriteMode::Upsert, &[rows(&[(1, "a"), (2, NAME)])], at(1)).await.unwrap();
    assert_eq!(waiting(&lake, &input, &output).await, 2);
    let hop = lake.begin_hop(input.id, output.id, "rule", RunId::new()).await.unwrap();
    let mut writer = hop.write(schema(), None).await.unwrap();
    writer.push(&rows(&[(1, "a"), (2, NAME)])).await.unwrap();
    writer.finish(mavis_lake::End::default()).await.unwrap();
    assert_eq!(erase(&lake, &input, NAME).await, 1);
    assert_eq!(waiting(&lake, &input, &output).await, 0, "the row that stayed is no news");
}

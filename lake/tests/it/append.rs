//! Appends, the commit protocol, and what a reader sees.

use crate::support::*;
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Int64Type},
};
use mavis_lake::{AppId, End, Error, WriteMode};
use mavis_types::{RunId, SourceId};
use rstest::rstest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appended_rows_are_read_back_with_the_lakes_columns() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let done =
        write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a"), (2, "b"), (2, "b")])], at(1)).await.unwrap();
    assert_eq!((done.version, done.sequence, done.counts.inserted), (1, 1, 3));
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a"), (2, "b"), (2, "b")]));
    let query =
        "SELECT count(DISTINCT __hash), count(DISTINCT __occurrence), count(__run), count(__ingested_at) FROM t";
    let batch = &sql(&lake, table.id, None, query).await[0];
    let values: Vec<i64> = batch.columns().iter().map(|c| c.as_primitive::<Int64Type>().value(0)).collect();
    assert_eq!(values, [2, 3, 3, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_unit_begins_where_the_last_one_ended() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    for step in 1..=3 {
        let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
        assert_eq!(unit.sequence(), step);
        assert_eq!(unit.cursor().cloned(), (step > 1).then(|| cursor(step - 1)));
        let mut writer = unit.write(WriteMode::Append, schema()).await.unwrap();
        writer.push(&rows(&[(step, "x")])).await.unwrap();
        writer.finish(at(step)).await.unwrap();
    }
    assert_eq!(number(&lake, table.id, "SELECT count(*) FROM t").await, 3);
    let told = lake.catalog().table_by_id(table.id).await.unwrap();
    assert_eq!((told.version, told.rows), (Some(3), Some(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_moved_without_rows_commits_the_transaction_alone() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let done = write(&lake, table.id, WriteMode::Append, &[], at(7)).await.unwrap();
    assert_eq!((done.version, done.sequence), (1, 1));
    let again = write(&lake, table.id, WriteMode::Append, &[], at(7)).await.unwrap();
    assert_eq!((again.version, again.sequence), (1, 1), "nothing moved: nothing is committed");
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!(unit.cursor(), Some(&cursor(7)));
    unit.abandon().await;
    assert_eq!(data_files(&house, &table), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_is_abandoned_or_dropped_leaves_nothing() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    for abandon in [true, false] {
        let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
        let mut writer = unit.write(WriteMode::Append, schema()).await.unwrap();
        writer.push(&rows(&[(1, "x")])).await.unwrap();
        if abandon {
            writer.abandon().await;
        } else {
            drop(writer);
        }
        // The lease is free again, so this does not wait for it to run out.
        lake.begin(table.id, app(table.id), RunId::new()).await.unwrap().abandon().await;
    }
    assert_eq!(number(&lake, table.id, "SELECT count(*) FROM t").await, 0);
    assert_eq!(data_files(&house, &table), 0);
    assert_eq!(lake.version(table.id).await.unwrap(), 0);
}

#[rstest]
#[case::lost(false)]
#[case::durable(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_reports_an_error_is_done_once(#[case] takes_effect: bool) {
    let house = House::new();
    let (lake, faults) = house.faulty("a").await;
    let table = keyless(&lake).await;
    faults.fail_commit(takes_effect, false);
    let done = write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap();
    assert_eq!((done.version, done.sequence), (1, 1));
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a")]));
}

#[rstest]
#[case::before_the_commit(false)]
#[case::right_after_the_commit(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_death_at_the_commit_the_next_unit_knows_whether_it_took_effect(#[case] takes_effect: bool) {
    let house = House::new();
    let (lake, faults) = house.faulty("a").await;
    let table = keyless(&lake).await;
    faults.fail_commit(takes_effect, true);
    let error = write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap_err();
    assert!(error.to_string().contains("the next run finds out"), "{error}");
    drop(lake);
    let lake = house.lake("a").await;
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!(unit.sequence(), if takes_effect { 2 } else { 1 });
    assert_eq!(unit.cursor().is_some(), takes_effect);
    unit.abandon().await;
    if !takes_effect {
        write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap();
    }
    assert_eq!(content(&lake, table.id, None).await, pairs(&[(1, "a")]));
    let told = lake.catalog().table_by_id(table.id).await.unwrap();
    assert_eq!(told.version, Some(1), "the catalog hears of the commit too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_commits_nothing_and_leaves_no_file() {
    let house = House::new();
    let (lake, faults) = house.faulty("a").await;
    let table = keyless(&lake).await;
    faults.fail_after(0, false, false);
    let error = write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Store { .. }), "{error}");
    assert_eq!(error.to_string().matches("no space left on device").count(), 1, "{error}");
    assert_eq!(lake.version(table.id).await.unwrap(), 0);
    assert_eq!(data_files(&house, &table), 0);
    let done = write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap();
    assert_eq!(done.counts.inserted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_older_than_the_lake_is_told_from_a_new_source() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let backup = house.path().join("backup.sqlite");
    let catalog = house.path().join("catalog.sqlite");
    drop(lake);
    for suffix in ["", "-wal", "-shm"] {
        let from = format!("{}{suffix}", catalog.display());
        if std::path::Path::new(&from).exists() {
            std::fs::copy(from, format!("{}{suffix}", backup.display())).unwrap();
        }
    }
    let lake = house.lake("a").await;
    write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap();
    drop(lake);
    let old = mavis_catalog::Catalog::open(&format!("sqlite://{}", backup.display())).await.unwrap();
    let lake = mavis_lake::Lake::open(house.options("b"), old).await.unwrap();
    let error = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap_err();
    assert!(matches!(error, Error::CatalogBehind { sequence: 1, .. }), "{error}");
    // Another source is none of that.
    let other = AppId::ingest(SourceId::new(), table.id);
    lake.begin(table.id, other, RunId::new()).await.unwrap().abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_unit_started_twice_runs_one_after_the_other() {
    let house = House::new();
    let (one, two) = (house.lake("a").await, house.lake("b").await);
    let table = keyless(&one).await;
    let step = |lake: mavis_lake::Lake| async move {
        let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
        let from = unit.cursor().map_or(0, |cursor| cursor.0["at"].as_i64().unwrap());
        let mut writer = unit.write(WriteMode::Append, schema()).await.unwrap();
        for id in from..10 {
            writer.push(&rows(&[(id, "x")])).await.unwrap();
        }
        writer.finish(at(10)).await.unwrap().counts.inserted
    };
    let id = table.id;
    let (a, b) = tokio::join!(tokio::spawn(step(one.clone())), tokio::spawn(step(two)));
    assert_eq!(a.unwrap() + b.unwrap(), 10);
    assert_eq!(number(&one, id, "SELECT count(DISTINCT id) FROM t").await, 10);
    assert_eq!(number(&one, id, "SELECT count(*) FROM t").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_stays_in_use_is_busy() {
    let mut house = House::new();
    house.tuning.lease_wait = std::time::Duration::from_millis(300);
    let (lake, _) = house.faulty("a").await;
    let table = keyless(&lake).await;
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let error = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    unit.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_lease_was_taken_over_commits_nothing() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Append, schema()).await.unwrap();
    writer.push(&rows(&[(1, "slow")])).await.unwrap();
    // A new life of the same server ends the leases of the old one, and is quicker.
    let next = house.lake("a").await;
    write(&next, table.id, WriteMode::Append, &[rows(&[(2, "quick")])], at(2)).await.unwrap();
    let error = writer.finish(at(1)).await.unwrap_err();
    assert!(matches!(error, Error::Catalog(mavis_catalog::Error::LeaseLost { .. })), "{error}");
    assert_eq!(content(&next, table.id, None).await, pairs(&[(2, "quick")]));
    let unit = next.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!(unit.cursor(), Some(&cursor(2)), "the cursor is that of the commit");
    assert_eq!(data_files(&house, &table), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_that_statistics_could_answer_are_exact() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let long = "y".repeat(100);
    let batch: RecordBatch = rows(&[(1, "b"), (5, &long), (3, "x")]);
    write(&lake, table.id, WriteMode::Append, &[batch], at(1)).await.unwrap();
    let batch = &sql(&lake, table.id, None, "SELECT max(name), min(id), max(id) FROM t").await[0];
    assert_eq!(batch.column(0).as_string::<i32>().value(0), long);
    assert_eq!(number(&lake, table.id, "SELECT count(*) FROM t WHERE name > 'yy'").await, 1);
    assert_eq!(number(&lake, table.id, "SELECT count(*) FROM t WHERE __ingested_at <= now()").await, 3);
    let run = "SELECT count(*) FROM t WHERE __ingested_at = (SELECT max(__ingested_at) FROM t)";
    assert_eq!(number(&lake, table.id, run).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_rows_reads_no_data_file() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a"), (2, "b")])], at(1)).await.unwrap();
    for entry in std::fs::read_dir(house.path().join("lake").join(&table.location)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(number(&lake, table.id, "SELECT count(*) FROM t").await, 2);
    assert_eq!(lake.row_count(table.id, None).await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_versions_are_read_by_number_and_by_time() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let mut times = vec![chrono::Utc::now()];
    for step in 1..=3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        write(&lake, table.id, WriteMode::Append, &[rows(&[(step, "x")])], at(step)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        times.push(chrono::Utc::now());
    }
    assert_eq!(content(&lake, table.id, Some(2)).await.len(), 2);
    assert_eq!(lake.row_count(table.id, Some(1)).await.unwrap(), Some(1));
    for (version, time) in times.iter().enumerate() {
        assert_eq!(lake.version_at(table.id, *time).await.unwrap(), version as i64);
    }
    let before = times[0] - chrono::TimeDelta::days(1);
    assert!(matches!(lake.version_at(table.id, before).await.unwrap_err(), Error::NoSuchVersion { .. }));
    let error = lake.provider(table.id, Some(9)).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchVersion { oldest: 0, newest: 3, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_have_the_types_of_the_schema() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let schema = lake.schema(table.id).await.unwrap();
    assert_eq!(schema.field_with_name("name").unwrap().data_type(), &DataType::Utf8);
    assert_eq!(lake.provider(table.id, None).await.unwrap().schema(), schema);
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name", "__run", "__ingested_at", "__hash", "__source", "__occurrence"]);
    let told = lake.catalog().columns(table.id).await.unwrap();
    assert_eq!(told.len(), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_not_there_is_named() {
    let house = House::new();
    let lake = house.lake("a").await;
    let id = mavis_types::TableId::new();
    let error = lake.begin(id, app(id), RunId::new()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_set_aside_are_listed_once_and_counted() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    for attempt in 0..2 {
        let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
        let mut writer = unit.write(WriteMode::Append, schema()).await.unwrap();
        for payload in ["bad 1", "bad 2"] {
            let row = mavis_catalog::NewQuarantined {
                app_id: String::new(),
                sequence: 0,
                ordinal: 0,
                run: RunId::new(),
                table: table.id,
                step: mavis_catalog::Step::ToRaw,
                reason: "not a number".to_owned(),
                origin: "line 1".to_owned(),
                payload: payload.to_owned(),
            };
            writer.quarantine(row).await.unwrap();
        }
        writer.push(&rows(&[(1, "a")])).await.unwrap();
        writer.note_deduplicated(3);
        if attempt == 0 {
            writer.abandon().await;
        } else {
            let counts = writer.finish(End { cursor: Some(cursor(1)), whole: true }).await.unwrap().counts;
            assert_eq!((counts.read, counts.inserted, counts.quarantined, counts.deduplicated), (6, 1, 2, 3));
            assert!(counts.balances());
        }
    }
    let listed = lake.catalog().quarantined(&mavis_catalog::QuarantineFilter::default()).await.unwrap();
    assert_eq!(listed.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_that_do_not_add_up_commit_nothing() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Append, schema()).await.unwrap();
    writer.push(&rows(&[(1, "a")])).await.unwrap();
    writer.note_fanned_out(5);
    let error = writer.finish(at(1)).await.unwrap_err();
    assert!(matches!(error, Error::Unbalanced { .. }), "{error}");
    assert_eq!((lake.version(table.id).await.unwrap(), data_files(&house, &table)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_row_that_a_sleeper_overwrote_is_corrected_from_the_commit() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a")])], at(1)).await.unwrap();
    let late = mavis_catalog::NewCursor {
        app_id: app(table.id).as_str().to_owned(),
        sequence: 1,
        table: table.id,
        from: None,
        to: Some(cursor(99)),
        run: RunId::new(),
    };
    lake.catalog().write_cursor(&late).await.unwrap();
    let unit = lake.begin(table.id, app(table.id), RunId::new()).await.unwrap();
    assert_eq!(unit.cursor(), Some(&cursor(1)));
    unit.abandon().await;
    let row = lake.catalog().cursor(app(table.id).as_str(), 1).await.unwrap().unwrap();
    assert_eq!(row.to, Some(cursor(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_ups_and_scans_find_the_same_rows() {
    let house = House::new();
    let lake = house.lake("a").await;
    let table = keyless(&lake).await;
    write(&lake, table.id, WriteMode::Append, &[rows(&[(1, "a"), (2, "b"), (3, "b")])], at(1)).await.unwrap();
    let session = lake.sessions().session(64 << 20);
    session.register_table("t", lake.providers(table.id, None).await.unwrap().look_up).unwrap();
    let found = session.sql("SELECT id FROM t WHERE name = 'b'").await.unwrap().collect().await.unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

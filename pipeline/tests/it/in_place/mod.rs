//! Trees of Parquet files that are tables where they lie: the same rows as a copy, and nothing of them is ever written.

mod folders;
mod tree;

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arrow::{
    array::{AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use mavis_catalog::{Run, RunState, Step};
use mavis_connectors::{Registry, Secrets, SourceSpec};
use mavis_lake::erase::Matches;
use mavis_types::RunId;
use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder};
use parquet::{
    data_type::{Int64Type as ParquetInt64, Int96, Int96Type},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use rstest::rstest;
use serde_json::json;

use crate::support::*;
use tree::{Old, TABLE, declare, encoded, patients};

fn read(run: &Run) -> u64 {
    run.counts.read
}

async fn ids(life: &Life, table: &str) -> Vec<i64> {
    let ids = life.ask(table, "SELECT patient_id FROM t ORDER BY patient_id").await;
    ids.into_iter().map(|id| id.unwrap().parse().unwrap()).collect()
}

const WHOLE: &str = "SELECT concat_ws('|', patient_id, coalesce(cast(weight AS text), '-'), coalesce(name, '-'), born, seen, paid, \
                     alive, coalesce(later, '-'), year, coalesce(site, '-'), __source) FROM t";

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_a_table_where_it_lies_shows_the_rows_of_its_copy() {
    let old = Old::new();
    let before = old.state();
    let life = old.taken().await;
    life.add("copied", "hive", old.params(json!({}))).await;
    assert!(completed(&life.ingest("copied").await));
    for condition in [
        "",
        "WHERE year = 2024",
        "WHERE site IS NULL",
        "WHERE site = 'Saint Denis' AND patient_id >= 9",
        "WHERE patient_id = 13",
        "WHERE weight IS NULL",
        "WHERE weight > 70 OR name = 'n3 é'",
        "WHERE born < DATE '1970-01-01'",
        "WHERE seen > TIMESTAMP '1970-01-01 00:00:17'",
        "WHERE paid BETWEEN 3.05 AND 14.05",
        "WHERE later IS NOT NULL",
    ] {
        let sql = format!("{WHOLE} {condition} ORDER BY patient_id");
        let copied = life.ask("raw.copied.hms_patient", &sql.replace("__source", "'here'")).await;
        assert_eq!(life.ask(TABLE, &sql).await, copied, "{condition}");
    }
    assert_eq!(
        life.ask(TABLE, "SELECT count(DISTINCT __run) FROM t WHERE __ingested_at > now() - INTERVAL '1 hour'").await,
        [Some("1".to_owned())]
    );
    let processed =
        "SELECT concat_ws('|', patient_id, weight, name, born, seen, paid, year, site) FROM t ORDER BY patient_id";
    assert_eq!(
        life.ask("processed.here.hms_patient", processed).await,
        life.ask("processed.copied.hms_patient", processed).await
    );
    let columns = |table: &str| {
        let (life, table) = (&life, table.parse().unwrap());
        async move {
            let table = life.catalog.table(&table).await.unwrap();
            let columns = life.catalog.columns(table.id).await.unwrap();
            let told = columns.into_iter().map(|c| (c.name, c.data_type, c.source_type, c.comment));
            (table.rows, table.comment, told.collect::<Vec<_>>())
        }
    };
    assert_eq!(columns(TABLE).await, columns("raw.copied.hms_patient").await);
    assert_eq!(old.state(), before, "the tree was written to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_takes_only_what_is_new() {
    let old = Old::new();
    let life = old.taken().await;
    let version = life.version(TABLE).await;
    let run = life.ingest("here").await;
    assert_eq!((run.state, read(&run), life.version(TABLE).await), (RunState::Completed, 0, version));
    old.put("year=2025/site=nord/000000_0", &patients(20, 23));
    let run = life.ingest("here").await;
    assert_eq!(life.counts(run.id, Step::ToRaw, TABLE).await.inserted, 3);
    assert_eq!(life.version(TABLE).await, version + 1);
    assert_eq!(ids(&life, TABLE).await, (0..23).collect::<Vec<_>>());
    assert_eq!(life.ask(TABLE, "SELECT DISTINCT __run FROM t WHERE year = 2025").await, [Some(run.id.to_string())]);
    assert_eq!(ids(&life, "processed.here.hms_patient").await.len(), 23);
    // A file of a later writer has one column more, and the one that was declared and in no file yet.
    let more = encoded(vec![
        ("patient_id", Arc::new(Int64Array::from(vec![23]))),
        ("later", Arc::new(StringArray::from(vec!["now"]))),
        ("stay", Arc::new(Int32Array::from(vec![7]))),
    ]);
    old.put("year=2025/site=nord/000001_0", &more);
    assert!(completed(&life.ingest("here").await));
    let sql = "SELECT concat_ws('|', later, stay, year, site) FROM t WHERE later IS NOT NULL";
    assert_eq!(life.ask(TABLE, sql).await, [Some("now|7|2025|nord".to_owned())]);
    assert_eq!(life.ask(TABLE, "SELECT count(*) FROM t WHERE stay IS NULL").await, [Some("23".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_declared_brings_only_new_rows_to_the_processed_table() {
    let old = Old::new();
    let life = old.house.start().await;
    let keyed = json!({"take_over": "in_place", "clean": {"tables": {"hms_patient": {"key": ["patient_id"]}}}});
    life.add("here", "hive", old.params(keyed)).await;
    assert!(completed(&life.ingest("here").await));
    old.put("year=2025/site=nord/000000_0", &patients(19, 23));
    let run = life.ingest("here").await;
    let counts = life.counts(run.id, Step::ToProcessed, "processed.here.hms_patient").await;
    assert_eq!((counts.read, counts.inserted, counts.updated), (4, 3, 1));
    assert_eq!(ids(&life, "processed.here.hms_patient").await, (0..23).collect::<Vec<_>>());
    // What a file held before it was changed nobody knows: then everything is compared.
    old.put("year=2023/site=Saint%20Denis/000000_0", &patients(5, 12));
    assert!(completed(&life.ingest("here").await));
    assert_eq!(ids(&life, "processed.here.hms_patient").await, (5..23).collect::<Vec<_>>());
}

#[rstest]
#[case::of_another_size(patients(100, 101))]
#[case::of_the_same_size(patients(0, 12).into_iter().collect())]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_its_owner_changed_is_never_read_as_what_it_was(#[case] now: Vec<u8>) {
    let old = Old::new();
    let life = old.taken().await;
    assert_eq!(ids(&life, TABLE).await.len(), 20);
    let changed = old.folder().join("year=2023/site=Saint%20Denis/000000_0");
    fs::write(&changed, &now).unwrap();
    // Whatever the clock's steps are.
    fs::File::options()
        .write(true)
        .open(&changed)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
    let table = life.catalog.table(&TABLE.parse().unwrap()).await.unwrap();
    let session = life.lake.sessions().session(64 << 20);
    session.register_table("t", life.lake.provider(table.id, None).await.unwrap()).unwrap();
    let read = session.sql("SELECT sum(patient_id) FROM t WHERE year = 2023").await.unwrap().collect().await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("was changed by its owner") && error.contains("run its source again"), "{error}");
    let first = life.version(TABLE).await;
    let run = life.ingest("here").await;
    assert!(completed(&run), "{run:?}");
    let log = life.log(run.id).await.join("\n");
    assert!(log.contains("1 files were changed by their owner"), "{log}");
    let counts = life.counts(run.id, Step::ToRaw, TABLE).await;
    assert_eq!(counts.deleted, 12);
    let wanted =
        if now.len() == patients(0, 12).len() { (0..20).collect() } else { (12..20).chain([100]).collect::<Vec<_>>() };
    assert_eq!(ids(&life, TABLE).await, wanted);
    assert_eq!(ids(&life, "processed.here.hms_patient").await, wanted);
    // The older version names what is there no more.
    let older = life.lake.provider(table.id, Some(first)).await.unwrap_err().to_string();
    assert!(older.contains("was changed by its owner since"), "{older}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_gone_are_an_error_until_somebody_says_what_is_meant() {
    let old = Old::new();
    let life = old.taken().await;
    fs::remove_dir_all(old.folder().join("year=2023")).unwrap();
    old.put("year=2025/site=nord/000000_0", &patients(20, 23));
    let version = life.version(TABLE).await;
    let run = life.ingest("here").await;
    assert_eq!((run.state, life.version(TABLE).await), (RunState::Failed, version));
    let error = run.error.unwrap();
    assert!(
        error.contains("1 files of its tree are gone (`year=*/site=*/*#") && error.contains("missing_files"),
        "{error}"
    );
    declare(&life, old.params(json!({"take_over": "in_place", "missing_files": "remove"}))).await;
    let run = life.ingest("here").await;
    assert_eq!(run.state, RunState::CompletedWithWarnings);
    assert!(life.log(run.id).await.join("\n").contains("1 files are gone; 12 rows left the table"));
    assert_eq!(ids(&life, TABLE).await, (12..23).collect::<Vec<_>>());
    assert_eq!(ids(&life, "processed.here.hms_patient").await, (12..23).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_upkeep_and_no_removal_touches_the_tree() {
    let old = Old::new();
    for number in 0..20 {
        old.put(&format!("year=2026/site=x/{number:06}_0"), &patients(100 + number, 101 + number));
    }
    let before = old.state();
    let life = old.taken().await;
    let table = life.catalog.table(&TABLE.parse().unwrap()).await.unwrap();
    let whole = life.ask(TABLE, &format!("{WHOLE} ORDER BY 1")).await;
    let files = life.lake.file_count(table.id).await.unwrap();
    life.lake.optimize(table.id, RunId::new()).await.unwrap();
    life.lake.compact(table.id, 2, RunId::new()).await.unwrap();
    life.lake.vacuum(table.id, Duration::from_secs(24 * 3600), RunId::new()).await.unwrap();
    life.lake.forget_past(table.id, None, RunId::new()).await.unwrap();
    assert_eq!(life.lake.file_count(table.id).await.unwrap(), files);
    life.pipeline.remove_source(&me(), &name("here")).await.unwrap();
    assert_eq!(old.state(), before);
    life.pipeline.stop().await;
    drop(life);
    // Another process knows how the files are read, though the source was removed.
    let life = old.house.start().await;
    assert_eq!(life.ask(TABLE, &format!("{WHOLE} ORDER BY 1")).await, whole);
    assert_eq!(old.state(), before);
}

/// A store compares the time of change to the nanosecond, a log keeps it in milliseconds.
#[rstest]
#[case::a_nanosecond(1)]
#[case::under_a_microsecond(123_000_456)]
#[case::a_whole_microsecond(123_000_000)]
#[case::the_last(999_999_999)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_readable_whatever_its_time_of_change(#[case] nanos: u32) {
    let old = Old::new();
    let file = fs::File::options().write(true).open(old.folder().join("year=2023/site=Saint%20Denis/000000_0"));
    file.unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, nanos)).unwrap();
    let life = old.taken().await;
    assert_eq!(ids(&life, TABLE).await.len(), 20);
    let run = life.ingest("here").await;
    assert_eq!((run.state, read(&run)), (RunState::Completed, 0));
}

fn with_ids(wanted: &'static [i64]) -> Matches {
    Arc::new(move |batch: &RecordBatch| {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        Ok(ids.iter().map(|id| Some(id.is_some_and(|id| wanted.contains(&id)))).collect::<BooleanArray>())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_rows_stay_out_and_their_owner_is_told_which_file_holds_them() {
    let old = Old::new();
    old.put("year=2025/site=nord/000000_0", &patients(20, 21));
    let before = old.state();
    let life = old.taken().await;
    let table = life.catalog.table(&TABLE.parse().unwrap()).await.unwrap();
    let whole = life.ask(TABLE, &format!("{WHOLE} WHERE patient_id NOT IN (3, 20) ORDER BY 1")).await;
    let key = ["patient_id".to_owned()];
    let erased = life.lake.erase(table.id, &key, with_ids(&[3, 20]), RunId::new()).await.unwrap();
    assert_eq!((erased.rows, erased.foreign.len()), (2, 2));
    assert!(erased.foreign.iter().any(|file| file.ends_with("year=2023/site=Saint%20Denis/000000_0")), "{erased:?}");
    life.lake.forget_past(table.id, None, RunId::new()).await.unwrap();
    let all = format!("{WHOLE} ORDER BY 1");
    assert_eq!(life.ask(TABLE, &all).await, whole);
    assert_eq!(
        life.ask(TABLE, "SELECT count(*) FROM t WHERE year = 2023 AND site = 'Saint Denis'").await,
        [Some("11".to_owned())]
    );
    // Not by a second run either, and not by a second erasure of the same file.
    assert!(completed(&life.ingest("here").await));
    assert_eq!(life.ask(TABLE, &all).await, whole);
    let erased = life.lake.erase(table.id, &key, with_ids(&[4]), RunId::new()).await.unwrap();
    assert_eq!((erased.rows, erased.foreign.len()), (1, 0), "the file is ours by now");
    assert_eq!(old.state(), before, "the tree was written to");
    // The owner does what he was told: what is left of the files stays.
    fs::remove_dir_all(old.folder().join("year=2023")).unwrap();
    fs::remove_dir_all(old.folder().join("year=2025")).unwrap();
    let run = life.ingest("here").await;
    assert!(completed(&run), "{run:?}");
    let left: Vec<i64> = (0..20).filter(|id| ![3, 4].contains(id)).collect();
    assert_eq!(ids(&life, TABLE).await, left);
    // Or he writes a file anew: that one counts.
    old.put("year=2024/site=__HIVE_DEFAULT_PARTITION__/part-0.snappy.parquet", &patients(12, 19));
    assert!(completed(&life.ingest("here").await));
    assert_eq!(ids(&life, TABLE).await, left[..left.len() - 1]);
}

fn other_type() -> Vec<u8> {
    encoded(vec![("patient_id", Arc::new(Int32Array::from(vec![50])))])
}

fn other_case() -> Vec<u8> {
    encoded(vec![("PATIENT_ID", Arc::new(Int64Array::from(vec![50])))])
}

#[rstest]
#[case::another_type(
    "year=2024/site=a/odd.parquet",
    other_type(),
    "column `patient_id` is Int32 there and Int64 in other files"
)]
#[case::another_name(
    "year=2024/site=a/odd.parquet",
    other_case(),
    "calls a column `PATIENT_ID` that other files call `patient_id`"
)]
#[case::a_folder_of_no_number("year=zebra/site=a/odd.parquet", patients(50, 51), "column `year` is no Int32")]
#[case::no_parquet("year=2024/site=a/odd.parquet", b"PAR1 or not".to_vec(), "is no Parquet")]
#[case::a_type_that_delta_has_not(
    "year=2024/site=a/odd.parquet",
    encoded(vec![("extra", Arc::new(arrow::array::UInt64Array::from(vec![1])))]),
    "column `extra` is UInt64"
)]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_as_it_lies_is_refused_with_the_file_and_the_way_out(
    #[case] file: &str,
    #[case] bytes: Vec<u8>,
    #[case] part: &str,
) {
    let old = Old::new();
    let life = old.taken().await;
    old.put(file, &bytes);
    let run = life.ingest("here").await;
    assert_eq!(run.state, RunState::Failed);
    let error = life.log(run.id).await.join("\n") + &run.error.unwrap();
    assert!(error.contains(part) && error.contains("file `year=*/site=*/*.parquet#"), "{error}");
    assert_eq!(ids(&life, TABLE).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_copied_does_not_turn_into_its_files_nor_the_other_way_round() {
    let old = Old::new();
    let life = old.taken().await;
    declare(&life, old.params(json!({}))).await;
    let error = life.ingest("here").await.error.unwrap();
    assert!(error.contains("taken over in place") && error.contains("another name"), "{error}");
    life.add("copied", "hive", old.params(json!({}))).await;
    assert!(completed(&life.ingest("copied").await));
    let spec = SourceSpec {
        name: name("copied"),
        kind: "hive".to_owned(),
        params: old.params(json!({"take_over": "in_place"})),
        authoritative: false,
    };
    life.pipeline.update_source(&me(), spec).await.unwrap();
    let error = life.ingest("copied").await.error.unwrap();
    assert!(error.contains("another name"), "{error}");
    assert_eq!(ids(&life, TABLE).await.len(), 20);
    assert_eq!(ids(&life, "raw.copied.hms_patient").await.len(), 20);
}

/// A file as Hive writes it: times in 96 bits, without a word of Arrow.
fn of_hive(times: &[(i64, [u32; 3])]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message hive { optional int64 id; optional int96 at; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let levels = vec![1; times.len()];
    let mut column = group.next_column().unwrap().unwrap();
    let numbers: Vec<i64> = times.iter().map(|(id, _)| *id).collect();
    column.typed::<ParquetInt64>().write_batch(&numbers, Some(&levels), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<Int96> = times.iter().map(|(_, parts)| Int96::from(parts.to_vec())).collect();
    column.typed::<Int96Type>().write_batch(&values, Some(&levels), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_as_hive_writes_them_are_read_in_every_year() {
    let house = House::new();
    let folder = house.path("old/visits");
    fs::create_dir_all(&folder).unwrap();
    // Julian days of 0001-01-01, 2024-02-29 and 9999-12-31; nanoseconds of the day.
    let nanos = 3_661_000_000_000_u64 + 1_000;
    let parts = |day: u32| [(nanos & 0xffff_ffff) as u32, (nanos >> 32) as u32, day];
    fs::write(
        folder.join("a.parquet"),
        of_hive(&[(1, parts(1_721_426)), (2, parts(2_460_370)), (3, parts(5_373_484))]),
    )
    .unwrap();
    let life = house.start().await;
    life.add("here", "hive", json!({"root": house.path("old"), "take_over": "in_place"})).await;
    life.add("copied", "hive", json!({"root": house.path("old")})).await;
    assert!(completed(&life.ingest("here").await));
    assert!(completed(&life.ingest("copied").await));
    let wanted = ["0001-01-01T01:01:01.000001", "2024-02-29T01:01:01.000001", "9999-12-31T01:01:01.000001"];
    let sql = "SELECT cast(at AS text) FROM t ORDER BY id";
    let wanted: Vec<Option<String>> = wanted.iter().map(|text| Some((*text).to_owned())).collect();
    assert_eq!(life.ask("raw.here.visits", sql).await, wanted);
    assert_eq!(life.ask("raw.copied.visits", sql).await, wanted);
    let table = life.catalog.table(&"raw.here.visits".parse().unwrap()).await.unwrap();
    life.lake.erase(table.id, &["id".to_owned()], with_ids(&[2]), RunId::new()).await.unwrap();
    assert_eq!(life.ask("raw.here.visits", sql).await, [wanted[0].clone(), wanted[2].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_in_a_bucket_is_a_table_where_it_lies() {
    let Ok(endpoint) = std::env::var("MAVIS_TEST_S3") else {
        assert!(std::env::var("CI").is_err(), "MAVIS_TEST_S3 names no S3 server");
        println!("skipped: MAVIS_TEST_S3 names no S3 server");
        return;
    };
    let bucket = format!("old-{}", uuid::Uuid::new_v4().simple());
    make_bucket(&endpoint, &bucket);
    let store = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_bucket_name(&bucket)
        .with_region("us-east-1")
        .with_access_key_id("tests")
        .with_secret_access_key("tests")
        .build()
        .unwrap();
    let put = |name: &str, bytes: Vec<u8>| {
        let (store, path) = (&store, object_store::path::Path::parse(format!("lake/hms_patient/{name}")).unwrap());
        async move { store.put(&path, bytes.into()).await.unwrap() }
    };
    put("year=2023/site=Saint%20Denis/a b.parquet", patients(0, 12)).await;
    put("year=2024/site=x/part-0.parquet", patients(12, 20)).await;
    let house = House::new();
    let secrets = || Secrets::from_pairs([("HIVE_PASSWORD_HERE", "tests")]);
    let life = house.start_knowing("test", Registry::built_in(), secrets()).await;
    let storage = json!({"aws_endpoint": endpoint, "aws_region": "us-east-1", "aws_access_key_id": "tests", "aws_allow_http": "true"});
    let params = json!({"root": format!("s3a://{bucket}/lake"), "storage": storage, "take_over": "in_place"});
    life.add("here", "hive", params.clone()).await;
    assert!(completed(&life.ingest("here").await));
    assert_eq!(ids(&life, TABLE).await, (0..20).collect::<Vec<_>>());
    let sql = "SELECT concat_ws('|', weight, year, site) FROM t WHERE patient_id = 7";
    assert_eq!(life.ask(TABLE, sql).await, [Some("67.5|2023|Saint Denis".to_owned())]);
    life.pipeline.stop().await;
    drop(life);
    let life = house.start_knowing("test", Registry::built_in(), secrets()).await;
    put("year=2024/site=x/part-1.parquet", patients(20, 25)).await;
    let run = life.ingest("here").await;
    assert_eq!(life.counts(run.id, Step::ToRaw, TABLE).await.inserted, 5);
    // Time is told in seconds there.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    put("year=2024/site=x/part-0.parquet", patients(12, 20)).await;
    let table = life.catalog.table(&TABLE.parse().unwrap()).await.unwrap();
    let session = life.lake.sessions().session(64 << 20);
    session.register_table("t", life.lake.provider(table.id, None).await.unwrap()).unwrap();
    let read = session.sql("SELECT sum(patient_id) FROM t WHERE year = 2024").await.unwrap().collect().await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("was changed by its owner"), "{error}");
    // The same bytes again: a run that finds no other rows lets it be read.
    let run = life.ingest("here").await;
    let counts = life.counts(run.id, Step::ToRaw, TABLE).await;
    assert_eq!((counts.read, counts.deleted), (0, 0));
    assert_eq!(ids(&life, TABLE).await, (0..25).collect::<Vec<_>>());
    put("year=2024/site=x/part-0.parquet", patients(12, 19)).await;
    assert!(completed(&life.ingest("here").await));
    assert_eq!(ids(&life, TABLE).await, (0..25).filter(|id| *id != 19).collect::<Vec<_>>());
    let erased = life.lake.erase(table.id, &["patient_id".to_owned()], with_ids(&[7]), RunId::new()).await.unwrap();
    assert_eq!(erased.foreign, [format!("s3://{bucket}/lake/hms_patient/year=2023/site=Saint%20Denis/a b.parquet")]);
    assert_eq!(ids(&life, TABLE).await, (0..25).filter(|id| ![7, 19].contains(id)).collect::<Vec<_>>());
    let list = |prefix: &'static str| {
        let store = &store;
        async move {
            use futures::TryStreamExt;
            let path = object_store::path::Path::from(prefix);
            store.list(Some(&path)).try_collect::<Vec<_>>().await.unwrap().len()
        }
    };
    assert_eq!(list("lake").await, 3);
}

fn make_bucket(endpoint: &str, bucket: &str) {
    use std::io::{Read, Write};
    let host = endpoint.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut connection = std::net::TcpStream::connect(host).unwrap();
    write!(connection, "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

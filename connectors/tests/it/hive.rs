//! `hive` on trees of Parquet files, with and without Hive's statements.

use std::{fs, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::DataType,
};
use mavis_connectors::{
    ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, TableRef,
    testkit::{Expectation, assert_contract, read_all},
};
use mavis_types::SourceName;
use parquet::arrow::ArrowWriter;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stub::{Asked, Reply, Stub};

fn connect(params: Value) -> Arc<dyn Source> {
    let spec =
        SourceSpec { name: SourceName::new("lake").unwrap(), kind: "hive".to_owned(), params, authoritative: false };
    Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap()
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn ids(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

/// The old lake's folder of patients, by year and site, and one of stays.
fn lake() -> TempDir {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("datalake/raw/HMS");
    let patients = raw.join("hms_patient");
    write(
        &patients.join("year=2023/site=Saint%20Denis/000000_0"),
        vec![("patient_id", ids(0..12)), ("Weight", Arc::new(Float64Array::from(vec![70.5; 12])))],
    );
    // A later writer had another type, and no weight.
    write(
        &patients.join("year=2024/site=__HIVE_DEFAULT_PARTITION__/part-0.snappy.parquet"),
        vec![("patient_id", Arc::new(Int32Array::from_iter_values(12..20)))],
    );
    fs::write(patients.join("_SUCCESS"), "").unwrap();
    write(
        &raw.join("stays/part-0.parquet"),
        vec![("id", ids(0..3)), ("day", Arc::new(Date32Array::from(vec![0, 1, 2])))],
    );
    folder
}

const DDL: &str = "USE mavis_test;
    CREATE EXTERNAL TABLE hms_patient (PATIENT_ID bigint COMMENT 'number', weight decimal(6,2), died string)
      COMMENT 'patients' PARTITIONED BY (year int, site string COMMENT 'where')
      STORED AS PARQUET LOCATION 'hdfs://nn:8020/datalake/raw/HMS/hms_patient';
    CREATE TABLE notes (id int) STORED AS ORC LOCATION 'hdfs://nn:8020/datalake/raw/HMS/notes';
    CREATE TABLE far (id int) STORED AS PARQUET LOCATION 'hdfs://other/far'";

fn with_ddl(folder: &Path) -> Arc<dyn Source> {
    let ddl = folder.join("tables.hql");
    fs::write(&ddl, DDL).unwrap();
    connect(
        json!({"ddl": ddl, "locations": {"hdfs://nn:8020/datalake": folder.join("datalake")}, "tables_to_exclude": ["x"]}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_a_tree_without_statements() {
    let folder = lake();
    let source = connect(json!({"root": folder.path().join("datalake/raw/HMS")}));
    let expectation = Expectation::default().table("hms_patient", 20).table("stays", 3);
    // A file without an ending is Parquet only where a statement says so.
    let renamed = folder.path().join("datalake/raw/HMS/hms_patient/year=2023/site=Saint%20Denis");
    fs::rename(renamed.join("000000_0"), renamed.join("000000_0.parquet")).unwrap();
    assert_contract(source.as_ref(), expectation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_the_names_types_and_comments_that_hive_had() {
    let folder = lake();
    let source = with_ddl(folder.path());
    let discovery = source.discover(&Selection::default()).await.unwrap();
    let [patients] = discovery.tables.as_slice() else { panic!("{discovery:?}") };
    assert_eq!((patients.comment.as_deref(), patients.mode), (Some("patients"), ReadMode::Snapshot));
    let columns: Vec<(&str, &DataType, Option<&str>)> =
        patients.columns.iter().map(|c| (c.name.as_str(), &c.data_type, c.comment.as_deref())).collect();
    assert_eq!(
        columns,
        [
            ("PATIENT_ID", &DataType::Int64, Some("number")),
            ("weight", &DataType::Decimal128(6, 2), None),
            ("died", &DataType::Utf8, None),
            ("year", &DataType::Int32, None),
            ("site", &DataType::Utf8, Some("where")),
        ]
    );
    let reading = read_all(source.as_ref(), ReadRequest::whole(patients.table.clone())).await.unwrap();
    assert_eq!(reading.rows[0], "PATIENT_ID=0|site=Saint Denis|weight=70.50|year=2023");
    assert_eq!(reading.rows[12], "PATIENT_ID=12|year=2024");
    assert!(reading.whole);
    let reasons: Vec<(String, &str)> =
        discovery.failures.iter().map(|(table, reason)| (table.to_string(), reason.as_str())).collect();
    assert!(reasons[0].0 == "notes" && reasons[0].1.contains("orc, which is not read"), "{reasons:?}");
    assert!(
        reasons[1].0 == "far" && reasons[1].1.contains("distcp") && reasons[1].1.contains("webhdfs://"),
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_declared_tables() {
    let folder = lake();
    let ddl = folder.path().join("tables.hql");
    fs::write(&ddl, DDL.split("CREATE TABLE notes").next().unwrap()).unwrap();
    let source =
        connect(json!({"ddl": ddl, "locations": {"hdfs://nn:8020/datalake/raw": folder.path().join("datalake/raw")}}));
    assert_contract(source.as_ref(), Expectation::default().table("hms_patient", 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hive_overwrites_is_read_anew() {
    let folder = lake();
    let source = with_ddl(folder.path());
    let table = TableRef { schema: None, name: "hms_patient".to_owned() };
    let first = read_all(source.as_ref(), ReadRequest::whole(table.clone())).await.unwrap();
    fs::remove_dir_all(folder.path().join("datalake/raw/HMS/hms_patient/year=2023")).unwrap();
    let second = read_all(source.as_ref(), ReadRequest::whole(table)).await.unwrap();
    assert_eq!((first.rows.len(), second.rows.len(), second.whole), (20, 8, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_its_declared_type_is_told_without_the_value() {
    let folder = lake();
    write(
        &folder.path().join("datalake/raw/HMS/hms_patient/year=zebra/a.parquet"),
        vec![("patient_id", ids(0..1)), ("died", Arc::new(StringArray::from(vec!["no"])))],
    );
    let table = TableRef { schema: None, name: "hms_patient".to_owned() };
    let error = read_all(with_ddl(folder.path()).as_ref(), ReadRequest::whole(table)).await.unwrap_err().to_string();
    assert!(error.contains("column `year`") && error.contains("no int"), "{error}");
}

#[rstest]
#[case(json!({}), "declare `ddl`, `root` or both")]
#[case(json!({"root": "hdfs://nn/x"}), "write `webhdfs://<name node>:9870/...`")]
#[case(json!({"root": "webhdfs://nn/x", "storage": {"aws_region": "x"}}), "only `hdfs_user` has")]
fn parameters_that_cannot_work_are_refused(#[case] params: Value, #[case] part: &str) {
    let spec =
        SourceSpec { name: SourceName::new("lake").unwrap(), kind: "hive".to_owned(), params, authoritative: false };
    let error = Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_as_hive_writes_them_are_read_in_every_year() {
    let Ok(python) = std::env::var("MAVIS_TEST_PYTHON") else {
        assert!(std::env::var("CI").is_err(), "MAVIS_TEST_PYTHON is not set");
        println!("skipped: MAVIS_TEST_PYTHON is not set");
        return;
    };
    let folder = TempDir::new().unwrap();
    let script = "import sys, datetime as d, pyarrow as a, pyarrow.parquet as p\n\
        at = [d.datetime(1, 1, 1), d.datetime(1969, 12, 31, 23, 59, 59, 999999), d.datetime(9999, 12, 31)]\n\
        p.write_table(a.table({'at': a.array(at, a.timestamp('us'))}), sys.argv[1], use_deprecated_int96_timestamps=True)";
    let path = folder.path().join("old.parquet");
    let status = std::process::Command::new(python).args(["-c", script, path.to_str().unwrap()]).status().unwrap();
    assert!(status.success());
    let source = connect(json!({"root": folder.path()}));
    let table = source.discover(&Selection::default()).await.unwrap().tables.remove(0).table;
    let reading = read_all(source.as_ref(), ReadRequest::whole(table)).await.unwrap();
    assert_eq!(reading.rows, ["at=0001-01-01T00:00:00", "at=1969-12-31T23:59:59.999999", "at=9999-12-31T00:00:00"]);
}

/// A name node over a folder, whose data node is another server; as WebHDFS answers.
fn name_node(folder: &Path, data_node: &str, asked: &Asked) -> Reply {
    let Some(below) = asked.path.strip_prefix("/webhdfs/v1") else { return Reply::status(400) };
    let below = percent(below);
    let path = folder.join(below.trim_start_matches('/'));
    let Ok(meta) = fs::metadata(&path) else {
        return Reply::of(404, "application/json", r#"{"RemoteException": {"exception": "FileNotFoundException"}}"#);
    };
    let status = |name: &str, meta: &fs::Metadata| {
        let kind = if meta.is_dir() { "DIRECTORY" } else { "FILE" };
        json!({"pathSuffix": name, "type": kind, "length": meta.len(), "modificationTime": 1_700_000_000_000_u64, "owner": "hdfs"})
    };
    assert_eq!(asked.query["user.name"], "etl");
    match asked.query["op"].as_str() {
        "GETFILESTATUS" => Reply::json(json!({"FileStatus": status("", &meta)})),
        "LISTSTATUS" if meta.is_file() => Reply::json(json!({"FileStatuses": {"FileStatus": [status("", &meta)]}})),
        "LISTSTATUS" => {
            let mut found: Vec<Value> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| status(entry.file_name().to_str().unwrap(), &entry.metadata().unwrap()))
                .collect();
            found.sort_by_key(|status| status["pathSuffix"].to_string());
            Reply::json(json!({"FileStatuses": {"FileStatus": found}}))
        }
        _ => {
            let target = format!(
                "{data_node}/data?path={}&offset={}&length={}",
                below.replace('%', "%25").replace('=', "%3D"),
                asked.query["offset"],
                asked.query["length"]
            );
            Reply::status(307).with("Location", &target)
        }
    }
}

fn percent(text: &str) -> String {
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes())
        .next()
        .unwrap()
        .1
        .into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn hdfs_is_read_over_its_http_interface() {
    let folder = lake();
    let root = folder.path().to_owned();
    let data = Stub::start(move |asked, _| {
        let bytes = fs::read(root.join(asked.query["path"].trim_start_matches('/'))).unwrap();
        let start = asked.number("offset", 0);
        Reply::of(200, "application/octet-stream", &bytes[start..start + asked.number("length", 0)])
    })
    .await;
    let (root, data_node) = (folder.path().to_owned(), data.url.clone());
    let names = Stub::start(move |asked, _| name_node(&root, &data_node, asked)).await;
    let base = names.url.replace("http://", "webhdfs://");
    let ddl = folder.path().join("tables.hql");
    fs::write(&ddl, DDL.split("CREATE TABLE notes").next().unwrap()).unwrap();
    let params = json!({
        "ddl": ddl, "locations": {"hdfs://nn:8020": base}, "storage": {"hdfs_user": "etl"},
    });
    let source = connect(params);
    let table = TableRef { schema: None, name: "hms_patient".to_owned() };
    let reading = read_all(source.as_ref(), ReadRequest::whole(table)).await.unwrap();
    assert_eq!((reading.rows.len(), reading.whole), (20, true));
    assert_eq!(reading.rows[0], "PATIENT_ID=0|site=Saint Denis|weight=70.50|year=2023");
    assert!(!data.asked().is_empty());
}

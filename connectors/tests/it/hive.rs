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
    assert!(reasons[1].0 == "far" && reasons[1].1.contains("distcp"), "{reasons:?}");
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
#[case(json!({"root": "hdfs://nn/x"}), "there is no store `hdfs://`")]
fn parameters_that_cannot_work_are_refused(#[case] params: Value, #[case] part: &str) {
    let spec =
        SourceSpec { name: SourceName::new("lake").unwrap(), kind: "hive".to_owned(), params, authoritative: false };
    let error = Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

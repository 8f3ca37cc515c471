//! `sqlite` on generated databases: the contract, dynamic types, and cursors.

use std::{path::Path, sync::Arc};

use arrow::datatypes::{DataType, TimeUnit};
use mavis_connectors::{
    ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, TableKind, TableRef,
    testkit::{Expectation, Reading, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

async fn database(folder: &TempDir, script: &str) -> (std::path::PathBuf, SqliteConnection) {
    let path = folder.path().join("hms.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true).foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
    (path, connection)
}

async fn run(connection: &mut SqliteConnection, script: &str) {
    sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(connection).await.unwrap();
}

fn source(path: &Path, more: serde_json::Value) -> Arc<dyn Source> {
    let mut params = json!({ "path": path });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec =
        SourceSpec { name: SourceName::new("hms").unwrap(), kind: "sqlite".to_owned(), params, authoritative: false };
    Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap()
}

async fn read(source: &dyn Source, table: &str, from: Option<Cursor>) -> Reading {
    let table = TableRef { schema: None, name: table.to_owned() };
    read_all(source, ReadRequest { from, batch_rows: 2, ..ReadRequest::whole(table) }).await.unwrap()
}

const HOSPITAL: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE hms_service (code TEXT PRIMARY KEY NOT NULL, libelle TEXT) WITHOUT ROWID;
    CREATE TABLE hms_patient (id INTEGER PRIMARY KEY, nom VARCHAR(40), naissance DATE, poids REAL, actif BOOLEAN,
        service TEXT REFERENCES hms_service(code), vu DATETIME, modifie INTEGER, photo BLOB, age INTEGER);
    CREATE VIEW majeurs AS SELECT id, nom FROM hms_patient WHERE age >= 18;
    CREATE VIEW casse AS SELECT rien FROM nulle_part;
    CREATE TABLE vide (a INTEGER, b);
    INSERT INTO hms_service VALUES ('CARD', 'Cardiologie'), ('PED', 'Pediatrie');
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
    INSERT INTO hms_patient SELECT i, 'Nom ' || i, date('1950-01-01', i || ' years'), 50 + i / 2.0, i % 2, 'CARD',
        datetime('2024-01-01', i || ' hours'), CASE WHEN i % 10 = 0 THEN NULL ELSE i / 5 END, x'00ff', i FROM n;
";

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_snapshots_and_for_cursor_columns() {
    let folder = TempDir::new().unwrap();
    let (path, _writer) = database(&folder, HOSPITAL).await;
    let tables = || {
        Expectation::default().table("hms_service", 2).table("hms_patient", 40).table("majeurs", 23).table("vide", 0)
    };
    assert_contract(source(&path, json!({})).as_ref(), tables()).await;
    let incremental = source(&path, json!({"cursor_columns": {"hms_patient": "modifie"}}));
    assert_contract(incremental.as_ref(), tables()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_tells_types_keys_and_what_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let (path, _writer) = database(&folder, HOSPITAL).await;
    let discovery = source(&path, json!({})).discover(&Selection::default()).await.unwrap();
    assert_eq!(discovery.failures.len(), 1);
    assert_eq!(discovery.failures[0].0.name, "casse");
    assert!(discovery.failures[0].1.contains("nulle_part"), "{:?}", discovery.failures);
    let patient = discovery.tables.iter().find(|table| table.table.name == "hms_patient").unwrap();
    let types: Vec<(&str, &DataType)> =
        patient.columns.iter().map(|column| (column.name.as_str(), &column.data_type)).collect();
    assert_eq!(
        types,
        [
            ("id", &DataType::Int64),
            ("nom", &DataType::Utf8),
            ("naissance", &DataType::Date32),
            ("poids", &DataType::Float64),
            ("actif", &DataType::Boolean),
            ("service", &DataType::Utf8),
            ("vu", &DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("modifie", &DataType::Int64),
            ("photo", &DataType::Binary),
            ("age", &DataType::Int64),
        ]
    );
    assert_eq!((patient.key.as_slice(), patient.row_estimate), (&["id".to_owned()][..], Some(40)));
    assert_eq!(patient.foreign_keys[0].table.name, "hms_service");
    assert_eq!(patient.foreign_keys[0].columns, ["service"]);
    let view = discovery.tables.iter().find(|table| table.table.name == "majeurs").unwrap();
    assert_eq!((view.kind, view.mode), (TableKind::View, ReadMode::Snapshot));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_the_declared_type_are_never_lost() {
    let folder = TempDir::new().unwrap();
    let script = "CREATE TABLE t (age INTEGER, birth DATE, n NUMERIC);
                  INSERT INTO t VALUES (1, '2021-02-03', 9007199254740993), ('inconnu', '03/02/2021', 1.5), (NULL, '', 2);";
    let (path, mut writer) = database(&folder, script).await;
    let source = source(&path, json!({}));
    let reading = read(source.as_ref(), "t", None).await;
    assert_eq!(
        reading.rows,
        ["age=1|birth=2021-02-03|n=9007199254740993", "age=inconnu|birth=03/02/2021|n=1.5", "birth=|n=2"]
    );

    run(&mut writer, "CREATE TABLE late (age INTEGER); INSERT INTO late VALUES (1), (2);").await;
    source.discover(&Selection::default()).await.unwrap();
    run(&mut writer, "INSERT INTO late VALUES ('x'), (3);").await;
    let reading = read(source.as_ref(), "late", None).await;
    assert_eq!(reading.rows, ["age=1", "age=2", "age=3"]);
    let (origin, reason, payload) = &reading.rejects[0];
    assert_eq!(
        (origin.as_str(), reason.as_str(), payload.as_str()),
        ("late rowid 3", "column `age` holds text, not an integer", r#"{"age":"x"}"#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_column_with_ties_loses_and_doubles_no_row() {
    let folder = TempDir::new().unwrap();
    let script = "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT);
                  INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'b'), (4, NULL);";
    let (path, mut writer) = database(&folder, script).await;
    let source = source(&path, json!({"cursor_columns": {"T": "at"}}));
    let first = read(source.as_ref(), "t", None).await;
    assert_eq!(first.rows.len(), 4);
    run(&mut writer, "INSERT INTO t VALUES (5, 'b'), (6, NULL), (7, 'c'); UPDATE t SET at = 'd' WHERE id = 1;").await;
    let second = read(source.as_ref(), "t", first.cursors.last().map(|(cursor, _, _)| cursor.clone())).await;
    assert_eq!(second.rows, ["id=6", "at=b|id=5", "at=c|id=7", "at=d|id=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_absent_or_no_database_fails_at_its_stage() {
    let folder = TempDir::new().unwrap();
    let absent = source(&folder.path().join("nothing.sqlite"), json!({})).check().await;
    assert_eq!(absent.last().unwrap().stage, mavis_connectors::Stage::Name);
    let text = folder.path().join("text.sqlite");
    std::fs::write(&text, "this is no database, but it is long enough to look like one".repeat(40)).unwrap();
    let broken = source(&text, json!({})).check().await;
    assert_eq!(broken.last().unwrap().stage, mavis_connectors::Stage::Database, "{broken:?}");
    assert_eq!(broken.last().unwrap().outcome, mavis_connectors::StageOutcome::Failed);
}

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::DataType,
};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, future::join_all, stream};
use mavis_sql::{Error, Executed, Existing, Ingest, Missing};
use mavis_types::{Principal, Role, Scope, Zone};
use rstest::rstest;

use crate::fixture::{Fixture, grant, principal};

impl Fixture {
    pub(crate) async fn run_as(&self, who: &Principal, sql: &str) -> Result<Executed, Error> {
        self.engine.session(who, None).await?.execute(sql, &[], None).await
    }

    /// Runs a statement as the administrator; tells the rows.
    pub(crate) async fn run(&self, sql: &str) -> u64 {
        self.run_as(&self.admin, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).rows
    }

    pub(crate) async fn no(&self, who: &Principal, sql: &str) -> Error {
        match self.run_as(who, sql).await {
            Ok(done) => panic!("{sql} gave {done:?}"),
            Err(error) => error,
        }
    }
}

/// Reads `processed.hms` and what is in `work.ana`.
pub(crate) fn ana() -> Principal {
    let mut ana = principal(Role::Analyst, Scope::Schemas(vec![grant(Zone::Processed, "hms")]));
    ana.name = "ana".to_owned();
    ana
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_writes_in_the_own_schema_and_nowhere_else() {
    let lake = Fixture::new().await;
    let ana = ana();
    let made = lake.run_as(&ana, "CREATE TABLE seen AS SELECT id, nom FROM hms.hms_patient").await.unwrap();
    let expected = Executed { command: "CREATE TABLE AS", target: "work.ana.seen".to_owned(), rows: 3 };
    assert_eq!(made, expected);
    assert_eq!(lake.ask(&ana, "SELECT count(*) FROM work.ana.seen").await.unwrap(), ["3"]);
    assert_eq!(lake.ask(&ana, "SELECT count(*) FROM seen").await.unwrap(), ["3"]);
    for sql in [
        "CREATE TABLE work.bob.t (a INT)",
        "INSERT INTO work.bob.t VALUES (1)",
        "DROP TABLE work.bob.t",
        "CREATE VIEW work.bob.v AS SELECT 1",
        "ALTER TABLE seen RENAME TO work.bob.seen",
        "INSERT INTO processed.hms.hms_patient VALUES (1)",
        "CREATE TABLE raw.x.t (a INT)",
        "DROP TABLE fhir.r4.patient",
    ] {
        let error = lake.no(&ana, sql).await;
        assert!(matches!(error, Error::Refused { .. }), "{sql}: {error}");
        let text = error.to_string();
        assert!(text.contains("work.ana") || text.contains("read-only"), "{sql}: {text}");
    }
    let error = lake.no(&lake.reader, "CREATE TABLE work.reader.t (a INT)").await;
    assert!(error.to_string().contains("only reads"), "{error}");
    lake.run("INSERT INTO work.ana.seen VALUES (9, 'x')").await;
    assert!(matches!(lake.error(&lake.reader, "SELECT * FROM work.ana.seen").await, Error::NoSuchTable { .. }));
}

/// What goes into a table is what its maker could read, wherever the statement reads it.
#[rstest]
#[case("CREATE TABLE t2 AS SELECT * FROM processed.secret.staff")]
#[case("INSERT INTO t SELECT id, nom FROM processed.secret.staff")]
#[case("INSERT INTO t VALUES ((SELECT max(id) FROM processed.secret.staff), 'x')")]
#[case("UPDATE t SET nom = (SELECT max(nom) FROM processed.secret.staff)")]
#[case("UPDATE t SET nom = s.nom FROM processed.secret.staff s WHERE s.id > t.id")]
#[case("DELETE FROM t WHERE id IN (SELECT id FROM processed.secret.staff)")]
#[case("DELETE FROM t USING processed.secret.staff s WHERE s.id = t.id")]
#[case("MERGE INTO t USING processed.secret.staff s ON s.id = t.id WHEN MATCHED THEN DELETE")]
#[case(
    "MERGE INTO t USING hms.hms_patient s ON s.id = t.id WHEN MATCHED AND EXISTS (SELECT 1 FROM processed.secret.staff) THEN DELETE"
)]
#[case("CREATE VIEW v AS SELECT * FROM processed.secret.staff")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_that_could_not_be_read(#[case] sql: &str) {
    let lake = Fixture::new().await;
    let ana = ana();
    lake.run_as(&ana, "CREATE TABLE t AS SELECT id, nom FROM hms.hms_patient").await.unwrap();
    let error = lake.no(&ana, sql).await;
    assert!(matches!(error, Error::NoSuchTable { .. }), "{sql}: {error}");
    assert!(!error.to_string().contains("Lefevre"), "{error}");
    assert_eq!(lake.ask(&ana, "SELECT count(*), max(nom) FROM t").await.unwrap(), ["3|Petit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_leaves_nothing_behind() {
    let lake = Fixture::new().await;
    let late = "SELECT 10 / (value - 30000) AS x FROM generate_series(1, 40000) AS t(value)";
    let error = lake.no(&lake.admin, &format!("CREATE TABLE work.a.t AS {late}")).await;
    assert!(matches!(error, Error::Value { .. }), "{error}");
    assert!(matches!(lake.error(&lake.admin, "SELECT * FROM work.a.t").await, Error::NoSuchTable { .. }));
    assert_eq!(
        lake.rows(
            "SELECT count(*) FROM information_schema.tables WHERE table_catalog = 'work' AND table_type = 'BASE TABLE'"
        )
        .await,
        ["0"]
    );
    assert!(lake.lake.catalog().loose_folders(Duration::ZERO).await.unwrap().is_empty());

    lake.run("CREATE TABLE work.a.t AS SELECT value AS x FROM generate_series(1, 100) AS t(value)").await;
    let table = lake.find("work.a.t").await;
    let before = (lake.lake.version(table.id).await.unwrap(), lake.lake.file_count(table.id).await.unwrap());
    for sql in [
        format!("INSERT INTO work.a.t {late}"),
        format!("INSERT OVERWRITE work.a.t {late}"),
        format!("CREATE OR REPLACE TABLE work.a.t AS {late}"),
        "UPDATE work.a.t SET x = 10 / (x - 50)".to_owned(),
        "DELETE FROM work.a.t WHERE 10 / (x - 50) > 0".to_owned(),
        "MERGE INTO work.a.t t USING (SELECT 7 AS x) s ON 10 / (t.x - 50) > s.x WHEN MATCHED THEN DELETE".to_owned(),
    ] {
        lake.no(&lake.admin, &sql).await;
        let after = (lake.lake.version(table.id).await.unwrap(), lake.lake.file_count(table.id).await.unwrap());
        assert_eq!(after, before, "{sql}");
        assert_eq!(lake.rows("SELECT count(*), sum(x) FROM work.a.t").await, ["100|5050"], "{sql}");
    }
    assert_eq!(files(&lake, &table.location), 1, "no file but the table's own is left");
    // And the table is nobody's: the next statement is not kept waiting.
    assert_eq!(lake.run("DELETE FROM work.a.t WHERE x > 10").await, 90);
}

fn files(lake: &Fixture, location: &str) -> usize {
    let folder = lake.root().join(location);
    std::fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().extension().is_some()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_table_come_one_after_the_other() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t (n BIGINT, by TEXT)").await;
    lake.run("INSERT INTO work.a.t VALUES (0, 'counter')").await;
    let writers = (0..12).map(|writer| {
        let lake = &lake;
        async move {
            lake.run(&format!("INSERT INTO work.a.t VALUES ({writer}, 'insert')")).await;
            lake.run("UPDATE work.a.t SET n = n + 1 WHERE by = 'counter'").await
        }
    });
    assert!(join_all(writers).await.iter().all(|rows| *rows == 1));
    assert_eq!(lake.rows("SELECT n FROM work.a.t WHERE by = 'counter'").await, ["12"], "no update is lost");
    assert_eq!(lake.rows("SELECT count(*), sum(n) FROM work.a.t WHERE by = 'insert'").await, ["12|66"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_makers_of_one_table_one_makes_it() {
    let lake = Fixture::new().await;
    let makers = (0..6).map(|maker| {
        let lake = &lake;
        async move { lake.run_as(&lake.admin, &format!("CREATE TABLE work.a.t AS SELECT {maker} AS n")).await }
    });
    let made = join_all(makers).await;
    assert_eq!(made.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{made:?}");
    assert_eq!(lake.rows("SELECT count(*) FROM work.a.t").await, ["1"]);
    assert!(lake.lake.catalog().loose_folders(Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_dropped_did_not_happen() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t (n BIGINT)").await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let endless = "INSERT INTO work.a.t SELECT a.value FROM generate_series(1, 1000000) AS a(value), \
                   generate_series(1, 100000) AS b(value)";
    let running = session.execute(endless, &[], None);
    assert!(tokio::time::timeout(Duration::from_millis(300), running).await.is_err());
    assert_eq!(lake.run("INSERT INTO work.a.t VALUES (1)").await, 1, "the lease was given back");
    assert_eq!(lake.rows("SELECT count(*) FROM work.a.t").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_gone_at_once_and_its_files_later() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t AS SELECT 1 AS n").await;
    let location = lake.find("work.a.t").await.location;
    lake.run("DROP TABLE work.a.t").await;
    assert!(matches!(lake.error(&lake.admin, "SELECT * FROM work.a.t").await, Error::NoSuchTable { .. }));
    assert_eq!(files(&lake, &location), 1);
    lake.run("CREATE TABLE work.a.t AS SELECT 2 AS n").await;
    assert_ne!(lake.find("work.a.t").await.location, location, "a folder is never taken over");
    assert_eq!(lake.lake.sweep(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(lake.lake.sweep(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(files(&lake, &location), 0);
    assert_eq!(lake.rows("SELECT n FROM work.a.t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_the_types_of_their_columns() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t (n INT, day DATE, name TEXT)").await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let types = async |sql: &str| {
        let prepared = session.prepare(sql).await.unwrap();
        assert!(prepared.command.is_some() && prepared.schema.fields().is_empty(), "{sql}");
        prepared.parameters.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
    };
    let all = [DataType::Int32, DataType::Date32, DataType::Utf8];
    assert_eq!(types("INSERT INTO work.a.t VALUES (?, ?, ?)").await, all);
    assert_eq!(types("INSERT INTO work.a.t (name, n) VALUES ($2, $1)").await, [DataType::Int32, DataType::Utf8]);
    assert_eq!(types("UPDATE work.a.t SET n = $1, day = $2 WHERE name = $3").await, all);
    let values = [
        ScalarValue::Int64(Some(7)),
        ScalarValue::Utf8(Some("2024-05-06".to_owned())),
        ScalarValue::Utf8(Some("x".to_owned())),
    ];
    let sql = "INSERT INTO work.a.t VALUES (?, ?, ?)";
    assert_eq!(session.execute(sql, &values, None).await.unwrap().rows, 1);
    let sql = "UPDATE work.a.t SET n = $1 WHERE name = $2";
    let values = [ScalarValue::Int64(Some(8)), ScalarValue::Utf8(Some("x".to_owned()))];
    assert_eq!(session.execute(sql, &values, None).await.unwrap().rows, 1);
    assert_eq!(lake.rows("SELECT * FROM work.a.t").await, ["8|2024-05-06|x"]);
    assert!(session.execute(sql, &[], None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_keeps_its_versions() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t AS SELECT 1 AS n").await;
    lake.run("INSERT INTO work.a.t VALUES (2)").await;
    lake.run("UPDATE work.a.t SET n = n * 10").await;
    lake.run("CREATE OR REPLACE TABLE work.a.t AS SELECT 'other' AS word").await;
    for (version, rows) in [(0, vec!["1"]), (1, vec!["1", "2"]), (2, vec!["10", "20"]), (3, vec!["other"])] {
        let mut found = lake.rows(&format!("SELECT * FROM work.a.t VERSION AS OF {version}")).await;
        found.sort();
        assert_eq!(found, rows, "version {version}");
    }
}

/// Only files that lose rows are written again.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_leaves_other_files_alone() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t (n BIGINT)").await;
    for n in 0..5 {
        lake.run(&format!("INSERT INTO work.a.t VALUES ({n}), ({})", n + 100)).await;
    }
    let location = lake.find("work.a.t").await.location;
    assert_eq!(files(&lake, &location), 5);
    assert_eq!(lake.run("UPDATE work.a.t SET n = -1 WHERE n = 3").await, 1);
    assert_eq!(files(&lake, &location), 6, "one new file, and the old one for older versions");
    assert_eq!(lake.rows("SELECT sum(n), count(*) FROM work.a.t").await, ["516|10"]);
    assert_eq!(lake.run("UPDATE work.a.t SET n = 0 WHERE n = 12345").await, 0);
    assert_eq!(
        lake.lake.version(lake.find("work.a.t").await.id).await.unwrap(),
        6,
        "nothing changed, nothing is committed"
    );
}

fn batch(ids: &[i64], names: &[&str]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    RecordBatch::try_from_iter([("id", ids), ("Last name", names)]).unwrap()
}

async fn ingest(lake: &Fixture, who: &Principal, table: &str, how: (Missing, Existing)) -> Result<Executed, Error> {
    let batches = [batch(&[1, 2], &["a", "b"]), batch(&[3], &["c"])];
    let schema = batches[0].schema();
    let ingest = Ingest { catalog: None, schema: None, table: table.to_owned(), missing: how.0, existing: how.1 };
    let session = lake.engine.session(who, None).await.unwrap();
    session.ingest(ingest, schema, stream::iter(batches.map(Ok)).boxed(), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_make_append_to_and_replace_tables() {
    let lake = Fixture::new().await;
    let ana = ana();
    let error = ingest(&lake, &ana, "t", (Missing::Fail, Existing::Append)).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
    let made = ingest(&lake, &ana, "t", (Missing::Create, Existing::Fail)).await.unwrap();
    assert_eq!((made.target.as_str(), made.rows), ("work.ana.t", 3));
    let error = ingest(&lake, &ana, "t", (Missing::Create, Existing::Fail)).await.unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(ingest(&lake, &ana, "t", (Missing::Create, Existing::Append)).await.unwrap().rows, 3);
    assert_eq!(lake.ask(&ana, "SELECT count(*), max(last_name) FROM t").await.unwrap(), ["6|c"]);
    assert_eq!(ingest(&lake, &ana, "t", (Missing::Create, Existing::Replace)).await.unwrap().rows, 3);
    assert_eq!(lake.ask(&ana, "SELECT count(*) FROM t").await.unwrap(), ["3"]);
    lake.run_as(&ana, "CREATE TABLE other (id BIGINT)").await.unwrap();
    let error = ingest(&lake, &ana, "other", (Missing::Create, Existing::Append)).await.unwrap_err();
    assert!(error.to_string().contains("has no column `Last name`"), "{error}");
    assert!(ingest(&lake, &lake.reader, "t", (Missing::Create, Existing::Append)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_break_off_leave_nothing() {
    let lake = Fixture::new().await;
    let broken = || {
        let rows = vec![Ok(batch(&[1], &["a"])), Err(Error::Cancelled)];
        stream::iter(rows).boxed()
    };
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let schema = batch(&[], &[]).schema();
    let into = |existing| Ingest {
        catalog: Some("work".to_owned()),
        schema: Some("a".to_owned()),
        table: "t".to_owned(),
        missing: Missing::Create,
        existing,
    };
    assert!(session.ingest(into(Existing::Fail), Arc::clone(&schema), broken(), None).await.is_err());
    assert!(matches!(lake.error(&lake.admin, "SELECT * FROM work.a.t").await, Error::NoSuchTable { .. }));
    lake.run("CREATE TABLE work.a.t AS SELECT 7 AS id, 'x' AS last_name").await;
    for existing in [Existing::Append, Existing::Replace] {
        assert!(session.ingest(into(existing), Arc::clone(&schema), broken(), None).await.is_err());
        assert_eq!(lake.rows("SELECT * FROM work.a.t").await, ["7|x"]);
    }
    let mut elsewhere = into(Existing::Append);
    elsewhere.catalog = Some("raw".to_owned());
    assert!(matches!(session.ingest(elsewhere, schema, broken(), None).await, Err(Error::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shown_a_part_of_a_table_adds_to_it_but_does_not_change_it() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t AS SELECT 1 AS n, 'x' AS word").await;
    let mut ana = ana();
    let place = mavis_types::Place::Schema(Zone::Work, "a".to_owned());
    let name = "work.a.t".parse().unwrap();
    ana.rights = Arc::new(mavis_types::Rights {
        reads: vec![(place.clone(), None)],
        writes: vec![place],
        filters: vec![(name, "n > 100".to_owned())],
        ..Default::default()
    });
    assert_eq!(lake.run_as(&ana, "INSERT INTO work.a.t VALUES (2, 'y')").await.unwrap().rows, 1);
    for sql in ["DELETE FROM work.a.t", "UPDATE work.a.t SET n = 3", "TRUNCATE TABLE work.a.t"] {
        assert!(matches!(lake.no(&ana, sql).await, Error::Refused { .. }), "{sql}");
    }
    assert_eq!(lake.rows("SELECT count(*) FROM work.a.t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_values_are_one_commit() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t (n BIGINT NOT NULL, word TEXT)").await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let row = |n: i64| vec![ScalarValue::Utf8(Some(format!("w{n}"))), ScalarValue::Int64(Some(n))];
    let rows: Vec<Vec<ScalarValue>> = (0..20_000).map(row).collect();
    let done = session.execute_many("INSERT INTO work.a.t (word, n) VALUES (?, ?)", &rows, None).await.unwrap();
    assert_eq!(done.rows, 20_000);
    let id = lake.find("work.a.t").await.id;
    assert_eq!(lake.lake.version(id).await.unwrap(), 1);
    assert_eq!(lake.rows("SELECT count(*), sum(n), max(word) FROM work.a.t").await, ["20000|199990000|w9999"]);
    let done = session.execute_many("INSERT INTO work.a.t VALUES ($2 + 1, $1)", &rows[..3], None).await.unwrap();
    assert_eq!((done.rows, lake.lake.version(id).await.unwrap()), (3, 2));
    let mut broken = rows[..3].to_vec();
    broken[2][1] = ScalarValue::Int64(None);
    assert!(session.execute_many("INSERT INTO work.a.t (word, n) VALUES (?, ?)", &broken, None).await.is_err());
    assert_eq!(lake.rows("SELECT count(*) FROM work.a.t").await, ["20003"]);
    let done = session.execute_many("DELETE FROM work.a.t WHERE word = $1 AND n = $2", &rows[..4], None).await.unwrap();
    assert_eq!(done.rows, 4);
    assert!(session.execute_many("DELETE FROM work.a.t WHERE n = $1", &[], None).await.is_err());
}

use datafusion::prelude::{col, lit};
use mavis_sql::Error;
use mavis_types::{Role, Scope, TableName, Zone};
use rstest::rstest;

use crate::fixture::{Fixture, grant, lines, principal};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_what_the_token_says() {
    let lake = Fixture::new().await;
    assert_eq!(lake.ask(&lake.reader, "SELECT count(*) FROM hms.hms_patient").await.unwrap(), ["3"]);
    assert_eq!(lake.ask(&lake.reader, "SELECT count(*) FROM patient").await.unwrap(), ["2"]);
}

/// What may not be read and what is not there are told in the same words, wherever the table is named.
#[rstest]
#[case("SELECT * FROM {}")]
#[case("SELECT 1 FROM patient WHERE id IN (SELECT nom FROM {})")]
#[case("SELECT (SELECT max(nom) FROM {}) FROM patient")]
#[case("WITH x AS (SELECT * FROM {}) SELECT * FROM x")]
#[case("EXPLAIN SELECT * FROM {}")]
#[case("EXPLAIN ANALYZE SELECT * FROM {}")]
#[case("DESCRIBE {}")]
#[case("SHOW COLUMNS FROM {}")]
#[case("SELECT 1 UNION ALL SELECT id FROM {}")]
#[case("SELECT * FROM patient p JOIN {} s ON true")]
#[case("SELECT * FROM {} VERSION AS OF 1")]
#[case("SELECT * FROM {} TIMESTAMP AS OF '2024-01-01'")]
#[case("SELECT 1 FROM patient ORDER BY (SELECT max(id) FROM {})")]
#[case("SELECT 1 FROM patient p, LATERAL (SELECT * FROM {} s WHERE s.nom = p.id) x")]
#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_table_is_as_absent_as_one_that_is_not_there(#[case] sql: &str) {
    let lake = Fixture::new().await;
    for (forbidden, absent) in [
        ("processed.secret.staff", "processed.secret.stafx"),
        ("secret.staff", "secret.stafx"),
        ("raw.hms.hms_patient", "raw.hms.xms_patient"),
    ] {
        let first = lake.error(&lake.reader, &sql.replace("{}", forbidden)).await;
        let second = lake.error(&lake.reader, &sql.replace("{}", absent)).await;
        assert!(matches!(first, Error::NoSuchTable { .. }), "{sql}: {first}");
        assert_eq!(first.to_string().replace(forbidden, absent), second.to_string(), "{sql}");
    }
    // The same statement is answered to somebody who may.
    lake.rows(
        &sql.replace("{}", "processed.secret.staff")
            .replace("VERSION AS OF 1", "")
            .replace("TIMESTAMP AS OF '2024-01-01'", ""),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_cast_does_not_tell_the_value() {
    let lake = Fixture::new().await;
    for sql in [
        "SELECT CAST(nom AS INT) FROM hms.hms_patient",
        "SELECT id FROM hms.hms_patient WHERE CAST(nom AS INT) = 1",
        "SELECT nom::timestamp FROM hms.hms_patient",
        "SELECT to_timestamp(nom) FROM hms.hms_patient",
        "SELECT to_date(nom) FROM hms.hms_patient",
        "SELECT 1 / (id - id) FROM hms.hms_patient",
        "SELECT (SELECT nom FROM hms.hms_patient)",
        "SELECT arrow_cast(nom, 'Int64') FROM hms.hms_patient",
    ] {
        let text = lake.error(&lake.reader, sql).await.to_string();
        for value in ["Durand", "Petit", "Moreau"] {
            assert!(!text.contains(value), "{sql}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_no_files() {
    let lake = Fixture::new().await;
    for sql in ["EXPLAIN SELECT * FROM hms.hms_patient WHERE id = 1", "EXPLAIN ANALYZE SELECT * FROM hms.hms_patient"] {
        let text = lake.rows(sql).await.join("\n");
        assert!(text.contains("GuardedScan: table=processed.hms.hms_patient"), "{text}");
        assert!(!text.contains(".parquet") && !text.contains("file"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_reads_no_rows_and_look_ups_reach_the_files() {
    let lake = Fixture::new().await;
    let text = lake.rows("EXPLAIN SELECT count(*) FROM hms.hms_patient").await.join("\n");
    assert!(!text.contains("GuardedScan"), "answered from statistics: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_guarded_like_statements() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.reader, None).await.unwrap();
    let name = TableName::new(Zone::Fhir, "r4", "patient");
    let frame = session.table(&name).await.unwrap().filter(col("id").eq(lit("a"))).unwrap();
    let frame = frame.select(vec![datafusion::prelude::ident("birthDate")]).unwrap();
    assert_eq!(lines(session.run(frame, None).await.unwrap()).await.unwrap(), ["1950-01-02"]);
    let forbidden = session.table(&TableName::new(Zone::Processed, "secret", "staff")).await.unwrap_err();
    assert!(matches!(forbidden, Error::NoSuchTable { .. }), "{forbidden}");
    // A frame of somebody else, and one over tables of nobody, are denied.
    let admin = lake.engine.session(&lake.admin, None).await.unwrap();
    let others = admin.table(&TableName::new(Zone::Processed, "secret", "staff")).await.unwrap();
    assert!(matches!(session.run(others, None).await, Err(Error::Refused { .. })));
    let context = datafusion::prelude::SessionContext::new();
    let bare = context.read_batch(crate::fixture::patients(&[(1, "a", "b")])).unwrap();
    assert!(matches!(session.run(bare, None).await, Err(Error::Refused { .. })));
}

#[rstest]
#[case("DELETE FROM patient")]
#[case("INSERT INTO patient VALUES ('x')")]
#[case("COPY patient TO '/tmp/stolen.csv'")]
#[case("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'")]
#[case("SELECT * INTO x FROM patient")]
#[case("SELECT 1; DROP TABLE patient")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written(#[case] sql: &str) {
    let lake = Fixture::new().await;
    let error = lake.error(&lake.admin, sql).await;
    assert!(matches!(error, Error::Refused { .. } | Error::Invalid { .. }), "{error}");
}

#[rstest]
#[case("SELECT * FROM '/etc/passwd'")]
#[case("SELECT * FROM \"/etc/passwd\"")]
#[case("SELECT * FROM read_csv('/etc/passwd')")]
#[case("SELECT input_file_name() FROM patient")]
#[tokio::test(flavor = "multi_thread")]
async fn files_are_out_of_reach(#[case] sql: &str) {
    let lake = Fixture::new().await;
    lake.error(&lake.admin, sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_schemas_sees_nothing() {
    let lake = Fixture::new().await;
    let nobody = principal(Role::Reader, Scope::Schemas(Vec::new()));
    assert!(
        matches!(lake.error(&nobody, "SELECT 1 FROM patient").await, Error::NoSuchTable { hint, .. } if hint.is_empty())
    );
    let sql = "SELECT count(*) FROM information_schema.tables WHERE table_type = 'BASE TABLE'";
    assert_eq!(lake.ask(&nobody, sql).await.unwrap(), ["0"]);
    let other = principal(Role::Reader, Scope::Schemas(vec![grant(Zone::Work, "ana")]));
    assert_eq!(lake.ask(&other, sql).await.unwrap(), ["0"]);
}

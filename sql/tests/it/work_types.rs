//! Types of columns: what SHOW CREATE TABLE says makes the same table again, and times reach as far as tables do.

use mavis_sql::Error;
use rstest::rstest;

use crate::fixture::Fixture;

/// Every type, one within another, names that need quotes, and what is said of columns.
const COLUMNS: [&str; 22] = [
    "a BOOLEAN NOT NULL",
    "a TINYINT",
    "a SMALLINT",
    "a INT COMMENT 'l''age'",
    "a BIGINT NOT NULL COMMENT 'key'",
    "a REAL",
    "a DOUBLE",
    "a VARCHAR",
    "a CHARACTER VARYING(20)",
    "a BYTEA",
    "a VARBINARY",
    "a DATE",
    "a TIMESTAMP",
    "a TIMESTAMP WITH TIME ZONE",
    "a DECIMAL(10, 2)",
    "a DECIMAL(38, 0)",
    "a ARRAY<VARCHAR>",
    "a ARRAY<ARRAY<INT>>",
    "a STRUCT<nom: VARCHAR, \"Naissance\": DATE, \"bC\": ARRAY<INT>>",
    "a MAP<VARCHAR, INT>",
    "a MAP<INT, STRUCT<x: TIMESTAMP, y: MAP<VARCHAR, DECIMAL(8, 3)>>>",
    "\"Order\" INT, \"primary\" STRUCT<a: ARRAY<MAP<VARCHAR, DOUBLE>>>, \"check\" VARCHAR COMMENT 'x'",
];

async fn copy(lake: &Fixture, of: &str, to: &str) {
    let made = lake.rows(&format!("SHOW CREATE TABLE {of}")).await.join("\n");
    assert!(made.contains(of), "{made}");
    lake.run(&made.replacen(of, to, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_show_create_table_says_makes_the_same_table() {
    let lake = Fixture::new().await;
    for (number, columns) in COLUMNS.iter().enumerate() {
        let (first, second) = (format!("work.a.t{number}"), format!("work.a.u{number}"));
        lake.run(&format!("CREATE TABLE {first} ({columns}) COMMENT 'd''un essai'")).await;
        copy(&lake, &first, &second).await;
        let (one, other) = (lake.find(&first).await, lake.find(&second).await);
        let schemas = (lake.lake.schema(one.id).await.unwrap(), lake.lake.schema(other.id).await.unwrap());
        assert_eq!(schemas.0, schemas.1, "{columns}");
        assert_eq!(other.comment.as_deref(), Some("d'un essai"));
        let said = |name: &str| format!("DESCRIBE FORMATTED {name}");
        let shown = |rows: Vec<String>| rows.into_iter().take_while(|row| !row.starts_with('|')).collect::<Vec<_>>();
        assert_eq!(shown(lake.rows(&said(&first)).await), shown(lake.rows(&said(&second)).await), "{columns}");
        assert_eq!(
            lake.rows(&format!("SHOW CREATE TABLE {first}")).await.join("\n"),
            lake.rows(&format!("SHOW CREATE TABLE {second}")).await.join("\n").replacen(&second, &first, 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_of_a_processed_table_makes_one_of_work() {
    let lake = Fixture::new().await;
    copy(&lake, "processed.hms.hms_patient", "work.a.patient").await;
    let columns = |rows: Vec<String>| rows.into_iter().filter(|row| !row.starts_with("__")).collect::<Vec<_>>();
    let (of, to) = ("SHOW COLUMNS IN processed.hms.hms_patient", "SHOW COLUMNS IN work.a.patient");
    assert_eq!(columns(lake.rows(of).await), columns(lake.rows(to).await));
}

#[rstest]
#[case("CREATE TABLE work.a.t (x MAP<VARCHAR, INTERVAL>)")]
#[case("CREATE TABLE work.a.t (x MAP<VARCHAR, DECIMAL(90, 2)>)")]
#[case("CREATE TABLE work.a.t (x NOTHING)")]
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_known_is_refused(#[case] sql: &str) {
    let lake = Fixture::new().await;
    assert!(matches!(lake.no(&lake.admin, sql).await, Error::Invalid { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_end_is_kept_compared_and_cut() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.stay (id INT, began TIMESTAMP, ended TIMESTAMP, seen TIMESTAMP WITH TIME ZONE)")
        .await;
    lake.run(
        "INSERT INTO work.a.stay VALUES (1, '0001-01-01', TIMESTAMP '9999-12-31', now()), (2, '2024-01-02', \
         CAST('2024-02-03 04:05:06.789' AS TIMESTAMP), to_timestamp('9999-12-31T00:00:00Z'))",
    )
    .await;
    let ids = |condition: &str| format!("SELECT id FROM work.a.stay WHERE {condition} ORDER BY id");
    for (condition, expected) in [
        ("ended = TIMESTAMP '9999-12-31'", vec!["1"]),
        ("ended = '9999-12-31'", vec!["1"]),
        ("ended = DATE '9999-12-31'", vec!["1"]),
        ("ended > now()", vec!["1"]),
        ("seen <= now()", vec!["1"]),
        ("ended BETWEEN DATE '2024-01-01' AND now()", vec!["2"]),
        ("began < ended - INTERVAL '1 day'", vec!["1", "2"]),
        ("ended IN (SELECT CAST('9999-12-31' AS TIMESTAMP))", vec!["1"]),
        ("coalesce(ended, DATE '9999-12-31') > began", vec!["1", "2"]),
        ("date_trunc('year', ended) = DATE '9999-01-01'", vec!["1"]),
        ("extract(year FROM ended) = 9999", vec!["1"]),
    ] {
        assert_eq!(lake.rows(&ids(condition)).await, expected, "{condition}");
    }
    assert_eq!(
        lake.rows("SELECT s.id FROM work.a.stay s JOIN (SELECT DATE '9999-12-31' AS d) x ON s.ended = x.d").await,
        ["1"]
    );
    assert_eq!(
        lake.rows(
            "WITH RECURSIVE d AS (SELECT TIMESTAMP '9999-12-29' AS day UNION ALL SELECT day + INTERVAL '1 day' FROM d \
             WHERE day < TIMESTAMP '9999-12-31') SELECT max(day) FROM d"
        )
        .await,
        ["9999-12-31T00:00:00"]
    );
    lake.run("CREATE VIEW work.a.v AS SELECT now() AS seen, TIMESTAMP '9999-12-31' AS ended").await;
    assert_eq!(lake.rows("SELECT ended FROM work.a.v WHERE seen < ended").await, ["9999-12-31T00:00:00"]);
}

#[rstest]
#[case("SELECT 'a' ~ '('", "regular expression")]
#[case("SELECT nom FROM processed.hms.hms_patient WHERE nom ~ '('", "regular expression")]
#[case("SELECT regexp_like('a', '(')", "regular expression")]
#[case("SELECT regexp_match('a', '(')", "regular expression")]
#[case("SELECT regexp_replace(nom, '(', 'x') FROM processed.hms.hms_patient", "regular expression")]
#[case("SELECT 1 LIMIT -1", "LIMIT takes")]
#[case("SELECT 1 OFFSET -1", "OFFSET takes")]
#[case(
    "SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN 1 FOLLOWING AND 1 PRECEDING) FROM range(1, 3) AS t(x)",
    "window frame"
)]
#[case("SELECT percentile_cont(2) WITHIN GROUP (ORDER BY x) FROM (VALUES (1.0)) AS t(x)", "percentile")]
#[case("SELECT encode('zz', 'foo')", "encoding")]
#[case("SELECT 9223372036854775807 + id FROM processed.hms.hms_patient", "too large for its type")]
#[case("SELECT CAST(1e300 AS REAL)", "too large for its type")]
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_of_a_statement_is_its_own(#[case] sql: &str, #[case] expected: &str) {
    let lake = Fixture::new().await;
    let error = lake.error(&lake.admin, sql).await;
    assert!(matches!(error, Error::Invalid { .. } | Error::Value { .. }), "{sql}: {error:?}");
    assert!(error.to_string().contains(expected), "{sql}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_is_never_infinite_by_itself() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.r (x REAL)").await;
    for sql in ["INSERT INTO work.a.r VALUES (1e300)", "INSERT INTO work.a.r SELECT CAST('1e300' AS DOUBLE)"] {
        let error = lake.no(&lake.admin, sql).await;
        assert!(matches!(error, Error::Value { .. } | Error::Invalid { .. }), "{sql}: {error:?}");
    }
    lake.run("INSERT INTO work.a.r VALUES (1.5), (CAST('inf' AS DOUBLE))").await;
    assert_eq!(lake.rows("SELECT x FROM work.a.r ORDER BY x").await, ["1.5", "inf"]);
}

//! Values and parameters as clients of PostgreSQL know them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::scalar::ScalarValue;
use mavis_sql::{Error, NAMED_TYPE, Postgres, Session};
use rstest::rstest;

use crate::fixture::{Fixture, lines};

async fn session(lake: &Fixture, declared: &[Option<DataType>]) -> Session {
    let own = Postgres {
        database: "processed".to_owned(),
        path: vec!["hms".to_owned()],
        parameters: declared.to_vec(),
        ..Postgres::default()
    };
    lake.engine.session(&lake.admin, None).await.unwrap().as_postgres(Arc::new(own))
}

async fn ask(lake: &Fixture, sql: &str, values: &[ScalarValue]) -> Result<Vec<String>, Error> {
    lines(session(lake, &[]).await.query(sql, values, None).await?).await
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

#[tokio::test(flavor = "multi_thread")]
async fn types_of_parameters_are_told_as_postgresql_tells_them() {
    let lake = Fixture::new().await;
    let (int, long, text) = (DataType::Int32, DataType::Int64, DataType::Utf8);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    for (sql, expected) in [
        ("SELECT $1::int", vec![int.clone()]),
        ("SELECT CAST($1 AS bigint)", vec![long.clone()]),
        ("SELECT $1::int[]", vec![list(int.clone())]),
        ("SELECT $1::timestamptz", vec![zoned]),
        ("SELECT $1::timestamp", vec![TIME]),
        ("SELECT $1::numeric", vec![DataType::Decimal128(38, 10)]),
        ("SELECT $1::numeric(6,2)", vec![DataType::Decimal128(38, 10)]),
        ("SELECT $1::interval", vec![INTERVAL]),
        ("SELECT $1::uuid", vec![text.clone()]),
        ("SELECT nom FROM hms_patient WHERE id = ANY($1)", vec![list(long.clone())]),
        ("SELECT nom FROM hms_patient WHERE nom = ANY($1)", vec![list(text.clone())]),
        ("SELECT nom FROM hms_patient WHERE id <> ALL($1)", vec![list(long.clone())]),
        ("SELECT nom FROM hms_patient WHERE id > ANY($1)", vec![list(long.clone())]),
        ("SELECT nom FROM hms_patient WHERE id = ANY($1::int[])", vec![list(int.clone())]),
        (
            "SELECT p FROM (VALUES (CAST(1.5 AS DECIMAL(5, 2)))) AS t(p) WHERE p = ANY($1)",
            vec![list(DataType::Decimal128(38, 10))],
        ),
        ("SELECT $1 || $2", vec![text.clone(), text.clone()]),
        ("SELECT id || $1 FROM hms_patient", vec![text.clone()]),
        ("SELECT nom FROM hms_patient WHERE id IN ($1, $2)", vec![long.clone(), long.clone()]),
        ("SELECT nom FROM hms_patient WHERE $1 IN (id, 7)", vec![long.clone()]),
        ("SELECT nom FROM hms_patient LIMIT $1 OFFSET $2", vec![long.clone(), long.clone()]),
        ("SELECT nom FROM hms_patient WHERE id BETWEEN $1 AND $2", vec![long.clone(), long.clone()]),
        ("SELECT nom FROM hms_patient WHERE nom LIKE $1 || '%'", vec![text.clone()]),
        ("SELECT nom FROM hms_patient WHERE $1::text IS NULL OR nom = $1", vec![text.clone()]),
        ("SELECT nom FROM hms_patient WHERE id = $1 OR $1::text IS NULL", vec![long.clone()]),
        ("SELECT coalesce(id, $1), CASE WHEN id = 1 THEN $2 ELSE id END FROM hms_patient", vec![long.clone(), long]),
        ("SELECT nom FROM hms_patient WHERE $1", vec![DataType::Boolean]),
        ("SELECT TIMESTAMP '2024-01-01' + $1", vec![INTERVAL]),
        ("SELECT TIMESTAMP '2024-01-01' - $1", vec![TIME]),
        ("SELECT $1 IS NULL, $1::date", vec![DataType::Date32]),
        ("SELECT $1", vec![text]),
    ] {
        let prepared = session(&lake, &[]).await.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let told: Vec<DataType> = prepared.parameters.fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(told, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_type_goes_before_all_others() {
    let lake = Fixture::new().await;
    let declared = [Some(DataType::Int16), None];
    let session = session(&lake, &declared).await;
    let prepared = session.prepare("SELECT $1, $1::text, $2::int, $2").await.unwrap();
    let types =
        |fields: &arrow::datatypes::Fields| fields.iter().map(|own| own.data_type().clone()).collect::<Vec<_>>();
    assert_eq!(types(prepared.parameters.fields()), [DataType::Int16, DataType::Int32]);
    assert_eq!(types(prepared.schema.fields()), [DataType::Int16, DataType::Utf8, DataType::Int32, DataType::Int32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_read_as_a_text_keeps_its_name() {
    let lake = Fixture::new().await;
    let prepared = session(&lake, &[]).await.prepare("SELECT $1::uuid, $2::jsonb, $3::text").await.unwrap();
    let named = prepared.parameters.fields().iter().map(|field| field.metadata().get(NAMED_TYPE).map(String::as_str));
    assert_eq!(named.collect::<Vec<_>>(), [Some("uuid"), Some("jsonb"), None]);
}

#[rstest]
#[case("SELECT nom FROM hms_patient WHERE id = ANY($1) ORDER BY id", vec![list_of(&[1, 3])], &["Durand", "Moreau"])]
#[case("SELECT nom FROM hms_patient WHERE id <> ALL($1) ORDER BY id", vec![list_of(&[1, 3])], &["Petit"])]
#[case("SELECT $1 || $2 || '!'", vec!["a".into(), "b".into()], &["ab!"])]
#[case("SELECT $1::int + 1", vec![ScalarValue::Int32(Some(41))], &["42"])]
#[case("SELECT nom FROM hms_patient WHERE nom LIKE $1 ESCAPE $2", vec!["P%".into(), "!".into()], &["Petit"])]
#[tokio::test(flavor = "multi_thread")]
async fn values_are_bound(#[case] sql: &str, #[case] values: Vec<ScalarValue>, #[case] expected: &[&str]) {
    let lake = Fixture::new().await;
    assert_eq!(ask(&lake, sql, &values).await.unwrap(), expected);
}

fn list_of(items: &[i64]) -> ScalarValue {
    let items: Vec<ScalarValue> = items.iter().map(|item| ScalarValue::from(*item)).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&items, &DataType::Int64))
}

/// Each holds in PostgreSQL 15 with UTC as its time zone.
#[tokio::test(flavor = "multi_thread")]
async fn what_holds_in_postgresql_holds_here() {
    let lake = Fixture::new().await;
    for condition in [
        // intervals
        "INTERVAL '3600' = INTERVAL '1 hour'",
        "'3600'::interval = INTERVAL '1 hour'",
        "INTERVAL 'PT1H' = INTERVAL '01:00:00' AND CAST('P1D' AS INTERVAL) = INTERVAL '1 day'",
        "TIMESTAMP '2024-03-01' + INTERVAL '1 mon -1 days +02:03:04' = TIMESTAMP '2024-03-31 02:03:04'",
        "TIMESTAMP '2024-03-01' + INTERVAL '1-2' = TIMESTAMP '2025-05-01'",
        // texts beside what is none
        "(SELECT count(*) FROM (VALUES (true), (false)) AS t(b) WHERE b = 't') = 1",
        "(SELECT count(*) FROM (VALUES (true), (false)) AS t(b) WHERE b = 'yes' OR 'off' = b) = 2",
        "(SELECT count(*) FROM (VALUES (true), (false)) AS t(b) WHERE b IN ('1', 'no')) = 2",
        "(SELECT b = 'false' FROM (VALUES (true)) AS t(b)) = false",
        "(SELECT t = '2024-02-29 12:00+02' FROM (VALUES (TIMESTAMP '2024-02-29 12:00')) AS v(t))",
        "(SELECT count(*) FROM (VALUES (TIMESTAMP '2024-02-29 12:00')) AS v(t) WHERE t BETWEEN '2024-02-29 12:00+02' AND '2024-02-29 12:00-02') = 1",
        "(SELECT count(*) FROM (VALUES (DATE '2024-02-29')) AS v(d) WHERE d = '2024-02-29 +00') = 1",
        "TIMESTAMP '2024-02-29 12:00+02' = TIMESTAMP '2024-02-29 12:00'",
        "'2024-02-29 12:00+02'::timestamptz = TIMESTAMPTZ '2024-02-29 10:00:00+00'",
        "'2024-02-29 +00'::date = DATE '2024-02-29'",
        "'2024-02-29 24:00'::timestamp = TIMESTAMP '2024-03-01' AND '2024-02-29 24:00'::date = DATE '2024-02-29'",
        "(SELECT d < 'infinity' AND d > '-infinity' AND d <> 'infinity' FROM (VALUES (DATE '9999-12-31')) AS v(d))",
        "(SELECT t BETWEEN '-infinity' AND 'infinity' FROM (VALUES (TIMESTAMP '9999-12-31 23:59:59')) AS v(t))",
        "(SELECT count(*) FROM (VALUES (TIMESTAMPTZ '2024-01-01 00:00+00')) AS v(t) WHERE 'infinity' > t) = 1",
        // zones
        "TIMESTAMP '2024-01-01 12:00' AT TIME ZONE 'Europe/Paris' = TIMESTAMPTZ '2024-01-01 11:00+00'",
        "TIMESTAMPTZ '2024-01-01 12:00+00' AT TIME ZONE 'Europe/Paris' = TIMESTAMP '2024-01-01 13:00'",
        "TIMESTAMPTZ '2024-01-01 12:00+00' AT TIME ZONE INTERVAL '2 hours' = TIMESTAMP '2024-01-01 14:00'",
        "TIMESTAMPTZ '2024-01-01 12:00+00' AT TIME ZONE '+02' = TIMESTAMP '2024-01-01 10:00'",
        "DATE '2024-01-01' AT TIME ZONE 'Europe/Paris' = TIMESTAMP '2024-01-01 01:00'",
        "now() AT TIME ZONE 'UTC' > TIMESTAMP '2024-01-01'",
        // patterns
        "(SELECT 'a_b' LIKE p ESCAPE '!' FROM (VALUES ('a!_b')) AS v(p))",
        "NOT (SELECT 'axb' LIKE p ESCAPE '!' FROM (VALUES ('a!_b')) AS v(p))",
        "(SELECT 'A_B' ILIKE p || '%' ESCAPE '!' FROM (VALUES ('a!_')) AS v(p))",
        "'a\\b' LIKE 'a\\b' ESCAPE ''",
        "'abc' SIMILAR TO '%(b|d)%' AND NOT 'abc' SIMILAR TO '(b|c)%' AND 'abc' NOT SIMILAR TO 'a.c'",
        "(SELECT 'a_c' SIMILAR TO p ESCAPE '!' FROM (VALUES ('a!_c')) AS v(p))",
        // lists
        "('{a,\"b c\",NULL}'::text[])[3] IS NULL AND ('{a,\"b c\",NULL}'::text[])[2] = 'b c'",
        "7 = ANY('{1,7}'::int[])",
        "(SELECT count(*) FROM (VALUES (CAST(1.5 AS DECIMAL(5, 2)))) AS t(p) WHERE p = ANY('{1.5,2}'::numeric[])) = 1",
    ] {
        let sql = format!("SELECT 1 WHERE {condition}");
        let answer = ask(&lake, &sql, &[]).await.unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert_eq!(answer, ["1"], "{condition}");
    }
}

/// As PostgreSQL 15 answers.
#[rstest]
#[case("SELECT generate_series(1, 3)", &["1", "2", "3"])]
#[case("SELECT generate_series(1, 3, 2) * 10 AS x ORDER BY x DESC", &["30", "10"])]
#[case("SELECT x FROM (SELECT generate_series(1, 3) AS x) t WHERE x > 1 ORDER BY x", &["2", "3"])]
#[case("SELECT generate_series('2024-01-01'::timestamp, '2024-01-02', '1 day')", &["2024-01-01T00:00:00", "2024-01-02T00:00:00"])]
#[case("SELECT d FROM generate_series('2024-01-01'::timestamp, '2024-01-02', '12 hours') AS d", &["2024-01-01T00:00:00", "2024-01-01T12:00:00", "2024-01-02T00:00:00"])]
#[case("SELECT d::date FROM generate_series(DATE '2024-01-01', '2024-03-01', '1 month') AS d", &["2024-01-01", "2024-02-01", "2024-03-01"])]
#[case("SELECT count(*) FROM generate_series(current_date - 3, current_date, INTERVAL '1 day') AS t(d)", &["4"])]
#[case("SELECT e ->> 'a' FROM json_array_elements('[{\"a\":1},{\"a\":\"x\"}]'::json) AS e", &["1", "x"])]
#[case("SELECT e.value FROM jsonb_array_elements_text('[1,null]'::jsonb) AS e", &["1", "NULL"])]
#[case("SELECT t.id, e FROM (VALUES (1, '[5,6]'), (2, 'none')) AS t(id, j), json_array_elements(t.j) AS e", &["1|5", "1|6"])]
#[case("SELECT round(variance(x), 3) FROM (VALUES (1), (2), (2), (3)) AS t(x)", &["0.667"])]
#[case("SELECT statement_timestamp() <= clock_timestamp()", &["true"])]
#[case("SELECT json_object_keys('{\"b\":1,\"a\":2}')", &["b", "a"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_function_gives(#[case] sql: &str, #[case] expected: &[&str]) {
    let lake = Fixture::new().await;
    assert_eq!(ask(&lake, sql, &[]).await.unwrap(), expected);
}

#[rstest]
#[case("TIMESTAMP '2024-01-01' AT TIME ZONE 'Europe/Paris'", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))]
#[case("TIMESTAMPTZ '2024-01-01' AT TIME ZONE 'Europe/Paris'", TIME)]
#[case("INTERVAL '1 day 02:03:04'", INTERVAL)]
#[tokio::test(flavor = "multi_thread")]
async fn a_value_has_the_type(#[case] value: &str, #[case] expected: DataType) {
    let lake = Fixture::new().await;
    let prepared = session(&lake, &[]).await.prepare(&format!("SELECT {value}")).await.unwrap();
    assert_eq!(*prepared.schema.field(0).data_type(), expected);
}

#[rstest]
#[case("SELECT 'infinity'::timestamp")]
#[case("SELECT DATE '-infinity'")]
#[case("SELECT '0044-03-15 BC'::date")]
#[case("SELECT TIME '24:00'")]
#[case("SELECT 1 FROM (VALUES (DATE '2024-01-01')) AS v(d) WHERE d > '0044-03-15 BC'")]
#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_there_is_none_of_is_said_to_be_out_of_range(#[case] sql: &str) {
    let lake = Fixture::new().await;
    let error = ask(&lake, sql, &[]).await.unwrap_err();
    assert!(matches!(&error, Error::Value { message } if message.contains("times")), "{error:?}");
}

#[rstest]
#[case("SELECT 1 FROM (VALUES (true)) AS t(b) WHERE b = 'Durand'")]
#[case("SELECT now() AT TIME ZONE 'Durand/X'")]
#[case("SELECT '{{Durand}}'::text[]")]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_and_not_repeated(#[case] sql: &str) {
    let lake = Fixture::new().await;
    let error = ask(&lake, sql, &[]).await.unwrap_err();
    assert!(!error.to_string().contains("Durand"), "{error}");
}

//! The extended protocol and binary values, with sqlx.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::{
    Column, ConnectOptions, Connection, Either, Executor, Row, SqlSafeStr, Statement, TypeInfo,
    postgres::types::PgInterval,
    types::{
        Json, Uuid,
        chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc},
    },
};

use super::{connect, options, with_tables};
use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_kind_travel_in_binary() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let sql = "SELECT true AS flag, CAST(7 AS SMALLINT) AS small, CAST(-7 AS INT) AS middle, 9000000000 AS large, \
               CAST(1.5 AS REAL) AS real, CAST(0.1 AS DOUBLE) AS double, 'été' AS text, X'00ff' AS bytes, \
               DATE '2024-02-29' AS day, TIMESTAMP '2024-02-29 12:34:56.789' AS moment, \
               CAST('2024-02-29T12:34:56Z' AS TIMESTAMPTZ) AS zoned, CAST('12:34:56' AS TIME) AS clock, \
               make_array(1, 2, NULL) AS list, named_struct('a', 1, 'b', 'x') AS object, NULL AS nothing";
    let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
    assert!(row.get::<bool, _>("flag"));
    assert_eq!(
        (row.get::<i16, _>("small"), row.get::<i32, _>("middle"), row.get::<i64, _>("large")),
        (7, -7, 9_000_000_000)
    );
    assert_eq!((row.get::<f32, _>("real"), row.get::<f64, _>("double")), (1.5, 0.1));
    assert_eq!((row.get::<String, _>("text").as_str(), row.get::<Vec<u8>, _>("bytes")), ("été", vec![0, 255]));
    assert_eq!(row.get::<NaiveDate, _>("day"), NaiveDate::from_ymd_opt(2024, 2, 29).unwrap());
    let moment: NaiveDateTime = "2024-02-29T12:34:56.789".parse().unwrap();
    assert_eq!(row.get::<NaiveDateTime, _>("moment"), moment);
    assert_eq!(row.get::<DateTime<Utc>, _>("zoned"), "2024-02-29T12:34:56Z".parse::<DateTime<Utc>>().unwrap());
    assert_eq!(row.get::<NaiveTime, _>("clock"), "12:34:56".parse().unwrap());
    assert_eq!(row.get::<Vec<Option<i64>>, _>("list"), [Some(1), Some(2), None]);
    assert_eq!(row.get::<Json<serde_json::Value>, _>("object").0, serde_json::json!({"a": 1, "b": "x"}));
    assert_eq!(row.get::<Option<String>, _>("nothing"), None);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_may_be_called_alike() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    for sql in [
        "SELECT *, a FROM (SELECT 1::bigint AS a) t ORDER BY a",
        "SELECT *, 1::bigint AS a FROM (SELECT 1::bigint AS a) t",
        "SELECT n AS a, n AS a FROM (SELECT 1::bigint AS n) t",
    ] {
        let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
        assert!(row.columns().iter().all(|column| column.name() == "a"), "{sql}");
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (1, 1), "{sql}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound_with_their_types() {
    let test = with_tables().await;
    let mut connection = connect(&test, "fhir").await;
    let row = sqlx::query("SELECT $1 + 1 AS n, $2 AS t, $3 AS d")
        .bind(41_i64)
        .bind("it's")
        .bind(NaiveDate::from_ymd_opt(2024, 2, 29).unwrap())
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!((row.get::<i64, _>("n"), row.get::<String, _>("t")), (42, "it's".to_owned()));
    assert_eq!(row.get::<NaiveDate, _>("d"), NaiveDate::from_ymd_opt(2024, 2, 29).unwrap());
    let none = sqlx::query("SELECT id, price FROM patient WHERE id = $1 AND n > $2 LIMIT $3");
    let rows = none.bind("x").bind(3_i64).bind(5_i64).fetch_all(&mut connection).await.unwrap();
    assert!(rows.is_empty());
    let null = sqlx::query_scalar::<_, Option<i64>>("SELECT $1").bind(None::<i64>);
    assert_eq!(null.fetch_one(&mut connection).await.unwrap(), None);
    // The statement is prepared once and run again.
    for n in 0..5_i64 {
        let doubled = sqlx::query_scalar::<_, i64>("SELECT 2 * $1").bind(n);
        assert_eq!(doubled.fetch_one(&mut connection).await.unwrap(), 2 * n);
    }
    let any = sqlx::query_scalar::<_, i64>("SELECT n FROM (VALUES (1), (2), (3)) AS t(n) WHERE n = ANY($1) ORDER BY n");
    assert_eq!(any.bind(vec![2_i64, 3]).fetch_all(&mut connection).await.unwrap(), [2, 3]);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_the_types_of_parameters() {
    let test = with_tables().await;
    let mut connection = connect(&test, "fhir").await;
    for (sql, expected) in [
        ("SELECT $1::int", &["INT4"][..]),
        ("SELECT $1::numeric, $2::interval", &["NUMERIC", "INTERVAL"]),
        ("SELECT $1::uuid, $2::jsonb, $3::timestamptz[]", &["UUID", "JSONB", "TIMESTAMPTZ[]"]),
        ("SELECT id FROM patient WHERE n = ANY($1) AND \"birthDate\" > $2", &["INT8[]", "DATE"]),
        ("SELECT id FROM patient WHERE price BETWEEN $1 AND $2 LIMIT $3", &["NUMERIC", "NUMERIC", "INT8"]),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM patient WHERE seen < $1", &["TIMESTAMPTZ"]),
    ] {
        let prepared = connection.prepare(sql.into_sql_str()).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let Some(Either::Left(types)) = prepared.parameters() else { panic!("{sql}") };
        assert_eq!(types.iter().map(TypeInfo::name).collect::<Vec<_>>(), expected, "{sql}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_lengths_of_time_travel_in_binary() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let days = [1, 29].map(|day| NaiveDate::from_ymd_opt(2024, 2, day).unwrap());
    let is_among = sqlx::query_scalar::<_, bool>("SELECT DATE '2024-02-29' = ANY($1)").bind(days.to_vec());
    assert!(is_among.fetch_one(&mut connection).await.unwrap());
    let moments: Vec<DateTime<Utc>> = vec!["2024-02-29T12:00:00Z".parse().unwrap()];
    let sql = "SELECT TIMESTAMPTZ '2024-02-29 12:00:00+00' = ANY($1)";
    assert!(sqlx::query_scalar::<_, bool>(sql).bind(moments).fetch_one(&mut connection).await.unwrap());
    let ids = vec![Uuid::nil()];
    let sql = "SELECT '00000000-0000-0000-0000-000000000000' = ANY($1)";
    assert!(sqlx::query_scalar::<_, bool>(sql).bind(ids).fetch_one(&mut connection).await.unwrap());
    let with_nothing = vec![Some(5_i64), None];
    let sql = "SELECT $1";
    let again = sqlx::query_scalar::<_, Vec<Option<i64>>>(sql).bind(with_nothing.clone());
    assert_eq!(again.fetch_one(&mut connection).await.unwrap(), with_nothing);
    let month = PgInterval { months: 1, days: 0, microseconds: 1_500_000 };
    let row = sqlx::query("SELECT TIMESTAMP '2024-01-31' + $1 AS moment, INTERVAL '-1 days +02:00' AS span");
    let row = row.bind(month).fetch_one(&mut connection).await.unwrap();
    let moment: NaiveDateTime = "2024-02-29T00:00:01.500".parse().unwrap();
    assert_eq!(row.get::<NaiveDateTime, _>("moment"), moment);
    let span = PgInterval { months: 0, days: -1, microseconds: 7_200_000_000 };
    assert_eq!(row.get::<PgInterval, _>("span"), span);
    // Lists of several lengths are no array: as text they come, in binary they cannot.
    let uneven = "SELECT make_array(make_array(1), make_array(1, 2))";
    let refused = sqlx::query(uneven).fetch_one(&mut connection).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("0A000"));
    let row = connection.fetch_one(sqlx::raw_sql(uneven)).await.unwrap();
    assert_eq!(row.get_unchecked::<String, _>(0), "{{1},{1,2}}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_streamed_and_an_error_leaves_the_connection_usable() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    let mut count = 0_i64;
    {
        let mut rows = sqlx::query("SELECT unnest(range(0, 300000)) AS n").fetch(&mut connection);
        while let Some(row) = rows.try_next().await.unwrap() {
            assert_eq!(row.get::<i64, _>("n"), count);
            count += 1;
        }
    }
    assert_eq!(count, 300_000);
    let failed = sqlx::query("SELECT * FROM nowhere").fetch_all(&mut connection).await.unwrap_err();
    assert_eq!(failed.as_database_error().unwrap().code().as_deref(), Some("42P01"));
    assert_eq!(sqlx::query_scalar::<_, i64>("SELECT 1").fetch_one(&mut connection).await.unwrap(), 1);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_takes_nothing_but_its_end() {
    let test = TestServer::start().await;
    let mut connection = connect(&test, "fhir").await;
    connection.execute("BEGIN").await.unwrap();
    connection.execute("SAVEPOINT s").await.unwrap();
    assert!(connection.execute("SELECT 1 / 0").await.is_err());
    let refused = connection.execute("SELECT 1").await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("25P02"));
    connection.execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
    connection.execute("SELECT 1").await.unwrap();
    assert!(connection.execute("SELECT 1 / 0").await.is_err());
    connection.execute("ROLLBACK").await.unwrap();
    connection.execute("SELECT 1").await.unwrap();
    connection.execute("DISCARD ALL").await.unwrap();
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_ends_its_connections_and_the_audit_names_no_values() {
    let test = with_tables().await;
    let secret = test.token("ann", mavis_proto::v1::Role::Reader, &["raw.hms"]).await;
    let mut connection = options(&test, "raw", &secret).connect().await.unwrap();
    connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'Durand'").await.unwrap();
    let catalog = &test.server.app().catalog;
    let own = catalog.tokens().await.unwrap().into_iter().find(|token| token.name == "ann").unwrap();
    catalog.revoke_token(&own.name).await.unwrap();
    let refused = connection.execute("SELECT 1").await.unwrap_err();
    assert_eq!(
        refused.as_database_error().map(|error| error.code().unwrap_or_default().into_owned()).as_deref(),
        Some("28P01")
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut admin = connect(&test, "system").await;
    let lines = sqlx::query("SELECT actor, door, object, allowed FROM ops.audit WHERE actor = 'ann'");
    let lines = lines.fetch_all(&mut admin).await.unwrap();
    assert!(lines.iter().any(|line| line.get::<String, _>("door") == "postgres"));
    assert!(lines.iter().all(|line| !line.get::<String, _>("object").contains("Durand")));
    admin.close().await.unwrap();
    test.stop().await;
}

//! The extended protocol and binary values, with sqlx.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::{
    ConnectOptions, Connection, Executor, Row,
    types::{
        Json,
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

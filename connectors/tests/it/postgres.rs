//! The PostgreSQL connector against a real server (`MAVIS_TEST_POSTGRES`, see `tests/setup`).

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Date32Type, Decimal128Type, TimestampMicrosecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use mavis_connectors::{
    ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, StageOutcome, TableKind, TableRef,
    testkit::{Expectation, assert_contract, read_all},
};
use mavis_types::SourceName;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

/// A database of its own; dropped at the end of the test run with the server.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) params: Value,
}

impl Database {
    pub(crate) async fn with(statements: &str) -> Option<Self> {
        let Some(admin) = std::env::var("MAVIS_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_POSTGRES is not set");
            eprintln!("skipped: MAVIS_TEST_POSTGRES is not set; run `make test`");
            return None;
        };
        let name = format!("connector_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (base, _) = admin.rsplit_once('/').unwrap();
        let database = Self { url: format!("{base}/{name}"), params: params(base, &name) };
        database.execute(statements).await;
        Some(database)
    }

    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
    }

    pub(crate) async fn text(&self, query: &str) -> String {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    pub(crate) fn source(&self, more: Value) -> Arc<dyn Source> {
        let mut params = self.params.clone();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec =
            SourceSpec { name: SourceName::new("his").unwrap(), kind: "postgres".into(), params, authoritative: false };
        Registry::built_in().connect(&spec, &Secrets::from_pairs([("POSTGRES_PASSWORD_HIS", "not asked for")])).unwrap()
    }
}

fn params(base: &str, database: &str) -> Value {
    let (user, address) = base.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    json!({ "host": host, "port": port.parse::<u16>().unwrap(), "user": user, "database": database })
}

pub(crate) fn table(name: &str) -> TableRef {
    TableRef { schema: None, name: name.to_owned() }
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let Some(database) = Database::with(
        "CREATE SCHEMA lab;
         CREATE TABLE patient (id int PRIMARY KEY, name text);
         CREATE TABLE lab.result (id int PRIMARY KEY, at timestamptz);
         CREATE VIEW adults AS SELECT * FROM patient WHERE id > 18;
         INSERT INTO patient SELECT i, 'n' || i FROM generate_series(1, 2500) i;
         INSERT INTO lab.result SELECT i, now() FROM generate_series(1, 10) i;",
    )
    .await
    else {
        return;
    };
    let expected = || Expectation::default().table("patient", 2500).table("lab.result", 10).table("adults", 2482);
    assert_contract(&*database.source(json!({})), expected()).await;
    let incremental = database.source(json!({ "cursor_columns": { "patient": "id", "lab.result": "at" } }));
    assert_contract(&*incremental, expected()).await;
}

#[tokio::test]
async fn every_kind_of_value_arrives_exactly() {
    let Some(database) = Database::with(
        r#"
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TYPE pair AS (a int, b text);
        CREATE DOMAIN money2 AS numeric(12,2);
        CREATE TABLE t (
            b bool, i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision, n numeric(38,10), n0 numeric, dom money2,
            txt text, vc varchar(5), ch char(5), by bytea, d date, ts timestamp, tz timestamptz, ti time, tiz timetz,
            iv interval, u uuid, j json, jb jsonb, ia int[], ta text[], na numeric[], inet inet, mac macaddr, r int4range,
            e mood, p pair, x xml, bits bit varying(8), m money, pt point, o oid, tsv tsvector);
        INSERT INTO t VALUES (
            true, -32768, 2147483647, -9223372036854775808, 1.5, 0.1, -1234567890123456789012345678.0123456789,
            123456789012345678901234567890123456789012345.678900, 99.90,
            E'a\n"b"\\', 'abcde', 'ab', '\x00ff', '0044-03-15 BC', '1999-12-31 23:59:59.999999',
            '2024-06-01 12:00:00+02', '24:00:00', '10:00+02', '1 year 2 days 03:04:05', '00000000-0000-0000-0000-000000000001',
            '{"a": 1.10}', '{"b": [1, null]}', '{1,NULL,3}', '{{a,b},{c,d}}', '{1.10,2}', '10.0.0.1/24', '08:00:2b:01:02:03',
            '[1,10)', 'ok', ROW(1, 'x,y'), '<a/>', B'1010', 12.34, '(1,2)', 4294967295, 'fat cat');
        INSERT INTO t DEFAULT VALUES;"#,
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({}));
    let reading = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap();
    let batch = &reading.batches[0];
    assert_eq!(batch.num_rows(), 2);
    let cell = |name: &str| {
        let column = batch.column_by_name(name).unwrap();
        assert!(column.is_null(1), "{name} is null where it was null");
        ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap().value(0).to_string()
    };
    for (name, expected) in [
        ("b", "true"),
        ("i2", "-32768"),
        ("i4", "2147483647"),
        ("i8", "-9223372036854775808"),
        ("f4", "1.5"),
        ("f8", "0.1"),
        ("n", "-1234567890123456789012345678.0123456789"),
        ("n0", "123456789012345678901234567890123456789012345.678900"),
        ("dom", "99.90"),
        ("txt", "a\n\"b\"\\"),
        ("vc", "abcde"),
        ("ch", "ab"),
        ("by", "00ff"),
        ("d", "-0043-03-15"),
        ("ts", "1999-12-31T23:59:59.999999"),
        ("tz", "2024-06-01T10:00:00Z"),
        ("ti", "24:00:00"),
        ("tiz", "10:00:00+02"),
        ("iv", "P1Y2DT3H4M5S"),
        ("u", "00000000-0000-0000-0000-000000000001"),
        ("j", "{\"a\": 1.10}"),
        ("jb", "{\"b\": [1, null]}"),
        ("ia", "[1,null,3]"),
        ("ta", "[[\"a\",\"b\"],[\"c\",\"d\"]]"),
        ("na", "[1.10,2]"),
        ("inet", "10.0.0.1/24"),
        ("mac", "08:00:2b:01:02:03"),
        ("r", "[1,10)"),
        ("e", "ok"),
        ("p", "{\"a\":1,\"b\":\"x,y\"}"),
        ("x", "<a/>"),
        ("bits", "1010"),
        ("pt", "(1,2)"),
        ("o", "4294967295"),
        ("tsv", "'cat' 'fat'"),
    ] {
        assert_eq!(cell(name), expected, "{name}");
    }
    let schema = batch.schema();
    let data_type = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
    assert_eq!(data_type("n"), DataType::Decimal128(38, 10));
    assert_eq!(data_type("dom"), DataType::Decimal128(12, 2));
    assert_eq!(data_type("n0"), DataType::Utf8, "a NUMERIC without a precision stays text");
}

#[tokio::test]
async fn a_value_that_arrow_has_no_place_for_rejects_its_row_or_is_limited_where_asked() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, until date, at timestamptz, n numeric(5,2));
         INSERT INTO t VALUES (1, '2024-01-01', now(), 1), (2, 'infinity', now(), 1), (3, NULL, '-infinity', 1), (4, NULL, NULL, 'NaN');",
    )
    .await
    else {
        return;
    };
    let reading = read_all(&*database.source(json!({})), ReadRequest::whole(table("t"))).await.unwrap();
    assert_eq!(reading.rows.len(), 1);
    let reasons: Vec<_> = reading.rejects.iter().map(|(_, reason, _)| reason.split(':').next().unwrap()).collect();
    assert_eq!(reasons, ["until", "at", "n"]);

    let limited = database.source(json!({ "infinity": "limit" }));
    let reading = read_all(&*limited, ReadRequest::whole(table("t"))).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len()), (3, 1));
    let until = reading.batches[0].column_by_name("until").unwrap().as_primitive::<Date32Type>();
    assert_eq!(until.value_as_date(1).unwrap().to_string(), "9999-12-31");
    let at = reading.batches[0].column_by_name("at").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.value_as_datetime(2).unwrap().date().to_string(), "0001-01-01");
    let n = reading.batches[0].column_by_name("n").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!(n.value(0), 100);
}

#[tokio::test]
async fn discovery_tells_keys_references_comments_estimates_and_only_the_tables_declared() {
    let Some(database) = Database::with(
        "CREATE SCHEMA \"Odd Schema\";
         CREATE TABLE ward (code text NOT NULL UNIQUE, label text);
         CREATE TABLE stay (a int, b int, ward text REFERENCES ward(code), PRIMARY KEY (b, a));
         CREATE TABLE \"Odd Schema\".\"Odd \"\"Table\" (\"Ünï\" int);
         CREATE TABLE events (at date, n int) PARTITION BY RANGE (at);
         CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         INSERT INTO events VALUES ('2024-05-05', 1);
         INSERT INTO ward SELECT 'w' || i FROM generate_series(1, 500) i;
         COMMENT ON TABLE stay IS 'a stay'; COMMENT ON COLUMN stay.ward IS 'where';
         ANALYZE;",
    )
    .await
    else {
        return;
    };
    let discovery = database.source(json!({})).discover(&Selection::default()).await.unwrap();
    assert!(discovery.failures.is_empty(), "{:?}", discovery.failures);
    let names: Vec<String> = discovery.tables.iter().map(|table| table.table.to_string()).collect();
    assert_eq!(names, ["Odd Schema.Odd \"Table", "events", "stay", "ward"], "a partition is read through its parent");
    let find = |name: &str| discovery.tables.iter().find(|table| table.table.name == name).unwrap();
    let stay = find("stay");
    assert_eq!(stay.key, ["b", "a"]);
    assert_eq!(stay.comment.as_deref(), Some("a stay"));
    assert_eq!(stay.columns[2].comment.as_deref(), Some("where"));
    assert_eq!(stay.foreign_keys[0].table, table("ward"));
    assert_eq!(stay.foreign_keys[0].referenced, ["code"]);
    assert_eq!(find("ward").key, ["code"], "a unique key of columns that are never null");
    assert_eq!(find("ward").row_estimate, Some(500));
    assert_eq!((find("events").kind, find("events").mode), (TableKind::Table, ReadMode::Snapshot));
    let odd =
        read_all(&*database.source(json!({})), ReadRequest::whole(discovery.tables[0].table.clone())).await.unwrap();
    assert_eq!(odd.rows.len(), 0);

    let chosen = database.source(json!({ "tables_to_include": ["public.*"], "tables_to_exclude": ["w*"] }));
    let discovery = chosen.discover(&Selection::default()).await.unwrap();
    let names: Vec<String> = discovery.tables.iter().map(|table| table.table.to_string()).collect();
    assert_eq!(names, ["events", "stay"]);
}

#[tokio::test]
async fn an_incremental_reading_yields_new_rows_ties_and_rows_without_a_value_and_no_row_twice() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamp(0), v text);
         INSERT INTO t VALUES (1, '2024-01-01', 'a'), (2, '2024-01-02', 'b'), (5, '2024-01-02', 'c');",
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({ "cursor_columns": { "t": "at" } }));
    let first = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap();
    assert_eq!(first.rows.len(), 3);
    database
        .execute("INSERT INTO t VALUES (3, '2024-01-02', 'tie'), (4, '2024-01-03', 'd'), (6, NULL, 'no time')")
        .await;
    let more =
        ReadRequest { from: first.cursors.last().map(|(cursor, ..)| cursor.clone()), ..ReadRequest::whole(table("t")) };
    let second = read_all(&*source, more).await.unwrap();
    let mut ids: Vec<i32> = second
        .batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [3, 4, 6]);
}

#[tokio::test]
async fn a_check_stops_at_the_stage_that_fails() {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    for (more, failing) in [
        (json!({ "host": "no-such-host.invalid" }), "name"),
        (json!({ "port": 1 }), "route"),
        (json!({ "database": "no_such_database" }), "database"),
        (json!({ "user": "nobody_at_all" }), "login"),
        (json!({ "tables_to_include": ["nothing"] }), "read"),
    ] {
        let reports = database.source(more.clone()).check().await;
        let last = reports.last().unwrap();
        assert_eq!(
            (last.stage.to_string().as_str(), last.outcome),
            (failing, StageOutcome::Failed),
            "{more}: {reports:?}"
        );
        let before = &reports[..reports.len() - 1];
        assert!(before.iter().all(|report| report.outcome != StageOutcome::Failed), "{more}: {reports:?}");
    }
    let reports = database.source(json!({})).check().await;
    assert!(reports.iter().all(|report| report.outcome != StageOutcome::Failed), "{reports:?}");
}

#[tokio::test]
async fn a_table_without_a_key_is_not_read_by_a_cursor_column() {
    let Some(database) = Database::with("CREATE TABLE t (at date); INSERT INTO t VALUES ('2024-01-01')").await else {
        return;
    };
    let source = database.source(json!({ "cursor_columns": { "t": "at" } }));
    let discovery = source.discover(&Selection::default()).await.unwrap();
    assert!(discovery.tables.is_empty() && discovery.failures[0].1.contains("key"), "{discovery:?}");
    let error = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap_err().to_string();
    assert!(error.contains("cursor_columns"), "{error}");
}

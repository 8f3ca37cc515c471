//! The MySQL connector against a real MariaDB.

mod faults;
pub(crate) mod support;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Int32Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use mavis_connectors::{
    ReadMode, ReadRequest, Selection, StageOutcome, TableKind,
    testkit::{Expectation, Reading, assert_contract, read_all},
};
use serde_json::json;
use sqlx::{Connection, Executor};
use support::{Database, table};

#[tokio::test]
async fn mysql_keeps_the_contract() {
    let Some(database) = Database::with(
        "CREATE TABLE patient (id int PRIMARY KEY, name varchar(20));
         CREATE TABLE result (id int PRIMARY KEY, at timestamp NULL, ward varchar(9));
         CREATE TABLE nothing (id int);
         CREATE TABLE bad (id int PRIMARY KEY, at date);
         INSERT INTO patient SELECT seq, concat('n', seq) FROM seq_1_to_2500;
         INSERT INTO result SELECT seq, '2024-01-01 10:00:00' + INTERVAL (seq DIV 4) SECOND, concat('w', seq MOD 3) FROM seq_1_to_30;
         INSERT INTO bad SELECT seq, if(seq MOD 5 = 0, '0000-00-00', '2024-01-01') FROM seq_1_to_20;
         CREATE VIEW adults AS SELECT * FROM patient WHERE id > 18;",
    )
    .await
    else {
        return;
    };
    let expected = || {
        Expectation::default()
            .table("patient", 2500)
            .table("result", 30)
            .table("nothing", 0)
            .table("adults", 2482)
            .table_with_rejects("bad", 16, 4)
    };
    assert_contract(&*database.source(json!({})), expected()).await;
    let incremental = json!({ "cursor_columns": { "patient": "id", "result": "at", "bad": "id" } });
    assert_contract(&*database.source(incremental), expected()).await;
    let by_text = json!({ "cursor_columns": { "patient": "name", "result": "ward" } });
    assert_contract(&*database.source(by_text), expected()).await;
}

fn cell(reading: &Reading, name: &str, row: usize) -> String {
    let batch = reading.as_one_batch().unwrap();
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap().value(row).to_string()
}

#[tokio::test]
async fn every_kind_of_value_arrives_exactly() {
    let Some(database) = Database::with(
        r#"
        CREATE TABLE t (
            i1 tinyint, u1 tinyint unsigned, i2 smallint, u2 smallint unsigned, i3 mediumint, u3 mediumint unsigned,
            i4 int, u4 int unsigned zerofill, i8 bigint, u8 bigint unsigned, b bool,
            f4 float, f8 double, fz float, d decimal(10,2), dd decimal(38,10), d65 decimal(65,30), dz decimal(5,2) unsigned zerofill,
            bit1 bit(1), bit9 bit(9), bit64 bit(64), y year, dt date, ti time(6), tneg time, dtm datetime(6), ts timestamp(3) NULL,
            ch char(5), vc varchar(20), tx longtext, l1 varchar(20) CHARACTER SET latin1, cp varchar(20) CHARACTER SET cp1251,
            ko varchar(20) CHARACTER SET koi8r, u16 varchar(20) CHARACTER SET utf16, bi binary(4), vb varbinary(9), bl blob,
            e enum('a','b''c'), s set('x','y','z'), j json, g geometry, p point, u uuid, ip inet6);
        INSERT INTO t VALUES (
            -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 42, -9223372036854775808, 18446744073709551615, true,
            16777217.5, 0.1, 0.1, 12.5, -1234567890123456789012345678.0123456789,
            12345678901234567890123456789012345.123456789012345678901234567890, 7.5,
            b'1', b'100000001', b'1111111111111111111111111111111111111111111111111111111111111111', 2155, '2024-02-29',
            '838:59:59', '-01:02:03', '1000-01-01 00:00:00.000001', '2038-01-19 03:14:07.999',
            'ab', 'naïve €😀', 'x', 'é€', 'Привет', 'Привет', 'Жук😀', x'00ff', x'00', x'deadbeef',
            'b''c', 'x,z', '{"a": 1.10}', ST_GeomFromText('POINT(1 2)', 4326), ST_GeomFromText('POINT(1.5 -2)'),
            '123e4567-e89b-12d3-a456-426655440000', '2001:db8::1');
        INSERT INTO t () VALUES ();"#,
    )
    .await
    else {
        return;
    };
    let reading = read_all(&*database.source(json!({})), ReadRequest::whole(table("t"))).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len()), (2, 0), "{:?}", reading.rejects);
    let schema = reading.batches[0].schema();
    for (name, expected) in [
        ("i1", "-128"),
        ("u1", "255"),
        ("i2", "-32768"),
        ("u2", "65535"),
        ("i3", "-8388608"),
        ("u3", "16777215"),
        ("i4", "-2147483648"),
        ("u4", "42"),
        ("i8", "-9223372036854775808"),
        ("u8", "18446744073709551615"),
        ("b", "1"),
        ("f4", "16777218.0"),
        ("f8", "0.1"),
        ("fz", "0.1"),
        ("d", "12.50"),
        ("dd", "-1234567890123456789012345678.0123456789"),
        ("d65", "12345678901234567890123456789012345.123456789012345678901234567890"),
        ("dz", "7.50"),
        ("bit1", "true"),
        ("bit9", "257"),
        ("bit64", "18446744073709551615"),
        ("y", "2155"),
        ("dt", "2024-02-29"),
        ("ti", "838:59:59.000000"),
        ("tneg", "-01:02:03"),
        ("dtm", "1000-01-01T00:00:00.000001"),
        ("ts", "2038-01-19T03:14:07.999Z"),
        ("ch", "ab"),
        ("vc", "naïve €😀"),
        ("l1", "é€"),
        ("cp", "Привет"),
        ("ko", "Привет"),
        ("u16", "Жук😀"),
        ("bi", "00ff0000"),
        ("vb", "00"),
        ("bl", "deadbeef"),
        ("e", "b'c"),
        ("s", "x,z"),
        ("j", "{\"a\": 1.10}"),
        ("g", "0101000000000000000000f03f0000000000000040"),
        ("p", "0101000000000000000000f83f00000000000000c0"),
        ("u", "123e4567-e89b-12d3-a456-426655440000"),
        ("ip", "2001:db8::1"),
    ] {
        assert_eq!(cell(&reading, name, 0), expected, "{name}");
        assert_eq!(cell(&reading, name, 1), "NULL", "{name} is null where it was null");
    }
    let data_type = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
    assert_eq!(data_type("dd"), DataType::Decimal128(38, 10));
    assert_eq!(data_type("d65"), DataType::Utf8, "65 digits fit no 128-bit number");
    assert_eq!(data_type("u8"), DataType::Decimal128(20, 0));
}

#[tokio::test]
async fn a_single_precision_number_comes_with_all_its_bits() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, f float, d double);
         INSERT INTO t VALUES (1, 3.4028234e38, 1.7976931348623157e308), (2, 1.17549435e-38, 5e-324),
                              (3, 0.333333343, 0.1234567890123456789), (4, -123456.789, 1e15), (5, 8388609, 9007199254740993);",
    )
    .await
    else {
        return;
    };
    let reading = read_all(&*database.source(json!({})), ReadRequest::whole(table("t"))).await.unwrap();
    let batch = &reading.batches[0];
    let singles = batch.column(1).as_primitive::<arrow::datatypes::Float32Type>();
    assert_eq!(
        singles.values().to_vec(),
        [3.402_823_4e38, 1.175_494_4e-38, 0.333_333_34, -123_456.79, 8_388_609.0_f32]
    );
    let doubles = batch.column(2).as_primitive::<arrow::datatypes::Float64Type>();
    assert_eq!(
        doubles.values().to_vec(),
        [f64::MAX, 5e-324, 0.123_456_789_012_345_68, 1e15, 9_007_199_254_740_992.0_f64]
    );
}

#[tokio::test]
async fn zero_dates_reject_their_row_or_are_null_or_text_as_declared() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, d date NOT NULL, at datetime(3), ts timestamp NOT NULL);
         INSERT INTO t VALUES (1, '2024-01-01', '2024-01-01 10:00', '2024-01-01 10:00:00'),
                              (2, '0000-00-00', NULL, '2024-01-01 10:00:00'),
                              (3, '2020-00-00', NULL, '2024-01-01 10:00:00'),
                              (4, '2024-01-01', '0000-00-00 00:00:00', '2024-01-01 10:00:00'),
                              (5, '2024-01-01', NULL, '0000-00-00 00:00:00');",
    )
    .await
    else {
        return;
    };
    let read = async |zero_dates: &str| {
        let source = database.source(json!({ "zero_dates": zero_dates }));
        read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap()
    };
    let rejected = read("reject").await;
    assert_eq!(rejected.rows.len(), 1);
    let reasons: Vec<_> = rejected.rejects.iter().map(|(_, reason, _)| reason.split(':').next().unwrap()).collect();
    assert_eq!(reasons, ["d", "d", "at", "ts"]);
    assert!(rejected.rejects[1].2.contains("2020-00-00"), "the payload has the row: {}", rejected.rejects[1].2);

    let null = read("null").await;
    assert_eq!((null.rows.len(), null.rejects.len()), (4, 1), "{:?}", null.rejects);
    assert_eq!([cell(&null, "d", 1), cell(&null, "at", 2), cell(&null, "ts", 3)], ["NULL", "NULL", "NULL"]);
    assert!(null.rejects[0].2.contains("2020-00-00"), "what says something is not thrown away");

    let text = read("text").await;
    assert_eq!((text.rows.len(), text.rejects.len()), (5, 0));
    assert_eq!([cell(&text, "d", 2), cell(&text, "at", 3)], ["2020-00-00", "0000-00-00 00:00:00.000"]);
}

#[tokio::test]
async fn discovery_tells_keys_references_comments_and_only_the_tables_declared() {
    let Some(database) = Database::with(
        "CREATE TABLE ward (code varchar(9) NOT NULL UNIQUE, label text COMMENT 'what it is called') COMMENT 'a ward';
         CREATE TABLE stay (a int, b int, ward varchar(9), PRIMARY KEY (b, a), FOREIGN KEY (ward) REFERENCES ward(code));
         CREATE TABLE prefixed (t varchar(200) NOT NULL, UNIQUE KEY (t(10)));
         CREATE TABLE nullable (t int, UNIQUE KEY (t));
         CREATE TABLE `Odd ``Table` (`Ünï €` int, `hidden` int INVISIBLE DEFAULT 3, `twice` int AS (`Ünï €` * 2));
         CREATE SEQUENCE s;
         INSERT INTO `Odd ``Table` (`Ünï €`) VALUES (7);
         INSERT INTO ward SELECT concat('w', seq), 'x' FROM seq_1_to_500;
         CREATE VIEW gone_view AS SELECT * FROM nullable; CREATE VIEW good_view AS SELECT * FROM ward;
         DROP TABLE nullable; CREATE TABLE nullable2 (t int, UNIQUE KEY (t)); ANALYZE TABLE ward;",
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({}));
    let discovery = source.discover(&Selection::default()).await.unwrap();
    let names: Vec<String> = discovery.tables.iter().map(|table| table.table.to_string()).collect();
    assert_eq!(names, ["good_view", "nullable2", "Odd `Table", "prefixed", "stay", "ward"]);
    assert_eq!(discovery.failures.len(), 1, "{:?}", discovery.failures);
    assert!(discovery.failures[0].0.name == "gone_view" && discovery.failures[0].1.contains("repair the view"));
    let find = |name: &str| discovery.tables.iter().find(|table| table.table.name == name).unwrap();
    assert_eq!(find("stay").key, ["b", "a"]);
    assert_eq!(find("stay").foreign_keys[0].table, table("ward"));
    assert_eq!(find("stay").foreign_keys[0].referenced, ["code"]);
    assert_eq!(find("ward").key, ["code"], "a unique key of columns that are never null");
    assert_eq!(find("ward").comment.as_deref(), Some("a ward"));
    assert_eq!(find("ward").columns[1].comment.as_deref(), Some("what it is called"));
    assert!(
        find("ward").row_estimate.is_some_and(|rows| (400..=600).contains(&rows)),
        "{:?}",
        find("ward").row_estimate
    );
    assert!(find("prefixed").key.is_empty() && find("nullable2").key.is_empty());
    assert_eq!((find("good_view").kind, find("ward").kind), (TableKind::View, TableKind::Table));
    assert_eq!(find("ward").mode, ReadMode::Snapshot);
    let odd = read_all(&*source, ReadRequest::whole(find("Odd `Table").table.clone())).await.unwrap();
    assert_eq!(odd.rows, ["hidden=3|twice=14|Ünï €=7"]);

    let chosen = database.source(json!({ "tables_to_include": ["w*", "stay"], "tables_to_exclude": ["st*"] }));
    let names: Vec<String> =
        chosen.discover(&Selection::default()).await.unwrap().tables.iter().map(|t| t.table.to_string()).collect();
    assert_eq!(names, ["ward"]);
}

#[tokio::test]
async fn a_thousand_tables_are_discovered_in_a_few_statements() {
    let mut statements = String::new();
    for i in 0..1000 {
        statements.push_str(&format!("CREATE TABLE t{i} (id int PRIMARY KEY, a varchar(9), b date) ENGINE=Aria;"));
    }
    let Some(database) = Database::with(&statements).await else { return };
    let source = database.source(json!({}));
    let begin = std::time::Instant::now();
    let discovery = source.discover(&Selection::default()).await.unwrap();
    assert_eq!((discovery.tables.len(), discovery.failures.len()), (1000, 0));
    assert!(discovery.tables.iter().all(|table| table.key == ["id"] && table.columns.len() == 3));
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_incremental_reading_yields_new_rows_ties_and_rows_without_a_value_and_no_row_twice() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime, v text);
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
    let mut ids: Vec<i32> =
        second.batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [3, 4, 6]);
}

#[tokio::test]
async fn an_incremental_reading_of_a_large_unchanged_table_looks_at_its_last_rows_only() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime NOT NULL, v varchar(20), KEY (at));
         INSERT INTO t SELECT seq, '2024-01-01' + INTERVAL seq SECOND, 'x' FROM seq_1_to_200000; ANALYZE TABLE t;",
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({ "cursor_columns": { "t": "at" } }));
    let first = read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap();
    assert_eq!(first.rows.len(), 200_000);
    let from = first.cursors.last().map(|(cursor, ..)| cursor.clone());
    let begin = std::time::Instant::now();
    let second = read_all(&*source, ReadRequest { from, ..ReadRequest::whole(table("t")) }).await.unwrap();
    assert_eq!(second.rows.len(), 0);
    assert!(begin.elapsed().as_millis() < 1000, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn tables_that_cannot_be_read_on_are_told_with_the_reason() {
    let Some(database) = Database::with(
        "CREATE TABLE keyless (at date); CREATE TABLE absent (id int PRIMARY KEY);
         CREATE TABLE unordered (id int PRIMARY KEY, e enum('b','a')); INSERT INTO keyless VALUES ('2024-01-01');",
    )
    .await
    else {
        return;
    };
    let source =
        database.source(json!({ "cursor_columns": { "keyless": "at", "absent": "nothing", "unordered": "e" } }));
    let discovery = source.discover(&Selection::default()).await.unwrap();
    assert!(discovery.tables.is_empty(), "{discovery:?}");
    for (failed, word) in [("absent", "does not have"), ("keyless", "key"), ("unordered", "a whole or decimal number")]
    {
        let (_, reason) = discovery.failures.iter().find(|(table, _)| table.name == failed).unwrap();
        assert!(reason.contains(word), "{failed}: {reason}");
        let error = read_all(&*source, ReadRequest::whole(table(failed))).await.unwrap_err().to_string();
        assert!(error.contains("cursor_columns"), "{error}");
    }
}

#[tokio::test]
async fn a_check_stops_at_the_stage_that_fails_and_no_secret_is_in_it() {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    for (more, password, failing) in [
        (json!({ "host": "no-such-host.invalid" }), "mavis", "name"),
        (json!({ "port": 1 }), "mavis", "route"),
        (json!({ "database": "no_such_database" }), "mavis", "database"),
        (json!({}), "wrong-canary", "login"),
        (json!({}), "", "login"),
        (json!({ "user": "nobody_at_all" }), "mavis", "login"),
        (json!({ "tables_to_include": ["nothing"] }), "mavis", "read"),
    ] {
        let reports = database.source_with(more.clone(), password).check().await;
        let last = reports.last().unwrap();
        assert_eq!(
            (last.stage.to_string().as_str(), last.outcome),
            (failing, StageOutcome::Failed),
            "{more}: {reports:?}"
        );
        let before = &reports[..reports.len() - 1];
        assert!(before.iter().all(|report| report.outcome != StageOutcome::Failed), "{more}: {reports:?}");
        assert!(!format!("{reports:?}").contains("canary"), "{reports:?}");
    }
    let reports = database.source(json!({})).check().await;
    assert!(reports.iter().all(|report| report.outcome != StageOutcome::Failed), "{reports:?}");
}

#[tokio::test]
async fn a_user_sees_what_was_granted_and_nothing_more() {
    let Some(database) = Database::with(
        "CREATE TABLE open (id int PRIMARY KEY, secret int, shown int); CREATE TABLE closed (id int);
         INSERT INTO open VALUES (1, 2, 3);",
    )
    .await
    else {
        return;
    };
    let (name, user) = (&database.name, format!("u{}", &database.name[database.name.len() - 12..]));
    database
        .execute(&format!(
            "CREATE USER {user}@'%' IDENTIFIED BY 'p'; GRANT SELECT (id, shown), INSERT ON {name}.open TO {user}@'%';"
        ))
        .await;
    let source = database.source_with(json!({ "user": user }), "p");
    let discovery = source.discover(&Selection::default()).await.unwrap();
    let names: Vec<_> = discovery.tables.iter().map(|table| table.table.name.as_str()).collect();
    assert_eq!(names, ["open"]);
    let reading = read_all(&*source, ReadRequest::whole(table("open"))).await.unwrap();
    assert_eq!(reading.rows, ["id=1|shown=3"]);
}

#[tokio::test]
async fn a_reading_sees_one_state_of_the_table_however_long_it_takes() {
    let Some(database) = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, v int) ENGINE=InnoDB; INSERT INTO t SELECT seq, 0 FROM seq_1_to_100000;",
    )
    .await
    else {
        return;
    };
    let source = database.source(json!({}));
    let mut stream = source.read(ReadRequest { batch_rows: 100, ..ReadRequest::whole(table("t")) }).await.unwrap();
    let mut sum = 0_i64;
    let mut rows = 0;
    let mut first = true;
    while let Some(item) = futures::StreamExt::next(&mut stream).await {
        if let mavis_connectors::ReadItem::Batch(batch) = item.unwrap() {
            rows += batch.num_rows();
            sum += batch.column(1).as_primitive::<Int32Type>().iter().flatten().map(i64::from).sum::<i64>();
            if std::mem::take(&mut first) {
                database.execute("UPDATE t SET v = 1; DELETE FROM t WHERE id > 50000;").await;
            }
        }
    }
    assert_eq!((rows, sum), (100_000, 0));
}

#[tokio::test]
async fn tls_is_used_where_it_is_required_and_refused_where_the_certificate_is_not_trusted() {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let mut connection = sqlx::MySqlConnection::connect(&database.url).await.unwrap();
    let row = connection.fetch_one("SELECT @@have_ssl").await.unwrap();
    let offers: String = sqlx::Row::get(&row, 0);
    let reports = database.source(json!({ "ssl_mode": "required" })).check().await;
    let last = reports.last().unwrap();
    if offers == "YES" {
        assert_eq!(last.outcome, StageOutcome::Passed, "{reports:?}");
    } else {
        assert_eq!((last.stage.to_string().as_str(), last.outcome), ("database", StageOutcome::Failed), "{reports:?}");
        assert!(last.message.contains("ssl_mode"), "{reports:?}");
    }
    let reports = database.source(json!({ "ssl_mode": "verify-identity" })).check().await;
    assert_eq!(reports.last().unwrap().outcome, StageOutcome::Failed, "{reports:?}");
}

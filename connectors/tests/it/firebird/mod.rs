//! The Firebird connector against a real Firebird 3.

mod faults;
mod gone;
mod support;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Int32Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use mavis_connectors::{
    ReadItem, ReadMode, ReadRequest, Selection, StageOutcome, TableKind,
    testkit::{Expectation, Reading, assert_contract, read_all},
};
use serde_json::json;
use support::{Database, connect, table};

/// A block that puts rows 1 to `n` into a table: Firebird has no generated series.
fn fill(n: u32, insert: &str) -> String {
    format!(
        "SET TERM ^; EXECUTE BLOCK AS DECLARE I INTEGER = 0; BEGIN WHILE (I < {n}) DO BEGIN I = I + 1; {insert}; END END^ SET TERM ;^\n"
    )
}

#[tokio::test]
async fn firebird_keeps_the_contract() {
    let Some(database) = Database::with(&format!(
        "CREATE TABLE PATIENT (ID INTEGER NOT NULL PRIMARY KEY, NAME VARCHAR(20));
         CREATE TABLE RESULT (ID INTEGER NOT NULL PRIMARY KEY, AT_TIME TIMESTAMP, WARD VARCHAR(9), N NUMERIC(9,2));
         CREATE TABLE NOTHING (ID INTEGER);
         CREATE TABLE NOTE (ID INTEGER NOT NULL PRIMARY KEY, TXT BLOB SUB_TYPE TEXT);
         CREATE TABLE BAD (ID INTEGER NOT NULL PRIMARY KEY, T VARCHAR(9) CHARACTER SET NONE);
         CREATE VIEW ADULTS AS SELECT * FROM PATIENT WHERE ID > 18;
         COMMIT;
         {}{}{}{}",
        fill(1500, "INSERT INTO PATIENT VALUES (:I, 'Имя' || :I)"),
        fill(
            30,
            "INSERT INTO RESULT VALUES (:I, DATEADD(:I / 4 SECOND TO TIMESTAMP '2024-01-01 10:00:00'), 'w' || MOD(:I, 3), :I / 4.00)"
        ),
        fill(
            40,
            "INSERT INTO NOTE VALUES (:I, LPAD(CAST('' AS VARCHAR(1) CHARACTER SET WIN1251), MOD(:I, 5) * 5000, CAST('т' AS VARCHAR(1) CHARACTER SET WIN1251)))"
        ),
        fill(20, "INSERT INTO BAD VALUES (:I, IIF(MOD(:I, 5) = 0, _OCTETS x'CFF0', 'ok'))"),
    )) else {
        return;
    };
    let expected = || {
        Expectation::default()
            .table("PATIENT", 1500)
            .table("RESULT", 30)
            .table("NOTHING", 0)
            .table("NOTE", 40)
            .table("ADULTS", 1482)
            .table_with_rejects("BAD", 16, 4)
    };
    assert_contract(&*database.source(json!({})), expected()).await;
    let incremental = json!({ "cursor_columns": { "patient": "id", "RESULT": "AT_TIME", "BAD": "ID", "NOTE": "ID" } });
    assert_contract(&*database.source(incremental), expected()).await;
    let by_others = json!({ "cursor_columns": { "PATIENT": "NAME", "RESULT": "N" } });
    assert_contract(&*database.source(by_others), expected()).await;
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
        "CREATE DOMAIN MONEY AS NUMERIC(15,2);
         CREATE TABLE T (I2 SMALLINT, I4 INTEGER, I8 BIGINT, N4 NUMERIC(4,2), N9 NUMERIC(9,4), N18 NUMERIC(18,4), D18 DECIMAL(18,18),
            DOM MONEY, F4 FLOAT, F8 DOUBLE PRECISION, B BOOLEAN, D DATE, TI TIME, TS TIMESTAMP,
            CH CHAR(10), CHU CHAR(10) CHARACTER SET UTF8, VC VARCHAR(50), U VARCHAR(50) CHARACTER SET UTF8,
            L VARCHAR(10) CHARACTER SET ISO8859_1, W2 VARCHAR(10) CHARACTER SET WIN1252, K VARCHAR(10) CHARACTER SET KOI8R,
            D6 VARCHAR(10) CHARACTER SET DOS866, J VARCHAR(10) CHARACTER SET SJIS_0208,
            O CHAR(4) CHARACTER SET OCTETS, VO VARCHAR(4) CHARACTER SET OCTETS, TWICE COMPUTED BY (I4 * 2));
         INSERT INTO T VALUES (-32768, 2147483647, -9223372036854775808, 327.67, -214748.3648, -922337203685477.5808,
            0.123456789012345678, 9007199254740993.01, 16777215, 0.1, TRUE, '0001-01-01', '23:59:59.9999',
            '9999-12-31 23:59:59.9999', 'аб', 'Жук', ' при ', 'Привет €😀', 'é', '€é', 'Привет', 'Привет', 'カ',
            x'00FF', x'00', DEFAULT);"
            .replace(", DEFAULT)", ")")
            .as_str(),
    ) else {
        return;
    };
    database.execute("INSERT INTO T (I4) VALUES (NULL);");
    let reading = read_all(&*database.source(json!({})), ReadRequest::whole(table("T"))).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len()), (2, 0), "{:?}", reading.rejects);
    for (name, expected) in [
        ("I2", "-32768"),
        ("I4", "2147483647"),
        ("I8", "-9223372036854775808"),
        ("N4", "327.67"),
        ("N9", "-214748.3648"),
        ("N18", "-922337203685477.5808"),
        ("D18", "0.123456789012345678"),
        ("DOM", "9007199254740993.01"),
        ("F4", "16777215.0"),
        ("F8", "0.1"),
        ("B", "true"),
        ("D", "0001-01-01"),
        ("TI", "23:59:59.9999"),
        ("TS", "9999-12-31T23:59:59.999900"),
        ("CH", "аб"),
        ("CHU", "Жук"),
        ("VC", " при "),
        ("U", "Привет €😀"),
        ("L", "é"),
        ("W2", "€é"),
        ("K", "Привет"),
        ("D6", "Привет"),
        ("J", "カ"),
        ("O", "00ff0000"),
        ("VO", "00"),
        ("TWICE", "4294967294"),
    ] {
        assert_eq!(cell(&reading, name, 0), expected, "{name}");
        assert_eq!(cell(&reading, name, 1), "NULL", "{name} is null where it was null");
    }
    let schema = reading.batches[0].schema();
    let data_type = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
    assert_eq!(data_type("N18"), DataType::Decimal128(19, 4), "what is stored may have more digits than were declared");
    assert_eq!(data_type("N4"), DataType::Decimal128(5, 2));
    assert_eq!(data_type("F4"), DataType::Float32);
}

#[tokio::test]
async fn blobs_arrive_whole_in_their_character_set_whatever_their_length() {
    let Some(database) = Database::with(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY, W BLOB SUB_TYPE TEXT, U BLOB SUB_TYPE TEXT CHARACTER SET UTF8, B BLOB,
                         X BLOB SUB_TYPE TEXT CHARACTER SET OCTETS, V VARCHAR(10));
         INSERT INTO T VALUES (1, 'Привет', 'Жук 😀', x'0001FF', x'FF', 'в');
         INSERT INTO T VALUES (2, NULL, '', x'', NULL, NULL);
         COMMIT;
         SET TERM ^;
         EXECUTE BLOCK AS DECLARE P BLOB SUB_TYPE TEXT CHARACTER SET WIN1251; DECLARE I INTEGER = 0; BEGIN
           P = '';
           WHILE (I < 60) DO BEGIN
             I = I + 1;
             P = P || LPAD(CAST('' AS VARCHAR(1) CHARACTER SET WIN1251), 1000, CAST('Я' AS VARCHAR(1) CHARACTER SET WIN1251));
           END
           INSERT INTO T VALUES (3, :P, LPAD(CAST('' AS VARCHAR(1) CHARACTER SET UTF8), 8000,
                                             CAST('Ж' AS VARCHAR(1) CHARACTER SET UTF8)), x'00', NULL, 'x');
         END^
         SET TERM ;^",
    ) else {
        return;
    };
    let reading = read_all(&*database.source(json!({})), ReadRequest::whole(table("T"))).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len()), (3, 0), "{:?}", reading.rejects);
    for (name, expected) in [("W", "Привет"), ("U", "Жук 😀"), ("B", "0001ff"), ("X", "ff"), ("V", "в")] {
        assert_eq!(cell(&reading, name, 0), expected, "{name}");
    }
    assert_eq!([cell(&reading, "W", 1), cell(&reading, "U", 1), cell(&reading, "B", 1)], ["NULL", "", ""]);
    assert_eq!(cell(&reading, "W", 2), "Я".repeat(60_000), "a BLOB of 60,000 bytes");
    assert_eq!(cell(&reading, "U", 2), "Ж".repeat(8000));
}

#[tokio::test]
async fn a_text_of_no_character_set_is_what_is_declared_or_its_row_is_rejected() {
    let Some(database) = Database::with(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY, N VARCHAR(10) CHARACTER SET NONE, B BLOB SUB_TYPE TEXT CHARACTER SET NONE);
         INSERT INTO T VALUES (1, _OCTETS x'CFF0E8', _OCTETS x'CFF0E8');
         INSERT INTO T VALUES (2, 'ascii', 'ascii');",
    ) else {
        return;
    };
    let plain = read_all(&*database.source(json!({})), ReadRequest::whole(table("T"))).await.unwrap();
    assert_eq!((plain.rows.len(), plain.rejects.len()), (1, 1));
    assert!(
        plain.rejects[0].1.contains("none_charset") && plain.rejects[0].2.contains("cff0e8"),
        "{:?}",
        plain.rejects
    );
    let declared = database.source(json!({ "none_charset": "WIN1251" }));
    let reading = read_all(&*declared, ReadRequest::whole(table("T"))).await.unwrap();
    assert_eq!((reading.rows.len(), reading.rejects.len()), (2, 0));
    assert_eq!([cell(&reading, "N", 0), cell(&reading, "B", 0)], ["При", "При"]);
}

#[tokio::test]
async fn discovery_tells_keys_references_comments_and_only_the_tables_declared() {
    let Some(database) = Database::with(&format!(
        "CREATE TABLE WARD (CODE VARCHAR(9) NOT NULL, LABEL VARCHAR(20));
         CREATE UNIQUE INDEX WARD_CODE ON WARD (CODE);
         CREATE TABLE ROOM (A INTEGER NOT NULL, B INTEGER NOT NULL, PRIMARY KEY (B, A));
         CREATE TABLE STAY (ID INTEGER NOT NULL PRIMARY KEY, RB INTEGER, RA INTEGER, FOREIGN KEY (RB, RA) REFERENCES ROOM (B, A));
         CREATE TABLE \"Таблица Ж\" (\"Код\" INTEGER, \"a\"\"b\" VARCHAR(5));
         CREATE TABLE LISTS (ID INTEGER, L INTEGER[3]);
         CREATE TABLE NULLABLE (T INTEGER UNIQUE);
         CREATE GLOBAL TEMPORARY TABLE TEMP (ID INTEGER);
         CREATE VIEW SEEN AS SELECT CODE FROM WARD;
         COMMENT ON TABLE STAY IS 'Пребывание'; COMMENT ON COLUMN STAY.RB IS 'где';
         COMMIT;
         {}
         COMMIT; SET STATISTICS INDEX WARD_CODE; COMMIT;
         INSERT INTO \"Таблица Ж\" VALUES (7, 'x');",
        fill(500, "INSERT INTO WARD VALUES ('w' || :I, 'x')")
    )) else {
        return;
    };
    let source = database.source(json!({}));
    let discovery = source.discover(&Selection::default()).await.unwrap();
    let names: Vec<String> = discovery.tables.iter().map(|table| table.table.to_string()).collect();
    assert_eq!(names, ["NULLABLE", "ROOM", "SEEN", "STAY", "WARD", "Таблица Ж"]);
    assert_eq!(discovery.failures.len(), 1, "{:?}", discovery.failures);
    assert!(discovery.failures[0].0.name == "LISTS" && discovery.failures[0].1.contains("ARRAY"));
    let find = |name: &str| discovery.tables.iter().find(|table| table.table.name == name).unwrap();
    assert_eq!(find("ROOM").key, ["B", "A"]);
    assert_eq!(find("STAY").foreign_keys[0].table, table("ROOM"));
    assert_eq!(find("STAY").foreign_keys[0].columns, ["RB", "RA"]);
    assert_eq!(find("STAY").foreign_keys[0].referenced, ["B", "A"]);
    assert_eq!(find("STAY").comment.as_deref(), Some("Пребывание"));
    assert_eq!(find("STAY").columns[1].comment.as_deref(), Some("где"));
    assert_eq!(find("WARD").key, ["CODE"], "a unique index of columns that are never null");
    assert_eq!(find("WARD").row_estimate, Some(500));
    assert!(find("NULLABLE").key.is_empty());
    assert_eq!((find("SEEN").kind, find("WARD").kind), (TableKind::View, TableKind::Table));
    assert_eq!(find("WARD").columns[0].source_type, "VARCHAR(9) CHARACTER SET WIN1251");
    let odd = read_all(&*source, ReadRequest::whole(table("Таблица Ж"))).await.unwrap();
    assert_eq!(odd.rows, ["a\"b=x|Код=7"]);

    let chosen = database.source(json!({ "tables_to_include": ["w*", "stay"], "tables_to_exclude": ["st*"] }));
    let names: Vec<String> =
        chosen.discover(&Selection::default()).await.unwrap().tables.iter().map(|t| t.table.to_string()).collect();
    assert_eq!(names, ["WARD"]);
}

#[tokio::test]
async fn a_thousand_small_tables_are_discovered_in_a_few_statements() {
    let mut statements = "SET AUTODDL OFF;".to_owned();
    for i in 0..1000 {
        statements.push_str(&format!("CREATE TABLE T{i} (ID INTEGER NOT NULL PRIMARY KEY, A VARCHAR(9), B DATE);"));
    }
    let Some(database) = Database::with(&statements) else { return };
    let begin = std::time::Instant::now();
    let discovery = database.source(json!({})).discover(&Selection::default()).await.unwrap();
    assert_eq!((discovery.tables.len(), discovery.failures.len()), (1000, 0));
    assert!(discovery.tables.iter().all(|table| table.key == ["ID"] && table.columns.len() == 3));
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_table_of_more_columns_than_one_answer_describes_is_read() {
    let columns: Vec<String> = (0..300).map(|i| format!("A_RATHER_LONG_COLUMN_NAME_{i} INTEGER")).collect();
    let values: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    let Some(database) = Database::with(&format!(
        "CREATE TABLE WIDE ({}); COMMIT; INSERT INTO WIDE VALUES ({});",
        columns.join(", "),
        values.join(", ")
    )) else {
        return;
    };
    let reading = read_all(&*database.source(json!({})), ReadRequest::whole(table("WIDE"))).await.unwrap();
    let batch = reading.as_one_batch().unwrap();
    assert_eq!((batch.num_columns(), batch.num_rows()), (300, 1));
    assert_eq!(batch.column(299).as_primitive::<Int32Type>().value(0), 299);
}

#[tokio::test]
async fn an_incremental_reading_yields_new_rows_ties_and_rows_without_a_value_and_no_row_twice() {
    let Some(database) = Database::with(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY, AT_TIME TIMESTAMP, V VARCHAR(9));
         INSERT INTO T VALUES (1, '2024-01-01 00:00:00.1234', 'a'); INSERT INTO T VALUES (2, '2024-01-02', 'b');
         INSERT INTO T VALUES (5, '2024-01-02', 'c');",
    ) else {
        return;
    };
    let source = database.source(json!({ "cursor_columns": { "T": "AT_TIME" } }));
    let first = read_all(&*source, ReadRequest::whole(table("T"))).await.unwrap();
    assert_eq!(first.rows.len(), 3);
    database.execute(
        "INSERT INTO T VALUES (3, '2024-01-02', 'tie'); INSERT INTO T VALUES (4, '2024-01-02 00:00:00.0001', 'd');
         INSERT INTO T VALUES (6, NULL, 'no time');",
    );
    let more =
        ReadRequest { from: first.cursors.last().map(|(cursor, ..)| cursor.clone()), ..ReadRequest::whole(table("T")) };
    let second = read_all(&*source, more).await.unwrap();
    let mut ids: Vec<i32> =
        second.batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [3, 4, 6]);
}

#[tokio::test]
async fn a_check_stops_at_the_stage_that_fails_and_no_secret_is_in_it() {
    let Some(database) = Database::with("CREATE TABLE T (ID INTEGER);") else { return };
    for (more, password, failing) in [
        (json!({ "host": "no-such-host.invalid" }), "masterkey", "name"),
        (json!({ "port": 1 }), "masterkey", "route"),
        (json!({ "database": "/no/such/database.fdb" }), "masterkey", "database"),
        (json!({}), "wrong-canary", "login"),
        (json!({}), "", "login"),
        (json!({ "user": "NOBODY_AT_ALL" }), "masterkey", "login"),
        (json!({ "tables_to_include": ["nothing"] }), "masterkey", "read"),
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
async fn a_reading_sees_one_state_of_the_table_however_long_it_takes() {
    let Some(database) = Database::with(&format!(
        "CREATE TABLE T (ID INTEGER NOT NULL PRIMARY KEY, V INTEGER); COMMIT; {}",
        fill(20_000, "INSERT INTO T VALUES (:I, 0)")
    )) else {
        return;
    };
    let source = database.source(json!({}));
    assert_eq!(source.discover(&Selection::default()).await.unwrap().tables[0].mode, ReadMode::Snapshot);
    let mut stream = source.read(ReadRequest { batch_rows: 100, ..ReadRequest::whole(table("T")) }).await.unwrap();
    let (mut sum, mut rows, mut first) = (0_i64, 0, true);
    while let Some(item) = futures::StreamExt::next(&mut stream).await {
        if let ReadItem::Batch(batch) = item.unwrap() {
            rows += batch.num_rows();
            sum += batch.column(1).as_primitive::<Int32Type>().iter().flatten().map(i64::from).sum::<i64>();
            if std::mem::take(&mut first) {
                database.execute("UPDATE T SET V = 1; DELETE FROM T WHERE ID > 10000;");
            }
        }
    }
    assert_eq!((rows, sum), (20_000, 0));
}

#[test]
fn declarations_that_cannot_work_are_refused_before_anything_is_opened() {
    let base = |more: serde_json::Value| {
        let mut params = json!({ "host": "h", "user": "u", "database": "d" });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        connect(params, "p").err().map(|error| error.to_string())
    };
    let log = json!({ "T": { "table": "T_DEL", "key_columns": ["ID"], "cursor_column": "N" } });
    assert!(base(json!({ "none_charset": "KLINGON" })).unwrap().contains("none_charset"));
    assert!(base(json!({ "deletions": log.clone() })).unwrap().contains("cursor_columns"));
    assert_eq!(base(json!({ "deletions": log, "cursor_columns": { "T": "ID" } })), None);
}

//! Queries that ask for rows by key: from indexes once they are asked again and again, with the answers of a scan.

use std::time::Duration;

use mavis_types::Zone;

use crate::fixture::{Fixture, options, patients};

/// More rows of one value than are read by key.
const MANY: i64 = 40;

async fn filled() -> Fixture {
    let lake = Fixture::with(mavis_sql::EngineOptions { answers_bytes: 0, ..options() }).await;
    let table = lake.table(Zone::Processed, "hms", "visit", &patients(&[]).schema()).await;
    for file in 0..3 {
        let names: Vec<String> = (0..400).map(|row| format!("name {}", row % 7)).collect();
        let rows: Vec<(i64, &str, &str)> =
            (file * 400..).zip(&names).map(|(id, name)| (id, name.as_str(), "2001-01-01")).collect();
        lake.append(&table, &patients(&rows)).await;
    }
    // The same key again, few times and many times.
    lake.append(&table, &patients(&[(3, "again", "2002-02-02"), (3, "and again", "2003-03-03")])).await;
    let many: Vec<(i64, &str, &str)> = (0..MANY).map(|_| (5, "many", "2004-04-04")).collect();
    lake.append(&table, &patients(&many)).await;
    lake
}

/// A query by key, and the same one in words that no index understands.
const PAIRS: &[(&str, &str)] = &[
    ("SELECT * EXCLUDE (__run, __ingested_at) FROM hms.visit WHERE id = 7", "id + 0 = 7"),
    ("SELECT nom, id FROM hms.visit WHERE id = 3 ORDER BY nom", "id + 0 = 3"),
    ("SELECT count(*) FROM hms.visit WHERE id = 5", "id + 0 = 5"),
    (
        "SELECT id, nom FROM hms.visit WHERE id IN (9, 9, 1100, 4000, 10, 11) ORDER BY id",
        "id + 0 IN (9, 1100, 4000, 10, 11)",
    ),
    ("SELECT id FROM hms.visit WHERE id = 12 OR id = 13 OR id = 12 ORDER BY id", "id + 0 IN (12, 13)"),
    ("SELECT id FROM hms.visit WHERE id = 14 AND nom = 'name 0'", "id + 0 = 14 AND nom || '' = 'name 0'"),
    ("SELECT id FROM hms.visit WHERE id = 15 AND nom = 'name 0'", "id + 0 = 15 AND nom || '' = 'name 0'"),
    ("SELECT count(*) FROM hms.visit WHERE id = 99999", "id + 0 = 99999"),
    ("SELECT count(*) FROM hms.visit WHERE id = 3 AND id = 5", "id + 0 = 3 AND id + 0 = 5"),
    ("SELECT count(*) FROM hms.visit WHERE id = NULL", "id + 0 = NULL"),
    ("SELECT birthdate, nom AS name, id FROM hms.visit v WHERE v.id = 20", "v.id + 0 = 20"),
    ("SELECT id, nom, id AS again FROM hms.visit WHERE 21 = id", "id + 0 = 21"),
    ("SELECT nom FROM hms.visit WHERE id = 22 AND id > 3 AND NOT nom = 'x' AND birthdate IS NOT NULL", "id + 0 = 22"),
    ("SELECT nom FROM hms.visit WHERE id = '23' AND nom LIKE 'name%'", "id + 0 = 23"),
    ("SELECT nom FROM hms.visit WHERE id = 24.0", "id + 0 = 24"),
    ("SELECT nom FROM hms.visit WHERE id = CAST(20 + 5 AS INT)", "id + 0 = 25"),
    ("SELECT nom FROM hms.visit WHERE id = 26 AND birthdate > now()", "id + 0 = 26 AND birthdate > now()"),
    ("SELECT nom FROM hms.visit WHERE id = 27 AND nom = upper(nom)", "id + 0 = 27 AND nom = upper(nom)"),
    ("SELECT nom FROM hms.visit WHERE id = 28 AND id IN (SELECT id FROM hms.visit)", "id + 0 = 28"),
    ("SELECT upper(nom), id + 1 FROM hms.visit WHERE id = 29", "id + 0 = 29"),
    ("SELECT nom FROM (SELECT id AS birthdate, nom FROM hms.visit) WHERE birthdate = 30", "birthdate + 0 = 30"),
    ("SELECT birthdate FROM hms.visit WHERE id = 3 ORDER BY birthdate LIMIT 1", "id + 0 = 3"),
];

/// `sql` with another condition.
fn scanned(sql: &str, condition: &str) -> String {
    let (head, tail) = sql.split_once(" WHERE ").unwrap();
    let order = tail.find(" ORDER BY").map_or("", |at| &tail[at..]);
    format!("{head} WHERE {condition}{order}")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_by_key_are_those_of_a_scan() {
    let lake = filled().await;
    for round in 0..8 {
        for (sql, condition) in PAIRS {
            let expected = lake.rows(&scanned(sql, condition)).await;
            assert_eq!(lake.rows(sql).await, expected, "round {round}: {sql}");
        }
        // What is indexed beside the queries has time to be.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // New rows are there at once, and an older version is without them.
    let before = lake.rows("SELECT count(*) FROM hms.visit WHERE id = 7").await;
    let table = lake.find("processed.hms.visit").await;
    let version = lake.lake.version(table.id).await.unwrap();
    lake.append(&table, &patients(&[(7, "new", "2020-01-01")])).await;
    assert_eq!(before, ["1"]);
    assert_eq!(lake.rows("SELECT count(*) FROM hms.visit WHERE id = 7").await, ["2"]);
    let old = format!("SELECT count(*) FROM hms.visit VERSION AS OF {version} WHERE id = 7");
    assert_eq!(lake.rows(&old).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_asked_often_needs_no_scan() {
    let lake = filled().await;
    let sql = "SELECT nom FROM hms.visit WHERE id = 801";
    let expected = lake.rows(sql).await;
    assert_eq!(expected, ["name 1"]);
    for _ in 0..50 {
        assert_eq!(lake.rows(sql).await, expected);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The row is remembered; a scan would look for its file.
    lake.rows(sql).await;
    lake.lose_files();
    assert_eq!(lake.rows(sql).await, expected);
    lake.error(&lake.admin, &scanned(sql, "id + 0 = 801")).await;
}

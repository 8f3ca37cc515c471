//! Systems that are not PostgreSQL, end to end: what they hold is in the raw and the processed zone, and follows them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use mavis_tests::{Firebird, MariaDb, Server};
use serde_json::{Value, json};

use crate::{
    faults::{declare, ingest},
    stub::{Reply, Stub},
};

/// Rows of a table in both zones, which have to be the same; in the order of `id`.
async fn rows(server: &Server, columns: &str, table: &str) -> Vec<Value> {
    let of = async |zone: &str| server.sql(&format!("SELECT {columns} FROM {zone}.{table} ORDER BY id")).await.unwrap();
    let raw = of("raw").await;
    assert_eq!(raw, of("processed").await, "{table}");
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_export_reaches_both_zones_and_what_it_loses_goes() {
    let patients: Arc<Mutex<BTreeMap<u64, Value>>> = Arc::default();
    let put = |id: u64, name: &str| {
        let row = json!({ "id": id, "name": name, "weight": 70.5, "ward": { "bed": id } });
        patients.lock().unwrap().insert(id, row);
    };
    (1..=1_200).for_each(|id| put(id, &format!("name {id}")));
    let served = Arc::clone(&patients);
    let stub = Stub::start(move |asked, before| {
        if asked.headers.get("authorization").map(String::as_str) != Some("Bearer of-the-export") {
            return Reply::status(401);
        }
        // Now and then it is not well.
        match before % 7 {
            3 => return Reply::status(429).with("Retry-After", "0"),
            5 => return Reply::cut("application/json", "[{\"id\": 1, \"name\": \"cut\"}]", 12),
            _ => {}
        }
        let from = asked.number("offset", 0);
        let patients = served.lock().unwrap();
        let page: Vec<&Value> = patients.values().skip(from).take(250).collect();
        Reply::json(json!({ "total": patients.len(), "patients": page }))
    })
    .await;
    let server = Server::builder().env("HTTP_PASSWORD_QMS", "of-the-export").start().await.unwrap();
    let table = json!({ "path": "export", "records": "patients", "key": ["id"],
                        "paging": { "type": "offset", "parameter": "offset", "total": "total" } });
    let params = json!({ "api_url": stub.url, "auth": { "type": "bearer" }, "tables": { "patients": table } });
    declare(&server, "qms", "http", &params);
    let tested = server.mavis(&["source", "test", "qms"]).unwrap().ok().unwrap();
    assert!(!tested.contains("of-the-export"), "{tested}");
    ingest(&server, "qms");
    let all = rows(&server, "id, name, weight", "qms.patients").await;
    assert_eq!(all.len(), 1_200);
    assert_eq!(all[6], json!({ "id": 7, "name": "name 7", "weight": 70.5 }));

    put(7, "changed");
    put(5_000, "new");
    patients.lock().unwrap().remove(&8);
    ingest(&server, "qms");
    let all = rows(&server, "id, name", "qms.patients").await;
    let truth: Vec<Value> =
        patients.lock().unwrap().values().map(|row| json!({ "id": row["id"], "name": row["name"] })).collect();
    assert_eq!(all, truth);
}

#[tokio::test]
async fn mariadb_reaches_both_zones_exactly_and_is_followed() {
    let Some(database) = MariaDb::create().unwrap() else { return };
    database
        .execute(
            "CREATE TABLE result (id int PRIMARY KEY, amount decimal(12,3), taken datetime(6), note text CHARACTER SET cp1251);
             CREATE TABLE seen (id int PRIMARY KEY, at timestamp NOT NULL, note varchar(20));
             INSERT INTO result SELECT seq, seq / 8, '2024-02-29 23:59:59.123456', 'Привет' FROM seq_1_to_500;
             INSERT INTO seen SELECT seq, '2024-01-01' + INTERVAL seq SECOND, 'n' FROM seq_1_to_500;",
        )
        .unwrap();
    let server = Server::builder().env("MYSQL_PASSWORD_LIS", &database.password).start().await.unwrap();
    let mut params = database.params(database.port);
    params["cursor_columns"] = json!({ "seen": "at" });
    declare(&server, "lis", "mysql", &params);
    server.mavis(&["source", "test", "lis"]).unwrap().ok().unwrap();
    ingest(&server, "lis");
    let text = "id, CAST(amount AS VARCHAR) AS amount, CAST(taken AS VARCHAR) AS taken, note";
    let all = rows(&server, text, "lis.result").await;
    assert_eq!(all.len(), 500);
    assert_eq!(all[2]["amount"], "0.375");
    assert_eq!((&all[2]["taken"], &all[2]["note"]), (&json!("2024-02-29T23:59:59.123456"), &json!("Привет")));

    database
        .execute(
            "UPDATE result SET amount = -0.001 WHERE id = 3; DELETE FROM result WHERE id > 490;
             UPDATE seen SET note = 'changed', at = '2025-01-01' WHERE id = 5; INSERT INTO seen VALUES (501, '2025-01-02', 'new');",
        )
        .unwrap();
    ingest(&server, "lis");
    let all = rows(&server, text, "lis.result").await;
    assert_eq!((all.len(), &all[2]["amount"]), (490, &json!("-0.001")));
    let all = rows(&server, "id, note", "lis.seen").await;
    assert_eq!((all.len(), &all[4]["note"], &all[500]["note"]), (501, &json!("changed"), &json!("new")));
}

#[tokio::test]
async fn firebird_reaches_both_zones_exactly_and_its_deltas_and_deletions_are_followed() {
    let Some(database) = Firebird::create().unwrap() else { return };
    database
        .execute(
            "CREATE TABLE TREAT (ID INTEGER NOT NULL PRIMARY KEY, COST NUMERIC(18, 4), NOTE VARCHAR(50) CHARACTER SET WIN1251,
                                 TEXT BLOB SUB_TYPE TEXT CHARACTER SET UTF8, MODIFYDATE TIMESTAMP);
             CREATE TABLE GONE (N INTEGER NOT NULL PRIMARY KEY, TAB VARCHAR(31), REC_ID INTEGER);
             COMMIT;
             SET TERM ^;
             EXECUTE BLOCK AS DECLARE I INTEGER = 0; BEGIN
                 WHILE (I < 400) DO BEGIN
                     I = I + 1;
                     INSERT INTO TREAT VALUES (:I, :I + 0.0001, 'Ёлка', 'текст', DATEADD(SECOND, :I, TIMESTAMP '2024-01-01 00:00:00'));
                 END
             END^
             SET TERM ;^",
        )
        .unwrap();
    let server = Server::builder().env("FIREBIRD_PASSWORD_CLINIC", Firebird::PASSWORD).start().await.unwrap();
    let params = json!({ "host": "127.0.0.1", "port": database.port, "user": Firebird::USER, "database": database.path,
        "cursor_columns": { "TREAT": "MODIFYDATE" }, "tables_to_include": ["TREAT"],
        "deletions": { "TREAT": { "table": "GONE", "key_columns": ["REC_ID"], "cursor_column": "N", "only": { "TAB": "TREAT" } } } });
    declare(&server, "clinic", "firebird", &params);
    server.mavis(&["source", "test", "clinic"]).unwrap().ok().unwrap();
    ingest(&server, "clinic");
    let text = "id, CAST(cost AS VARCHAR) AS cost, note, text";
    let all = rows(&server, text, "clinic.treat").await;
    assert_eq!(all.len(), 400);
    assert_eq!(all[8], json!({ "id": 9, "cost": "9.0001", "note": "Ёлка", "text": "текст" }));

    database
        .execute(
            "UPDATE TREAT SET NOTE = 'новое', MODIFYDATE = TIMESTAMP '2025-01-01 00:00:00' WHERE ID = 9;
             DELETE FROM TREAT WHERE ID = 10; INSERT INTO GONE VALUES (1, 'TREAT', 10); INSERT INTO GONE VALUES (2, 'OTHER', 11);
             INSERT INTO TREAT VALUES (401, 1, 'x', NULL, TIMESTAMP '2025-01-01 00:00:01');",
        )
        .unwrap();
    ingest(&server, "clinic");
    let all = rows(&server, text, "clinic.treat").await;
    let ids: Vec<i64> = all.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (1..=401).filter(|id| *id != 10).collect::<Vec<_>>());
    assert_eq!(all[8]["note"], "новое");
}

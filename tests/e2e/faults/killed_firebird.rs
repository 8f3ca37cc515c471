//! `kill -9` while Firebird is read: a table that is compared whole, and one of which changes come by a cursor and deletions by a
//! table of their keys.

use mavis_tests::{Firebird, Server};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Gate, declare, ingest, killed, totals};

const TABLES: [&str; 2] = ["patient", "event"];

/// `EVENT` has a column that every change raises, and a table of the keys of deleted rows.
const DEFINED: &str = "
    CREATE TABLE PATIENT (ID BIGINT NOT NULL PRIMARY KEY, V BIGINT, WORDS VARCHAR(200));
    CREATE TABLE EVENT (ID BIGINT NOT NULL PRIMARY KEY, V BIGINT, WORDS VARCHAR(200), CHANGED BIGINT NOT NULL);
    CREATE TABLE DELETED (N BIGINT NOT NULL PRIMARY KEY, EVENT_ID BIGINT);
    CREATE SEQUENCE S;
    CREATE INDEX EVENT_CHANGED ON EVENT (CHANGED);
    SET TERM ^;
    CREATE TRIGGER EVENT_COMES FOR EVENT BEFORE INSERT OR UPDATE AS BEGIN NEW.CHANGED = NEXT VALUE FOR S; END^
    CREATE TRIGGER EVENT_GONE FOR EVENT AFTER DELETE AS
    BEGIN INSERT INTO DELETED VALUES (NEXT VALUE FOR S, OLD.ID); END^
    EXECUTE BLOCK AS DECLARE I BIGINT = 1; BEGIN
        WHILE (I <= 30000) DO BEGIN
            INSERT INTO PATIENT VALUES (:I, MOD(:I, 1000), LPAD(:I, 120, 'patient'));
            INSERT INTO EVENT (ID, V, WORDS) VALUES (:I, MOD(:I, 1000), LPAD(:I, 120, 'event'));
            I = I + 1;
        END
    END^
    SET TERM ;^";

/// Rows of both tables that change, go, come, and come again.
fn changes(n: usize) -> String {
    let new = 1_000_000 * n;
    format!(
        "UPDATE PATIENT SET V = V + {n} WHERE MOD(ID, 5) = {0};
         DELETE FROM PATIENT WHERE MOD(ID, 97) = {n};
         INSERT INTO PATIENT SELECT ID + {new}, V, WORDS FROM PATIENT WHERE ID <= 2000;
         UPDATE EVENT SET V = V + {n} WHERE MOD(ID, 4) = {0};
         INSERT INTO EVENT (ID, V, WORDS) SELECT ID + {new}, V + 1, WORDS || '{n}' FROM EVENT WHERE ID <= 6000;
         COMMIT;
         DELETE FROM EVENT WHERE MOD(ID, 89) = {n};
         COMMIT;
         INSERT INTO EVENT (ID, V, WORDS) SELECT EVENT_ID, {n}, 'again' FROM DELETED
             WHERE MOD(EVENT_ID, 89) = {n} AND MOD(EVENT_ID, 2) = 0 AND EVENT_ID <= 30000;",
        n % 4,
    )
}

fn truth(database: &Firebird, table: &str) -> Value {
    let text = database
        .value(&format!(
            "SELECT '[' || count(*) || ',' || count(DISTINCT ID) || ',' || coalesce(sum(ID), 0) || ',' || coalesce(sum(V), 0) || ','
                    || coalesce(sum(char_length(WORDS)), 0) || ']' FROM {table}"
        ))
        .unwrap();
    let numbers: Vec<i64> = serde_json::from_str(&text).unwrap();
    json!({ "n": numbers[0], "d": numbers[1], "i": numbers[2], "v": numbers[3], "w": numbers[4] })
}

async fn assert_same(server: &Server, database: &Firebird, after: &str) {
    for table in TABLES {
        let truth = truth(database, table);
        for zone in ["raw", "processed"] {
            assert_eq!(totals(server, &format!("{zone}.mis.{table}")).await, truth, "{zone} {table} {after}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_reads_firebird_lands_every_row_once() {
    let Some(database) = Firebird::create().unwrap() else { return };
    database.execute(DEFINED).unwrap();
    let gate = Gate::to(database.port).await;
    let mut server = Server::builder().env("FIREBIRD_PASSWORD_MIS", Firebird::PASSWORD).start().await.unwrap();
    let params = json!({
        "host": "127.0.0.1", "port": gate.port, "user": Firebird::USER, "database": database.path,
        "tables_to_include": ["PATIENT", "EVENT"],
        "cursor_columns": { "EVENT": "CHANGED" },
        "deletions": { "EVENT": { "table": "DELETED", "key_columns": ["EVENT_ID"], "cursor_column": "N" } },
    });
    declare(&server, "mis", "firebird", &params);
    let mut random = StdRng::seed_from_u64(20_265);
    // The first round reads everything, the others one table whole and of the other what changed: a half of it.
    for (n, moment) in (1..).zip(killed::moments(&mut random, 3_500_000)) {
        killed::killed_once(&mut server, &gate, "mis", moment).await;
        assert_same(&server, &database, &format!("{moment:?}")).await;
        database.execute(&changes(n)).unwrap();
    }
    ingest(&server, "mis");
    assert_same(&server, &database, "the last run").await;
}

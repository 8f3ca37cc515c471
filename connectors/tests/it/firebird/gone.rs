//! Deletions told by a declared table.

use std::collections::BTreeMap;

use mavis_connectors::{
    ReadRequest, Selection, Source,
    testkit::{Change, Reading, read_all},
};
use mavis_types::Cursor;
use serde_json::json;

use super::support::{Database, table};

const TABLES: &str = "
    CREATE TABLE PATIENT (ID BIGINT NOT NULL PRIMARY KEY, NAME VARCHAR(20), VERSION INTEGER NOT NULL);
    CREATE TABLE DELETED (N INTEGER NOT NULL PRIMARY KEY, TAB VARCHAR(31), PATIENT_ID INTEGER);
    CREATE SEQUENCE S;
    SET TERM ^;
    CREATE TRIGGER PATIENT_GONE FOR PATIENT AFTER DELETE AS
    BEGIN INSERT INTO DELETED VALUES (NEXT VALUE FOR S, 'PATIENT', OLD.ID); END^
    CREATE TRIGGER PATIENT_COMES FOR PATIENT BEFORE INSERT OR UPDATE AS BEGIN NEW.VERSION = NEXT VALUE FOR S; END^
    SET TERM ;^
    INSERT INTO PATIENT (ID, NAME) VALUES (1, 'a'); INSERT INTO PATIENT (ID, NAME) VALUES (2, 'b');
    INSERT INTO PATIENT (ID, NAME) VALUES (3, 'c'); INSERT INTO PATIENT (ID, NAME) VALUES (4, 'd');
    COMMIT; DELETE FROM PATIENT WHERE ID = 4; INSERT INTO DELETED VALUES (1000, 'OTHER', 3);";

fn declared() -> serde_json::Value {
    json!({
        "cursor_columns": { "PATIENT": "VERSION" },
        "deletions": { "patient": { "table": "deleted", "key_columns": ["patient_id"], "cursor_column": "n",
                                    "only": { "TAB": "PATIENT" } } }
    })
}

/// A table in memory that readings are applied to, and where they stand.
#[derive(Default)]
struct Model {
    rows: BTreeMap<String, String>,
    from: Option<Cursor>,
}

impl Model {
    async fn read(&mut self, source: &dyn Source) -> Reading {
        let request = ReadRequest { from: self.from.take(), batch_rows: 2, ..ReadRequest::whole(table("PATIENT")) };
        let reading = read_all(source, request).await.unwrap();
        assert!(!reading.whole);
        reading.apply(&["ID"], &mut self.rows);
        self.from = reading.cursors.last().map(|(cursor, ..)| cursor.clone());
        reading
    }

    fn names(&self) -> String {
        let name = |row: &String| row.split('|').find_map(|cell| cell.strip_prefix("NAME=")).unwrap().to_owned();
        self.rows.values().map(name).collect()
    }
}

#[tokio::test]
async fn rows_that_a_declared_table_tells_of_are_gone_and_those_written_again_are_there() {
    let Some(database) = Database::with(TABLES) else { return };
    let source = database.source(declared());
    let discovery = source.discover(&Selection::default()).await.unwrap();
    assert!(discovery.failures.is_empty(), "{:?}", discovery.failures);
    let mut model = Model::default();
    let first = model.read(&*source).await;
    assert_eq!(model.names(), "abc");
    assert!(!first.steps.iter().any(|step| matches!(step, Change::Gone(_))), "there was nothing to delete yet");

    database.execute(
        "DELETE FROM PATIENT WHERE ID = 1; INSERT INTO PATIENT (ID, NAME) VALUES (1, 'A');
         DELETE FROM PATIENT WHERE ID = 2; INSERT INTO PATIENT (ID, NAME) VALUES (5, 'e');
         UPDATE PATIENT SET NAME = 'C' WHERE ID = 3; INSERT INTO PATIENT (ID, NAME) VALUES (6, 'f'); DELETE FROM PATIENT WHERE ID = 6;",
    );
    let second = model.read(&*source).await;
    assert_eq!(model.names(), "ACe", "1 was written again, 2 is gone, 6 came and went");
    let gone: usize = second
        .steps
        .iter()
        .filter_map(|step| if let Change::Gone(keys) = step { Some(keys.num_rows()) } else { None })
        .sum();
    assert_eq!(gone, 2, "2 and 6: a row that is there is never told gone");
    for step in &second.steps {
        if let Change::Gone(keys) = step {
            assert_eq!(keys.schema().field(0).name(), "ID");
            assert_eq!(keys.column(0).data_type(), &arrow::datatypes::DataType::Int64, "as the table has it");
        }
    }
    let nothing = model.read(&*source).await;
    assert!(nothing.steps.is_empty(), "{:?}", nothing.steps);
}

#[tokio::test]
async fn one_key_deleted_twice_in_one_moment_is_gone_each_time() {
    let Some(database) = Database::with(
        "CREATE TABLE PATIENT (ID INTEGER NOT NULL PRIMARY KEY, NAME VARCHAR(20), VERSION INTEGER);
         CREATE TABLE LOG (PATIENT_ID INTEGER, DAY_OF DATE);
         INSERT INTO PATIENT VALUES (1, 'a', 1); INSERT INTO PATIENT VALUES (2, 'b', 2);",
    ) else {
        return;
    };
    let source = database.source(json!({
        "cursor_columns": { "PATIENT": "VERSION" },
        "deletions": { "PATIENT": { "table": "LOG", "key_columns": ["PATIENT_ID"], "cursor_column": "DAY_OF" } }
    }));
    let mut model = Model::default();
    model.read(&*source).await;
    database.execute("DELETE FROM PATIENT WHERE ID = 1; INSERT INTO LOG VALUES (1, '2024-01-01');");
    model.read(&*source).await;
    assert_eq!(model.names(), "b");
    database.execute("INSERT INTO PATIENT VALUES (1, 'A', 3);");
    model.read(&*source).await;
    assert_eq!(model.names(), "Ab");
    database.execute("DELETE FROM PATIENT WHERE ID = 1; INSERT INTO LOG VALUES (1, '2024-01-01'); INSERT INTO LOG VALUES (NULL, '2024-01-01');");
    let last = model.read(&*source).await;
    assert_eq!(model.names(), "b");
    assert_eq!(last.rejects.len(), 1, "a deletion without a key is told of");
}

#[tokio::test]
async fn a_declared_table_of_deletions_that_is_wrong_is_told_of() {
    let Some(database) = Database::with(TABLES) else { return };
    for (field, value, word) in [
        ("table", json!("NOWHERE"), "NOWHERE"),
        ("key_columns", json!(["NOTHING"]), "NOTHING"),
        ("key_columns", json!(["PATIENT_ID", "N"]), "2 key columns"),
        ("cursor_column", json!("NOTHING"), "NOTHING"),
        ("only", json!({ "NOTHING": 1 }), "NOTHING"),
    ] {
        let mut more = declared();
        more["deletions"]["patient"][field] = value;
        let source = database.source(more);
        let discovery = source.discover(&Selection::default()).await.unwrap();
        let (_, reason) = discovery.failures.iter().find(|(table, _)| table.name == "PATIENT").unwrap();
        assert!(reason.contains(word), "{field}: {reason}");
        let error = read_all(&*source, ReadRequest::whole(table("PATIENT"))).await.unwrap_err().to_string();
        assert!(error.contains(word), "{field}: {error}");
    }
}

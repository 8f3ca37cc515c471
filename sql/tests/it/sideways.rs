//! Ways around what hides something: another name, a number made of hidden values, an old state, a hint, an error.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use mavis_sql::Error;
use mavis_types::{Principal, Role, Scope, Zone};
use rstest::rstest;

use crate::fixture::{Fixture, grant, principal};

/// An analyst who reads `processed.lab`, with what was granted until now.
async fn bob(lake: &Fixture) -> Principal {
    let mut bob = principal(Role::Analyst, Scope::Schemas(vec![grant(Zone::Processed, "lab")]));
    bob.name = "bob".to_owned();
    lake.lake.catalog().put_rights(&mut bob).await.unwrap();
    bob
}

/// `processed.lab.result`, whose code of row 3 is no number.
async fn results(lake: &Fixture) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("code", DataType::Utf8, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("__row", DataType::Int64, true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(StringArray::from(vec!["3", "40", "abc"])),
        Arc::new(StringArray::from(vec!["Durand", "Petit", "Zanzibar"])),
        Arc::new(Int64Array::from(vec![11, 12, 13])),
    ];
    let table = lake.table(Zone::Processed, "lab", "result", &schema).await;
    lake.append(&table, &RecordBatch::try_new(schema, columns).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_which_a_part_is_hidden_gets_no_other_name() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.shared.lab AS SELECT 1 AS k, 'Zanzibar' AS secret").await;
    lake.run("CREATE TABLE work.shared.unread AS SELECT 1 AS k").await;
    assert_eq!(lake.rows("GRANT SELECT ON work.shared.lab TO USER bob").await, ["granted"]);
    assert_eq!(lake.rows("GRANT MODIFY ON SCHEMA work.shared TO USER bob").await, ["granted"]);
    assert_eq!(lake.rows("CREATE MASK ON work.shared.lab (secret) TO USER bob USING NULL").await, ["granted"]);
    let bob = bob(&lake).await;
    for sql in [
        "ALTER TABLE work.shared.lab RENAME TO work.shared.lab2",
        "ALTER TABLE work.shared.lab RENAME TO work.bob.lab",
        "ALTER TABLE work.shared.unread RENAME TO work.bob.stolen",
        "CREATE OR REPLACE TABLE work.shared.lab AS SELECT 2 AS k",
        "DROP TABLE work.shared.lab",
    ] {
        let error = lake.no(&bob, sql).await;
        assert!(matches!(error, Error::Refused { .. } | Error::NoSuchTable { .. }), "{sql}: {error}");
    }
    // Nor by one who sees all of it.
    let error = lake.no(&lake.admin, "ALTER TABLE work.shared.lab RENAME TO work.shared.lab2").await;
    assert!(error.to_string().contains("masks are on `work.shared.lab`"), "{error}");
    assert_eq!(lake.rows("SELECT secret FROM work.shared.lab").await, ["Zanzibar"]);
    assert_eq!(lake.ask(&bob, "SELECT k, secret FROM work.shared.lab").await.unwrap(), ["1|NULL"]);
}

/// What goes with a table, or is put in its place, was there for its writer to see.
#[rstest]
#[case::some_columns(&["GRANT SELECT (k) ON work.shared.lab TO USER bob"], false)]
#[case::no_sight(&[], false)]
#[case::all_columns(&["GRANT SELECT ON work.shared.lab TO USER bob"], true)]
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_dropped_or_replaced_by_who_sees_all_of_it(#[case] rights: &[&str], #[case] may: bool) {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.shared.lab AS SELECT 1 AS k, 'Zanzibar' AS secret").await;
    assert_eq!(lake.rows("GRANT MODIFY ON SCHEMA work.shared TO USER bob").await, ["granted"]);
    for right in rights {
        assert_eq!(lake.rows(right).await, ["granted"]);
    }
    let bob = bob(&lake).await;
    let statements = [
        "CREATE OR REPLACE TABLE work.shared.lab AS SELECT 2 AS k, 'x' AS secret",
        "DROP TABLE IF EXISTS work.shared.lab",
    ];
    if may {
        let session = lake.engine.session(&bob, None).await.unwrap();
        for sql in statements {
            session.execute(sql, &[], None).await.unwrap();
        }
        return;
    }
    for sql in statements {
        let error = lake.no(&bob, sql).await;
        assert!(matches!(error, Error::Refused { .. }), "{sql}: {error}");
    }
    assert_eq!(lake.rows("SELECT secret FROM work.shared.lab").await, ["Zanzibar"]);
}

/// Hashes are joined over all tables: a guess that is written where its hash is shown would be found in any of them.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_where_a_hash_is_shown_to_them() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.shared.names AS SELECT 'Zanzibar' AS name").await;
    for right in [
        "GRANT SELECT ON SCHEMA work.shared TO USER bob",
        "GRANT MODIFY ON SCHEMA work.shared TO USER bob",
        "CREATE MASK ON work.shared.names (name) TO USER bob USING HASH",
    ] {
        assert_eq!(lake.rows(right).await, ["granted"], "{right}");
    }
    let bob = bob(&lake).await;
    let session = lake.engine.session(&bob, None).await.unwrap();
    session.execute("CREATE TABLE work.bob.guesses AS SELECT 'Durand' AS name", &[], None).await.unwrap();
    for sql in [
        "INSERT INTO work.shared.names VALUES ('Durand')",
        "UPDATE work.shared.names SET name = 'Durand'",
        "CREATE OR REPLACE TABLE work.shared.names AS SELECT 'Durand' AS name",
        "CREATE OR REPLACE VIEW work.shared.names AS SELECT 'Durand' AS name",
        "ALTER TABLE work.bob.guesses RENAME TO work.shared.names",
    ] {
        let error = lake.no(&bob, sql).await;
        assert!(error.to_string().contains("as a hash"), "{sql}: {error}");
    }
    // The name is kept for what is masked, also while no table has it.
    lake.run("DROP TABLE work.shared.names").await;
    let error = lake.no(&bob, "CREATE TABLE work.shared.names AS SELECT 'Durand' AS name").await;
    assert!(error.to_string().contains("as a hash"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_row_does_not_tell_what_is_masked() {
    let lake = Fixture::new().await;
    results(&lake).await;
    assert_eq!(lake.rows("CREATE MASK ON processed.lab.result (name) TO USER bob USING NULL").await, ["granted"]);
    let bob = bob(&lake).await;
    assert_eq!(lake.ask(&bob, "SELECT id, name, __row FROM lab.result WHERE id = 3").await.unwrap(), ["3|NULL|NULL"]);
    assert_eq!(lake.ask(&bob, "SELECT count(*) FROM lab.result WHERE __row = 13").await.unwrap(), ["0"]);
}

/// A condition means what it means in a query, and what it cannot compare it does not meet.
#[rstest]
#[case("code = 3", "1")]
#[case("code <> 3", "2")]
#[case("CAST(code AS INT) < 40", "1")]
#[case("id > 1.5 AND code > 4", "2")]
#[case("code < '5' OR now() < '2000-01-01'", "1,2")]
#[case("current_date > DATE '2020-01-01' AND id = 2", "2")]
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_of_another_type_hides_what_it_cannot_read(#[case] condition: &str, #[case] seen: &str) {
    let lake = Fixture::new().await;
    results(&lake).await;
    let policy = format!("CREATE POLICY own ON processed.lab.result TO USER bob USING ({condition})");
    assert_eq!(lake.rows(&policy).await, ["granted"]);
    let bob = bob(&lake).await;
    let ids = lake.ask(&bob, "SELECT id FROM lab.result ORDER BY id").await.unwrap().join(",");
    assert_eq!(ids, seen);
    // Nor does an error tell what a hidden row says.
    for guess in ["name = 'Zanzibar'", "name = 'Nobody'", "id = 3", "name LIKE 'Z%'"] {
        let found = lake.ask(&bob, &format!("SELECT id FROM lab.result WHERE {guess}")).await.unwrap();
        assert!(found.is_empty(), "{guess}: {found:?}");
    }
}

/// Whatever unit a time has where the condition is read, few values or many.
#[rstest]
#[case(2)]
#[case(150)]
#[tokio::test(flavor = "multi_thread")]
async fn a_time_among_those_that_are_blocked_is_blocked(#[case] values: usize) {
    let lake = Fixture::new().await;
    results(&lake).await;
    let times = format!("SELECT CAST(to_timestamp((x + 1) * 86400) AS TIMESTAMP) AS at FROM range(0, {values}) t(x)");
    lake.run(&format!("CREATE TABLE work.admin.blocked AS {times}")).await;
    let policy = "CREATE POLICY own ON processed.lab.result TO USER bob \
                  USING (CAST('1970-01-0' || id AS TIMESTAMP) NOT IN (SELECT at FROM work.admin.blocked))";
    assert_eq!(lake.rows(policy).await, ["granted"]);
    assert_eq!(lake.ask(&bob(&lake).await, "SELECT id FROM lab.result").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_ends_when_it_ends() {
    let lake = Fixture::new().await;
    results(&lake).await;
    lake.run("CREATE TABLE work.admin.consent AS SELECT 3 AS id, now() + INTERVAL '3 seconds' AS until").await;
    let policy = "CREATE POLICY own ON processed.lab.result TO USER bob \
                  USING (id IN (SELECT id FROM work.admin.consent WHERE until > now()))";
    assert_eq!(lake.rows(policy).await, ["granted"]);
    let bob = bob(&lake).await;
    assert_eq!(lake.ask(&bob, "SELECT id FROM lab.result").await.unwrap(), ["3"]);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(lake.ask(&bob, "SELECT id FROM lab.result").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_names_what_may_be_read_only() {
    let lake = Fixture::new().await;
    results(&lake).await;
    let mut goa = principal(Role::Reader, Scope::Schemas(Vec::new()));
    goa.name = "goa".to_owned();
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    lake.table(Zone::Processed, "lab", "hivregister", &schema).await;
    assert_eq!(lake.rows("GRANT SELECT ON processed.lab.result TO USER goa").await, ["granted"]);
    lake.lake.catalog().put_rights(&mut goa).await.unwrap();
    for table in ["hivregister", "hivregisters"] {
        let error = lake.error(&goa, &format!("SELECT * FROM processed.lab.{table}")).await.to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }
    let error = lake.error(&goa, "SELECT * FROM processed.lab.resul").await.to_string();
    assert!(error.contains("did you mean `processed.lab.result`"), "{error}");
}

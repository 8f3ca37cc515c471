use mavis_sql::Error;
use mavis_types::{Role, Scope, Zone};
use rstest::rstest;

use crate::{
    fixture::{Fixture, grant, principal},
    work::ana,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_planned_anew_for_each_caller() {
    let lake = Fixture::new().await;
    lake.run("CREATE VIEW work.shared.staff AS SELECT nom FROM secret.staff").await;
    lake.run("CREATE VIEW work.shared.patients (number, name) AS SELECT id, nom FROM hms.hms_patient WHERE id < 3")
        .await;
    lake.run("CREATE VIEW work.shared.both AS SELECT p.name FROM work.shared.patients p, work.shared.staff").await;
    assert_eq!(lake.rows("SELECT * FROM work.shared.staff").await, ["Lefevre-secret"]);
    assert_eq!(lake.rows("SELECT name FROM shared.patients ORDER BY number").await, ["Durand", "Petit"]);
    assert_eq!(lake.rows("SELECT count(*) FROM work.shared.both").await, ["2"]);

    let grants = vec![grant(Zone::Processed, "hms"), grant(Zone::Work, "shared")];
    let reader = principal(Role::Reader, Scope::Schemas(grants));
    assert_eq!(lake.ask(&reader, "SELECT count(*) FROM work.shared.patients").await.unwrap(), ["2"]);
    // It says that it cannot be read, and nothing of what it is made of.
    for sql in [
        "SELECT * FROM work.shared.staff",
        "SELECT * FROM work.shared.both",
        "EXPLAIN SELECT * FROM work.shared.staff",
        "DESCRIBE work.shared.staff",
        "SELECT 1 FROM work.shared.patients WHERE name IN (SELECT nom FROM work.shared.staff)",
    ] {
        let error = lake.error(&reader, sql).await;
        assert!(matches!(error, Error::Refused { .. }), "{sql}: {error}");
        assert!(!error.to_string().contains("secret") && !error.to_string().contains("nom"), "{sql}: {error}");
    }
    // Who may not read the view itself does not know of it.
    assert!(matches!(lake.error(&lake.reader, "SELECT * FROM work.shared.patients").await, Error::NoSuchTable { .. }));

    let definitions = "SELECT table_name FROM information_schema.views WHERE table_catalog = 'work' \
                       AND view_definition IS NOT NULL ORDER BY 1";
    assert_eq!(lake.rows(definitions).await, ["both", "patients", "staff"]);
    assert_eq!(lake.ask(&reader, definitions).await.unwrap(), ["patients"]);
    let columns =
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'shared' ORDER BY 1, 2";
    assert_eq!(lake.ask(&reader, columns).await.unwrap(), ["patients|name", "patients|number"]);
    let tables =
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'shared' ORDER BY 1";
    assert_eq!(lake.ask(&reader, tables).await.unwrap(), ["both|VIEW", "patients|VIEW", "staff|VIEW"]);
    assert_eq!(lake.rows("SHOW VIEWS IN work.shared").await.len(), 3);
    let listed = lake.engine.list_tables(&reader, Some("work"), Some("shared"), None).await.unwrap();
    assert!(listed.iter().all(|line| line.kind == "VIEW") && listed.len() == 3);
    let schema = lake.engine.table_schema(&reader, "work", "shared", "patients").await.unwrap();
    assert_eq!(schema.field(0).name(), "number");
    assert!(lake.engine.table_schema(&reader, "work", "shared", "staff").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_a_view_mean_what_they_meant_when_it_was_made() {
    let lake = Fixture::new().await;
    lake.run("CREATE VIEW work.a.v AS WITH patient AS (SELECT 1 AS id) SELECT p.id FROM patient p").await;
    lake.run("CREATE VIEW work.a.w AS SELECT patient.id, x.nom FROM patient LEFT JOIN hms.hms_patient x ON true WHERE x.id = 1")
        .await;
    let text = "SELECT view_definition FROM information_schema.views WHERE table_name = 'w'";
    let text = lake.rows(text).await.remove(0);
    assert!(text.contains("\"fhir\".\"r4\".\"patient\"") && text.contains("\"processed\".\"hms\""), "{text}");
    let made = lake.rows("SHOW CREATE TABLE work.a.w").await.remove(0);
    assert!(made.starts_with("CREATE VIEW work.a.w AS\n") && made.ends_with(&text), "{made}");
    assert_eq!(lake.rows("SELECT id FROM work.a.v").await, ["1"]);
    assert_eq!(lake.rows("SELECT id FROM work.a.w ORDER BY 1").await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_never_reads_itself_and_views_nest_only_so_deep() {
    let lake = Fixture::new().await;
    lake.run("CREATE VIEW work.a.v0 AS SELECT 1 AS n").await;
    for n in 1..16 {
        lake.run(&format!("CREATE VIEW work.a.v{n} AS SELECT n FROM work.a.v{}", n - 1)).await;
    }
    assert_eq!(lake.rows("SELECT n FROM work.a.v15").await, ["1"]);
    lake.run("CREATE VIEW work.a.v16 AS SELECT n FROM work.a.v15").await;
    assert!(lake.error(&lake.admin, "SELECT * FROM work.a.v16").await.to_string().contains("views"));
    let error = lake.no(&lake.admin, "CREATE OR REPLACE VIEW work.a.v0 AS SELECT n FROM work.a.v3").await;
    assert!(error.to_string().contains("reads itself"), "{error}");
    assert_eq!(lake.rows("SELECT n FROM work.a.v15").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_replaced_renamed_and_dropped() {
    let lake = Fixture::new().await;
    lake.run("CREATE VIEW work.a.v AS SELECT 1 AS n").await;
    lake.run("CREATE TABLE work.a.t AS SELECT 1 AS n").await;
    assert!(lake.no(&lake.admin, "CREATE VIEW work.a.v AS SELECT 2").await.to_string().contains("exists already"));
    lake.run("CREATE VIEW IF NOT EXISTS work.a.v AS SELECT 2 AS n").await;
    assert_eq!(lake.rows("SELECT * FROM work.a.v").await, ["1"]);
    lake.run("CREATE OR REPLACE VIEW work.a.v AS SELECT 3 AS n").await;
    assert_eq!(lake.rows("SELECT * FROM work.a.v").await, ["3"]);
    for sql in [
        "CREATE OR REPLACE VIEW work.a.t AS SELECT 1",
        "CREATE OR REPLACE TABLE work.a.v AS SELECT 1",
        "DROP TABLE work.a.v",
        "DROP VIEW work.a.t",
        "INSERT INTO work.a.v VALUES (1)",
        "DELETE FROM work.a.v",
        "CREATE VIEW work.a.u AS SELECT $1",
        "CREATE VIEW work.a.u AS SELECT 1 AS a, 2 AS A",
        "CREATE VIEW work.a.u (x) AS SELECT 1, 2",
        "CREATE VIEW work.a.u AS SELECT * FROM work.a.nothing",
    ] {
        lake.no(&lake.admin, sql).await;
    }
    assert!(
        lake.error(&lake.admin, "SELECT * FROM work.a.v VERSION AS OF 0").await.to_string().contains("no versions")
    );
    lake.run("ALTER TABLE work.a.v RENAME TO w").await;
    assert_eq!(lake.rows("SELECT * FROM work.a.w").await, ["3"]);
    lake.run("DROP VIEW work.a.w").await;
    lake.run("DROP VIEW IF EXISTS work.a.w").await;
    assert!(matches!(lake.error(&lake.admin, "SELECT * FROM work.a.w").await, Error::NoSuchTable { .. }));
}

/// A view whose table is gone, or has other columns, says so; the table it is copied into is one of the reader's.
#[rstest]
#[case("DROP TABLE work.a.t", "no longer there")]
#[case("CREATE OR REPLACE TABLE work.a.t AS SELECT 1 AS other", "does not fit its tables")]
#[tokio::test(flavor = "multi_thread")]
async fn a_view_whose_table_changed_says_so(#[case] change: &str, #[case] told: &str) {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.a.t AS SELECT 1 AS n").await;
    lake.run("CREATE VIEW work.a.v AS SELECT n FROM work.a.t").await;
    lake.run(change).await;
    let error = lake.error(&lake.admin, "SELECT * FROM work.a.v").await;
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(lake.rows("SELECT table_name FROM information_schema.views WHERE table_schema = 'a'").await, ["v"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_makes_tables_of_views_as_the_analyst_sees_them() {
    let lake = Fixture::new().await;
    let ana = ana();
    lake.run("CREATE VIEW work.ana.staff AS SELECT nom FROM secret.staff").await;
    assert!(matches!(lake.no(&ana, "CREATE TABLE t AS SELECT * FROM staff").await, Error::Refused { .. }));
    lake.run_as(&ana, "CREATE VIEW mine AS SELECT id FROM hms.hms_patient").await.unwrap();
    assert_eq!(lake.run_as(&ana, "CREATE TABLE t AS SELECT * FROM mine").await.unwrap().rows, 3);
}

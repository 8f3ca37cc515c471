//! Sessions with a catalog and a schema of their own.

use mavis_sql::{Error, Home};

use crate::fixture::{Fixture, lines};

fn home(catalog: Option<&str>, schema: Option<&str>) -> Home {
    Home { catalog: catalog.map(str::to_owned), schema: schema.map(str::to_owned) }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_for_at_home_and_use_moves_there() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    for (sql, expected) in [
        ("USE processed.hms", home(Some("processed"), Some("hms"))),
        ("use hms", home(Some("processed"), Some("hms"))),
        ("USE fhir", home(Some("fhir"), Some("r4"))),
        ("USE CATALOG raw", home(Some("raw"), None)),
        ("USE DATABASE hms", home(Some("processed"), Some("hms"))),
        ("USE system.ops;", home(Some("system"), Some("ops"))),
        ("USE DEFAULT", Home::default()),
    ] {
        assert_eq!(session.used(sql).await.unwrap(), Some(expected), "{sql}");
    }
    assert_eq!(session.used("SELECT 'use'").await.unwrap(), None);
    for sql in ["USE nowhere", "USE raw.nowhere", "USE CATALOG hms"] {
        assert!(matches!(session.used(sql).await, Err(Error::Invalid { .. })), "{sql}");
    }
    let there = session.clone().at(home(Some("raw"), Some("hms")));
    assert_eq!(lines(there.query("SELECT id FROM hms_patient", &[], None).await.unwrap()).await.unwrap().len(), 3);
    assert_eq!(lines(there.query("SELECT id FROM hms.hms_patient", &[], None).await.unwrap()).await.unwrap().len(), 3);
    assert_eq!(there.used("USE hms").await.unwrap(), Some(home(Some("raw"), Some("hms"))), "its own zone first");
    let tables = lines(there.query("SHOW TABLES", &[], None).await.unwrap()).await.unwrap();
    assert!(!tables.is_empty() && tables.iter().all(|line| line.contains("hms")), "{tables:?}");
    assert!(matches!(there.query("SELECT * FROM patient", &[], None).await, Err(Error::NoSuchTable { .. })));
    let ops = session.at(home(Some("system"), Some("ops")));
    ops.query("SELECT * FROM runs", &[], None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_may_not_be_read_cannot_be_used() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.reader, None).await.unwrap();
    assert!(session.used("USE processed.hms").await.unwrap().is_some());
    for sql in ["USE processed.secret", "USE secret", "USE raw.hms"] {
        assert!(matches!(session.used(sql).await, Err(Error::Invalid { .. })), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_beforehand_whether_it_has_an_order_and_may_be_large() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    for (sql, ordered, large) in [
        ("SELECT 1", false, false),
        ("SELECT * FROM processed.hms.hms_patient", false, false),
        ("SELECT * FROM processed.hms.hms_patient ORDER BY id", true, false),
        ("SELECT * FROM generate_series(1, 10000000)", false, true),
        ("SELECT count(*) FROM generate_series(1, 10000000)", false, false),
        ("SELECT * FROM generate_series(1, 10000000) LIMIT 10", false, false),
        ("SHOW TABLES", true, false),
    ] {
        let prepared = session.prepare(sql).await.unwrap();
        assert_eq!((prepared.ordered, prepared.large), (ordered, large), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_tells_the_versions_of_a_table() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let told =
        lines(session.query("DESCRIBE HISTORY fhir.r4.patient LIMIT 2", &[], None).await.unwrap()).await.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    let whole = lines(session.query("DESCRIBE FORMATTED fhir.r4.patient", &[], None).await.unwrap()).await.unwrap();
    assert!(
        whole.iter().any(|line| line.contains("birthDate")) && whole.iter().any(|line| line.contains("# Detailed"))
    );
}

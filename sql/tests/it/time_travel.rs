use mavis_sql::Error;
use mavis_types::SnapshotId;

use crate::fixture::{Fixture, lines, resources};

#[tokio::test(flavor = "multi_thread")]
async fn one_statement_sees_a_table_at_two_versions() {
    let lake = Fixture::new().await;
    let table = lake.find("raw.hms.hms_patient").await;
    let newest = lake.lake.version(table.id).await.unwrap();
    let before = newest - 1;
    for sql in [
        format!("SELECT count(*) FROM raw.hms.hms_patient VERSION AS OF {before}"),
        format!("SELECT count(*) FROM raw.hms.hms_patient FOR VERSION AS OF {before} AS p"),
        format!("SELECT count(p.id) FROM raw.hms.hms_patient AS p VERSION AS OF {before} WHERE p.ID > 0"),
        format!("SELECT count(*) FROM raw.hms.hms_patient p FOR VERSION AS OF {before}"),
    ] {
        assert_eq!(lake.rows(&sql).await, ["2"], "{sql}");
    }
    let sql = format!(
        "SELECT n.nom FROM raw.hms.hms_patient n LEFT ANTI JOIN raw.hms.hms_patient VERSION AS OF {before} o ON n.id = o.id"
    );
    assert_eq!(lake.rows(&sql).await, ["Moreau"]);
    let error = lake.error(&lake.admin, "SELECT 1 FROM raw.hms.hms_patient VERSION AS OF 999").await;
    assert!(error.to_string().contains("no version 999"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_means_what_was_newest_then() {
    let lake = Fixture::new().await;
    let sql = "SELECT count(*) FROM raw.hms.hms_patient TIMESTAMP AS OF '2999-01-01'";
    assert_eq!(lake.rows(sql).await, ["3"]);
    let error = lake.error(&lake.admin, "SELECT 1 FROM raw.hms.hms_patient TIMESTAMP AS OF '1999-01-01'").await;
    assert!(matches!(error, Error::Lake(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fhir_is_seen_at_the_snapshot_of_the_session() {
    let lake = Fixture::new().await;
    let patient = lake.find("fhir.r4.patient").await;
    let pinned = lake.engine.session(&lake.admin, None).await.unwrap().snapshot();
    assert_eq!(pinned, Some(SnapshotId(1)));
    // A row is committed, but not published.
    assert_eq!(lake.rows("SELECT count(*) FROM patient").await, ["2"]);
    let open = lake.engine.session(&lake.admin, None).await.unwrap();
    let held = lake.engine.session(&lake.admin, pinned).await.unwrap();
    lake.append(&patient, &resources(&[("d", "2002-01-01", "Blanc")])).await;
    lake.publish(&patient).await;
    let count = "SELECT count(*) FROM patient";
    assert_eq!(lines(open.query(count, &[], None).await.unwrap()).await.unwrap(), ["4"]);
    assert_eq!(lines(held.query(count, &[], None).await.unwrap()).await.unwrap(), ["2"]);
    assert_eq!(open.snapshot(), Some(SnapshotId(2)));
    assert_eq!(held.snapshot(), pinned);
    // A clause goes past the snapshot.
    let version = lake.lake.version(patient.id).await.unwrap();
    let sql = format!("SELECT count(*) FROM patient VERSION AS OF {version}");
    assert_eq!(lines(held.query(&sql, &[], None).await.unwrap()).await.unwrap(), ["4"]);
    let gone = lake.engine.session(&lake.admin, Some(SnapshotId(77))).await.unwrap_err();
    assert!(matches!(gone, Error::SnapshotGone { id: 77 }), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fhir_table_that_no_snapshot_has_is_empty() {
    let lake = Fixture::new().await;
    assert_eq!(lake.rows("SELECT count(birthDate) FROM observation").await, ["0"]);
}

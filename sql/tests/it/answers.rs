//! Answers that are kept: when the same text is asked again over the same state, no file is read. That files are not read is
//! told by taking them away.

use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use mavis_sql::{Error, Limits};
use mavis_types::{Role, Scope, Zone};
use rstest::rstest;

use crate::fixture::{Fixture, grant, lines, options, patients, principal};

const NAMES: &str = "SELECT nom FROM hms.hms_patient ORDER BY id";

#[rstest]
#[case("SELECT nom FROM hms.hms_patient ORDER BY id")]
#[case("SELECT count(*), max(nom) FROM processed.hms.hms_patient")]
#[case("WITH old AS (SELECT * FROM hms.hms_patient) SELECT nom FROM old WHERE id IN (SELECT id FROM hms.hms_patient)")]
#[case("SELECT id FROM patient ORDER BY id")]
#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_answered_without_reading(#[case] sql: &str) {
    let lake = Fixture::new().await;
    let first = lake.rows(sql).await;
    assert!(!first.is_empty());
    lake.lose_files();
    assert_eq!(lake.rows(sql).await, first);
    let other = format!("{sql} LIMIT 1000");
    assert!(lake.ask(&lake.admin, &other).await.is_err(), "the files are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_makes_another_question() {
    let lake = Fixture::new().await;
    let before = lake.rows(NAMES).await;
    let table = lake.find("processed.hms.hms_patient").await;
    let version = lake.lake.version(table.id).await.unwrap();
    lake.append(&table, &patients(&[(900, "Zola", "1902-09-29")])).await;
    let after = lake.rows(NAMES).await;
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.contains(&"Zola".to_owned()));
    let then = format!("SELECT nom FROM hms.hms_patient VERSION AS OF {version} ORDER BY id");
    assert_eq!(lake.rows(&then).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_parameters_belong_to_the_question() {
    let lake = Fixture::new().await;
    let sql = "SELECT nom FROM hms.hms_patient WHERE id = $1";
    let ask = async |id: i64| lake.ask_with(&lake.admin, sql, &[ScalarValue::Int64(Some(id))]).await;
    let (one, two) = (ask(1).await.unwrap(), ask(2).await.unwrap());
    assert_ne!(one, two);
    lake.lose_files();
    assert_eq!(ask(1).await.unwrap(), one);
    assert_eq!(ask(2).await.unwrap(), two);
    assert!(ask(3).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_a_table_is_not_told_a_kept_answer() {
    let lake = Fixture::new().await;
    lake.rows(NAMES).await;
    let stranger = principal(Role::Reader, Scope::Schemas(vec![grant(Zone::Processed, "secret")]));
    assert!(matches!(lake.error(&stranger, NAMES).await, Error::NoSuchTable { .. }));
    let session = lake.engine.session(&stranger, None).await.unwrap();
    assert!(matches!(session.prepare(NAMES).await, Err(Error::NoSuchTable { .. })), "nor its columns");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_the_same_shares_the_answer() {
    let lake = Fixture::new().await;
    let first = lake.rows(NAMES).await;
    lake.lose_files();
    assert_eq!(lake.ask(&lake.reader, NAMES).await.unwrap(), first);
}

#[rstest]
#[case("SELECT random()")]
#[case("SELECT uuid()")]
#[case("SELECT now()")]
#[case("SELECT nom, random() FROM hms.hms_patient")]
#[case("SELECT * FROM (VALUES (1), (2)) WHERE random() < 2 ORDER BY (SELECT uuid())")]
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_by_itself_is_computed_each_time(#[case] sql: &str) {
    let lake = Fixture::new().await;
    let first = lake.ask(&lake.admin, sql).await;
    if sql.contains("hms_patient") {
        lake.lose_files();
        assert!(lake.ask(&lake.admin, sql).await.is_err());
    } else if !sql.contains("VALUES") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_ne!(lake.ask(&lake.admin, sql).await.unwrap(), first.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_about_the_lake_are_read_each_time() {
    let lake = Fixture::new().await;
    let sql = "SELECT count(*) FROM system.catalog.tables";
    let before = lake.rows(sql).await;
    lake.table(Zone::Processed, "hms", "later", &patients(&[]).schema()).await;
    assert_ne!(lake.rows(sql).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_cut_off_is_not_kept() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let few = Limits { rows: Some(1), ..options().limits };
    let cut = lines(session.query(NAMES, &[], Some(few)).await.unwrap()).await;
    assert!(matches!(cut, Err(Error::Limit { limit: "row limit", .. })));
    let whole = lake.rows(NAMES).await;
    assert!(whole.len() > 1);
    let cut = lines(session.query(NAMES, &[], Some(few)).await.unwrap()).await;
    assert!(matches!(cut, Err(Error::Limit { limit: "row limit", .. })), "also when it comes from memory");
    let mut left = session.query(NAMES, &[], None).await.unwrap();
    assert!(left.batches.next().await.unwrap().unwrap().num_rows() > 0);
    drop(left);
    assert_eq!(lake.rows(NAMES).await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_there_is_no_room_and_nothing_after_forgetting() {
    let without = Fixture::with(mavis_sql::EngineOptions { answers_bytes: 0, ..options() }).await;
    without.rows(NAMES).await;
    without.lose_files();
    assert!(without.ask(&without.admin, NAMES).await.is_err());

    let lake = Fixture::new().await;
    lake.rows(NAMES).await;
    lake.engine.forget_answers();
    lake.lose_files();
    assert!(lake.ask(&lake.admin, NAMES).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn quoted_text_that_differs_in_case_is_another_question() {
    let lake = Fixture::new().await;
    assert_eq!(lake.rows("SELECT 'a'").await, ["a"]);
    assert_eq!(lake.rows("SELECT 'A'").await, ["A"]);
    assert_eq!(lake.rows("SELECT 'a'").await, ["a"]);
}

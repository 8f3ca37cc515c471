//! Which files a query read is told by nothing: neither its plan, nor the order of its rows, nor how far it is.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use futures::StreamExt;
use mavis_types::{Principal, Zone};
use rstest::rstest;

use crate::{
    fixture::Fixture,
    rights::{ana, grant},
};

/// What a hidden row has, alone in its file, as all of them have.
const HIDDEN: i64 = 4_711;

/// Files by turns of visible rows (clinic 3, far above and below) and of hidden ones (clinic 9).
async fn stays() -> (Fixture, Principal) {
    let lake = Fixture::new().await;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("clinic", DataType::Int64, true),
    ]));
    let table = lake.table(Zone::Processed, "hms", "stay", &schema).await;
    for file in 0..8 {
        let (ids, clinic): (Vec<i64>, i64) = match file % 2 {
            0 => (vec![file, 10_000 + file, 20_000 + file], 3),
            _ => (vec![HIDDEN - file, HIDDEN], 9),
        };
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(ids.clone())), Arc::new(Int64Array::from(vec![clinic; ids.len()]))];
        lake.append(&table, &RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).await;
    }
    grant(&lake, "GRANT SELECT ON ZONE processed TO analyst").await;
    grant(&lake, "CREATE POLICY own ON processed.hms.stay TO USER ana USING (clinic = 3)").await;
    let ana = ana(&lake).await;
    (lake, ana)
}

/// An explained plan without what times and the question itself put in it.
fn shape(plan: &[String], asked: i64) -> String {
    let text = plan.join("\n").replace(&asked.to_string(), "N");
    let words =
        text.split_inclusive([',', '[', ']', '\n']).filter(|word| !word.contains("elapsed") && !word.contains("time"));
    words.collect()
}

#[rstest]
#[case("SELECT id FROM hms.stay WHERE id > {}")]
#[case("SELECT id FROM hms.stay WHERE id > {} AND id + 0 > 5")]
#[case("SELECT count(*) FROM hms.stay WHERE id > {}")]
#[case("SELECT max(id), clinic FROM hms.stay WHERE id > {} GROUP BY clinic")]
#[case("SELECT id FROM hms.stay WHERE id >= 10000 OR id = {} LIMIT 3")]
#[case("SELECT a.id FROM hms.stay a JOIN hms.stay b ON a.id = b.id WHERE a.id > {} ORDER BY 1")]
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_nothing_of_hidden_rows(#[case] sql: &str) {
    let (lake, ana) = stays().await;
    let mut told = Vec::new();
    // The files of hidden rows are read for the first two, and left out for the last.
    for asked in [HIDDEN - 9, HIDDEN - 1, HIDDEN] {
        let sql = sql.replace("{}", &asked.to_string());
        let plan = lake.ask(&ana, &format!("EXPLAIN {sql}")).await.unwrap();
        assert!(plan.join("\n").contains("GuardedScan"), "{plan:?}");
        told.push(shape(&plan, asked));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysed_plan_tells_nothing_of_hidden_rows() {
    let (lake, ana) = stays().await;
    let mut told = Vec::new();
    for asked in [HIDDEN - 9, HIDDEN - 1, HIDDEN] {
        let sql = format!("EXPLAIN ANALYZE SELECT id FROM hms.stay WHERE id > {asked} AND id % 1 = 0");
        told.push(shape(&lake.ask(&ana, &sql).await.unwrap(), asked));
    }
    assert!(told[0].contains("output_rows=8") && told[0].contains("GuardedScan"), "{}", told[0]);
    assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_in_one_order_whatever_was_read() {
    let (lake, ana) = stays().await;
    // One lane at a time, so that nothing depends on which is the faster.
    for sql in ["SELECT id FROM hms.stay WHERE id > {}", "SELECT id FROM hms.stay WHERE id > {} AND id % 1 = 0"] {
        let mut told = Vec::new();
        for asked in [HIDDEN - 9, HIDDEN - 1, HIDDEN] {
            let session = lake.engine.session(&ana, None).await.unwrap();
            let stream = session.query(&sql.replace("{}", &asked.to_string()), &[], None).await.unwrap();
            let batches = crate::fixture::batches(stream).await.unwrap();
            let mut of_lanes: Vec<String> = batches.iter().map(|batch| format!("{:?}", batch.column(0))).collect();
            of_lanes.sort();
            told.push(of_lanes);
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
    }
    // All that is asked for comes, also where a condition may not be evaluated on hidden rows.
    for (sql, rows) in [
        ("SELECT count(*) FROM hms.stay", "12"),
        ("SELECT count(*) FROM hms.stay WHERE id < 10 AND clinic = 3", "4"),
        ("SELECT sum(clinic) FROM hms.stay WHERE id + 0 >= 20000", "12"),
        ("SELECT count(*) FROM hms.stay WHERE id IN (4711, 10002, 20004) AND clinic % 2 = 1", "2"),
        ("SELECT count(*) FROM hms.stay WHERE clinic = 9 OR NOT clinic = 3", "0"),
    ] {
        assert_eq!(lake.ask(&ana, sql).await.unwrap(), [rows], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_query_is_tells_nothing_of_hidden_rows() {
    let (lake, ana) = stays().await;
    for (who, is_told) in [(&lake.admin, true), (&ana, false)] {
        let session = lake.engine.session(who, None).await.unwrap();
        let mut stream = session.query("SELECT id, random() FROM hms.stay", &[], None).await.unwrap();
        let first = stream.batches.next().await.unwrap().unwrap();
        assert!(first.num_rows() > 0);
        assert_eq!(lake.engine.progress(stream.id).is_some(), is_told);
    }
}

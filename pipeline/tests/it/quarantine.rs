//! Rows in quarantine whose source row was corrected or deleted meanwhile.

use crate::support::*;
use mavis_catalog::{QuarantineState, Quarantined, RunState};
use rstest::rstest;

async fn patients(house: &House) -> Life {
    let statements = [
        "CREATE TABLE p (id INTEGER PRIMARY KEY, nom TEXT, ne TEXT)",
        "INSERT INTO p VALUES (1, 'A', '14/03/1980'), (2, 'B', '02/11/1975'), (3, 'C', '01/02/1990'), \
         (4, 'D', '05/06/1971'), (5, 'E', 'jamais'), (6, 'F', 'inconnue')",
        "INSERT INTO p SELECT id + 10, 'Z', ne FROM p WHERE id < 5",
        "INSERT INTO p SELECT id + 20, 'Z', ne FROM p WHERE id < 5",
        "INSERT INTO p SELECT id + 30, 'Z', ne FROM p WHERE id < 5",
        "INSERT INTO p SELECT id + 40, 'Z', ne FROM p WHERE id < 5",
        "INSERT INTO p SELECT id + 50, 'Z', ne FROM p WHERE id < 5",
    ];
    house.sqlite("hms.sqlite", &statements).await;
    let life = house.start().await;
    life.add("hms", "sqlite", serde_json::json!({"path": house.path("hms.sqlite")})).await;
    let run = life.ingest("hms").await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(life.quarantine().await.len(), 2);
    life
}

fn of<'a>(rows: &'a [Quarantined], word: &str) -> &'a Quarantined {
    rows.iter().find(|row| row.payload.contains(word)).unwrap()
}

const NAMES: &str = "SELECT nom FROM t WHERE nom <> 'Z' ORDER BY nom";

#[rstest]
#[case("UPDATE p SET ne = '05/05/1955', nom = 'E2' WHERE id = 5", 25)]
#[case("DELETE FROM p WHERE id = 5", 24)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_corrected_or_deleted_at_the_source_waits_no_longer(#[case] change: &str, #[case] rows: u64) {
    let house = House::new();
    let life = patients(&house).await;
    house.sqlite("hms.sqlite", &[change]).await;
    let run = life.ingest("hms").await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(life.count("processed.hms.p").await, rows);
    let quarantine = life.quarantine().await;
    assert_eq!(of(&quarantine, "jamais").state, QuarantineState::Dropped);
    assert_eq!(of(&quarantine, "inconnue").state, QuarantineState::Waiting, "a row that nobody corrected waits on");

    let id = of(&quarantine, "jamais").id;
    let old = r#"{"id": 5, "nom": "E", "ne": "01/01/1950"}"#;
    let run = life.pipeline.replay(&me(), &[id], Some(old)).await.unwrap();
    let run = life.wait(run.id).await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.as_ref().unwrap().contains(&format!("row {id}")), "{:?}", run.error);
    assert_eq!(life.count("processed.hms.p").await, rows);
    assert!(!life.ask("processed.hms.p", NAMES).await.contains(&Some("E".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_breaks_in_another_way_waits_once() {
    let house = House::new();
    let life = patients(&house).await;
    house.sqlite("hms.sqlite", &["UPDATE p SET ne = 'autre' WHERE id = 5"]).await;
    life.ingest("hms").await;
    let quarantine = life.quarantine().await;
    assert_eq!(of(&quarantine, "jamais").state, QuarantineState::Dropped);
    assert_eq!(of(&quarantine, "autre").state, QuarantineState::Waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_row_is_not_replayed_over_the_one_that_replaced_it() {
    let house = House::new();
    let life = patients(&house).await;
    let waiting = life.quarantine().await;
    let (stale, good) = (of(&waiting, "jamais").id, of(&waiting, "inconnue").clone());
    house.sqlite("hms.sqlite", &["UPDATE p SET ne = '05/05/1955', nom = 'E2' WHERE id = 5"]).await;
    life.ingest("hms").await;
    // As an earlier server left it.
    life.catalog.set_quarantine_state(stale, QuarantineState::Waiting).await.unwrap();
    let old = r#"{"id": 5, "nom": "E", "ne": "01/01/1950"}"#;
    let run = life.pipeline.replay(&me(), &[stale], Some(old)).await.unwrap();
    let run = life.wait(run.id).await;
    assert_eq!(run.state, RunState::Failed);
    let error = run.error.unwrap();
    assert!(error.contains("corrected or deleted at the source") && error.contains("drop"), "{error}");
    let names: Vec<String> = life.ask("processed.hms.p", NAMES).await.into_iter().flatten().collect();
    assert_eq!(names, ["A", "B", "C", "D", "E2"]);

    let corrected = good.payload.replace("inconnue", "06/06/1966");
    let run = life.pipeline.replay(&me(), &[good.id], Some(&corrected)).await.unwrap();
    assert_eq!(life.wait(run.id).await.state, RunState::Completed);
    assert_eq!(life.count("processed.hms.p").await, 26);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_key_wait_as_long_as_one_of_them_is_there() {
    let house = House::new();
    let file = house.path("labs").join("labs.csv");
    std::fs::create_dir_all(house.path("labs")).unwrap();
    let good = "2024-01-01;Na;140\n2024-01-02;K;4\n2024-01-03;Na;139\n2024-01-04;K;5\n";
    let write = |bad: &str| std::fs::write(&file, format!("jour;quoi;combien\n{good}{bad}")).unwrap();
    write("demain;Na;1\ndemain;Na;1\n");
    let life = house.start().await;
    life.add("labs", "files", serde_json::json!({"path": house.path("labs")})).await;
    assert!(completed(&life.ingest("labs").await));
    let table = life.catalog.tables(None, None, None, None).await.unwrap();
    let name = table.iter().find(|t| t.name.to_string().starts_with("processed.labs")).unwrap().name.to_string();
    let id = of(&life.quarantine().await, "demain").id;
    assert_eq!(life.count(&name).await, 4);

    write("demain;Na;1\n");
    life.ingest("labs").await;
    assert_eq!(life.catalog.quarantined_row(id).await.unwrap().state, QuarantineState::Waiting);
    write("2024-01-05;Na;1\n");
    life.ingest("labs").await;
    assert_eq!(life.catalog.quarantined_row(id).await.unwrap().state, QuarantineState::Dropped);
    assert_eq!(life.count(&name).await, 5);

    life.catalog.set_quarantine_state(id, QuarantineState::Waiting).await.unwrap();
    let old = r#"{"jour": "2024-01-05", "quoi": "Na", "combien": 1}"#;
    let run = life.pipeline.replay(&me(), &[id], Some(old)).await.unwrap();
    assert_eq!(life.wait(run.id).await.state, RunState::Failed);
    assert_eq!(life.count(&name).await, 5, "no phantom row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_of_a_file_that_was_repaired_waits_no_longer() {
    let house = House::new();
    std::fs::create_dir_all(house.path("labs")).unwrap();
    let file = house.path("labs").join("labs.csv");
    std::fs::write(&file, "a,b\n1,2\n3,4,5,6\n7,8\n").unwrap();
    let life = house.start().await;
    life.add("labs", "files", serde_json::json!({"path": house.path("labs")})).await;
    life.ingest("labs").await;
    let row = life.quarantine().await.into_iter().next().expect("a line with too many fields");
    life.ingest("labs").await;
    assert_eq!(life.catalog.quarantined_row(row.id).await.unwrap().state, QuarantineState::Waiting);
    std::fs::write(&file, "a,b\n1,2\n3,4\n7,8\n").unwrap();
    life.ingest("labs").await;
    assert_eq!(life.catalog.quarantined_row(row.id).await.unwrap().state, QuarantineState::Dropped);
}

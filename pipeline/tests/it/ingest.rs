//! A hospital's database with dirt in it, from the source to FHIR.

use crate::support::*;
use mavis_catalog::{QuarantineState, RunState, Step};
use mavis_connectors::SourceSpec;
use mavis_types::{Counts, RunId};

const PATIENTS: &[&str] = &[
    "CREATE TABLE hms_patient (patient_id INTEGER PRIMARY KEY, nom TEXT, prenom TEXT, sexe TEXT, date_naissance TEXT, poids TEXT)",
    "INSERT INTO hms_patient VALUES
        (1, ' Durand ', 'Anne', 'F', '14/03/1980', '61,5'),
        (2, 'Petit', 'Jean', 'M', '02/11/1975', '80'),
        (3, 'Moreau', 'N/A', 'F', '1990-06-30', '55,25'),
        (4, 'Leroy', 'Luc', 'M', 'inconnue', '70,1'),
        (5, 'Roux', 'Eve', 'F', '25/12/2001', '-')",
    "CREATE TABLE hms_sejour (sejour_id INTEGER PRIMARY KEY, patient_id INTEGER, date_entree TEXT, date_sortie TEXT)",
    "INSERT INTO hms_sejour VALUES (10, 1, '2024-01-02', '2024-01-05'), (11, 2, '2024-02-01', '2024-01-01')",
    "CREATE TABLE hms_note (texte TEXT)",
    "INSERT INTO hms_note VALUES ('vu'), ('vu '), ('revu'), ('vu')",
];

const PATIENT: &str = r#"
version = 1
resource = "Patient"
from = "processed.hms.hms_patient p"
key = "p.patient_id"
[set]
"name[0].family" = "p.nom"
"name[0].given[0]" = "p.prenom"
"gender" = "code_map('sexe', p.sexe)"
"birthDate" = "p.date_naissance"
"#;

const ENCOUNTER: &str = r#"
version = 1
resource = "Encounter"
from = "processed.hms.hms_sejour s JOIN processed.hms.hms_patient p ON s.patient_id = p.patient_id"
key = "s.sejour_id"
[set]
"status" = "'finished'"
"class.code" = "'IMP'"
"class.system" = "'http://terminology.hl7.org/CodeSystem/v3-ActCode'"
"subject" = "reference('Patient', p.patient_id)"
"subject.display" = "p.nom"
"period.start" = "s.date_entree"
"#;

async fn hospital(house: &House) -> Life {
    house.sqlite("hms.sqlite", PATIENTS).await;
    let life = house.start().await;
    let check = serde_json::json!({"name": "discharge after admission", "rule": "date_sortie >= date_entree", "action": "quarantine"});
    let params = serde_json::json!({
        "path": house.path("hms.sqlite"),
        "clean": {"tables": {"hms_sejour": {"checks": [check]}}},
    });
    life.add("hms", "sqlite", params).await;
    life.pipeline.discover(&me(), &name("hms")).await.unwrap();
    life.pipeline.set_code_map(&me(), "sexe", "source_code,target_code\nF,female\nM,male\n").await.unwrap();
    life.pipeline.apply_mapping(&me(), "hms.patient", PATIENT).await.unwrap();
    life.pipeline.apply_mapping(&me(), "hms.encounter", ENCOUNTER).await.unwrap();
    life
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_reach_all_three_zones_cleaned_and_every_row_is_accounted_for() {
    let house = House::new();
    let life = hospital(&house).await;
    let run = life.ingest("hms").await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    assert!(run.counts.balances(), "{:?}", run.counts);
    for unit in life.catalog.run_units(run.id).await.unwrap() {
        assert!(unit.counts.balances(), "{unit:?}");
    }

    assert_eq!(life.count("raw.hms.hms_patient").await, 5);
    let raw = life.counts(run.id, Step::ToRaw, "raw.hms.hms_patient").await;
    assert_eq!(raw, Counts { read: 5, inserted: 5, ..Counts::default() });
    let processed = life.counts(run.id, Step::ToProcessed, "processed.hms.hms_patient").await;
    assert_eq!(processed, Counts { read: 5, inserted: 4, quarantined: 1, ..Counts::default() });
    let names = life.ask("processed.hms.hms_patient", "SELECT nom FROM t ORDER BY patient_id").await;
    assert_eq!(names.into_iter().flatten().collect::<Vec<_>>(), ["Durand", "Petit", "Moreau", "Roux"]);
    let births = life.ask("processed.hms.hms_patient", "SELECT arrow_typeof(date_naissance) FROM t LIMIT 1").await;
    assert_eq!(births, [Some("Date32".to_owned())]);
    let weights = life.ask("processed.hms.hms_patient", "SELECT poids FROM t ORDER BY patient_id").await;
    assert_eq!(weights, [Some("61.5".to_owned()), Some("80.0".to_owned()), Some("55.25".to_owned()), None]);

    let notes = life.counts(run.id, Step::ToProcessed, "processed.hms.hms_note").await;
    assert_eq!(notes, Counts { read: 4, inserted: 2, deduplicated: 2, ..Counts::default() });

    assert_eq!(life.count("fhir.r4.patient").await, 4);
    assert_eq!(life.count("fhir.r4_history.patient").await, 4);
    let born = life.ask("fhir.r4.patient", "SELECT \"birthDate\" FROM t ORDER BY 1").await;
    assert_eq!(
        born.into_iter().flatten().collect::<Vec<_>>(),
        ["1975-11-02", "1980-03-14", "1990-06-30", "2001-12-25"]
    );
    assert_eq!(life.count("fhir.r4.encounter").await, 1);

    let quarantine = life.quarantine().await;
    let mut reasons: Vec<&str> = quarantine.iter().map(|row| row.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["date_naissance: not a date", "discharge after admission"]);

    let snapshot = life.catalog.latest_snapshot().await.unwrap().unwrap();
    let current = life.catalog.table(&"fhir.r4.patient".parse().unwrap()).await.unwrap();
    assert_eq!(snapshot.versions[&current.id], life.version("fhir.r4.patient").await);
    let log = life.log(run.id).await.join("\n");
    assert!(!log.contains("inconnue") && !log.contains("Leroy"), "a value is in the log: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ingest_without_changes_writes_nothing() {
    let house = House::new();
    let life = hospital(&house).await;
    life.ingest("hms").await;
    let before = life.versions().await;
    let run = life.ingest("hms").await;
    assert!(completed(&run), "{:?}", run.error);
    assert!(!run.counts.changed(), "{:?}", run.counts);
    assert_eq!(life.versions().await, before);
    assert_eq!(life.quarantine().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_the_source_arrive_in_all_zones() {
    let house = House::new();
    let life = hospital(&house).await;
    life.ingest("hms").await;
    let changes = [
        "UPDATE hms_patient SET nom = 'Durand-Petit' WHERE patient_id = 1",
        "DELETE FROM hms_patient WHERE patient_id = 2",
        "INSERT INTO hms_patient VALUES (6, 'Faure', 'Zoe', 'F', '01/02/2003', '50')",
        "DELETE FROM hms_note WHERE rowid IN (SELECT min(rowid) FROM hms_note)",
    ];
    house.sqlite("hms.sqlite", &changes).await;
    let run = life.ingest("hms").await;
    assert!(completed(&run), "{:?}", run.error);
    let raw = life.counts(run.id, Step::ToRaw, "raw.hms.hms_patient").await;
    assert_eq!((raw.inserted, raw.updated, raw.deleted, raw.unchanged), (1, 1, 1, 3));
    let processed = life.counts(run.id, Step::ToProcessed, "processed.hms.hms_patient").await;
    assert_eq!((processed.read, processed.inserted, processed.updated, processed.deleted), (2, 1, 1, 1));
    let fhir = life.counts(run.id, Step::ToFhir, "fhir.r4.patient").await;
    assert_eq!((fhir.read, fhir.inserted, fhir.updated, fhir.deleted), (2, 1, 1, 1));
    assert_eq!(life.count("fhir.r4.patient").await, 4);
    assert_eq!(life.count("fhir.r4_history.patient").await, 7);
    let versions = life.ask("fhir.r4.patient", "SELECT max(__version) FROM t").await;
    assert_eq!(versions, [Some("2".to_owned())]);
    // The join was computed again: its display changed, and nothing was lost.
    let display = life.ask("fhir.r4.encounter", "SELECT resource FROM t").await;
    assert!(display[0].as_ref().unwrap().contains("Durand-Petit"));
    assert_eq!(life.count("processed.hms.hms_note").await, 2, "an equal row is still there");

    house.sqlite("hms.sqlite", &["INSERT INTO hms_patient VALUES (2, 'Petit', 'Jean', 'M', '02/11/1975', '80')"]).await;
    life.ingest("hms").await;
    let version = life.ask("fhir.r4.patient", "SELECT __version FROM t WHERE resource LIKE '%Jean%'").await;
    assert_eq!(version, [Some("3".to_owned())], "a resource that comes back continues its versions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_breaks_leaves_and_comes_back_when_it_is_corrected() {
    let house = House::new();
    let life = hospital(&house).await;
    life.ingest("hms").await;
    let row = life.quarantine().await.into_iter().find(|row| row.reason.contains("not a date")).unwrap();
    let corrected = row.payload.replace("inconnue", "05/05/1955");
    let run = life.pipeline.replay(&me(), &[row.id], Some(&corrected)).await.unwrap();
    let run = life.wait(run.id).await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(life.count("processed.hms.hms_patient").await, 5);
    let state = life.catalog.quarantined_row(row.id).await.unwrap().state;
    assert_eq!(state, QuarantineState::Replayed);
    life.ingest("hms").await;
    assert_eq!(life.count("fhir.r4.patient").await, 5);

    let wrong = life.pipeline.replay(&me(), &[row.id], Some("[]")).await.unwrap();
    assert!(completed(&life.wait(wrong.id).await), "a row that was replayed is left out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_that_is_wrong_too_stays_in_quarantine() {
    let house = House::new();
    let life = hospital(&house).await;
    life.ingest("hms").await;
    let row = life.quarantine().await.into_iter().find(|row| row.reason.contains("not a date")).unwrap();
    let run = life.pipeline.replay(&me(), &[row.id], None).await.unwrap();
    let run = life.wait(run.id).await;
    assert_eq!(run.state, RunState::CompletedWithWarnings);
    assert_eq!(life.catalog.quarantined_row(row.id).await.unwrap().state, QuarantineState::Waiting);
    let run = life.pipeline.replay(&me(), &[row.id], Some(r#"{"nobody": 1}"#)).await.unwrap();
    let run = life.wait(run.id).await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.unwrap().contains("no column `nobody`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sent_twice_starts_one_run() {
    let house = House::new();
    let life = hospital(&house).await;
    let id = RunId::new();
    let first = life.pipeline.start_run(&me(), id, request("hms")).await.unwrap();
    let second = life.pipeline.start_run(&me(), id, request("hms")).await.unwrap();
    assert_eq!(first.id, second.id);
    life.wait(id).await;
    assert_eq!(life.pipeline.runs(Some(&name("hms")), 10).await.unwrap().len(), 1);
    assert_eq!(life.count("raw.hms.hms_patient").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_fails_does_not_stop_the_others() {
    let house = House::new();
    let life = hospital(&house).await;
    house.sqlite("hms.sqlite", &["DROP TABLE hms_note"]).await;
    let run = life.ingest("hms").await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.as_ref().unwrap().contains("hms_note"), "{:?}", run.error);
    assert_eq!(life.count("fhir.r4.patient").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_in_the_middle_goes_on_where_it_was() {
    let house = House::new();
    hospital(&house).await.pipeline.stop().await;
    let many: Vec<String> =
        (100..20_100).map(|id| format!("({id}, 'Nom{id}', 'P', 'F', '01/02/1970', '50')")).collect();
    house.sqlite("hms.sqlite", &[&format!("INSERT INTO hms_patient VALUES {}", many.join(","))]).await;
    let id = RunId::new();
    for pause in [20, 150, 400, 900] {
        let life = house.start().await;
        life.pipeline.start_run(&me(), id, request("hms")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        drop(life);
    }
    let life = house.start().await;
    let run = life.wait(id).await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(life.count("raw.hms.hms_patient").await, 20_005);
    assert_eq!(life.count("processed.hms.hms_patient").await, 20_004);
    assert_eq!(life.count("fhir.r4.patient").await, 20_004);
    assert_eq!(life.count("fhir.r4_history.patient").await, 20_004);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_leaves_nothing_half_done() {
    let house = House::new();
    let life = hospital(&house).await;
    let id = RunId::new();
    life.pipeline.start_run(&me(), id, request("hms")).await.unwrap();
    life.pipeline.cancel(&me(), id).await.unwrap();
    let run = life.wait(id).await;
    assert_eq!(run.state, RunState::Cancelled);
    assert!(life.pipeline.cancel(&me(), id).await.is_err());
    let again = life.pipeline.retry(&me(), id).await.unwrap();
    assert_eq!(again.parent, Some(id));
    assert!(completed(&life.wait(again.id).await));
    assert_eq!(life.count("fhir.r4.patient").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_is_checked_against_the_tables_that_are_there() {
    let house = House::new();
    let life = hospital(&house).await;
    let wrong = PATIENT.replace("p.nom", "p.nomm");
    let problems = life.pipeline.check_mapping(&wrong).await.unwrap();
    assert!(problems.iter().any(|problem| problem.message.contains("nomm")), "{problems:?}");
    let missing = PATIENT.replace("hms_patient", "hms_patients");
    let problems = life.pipeline.check_mapping(&missing).await.unwrap();
    assert!(problems.iter().any(|problem| problem.message.contains("did you mean `hms_patient`")), "{problems:?}");
    assert!(life.pipeline.check_mapping(PATIENT).await.unwrap().is_empty());
    assert!(life.pipeline.apply_mapping(&me(), "x", &wrong).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mappings_are_suggested_from_a_discovery_alone() {
    let house = House::new();
    let life = hospital(&house).await;
    let genders = "source_code,target_code\nF,female\nM,male\n";
    life.pipeline.set_code_map(&me(), "administrative-gender", genders).await.unwrap();
    let suggestions = life.pipeline.suggest_mappings(&name("hms")).await.unwrap();
    let best = suggestions.first().unwrap();
    assert_eq!(best.mapping.resource.name(), "Patient");
    assert_eq!(life.pipeline.check_mapping(&best.mapping.to_toml()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_come_and_go_are_noticed_by_the_next_ingest() {
    let house = House::new();
    for folder in ["labs", "other"] {
        std::fs::create_dir_all(house.path(folder)).unwrap();
    }
    let file = |folder: &str, name: &str| house.path(folder).join(name);
    std::fs::write(file("labs", "a.csv"), "id,name\n1,x\n2,y\n").unwrap();
    std::fs::write(file("labs", "broken.parquet"), "no parquet").unwrap();
    std::fs::write(file("other", "c.csv"), "id,name\n1,x\n").unwrap();
    let life = house.start().await;
    let params = |folder: &str| serde_json::json!({"path": house.path(folder)});
    life.add("labs", "files", params("labs")).await;
    for _ in 0..2 {
        let run = life.ingest("labs").await;
        assert_eq!(run.state, RunState::CompletedWithWarnings, "a broken file is told every time");
        assert!(life.log(run.id).await.join("\n").contains("broken"));
    }
    std::fs::remove_file(file("labs", "broken.parquet")).unwrap();
    let run = life.ingest("labs").await;
    assert_eq!((run.state, run.counts.changed()), (RunState::Completed, false));

    std::fs::write(file("labs", "b.csv"), "id,name\n1,x\n2,y\n3,z\n").unwrap();
    assert_eq!(life.ingest("labs").await.state, RunState::Completed);
    assert_eq!(life.count("raw.labs.b").await, 3, "a new file is read");

    std::fs::remove_file(file("labs", "a.csv")).unwrap();
    let run = life.ingest("labs").await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    assert!(life.log(run.id).await.join("\n").contains("`a` is no longer in source `labs`"));
    assert_eq!(life.count("raw.labs.a").await, 2);
    assert_eq!(life.ingest("labs").await.state, RunState::Completed, "it is told once");

    let spec = SourceSpec { name: name("labs"), kind: "files".into(), params: params("other"), authoritative: false };
    life.pipeline.update_source(&me(), spec).await.unwrap();
    let run = life.ingest("labs").await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    assert_eq!(life.count("raw.labs.c").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_key_that_differ_are_told_and_equal_ones_are_not() {
    let house = House::new();
    let rows = "(1, 'P1', 'Durand'), (2, 'P1', 'Martin'), (3, 'P2', 'Petit'), (4, 'P2', 'Petit')";
    let insert = format!("INSERT INTO p VALUES {rows}");
    let table = "CREATE TABLE p (row_id INTEGER PRIMARY KEY, ipp TEXT, nom TEXT)";
    house.sqlite("hms.sqlite", &[table, insert.as_str()]).await;
    let life = house.start().await;
    life.add("hms", "sqlite", serde_json::json!({"path": house.path("hms.sqlite")})).await;
    life.pipeline.discover(&me(), &name("hms")).await.unwrap();
    let mapping = "version = 1\nresource = \"Patient\"\nfrom = \"processed.hms.p p\"\nkey = \"p.ipp\"\n[set]\n\"name[0].family\" = \"p.nom\"\n";
    life.pipeline.apply_mapping(&me(), "hms.p", mapping).await.unwrap();
    let run = life.ingest("hms").await;
    let fhir = life.counts(run.id, Step::ToFhir, "fhir.r4.patient").await;
    assert_eq!((fhir.read, fhir.inserted, fhir.deduplicated), (4, 2, 2));
    assert_eq!(run.state, RunState::CompletedWithWarnings);
    let log = life.log(run.id).await.join("\n");
    assert!(log.contains("1 keys name rows that differ; the last of each was kept"), "{log}");

    house.sqlite("hms.sqlite", &["UPDATE p SET nom = 'Martin' WHERE row_id = 1"]).await;
    let run = life.ingest("hms").await;
    assert_eq!(run.state, RunState::Completed, "{:?}", life.log(run.id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_changes_no_resource_publishes_no_snapshot() {
    let house = House::new();
    let life = hospital(&house).await;
    life.ingest("hms").await;
    let before = life.catalog.latest_snapshot().await.unwrap().unwrap();
    house.sqlite("hms.sqlite", &["UPDATE hms_patient SET poids = '62' WHERE patient_id = 1"]).await;
    let run = life.ingest("hms").await;
    assert_eq!(life.counts(run.id, Step::ToProcessed, "processed.hms.hms_patient").await.updated, 1);
    assert_eq!(life.catalog.latest_snapshot().await.unwrap().unwrap().id, before.id);
    house.sqlite("hms.sqlite", &["UPDATE hms_patient SET nom = 'Durant' WHERE patient_id = 1"]).await;
    life.ingest("hms").await;
    let after = life.catalog.latest_snapshot().await.unwrap().unwrap();
    let current = life.catalog.table(&"fhir.r4.patient".parse().unwrap()).await.unwrap();
    assert!(after.id > before.id);
    assert_eq!(after.versions[&current.id], life.version("fhir.r4.patient").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_key_whose_rows_differ_is_told_and_equal_rows_are_not() {
    let house = House::new();
    std::fs::write(house.path("c.csv"), "ipp,nom\nP1,Durand\nP1,Martin\nP2,Petit\nP2,Petit\n").unwrap();
    let life = house.start().await;
    let clean = serde_json::json!({"tables": {"c": {"key": ["ipp"]}}});
    life.add("labs", "files", serde_json::json!({"path": house.path("c.csv"), "clean": clean})).await;
    let run = life.ingest("labs").await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    let log = life.log(run.id).await.join("\n");
    assert!(log.contains("1 keys name rows that differ; the last of each was kept"), "{log}");
    assert!(!log.contains("Durand") && !log.contains("Martin") && !log.contains("P1"), "{log}");

    std::fs::write(house.path("c.csv"), "ipp,nom\nP1,Martin\nP2,Petit\nP2,Petit\n").unwrap();
    let run = life.ingest("labs").await;
    assert_eq!(run.state, RunState::Completed, "{:?}", life.log(run.id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_of_another_type_leaves_no_rows_of_before_behind() {
    let house = House::new();
    let path = house.path("notes.ndjson");
    std::fs::write(&path, "{\"v\":1,\"w\":\"a\"}\n{\"v\":2,\"w\":\"b\"}\n").unwrap();
    let life = house.start().await;
    life.add("files", "files", serde_json::json!({"path": path})).await;
    assert_eq!(life.ingest("files").await.state, RunState::Completed);
    for (content, values) in [
        ("{\"v\":1.5,\"w\":\"a\"}\n{\"v\":2,\"w\":\"b\"}\n", ["1.5", "2.0"]),
        ("{\"v\":\"x\",\"w\":\"a\"}\n{\"v\":2,\"w\":\"b\"}\n", ["2", "x"]),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(life.ingest("files").await.state, RunState::Completed);
        let found = life.ask("processed.files.notes", "SELECT v FROM t ORDER BY 1").await;
        assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), values);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_files_read_in_full_follows_what_was_changed_and_removed() {
    let house = House::new();
    std::fs::write(house.path("a.csv"), "id,v\n1,a\n3,c\n").unwrap();
    std::fs::write(house.path("b.csv"), "id,v\n2,b\n").unwrap();
    let life = house.start().await;
    life.add("files", "files", serde_json::json!({"path": house.path("*.csv"), "table": "t"})).await;
    life.ingest("files").await;
    std::fs::write(house.path("a.csv"), "id,v\n1,changed\n3,c\n").unwrap();
    std::fs::remove_file(house.path("b.csv")).unwrap();
    let run = life.ingest("files").await;
    assert!(run.error.unwrap().contains("ingest the table in full"));
    let full = mavis_pipeline::IngestRequest { full: true, ..request("files") };
    let run = life.pipeline.start_run(&me(), RunId::new(), full).await.unwrap();
    assert_eq!(life.wait(run.id).await.state, RunState::Completed);
    for zone in ["raw", "processed"] {
        let found = life.ask(&format!("{zone}.files.t"), "SELECT concat(id, v) FROM t ORDER BY 1").await;
        assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), ["1changed", "3c"], "{zone}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_which_nothing_can_be_read_fails_its_run() {
    let house = House::new();
    std::fs::write(house.path("t.xlsx"), "no workbook").unwrap();
    let life = house.start().await;
    life.add("files", "files", serde_json::json!({"path": house.path("t.xlsx")})).await;
    let run = life.ingest("files").await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.unwrap().contains("no table of `files` can be read; `t`: file `t.xlsx`"));
}

//! Files of FHIR resources straight into the FHIR zone, and FHIR-native sources through all of them.

use std::path::{Path, PathBuf};

use crate::support::*;
use bytes::Bytes;
use futures::{StreamExt, stream};
use mavis_catalog::{QuarantineState, Run, RunState, Step};
use mavis_pipeline::ImportOptions;
use mavis_types::RunId;

fn options(source: &str, authoritative: bool) -> ImportOptions {
    ImportOptions { source: name(source), authoritative, again: false }
}

async fn upload(life: &Life, options: &ImportOptions, file: &str, content: Vec<u8>) {
    let content = stream::iter([Ok(Bytes::from(content))]).boxed();
    life.pipeline.import_file(&me(), options, file, content).await.unwrap();
}

async fn land(life: &Life, options: &ImportOptions) -> Run {
    let run = life.pipeline.start_import(&me(), RunId::new(), options.clone()).await.unwrap();
    life.wait(run.id).await
}

fn bundle(entries: &[serde_json::Value]) -> Vec<u8> {
    serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes()
}

fn practitioner(id: &str, npi: &str, only_new: bool) -> serde_json::Value {
    let mut request = serde_json::json!({"method": "POST", "url": "Practitioner"});
    if only_new {
        request["ifNoneExist"] = format!("identifier=http://npi|{npi}").into();
    }
    serde_json::json!({
        "fullUrl": format!("urn:uuid:{id}"),
        "resource": {"resourceType": "Practitioner", "id": id, "identifier": [{"system": "http://npi", "value": npi}]},
        "request": request,
    })
}

fn encounter(id: &str, practitioner: &str) -> serde_json::Value {
    serde_json::json!({
        "fullUrl": format!("urn:uuid:{id}"),
        "resource": {
            "resourceType": "Encounter", "id": id, "status": "finished", "class": {"code": "IMP"},
            "participant": [{"individual": {"reference": practitioner}}],
        },
        "request": {"method": "POST", "url": "Encounter"},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_are_resolved_over_all_files_and_the_lake() {
    let house = House::new();
    let life = house.start().await;
    let options = options("set", true);
    let first = [
        encounter("e1", "Practitioner?identifier=http://npi|1"),
        encounter("e2", "urn:uuid:p2"),
        encounter("e3", "Practitioner?identifier=http://npi|9"),
    ];
    upload(&life, &options, "a.json", bundle(&first)).await;
    let second = [practitioner("p1", "1", true), practitioner("p2", "2", false), practitioner("p3", "1", true)];
    upload(&life, &options, "b.json", bundle(&second)).await;
    let run = land(&life, &options).await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    assert!(run.counts.balances(), "{:?}", run.counts);
    assert_eq!((run.counts.inserted, run.counts.deduplicated, run.counts.quarantined), (4, 1, 1));
    let refers = life.ask("fhir.r4.encounter", "SELECT resource FROM t ORDER BY id").await;
    assert!(refers[0].as_ref().unwrap().contains(r#""Practitioner/p1""#));
    assert!(refers[1].as_ref().unwrap().contains(r#""Practitioner/p2""#));
    let row = &life.quarantine().await[0];
    assert!(row.reason.contains("matches no resource"), "{}", row.reason);

    // A later import finds what the lake has.
    let later = self::options("later", true);
    let third = [practitioner("p4", "2", true), encounter("e4", "urn:uuid:p4")];
    upload(&life, &later, "c.json", bundle(&third)).await;
    let run = land(&life, &later).await;
    assert_eq!((run.counts.inserted, run.counts.deduplicated), (1, 1));
    let refers = life.ask("fhir.r4.encounter", "SELECT resource FROM t WHERE id = 'e4'").await;
    assert!(refers[0].as_ref().unwrap().contains(r#""Practitioner/p2""#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_again_changes_nothing_and_new_content_makes_a_version() {
    let house = House::new();
    let life = house.start().await;
    let options = options("lines", true);
    let lines = "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"male\"}\n{\"resourceType\":\"Patient\",\"id\":\"b\"}\n";
    upload(&life, &options, "p.ndjson", lines.into()).await;
    let run = land(&life, &options).await;
    assert_eq!(run.state, RunState::Completed, "{:?}", run.error);
    let exact = life.ask("fhir.r4.patient", "SELECT resource FROM t WHERE id = 'a'").await;
    assert_eq!(exact, [Some("{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"male\"}".to_owned())]);
    let before = life.versions().await;
    let run = land(&life, &options).await;
    assert_eq!((run.state, run.counts.read), (RunState::Completed, 0), "what has not changed is not read");
    assert_eq!(life.versions().await, before);
    let run = land(&life, &ImportOptions { again: true, ..options.clone() }).await;
    assert_eq!((run.counts.read, run.counts.unchanged), (2, 2));
    assert_eq!(life.versions().await, before);

    upload(&life, &options, "p.ndjson", lines.replace("male", "female").into()).await;
    let run = land(&life, &options).await;
    assert_eq!((run.counts.updated, run.counts.unchanged), (1, 1));
    assert_eq!(life.count("fhir.r4_history.patient").await, 3);
    let version = life.ask("fhir.r4.patient", "SELECT __version FROM t WHERE id = 'a'").await;
    assert_eq!(version, [Some("2".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_waits_in_quarantine_with_its_place() {
    let house = House::new();
    let life = house.start().await;
    let options = options("broken", true);
    upload(&life, &options, "half.json", bundle(&[practitioner("p1", "1", false)])[..60].to_vec()).await;
    let lines = "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n{\"resourceType\":\"Patient\",\"id\":\"b\",\"birthDate\":\"x\"}\nnot json\n{\"resourceType\":\"Nothing\"}\n{\"resourceType\":\"Patient\",\"id\":\"a b\"}\n";
    upload(&life, &options, "p.ndjson", lines.into()).await;
    let run = land(&life, &options).await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    assert_eq!((run.counts.read, run.counts.inserted, run.counts.quarantined), (6, 1, 5));
    let mut places: Vec<String> = life.quarantine().await.into_iter().map(|row| row.origin).collect();
    places.sort();
    assert_eq!(
        places,
        ["half.json entry 0", "p.ndjson line 2", "p.ndjson line 3", "p.ndjson line 4", "p.ndjson line 5"]
    );

    let row = life.quarantine().await.into_iter().find(|row| row.origin.ends_with("line 2")).unwrap();
    let corrected = row.payload.replace("\"x\"", "\"1980-01-01\"");
    let run = life.pipeline.replay(&me(), &[row.id], Some(&corrected)).await.unwrap();
    let run = life.wait(run.id).await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(life.count("fhir.r4.patient").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sources_id_is_refused_and_derived_ids_are_told_apart() {
    let house = House::new();
    let life = house.start().await;
    let line = "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n";
    for (source, authoritative) in [("one", true), ("two", true), ("three", false)] {
        let options = options(source, authoritative);
        upload(&life, &options, "p.ndjson", line.into()).await;
        let run = land(&life, &options).await;
        assert_eq!(run.counts.quarantined, u64::from(source == "two"), "{source}");
    }
    assert_eq!(life.count("fhir.r4.patient").await, 2);
    assert!(life.quarantine().await[0].reason.contains("belongs to a resource of source `one`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_that_share_one_id_are_told_apart_by_their_declared_key() {
    let house = House::new();
    let life = house.start().await;
    let reading = |patient: u32, day: u32, value: u32| {
        format!(
            "{{\"resourceType\":\"Observation\",\"id\":\"blood-pressure\",\"status\":\"final\",\"code\":{{\"coding\":[{{\"system\":\"http://loinc.org\",\"code\":\"85354-9\"}}]}},\"subject\":{{\"reference\":\"Patient/p{patient}\"}},\"effectiveDateTime\":\"2024-01-{day:02}T08:00:00Z\",\"component\":[{{\"code\":{{\"text\":\"systolic\"}},\"valueQuantity\":{{\"value\":{value}}}}}]}}\n"
        )
    };
    let lines: String =
        (0..20).flat_map(|patient| (1..=30).map(move |day| (patient, day))).map(|(p, d)| reading(p, d, 120)).collect();
    std::fs::write(house.path("bp.ndjson"), &lines).unwrap();
    let params = serde_json::json!({
        "path": house.path("bp.ndjson"),
        "keys": {"Observation": ["subject.reference", "code.coding[0].code", "effectiveDateTime"]},
    });
    life.add("bp", "fhir_files", params).await;
    let run = life.ingest("bp").await;
    assert!(completed(&run), "{:?}", run.error);
    for table in ["raw.bp.observation", "processed.bp.observation", "fhir.r4.observation"] {
        assert_eq!(life.count(table).await, 600, "{table}");
    }
    let fhir = life.counts(run.id, Step::ToFhir, "fhir.r4.observation").await;
    assert_eq!((fhir.read, fhir.inserted), (600, 600));
    let before = life.versions().await;
    life.ingest("bp").await;
    assert_eq!(life.versions().await, before);

    // Two more lines: a new reading and a correction of an old one.
    std::fs::write(house.path("bp.ndjson"), lines + &reading(99, 1, 130) + &reading(0, 1, 140)).unwrap();
    let run = life.ingest("bp").await;
    let fhir = life.counts(run.id, Step::ToFhir, "fhir.r4.observation").await;
    assert_eq!((fhir.inserted, fhir.updated), (1, 1));
    assert_eq!(life.count("fhir.r4.observation").await, 601);
}

/// The shared data beside the project; `None` where it is not there.
fn synthea() -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/synthea-120");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Some(files)
}

async fn synthetic(life: &Life, files: &[PathBuf]) -> Run {
    let options = options("synthea", true);
    for file in files {
        upload(life, &options, file.file_name().unwrap().to_str().unwrap(), std::fs::read(file).unwrap()).await;
    }
    land(life, &options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_the_synthetic_patients_lands_with_its_practitioners() {
    let Some(files) = synthea() else {
        println!("SKIPPED: ../shared/data/synthea-120 is not there");
        return;
    };
    let house = House::new();
    let life = house.start().await;
    let run = synthetic(&life, &files[..6]).await;
    assert!(completed(&run), "{:?}", run.error);
    assert!(run.counts.balances());
    assert_eq!(run.counts.quarantined, 0);
    assert_eq!(life.count("fhir.r4.practitioner").await, 195);
    assert_eq!(life.count("fhir.r4.patient").await, 4);
    let left = "SELECT count(*) FROM t WHERE resource LIKE '%Practitioner?identifier=%' OR resource LIKE '%urn:uuid:%'";
    assert_eq!(life.ask("fhir.r4.encounter", left).await, [Some("0".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_synthetic_patients_give_92114_resources_of_24_types() {
    let Some(files) = synthea() else {
        println!("SKIPPED: ../shared/data/synthea-120 is not there");
        return;
    };
    let house = House::new();
    let life = house.start().await;
    let began = std::time::Instant::now();
    let run = synthetic(&life, &files).await;
    println!("{:.1} s", began.elapsed().as_secs_f64());
    assert!(completed(&run), "{:?}", run.error);
    let mut total = 0;
    let tables = life.catalog.tables(Some(mavis_types::Zone::Fhir), Some("r4"), None, None).await.unwrap();
    assert_eq!(tables.len(), 24);
    for table in tables {
        total += life.count(&table.name.to_string()).await;
    }
    assert_eq!(total, 92_114);
    assert_eq!(life.count("fhir.r4.observation").await, 42_929);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_file_that_comes_again_whole_waits_no_longer() {
    let house = House::new();
    let life = house.start().await;
    let options = options("cut", true);
    let whole = bundle(&[practitioner("p1", "1", false)]);
    upload(&life, &options, "half.json", whole[..60].to_vec()).await;
    upload(&life, &options, "other.json", whole[..60].to_vec()).await;
    land(&life, &options).await;
    assert_eq!(life.quarantine().await.len(), 2);
    upload(&life, &options, "half.json", whole).await;
    let run = land(&life, &options).await;
    assert!(completed(&run), "{:?}", run.error);
    for row in life.quarantine().await {
        let expected = if row.origin.starts_with("half") { QuarantineState::Dropped } else { QuarantineState::Waiting };
        assert_eq!(row.state, expected, "{}", row.origin);
    }
    assert_eq!(life.count("fhir.r4.practitioner").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_files_that_changed_or_were_not_finished_with_are_read_again() {
    let house = House::new();
    let life = house.start().await;
    let options = options("set", true);
    let line = |id: &str, rest: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"{rest}}}\n").into_bytes();
    upload(&life, &options, "a.ndjson", line("a", ",\"gender\":\"male\"")).await;
    upload(&life, &options, "b.ndjson", line("b", "")).await;
    let waits = [encounter("e1", "Practitioner?identifier=http://npi|1"), encounter("e2", "urn:uuid:p9")];
    upload(&life, &options, "waits.json", bundle(&waits)).await;
    let run = land(&life, &options).await;
    assert_eq!((run.counts.inserted, run.counts.quarantined), (3, 1));
    let landed = async || {
        let files = life.pipeline.imported_files(&options).await.unwrap();
        files.into_iter().map(|file| (file.name, file.landed)).collect::<Vec<_>>()
    };
    let told = |name: &str, landed| (name.to_owned(), landed);
    assert_eq!(landed().await, [told("a.ndjson", true), told("b.ndjson", true), told("waits.json", false)]);

    // As long as before, and not the same; and what another file waits for.
    upload(&life, &options, "a.ndjson", line("a", ",\"gender\":\"malf\"")).await;
    upload(&life, &options, "p.json", bundle(&[practitioner("p1", "1", false)])).await;
    let run = land(&life, &options).await;
    assert_eq!((run.counts.inserted, run.counts.updated, run.counts.unchanged), (2, 1, 1), "{:?}", run.counts);
    assert_eq!(run.counts.quarantined, 0);
    assert!(landed().await.iter().all(|(_, landed)| *landed));
    let refers = life.ask("fhir.r4.encounter", "SELECT resource FROM t WHERE id = 'e1'").await;
    assert!(refers[0].as_ref().unwrap().contains("Practitioner/p1"));
    assert_eq!(life.quarantine().await[0].state, QuarantineState::Dropped);
}

#[rstest::rstest]
#[case(true)]
#[case(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_lead_into_files_that_are_not_read_again(#[case] authoritative: bool) {
    let house = House::new();
    let life = house.start().await;
    let options = options("set", authoritative);
    upload(&life, &options, "p.json", bundle(&[practitioner("p1", "1", false), practitioner("p2", "2", true)])).await;
    assert_eq!(land(&life, &options).await.counts.inserted, 2);
    let id =
        life.ask("fhir.r4.practitioner", "SELECT id FROM t WHERE resource LIKE '%\"2\"%'").await.remove(0).unwrap();
    let later = if authoritative { "urn:uuid:p2" } else { "Practitioner/p2" };
    upload(&life, &options, "e.json", bundle(&[encounter("e1", later)])).await;
    let run = land(&life, &options).await;
    assert_eq!((run.counts.read, run.counts.inserted), (1, 1), "{:?}", run.counts);
    let refers = life.ask("fhir.r4.encounter", "SELECT resource FROM t").await;
    assert!(refers[0].as_ref().unwrap().contains(&format!("\"Practitioner/{id}\"")), "{refers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_cut_off_lands_every_resource_once() {
    let house = House::new();
    let options = options("cut", true);
    let lines: String = (0..3_000)
        .map(|id| {
            let kind = ["Patient", "Practitioner", "Organization"][id % 3];
            format!("{{\"resourceType\":\"{kind}\",\"id\":\"r{id}\",\"language\":\"fr\"}}\n")
        })
        .collect();
    let first = RunId::new();
    {
        let life = house.start().await;
        upload(&life, &options, "all.ndjson", lines.into()).await;
        life.pipeline.start_import(&me(), first, options.clone()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    // Each life is cut off a little later, until one comes to the end.
    for life in 1..12_u64 {
        let house = house.start().await;
        let wait = std::time::Duration::from_millis(60 * life * life);
        if tokio::time::timeout(wait, house.wait(first)).await.is_ok() {
            break;
        }
    }
    let life = house.start().await;
    let run = life.wait(first).await;
    assert!(completed(&run), "{:?}", run.error);
    for table in ["patient", "practitioner", "organization"] {
        assert_eq!(life.count(&format!("fhir.r4.{table}")).await, 1_000);
        assert_eq!(life.count(&format!("fhir.r4_history.{table}")).await, 1_000, "one version of each");
    }
    let versions = life.versions().await;
    assert_eq!(land(&life, &options).await.counts.read, 0);
    assert_eq!(life.versions().await, versions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_leaves_the_newest_version_and_its_deletions() {
    let house = House::new();
    let life = house.start().await;
    let options = options("history", true);
    let patient = |id: &str, active: bool| {
        serde_json::json!({
            "resource": {"resourceType": "Patient", "id": id, "active": active},
            "request": {"method": "PUT", "url": format!("Patient/{id}")},
        })
    };
    let entries = [
        patient("kept", true),
        patient("kept", false),
        serde_json::json!({"request": {"method": "DELETE", "url": "Patient/gone"}}),
        patient("gone", true),
    ];
    let history = serde_json::json!({"resourceType": "Bundle", "type": "history", "entry": entries});
    // Lists of Bundles and of resources come, too.
    let list = serde_json::json!([history, {"resourceType": "Patient", "id": "single"}]);
    upload(&life, &options, "history.json", list.to_string().into_bytes()).await;
    let run = land(&life, &options).await;
    assert_eq!(run.counts.quarantined, 0, "{:?}", life.log(run.id).await);
    let found = life
        .ask("fhir.r4.patient", "SELECT concat(id, ' ', CAST(coalesce(active, true) AS VARCHAR)) FROM t ORDER BY 1")
        .await;
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), ["kept true", "single true"]);
}

//! Rows that could not become resources: what a person reads of them, and when they are done with.

use crate::support::*;
use bytes::Bytes;
use futures::{StreamExt, stream};
use mavis_catalog::{QuarantineState, Quarantined, Run, RunState, Step};
use mavis_pipeline::ImportOptions;
use mavis_types::RunId;
use rstest::rstest;

const MAPPING: &str = "version = 1\nresource = \"Patient\"\nfrom = \"processed.hms.p p\"\nkey = \"p.id\"\n[set]\n\
                       \"name[0].family\" = \"p.nom\"\n\"birthDate\" = \"p.ne\"\n";

/// Three people, one of whose births is no date; `JOINED`: through a mapping that is computed as a whole each time.
async fn people(house: &House, mapping: &str) -> Life {
    let statements = [
        "CREATE TABLE p (id INTEGER PRIMARY KEY, nom TEXT, ne TEXT)",
        "INSERT INTO p VALUES (4711, 'A', '1980-03-14'), (4712, 'B', 'jamais'), (4713, 'C', 'inconnue')",
    ];
    house.sqlite("hms.sqlite", &statements).await;
    let life = house.start().await;
    let clean = serde_json::json!({"tables": {"p": {"columns": {"ne": {"to": "keep"}}}}});
    life.add("hms", "sqlite", serde_json::json!({"path": house.path("hms.sqlite"), "clean": clean})).await;
    life.pipeline.discover(&me(), &name("hms")).await.unwrap();
    life.pipeline.apply_mapping(&me(), "hms.p", mapping).await.unwrap();
    let run = life.ingest("hms").await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    life
}

async fn row(life: &Life, word: &str) -> Quarantined {
    life.quarantine().await.into_iter().find(|row| row.payload.contains(word)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_shown_under_the_names_of_its_mapping_and_the_key_of_its_source() {
    let house = House::new();
    let life = people(&house, MAPPING).await;
    let row = row(&life, "jamais").await;
    assert_eq!((row.step, row.origin.as_str()), (Step::ToFhir, "hms.p key 4712"));
    let payload: serde_json::Value = serde_json::from_str(&row.payload).unwrap();
    assert_eq!(payload["name[0].family"], "B");
    assert_eq!(payload["birthDate"], "jamais");
    assert_eq!(payload["p.id"], 4712);
    assert!(!row.payload.contains("set_") && !row.payload.contains("key_"), "{}", row.payload);

    let run = life.pipeline.replay(&me(), &[row.id], None).await.unwrap();
    let run = life.wait(run.id).await;
    assert!(run.error.as_ref().unwrap().contains("correct it where it came from"), "{:?}", run.error);
}

#[rstest]
#[case("UPDATE p SET ne = '1955-05-05' WHERE id = 4712", MAPPING, 2)]
#[case("DELETE FROM p WHERE id = 4712", MAPPING, 1)]
// Two tables: computed as a whole.
#[case("UPDATE p SET ne = '1955-05-05' WHERE id = 4712", &MAPPING.replace("hms.p p", "hms.p p JOIN processed.hms.p q ON q.id = p.id"), 2)]
#[case("DELETE FROM p WHERE id = 4712", &MAPPING.replace("hms.p p", "hms.p p JOIN processed.hms.p q ON q.id = p.id"), 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_corrected_or_deleted_at_the_source_waits_no_longer(
    #[case] change: &str,
    #[case] mapping: &str,
    #[case] resources: u64,
) {
    let house = House::new();
    let life = people(&house, mapping).await;
    assert_eq!(life.quarantine().await.len(), 2);
    house.sqlite("hms.sqlite", &[change]).await;
    let run = life.ingest("hms").await;
    assert!(completed(&run), "{:?}", run.error);
    assert_eq!(life.count("fhir.r4.patient").await, resources);
    assert_eq!(row(&life, "jamais").await.state, QuarantineState::Dropped);
    assert_eq!(row(&life, "inconnue").await.state, QuarantineState::Waiting, "nobody corrected it");
    assert_eq!(life.quarantine().await.len(), 2, "what waits is not set aside again");
}

fn options(source: &str) -> ImportOptions {
    ImportOptions { source: name(source), authoritative: true, again: false }
}

async fn import(life: &Life, source: &str, file: &str, content: &str) -> Run {
    let bytes = Bytes::from(content.to_owned());
    life.pipeline.import_file(&me(), &options(source), file, stream::iter([Ok(bytes)]).boxed()).await.unwrap();
    let run = life.pipeline.start_import(&me(), RunId::new(), options(source)).await.unwrap();
    life.wait(run.id).await
}

fn patient(id: &str, birth: &str) -> String {
    format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\",\"birthDate\":\"{birth}\"}}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_resource_is_not_replayed_over_a_newer_one() {
    let house = House::new();
    let life = house.start().await;
    import(&life, "one", "p.ndjson", &(patient("a", "x") + &patient("b", "y"))).await;
    let (a, b) = (row(&life, "\"x\"").await, row(&life, "\"y\"").await);
    // Corrected under another name: the first file is not read again.
    import(&life, "one", "later.ndjson", &patient("a", "1990-01-01")).await;
    assert_eq!(row(&life, "\"x\"").await.state, QuarantineState::Dropped);
    // As an earlier server left it.
    life.catalog.set_quarantine_state(a.id, QuarantineState::Waiting).await.unwrap();
    let run = life.pipeline.replay(&me(), &[a.id], Some(patient("a", "1980-01-01").trim())).await.unwrap();
    let run = life.wait(run.id).await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.as_ref().unwrap().contains("is older than version 1 of its resource"), "{:?}", run.error);
    let birth = life.ask("fhir.r4.patient", "SELECT \"birthDate\" FROM t WHERE id = 'a'").await;
    assert_eq!(birth, [Some("1990-01-01".to_owned())]);

    // What nothing newer stands for may be replayed, and then a newer one replaces it.
    let run = life.pipeline.replay(&me(), &[b.id], Some(patient("b", "1970-01-01").trim())).await.unwrap();
    assert!(completed(&life.wait(run.id).await));
    assert_eq!(row(&life, "\"y\"").await.state, QuarantineState::Replayed);
    assert_eq!(life.count("fhir.r4.patient").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_again_without_its_bad_line_closes_it_and_no_other_sources() {
    let house = House::new();
    let life = house.start().await;
    for source in ["one", "two"] {
        import(&life, source, "p.ndjson", &(patient(&format!("{source}-a"), "1980") + &patient("bad", "x"))).await;
    }
    assert_eq!(life.quarantine().await.len(), 2, "each source has its own");
    import(&life, "one", "p.ndjson", &patient("one-a", "1981")).await;
    let mut states: Vec<_> = life.quarantine().await.into_iter().map(|row| (row.id, row.state)).collect();
    states.sort_by_key(|(id, _)| *id);
    let states: Vec<_> = states.into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [QuarantineState::Dropped, QuarantineState::Waiting]);
}

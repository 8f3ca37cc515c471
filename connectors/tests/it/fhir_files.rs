//! `fhir_files` on generated files: the contract, and what becomes of files that are broken.

use std::{fs, io::Write, path::Path, sync::Arc};

use arrow::array::{Array, AsArray};
use mavis_connectors::{
    ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, TableKind, TableRef,
    testkit::{Expectation, Reading, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use serde_json::json;
use tempfile::TempDir;

fn connect(path: &str, more: serde_json::Value) -> Arc<dyn Source> {
    let mut params = json!({ "path": path });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec =
        SourceSpec { name: SourceName::new("t").unwrap(), kind: "fhir_files".to_owned(), params, authoritative: false };
    Registry::built_in().connect(&spec, &Secrets::from_pairs([])).unwrap()
}

fn source(path: &Path) -> Arc<dyn Source> {
    connect(path.to_str().unwrap(), json!({}))
}

fn observation(number: usize) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"bp","subject":{{"reference":"Patient/{number}"}},"valueQuantity":{{"value":1.{number}0}}}}"#
    )
}

fn bundle(patients: usize) -> String {
    let entries: Vec<String> = (0..patients)
        .map(|number| {
            format!(
                r#"{{"fullUrl":"urn:uuid:{number}","resource":{{"resourceType":"Patient","id":"{number}"}},"request":{{"method":"POST","url":"Patient"}}}},{{"resource":{}}}"#,
                observation(number)
            )
        })
        .collect();
    format!("{{\n\"resourceType\":\"Bundle\",\n\"type\":\"transaction\",\n\"entry\":[\n{}\n]}}", entries.join(",\n"))
}

fn bz2(text: &str) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn read(source: &dyn Source, table: &str, from: Option<Cursor>) -> Reading {
    let table = TableRef { schema: None, name: table.to_owned() };
    read_all(source, ReadRequest { from, ..ReadRequest::whole(table) }).await.unwrap()
}

fn end(reading: &Reading) -> Option<Cursor> {
    reading.cursors.last().map(|(cursor, _, _)| cursor.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_over_ndjson_bundles_and_compressed_files() {
    let folder = TempDir::new().unwrap();
    let lines: String = (0..30).map(|number| observation(number) + "\n").collect();
    fs::write(folder.path().join("a.ndjson"), lines + "\nbroken\n{\"resourceType\":\"Observation\",\n{\"id\":1}\n")
        .unwrap();
    fs::write(folder.path().join("b.json.bz2"), bz2(&bundle(9))).unwrap();
    fs::write(folder.path().join("c.json"), r#"{"resourceType":"Patient","id":"alone"}"#).unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::write(folder.path().join("below/d.ndjson"), bundle(2).replace('\n', "") + "\n" + &observation(5)).unwrap();
    let expectation = Expectation::default()
        .table_with_rejects("Observation", 30 + 9 + 2 + 1, 1)
        .table("Patient", 9 + 1 + 2)
        .table_with_rejects("unreadable", 0, 2);
    assert_contract(source(folder.path()).as_ref(), expectation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_a_large_file_that_is_streamed() {
    let folder = TempDir::new().unwrap();
    let padding = "x".repeat(100_000);
    let lines: String = (0..90)
        .map(|number| format!(r#"{{"resourceType":"Patient","id":"{number}","language":"{padding}"}}"#) + "\n")
        .collect();
    fs::write(folder.path().join("a.ndjson"), lines).unwrap();
    assert_contract(source(folder.path()).as_ref(), Expectation::default().table("Patient", 90)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_keeps_its_text_and_its_place_in_the_bundle() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("b.json"), bundle(2)).unwrap();
    let source = source(folder.path());
    let tables = source.discover(&Selection::default()).await.unwrap().tables;
    assert!(tables.iter().all(|table| table.kind == TableKind::Resources && table.mode == ReadMode::Append));
    let batch = read(source.as_ref(), "Observation", None).await.as_one_batch().unwrap();
    assert_eq!(batch.column_by_name("resource").unwrap().as_string::<i32>().value(1), observation(1));
    assert_eq!(
        batch.column_by_name("position").unwrap().as_primitive::<arrow::datatypes::Int64Type>().values(),
        &[2, 4]
    );
    let patients = read(source.as_ref(), "Patient", None).await.as_one_batch().unwrap();
    assert_eq!(patients.column_by_name("bundle_full_url").unwrap().as_string::<i32>().value(1), "urn:uuid:1");
    assert_eq!(patients.column_by_name("bundle_method").unwrap().as_string::<i32>().value(1), "POST");
    assert!(patients.column_by_name("if_none_exist").unwrap().is_null(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_cut_in_half_is_refused_whole() {
    let folder = TempDir::new().unwrap();
    let text = bundle(10);
    fs::write(folder.path().join("cut.json"), &text[..text.len() / 2]).unwrap();
    fs::write(folder.path().join("cut.json.bz2"), &bz2(&text)[..60]).unwrap();
    let source = source(folder.path());
    let tables = source.discover(&Selection::default()).await.unwrap().tables;
    assert_eq!(tables.iter().map(|table| table.table.name.as_str()).collect::<Vec<_>>(), ["unreadable"]);
    let reading = read(source.as_ref(), "unreadable", None).await;
    assert!(reading.rows.is_empty());
    assert_eq!(reading.rejects.len(), 2);
    let (origin, reason, payload) = &reading.rejects[0];
    assert_eq!(origin, "cut.json 1");
    assert!(reason.starts_with("Bundle ends in the middle of entry 1"), "{reason}");
    assert_eq!(payload, &text[..text.len() / 2]);
    assert!(reading.rejects[1].1.contains("broken or cut"), "{:?}", reading.rejects[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_and_appended_lines_are_read_on_and_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.ndjson");
    let half = &observation(2)[..40];
    fs::write(&path, format!("{}\n{half}", observation(1))).unwrap();
    let first = read(source(folder.path()).as_ref(), "Observation", None).await;
    assert_eq!((first.rows.len(), first.rejects.len()), (1, 1), "a line that is still being written waits");

    let again = read(source(folder.path()).as_ref(), "Observation", end(&first)).await;
    assert_eq!((again.rows.len(), again.rejects.len()), (0, 0), "nothing has changed");

    fs::write(&path, format!("{}\n{}\n{}\n", observation(1), observation(2), observation(3))).unwrap();
    fs::write(folder.path().join("b.ndjson"), observation(4)).unwrap();
    let second = read(source(folder.path()).as_ref(), "Observation", end(&again)).await;
    assert_eq!(second.rows.len(), 3, "{:?}", second.rows);
    assert!(second.rows[0].contains("position=2") && second.rows[0].contains("Patient/2"), "{:?}", second.rows);

    fs::write(&path, format!("{}\n", observation(9))).unwrap();
    let third = read(source(folder.path()).as_ref(), "Observation", end(&second)).await;
    assert_eq!(third.rows.len(), 1, "a file that is another one is read whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_key_becomes_columns_and_its_lack_a_reject() {
    let folder = TempDir::new().unwrap();
    let lines = format!("{}\n{}\n{{\"resourceType\":\"Observation\",\"id\":\"bp\"}}\n", observation(1), observation(2));
    fs::write(folder.path().join("a.ndjson"), lines).unwrap();
    let source = connect(
        folder.path().to_str().unwrap(),
        json!({"keys": {"Observation": ["subject.reference", "effectiveDateTime"]}}),
    );
    let table = source.discover(&Selection::default()).await.unwrap().tables.remove(0);
    assert_eq!(table.key, ["key_1", "key_2"]);
    let reading = read(source.as_ref(), "Observation", None).await;
    let batch = reading.as_one_batch().unwrap();
    assert_eq!(batch.column_by_name("key_1").unwrap().as_string::<i32>().value(1), "Patient/2");
    assert!(batch.column_by_name("key_2").unwrap().is_null(0));
    assert_eq!(reading.rejects[0].1, "the resource has no value of the declared key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_fails_the_check_at_reading() {
    let folder = TempDir::new().unwrap();
    let source = source(&folder.path().join("nowhere"));
    let stages = source.check().await;
    assert_eq!(stages.last().unwrap().stage, mavis_connectors::Stage::Read);
    assert!(stages.last().unwrap().message.contains("no file is there"), "{stages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_synthea_bundles_give_every_resource_of_every_type() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/synthea-120"));
    if !folder.is_dir() {
        assert!(std::env::var("CI").is_err(), "{} is absent", folder.display());
        println!("skipped: {} is absent", folder.display());
        return;
    }
    let source = source(folder);
    let tables = source.discover(&Selection::default()).await.unwrap().tables;
    assert_eq!(tables.len(), 24);
    assert_eq!(tables.iter().filter_map(|table| table.row_estimate).sum::<u64>(), 92_114);
    let reading = read(source.as_ref(), "Observation", None).await;
    assert_eq!((reading.rows.len(), reading.rejects.len()), (42_929, 0));
}

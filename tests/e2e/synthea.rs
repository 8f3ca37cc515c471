//! The 120 synthetic patients, imported whole.

use std::{collections::BTreeMap, fs, io::Read};

use bzip2::read::BzDecoder;
use mavis_tests::{Server, shared};
use serde_json::Value;

#[tokio::test]
async fn an_import_of_120_patients_holds_every_resource_once_with_its_references_resolved() {
    let Some(folder) = shared("data/synthea-120") else { return };
    let server = Server::start().await.unwrap();
    let path = folder.to_str().unwrap();
    server.mavis(&["fhir", "import", path]).unwrap().ok().unwrap();

    let mut truth: BTreeMap<String, i64> = BTreeMap::new();
    let mut female = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        let mut text = String::new();
        BzDecoder::new(file).read_to_string(&mut text).unwrap();
        let bundle: Value = serde_json::from_str(&text).unwrap();
        for entry in bundle["entry"].as_array().unwrap() {
            let kind = entry["resource"]["resourceType"].as_str().unwrap();
            *truth.entry(kind.to_owned()).or_default() += 1;
            female += i64::from(kind == "Patient" && entry["resource"]["gender"] == "female");
        }
    }
    assert_eq!(truth.values().sum::<i64>(), 92_114);
    let mut total = 0;
    for (kind, expected) in &truth {
        let table = kind.to_lowercase();
        let found = server.count(&format!("SELECT count(*) FROM {table}")).await.unwrap();
        assert_eq!(found, *expected, "{kind}");
        total += found;
    }
    assert_eq!(total, 92_114);
    assert_eq!(server.count("SELECT count(*) FROM observation").await.unwrap(), 42_929);

    let dangling =
        "SELECT count(*) FROM observation WHERE resource LIKE '%urn:uuid:%' OR resource LIKE '%?identifier=%'";
    assert_eq!(server.count(dangling).await.unwrap(), 0, "every reference points at Type/id");
    let orphans =
        "SELECT count(*) FROM encounter e LEFT ANTI JOIN patient p ON e.subject['reference'] = 'Patient/' || p.id";
    assert_eq!(server.count(orphans).await.unwrap(), 0, "every encounter's subject is there");
    let answer = server.get("/fhir/Patient?gender=female&_summary=count").await.unwrap();
    assert_eq!(answer.json().unwrap()["total"], female, "{}", answer.text());

    // Again: the same files change nothing.
    server.mavis(&["fhir", "import", path]).unwrap().ok().unwrap();
    assert_eq!(server.count("SELECT count(*) FROM fhir.r4_history.observation").await.unwrap(), 42_929);
}

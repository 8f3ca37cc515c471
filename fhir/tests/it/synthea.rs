//! The 120 synthetic patients: every resource is read, valid, encoded and written back.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use arrow::array::{Array, AsArray};
use bzip2::read::MultiBzDecoder;
use chrono::DateTime;
use mavis_fhir::{
    ResourceType,
    bundle::{self, Condition},
    json::{self, Value},
    shape::{self, Encoder, Meta},
    validate::{self, Severity},
};

/// Files of the data set; none, with a word, where it is absent.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/synthea-120"));
    let Ok(entries) = fs::read_dir(folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the data set synthea-120 is missing");
        println!("skipped: the data set synthea-120 is missing");
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "bz2"));
    files.sort();
    files
}

#[derive(Default)]
struct Seen {
    resources: BTreeMap<ResourceType, usize>,
    patients: usize,
    conditional: usize,
    warnings: BTreeMap<String, usize>,
}

fn read(file: &Path, seen: &Mutex<Seen>) {
    let mut text = Vec::new();
    MultiBzDecoder::new(fs::File::open(file).unwrap()).read_to_end(&mut text).unwrap();
    let whole = json::parse(&text).unwrap();
    let written = whole.to_json();
    let reference: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), reference);

    let mut mine = Seen::default();
    let mut encoders: BTreeMap<ResourceType, (Encoder, Vec<String>)> = BTreeMap::new();
    for entry in bundle::entries(whole).unwrap() {
        let resource = entry.resource.unwrap();
        let resource_type = validate::resource_type(&resource).unwrap();
        for issue in validate::validate(resource_type, &resource) {
            assert!(issue.severity == Severity::Warning, "{}: {issue:?}", file.display());
            *mine.warnings.entry(issue.message).or_default() += 1;
        }
        bundle::for_each_reference(&resource, &mut |reference| {
            mine.conditional += usize::from(Condition::parse(reference).is_some());
        });
        let text = resource.to_json();
        let again = json::parse(text.as_bytes()).unwrap();
        assert_eq!(again, resource);
        assert_eq!(shape::content_hash(&again), shape::content_hash(&resource));
        let (encoder, texts) =
            encoders.entry(resource_type).or_insert_with(|| (Encoder::new(resource_type, None), Vec::new()));
        assert_eq!(encoder.push(&resource, &text, &meta(&resource)), 0, "{resource_type} in {}", file.display());
        texts.push(text);
    }
    for (resource_type, (encoder, texts)) in encoders {
        let batch = encoder.finish().unwrap();
        assert_eq!(batch.num_rows(), texts.len());
        let column = batch.column_by_name("resource").unwrap().as_string::<i32>();
        assert!(column.iter().flatten().eq(texts.iter().map(String::as_str)));
        mine.patients += usize::from(resource_type.name() == "Patient") * texts.len();
        if resource_type.name() == "Observation" {
            assert_eq!(batch.column_by_name("code").unwrap().null_count(), 0);
            assert_eq!(batch.column_by_name("effectiveDateTime__start").unwrap().null_count(), 0);
        }
        mine.resources.insert(resource_type, texts.len());
    }
    let mut seen = seen.lock().unwrap();
    for (resource_type, count) in mine.resources {
        *seen.resources.entry(resource_type).or_default() += count;
    }
    for (message, count) in mine.warnings {
        *seen.warnings.entry(message).or_default() += count;
    }
    seen.conditional += mine.conditional;
    seen.patients += mine.patients;
}

fn meta<'a>(resource: &'a Value<'_>) -> Meta<'a> {
    let id = resource.get_str("id").unwrap();
    let hash = shape::content_hash(resource);
    Meta { id, version: 1, last_updated: DateTime::UNIX_EPOCH, source: "synthea", run: "run", hash }
}

#[test]
fn all_resources_are_read_valid_encoded_and_written_back() {
    let files = files();
    if files.is_empty() {
        return;
    }
    let seen = Mutex::new(Seen::default());
    let next = Mutex::new(files.iter());
    let take = || next.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = take() {
                    read(file, &seen);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.resources.values().sum::<usize>(), 92_114);
    assert_eq!(seen.resources.len(), 24);
    assert_eq!(seen.resources[&"Observation".parse().unwrap()], 42_929);
    assert_eq!(seen.conditional, 83_100);
    println!("{} patients, warnings: {:#?}", seen.patients, seen.warnings);
}

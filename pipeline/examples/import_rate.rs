//! How fast files of FHIR resources land in the FHIR zone, and how fast a hundredth of them that changed does.
//!
//! `cargo run --profile demo -p mavis-pipeline --example import_rate -- FOLDER [COPIES]`: every file of the folder, one resource
//! to a line, in COPIES copies under ids of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "an example that may fail")]

use std::{collections::HashMap, path::Path, time::Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use mavis_catalog::Catalog;
use mavis_connectors::{Registry, Secrets};
use mavis_lake::{Lake, LakeOptions};
use mavis_pipeline::{ImportOptions, Pipeline, PipelineOptions, RunEvent};
use mavis_types::{Principal, Role, RunId, Scope, SourceName, TokenId};

const CHUNK: usize = 256 << 10;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let from = arguments.next().expect("a folder of NDJSON files");
    let copies: usize = arguments.next().map_or(1, |copies| copies.parse().expect("a number of copies"));
    let house = tempfile::tempdir().unwrap();
    let (full, changed) = (house.path().join("full"), house.path().join("changed"));
    let resources = write_files(Path::new(&from), copies, &full, &changed);
    let bytes: u64 = std::fs::read_dir(&full).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();

    let pipeline = start(house.path()).await;
    let time = import(&pipeline, &full).await;
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = resources as f64 / time;
    println!("{resources} resources, {} MB: {time:.2} s, {rate:.0}/s; peak {} MB", bytes >> 20, peak_mb());
    let merge = import(&pipeline, &changed).await;
    println!("a hundredth of them changed: {merge:.2} s, {:.1} % of the whole", 100.0 * merge / time);
    pipeline.stop().await;
}

/// Writes the copies, and each hundredth line once more with a change; answers how many resources there are.
fn write_files(from: &Path, copies: usize, full: &Path, changed: &Path) -> usize {
    std::fs::create_dir_all(full).unwrap();
    std::fs::create_dir_all(changed).unwrap();
    let mut resources = 0;
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (mut all, mut some) = (String::new(), String::new());
        for copy in 0..copies {
            for line in text.lines().filter(|line| !line.is_empty()) {
                // Ids and references end in a quotation mark: every copy is a graph of its own.
                let line = if copy == 0 { line.to_owned() } else { renamed(line, copy) };
                all.push_str(&line);
                all.push('\n');
                if resources % 100 == 50 {
                    some.push_str(&line.replacen('{', "{\"language\":\"fr\",", 1));
                    some.push('\n');
                }
                resources += 1;
            }
        }
        let name = path.file_name().unwrap();
        std::fs::write(full.join(name), all).unwrap();
        if !some.is_empty() {
            std::fs::write(changed.join(name), some).unwrap();
        }
    }
    resources
}

/// Gives every UUID of a line other first digits.
fn renamed(line: &str, copy: usize) -> String {
    let mut bytes = line.as_bytes().to_vec();
    let mut at = 0;
    while at + 36 <= bytes.len() {
        let is_uuid = bytes[at..at + 36].iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        if is_uuid {
            bytes[at..at + 4].copy_from_slice(format!("{copy:04x}").as_bytes());
            at += 36;
        } else {
            at += 1;
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn start(folder: &Path) -> Pipeline {
    for name in ["lake", "spill", "spool"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let catalog = Catalog::open(&format!("sqlite://{}", folder.join("catalog.sqlite").display())).await.unwrap();
    let options = LakeOptions {
        url: url::Url::from_directory_path(folder.join("lake")).unwrap(),
        storage: HashMap::new(),
        memory_bytes: 1 << 30,
        pages_bytes: 0,
        spill_dir: folder.join("spill"),
        partitions: 2,
        server: "example".to_owned(),
    };
    let lake = Lake::open(options, catalog.clone()).await.unwrap();
    let options = PipelineOptions { workers: 2, tables_per_run: 2, spool: folder.join("spool"), attempts: 1 };
    Pipeline::start(catalog, lake, Registry::built_in(), Secrets::from_pairs([]), options).await.unwrap()
}

async fn import(pipeline: &Pipeline, folder: &Path) -> f64 {
    let by = Principal::new(TokenId::new(), "example", Role::Admin, Scope::All);
    let name = folder.file_name().unwrap().to_str().unwrap();
    let options = ImportOptions { source: SourceName::new("example").unwrap(), authoritative: true, again: false };
    let began = Instant::now();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let content = Bytes::from(std::fs::read(&path).unwrap());
        let chunks: Vec<_> =
            (0..content.len()).step_by(CHUNK).map(|at| Ok(content.slice(at..content.len().min(at + CHUNK)))).collect();
        let named = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
        pipeline.import_file(&by, &options, &named, stream::iter(chunks).boxed()).await.unwrap();
    }
    println!("{name}: taken in after {:.2} s", began.elapsed().as_secs_f64());
    let run = pipeline.start_import(&by, RunId::new(), options).await.unwrap();
    let mut events = pipeline.watch(run.id).await.unwrap();
    while let Some(event) = events.next().await {
        match event {
            RunEvent::Log(line) => println!("  {:.2} s: {}", began.elapsed().as_secs_f64(), line.message),
            RunEvent::State { state, counts, .. } => {
                println!("  {:.2} s: {state:?} {counts:?}", began.elapsed().as_secs_f64())
            }
            _ => {}
        }
    }
    began.elapsed().as_secs_f64()
}

/// The most memory that the process ever had, in MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) >> 10
}

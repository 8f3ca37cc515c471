//! FHIR import: 92,114 resources as NDJSON, warm cache, to queryable Delta (history, typed columns, published snapshot).
//! Floor: the same bytes parsed by serde_json into nothing, on one thread.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};
use mavis_bench::{Figure, as_ndjson};
use mavis_tests::{Server, shared};

#[tokio::main]
async fn main() -> Result<()> {
    let Some(bundles) = shared("data/synthea-120") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let resources = as_ndjson(&bundles, folder.path()).await?;

    let start = Instant::now();
    let mut bytes = 0;
    for file in fs::read_dir(folder.path())? {
        let text = fs::read(file?.path())?;
        bytes += text.len();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<serde::de::IgnoredAny>(line)?;
        }
    }
    let floor = start.elapsed();

    let server = Server::start().await?;
    let start = Instant::now();
    server.mavis(&["fhir", "import", folder.path().to_str().context("not UTF-8")?])?.ok()?;
    let import = start.elapsed();
    let observations = server.count("SELECT count(*) FROM observation").await?;
    ensure!(observations == 42_929, "{observations} observations");

    let rate = |time: std::time::Duration| f64::from(resources) / time.as_secs_f64();
    println!("{resources} resources, {} MB of NDJSON", bytes >> 20);
    let floor_figure =
        Figure { what: "floor: serde_json into nothing".into(), value: format!("{:.0}/s", rate(floor)), ratio: None };
    println!("{floor_figure}");
    let figure = Figure {
        what: "mavis fhir import, upload to snapshot".into(),
        value: format!("{:.0}/s", rate(import)),
        ratio: Some(("the floor's time".into(), import.as_secs_f64() / floor.as_secs_f64())),
    };
    println!("{figure}");
    Ok(())
}

//! FHIR import: 92,114 resources as NDJSON, warm cache, to queryable Delta (history, typed columns, published snapshot); then
//! a hundredth of them once more, changed; then the same folder again, unchanged. `fhir_import COPIES`: each patient that many
//! times, under ids of their own. Floor: the same bytes parsed by serde_json into nothing, on one thread.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mavis_bench::{Figure, as_ndjson, copy};
use mavis_tests::{Server, shared};

#[tokio::main]
async fn main() -> Result<()> {
    let Some(bundles) = shared("data/synthea-120") else { return Ok(()) };
    let copies = std::env::args().nth(1).map_or(Ok(1), |copies| copies.parse())?;
    let (once, folder, changed) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    as_ndjson(&bundles, once.path()).await?;
    let resources = write_files(once.path(), folder.path(), changed.path(), copies)?;

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
    let import = import(&server, folder.path())?;
    let observations = server.count("SELECT count(*) FROM observation").await?;
    ensure!(observations == 42_929 * i64::from(copies), "{observations} observations");
    let merge = self::import(&server, changed.path())?;
    let versions = server.count("SELECT count(*) FROM fhir.r4_history.observation").await?;
    ensure!(versions > observations, "nothing was changed");
    let again = self::import(&server, folder.path())?;

    let rate = |time: Duration| f64::from(resources) / time.as_secs_f64();
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
    for (what, time) in [("a hundredth of them, changed", merge), ("the same folder again, unchanged", again)] {
        let ratio = Some(("the import's time".into(), time.as_secs_f64() / import.as_secs_f64()));
        println!("{}", Figure { what: what.into(), value: format!("{:.0} ms", time.as_secs_f64() * 1e3), ratio });
    }
    Ok(())
}

fn import(server: &Server, folder: &Path) -> Result<Duration> {
    let start = Instant::now();
    server.mavis(&["fhir", "import", folder.to_str().context("not UTF-8")?, "--source", "bench"])?.ok()?;
    Ok(start.elapsed())
}

/// Writes the copies, and every hundredth resource once more with a change. Answers the number of resources.
fn write_files(once: &Path, folder: &Path, changed: &Path, copies: u16) -> Result<u32> {
    let mut resources = 0;
    for file in fs::read_dir(once)? {
        let from = file?.path();
        let name = from.file_name().context("no name")?.to_string_lossy().into_owned();
        copy(&from, &folder.join(&name), copies)?;
        let mut differing = BufWriter::new(File::create(changed.join(format!("changed-{name}")))?);
        for line in BufReader::new(File::open(folder.join(&name))?).lines() {
            if resources % 100 == 50 {
                writeln!(differing, "{}", line?.replacen('{', "{\"language\":\"fr\",", 1))?;
            }
            resources += 1;
        }
        differing.flush()?;
    }
    Ok(resources)
}

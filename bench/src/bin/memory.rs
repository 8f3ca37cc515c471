//! Memory: an ingest of a table larger than the server may hold. The peak of the server's resident memory, against the bytes of
//! the source.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
};

use anyhow::{Context, Result, ensure};
use mavis_bench::Figure;
use mavis_tests::Server;

const ROWS: usize = 8_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::start().await?;
    let folder = server.scratch().join("in");
    fs::create_dir_all(&folder)?;
    let path = folder.join("readings.csv");
    let mut file = BufWriter::new(File::create(&path)?);
    writeln!(file, "id,patient,code,value,note")?;
    for i in 0..ROWS {
        writeln!(
            file,
            "{i},{},code-{},{}.5,a note that takes some room in each of the rows: {i}",
            i % 5000,
            i % 300,
            i % 97
        )?;
    }
    file.flush()?;
    drop(file);
    let bytes = fs::metadata(&path)?.len();

    let param = format!("path={}", path.display());
    server.mavis(&["source", "add", "lab", "--kind", "files", "--param", &param])?.ok()?;
    let idle = peak_mb(&server)?;
    server.mavis(&["ingest", "lab"])?.ok()?;
    let peak = peak_mb(&server)?;
    let rows = server.count("SELECT count(*) FROM processed.lab.readings").await?;
    ensure!(rows == i64::try_from(ROWS)?, "{rows} rows");
    println!("{ROWS} rows, {} MB of CSV, raw and processed", bytes >> 20);
    println!("{}", Figure { what: "resident memory before".into(), value: format!("{idle} MB"), ratio: None });
    let share = f64::from(peak) / (bytes >> 20) as f64;
    let ratio = Some(("the source's size".to_owned(), share));
    println!("{}", Figure { what: "peak of resident memory".into(), value: format!("{peak} MB"), ratio });
    Ok(())
}

/// `VmHWM` of the server's process.
fn peak_mb(server: &Server) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().context("not running")?))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u32 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kilobytes >> 10)
}

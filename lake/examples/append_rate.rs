//! Prints how fast rows are appended, hashed and merged: 1,000,000 rows of 10 columns, on the local disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "prints figures")]

use std::{collections::HashMap, sync::Arc, time::Instant};

use arrow::{
    array::{ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::SchemaRef,
};
use mavis_catalog::{Catalog, NewTable};
use mavis_lake::{AppId, End, Lake, LakeOptions, TableSpec, WriteMode, hash::hash_rows};
use mavis_types::{RunId, SourceId, TableName, Zone};
use url::Url;

const ROWS: usize = 1_000_000;
const BATCH: usize = 8_192;

fn batch(first: usize) -> RecordBatch {
    let rows = first..(first + BATCH).min(ROWS);
    let text = |name: &str, distinct: usize| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.clone().map(|row| format!("{name} {}", row * 7919 % distinct))))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64)))),
        ("patient", Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| (row * 31 % 50_000) as i64)))),
        ("code", text("code", 400)),
        ("family", text("family", 20_000)),
        ("given", text("given", 3_000)),
        ("note", text("a longer remark about visit", ROWS)),
        ("born", Arc::new(Date32Array::from_iter_values(rows.clone().map(|row| (row % 30_000) as i32)))),
        ("weight", Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| row as f64 / 7.0)))),
        ("ward", Arc::new(Int32Array::from_iter_values(rows.clone().map(|row| (row % 40) as i32)))),
        ("status", text("status", 5)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

async fn run(lake: &Lake, name: &str, key: &[&str], schema: &SchemaRef, mode: WriteMode, batches: &[RecordBatch]) {
    let spec = TableSpec {
        table: NewTable {
            name: TableName::new(Zone::Raw, "rate", name),
            source: None,
            source_schema: None,
            source_table: None,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            comment: None,
        },
        schema: Arc::clone(schema),
        columns: Vec::new(),
        change_feed: true,
        statistics: Vec::new(),
        sort: Vec::new(),
    };
    let table = lake.ensure(&spec).await.unwrap();
    let app = AppId::ingest(SourceId::from_uuid(*table.id.as_uuid()), table.id);
    let start = Instant::now();
    let unit = lake.begin(table.id, app, RunId::new()).await.unwrap();
    let mut writer = unit.write(mode, Arc::clone(schema)).await.unwrap();
    for batch in batches {
        writer.push(batch).await.unwrap();
    }
    let pushed = start.elapsed();
    let counts = writer.finish(End { cursor: None, whole: true }).await.unwrap().counts;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name} {mode:?}: {:.2} s ({:.2} s until the last row was staged), {:.0} rows/s; {} inserted, {} unchanged",
        seconds,
        pushed.as_secs_f64(),
        ROWS as f64 / seconds,
        counts.inserted,
        counts.unchanged
    );
}

#[tokio::main]
async fn main() {
    let folder = std::env::temp_dir().join(format!("append-rate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let catalog = Catalog::open(&format!("sqlite://{}", folder.join("catalog.sqlite").display())).await.unwrap();
    let options = LakeOptions {
        url: Url::from_directory_path(folder.join("lake")).unwrap(),
        storage: HashMap::new(),
        memory_bytes: 512 << 20,
        pages_bytes: 0,
        spill_dir: folder.join("spill"),
        partitions: 2,
        server: "rate".to_owned(),
    };
    let lake = Lake::open(options, catalog).await.unwrap();
    let batches: Vec<RecordBatch> = (0..ROWS).step_by(BATCH).map(batch).collect();
    let schema = batches[0].schema();
    let start = Instant::now();
    let mut all = 0_u128;
    for batch in &batches {
        all = hash_rows(batch, |_| true).unwrap().into_iter().fold(all, u128::wrapping_add);
    }
    println!("hash of {ROWS} rows x 10 columns: {:.3} s ({all:032x})", start.elapsed().as_secs_f64());
    run(&lake, "appended", &[], &schema, WriteMode::Append, &batches).await;
    run(&lake, "mirrored", &["id"], &schema, WriteMode::Snapshot, &batches).await;
    run(&lake, "mirrored", &["id"], &schema, WriteMode::Snapshot, &batches).await;
    run(&lake, "keyless", &[], &schema, WriteMode::Snapshot, &batches).await;
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("peak memory, with the rows themselves: {}", peak.trim_start_matches("VmHWM:").trim());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

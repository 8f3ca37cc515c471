//! The doors: the first row of `SELECT 1`, and 1,000,000 rows streamed over Flight SQL. Floor of the stream: arrow-flight alone
//! sending the same batches from memory to the same client.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use arrow_flight::{Ticket, sql::client::FlightSqlServiceClient};
use futures::TryStreamExt;
use mavis_bench::{Figure, client, median, percentile, serve_memory};
use mavis_tests::{Server, write};
use serde_json::json;
use tonic::transport::Channel;

const ROWS: usize = 1_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::start().await?;
    let mut flight = client(&server.grpc, &server.token()?).await?;

    let mut http_times = Vec::new();
    let mut flight_times = Vec::new();
    for round in 0..300 {
        let start = Instant::now();
        let answer = server.request("POST", "/api/v1/sql", &[], Some(json!({ "sql": "SELECT 1" }))).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        let http = start.elapsed();
        let start = Instant::now();
        let rows: usize = query(&mut flight, "SELECT 1").await?.iter().map(RecordBatch::num_rows).sum();
        ensure!(rows == 1, "{rows} rows");
        if round >= 50 {
            http_times.push(http);
            flight_times.push(start.elapsed());
        }
    }
    for (what, times) in
        [("SELECT 1 over HTTP", &mut http_times), ("SELECT 1 over Flight SQL (two calls)", &mut flight_times)]
    {
        let value = format!("p50 {:.2?} p99 {:.2?}", median(times), percentile(times, 99));
        println!("{}", Figure { what: what.into(), value, ratio: None });
    }

    let file = server.scratch().join("in/readings.csv");
    let mut csv = String::from("id,patient,code,value,note\n");
    for i in 0..ROWS {
        writeln!(csv, "{i},{},code-{},{}.5,note {i}", i % 5000, i % 300, i % 97)?;
    }
    write(&file, csv)?;
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "lab", "--kind", "files", "--param", &path])?.ok()?;
    server.mavis(&["ingest", "lab"])?.ok()?;
    let sql = "SELECT id, patient, code, value, note FROM processed.lab.readings";
    let batches = query(&mut flight, sql).await?;
    ensure!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() == ROWS, "rows are missing");
    let address = serve_memory(batches).await?;
    let mut memory = client(&address, "").await?;

    let (mut floors, mut ours, mut computed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..7 {
        let start = Instant::now();
        let rows: usize = fetch(&mut memory, Ticket::default()).await?.iter().map(RecordBatch::num_rows).sum();
        ensure!(rows == ROWS, "the floor lost rows");
        floors.push(start.elapsed());
        let start = Instant::now();
        query(&mut flight, sql).await?;
        ours.push(start.elapsed());
        // another text is another question: read, decompressed and decoded anew
        let start = Instant::now();
        query(&mut flight, &format!("{sql} -- {round}")).await?;
        computed.push(start.elapsed());
    }
    let (floor, ours, computed) = (median(&mut floors), median(&mut ours), median(&mut computed));
    let rate = |time: Duration| format!("{:.1} M rows/s", 1e-6 * 1e6 / time.as_secs_f64());
    println!("{}", Figure { what: "floor: arrow-flight from memory".into(), value: rate(floor), ratio: None });
    for (what, time) in [("asked again", ours), ("asked for the first time", computed)] {
        let ratio = Some(("the floor's rate".to_owned(), floor.as_secs_f64() / time.as_secs_f64()));
        println!(
            "{}",
            Figure { what: format!("mavis, a Delta table over Flight SQL, {what}"), value: rate(time), ratio }
        );
    }
    Ok(())
}

async fn query(client: &mut FlightSqlServiceClient<Channel>, sql: &str) -> Result<Vec<RecordBatch>> {
    let info = client.execute(sql.to_owned(), None).await?;
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        batches.extend(fetch(client, endpoint.ticket.context("no ticket")?).await?);
    }
    Ok(batches)
}

async fn fetch(client: &mut FlightSqlServiceClient<Channel>, ticket: Ticket) -> Result<Vec<RecordBatch>> {
    Ok(client.do_get(ticket).await?.try_collect().await?)
}

//! Rows by key over 10 M rows: `GET /api/v1/tables/raw/lab/reading/rows/{key}` beside PostgreSQL's `SELECT * WHERE id = $1`.
//!
//! `rows [ROWS]`; 10,000,000 where it says nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mavis_bench::{Figure, Wire, median, percentile};
use mavis_tests::{Postgres, Server};
use sqlx::{Connection, PgConnection, Row};

const ROWS: u64 = 10_000_000;
/// Keys that are asked for, twice: the first round warms what is measured in the second.
const KEYS: usize = 5_000;

#[tokio::main]
async fn main() -> Result<()> {
    let rows = std::env::args().nth(1).map_or(Ok(ROWS), |text| text.parse())?;
    let Some(database) = Postgres::create()? else { return Ok(()) };
    database.execute(&format!(
        "CREATE TABLE reading (id bigint PRIMARY KEY, patient int NOT NULL, at timestamptz NOT NULL, code text NOT NULL,
             value double precision, unit text, note text);
         INSERT INTO reading SELECT i, i % 5000, timestamptz '2024-01-01 00:00+00' + i * interval '1 second',
             'code-' || i % 300, i / 7.0, 'mmol/l', 'note ' || i FROM generate_series(1, {rows}) i;
         ANALYZE reading;"
    ))?;
    let server = Server::start().await?;
    let params = [
        format!("host={}", database.host),
        format!("port={}", database.port),
        format!("user={}", database.user),
        format!("database={}", database.database),
    ];
    let mut args = vec!["source", "add", "lab", "--kind", "postgres"];
    for param in &params {
        args.extend(["--param", param]);
    }
    server.mavis(&args)?.ok()?;
    let began = Instant::now();
    server.mavis(&["ingest", "lab"])?.ok()?;
    println!("{rows} rows ingested in {:.1?}", began.elapsed());
    let keys: Vec<u64> = (0..KEYS as u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % rows + 1).collect();

    let mut connection = PgConnection::connect(&database.url).await?;
    let mut peer = Vec::new();
    for round in 0..2 {
        for key in &keys {
            let began = Instant::now();
            let row = sqlx::query("SELECT * FROM reading WHERE id = $1").bind(i64::try_from(*key)?);
            let row = row.fetch_one(&mut connection).await?;
            if round == 1 {
                peer.push(began.elapsed());
            }
            ensure!(row.get::<String, _>("note") == format!("note {key}"));
        }
    }
    let mut wire = Wire::connect(&server.http, &server.token()?).await?;
    let mut first = Duration::ZERO;
    let mut ours = Vec::new();
    for round in 0..2 {
        for (number, key) in keys.iter().enumerate() {
            let began = Instant::now();
            let (status, body) = wire.get(&format!("/api/v1/tables/raw/lab/reading/rows/{key}")).await?;
            let took = began.elapsed();
            ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
            ensure!(find(body, format!("\"note {key}\"").as_bytes()), "another row came for {key}");
            match (round, number) {
                (0, 0) => first = took,
                (1, _) => ours.push(took),
                _ => {}
            }
        }
    }
    let told = |times: &mut Vec<Duration>| format!("p50 {:.2?} p99 {:.2?}", median(times), percentile(times, 99));
    let ratio = median(&mut ours).as_secs_f64() / median(&mut peer).as_secs_f64();
    let show = |what: &str, value: String, ratio: Option<(String, f64)>| {
        println!("{}", Figure { what: what.to_owned(), value, ratio });
    };
    show("PostgreSQL by primary key", told(&mut peer), None);
    show(
        "mavis, a row by its key (claim: p50 under 2 ms)",
        told(&mut ours),
        Some(("PostgreSQL's time".to_owned(), ratio)),
    );
    show("the first one, with the index still to be built", format!("{first:.2?}"), None);
    Ok(())
}

fn find(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

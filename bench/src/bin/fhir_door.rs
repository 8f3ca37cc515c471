//! The FHIR door over a million Observations: read by id beside PostgreSQL's `SELECT json WHERE id = $1`, searches, a bulk
//! export of everything, and two views of SQL on FHIR beside DuckDB on the same Parquet files.
//!
//!     cargo run --profile demo -p mavis-bench --bin fhir_door [SCALE]
//!
//! `SCALE` (1.0): share of 24 copies of 42,929 Observations and 120 Patients, and 288 copies of 1,597 Conditions.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use mavis_bench::{Figure, Wire, as_ndjson, client, copy, live_files, median, percentile};
use mavis_tests::{Postgres, Server, python, shared};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

const OBSERVATIONS: f64 = 24.0;
const CONDITIONS: f64 = 288.0;
/// How long throughput is measured, and by how many callers at once.
const LOAD: Duration = Duration::from_secs(5);
const CALLERS: usize = 16;
/// Reads of the measure of one caller.
const READS: usize = 3_000;
/// Searches of each kind.
const SEARCHES: usize = 40;

const CONDITION_VIEW: &str = r#"{"resourceType":"ViewDefinition","name":"condition_flat","status":"active","resource":"Condition",
    "select":[{"column":[
    {"name":"id","path":"getResourceKey()"},
    {"name":"patient_id","path":"subject.getReferenceKey(Patient)"},
    {"name":"encounter_id","path":"encounter.getReferenceKey(Encounter)"},
    {"name":"system","path":"code.coding.system.first()"},
    {"name":"code","path":"code.coding.code.first()"},
    {"name":"display","path":"code.coding.display.first()"},
    {"name":"clinical_status","path":"clinicalStatus.coding.code.first()"},
    {"name":"onset","path":"onset.ofType(dateTime)"},
    {"name":"abatement","path":"abatement.ofType(dateTime)"},
    {"name":"recorded","path":"recordedDate"}]}]}"#;

const COMPONENT_VIEW: &str = r#"{"resourceType":"ViewDefinition","name":"observation_component","status":"active",
    "resource":"Observation","select":[
    {"column":[
        {"name":"id","path":"getResourceKey()"},
        {"name":"patient_id","path":"subject.getReferenceKey(Patient)"},
        {"name":"effective","path":"effective.ofType(dateTime)"}]},
    {"forEach":"component","column":[
        {"name":"system","path":"code.coding.system.first()"},
        {"name":"code","path":"code.coding.code.first()"},
        {"name":"value","path":"value.ofType(Quantity).value"},
        {"name":"unit","path":"value.ofType(Quantity).unit"}]}]}"#;

/// The same two over the same files; prints the rows and the median of five times, in milliseconds, of each.
const DUCKDB: &str = r#"
import json, statistics, sys, time, duckdb
queries = [
    """SELECT id, subject.__id, encounter.__id, code.coding[1].system, code.coding[1].code, code.coding[1].display,
        clinicalStatus.coding[1].code, onsetDateTime, abatementDateTime, recordedDate FROM read_parquet({files})""",
    """SELECT id, subject.__id, effectiveDateTime, c.code.coding[1].system, c.code.coding[1].code, c.valueQuantity.value,
        c.valueQuantity.unit FROM (SELECT id, subject, effectiveDateTime, unnest(component) AS c
        FROM read_parquet({files}))""",
]
connection = duckdb.connect()
for query, files in zip(queries, json.loads(sys.argv[1])):
    times = []
    for _ in range(6):
        start = time.time()
        rows = connection.sql(query.format(files=files)).to_arrow_table().num_rows
        times.append((time.time() - start) * 1000)
    print(rows, statistics.median(times[1:]))
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(bundles) = shared("data/synthea-120") else { return Ok(()) };
    let scale: f64 = std::env::args().nth(1).map_or(Ok(1.0), |text| text.parse())?;
    let copies = |full: f64| (full * scale).round().clamp(1.0, 4_096.0) as u16;
    let folder = tempfile::tempdir()?;
    let (once, many) = (folder.path().join("once"), folder.path().join("many"));
    std::fs::create_dir_all(&once)?;
    as_ndjson(&bundles, &once).await?;
    let made = |name: &str, times: f64| copy(&once.join(name), &many.join(name), copies(times));
    let patients = made("patient.ndjson", OBSERVATIONS)?;
    let observations = made("observation.ndjson", OBSERVATIONS)?;
    let conditions = made("condition.ndjson", CONDITIONS)?;
    let all = patients.len() + observations.len() + conditions.len();

    let server = Server::start().await?;
    let start = Instant::now();
    server.mavis(&["fhir", "import", many.to_str().context("not UTF-8")?])?.ok()?;
    let import = start.elapsed();
    let stored = server.count("SELECT count(*) FROM observation").await?;
    ensure!(usize::try_from(stored)? == observations.len(), "{stored} of {} observations", observations.len());
    println!("{} patients, {} observations, {} conditions", patients.len(), observations.len(), conditions.len());
    show("import, upload to snapshot", format!("{:.0}/s", rate(all, import)), None);
    // What the server does by itself after an import is not measured.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let observations = Arc::new(observations);
    let ours = reads(&server, &observations).await?;
    beside_postgres(&many.join("observation.ndjson"), &observations, &ours).await?;
    searches(&server, &patients).await?;
    views(&server, observations.len()).await?;
    export(&server, all).await
}

fn show(what: &str, value: String, ratio: Option<(String, f64)>) {
    println!("{}", Figure { what: what.to_owned(), value, ratio });
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn told(times: &mut [Duration]) -> String {
    format!("p50 {:.2?} p99 {:.2?}", median(times), percentile(times, 99))
}

/// Numbers that look random and are the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        of.get(usize::try_from(self.0 % of.len().max(1) as u64).ok()?)
    }
}

/// Of read by id: the median of one caller, and the rate of many.
struct Reads {
    median: Duration,
    rate: f64,
}

async fn reads(server: &Server, ids: &Arc<Vec<String>>) -> Result<Reads> {
    let token = server.token()?;
    let mut wire = Wire::connect(&server.http, &token).await?;
    let (mut times, mut dice) = (Vec::new(), Dice::new(0));
    let first = Instant::now();
    for round in 0..READS + 200 {
        let id = dice.pick(ids).context("no ids")?;
        let start = Instant::now();
        let (status, body) = wire.get(&format!("/fhir/Observation/{id}")).await?;
        ensure!(status == 200 && contains(body, id), "{status}: {}", String::from_utf8_lossy(body));
        if round == 0 {
            show("the first read by id, which indexes the files", format!("{:.2?}", first.elapsed()), None);
        } else if round >= 200 {
            times.push(start.elapsed());
        }
    }
    let median = median(&mut times);
    show("read by id, one caller", told(&mut times), None);

    let end = Instant::now() + LOAD;
    let callers = (0..CALLERS).map(|caller| {
        let (address, token, ids) = (server.http.clone(), token.clone(), Arc::clone(ids));
        tokio::spawn(async move {
            let (mut times, mut dice) = (Vec::new(), Dice::new(caller + 1));
            let mut wire = Wire::connect(&address, &token).await?;
            while Instant::now() < end {
                let id = dice.pick(&ids).context("no ids")?;
                let start = Instant::now();
                let (status, body) = wire.get(&format!("/fhir/Observation/{id}")).await?;
                ensure!(status == 200 && contains(body, id), "{status}");
                times.push(start.elapsed());
            }
            anyhow::Ok(times)
        })
    });
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await??);
    }
    let rate = rate(times.len(), LOAD);
    show(&format!("read by id, {CALLERS} callers"), format!("{rate:.0}/s"), None);
    show(&format!("read by id, {CALLERS} callers"), told(&mut times), None);
    Ok(Reads { median, rate })
}

fn contains(body: &[u8], id: &str) -> bool {
    body.windows(id.len()).take(200).any(|window| window == id.as_bytes())
}

/// The same texts in PostgreSQL, by primary key, over prepared statements.
async fn beside_postgres(file: &Path, ids: &Arc<Vec<String>>, ours: &Reads) -> Result<()> {
    let Some(database) = Postgres::create()? else { return Ok(()) };
    database.execute("CREATE UNLOGGED TABLE t (id text, json text)")?;
    let mut psql = Command::new("psql")
        .args([&database.url, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c"])
        .arg("\\copy t FROM pstdin WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')")
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = std::io::BufWriter::with_capacity(1 << 20, psql.stdin.take().context("no input")?);
    for (line, id) in BufReader::new(File::open(file)?).lines().zip(ids.iter()) {
        writeln!(input, "{id}\u{1}{}", line?)?;
    }
    input.flush()?;
    drop(input);
    ensure!(psql.wait()?.success(), "psql failed");
    database.execute("ALTER TABLE t ADD PRIMARY KEY (id)")?;
    database.execute("VACUUM ANALYZE t")?;

    let ask = async |connection: &mut PgConnection, id: &str| -> Result<()> {
        let text: String =
            sqlx::query_scalar("SELECT json FROM t WHERE id = $1").bind(id).fetch_one(connection).await?;
        ensure!(contains(text.as_bytes(), id), "another row");
        Ok(())
    };
    let mut connection = PgConnection::connect(&database.url).await?;
    let (mut times, mut dice) = (Vec::new(), Dice::new(0));
    for round in 0..READS + 200 {
        let id = dice.pick(ids).context("no ids")?;
        let start = Instant::now();
        ask(&mut connection, id).await?;
        if round >= 200 {
            times.push(start.elapsed());
        }
    }
    let peer = median(&mut times);
    show("PostgreSQL by primary key, one caller", told(&mut times), None);
    let ratio = ours.median.as_secs_f64() / peer.as_secs_f64();
    show(
        "mavis, the median of one caller",
        format!("{:.2?}", ours.median),
        Some(("PostgreSQL's time".to_owned(), ratio)),
    );

    let end = Instant::now() + LOAD;
    let callers = (0..CALLERS).map(|caller| {
        let (url, ids) = (database.url.clone(), Arc::clone(ids));
        tokio::spawn(async move {
            let (mut count, mut dice) = (0_usize, Dice::new(caller + 1));
            let mut connection = PgConnection::connect(&url).await?;
            while Instant::now() < end {
                let id = dice.pick(&ids).context("no ids")?;
                let text: String =
                    sqlx::query_scalar("SELECT json FROM t WHERE id = $1").bind(id).fetch_one(&mut connection).await?;
                ensure!(contains(text.as_bytes(), id), "another row");
                count += 1;
            }
            anyhow::Ok(count)
        })
    });
    let mut count = 0;
    for caller in callers.collect::<Vec<_>>() {
        count += caller.await??;
    }
    let peer = rate(count, LOAD);
    show(&format!("PostgreSQL by primary key, {CALLERS} callers"), format!("{peer:.0}/s"), None);
    let value = format!("{:.0}/s", ours.rate);
    show(&format!("mavis, {CALLERS} callers"), value, Some(("PostgreSQL's rate".to_owned(), ours.rate / peer)));
    Ok(())
}

async fn searches(server: &Server, patients: &[String]) -> Result<()> {
    let mut wire = Wire::connect(&server.http, &server.token()?).await?;
    let sql = "SELECT code.coding[1].code AS code, count(*) AS n FROM observation GROUP BY 1 ORDER BY n DESC LIMIT 20";
    let rows = server.sql(sql).await?;
    let codes: Vec<String> = rows.iter().filter_map(|row| Some(row["code"].as_str()?.to_owned())).collect();
    let sql = "SELECT DISTINCT name[1].family AS family FROM patient LIMIT 40";
    let rows = server.sql(sql).await?;
    let families: Vec<String> = rows.iter().filter_map(|row| Some(row["family"].as_str()?.to_owned())).collect();
    let mut dice = Dice::new(7);
    let mut paths = Vec::new();
    for _ in 0..SEARCHES {
        let (patient, code) = (dice.pick(patients).context("no patients")?, dice.pick(&codes).context("no codes")?);
        let family = dice.pick(&families).context("no names")?;
        let token = format!("code=http://loinc.org%7C{code}");
        paths.push([
            format!("/fhir/Observation?patient={patient}&{token}&date=ge2012-01-01"),
            format!("/fhir/Observation?{token}"),
            format!("/fhir/Observation?{token}&_summary=count"),
            format!("/fhir/Observation?subject:Patient.family={}&{token}", family.replace(' ', "%20")),
        ]);
    }
    let kinds = [
        "a patient's observations by code and date",
        "a token, first page",
        "a token, exact total",
        "a chain of one level, first page",
    ];
    for (kind, what) in kinds.iter().enumerate() {
        let mut times = Vec::new();
        for (round, of_round) in paths.iter().enumerate() {
            let start = Instant::now();
            let (status, body) = wire.get(&of_round[kind]).await?;
            ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
            if round >= SEARCHES / 5 {
                times.push(start.elapsed());
            }
        }
        show(what, told(&mut times), None);
    }
    Ok(())
}

async fn views(server: &Server, observations: usize) -> Result<()> {
    let mut ours = Vec::new();
    let mut flight = client(&server.grpc, &server.token()?).await?;
    for (name, view) in [("condition_flat", CONDITION_VIEW), ("observation_component", COMPONENT_VIEW)] {
        let view: Value = serde_json::from_str(view)?;
        let answer = server.request("POST", "/fhir/ViewDefinition", &[], Some(view)).await?;
        ensure!(answer.status == 201, "{}", answer.text());
        let (mut times, mut rows) = (Vec::new(), 0);
        for round in 0..6 {
            let start = Instant::now();
            let info = flight.execute(format!("SELECT * FROM fhir.views.{name}"), None).await?;
            rows = 0;
            for endpoint in info.endpoint {
                let ticket = endpoint.ticket.context("no ticket")?;
                let batches: Vec<RecordBatch> = flight.do_get(ticket).await?.try_collect().await?;
                rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            }
            if round > 0 {
                times.push(start.elapsed());
            }
        }
        ours.push((name, rows, median(&mut times)));
    }
    let peers = duckdb(server)?;
    for (number, (name, rows, time)) in ours.into_iter().enumerate() {
        let peer = peers.get(number);
        if let Some((theirs, milliseconds)) = peer {
            ensure!(*theirs == rows, "{name}: {rows} rows, DuckDB has {theirs}");
            show(&format!("DuckDB, {name}, to Arrow"), format!("{milliseconds:.0} ms"), None);
        }
        let ratio = peer.map(|(_, peer)| ("DuckDB's time".to_owned(), time.as_secs_f64() * 1000.0 / peer));
        show(&format!("view {name}, {rows} rows, over Flight"), format!("{time:.0?}"), ratio);
    }
    println!("(over {observations} observations)");
    Ok(())
}

/// Rows and milliseconds of each view; empty where there is no DuckDB.
fn duckdb(server: &Server) -> Result<Vec<(usize, f64)>> {
    let Some(python) = python() else { return Ok(Vec::new()) };
    let files = ["condition", "observation"].map(|table| live_files(&server.data.join("lake/fhir/r4").join(table)));
    let files: Vec<Vec<_>> = files.into_iter().collect::<Result<_>>()?;
    let output = Command::new(python).args(["-c", DUCKDB, &json!(files).to_string()]).output()?;
    if !output.status.success() {
        eprintln!("no DuckDB beside it: {}", String::from_utf8_lossy(&output.stderr));
        return Ok(Vec::new());
    }
    let lines = String::from_utf8(output.stdout)?;
    let read = |line: &str| -> Result<(usize, f64)> {
        let (rows, time) = line.split_once(' ').context("not two numbers")?;
        Ok((rows.parse()?, time.parse()?))
    };
    lines.lines().map(read).collect()
}

async fn export(server: &Server, resources: usize) -> Result<()> {
    let start = Instant::now();
    let headers = [("prefer", "respond-async"), ("accept", "application/fhir+json")];
    let answer = server.request("GET", "/fhir/$export", &headers, None).await?;
    ensure!(answer.status == 202, "{}", answer.text());
    let place = answer.headers.get("content-location").context("no place")?.to_str()?;
    let path = place.split_once(&server.http).context("another server")?.1.to_owned();
    let manifest = loop {
        let answer = server.get(&path).await?;
        match answer.status {
            202 => tokio::time::sleep(Duration::from_millis(50)).await,
            200 => break answer.json()?,
            other => anyhow::bail!("{other}: {}", answer.text()),
        }
    };
    let time = start.elapsed();
    let output = manifest["output"].as_array().context("no output")?;
    let count: u64 = output.iter().filter_map(|file| file["count"].as_u64()).sum();
    ensure!(usize::try_from(count)? == resources, "{count} of {resources} resources were exported");
    show(&format!("$export of {resources} resources"), format!("{:.0}/s", rate(resources, time)), None);
    Ok(())
}

//! PostgreSQL to the raw zone: 1,000,000 rows of 10 columns. Floor: psql's binary `\copy` to /dev/null. Beside it:
//! ConnectorX reading the same table into Arrow in memory, and ADBC's PostgreSQL driver with delta-rs writing a Delta table,
//! where `MAVIS_TEST_PYTHON` has them.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mavis_bench::{Figure, median};
use mavis_tests::{Postgres, Server, python};

const TABLE: &str = "
    CREATE TABLE reading (id bigint PRIMARY KEY, patient int NOT NULL, at timestamptz NOT NULL, code text NOT NULL,
        value double precision, low numeric(10,2), high numeric(10,2), unit text, note text, checked boolean);
    INSERT INTO reading SELECT i, i % 5000, timestamptz '2024-01-01 00:00+00' + i * interval '1 second', 'code-' || i % 300,
        i / 7.0, (i % 1000) / 10.0, (i % 1000) / 5.0, 'mmol/l', 'note ' || i, i % 3 = 0 FROM generate_series(1, 1000000) i;
    ANALYZE reading;";

const CONNECTORX: &str = "
import sys, time, connectorx
start = time.time()
table = connectorx.read_sql(sys.argv[1], 'SELECT * FROM reading', return_type='arrow')
assert table.num_rows == 1000000
print(time.time() - start)";

const ADBC: &str = "
import sys, tempfile, time, adbc_driver_postgresql.dbapi as postgres, deltalake
with tempfile.TemporaryDirectory() as folder:
    start = time.time()
    with postgres.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
        cursor.execute('SELECT * FROM reading')
        deltalake.write_deltalake(folder, cursor.fetch_record_batch())
    taken = time.time() - start
    assert deltalake.DeltaTable(folder).to_pyarrow_dataset().count_rows() == 1000000
print(taken)";

#[tokio::main]
async fn main() -> Result<()> {
    let Some(database) = Postgres::create()? else { return Ok(()) };
    database.execute(TABLE)?;
    let mut floors = Vec::new();
    let (mut connectorx, mut adbc) = (Vec::new(), Vec::new());
    let mut ours = Vec::new();
    for round in 0..3 {
        let start = Instant::now();
        database.execute("\\copy (SELECT * FROM reading) TO /dev/null WITH (FORMAT binary)")?;
        floors.push(start.elapsed());
        connectorx.extend(peer(&database, CONNECTORX)?);
        adbc.extend(peer(&database, ADBC)?);
        ours.push(to_raw(&database, round).await?);
    }
    let floor = median(&mut floors);
    println!("1,000,000 rows x 10 columns, median of 3");
    println!(
        "{}",
        Figure { what: "floor: \\copy binary to /dev/null".into(), value: format!("{floor:.2?}"), ratio: None }
    );
    let show = |what: &str, times: &mut Vec<Duration>| {
        let time = median(times);
        let ratio = Some(("the floor".to_owned(), time.as_secs_f64() / floor.as_secs_f64()));
        println!("{}", Figure { what: what.into(), value: format!("{time:.2?}"), ratio });
    };
    for (what, times) in [("ConnectorX into Arrow in memory", connectorx), ("ADBC into a Delta table (delta-rs)", adbc)]
    {
        let mut times = times;
        if !times.is_empty() {
            show(what, &mut times);
        }
    }
    show("mavis into the raw zone, committed", &mut ours);
    Ok(())
}

async fn to_raw(database: &Postgres, round: usize) -> Result<Duration> {
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
    server.mavis(&["ingest", "lab"])?.ok()?;
    ensure!(server.count("SELECT count(*) FROM raw.lab.reading").await? == 1_000_000, "round {round} lost rows");
    let seconds = server.value("SELECT seconds FROM system.ops.run_units WHERE step = 'to_raw'").await?;
    Ok(Duration::from_secs_f64(seconds.as_f64().context("no seconds")?))
}

fn peer(database: &Postgres, script: &str) -> Result<Option<Duration>> {
    let Some(python) = python() else { return Ok(None) };
    let url = database.url.replace("postgres://", "postgresql://");
    let output = Command::new(python).args(["-c", script, &url]).output()?;
    if !output.status.success() {
        eprintln!("left out: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default());
        return Ok(None);
    }
    Ok(Some(Duration::from_secs_f64(String::from_utf8(output.stdout)?.trim().parse()?)))
}

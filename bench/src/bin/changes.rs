//! Changes of a PostgreSQL table of 1,000,000 rows:
//!
//! - an ingest by a cursor column that finds nothing new;
//! - 400,000 changes by logical replication. Floor: PostgreSQL decoding the same changes (`pg_logical_slot_peek_binary_changes`);
//! - how old the raw zone is while `changes [PER_SECOND]` (20,000) go on for half a minute and the schedule is `--continuous`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mavis_bench::{Figure, median, percentile};
use mavis_tests::{Postgres, Server};
use sqlx::{Connection, Executor, PgConnection};

const ROWS: i64 = 1_000_000;
const TABLE: &str = "
    CREATE TABLE reading (id bigint PRIMARY KEY, patient int NOT NULL, at timestamptz NOT NULL, code text NOT NULL,
        value double precision, low numeric(10,2), high numeric(10,2), unit text, note text, checked boolean);
    CREATE PUBLICATION bench FOR TABLE reading;";
/// Rows of the next ids.
const INSERT: &str = "
    INSERT INTO reading SELECT i, i % 5000, timestamptz '2024-01-01 00:00+00' + i * interval '1 second', 'code-' || i % 300,
        i / 7.0, (i % 1000) / 10.0, (i % 1000) / 5.0, 'mmol/l', 'note ' || i, i % 3 = 0 FROM generate_series($1::bigint, $2) i";
const UPDATE: &str = "UPDATE reading SET value = value + 1, note = note || '!' WHERE id BETWEEN $1 AND $2";
const DELETE: &str = "DELETE FROM reading WHERE id BETWEEN $1 AND $2";
/// Changes of a transaction.
const TRANSACTION: i64 = 1_000;
const CHANGES: i64 = 400_000;
const AGED_FOR: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let per_second: i64 = std::env::args().nth(1).map_or(Ok(20_000), |text| text.parse())?;
    let Some(database) = Postgres::create()? else { return Ok(()) };
    database.execute(TABLE)?;
    let mut writer = PgConnection::connect(&database.url).await?;
    change(&mut writer, INSERT, 1, ROWS).await?;
    database.execute("ANALYZE reading;")?;

    unchanged(&database).await?;
    replicated(&database, &mut writer, per_second).await
}

async fn change(writer: &mut PgConnection, statement: &'static str, first: i64, last: i64) -> Result<u64> {
    Ok(writer.execute(sqlx::query(statement).bind(first).bind(last)).await?.rows_affected())
}

async fn source(database: &Postgres, more: &str) -> Result<Server> {
    let server = Server::start().await?;
    let params = [
        format!("host={}", database.host),
        format!("port={}", database.port),
        format!("user={}", database.user),
        format!("database={}", database.database),
        more.to_owned(),
    ];
    let mut args = vec!["source", "add", "lab", "--kind", "postgres"];
    for param in &params {
        args.extend(["--param", param]);
    }
    server.mavis(&args)?.ok()?;
    server.mavis(&["ingest", "lab"])?.ok()?;
    ensure!(server.count("SELECT count(*) FROM raw.lab.reading").await? == ROWS, "the first ingest lost rows");
    Ok(server)
}

/// How long the newest run took, from its start to its end.
async fn newest_run(server: &Server) -> Result<Duration> {
    let seconds = server
        .value(
            "SELECT date_part('epoch', finished_at) - date_part('epoch', started_at) FROM system.ops.runs \
             WHERE kind = 'ingest' ORDER BY created_at DESC LIMIT 1",
        )
        .await?;
    Ok(Duration::from_secs_f64(seconds.as_f64().context("no seconds")?))
}

fn show(what: &str, value: String, ratio: Option<(String, f64)>) {
    println!("{}", Figure { what: what.to_owned(), value, ratio });
}

async fn unchanged(database: &Postgres) -> Result<()> {
    let server = source(database, r#"cursor_columns={"reading":"id"}"#).await?;
    let (mut runs, mut commands) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let began = Instant::now();
        server.mavis(&["ingest", "lab"])?.ok()?;
        commands.push(began.elapsed());
        runs.push(newest_run(&server).await?);
    }
    ensure!(server.count("SELECT count(*) FROM raw.lab.reading").await? == ROWS, "rows came twice");
    show("unchanged 1,000,000 rows, by a cursor", format!("{:.0?}", median(&mut runs)), None);
    show("the same, the command included", format!("{:.0?}", median(&mut commands)), None);
    Ok(())
}

async fn replicated(database: &Postgres, writer: &mut PgConnection, per_second: i64) -> Result<()> {
    let slot = format!("slot_{}", database.database);
    let floor_slot = format!("floor_{}", database.database);
    let server = source(database, &format!(r#"replication={{"slot":"{slot}","publication":"bench"}}"#)).await?;
    database.execute(&format!("SELECT pg_create_logical_replication_slot('{floor_slot}', 'pgoutput');"))?;

    // Half inserts, four tenths updates of rows spread over the table, a tenth deletes.
    let (mut changes, mut next) = (0, ROWS + 1);
    while changes < CHANGES {
        let some = TRANSACTION / 10;
        let mut transaction = writer.begin().await?;
        for (statement, first, rows) in [
            (INSERT, next, 5 * some),
            (UPDATE, next % (ROWS / 2), 4 * some),
            (DELETE, ROWS / 2 + (next - ROWS) / 5, some),
        ] {
            let done = sqlx::query(statement).bind(first).bind(first + rows - 1).execute(&mut *transaction).await?;
            changes += i64::try_from(done.rows_affected())?;
        }
        transaction.commit().await?;
        next += 5 * some;
    }
    let began = Instant::now();
    database.execute(&format!(
        "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('{floor_slot}', NULL, NULL, 'proto_version', '1', \
         'publication_names', 'bench');"
    ))?;
    let floor = began.elapsed();
    database.execute(&format!("SELECT pg_drop_replication_slot('{floor_slot}');"))?;
    server.mavis(&["ingest", "lab"])?.ok()?;
    let took = newest_run(&server).await?;
    same(database, &server).await?;
    let rate = changes as f64 / took.as_secs_f64();
    show(&format!("floor: PostgreSQL decodes {changes} changes"), format!("{floor:.2?}"), None);
    let ratio = Some(("the floor".to_owned(), took.as_secs_f64() / floor.as_secs_f64()));
    show("replicated into the raw zone", format!("{took:.2?}, {rate:.0}/s"), ratio);

    server.mavis(&["schedule", "set", "lab", "--continuous"])?.ok()?;
    aged(&server, writer, next, per_second).await?;
    server.mavis(&["schedule", "set", "lab", "--manual"])?.ok()?;
    for _ in 0..60 {
        if same(database, &server).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Another run may still be going.
        let _going = server.mavis(&["ingest", "lab"])?;
    }
    same(database, &server).await?;
    drop(server);
    database.execute(&format!("SELECT pg_drop_replication_slot('{slot}');"))?;
    Ok(())
}

/// Whether both sides hold the same rows.
async fn same(database: &Postgres, server: &Server) -> Result<()> {
    let sums = "count(*) AS n, sum(id) AS ids, sum(length(note)) AS notes";
    let theirs =
        database.execute(&format!("SELECT n || ' ' || ids || ' ' || notes FROM (SELECT {sums} FROM reading) s;"))?;
    let ours = server.sql(&format!("SELECT {sums} FROM raw.lab.reading")).await?;
    let row = ours.first().context("no row")?;
    let ours = ["n", "ids", "notes"].map(|name| row[name].to_string().trim_matches('"').to_owned()).join(" ");
    ensure!(theirs.contains(&ours), "PostgreSQL has {theirs}, the raw zone {ours}");
    Ok(())
}

/// Half inserts, half updates of rows of a minute ago, at a rate; asks over and over up to which row the raw zone is.
async fn aged(server: &Server, writer: &mut PgConnection, from: i64, per_second: i64) -> Result<()> {
    let began = Instant::now();
    let half = TRANSACTION / 2;
    let write = async {
        let mut committed: Vec<(i64, Instant)> = Vec::new();
        let mut next = from;
        let mut changes = 0;
        while began.elapsed() < AGED_FOR {
            let mut transaction = writer.begin().await?;
            sqlx::query(INSERT).bind(next).bind(next + half - 1).execute(&mut *transaction).await?;
            let old = next - 100 * half;
            sqlx::query(UPDATE).bind(old).bind(old + half - 1).execute(&mut *transaction).await?;
            transaction.commit().await?;
            next += half;
            changes += TRANSACTION;
            committed.push((next - 1, Instant::now()));
            let due = Duration::from_secs_f64(changes as f64 / per_second as f64);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
        anyhow::Ok((committed, changes, began.elapsed()))
    };
    let look = async {
        let mut seen: Vec<(i64, Instant)> = Vec::new();
        while began.elapsed() < AGED_FOR {
            let row = server.value("SELECT max(id) FROM raw.lab.reading").await?.as_i64().context("no id")?;
            seen.push((row, Instant::now()));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(seen)
    };
    let (written, seen) = tokio::join!(write, look);
    let ((committed, changes, took), seen) = (written?, seen?);
    // Age: since when the oldest row that is not there yet has been committed.
    let mut ages: Vec<Duration> = seen
        .iter()
        .filter(|(_, at)| *at > began + Duration::from_secs(5))
        .map(|(row, at)| {
            let waiting = committed.iter().find(|(last, _)| last > row);
            waiting.map_or(Duration::ZERO, |(_, since)| at.saturating_duration_since(*since))
        })
        .collect();
    let rate = changes as f64 / took.as_secs_f64();
    let runs: i64 = server.count("SELECT count(*) FROM system.ops.runs WHERE requested_by LIKE '%schedule%'").await?;
    show(&format!("age of the raw zone at {rate:.0} changes/s, p50"), format!("{:.2?}", median(&mut ages)), None);
    show("the same, p95", format!("{:.2?}", percentile(&mut ages, 95)), None);
    show("runs in that time", runs.to_string(), None);
    Ok(())
}

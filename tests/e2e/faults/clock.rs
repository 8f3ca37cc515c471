//! A clock that jumps while the server runs: forward by a day, back by an hour, and to where it was. The server is the real process
//! under libfaketime, which changes what the wall's clock says and leaves the time that passes alone.

use std::{path::PathBuf, time::Duration};

use mavis_tests::{Postgres, Server, write};
use serde_json::{Value, json};

use super::{Gate, begin, declare, ended, ingest, killed::TAKEN_UP, log, params_of, stands, totals, totals_of};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;
/// Longer than the server takes until it looks after its runs again.
const LOOKED_AFTER: Duration = Duration::from_secs(17);

/// A server whose clock may be set.
struct Timed {
    server: Server,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Timed {
    async fn start(config: &str) -> Option<Self> {
        let Some(library) = std::env::var("MAVIS_TEST_FAKETIME").ok().filter(|path| !path.is_empty()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_FAKETIME is not set");
            eprintln!("skipped: MAVIS_TEST_FAKETIME is not set; run `make test`");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offset");
        write(&file, "+0").unwrap();
        let server = Server::builder()
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // The stamps of files are what the clock said when they were written.
            .env("NO_FAKE_STAT", "1")
            .config(config)
            .start()
            .await
            .unwrap();
        let timed = Self { server, file, _folder: folder };
        assert!(timed.ahead().await.abs() < 60, "the clock is that of this machine");
        Some(timed)
    }

    /// Sets the clock to so many seconds ahead of this machine's.
    async fn set(&self, ahead: i64) {
        // Whoever reads it meanwhile reads all of it.
        let new = self.file.with_extension("new");
        write(&new, format!("{ahead:+}")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
        let found = self.ahead().await;
        assert!((found - ahead).abs() < 60, "the clock was not set: {found} and not {ahead}");
    }

    /// By how many seconds the server's clock is ahead.
    async fn ahead(&self) -> i64 {
        let text = "SELECT CAST(date_part('epoch', now()) AS BIGINT)";
        let told = self.server.count(text).await.unwrap();
        let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        told - i64::try_from(here.as_secs()).unwrap()
    }

    /// Runs of a source, of whatever state.
    async fn runs(&self, source: &str) -> i64 {
        self.server.count(&format!("SELECT count(*) FROM system.ops.runs WHERE source = '{source}'")).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_in_the_middle_of_an_ingest_costs_no_row_and_doubles_no_work() {
    let Some(database) = Postgres::create().unwrap() else { return };
    for table in ["event", "patient"] {
        let made = format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint, words text);
             INSERT INTO {table} SELECT i, i % 1000, repeat(md5(i::text), 4) FROM generate_series(1, 20000) i"
        );
        database.execute(&made).unwrap();
    }
    let gate = Gate::to(database.port).await;
    let Some(timed) = Timed::start("[pipeline]\nattempts = 1\n").await else { return };
    let server = &timed.server;
    let mut params = params_of(&database, gate.port);
    params["cursor_columns"] = json!({ "event": "id" });
    declare(server, "his", "postgres", &params);
    // Forward, back a little, forward again, and back to where it was.
    let mut runs = 0;
    for (round, ahead) in (1..).zip([DAY, DAY - HOUR, 2 * DAY, 0]) {
        gate.hold_after(700_000);
        let run = begin(server, "his");
        gate.holding().await;
        timed.set(ahead).await;
        tokio::time::sleep(LOOKED_AFTER).await;
        assert_eq!(stands(server, &run).await.0, "running");
        gate.open();
        let (state, error) = ended(server, &run).await;
        let words = log(server, &run).await;
        assert_eq!(state, "completed", "{ahead}: {error}\n{words}");
        assert!(!words.contains(TAKEN_UP), "{ahead}: a server took its own run away:\n{words}");
        assert!(!words.contains("again"), "{ahead}: nothing was done twice:\n{words}");
        runs += 1;
        assert_eq!(timed.runs("his").await, runs, "{ahead}");
        for table in ["event", "patient"] {
            let text = database.execute(&totals_of("json_build_object", table)).unwrap();
            let truth: Value = serde_json::from_str(&text).unwrap();
            for zone in ["raw", "processed"] {
                assert_eq!(totals(server, &format!("{zone}.his.{table}")).await, truth, "{ahead}: {zone} {table}");
            }
        }
        // What is told of the run can be read, whatever its times are.
        let rows = server.mavis(&["run", "list"]).unwrap().ok().unwrap();
        assert!(rows.contains("completed"), "{rows}");
        database
            .execute(&format!(
                "INSERT INTO event SELECT id + {round}000000, v, words FROM event WHERE id <= 20000;
                 UPDATE patient SET v = v + 1; DELETE FROM patient WHERE id % 97 = {round}"
            ))
            .unwrap();
    }
    ingest(server, "his");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_between_schedules_keeps_each_time_of_a_plan_once() {
    let Some(timed) = Timed::start("").await else { return };
    let server = &timed.server;
    for source in ["nightly", "beat"] {
        let folder = server.scratch().join(source);
        write(folder.join("t.csv"), "id,v\n1,1\n2,2\n").unwrap();
        server
            .mavis(&["source", "add", source, "--kind", "files", "--param", &format!("path={}", folder.display())])
            .unwrap()
            .ok()
            .unwrap();
        server.mavis(&["source", "discover", source]).unwrap().ok().unwrap();
    }
    let hour = server.count("SELECT CAST(date_part('hour', now()) AS BIGINT)").await.unwrap();
    let cron = format!("0 {} * * *", (hour + 12) % 24);
    server.mavis(&["schedule", "set", "nightly", "--cron", &cron, "--zone", "UTC"]).unwrap().ok().unwrap();
    server.mavis(&["schedule", "set", "beat", "--every", "3s"]).unwrap().ok().unwrap();
    let beats = async |least: i64| {
        let (before, end) = (timed.runs("beat").await, std::time::Instant::now() + Duration::from_secs(40));
        while timed.runs("beat").await < before + least {
            assert!(std::time::Instant::now() < end, "the beat stands still: {}", server.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    beats(2).await;
    assert_eq!(timed.runs("nightly").await, 0);
    // The time of the plan passes with the jump; it is kept once, although the clock comes by it again and again.
    for (ahead, kept) in [(DAY, 1), (DAY - HOUR, 1), (0, 1), (DAY - 2 * HOUR, 1), (2 * DAY, 2), (DAY, 2), (2 * DAY, 2)]
    {
        let before = timed.runs("beat").await;
        timed.set(ahead).await;
        let began = std::time::Instant::now();
        beats(2).await;
        // As many as there is time for, and one for all that passed.
        let beaten = timed.runs("beat").await - before;
        let fit = i64::try_from(began.elapsed().as_secs()).unwrap() / 3 + 3;
        assert!(beaten <= fit, "{ahead}: {beaten} runs where {fit} fit");
        assert_eq!(timed.runs("nightly").await, kept, "{ahead}: {}", server.log());
    }
    let failed = "SELECT count(*) FROM system.ops.runs WHERE state NOT IN ('completed', 'running', 'pending')";
    assert_eq!(server.count(failed).await.unwrap(), 0, "{}", server.log());
    for source in ["nightly", "beat"] {
        assert_eq!(server.count(&format!("SELECT count(*) FROM raw.{source}.t")).await.unwrap(), 2);
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_when_the_clock_says_so() {
    let Some(timed) = Timed::start("").await else { return };
    let server = &timed.server;
    let made =
        server.mavis(&["token", "create", "reader", "--role", "reader", "--expires", "2h"]).unwrap().ok().unwrap();
    let token = made.split_whitespace().find(|word| word.len() > 30).unwrap().to_owned();
    let asked = async || {
        let bearer = format!("Bearer {token}");
        let body = json!({ "sql": "SELECT 1 AS one" });
        let headers = [("authorization", bearer.as_str())];
        server.request("POST", "/api/v1/sql", &headers, Some(body)).await.unwrap().status
    };
    assert_eq!(asked().await, 200, "{made}");
    timed.set(HOUR).await;
    assert_eq!(asked().await, 200);
    timed.set(DAY).await;
    assert_eq!(asked().await, 401, "it has ended");
    timed.set(DAY - HOUR).await;
    assert_eq!(asked().await, 401);
    // Where the clock was wrong and is put right, what it says counts.
    timed.set(0).await;
    assert_eq!(asked().await, 200);
}

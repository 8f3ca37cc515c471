//! Fifty clients at once, through every door, on a server with little memory: each answer is compared with what it must be.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::{TryStreamExt, future::join_all};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::harness::{client, run, stderr, stdout};

const CLIENTS: usize = 50;
/// Tokens that they share: principals take turns.
const PRINCIPALS: usize = 5;
/// Rows of the table, and how they are made.
const ROWS: i64 = 60_000;
const SITES: i64 = 97;
const PATIENTS: usize = 150;
/// Of each patient.
const OBSERVATIONS: usize = 8;
/// Resident memory that the process may reach, in kilobytes.
const MOST_KB: u64 = 2 << 20;

const CONFIG: &str = "
[query]
concurrent = 4
queued = 100
memory_bytes = 67108864
total_memory_bytes = 268435456
answers_bytes = 33554432

[limits.analyst]
concurrent_each = 2
";

/// How long they ask. Two minutes with `MAVIS_TEST_CROWD_SECONDS=120`.
fn time() -> Duration {
    let seconds = std::env::var("MAVIS_TEST_CROWD_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

fn number(row: i64) -> i64 {
    row * 7_919 % 10_007
}

struct Server {
    child: Child,
    http: String,
    grpc: String,
    token: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_err() || self.child.wait().is_err() {
            eprintln!("the server of this test may still run");
        }
    }
}

impl Server {
    /// The binary as a process of its own, so that its memory is its own.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, config) = (folder.path().join("data"), folder.path().join("mavis.toml"));
        std::fs::write(&config, CONFIG).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mavis"))
            .args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"])
            .arg(&data)
            .arg("--config")
            .arg(&config)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (ready, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            for line in lines.map_while(Result::ok) {
                if line.contains("panicked") || line.contains("ERROR") {
                    eprintln!("{line}");
                }
                if line.contains("ready: http on")
                    && let Some(ready) = ready.take()
                {
                    let address = |name: &str| {
                        let rest = line.split(&format!(" {name}=")).nth(1).unwrap_or_default();
                        rest.split_whitespace().next().unwrap_or_default().to_owned()
                    };
                    ready.send((address("http"), address("grpc"))).unwrap();
                }
            }
        });
        let (http, grpc) = tokio::time::timeout(Duration::from_secs(60), told).await.unwrap().unwrap();
        assert!(http.contains(':') && grpc.contains(':'), "{http} {grpc}");
        let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
        Self { child, http, grpc, token, _folder: folder }
    }

    async fn mavis(&self, args: &[&str]) -> String {
        let output = run(client(&self.grpc, &self.token, args)).await;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// The largest resident set that the process ever had, in kilobytes.
    fn peak_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A table of rows and a lake of resources.
    async fn fill(&self) {
        let folder = self._folder.path().join("in");
        std::fs::create_dir_all(&folder).unwrap();
        let mut csv = String::from("id,site,n,note\n");
        for row in 0..ROWS {
            csv.push_str(&format!("{row},{},{},note {} of this row\n", row % SITES, number(row), number(row)));
        }
        std::fs::write(folder.join("measures.csv"), csv).unwrap();
        let path = format!("path={}", folder.join("measures.csv").display());
        self.mavis(&["source", "add", "crowd", "--kind", "files", "--param", &path]).await;
        self.mavis(&["ingest", "crowd"]).await;
        let mut entries = Vec::new();
        for patient in 0..PATIENTS {
            let put = |resource: Value| {
                let url =
                    format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
                json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
            };
            entries.push(put(json!({ "resourceType": "Patient", "id": format!("p-{patient}"), "name": [{ "family": format!("Family{patient}") }] })));
            for n in 0..OBSERVATIONS {
                entries.push(put(json!({
                    "resourceType": "Observation",
                    "id": format!("o-{patient}-{n}"),
                    "status": "final",
                    "code": { "coding": [{ "system": "urn:c", "code": format!("c{n}") }] },
                    "subject": { "reference": format!("Patient/p-{patient}") },
                    "valueQuantity": { "value": patient * 100 + n },
                })));
            }
        }
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        let answer = reqwest::Client::new()
            .post(format!("http://{}/fhir", self.http))
            .bearer_auth(&self.token)
            .header("content-type", "application/fhir+json")
            .body(bundle.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

/// What the Flight client fails with, as text.
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Asks over HTTP until the server has room; other refusals are none that may be.
struct Asker {
    http: String,
    token: String,
    client: reqwest::Client,
    flight: FlightSqlServiceClient<Channel>,
    busy: Arc<AtomicU64>,
}

impl Asker {
    async fn json(&self, request: reqwest::RequestBuilder) -> Value {
        loop {
            let answer = request.try_clone().unwrap().bearer_auth(&self.token).send().await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap();
            match status {
                200 => return serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")),
                429 | 503 if body.contains("limit reached") => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                other => panic!("{other}: {body}"),
            }
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.json(self.client.get(format!("http://{}{path}", self.http))).await
    }

    /// Rows as lists of the values of their columns.
    async fn sql(&self, sql: String) -> Vec<Value> {
        let request = self.client.post(format!("http://{}/api/v1/sql", self.http)).json(&json!({ "sql": sql }));
        let answer = self.json(request).await;
        answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    async fn flight(&mut self, sql: String) -> Vec<(i64, i64)> {
        loop {
            let asked = async {
                let info = self.flight.execute(sql.clone(), None).await?;
                let mut rows = Vec::new();
                for endpoint in info.endpoint {
                    let stream = self.flight.do_get(endpoint.ticket.unwrap()).await?;
                    let batches: Vec<_> = stream.try_collect().await?;
                    for batch in batches {
                        let column = |index: usize| batch.column(index).as_primitive::<Int64Type>().values().to_vec();
                        rows.extend(column(0).into_iter().zip(column(1)));
                    }
                }
                Ok::<_, Failed>(rows)
            };
            match asked.await.map_err(|error| error.to_string()) {
                Ok(rows) => return rows,
                Err(error) if error.contains("limit reached") => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// One question of some kind, and whether its answer is right.
    async fn ask(&mut self, random: &mut StdRng) {
        let table = "raw.crowd.measures";
        match random.random_range(0..7) {
            0 => {
                let (least, site) = (random.random_range(0..10_007), random.random_range(0..SITES));
                let sql = format!(
                    "SELECT count(*) AS c, sum(CAST(n AS BIGINT)) AS s FROM {table} \
                     WHERE CAST(site AS BIGINT) = {site} AND CAST(n AS BIGINT) >= {least}"
                );
                let fits: Vec<i64> =
                    (0..ROWS).filter(|row| row % SITES == site).map(number).filter(|n| *n >= least).collect();
                let sum = if fits.is_empty() { Value::Null } else { json!(fits.iter().sum::<i64>()) };
                assert_eq!(self.sql(sql.clone()).await, [json!([fits.len(), sum])], "{sql}");
            }
            1 => {
                let skipped = random.random_range(0..1_000_usize);
                let sql = format!(
                    "SELECT CAST(id AS BIGINT) AS i FROM {table} \
                     ORDER BY CAST(n AS BIGINT) DESC, CAST(id AS BIGINT) LIMIT 20 OFFSET {skipped}"
                );
                let mut all: Vec<i64> = (0..ROWS).collect();
                all.sort_by_key(|row| (-number(*row), *row));
                let expected: Vec<_> = all[skipped..skipped + 20].iter().map(|row| json!([row])).collect();
                assert_eq!(self.sql(sql.clone()).await, expected, "{sql}");
            }
            // Sorts more than it may hold.
            2 => {
                let times = random.random_range(20..30);
                let sql = format!(
                    "SELECT count(*) AS c FROM (SELECT row_number() OVER (ORDER BY repeat(note, {times}), id) AS r FROM {table}) WHERE r > 0"
                );
                assert_eq!(self.sql(sql.clone()).await, [json!([ROWS])], "{sql}");
            }
            3 => {
                let site = random.random_range(0..SITES);
                let sql = format!(
                    "SELECT CAST(id AS BIGINT) AS i, CAST(n AS BIGINT) AS n FROM {table} WHERE CAST(site AS BIGINT) = {site}"
                );
                let mut rows = self.flight(sql.clone()).await;
                rows.sort_unstable();
                let expected: Vec<_> =
                    (0..ROWS).filter(|row| row % SITES == site).map(|row| (row, number(row))).collect();
                assert_eq!(rows, expected, "{sql}");
            }
            4 => {
                let (patient, n) = (random.random_range(0..PATIENTS), random.random_range(0..OBSERVATIONS));
                let read = self.get(&format!("/fhir/Observation/o-{patient}-{n}")).await;
                assert_eq!(read["valueQuantity"]["value"], json!(patient * 100 + n), "{read}");
            }
            5 => {
                let patient = random.random_range(0..PATIENTS);
                let found = self.get(&format!("/fhir/Observation?patient=p-{patient}&_total=accurate")).await;
                assert_eq!(found["total"], json!(OBSERVATIONS), "{found}");
                let mut values: Vec<u64> = found["entry"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| entry["resource"]["valueQuantity"]["value"].as_u64().unwrap())
                    .collect();
                values.sort_unstable();
                let expected: Vec<u64> = (0..OBSERVATIONS).map(|n| (patient * 100 + n) as u64).collect();
                assert_eq!(values, expected);
            }
            _ => {
                let patient = random.random_range(0..PATIENTS);
                let path = format!("/api/v1/tables/fhir/r4/patient/rows/p-{patient}?columns=id,resource");
                let row = self.get(&path).await;
                assert!(row.to_string().contains(&format!("Family{patient}")), "{row}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_once_get_right_answers_in_little_memory() {
    let mut server = Server::start().await;
    server.fill().await;
    let mut tokens = Vec::new();
    for n in 0..PRINCIPALS {
        tokens.push(
            server.mavis(&["token", "create", &format!("crowd{n}"), "--role", "analyst"]).await.trim().to_owned(),
        );
    }
    let (asked, busy) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + time();
    let clients = (0..CLIENTS).map(|n| {
        let (http, grpc, token) = (server.http.clone(), server.grpc.clone(), tokens[n % PRINCIPALS].clone());
        let (asked, busy) = (Arc::clone(&asked), Arc::clone(&busy));
        tokio::spawn(async move {
            let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
            let mut flight = FlightSqlServiceClient::new(channel);
            flight.set_token(token.clone());
            let mut asker = Asker { http, token, client: reqwest::Client::new(), flight, busy };
            let mut random = StdRng::seed_from_u64(n as u64);
            let mut own = 0_u64;
            while Instant::now() < end {
                asker.ask(&mut random).await;
                asked.fetch_add(1, Ordering::Relaxed);
                own += 1;
            }
            own
        })
    });
    let own: Vec<u64> = join_all(clients).await.into_iter().map(Result::unwrap).collect();
    let (asked, busy, peak) = (asked.load(Ordering::Relaxed), busy.load(Ordering::Relaxed), server.peak_kb());
    println!(
        "{asked} right answers ({busy} times asked again), least of a client {:?}, peak {} MiB",
        own.iter().min(),
        peak >> 10
    );
    assert!(server.child.try_wait().unwrap().is_none(), "the server has ended");
    assert!(own.iter().all(|own| *own > 0), "nobody starves: {own:?}");
    assert!(peak < MOST_KB, "{} MiB", peak >> 10);
}

//! `kill -9` in the middle of a table, at many moments: the next start goes on by itself, and every row is there once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mavis_tests::{MariaDb, Postgres, Server};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Gate, begin, declare, ended, ingest, log, params_of, totals, totals_of};
use crate::stub::{Reply, Stub};

const ROWS: u64 = 30_000;
/// What the log says of a run that an earlier process began.
pub(super) const TAKEN_UP: &str = "this run was begun before";
const TABLES: [&str; 2] = ["patient", "event"];

/// When the server is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// When so many bytes have come from the source, and no more come.
    Reading(u64),
    /// So long after everything may come: while it is written, committed, cleaned, or after it.
    Later(Duration),
}

/// A round for each: the first bytes, the middle, near the end, and what comes after the reading.
pub(super) fn moments(random: &mut StdRng, bytes: u64) -> Vec<Moment> {
    vec![
        Moment::Reading(random.random_range(bytes / 20..bytes / 4)),
        Moment::Later(Duration::from_millis(random.random_range(0..400))),
        Moment::Reading(random.random_range(bytes / 4..bytes * 3 / 4)),
        Moment::Later(Duration::from_millis(random.random_range(200..1_200))),
        Moment::Reading(random.random_range(bytes * 3 / 4..bytes * 9 / 10)),
    ]
}

/// Begins a run, kills the server at a moment of it, starts it again and waits for the end of the run.
pub(super) async fn killed_once(server: &mut Server, gate: &Gate, source: &str, moment: Moment) {
    if let Moment::Reading(bytes) = moment {
        gate.hold_after(bytes);
    }
    let run = begin(server, source);
    match moment {
        Moment::Reading(_) => gate.holding().await,
        Moment::Later(pause) => tokio::time::sleep(pause).await,
    }
    server.kill().unwrap();
    gate.open();
    server.spawn().unwrap();
    server.ready().await.unwrap();
    let (state, error) = ended(server, &run).await;
    let told = log(server, &run).await;
    assert!(state.starts_with("completed"), "{moment:?}: {state} {error}\n{told}");
    if matches!(moment, Moment::Reading(_)) {
        assert!(told.contains(TAKEN_UP), "{moment:?}: the log says what happened:\n{told}");
    }
}

async fn assert_same(server: &Server, source: &str, moment: Moment, truth: impl Fn(&str) -> Value) {
    for table in TABLES {
        let truth = truth(table);
        for zone in ["raw", "processed"] {
            assert_eq!(totals(server, &format!("{zone}.{source}.{table}")).await, truth, "{zone} {table} {moment:?}");
        }
    }
}

/// Changes of a table that is compared, and new rows of one that is read on from a cursor; `n` is the number of the round.
fn changes(n: usize) -> String {
    let from = ROWS as usize + n * 3_000;
    format!(
        "UPDATE patient SET v = v + {n} WHERE id % 5 = {};
         DELETE FROM patient WHERE id % 97 = {n};
         INSERT INTO patient SELECT id + {}, v, words FROM event WHERE id <= 2000;
         INSERT INTO event SELECT id + {from}, v + 1, concat(words, '{n}') FROM event WHERE id <= 3000;",
        n % 5,
        1_000_000 * n,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_reads_postgresql_lands_every_row_once() {
    let Some(database) = Postgres::create().unwrap() else { return };
    for table in TABLES {
        let made = format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint, words text);
             INSERT INTO {table} SELECT i, i % 1000, repeat(md5(i::text), 4) FROM generate_series(1, {ROWS}) i"
        );
        database.execute(&made).unwrap();
    }
    let gate = Gate::to(database.port).await;
    let mut server = Server::start().await.unwrap();
    let mut params = params_of(&database, gate.port);
    params["cursor_columns"] = json!({ "event": "id" });
    declare(&server, "his", "postgres", &params);
    let truth = |table: &str| {
        let text = database.execute(&totals_of("json_build_object", table)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut random = StdRng::seed_from_u64(20_261);
    // About 8 MB at first; later rounds read one table whole and little of the other.
    for (n, moment) in (1..).zip(moments(&mut random, 3_500_000)) {
        killed_once(&mut server, &gate, "his", moment).await;
        assert_same(&server, "his", moment, truth).await;
        database.execute(&changes(n)).unwrap();
    }
    ingest(&server, "his");
    assert_same(&server, "his", Moment::Reading(0), truth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_reads_mariadb_lands_every_row_once() {
    let Some(database) = MariaDb::create().unwrap() else { return };
    for table in TABLES {
        let made = format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint, words varchar(200)) ENGINE=InnoDB;
             INSERT INTO {table} SELECT seq, seq % 1000, repeat(md5(seq), 4) FROM seq_1_to_{ROWS};"
        );
        database.execute(&made).unwrap();
    }
    let gate = Gate::to(database.port).await;
    let mut server = Server::builder().env("MYSQL_PASSWORD_LIS", &database.password).start().await.unwrap();
    let mut params = database.params(gate.port);
    params["cursor_columns"] = json!({ "event": "id" });
    declare(&server, "lis", "mysql", &params);
    let truth = |table: &str| {
        let text = database.execute(&totals_of("json_object", table)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut random = StdRng::seed_from_u64(20_262);
    for (n, moment) in (1..).zip(moments(&mut random, 3_500_000)) {
        killed_once(&mut server, &gate, "lis", moment).await;
        assert_same(&server, "lis", moment, truth).await;
        database.execute(&changes(n)).unwrap();
    }
    ingest(&server, "lis");
    assert_same(&server, "lis", Moment::Reading(0), truth).await;
}

/// What an export holds of a table: the numbers and words of each id.
type Export = Arc<Mutex<BTreeMap<&'static str, BTreeMap<u64, (u64, String)>>>>;

async fn export(rows: &Export) -> Stub {
    let rows = Arc::clone(rows);
    Stub::start(move |asked, _| {
        let rows = rows.lock().unwrap();
        let Some(rows) = rows.get(asked.path.trim_start_matches('/')) else { return Reply::status(404) };
        let since = asked.number("since", 0) as u64;
        let (page, size) = (asked.number("page", 1), 500);
        let page: Vec<Value> = rows
            .range(since..)
            .skip((page - 1) * size)
            .take(size)
            .map(|(id, (v, words))| json!({ "id": id, "v": v, "words": words }))
            .collect();
        Reply::json(json!({ "items": page }))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_reads_an_http_export_lands_every_row_once() {
    let rows: Export = Arc::default();
    let words = |id: u64| format!("{id:032x}").repeat(4);
    for table in TABLES {
        let all = (1..=6_000).map(|id| (id, (id % 1000, words(id)))).collect();
        rows.lock().unwrap().insert(table, all);
    }
    let stub = export(&rows).await;
    let gate = Gate::to(stub.url.rsplit_once(':').unwrap().1.parse().unwrap()).await;
    let mut server = Server::start().await.unwrap();
    let paging = json!({ "type": "page", "parameter": "page" });
    let params = json!({ "api_url": format!("http://127.0.0.1:{}/", gate.port), "tables": {
        "patient": { "path": "patient", "records": "items", "key": ["id"], "paging": paging },
        "event": { "path": "event", "records": "items", "key": ["id"], "paging": paging,
                   "incremental": { "parameter": "since", "column": "id", "sorted": true } } } });
    declare(&server, "qms", "http", &params);
    let truth = |table: &str| {
        let rows = rows.lock().unwrap();
        let rows = &rows[table];
        let sum = |of: fn(&(&u64, &(u64, String))) -> u64| rows.iter().map(|row| of(&row)).sum::<u64>();
        json!({ "n": rows.len(), "d": rows.len(), "i": sum(|row| *row.0), "v": sum(|row| row.1.0),
                "w": sum(|row| row.1.1.len() as u64) })
    };
    let mut random = StdRng::seed_from_u64(20_263);
    for (n, moment) in (1..).zip(moments(&mut random, 900_000)) {
        killed_once(&mut server, &gate, "qms", moment).await;
        assert_same(&server, "qms", moment, truth).await;
        let mut rows = rows.lock().unwrap();
        let patients = rows.get_mut("patient").unwrap();
        patients.retain(|id, _| id % 97 != n);
        patients.values_mut().for_each(|(v, _)| *v += 1);
        patients.insert(100_000 + n, (n, words(n)));
        let events = rows.get_mut("event").unwrap();
        let last = *events.keys().last().unwrap();
        events.extend((last + 1..last + 900).map(|id| (id, (n, words(id)))));
    }
    ingest(&server, "qms");
    assert_same(&server, "qms", Moment::Reading(0), truth).await;
}

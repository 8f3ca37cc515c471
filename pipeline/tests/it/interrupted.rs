//! Readings that break in the middle of a table: a tunnel is cut, a database ends the connection.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    sshd::{Proxy, Sshd},
    support::*,
};

const ROWS: u64 = 300_000;
/// About 60 MB; a batch is 65,536 rows.
const TABLE: &str = "CREATE TABLE big (id bigint PRIMARY KEY, words text);
    INSERT INTO big SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, 300000) i";

/// A database of its own.
struct Database {
    url: String,
    params: Value,
}

impl Database {
    async fn make() -> Option<Self> {
        let Some(admin) = std::env::var("MAVIS_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_POSTGRES is not set");
            println!("skipped: MAVIS_TEST_POSTGRES is not set; run `make test`");
            return None;
        };
        let name = format!("interrupted_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (base, _) = admin.rsplit_once('/').unwrap();
        let (user, address) = base.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        let params = json!({ "host": host, "port": port.parse::<u16>().unwrap(), "user": user, "database": name });
        let database = Self { url: format!("{base}/{name}"), params };
        database.connect().await.execute(TABLE).await.unwrap();
        Some(database)
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    fn params(&self, more: Value) -> Value {
        let mut params = self.params.clone();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    }
}

/// Every row once, its words with it.
async fn assert_whole(life: &Life) {
    let sql = "SELECT count(*) = 300000 AND count(DISTINCT id) = 300000 AND min(id) = 1 AND max(id) = 300000
                   AND min(length(words)) = 192 AND max(length(words)) = 192 FROM t";
    assert_eq!(life.ask("raw.far.big", sql).await, [Some("true".to_owned())]);
}

/// A source behind an SSH server whose connection is cut twice; the run's log and what it read.
async fn cut_twice(cursor_columns: Value) -> Option<(Vec<String>, u64)> {
    let gate = Sshd::start("")?;
    let database = Database::make().await?;
    let proxy = Proxy::to(gate.port).await;
    let ssh = gate.block_with(json!({ "port": proxy.port }));
    let house = House::new();
    let life = house.start().await;
    life.add("far", "postgres", database.params(json!({ "ssh": ssh, "cursor_columns": cursor_columns }))).await;
    life.pipeline.discover(&me(), &name("far")).await.unwrap();
    proxy.cut_after(20_000_000);
    let run = life.pipeline.start_run(&me(), mavis_types::RunId::new(), request("far")).await.unwrap();
    while !proxy.has_cut() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.cut_after(20_000_000);
    let run = life.wait(run.id).await;
    assert!(completed(&run), "{:?}", run.state);
    assert!(proxy.has_cut() && proxy.accepted() >= 3, "it was cut twice");
    assert_whole(&life).await;
    let read = life.counts(run.id, mavis_catalog::Step::ToRaw, "raw.far.big").await.read;
    Some((life.log(run.id).await, read))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_a_cursor_goes_on_from_it_when_its_tunnel_was_cut() {
    let Some((log, read)) = cut_twice(json!({ "big": "id" })).await else { return };
    let told: Vec<_> = log.iter().filter(|line| line.contains("going on from the last cursor")).collect();
    assert!(told.len() >= 2 && told.iter().all(|line| line.contains("interrupted")), "{log:?}");
    assert_eq!(read, ROWS, "nothing is read twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_cursor_is_read_again_when_its_tunnel_was_cut() {
    let Some((log, read)) = cut_twice(json!({})).await else { return };
    let told: Vec<_> =
        log.iter().filter(|line| line.contains("interrupted") && line.contains("trying again")).collect();
    assert!(told.len() >= 2, "{log:?}");
    assert_eq!(read, ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_ends_the_connection_is_asked_again_from_the_cursor() {
    let Some(database) = Database::make().await else { return };
    let house = House::new();
    let life = house.start().await;
    life.add("far", "postgres", database.params(json!({ "cursor_columns": { "big": "id" } }))).await;
    life.pipeline.discover(&me(), &name("far")).await.unwrap();
    let mut admin = database.connect().await;
    // The sample that discovery took may still be on its way out.
    let now: String = sqlx::query_scalar("SELECT clock_timestamp()::text").fetch_one(&mut admin).await.unwrap();
    let run = life.pipeline.start_run(&me(), mavis_types::RunId::new(), request("far")).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'COPY (SELECT%' AND query_start > $1::timestamptz";
    let ended = async {
        while sqlx::query_scalar::<_, i64>(end).bind(&now).fetch_one(&mut admin).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the table is being read");
    let run = life.wait(run.id).await;
    assert!(completed(&run), "{:?}", run.state);
    assert_whole(&life).await;
    let log = life.log(run.id).await;
    assert!(log.iter().any(|line| line.contains("interrupted")), "{log:?}");
}

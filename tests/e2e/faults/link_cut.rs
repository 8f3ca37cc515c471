//! A network link that goes down in the middle of a table and comes back, or does not: over the plain connection, through SSH, behind
//! the SSH server, and while changes are read from a slot.

use std::time::{Duration, Instant};

use mavis_tests::{Server, ServerBuilder};
use serde_json::{Value, json};

use super::{OwnPostgres, begin, declare, ended, ingest, link::Link, log, stands, told, totals, totals_of};
use crate::sshd::{Place, Sshd};

const TABLES: [&str; 2] = ["event", "patient"];
/// What the run's log says of a link that is down: nothing was heard, or the kernel knows no way any more.
const SILENT: [&str; 2] = ["is the network cut?", "there is no route to the server any more"];
/// Seconds until a silent connection is asked for signs of life, and between them; it is given up after four times that.
const KEEP_ALIVE: u64 = 1;

/// About 20 MB in each table: more than all buffers between the two processes hold. `event` is read on from a cursor.
fn filled(database: &OwnPostgres) {
    for table in TABLES {
        database.execute(&format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint, words text);
             INSERT INTO {table} SELECT i, i % 1000, repeat(md5(i::text), 16) FROM generate_series(1, 40000) i"
        ));
    }
}

/// About 60 MB of new rows behind the cursor; of the other table every row is another one.
fn changed(database: &OwnPostgres) {
    database.execute(
        "INSERT INTO event SELECT id + n * (SELECT max(id) FROM event), v + 1, words FROM event, generate_series(1, 3) n
         WHERE id <= 40000;
         INSERT INTO patient SELECT id + (SELECT max(id) FROM patient), v, words FROM event WHERE id <= 2000",
    );
    database.execute("UPDATE patient SET v = v + 1; DELETE FROM patient WHERE id % 97 = 0");
}

fn params(database: &OwnPostgres, host: &str) -> Value {
    json!({ "host": host, "port": database.port, "user": "mavis", "database": "postgres",
            "connect_timeout_seconds": 2, "keep_alive_seconds": KEEP_ALIVE, "cursor_columns": { "event": "id" } })
}

fn server() -> ServerBuilder {
    let config = "[pipeline]\nworkers = 1\ntables_per_run = 1\nattempts = 1\n";
    Server::builder().config(config).env("POSTGRES_PASSWORD_HIS", "admin")
}

async fn assert_same(server: &Server, database: &OwnPostgres, after: &str) {
    for table in TABLES {
        let truth: Value = serde_json::from_str(&database.execute(&totals_of("json_build_object", table))).unwrap();
        for zone in ["raw", "processed"] {
            assert_eq!(totals(server, &format!("{zone}.his.{table}")).await, truth, "{zone} {table} after {after}");
        }
    }
}

async fn assert_running(server: &Server, run: &str) {
    assert_eq!(stands(server, run).await.0, "running", "the link was not cut in the middle");
}

async fn told_one_of(server: &Server, run: &str, reasons: &[&str]) {
    told(server, run, "was interrupted: the connection broke: ").await;
    let words = log(server, run).await;
    assert!(reasons.iter().any(|reason| words.contains(reason)), "{words}");
}

/// A link that is down for less than connections are kept is not noticed by anybody.
async fn short(server: &Server, link: &Link) {
    let run = link.cut_after(4 << 20, || begin(server, "his")).await;
    tokio::time::sleep(Duration::from_secs(KEEP_ALIVE)).await;
    assert_running(server, &run).await;
    link.mend();
    let (state, error) = ended(server, &run).await;
    let words = log(server, &run).await;
    assert!(state.starts_with("completed") && !words.contains("interrupted"), "{state} {error}\n{words}");
}

/// One that is down for longer is told of, with `reason`, and when it is back the reading goes on.
async fn longer(server: &Server, link: &Link, reasons: &[&str]) {
    // Some batches have come by then.
    let run = link.cut_after(46 << 20, || begin(server, "his")).await;
    let began = Instant::now();
    told_one_of(server, &run, reasons).await;
    // Four times the keep-alive; what is more is this machine's.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4 * KEEP_ALIVE + 12), "{took:?}");
    assert_running(server, &run).await;
    link.mend();
    let (state, error) = ended(server, &run).await;
    let words = log(server, &run).await;
    assert!(state.starts_with("completed"), "{state} {error}\n{words}");
    assert!(words.contains("going on from the last cursor"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_postgresql_may_go_down_in_the_middle_of_a_table() {
    let Some(link) = Link::of("link_cut::a_link_to_postgresql_may_go_down_in_the_middle_of_a_table") else { return };
    let place = link.place();
    let host = place.address.clone();
    let Some(database) = OwnPostgres::start_at(place, &[]) else { return };
    filled(&database);
    let server = server().start().await.unwrap();
    declare(&server, "his", "postgres", &params(&database, &host));
    short(&server, &link).await;
    assert_same(&server, &database, "a short cut").await;
    changed(&database);
    longer(&server, &link, &SILENT).await;
    assert_same(&server, &database, "a longer cut").await;

    // Down for good: the run ends, and says where the way ends.
    changed(&database);
    let run = link.cut_after(4 << 20, || begin(&server, "his")).await;
    let began = Instant::now();
    told_one_of(&server, &run, &SILENT).await;
    let (state, error) = ended(&server, &run).await;
    // Silence, and seven tries in a minute and a half, each of which may wait for a connection.
    assert!(began.elapsed() < Duration::from_secs(4 + 91 + 7 * 2 + 12), "{:?}", began.elapsed());
    assert_eq!(state, "failed", "{}", log(&server, &run).await);
    for part in ["event", "(route)", "VPN"] {
        assert!(error.contains(part), "`{part}` is not in `{error}`");
    }
    let tested = server.mavis(&["source", "test", "his"]).unwrap();
    assert!(tested.code != 0 && tested.stdout.contains("route"), "{tested:?}");
    link.mend();
    ingest(&server, "his");
    assert_same(&server, &database, "the next run").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_an_ssh_server_may_go_down_in_the_middle_of_a_table() {
    let Some(link) = Link::of("link_cut::a_link_to_an_ssh_server_may_go_down_in_the_middle_of_a_table") else { return };
    let place = link.place();
    let Some(gate) = Sshd::start_at(place.clone(), "") else { return };
    // Only the SSH server reaches it.
    let Some(database) = OwnPostgres::start_at(Place { address: "127.0.0.1".to_owned(), ..place }, &[]) else { return };
    filled(&database);
    let server = server().start().await.unwrap();
    let mut params = params(&database, "127.0.0.1");
    params["ssh"] = gate.block_with(json!({ "keep_alive_seconds": KEEP_ALIVE }));
    declare(&server, "his", "postgres", &params);
    short(&server, &link).await;
    assert_same(&server, &database, "a short cut").await;
    changed(&database);
    longer(&server, &link, &SILENT[..1]).await;
    assert_same(&server, &database, "a longer cut").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_between_an_ssh_server_and_its_database_may_go_down_in_the_middle_of_a_table() {
    let test = "link_cut::a_link_between_an_ssh_server_and_its_database_may_go_down_in_the_middle_of_a_table";
    let Some(link) = Link::of(test) else { return };
    let place = link.place();
    let Some(gate) = Sshd::start("") else { return };
    let host = place.address.clone();
    let Some(database) = OwnPostgres::start_at(place, &[]) else { return };
    filled(&database);
    let server = server().start().await.unwrap();
    let mut params = params(&database, &host);
    params["ssh"] = gate.block_with(json!({ "keep_alive_seconds": KEEP_ALIVE }));
    declare(&server, "his", "postgres", &params);
    short(&server, &link).await;
    assert_same(&server, &database, "a short cut").await;
    changed(&database);
    longer(&server, &link, &["does not reach it any more"]).await;
    assert_same(&server, &database, "a longer cut").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_may_go_down_while_changes_are_read_from_a_slot() {
    let Some(link) = Link::of("link_cut::a_link_may_go_down_while_changes_are_read_from_a_slot") else { return };
    let place = link.place();
    let host = place.address.clone();
    let Some(database) = OwnPostgres::start_at(place, &[]) else { return };
    filled(&database);
    database.execute("CREATE PUBLICATION mavis FOR TABLE event, patient");
    let server = server().start().await.unwrap();
    let mut params = params(&database, &host);
    params.as_object_mut().unwrap().remove("cursor_columns");
    params["replication"] = json!({ "slot": "s", "publication": "mavis" });
    declare(&server, "his", "postgres", &params);
    ingest(&server, "his");
    assert_same(&server, &database, "the first reading").await;

    // In the middle of the log.
    changed(&database);
    short(&server, &link).await;
    assert_same(&server, &database, "a short cut").await;
    changed(&database);
    let run = link.cut_after(2 << 20, || begin(&server, "his")).await;
    told_one_of(&server, &run, &SILENT).await;
    assert_running(&server, &run).await;
    link.mend();
    let (state, error) = ended(&server, &run).await;
    assert!(state.starts_with("completed"), "{state} {error}\n{}", log(&server, &run).await);
    assert_same(&server, &database, "a longer cut").await;
    // The other end has noticed, too, or is told by us that nobody reads there any more.
    let end = Instant::now() + Duration::from_secs(30);
    while database.execute("SELECT active FROM pg_replication_slots") == "t" {
        assert!(Instant::now() < end, "the slot stays in use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    database.execute("DELETE FROM event WHERE id <= 100; UPDATE patient SET v = 7 WHERE id <= 50");
    ingest(&server, "his");
    assert_same(&server, &database, "what came later").await;
}

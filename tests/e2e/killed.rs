//! `kill -9` at any time: after the restart every row is there once.

use std::time::Duration;

use mavis_tests::{Server, write};
use rand::{Rng, SeedableRng, rngs::StdRng};

const ROWS: usize = 20_000;

fn readings(rows: usize) -> String {
    (1..=rows).fold(String::from("id,patient,value\n"), |mut csv, i| {
        csv.push_str(&format!("{i},{},{}\n", i % 97, i % 1000));
        csv
    })
}

#[tokio::test]
async fn twenty_kills_in_the_middle_of_ingests_lose_and_double_nothing() {
    let mut server = Server::start().await.unwrap();
    let file = server.scratch().join("in/readings.csv");
    write(&file, readings(10)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "lab", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "lab"]).unwrap().ok().unwrap();

    let seed = 20_260;
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 1..=20_usize {
        let rows = ROWS + kill * 50;
        write(&file, readings(rows)).unwrap();
        let started = server.mavis(&["ingest", "lab", "--no-wait"]).unwrap();
        assert_eq!(started.code, 0, "{}", started.stderr);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        server.kill().unwrap();
        server.spawn().unwrap();
        server.ready().await.unwrap();
        if kill % 5 == 0 {
            // What was under way is resumed or done again; a new ingest brings the rest.
            server.mavis(&["ingest", "lab"]).unwrap().ok().unwrap();
            for zone in ["raw", "processed"] {
                let sql = format!("SELECT count(*) FROM {zone}.lab.readings");
                assert_eq!(server.count(&sql).await.unwrap(), i64::try_from(rows).unwrap(), "{zone} after kill {kill}");
                let sql = format!("SELECT count(DISTINCT id) FROM {zone}.lab.readings");
                assert_eq!(server.count(&sql).await.unwrap(), i64::try_from(rows).unwrap(), "{zone} after kill {kill}");
            }
        }
    }
}

#[tokio::test]
async fn a_kill_right_after_the_run_is_done_loses_nothing() {
    let mut server = Server::start().await.unwrap();
    let file = server.scratch().join("in/readings.csv");
    write(&file, readings(5_000)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "lab", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "lab"]).unwrap().ok().unwrap();
    server.kill().unwrap();
    server.spawn().unwrap();
    server.ready().await.unwrap();
    assert_eq!(server.count("SELECT count(DISTINCT id) FROM processed.lab.readings").await.unwrap(), 5_000);
    assert_eq!(server.count("SELECT count(*) FROM processed.lab.readings").await.unwrap(), 5_000);
}

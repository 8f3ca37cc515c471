//! A disk that is really full: the data folder is on a small file system of its own.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use mavis_tests::{Server, write};
use rand::{RngCore, SeedableRng, rngs::StdRng};

use super::{apart, begin, ended, ingest, log, told};

/// Set in the process that has the small file system to itself.
const INSIDE: &str = "MAVIS_TEST_SMALL_DISK";

/// Whether this process may mount a file system that nobody else sees. Where it may not, the test of that name is run again in
/// a process that may, and `None` is answered: the test has passed there. So nothing of this machine is mounted over, and a
/// process that dies leaves nothing mounted.
fn alone(test: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return Some(PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let probe = "mount -t tmpfs -o size=1m tmpfs \"$0\"";
    let Some(way) = apart::way(&[&["-m"], &["-r", "-m"]], probe, folder.path().as_os_str()) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no small file system can be mounted (unshare, tmpfs)");
        eprintln!("skipped: no small file system can be mounted here (neither as root nor in a user namespace)");
        return None;
    };
    apart::run(way, &format!("faults::full::{test}"), INSIDE, folder.path().as_os_str());
    None
}

/// A file system of so many megabytes.
fn mount(folder: &Path, megabytes: u32) {
    let options = format!("size={megabytes}m");
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status();
    assert!(status.unwrap().success());
}

/// Bytes that are free.
fn free(folder: &Path) -> u64 {
    let output = Command::new("df").args(["-B1", "--output=avail"]).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().trim().parse().unwrap()
}

/// Takes all but so many bytes of the room, or as much as there is.
fn fill(folder: &Path, left: u64) {
    let mut ballast = File::options().append(true).create(true).open(folder.join("ballast")).unwrap();
    let block = vec![1; 4096];
    while free(folder) > left {
        let blocks = ((free(folder) - left) / 4096).max(1);
        for _ in 0..blocks {
            if ballast.write_all(&block).is_err() {
                return;
            }
        }
    }
}

fn make_room(folder: &Path) {
    std::fs::remove_file(folder.join("ballast")).unwrap();
}

/// Rows that no compression makes small; about 170 bytes each.
fn rows(seed: u64, rows: std::ops::Range<u64>) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::from("id,v,words\n");
    for id in rows {
        let words: String = (0..5).map(|_| format!("{:016x}{:016x}", random.next_u64(), random.next_u64())).collect();
        text.push_str(&format!("{id},{},{words}\n", id % 100));
    }
    text
}

async fn small(room: &Path, megabytes: u32) -> Server {
    mount(room, megabytes);
    let server = Server::builder().data(room.join("data")).config("[pipeline]\nattempts = 1\n").start().await.unwrap();
    for (name, until) in [("little", 2_000), ("large", 80_000)] {
        write(server.scratch().join(format!("in/{name}.csv")), rows(until, 0..until)).unwrap();
    }
    let path = format!("path={}", server.scratch().join("in").display());
    server.mavis(&["source", "add", "lab", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["source", "discover", "lab"]).unwrap().ok().unwrap();
    server
}

/// Rows of a table, each of which is there once; 0 where it is not there yet.
async fn count(server: &Server, table: &str) -> i64 {
    match server.sql(&format!("SELECT count(*) AS n, count(DISTINCT id) AS d FROM {table}")).await {
        Ok(rows) => {
            assert_eq!(rows[0]["n"], rows[0]["d"], "{table}");
            rows[0]["n"].as_i64().unwrap()
        }
        Err(error) => {
            assert!(error.to_string().contains("no table"), "{error}");
            0
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_run_in_words_leaves_nothing_half_and_with_room_every_row_lands_once() {
    let Some(room) = alone("a_full_disk_ends_the_run_in_words_leaves_nothing_half_and_with_room_every_row_lands_once")
    else {
        return;
    };
    let server = small(&room, 96).await;
    // Room for the small table, and for less than half of the large one.
    fill(&room, 5 << 20);
    let run = begin(&server, "lab");
    let (state, error) = ended(&server, &run).await;
    let told = log(&server, &run).await;
    assert_eq!(state, "failed", "{told}");
    for part in ["large", "full", "make room"] {
        assert!(error.contains(part), "what, where, what to do: `{part}` is not in `{error}`\n{told}");
    }
    assert!(told.contains("make room"), "{told}");
    for zone in ["raw", "processed"] {
        let large = count(&server, &format!("{zone}.lab.large")).await;
        assert_eq!(large, 0, "{zone}: nothing of it is there");
        let little = count(&server, &format!("{zone}.lab.little")).await;
        assert!([0, 2_000].contains(&little), "{zone}: whole or absent, not {little}");
    }
    make_room(&room);
    ingest(&server, "lab");
    // The same again for a table that is there: what it was before stays until all of the new is.
    let before = [("little", 2_000), ("large", 80_000)];
    for (table, rows) in before {
        assert_eq!(count(&server, &format!("raw.lab.{table}")).await, rows);
        assert_eq!(count(&server, &format!("processed.lab.{table}")).await, rows);
    }
    write(server.scratch().join("in/large.csv"), rows(1, 40_000..130_000)).unwrap();
    fill(&room, 4 << 20);
    let failed = server.mavis(&["ingest", "lab"]).unwrap();
    assert_ne!(failed.code, 0);
    assert!(failed.stderr.contains("make room"), "{}", failed.stderr);
    for (table, rows) in before {
        assert_eq!(count(&server, &format!("raw.lab.{table}")).await, rows, "{table} is what it was");
    }
    make_room(&room);
    ingest(&server, "lab");
    for zone in ["raw", "processed"] {
        assert_eq!(count(&server, &format!("{zone}.lab.large")).await, 90_000);
        let of_now = server.value(&format!("SELECT min(CAST(id AS BIGINT)) FROM {zone}.lab.large")).await.unwrap();
        assert_eq!(of_now, 40_000, "{zone}: what the source lost is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_any_room_answers_says_why_and_goes_on_when_there_is_room_again() {
    let Some(room) = alone("a_server_without_any_room_answers_says_why_and_goes_on_when_there_is_room_again") else {
        return;
    };
    let mut server = small(&room, 96).await;
    ingest(&server, "lab");
    write(server.scratch().join("in/large.csv"), rows(1, 0..90_000)).unwrap();
    // The catalog is on the same disk.
    fill(&room, 0);
    let refused = server.mavis(&["ingest", "lab"]).unwrap();
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("full") && refused.stderr.contains("make room"), "{}", refused.stderr);
    assert_eq!(count(&server, "raw.lab.large").await, 80_000, "questions are answered");
    // A run that is under way when the last byte goes comes to its end when there is room, without a restart.
    make_room(&room);
    let run = begin(&server, "lab");
    told(&server, &run, "ingesting").await;
    let end = Instant::now() + Duration::from_secs(60);
    let before = server.log().len();
    while !server.log()[before..].contains("full") {
        assert!(Instant::now() < end, "nothing fails");
        fill(&room, 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    make_room(&room);
    let (state, error) = ended(&server, &run).await;
    assert!(state == "completed" || error.contains("make room"), "{state}: {error}");
    // Killed without any room, and started again with some.
    fill(&room, 0);
    server.kill().unwrap();
    make_room(&room);
    server.spawn().unwrap();
    server.ready().await.unwrap();
    ingest(&server, "lab");
    assert_eq!(count(&server, "raw.lab.large").await, 90_000);
    assert_eq!(count(&server, "processed.lab.large").await, 90_000);
}

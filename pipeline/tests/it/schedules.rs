//! Sources that are read by themselves, by one server or by several that share a catalog.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mavis_catalog::{NewRun, RunKind, RunState};
use mavis_pipeline::{Freshness, Missed, ScheduleSpec, Ticked, When};
use mavis_types::RunId;
use serde_json::json;

use crate::support::{House, Life, me, name};

async fn clinic(house: &House) -> Life {
    house
        .sqlite("a.db", &["CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')"])
        .await;
    let life = house.start().await;
    life.add("a", "sqlite", json!({"path": house.path("a.db")})).await;
    life
}

fn every(seconds: u64) -> ScheduleSpec {
    ScheduleSpec::new(When::Interval { seconds })
}

/// Waits until no run of the source is unfinished.
async fn idle(life: &Life, source: &str) {
    let id = life.catalog.source(&name(source)).await.unwrap().id;
    let quiet = async {
        while life.catalog.runs(Some(id), 1000).await.unwrap().iter().any(|run| !run.state.is_final()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), quiet).await.expect("a run does not end");
}

async fn runs(life: &Life, source: &str) -> Vec<RunState> {
    let id = life.catalog.source(&name(source)).await.unwrap().id;
    life.catalog.runs(Some(id), 1000).await.unwrap().iter().map(|run| run.state).collect()
}

/// Looks at the schedules, and again for the ends of what began.
async fn look(life: &Life, now: DateTime<Utc>, source: &str) -> Ticked {
    let ticked = life.pipeline.look_at_schedules(now).await.unwrap();
    idle(life, source).await;
    let then = life.pipeline.look_at_schedules(now).await.unwrap();
    Ticked {
        begun: ticked.begun + then.begun,
        settled: ticked.settled + then.settled,
        disabled: ticked.disabled + then.disabled,
        ..ticked
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_is_kept_across_a_restart() {
    let house = House::new();
    let life = clinic(&house).await;
    life.pipeline.set_schedule(&me(), &name("a"), &every(600)).await.unwrap();
    let now = life.catalog.now().await.unwrap();
    assert_eq!(look(&life, now, "a").await, Ticked { begun: 1, settled: 1, ..Ticked::default() });
    assert_eq!(life.count("raw.a.t").await, 2);
    assert_eq!(look(&life, now, "a").await, Ticked::default());
    drop(life);
    let life = house.start().await;
    assert_eq!(look(&life, now + Duration::from_secs(590), "a").await.begun, 0);
    // An hour in which nobody looked: one run.
    assert_eq!(look(&life, now + Duration::from_secs(3700), "a").await.begun, 1);
    assert_eq!(look(&life, now + Duration::from_secs(3710), "a").await.begun, 0);
    assert_eq!(runs(&life, "a").await, [RunState::Completed; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_on_one_catalog_never_do_a_run_twice() {
    let house = House::new();
    let one = clinic(&house).await;
    let two = house.start_as("other").await;
    one.pipeline.set_schedule(&me(), &name("a"), &every(60)).await.unwrap();
    let mut now = one.catalog.now().await.unwrap();
    for round in 1..=4 {
        let mut begun = 0;
        for _ in 0..3 {
            let (a, b) = tokio::join!(one.pipeline.look_at_schedules(now), two.pipeline.look_at_schedules(now));
            begun += a.unwrap().begun + b.unwrap().begun;
        }
        idle(&one, "a").await;
        one.pipeline.look_at_schedules(now).await.unwrap();
        assert_eq!(begun, 1, "round {round}");
        assert_eq!(runs(&one, "a").await.len(), round);
        now += Duration::from_secs(60);
    }
    assert_eq!(one.count("raw.a.t").await, 2);
    // Whoever did not begin a run can watch it all the same.
    let last = one.catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!(two.wait(last.id).await.state, RunState::Completed);
    assert_eq!(one.wait(last.id).await.state, RunState::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_server_that_is_at_work_is_not_taken_up_by_another_and_one_of_a_dead_server_is() {
    let house = House::new();
    let life = clinic(&house).await;
    let source = life.catalog.source(&name("a")).await.unwrap();
    let new = |id| NewRun {
        id,
        kind: RunKind::Ingest,
        source: Some(source.id),
        request: json!({"job": "ingest", "source": "a", "tables": [], "full": false}),
        requested_by: "schedule".to_owned(),
        parent: None,
        attempt: 1,
    };
    let (alive, dead) = (RunId::new(), RunId::new());
    for id in [alive, dead] {
        life.catalog.add_run(new(id)).await.unwrap();
    }
    assert!(life.catalog.hold_run(alive, "third/1", Duration::from_secs(600)).await.unwrap());
    assert!(life.catalog.hold_run(dead, "fourth/1", Duration::ZERO).await.unwrap());
    let other = house.start_as("other").await;
    assert_eq!(other.wait(dead).await.state, RunState::Completed);
    assert_eq!(life.catalog.run(alive).await.unwrap().state, RunState::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_goes_on_and_the_schedule_with_it() {
    let house = House::new();
    let life = clinic(&house).await;
    let rows = "INSERT INTO t SELECT value + 10, hex(randomblob(40)) FROM generate_series(1, 60000)";
    let rows = rows.replace("generate_series(1, 60000)", "(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 60000) SELECT value FROM n)");
    house.sqlite("a.db", &[&rows]).await;
    life.pipeline.set_schedule(&me(), &name("a"), &every(600)).await.unwrap();
    let now = life.catalog.now().await.unwrap();
    assert_eq!(life.pipeline.look_at_schedules(now).await.unwrap().begun, 1);
    // Killed somewhere in it.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let before = runs(&life, "a").await;
    drop(life);
    let life = house.start().await;
    idle(&life, "a").await;
    assert_eq!(look(&life, now + Duration::from_secs(1), "a").await.begun, 0, "the run was taken up, not begun again");
    assert_eq!((before.len(), runs(&life, "a").await), (1, vec![RunState::Completed]));
    assert_eq!(life.count("raw.a.t").await, 60_002);
    assert_eq!(life.ask("raw.a.t", "SELECT count(DISTINCT id) FROM t").await, [Some("60002".to_owned())]);
    assert_eq!(look(&life, now + Duration::from_secs(601), "a").await.begun, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_cool_down_and_disable_with_an_alert_and_enabling_begins_anew() {
    let house = House::new();
    let life = clinic(&house).await;
    std::fs::remove_file(house.path("a.db")).unwrap();
    let spec = ScheduleSpec { disable_after: 2, cool_down_seconds: 100, ..every(10) };
    life.pipeline.set_schedule(&me(), &name("a"), &spec).await.unwrap();
    let now = life.catalog.now().await.unwrap();
    assert_eq!(look(&life, now, "a").await, Ticked { begun: 1, settled: 1, ..Ticked::default() });
    assert_eq!(look(&life, now + Duration::from_secs(99), "a").await.begun, 0);
    assert_eq!(
        look(&life, now + Duration::from_secs(101), "a").await,
        Ticked { begun: 1, settled: 1, disabled: 1, ..Ticked::default() }
    );
    assert_eq!(look(&life, now + Duration::from_secs(9_999), "a").await.begun, 0);
    let (_, schedule) = life.pipeline.schedules().await.unwrap().remove(0);
    assert!(schedule.state.disabled_reason.unwrap().contains("2 runs failed"));
    let audit = life.catalog.audit_entries(50).await.unwrap();
    assert!(audit.iter().any(|entry| entry.action == "schedule.disable" && entry.object == "a"), "{audit:?}");
    house.sqlite("a.db", &["CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"]).await;
    life.pipeline.enable_schedule(&me(), &name("a"), true).await.unwrap();
    let later = life.catalog.now().await.unwrap();
    assert_eq!(look(&life, later, "a").await.begun, 1);
    assert_eq!(life.pipeline.schedules().await.unwrap()[0].1.state.failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogs_clock_may_jump_and_no_run_is_lost_or_done_twice() {
    let house = House::new();
    let life = clinic(&house).await;
    let spec = ScheduleSpec {
        missed: Missed::Once,
        ..ScheduleSpec::new(When::Cron { cron: "0 3 * * *".into(), zone: "Europe/Berlin".into() })
    };
    life.pipeline.set_schedule(&me(), &name("a"), &spec).await.unwrap();
    let next = async || life.pipeline.schedules().await.unwrap()[0].1.state.next_at.unwrap();
    let first = next().await;
    assert_eq!(look(&life, first, "a").await.begun, 1);
    let year = Duration::from_secs(366 * 86_400);
    assert_eq!(look(&life, first + year, "a").await.begun, 1, "forward: one run for all that was missed");
    let back = look(&life, first + Duration::from_secs(3600), "a").await;
    assert_eq!((back.begun, back.put_back), (0, 1));
    assert!(next().await - first < chrono::Duration::days(2), "{} is planned anew", next().await);
    // Back before a time that was kept: it is not kept again.
    assert_eq!(look(&life, first - Duration::from_secs(600), "a").await.put_back, 1);
    assert_eq!(look(&life, first + Duration::from_secs(1), "a").await.begun, 0);
    assert_eq!(runs(&life, "a").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_is_told_by_table() {
    let house = House::new();
    let life = clinic(&house).await;
    let freshness = Freshness { seconds: Some(86_400), tables: [("T".to_owned(), 3_600)].into() };
    let spec = ScheduleSpec { freshness, ..ScheduleSpec::new(When::Manual) };
    life.pipeline.set_schedule(&me(), &name("a"), &spec).await.unwrap();
    assert_eq!(look(&life, life.catalog.now().await.unwrap(), "a").await.begun, 0, "manual");
    assert_eq!(life.ingest("a").await.state, RunState::Completed);
    let fresh = life.pipeline.freshness().await.unwrap();
    assert_eq!((fresh.len(), fresh[0].expected_seconds, fresh[0].late_seconds), (1, 3_600, 0));
    assert!(fresh[0].fresh_at.is_some() && fresh[0].table.to_string() == "raw.a.t");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_by_itself_begins_runs_and_goes_on_while_there_is_something() {
    let house = House::new();
    let life = clinic(&house).await;
    life.pipeline
        .set_schedule(&me(), &name("a"), &ScheduleSpec::new(When::Continuous { pause_seconds: 1 }))
        .await
        .unwrap();
    life.pipeline.follow_schedules(Duration::from_millis(200));
    for n in 3..6 {
        let rows = n - 1;
        let arrived = async {
            while life
                .catalog
                .find_table(&"raw.a.t".parse().unwrap())
                .await
                .unwrap()
                .is_none_or(|t| t.rows != Some(rows))
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), arrived).await.expect("the rows do not arrive");
        house.sqlite("a.db", &[&format!("INSERT INTO t VALUES ({n}, 'x')")]).await;
    }
    life.pipeline.stop().await;
}

/// A source whose tables change, with its drift held back or not.
async fn drifting(house: &House, mode: &str) -> Life {
    house
        .sqlite(
            "a.db",
            &[
                "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
                "INSERT INTO t VALUES (1, 'a')",
                "CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT)",
                "INSERT INTO u VALUES (1, 'a')",
            ],
        )
        .await;
    let life = house.start().await;
    let params = json!({"path": house.path("a.db"), "drift": {"mode": mode, "look_every_seconds": 0}});
    life.add("a", "sqlite", params).await;
    assert_eq!(life.ingest("a").await.state, RunState::Completed);
    let changes = [
        "ALTER TABLE t ADD COLUMN w TEXT",
        "INSERT INTO t VALUES (2, 'b', 'new')",
        "DROP TABLE u",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, v REAL)",
        "INSERT INTO u VALUES (1, 1.5)",
        "CREATE TABLE added (id INTEGER PRIMARY KEY)",
        "INSERT INTO added VALUES (7)",
    ];
    house.sqlite("a.db", &changes).await;
    life
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_and_columns_are_taken_up_by_the_next_run_and_told_once() {
    let house = House::new();
    let life = drifting(&house, "apply").await;
    let run = life.ingest("a").await;
    assert_eq!(run.state, RunState::Completed);
    let log = life.log(run.id).await.join("\n");
    for told in ["new table `added`", "new column `w`", "column `v` of `u` was"] {
        assert!(log.contains(told), "`{told}` is not in {log}");
    }
    assert_eq!(life.count("raw.a.added").await, 1);
    assert_eq!(life.ask("raw.a.t", "SELECT w FROM t WHERE id = 2").await, [Some("new".to_owned())]);
    let again = life.ingest("a").await;
    assert!(!life.log(again.id).await.join("\n").contains("new table"));
    let drift = life.catalog.drift(None, 99).await.unwrap();
    assert_eq!(drift.len(), 3, "{drift:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_drift_waits_until_it_is_accepted() {
    let house = House::new();
    let life = drifting(&house, "hold").await;
    for _ in 0..2 {
        let run = life.ingest("a").await;
        assert_eq!(run.state, RunState::CompletedWithWarnings);
        let log = life.log(run.id).await.join("\n");
        assert!(
            log.contains("`u` is not read: column `v` of `u` was") && log.contains("mavis source accept a"),
            "{log}"
        );
        assert!(life.catalog.find_table(&"raw.a.added".parse().unwrap()).await.unwrap().is_none());
        let columns = life.catalog.table(&"raw.a.t".parse().unwrap()).await.unwrap();
        let columns = life.catalog.columns(columns.id).await.unwrap();
        assert!(!columns.iter().any(|column| column.name == "w"), "{columns:?}");
        assert_eq!(life.count("raw.a.t").await, 2, "rows come without the column");
        assert_eq!(life.ask("raw.a.u", "SELECT v FROM t").await, [Some("a".to_owned())]);
    }
    assert_eq!(life.catalog.held_drift(life.catalog.source(&name("a")).await.unwrap().id).await.unwrap().len(), 3);
    life.pipeline.accept_drift(&me(), &name("a")).await.unwrap();
    let run = life.ingest("a").await;
    assert_eq!(run.state, RunState::Completed);
    assert_eq!(life.count("raw.a.added").await, 1);
    assert_eq!(life.ask("raw.a.t", "SELECT w FROM t ORDER BY id").await, [None, Some("new".to_owned())]);
    assert_eq!(life.ask("raw.a.u", "SELECT v FROM t").await, [Some("1.5".to_owned())]);
    let states: Vec<_> = life.catalog.drift(None, 99).await.unwrap().iter().map(|drift| drift.change.state).collect();
    assert_eq!(states, [mavis_catalog::DriftState::Accepted; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sources_are_looked_at_as_one_job_and_a_second_look_tells_only_what_changed() {
    let house = House::new();
    let life = house.start().await;
    for n in 0..12 {
        let file = format!("s{n}.db");
        house
            .sqlite(&file, &["CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE u (id INTEGER PRIMARY KEY)"])
            .await;
        life.add(&format!("s{n}"), "sqlite", json!({"path": house.path(&file)})).await;
    }
    std::fs::remove_file(house.path("s5.db")).unwrap();
    let first = life.pipeline.discover_many(&me(), RunId::new(), &[]).await.unwrap();
    let run = life.wait(first.id).await;
    assert_eq!(run.state, RunState::CompletedWithWarnings);
    let items = life.catalog.discovery_items(first.id).await.unwrap();
    assert_eq!(items.iter().filter_map(|item| item.tables).sum::<u64>(), 22);
    assert_eq!(items.iter().filter(|item| item.error.is_some()).count(), 1);
    house.sqlite("s7.db", &["ALTER TABLE u ADD COLUMN n TEXT", "CREATE TABLE w (id INTEGER PRIMARY KEY)"]).await;
    let second = life.pipeline.discover_many(&me(), RunId::new(), &[]).await.unwrap();
    life.wait(second.id).await;
    let changed: Vec<(u64, u64)> = life
        .catalog
        .discovery_items(second.id)
        .await
        .unwrap()
        .iter()
        .filter_map(|item| Some((item.tables?, item.changes?)))
        .filter(|(_, changes)| *changes > 0)
        .collect();
    assert_eq!(changed, [(3, 2)]);
    let log = life.log(second.id).await.join("\n");
    assert!(log.contains("`s7`: new table `w`") && log.contains("11"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_that_read_one_source_at_once_leave_every_row_once() {
    let house = House::new();
    let one = clinic(&house).await;
    let two = house.start_as("other").await;
    for round in 0..4 {
        house
            .sqlite(
                "a.db",
                &[&format!("INSERT INTO t VALUES ({}, 'r')", round + 10), "UPDATE t SET v = v || 'x' WHERE id = 1"],
            )
            .await;
        let (a, b) = tokio::join!(one.ingest("a"), two.ingest("a"));
        assert_eq!((a.state, b.state), (RunState::Completed, RunState::Completed), "{a:?} {b:?}");
        assert_eq!(a.counts.inserted + b.counts.inserted, if round == 0 { 6 } else { 2 }, "raw and processed, once");
        assert_eq!(one.count("raw.a.t").await, round + 3);
        assert_eq!(two.count("processed.a.t").await, round + 3);
    }
}

/// A port that takes connections and never says a word.
async fn silent() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_costs_its_time_out_and_an_interrupted_job_goes_on_where_it_was() {
    let house = House::new();
    let life = house.start().await;
    let port = silent().await;
    for n in 0..8 {
        let params = json!({"host": "127.0.0.1", "port": port, "user": "u", "database": format!("d{n}"),
            "connect_timeout_seconds": 1, "sslmode": "disable"});
        life.add(&format!("down{n}"), "postgres", params).await;
        let file = format!("up{n}.db");
        house.sqlite(&file, &["CREATE TABLE t (id INTEGER PRIMARY KEY)"]).await;
        life.add(&format!("up{n}"), "sqlite", json!({"path": house.path(&file)})).await;
    }
    let began = std::time::Instant::now();
    let job = life.pipeline.discover_many(&me(), RunId::new(), &[]).await.unwrap().id;
    let found = async |life: &Life| {
        let items = life.catalog.discovery_items(job).await.unwrap();
        items.into_iter().filter(|item| item.finished_at.is_some()).collect::<Vec<_>>()
    };
    // Those that are up do not wait for those that are down: they are through before the first time-out.
    while found(&life).await.iter().filter(|item| item.error.is_none()).count() < 8 {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", found(&life).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = found(&life).await;
    drop(life);
    let life = house.start().await;
    let run = life.wait(job).await;
    assert_eq!(run.state, RunState::CompletedWithWarnings, "{:?}", run.error);
    let after = found(&life).await;
    assert_eq!(after.len(), 16);
    assert!(before.iter().all(|item| after.contains(item)), "what was done is not done again");
    let failed: Vec<_> = after.iter().filter_map(|item| item.error.as_deref()).collect();
    assert!(failed.len() == 8 && failed.iter().all(|error| error.contains("no answer within 1 s")), "{failed:?}");
    assert!(after.iter().filter(|item| item.error.is_some()).all(|item| item.millis < Some(3_000)), "{after:?}");
}

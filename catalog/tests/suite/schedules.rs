use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use mavis_catalog::{
    DiscoveryItem, DriftKind, DriftState, Error, Fired, Held, NewDrift, NewRun, NewSource, RunState, RunUnit,
    ScheduleState, Step, UnitState,
};
use mavis_types::{Counts, RunId, SourceId, SourceName};

use crate::backend::{Db, new_run, new_table, on_both};

on_both!(
    a_schedule_is_kept_and_replaced_and_taken_away,
    what_is_due_waits_for_runs_of_its_source,
    of_many_servers_that_fire_at_once_one_does,
    an_end_is_told_until_it_was_taken_account_of,
    a_run_is_held_by_one_server_until_its_time_is_over,
    a_cancelled_run_is_told_to_whoever_holds_it,
    a_completed_reading_makes_its_table_fresh,
    a_discovery_of_many_is_told_source_by_source,
    drift_is_held_and_settled_once,
);

const MINUTE: Duration = Duration::from_secs(60);

fn state(next: Option<DateTime<Utc>>) -> ScheduleState {
    ScheduleState {
        next_at: next,
        planned_at: next,
        decided_at: next.unwrap_or_default(),
        last_run: None,
        fired_at: None,
        settled: true,
        failures: 0,
        recent: Vec::new(),
        disabled_at: None,
        disabled_reason: None,
    }
}

async fn source(db: &Db, name: &str) -> SourceId {
    let new = NewSource {
        name: SourceName::new(name).unwrap(),
        kind: "postgres".to_owned(),
        params: serde_json::json!({}),
        authoritative: false,
    };
    db.catalog.add_source(new).await.unwrap().id
}

async fn a_schedule_is_kept_and_replaced_and_taken_away(db: Db) {
    let (id, now) = (source(&db, "a").await, db.catalog.now().await.unwrap());
    let full = ScheduleState {
        last_run: Some(RunId::new()),
        fired_at: Some(now),
        settled: false,
        failures: 3,
        recent: vec![now, now],
        disabled_at: Some(now),
        disabled_reason: Some("why".to_owned()),
        ..state(Some(now))
    };
    let spec = serde_json::json!({"when": {"kind": "manual"}});
    let put = db.catalog.put_schedule(id, &spec, &full).await.unwrap();
    assert_eq!((put.spec.clone(), put.state.clone()), (spec.clone(), full));
    assert_eq!(db.catalog.schedule(id).await.unwrap().unwrap(), put);
    let again = db.catalog.put_schedule(id, &spec, &state(None)).await.unwrap();
    assert!(again.version > put.version && again.state.next_at.is_none());
    assert!(!db.catalog.move_schedule(id, put.version, &state(Some(now))).await.unwrap(), "an old version");
    assert!(db.catalog.move_schedule(id, again.version, &state(Some(now))).await.unwrap());
    assert_eq!(db.catalog.schedules().await.unwrap().len(), 1);
    db.catalog.remove_source(&SourceName::new("a").unwrap()).await.unwrap();
    assert_eq!(db.catalog.schedules().await.unwrap(), []);
    assert!(db.catalog.remove_schedule(id).await.unwrap());
    assert!(!db.catalog.remove_schedule(id).await.unwrap());
    let unknown = db.catalog.put_schedule(SourceId::new(), &spec, &state(None)).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

async fn what_is_due_waits_for_runs_of_its_source(db: Db) {
    let now = db.catalog.now().await.unwrap();
    let spec = serde_json::json!({});
    let mut ids = Vec::new();
    for (name, minutes) in [("late", -10_i64), ("later", -5), ("not_yet", 5), ("busy", -20), ("never", 0), ("ill", -9)]
    {
        let id = source(&db, name).await;
        let next = (minutes != 0).then(|| now + chrono::Duration::minutes(minutes));
        let disabled_at = (name == "ill").then_some(now);
        db.catalog.put_schedule(id, &spec, &ScheduleState { disabled_at, ..state(next) }).await.unwrap();
        ids.push(id);
    }
    let run = db.catalog.add_run(NewRun { source: Some(ids[3]), ..new_run() }).await.unwrap();
    let due = async |limit| {
        let due = db.catalog.due_schedules(now, limit).await.unwrap();
        due.into_iter().map(|schedule| schedule.source).collect::<Vec<_>>()
    };
    assert_eq!(due(9).await, [ids[0], ids[1]]);
    assert_eq!(due(1).await, [ids[0]]);
    db.catalog.set_run_state(run.id, RunState::Failed, Counts::default(), None).await.unwrap();
    assert_eq!(due(9).await, [ids[3], ids[0], ids[1]]);
    assert_eq!(db.catalog.schedules_decided_after(now).await.unwrap().len(), 1);
}

async fn of_many_servers_that_fire_at_once_one_does(db: Db) {
    let (id, now) = (source(&db, "a").await, db.catalog.now().await.unwrap());
    let schedule = db.catalog.put_schedule(id, &serde_json::json!({}), &state(Some(now))).await.unwrap();
    let new = NewRun { source: Some(id), ..new_run() };
    let mut handles = vec![db.catalog.clone()];
    for _ in 0..3 {
        handles.push(db.open_again().await);
    }
    let fired = join_all((0..16).map(|n| {
        let (catalog, new) = (handles[n % 4].clone(), new.clone());
        let next = ScheduleState { last_run: Some(new.id), settled: false, ..state(None) };
        tokio::spawn(async move {
            catalog.fire_schedule(id, schedule.version, &next, new, &format!("s{n}"), MINUTE).await.unwrap()
        })
    }))
    .await;
    let fired: Vec<Fired> = fired.into_iter().map(Result::unwrap).collect();
    assert_eq!(fired.iter().filter(|fired| matches!(fired, Fired::Begun(_))).count(), 1, "{fired:?}");
    assert_eq!(fired.iter().filter(|fired| matches!(fired, Fired::Lost)).count(), 15);
    assert_eq!(db.catalog.runs(Some(id), 99).await.unwrap().len(), 1);
    // The same time of the plan again, decided upon a newer state: the run is known.
    let version = db.catalog.schedule(id).await.unwrap().unwrap().version;
    let again = db.catalog.fire_schedule(id, version, &state(None), new, "s", MINUTE).await.unwrap();
    assert_eq!(again, Fired::Known);
    assert_eq!(db.catalog.runs(Some(id), 99).await.unwrap().len(), 1);
    for handle in handles.drain(1..) {
        handle.close().await;
    }
}

async fn an_end_is_told_until_it_was_taken_account_of(db: Db) {
    let (id, now) = (source(&db, "a").await, db.catalog.now().await.unwrap());
    let run = db.catalog.add_run(NewRun { source: Some(id), ..new_run() }).await.unwrap();
    let fired = ScheduleState { last_run: Some(run.id), settled: false, ..state(Some(now)) };
    db.catalog.put_schedule(id, &serde_json::json!({}), &fired).await.unwrap();
    assert_eq!(db.catalog.ended_schedules(9).await.unwrap(), []);
    db.catalog.set_run_state(run.id, RunState::Completed, Counts::default(), None).await.unwrap();
    let ended = db.catalog.ended_schedules(9).await.unwrap();
    assert_eq!(ended[0].1.as_ref().unwrap().state, RunState::Completed);
    assert_eq!(db.catalog.due_schedules(now, 9).await.unwrap(), [], "first the end is taken account of");
    assert!(db.catalog.move_schedule(id, ended[0].0.version, &state(Some(now))).await.unwrap());
    assert_eq!(db.catalog.ended_schedules(9).await.unwrap(), []);
    assert_eq!(db.catalog.due_schedules(now, 9).await.unwrap().len(), 1);
}

async fn a_run_is_held_by_one_server_until_its_time_is_over(db: Db) {
    let run = db.run().await;
    assert_eq!(db.catalog.stray_runs(9).await.unwrap(), [], "its server may be about to hold it");
    assert!(db.catalog.hold_run(run, "a/1", MINUTE).await.unwrap());
    assert!(db.catalog.hold_run(run, "a/1", MINUTE).await.unwrap());
    assert!(!db.catalog.hold_run(run, "b/1", MINUTE).await.unwrap());
    assert_eq!(db.catalog.keep_runs("b/1", MINUTE).await.unwrap(), []);
    assert_eq!(db.catalog.keep_runs("a/1", Duration::ZERO).await.unwrap(), [Held { run, cancelled: false }]);
    assert_eq!(db.catalog.stray_runs(9).await.unwrap().len(), 1);
    assert!(db.catalog.hold_run(run, "b/1", MINUTE).await.unwrap());
    assert_eq!(db.catalog.keep_runs("a/1", MINUTE).await.unwrap(), [], "lost");
    assert_eq!(db.catalog.release_runs("b/").await.unwrap(), 1);
    assert_eq!(db.catalog.stray_runs(9).await.unwrap().len(), 1);
    assert!(db.catalog.hold_run(run, "a/2", MINUTE).await.unwrap());
    // As it looks when the clock goes back by a day.
    assert_eq!(db.catalog.keep_runs("a/2", MINUTE * 60 * 24).await.unwrap().len(), 1);
    assert_eq!(db.catalog.stray_runs(9).await.unwrap().len(), 1);
    assert!(db.catalog.hold_run(run, "b/2", MINUTE).await.unwrap());
    assert!(!db.catalog.hold_run(run, "a/2", MINUTE).await.unwrap(), "one holds it, not two");
    assert_eq!(db.catalog.release_runs("b/").await.unwrap(), 1);
    db.catalog.set_run_state(run, RunState::Completed, Counts::default(), None).await.unwrap();
    assert!(!db.catalog.hold_run(run, "a/2", MINUTE).await.unwrap());
    assert_eq!(db.catalog.keep_runs("a/2", MINUTE).await.unwrap(), []);
    assert_eq!(db.catalog.stray_runs(9).await.unwrap(), []);
}

async fn a_cancelled_run_is_told_to_whoever_holds_it(db: Db) {
    let (run, other) = (db.run().await, db.run().await);
    for id in [run, other] {
        assert!(db.catalog.hold_run(id, "a/1", MINUTE).await.unwrap());
    }
    db.catalog.cancel_run(run).await.unwrap();
    let mut held = db.catalog.keep_runs("a/1", MINUTE).await.unwrap();
    held.sort_by_key(|held| !held.cancelled);
    assert_eq!(held, [Held { run, cancelled: true }, Held { run: other, cancelled: false }]);
}

async fn a_completed_reading_makes_its_table_fresh(db: Db) {
    let id = source(&db, "a").await;
    let mut new = new_table("raw.a.t");
    (new.source, new.source_table) = (Some(id), Some("T".to_owned()));
    let table = db.catalog.ensure_table(new).await.unwrap();
    let run = db.run().await;
    let unit = |state, step| RunUnit {
        run,
        step,
        table: table.id,
        state,
        counts: Counts::default(),
        error: None,
        seconds: 90.0,
    };
    for unit in [
        unit(UnitState::Running, Step::ToRaw),
        unit(UnitState::Failed, Step::ToRaw),
        unit(UnitState::Completed, Step::ToProcessed),
    ] {
        db.catalog.set_run_unit(&unit).await.unwrap();
    }
    let fresh = db.catalog.fresh(id).await.unwrap();
    assert_eq!((fresh.len(), fresh[0].fresh_at, fresh[0].source_table.as_str()), (1, None, "T"));
    db.catalog.set_run_unit(&unit(UnitState::Completed, Step::ToRaw)).await.unwrap();
    let at = db.catalog.fresh(id).await.unwrap()[0].fresh_at.unwrap();
    let age = (db.catalog.now().await.unwrap() - at).num_seconds();
    assert!((90..150).contains(&age), "{age} s: the reading took a minute and a half");
}

async fn a_discovery_of_many_is_told_source_by_source(db: Db) {
    let (a, b) = (source(&db, "a").await, source(&db, "b").await);
    let run = db.run().await;
    db.catalog.add_discovery_items(run, &[b, a]).await.unwrap();
    let mut item = db.catalog.discovery_items(run).await.unwrap().remove(0);
    assert_eq!((item.source, item.state, item.finished_at), (b, UnitState::Pending, None));
    item = DiscoveryItem {
        state: UnitState::Completed,
        tables: Some(7),
        failures: Some(1),
        changes: Some(2),
        error: Some("e".to_owned()),
        millis: Some(12),
        ..item
    };
    db.catalog.set_discovery_item(&item).await.unwrap();
    // Begun again: what is done stays done.
    db.catalog.add_discovery_items(run, &[b, a]).await.unwrap();
    let items = db.catalog.discovery_items(run).await.unwrap();
    assert!(items[0].finished_at.is_some());
    assert_eq!(items[0], DiscoveryItem { finished_at: items[0].finished_at, ..item });
    assert_eq!((items.len(), items[1].source), (2, a));
    assert_eq!(db.catalog.all_discovery_items(1).await.unwrap(), items[..1]);
}

async fn drift_is_held_and_settled_once(db: Db) {
    let id = source(&db, "a").await;
    let change = |column: Option<&str>, state| NewDrift {
        schema: None,
        table: "t".to_owned(),
        column: column.map(str::to_owned),
        kind: DriftKind::ColumnAltered,
        was: Some("int4".to_owned()),
        became: None,
        state,
    };
    let changes =
        [change(Some("x"), DriftState::Held), change(None, DriftState::Applied), change(Some("y"), DriftState::Held)];
    db.catalog.add_drift(id, None, &changes).await.unwrap();
    let all = db.catalog.drift(None, 9).await.unwrap();
    assert_eq!(all.iter().rev().map(|drift| drift.change.clone()).collect::<Vec<_>>(), changes);
    let held = db.catalog.held_drift(id).await.unwrap();
    assert_eq!(held.len(), 2);
    let ids: Vec<i64> = all.iter().map(|drift| drift.id).collect();
    assert_eq!(db.catalog.settle_drift(&ids, DriftState::Accepted).await.unwrap(), 2);
    assert_eq!(db.catalog.settle_drift(&ids, DriftState::Gone).await.unwrap(), 0);
    assert_eq!(db.catalog.held_drift(id).await.unwrap(), []);
    assert_eq!(db.catalog.drift(Some(id), 1).await.unwrap()[0].change.state, DriftState::Accepted);
}

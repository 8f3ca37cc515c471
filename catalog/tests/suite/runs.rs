use futures::future::join_all;
use mavis_catalog::{Error, LogLevel, NewRun, RunState, RunUnit, Step, UnitState};
use mavis_types::{Counts, RunId, SourceId, TableId};

use crate::backend::{Db, new_run, on_both};

on_both!(
    the_same_run_is_added_once,
    a_run_starts_once_and_finishes_once,
    unfinished_runs_are_found_oldest_first,
    log_lines_are_numbered_without_gap_by_many_writers,
    units_keep_the_order_in_which_they_began,
    eight_tasks_write_at_once_and_none_is_locked_out,
);

async fn the_same_run_is_added_once(db: Db) {
    let source = Some(SourceId::new());
    let new = NewRun { source, parent: Some(RunId::new()), attempt: 2, ..new_run() };
    let run = db.catalog.add_run(new.clone()).await.unwrap();
    assert_eq!((run.state, run.source, run.parent, run.attempt), (RunState::Pending, source, new.parent, 2));
    assert_eq!((run.request.clone(), run.requested_by.as_str()), (new.request.clone(), "admin"));
    assert!(matches!(db.catalog.add_run(new).await, Err(Error::Exists { what: "run", .. })));
    let other = db.catalog.add_run(new_run()).await.unwrap();
    assert_eq!(db.catalog.runs(source, 9).await.unwrap(), std::slice::from_ref(&run));
    assert_eq!(db.catalog.runs(None, 9).await.unwrap(), [other.clone(), run]);
    assert_eq!(db.catalog.runs(None, 1).await.unwrap(), [other]);
    assert!(matches!(db.catalog.run(RunId::new()).await, Err(Error::NotFound { .. })));
}

async fn a_run_starts_once_and_finishes_once(db: Db) {
    let id = db.run().await;
    let counts = Counts { read: 3, inserted: 2, quarantined: 1, ..Counts::default() };
    db.catalog.set_run_state(id, RunState::Running, Counts::default(), None).await.unwrap();
    let started = db.catalog.run(id).await.unwrap();
    assert!(started.started_at.is_some() && started.finished_at.is_none());
    db.catalog.set_run_state(id, RunState::Running, counts, None).await.unwrap();
    db.catalog.set_run_state(id, RunState::Failed, counts, Some("the disk is full")).await.unwrap();
    let failed = db.catalog.run(id).await.unwrap();
    assert_eq!(
        (failed.started_at, failed.counts, failed.error.as_deref()),
        (started.started_at, counts, Some("the disk is full"))
    );
    assert!(failed.finished_at.is_some());
    db.catalog.set_run_state(id, RunState::FailedPermanently, counts, None).await.unwrap();
    let last = db.catalog.run(id).await.unwrap();
    assert_eq!((last.finished_at, last.state), (failed.finished_at, RunState::FailedPermanently));
    let unknown = db.catalog.set_run_state(RunId::new(), RunState::Running, counts, None).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

async fn unfinished_runs_are_found_oldest_first(db: Db) {
    let states = [RunState::Pending, RunState::Completed, RunState::Running, RunState::Retrying, RunState::Cancelled];
    let mut expected = Vec::new();
    for state in states {
        let id = db.run().await;
        db.catalog.set_run_state(id, state, Counts::default(), None).await.unwrap();
        if !state.is_final() {
            expected.push(id);
        }
    }
    let found: Vec<RunId> = db.catalog.unfinished_runs().await.unwrap().into_iter().map(|run| run.id).collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 2);
}

async fn log_lines_are_numbered_without_gap_by_many_writers(db: Db) {
    let (run, other) = (db.run().await, db.run().await);
    db.catalog.log(other, LogLevel::Info, "another run").await.unwrap();
    join_all((0..40).map(|n| {
        let catalog = db.catalog.clone();
        tokio::spawn(async move { catalog.log(run, LogLevel::Warn, &format!("line {n}")).await.unwrap() })
    }))
    .await
    .into_iter()
    .for_each(|line| assert_eq!(line.unwrap().run, run));
    let lines = db.catalog.run_log(run, 0).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.sequence).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    assert_eq!(db.catalog.run_log(run, 38).await.unwrap(), lines[38..]);
    assert_eq!(db.catalog.all_run_log(100).await.unwrap().len(), 41);
    // PostgreSQL has no NUL in text.
    let line = db.catalog.log(run, LogLevel::Error, "a\0b").await.unwrap();
    assert_eq!(line.message, "a\u{FFFD}b");
    assert!(matches!(db.catalog.log(RunId::new(), LogLevel::Info, "x").await, Err(Error::NotFound { .. })));
}

fn unit(run: RunId, step: Step, table: TableId) -> RunUnit {
    RunUnit {
        run,
        step,
        table,
        state: UnitState::Running,
        counts: Counts { read: 5, unchanged: 5, ..Counts::default() },
        error: None,
        seconds: 0.1,
    }
}

async fn units_keep_the_order_in_which_they_began(db: Db) {
    let run = db.run().await;
    let (a, b) = (TableId::new(), TableId::new());
    let mut units = vec![unit(run, Step::ToRaw, b), unit(run, Step::ToRaw, a), unit(run, Step::ToProcessed, a)];
    for unit in &units {
        db.catalog.set_run_unit(unit).await.unwrap();
    }
    units[0] = RunUnit {
        state: UnitState::Failed,
        error: Some("no route to the host".to_owned()),
        seconds: 12.345_678,
        ..units[0].clone()
    };
    db.catalog.set_run_unit(&units[0]).await.unwrap();
    assert_eq!(db.catalog.run_units(run).await.unwrap(), units);
    assert_eq!(db.catalog.all_run_units(2).await.unwrap(), units[..2]);
    let unknown = db.catalog.set_run_unit(&unit(RunId::new(), Step::ToFhir, a)).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

async fn eight_tasks_write_at_once_and_none_is_locked_out(db: Db) {
    // Two handles, as two processes would have: they meet at the database's own lock.
    let other = db.open_again().await;
    let done = join_all((0..8).map(|n| {
        let catalog = if n % 2 == 0 { db.catalog.clone() } else { other.clone() };
        tokio::spawn(async move {
            let run = catalog.add_run(new_run()).await?.id;
            for line in 0..25 {
                catalog.log(run, LogLevel::Info, &format!("line {line}")).await?;
                catalog.set_run_unit(&unit(run, Step::ToRaw, TableId::new())).await?;
                catalog.set_run_state(run, RunState::Running, Counts::default(), None).await?;
                catalog.run_units(run).await?;
            }
            Ok::<_, Error>(())
        })
    }))
    .await;
    for outcome in done {
        outcome.unwrap().unwrap();
    }
    assert_eq!(db.catalog.all_run_units(1_000).await.unwrap().len(), 200);
    other.close().await;
}

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use mavis_catalog::{NewSource, ScheduleState};
use mavis_types::{SourceId, SourceName};
use serde_json::json;

use crate::backend::{Db, on_both};

on_both!(
    an_alert_is_taken_by_one_of_many_and_again_when_its_time_comes,
    a_table_that_becomes_late_is_told_once_by_whoever_looks,
    a_schedule_is_disabled_together_with_its_alert,
);

const LONG: Duration = Duration::from_secs(600);

async fn source(db: &Db) -> SourceId {
    let new = NewSource {
        name: SourceName::new("hms").unwrap(),
        kind: "files".to_owned(),
        params: json!({}),
        authoritative: false,
    };
    db.catalog.add_source(new).await.unwrap().id
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn an_alert_is_taken_by_one_of_many_and_again_when_its_time_comes(db: Db) {
    let source = source(&db).await;
    assert!(db.catalog.note_late(source, &names(&["a"]), |_| json!({"kind": "x"})).await.unwrap());
    let mut handles = vec![db.catalog.clone()];
    for _ in 0..3 {
        handles.push(db.open_again().await);
    }
    let taken = join_all((0..16).map(|n| {
        let catalog = handles[n % 4].clone();
        tokio::spawn(async move { catalog.take_alerts(5, LONG).await.unwrap() })
    }))
    .await;
    let taken: Vec<_> = taken.into_iter().flat_map(Result::unwrap).collect();
    let [alert] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!((alert.source, alert.tries, alert.body.clone()), (source, 1, json!({"kind": "x"})));
    db.catalog.put_off_alert(alert.id, Duration::ZERO).await.unwrap();
    let again = db.catalog.take_alerts(5, LONG).await.unwrap();
    assert_eq!((again.len(), again[0].id, again[0].tries), (1, alert.id, 2));
    db.catalog.end_alert(alert.id, true).await.unwrap();
    db.catalog.put_off_alert(alert.id, LONG).await.unwrap();
    assert_eq!(db.catalog.take_alerts(5, LONG).await.unwrap(), []);
    let ended = db.catalog.alerts(None, 5).await.unwrap();
    assert!(ended[0].told_at.is_some() && ended[0].alert.id == alert.id, "{ended:?}");
    for handle in handles.into_iter().skip(1) {
        handle.close().await;
    }
}

async fn a_table_that_becomes_late_is_told_once_by_whoever_looks(db: Db) {
    let source = source(&db).await;
    let other = db.open_again().await;
    let body = |new: &BTreeSet<String>| json!(new.iter().collect::<Vec<_>>());
    let noted = join_all((0..8).map(|n| {
        let catalog = if n % 2 == 0 { db.catalog.clone() } else { other.clone() };
        tokio::spawn(async move { catalog.note_late(source, &names(&["a", "b"]), body).await.unwrap() })
    }))
    .await;
    assert_eq!(noted.into_iter().filter(|noted| *noted.as_ref().unwrap()).count(), 1);
    assert!(db.catalog.note_late(source, &names(&["b", "c"]), body).await.unwrap());
    assert!(!db.catalog.note_late(source, &names(&["b"]), body).await.unwrap());
    // Late again after it was not: told again.
    assert!(db.catalog.note_late(source, &names(&["a", "b"]), body).await.unwrap());
    let listed = db.catalog.alerts(Some(source), 2).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.alert.body.clone()).collect::<Vec<_>>(), [json!(["a"]), json!(["c"])]);
    assert!(listed.iter().all(|one| one.told_at.is_none() && one.try_at.is_some() && one.alert.tries == 0));
    assert_eq!(db.catalog.alerts(None, 9).await.unwrap().len(), 3);
    assert_eq!(db.catalog.alerts(Some(SourceId::new()), 9).await.unwrap(), []);
    let told: Vec<_> = db.catalog.take_alerts(9, LONG).await.unwrap().into_iter().map(|alert| alert.body).collect();
    assert_eq!(told, [json!(["a", "b"]), json!(["c"]), json!(["a"])]);
    other.close().await;
}

async fn a_schedule_is_disabled_together_with_its_alert(db: Db) {
    let (source, now) = (source(&db).await, db.catalog.now().await.unwrap());
    let state = ScheduleState {
        next_at: None,
        planned_at: None,
        decided_at: now,
        last_run: None,
        fired_at: None,
        settled: true,
        failures: 3,
        recent: Vec::new(),
        disabled_at: Some(now),
        disabled_reason: Some("why".to_owned()),
    };
    let put = db.catalog.put_schedule(source, &json!({}), &state).await.unwrap();
    let body = json!({"kind": "schedule_disabled"});
    assert!(!db.catalog.disable_schedule(source, put.version + 7, &state, Some(&body)).await.unwrap());
    assert_eq!(db.catalog.take_alerts(5, LONG).await.unwrap(), [], "somebody else was first");
    assert!(db.catalog.disable_schedule(source, put.version, &state, Some(&body)).await.unwrap());
    assert_eq!(db.catalog.take_alerts(5, LONG).await.unwrap()[0].body, body);
}

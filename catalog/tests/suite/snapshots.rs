use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use mavis_catalog::Error;
use mavis_types::{SnapshotId, TableId};

use crate::backend::{Db, on_both};

on_both!(
    twenty_publishers_number_one_after_the_other_and_lose_nothing,
    a_version_never_goes_back,
    forgetting_keeps_the_newest,
);

async fn twenty_publishers_number_one_after_the_other_and_lose_nothing(db: Db) {
    assert_eq!(db.catalog.latest_snapshot().await.unwrap(), None);
    let tables: Vec<TableId> = (0..20).map(|_| TableId::new()).collect();
    let published = join_all(tables.iter().copied().map(|table| {
        let catalog = db.catalog.clone();
        tokio::spawn(async move { catalog.publish_snapshot(None, &BTreeMap::from([(table, 3)])).await.unwrap() })
    }))
    .await;
    let mut ids: Vec<i64> = published.into_iter().map(|snapshot| snapshot.unwrap().id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20).collect::<Vec<i64>>());
    for id in 1..=20 {
        let snapshot = db.catalog.snapshot(SnapshotId(id)).await.unwrap();
        assert_eq!(snapshot.versions.len(), usize::try_from(id).unwrap());
    }
    let latest = db.catalog.latest_snapshot().await.unwrap().unwrap();
    assert_eq!(latest.versions, tables.into_iter().map(|table| (table, 3)).collect());
}

async fn a_version_never_goes_back(db: Db) {
    let (a, b) = (TableId::new(), TableId::new());
    db.catalog.publish_snapshot(None, &BTreeMap::from([(a, 6), (b, 1)])).await.unwrap();
    let late = db.catalog.publish_snapshot(Some(db.run().await), &BTreeMap::from([(a, 5), (b, 2)])).await.unwrap();
    assert_eq!(late.versions, BTreeMap::from([(a, 6), (b, 2)]));
    assert_eq!(db.catalog.snapshots(10).await.unwrap().len(), 2);
}

async fn forgetting_keeps_the_newest(db: Db) {
    for version in 0..3 {
        db.catalog.publish_snapshot(None, &BTreeMap::from([(TableId::new(), version)])).await.unwrap();
    }
    assert_eq!(db.catalog.forget_snapshots(Duration::from_secs(3600)).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(db.catalog.forget_snapshots(Duration::ZERO).await.unwrap(), 2);
    assert!(matches!(db.catalog.snapshot(SnapshotId(2)).await, Err(Error::NotFound { .. })));
    assert_eq!(db.catalog.latest_snapshot().await.unwrap().unwrap().id, SnapshotId(3));
    // Ids go on where they were.
    assert_eq!(db.catalog.publish_snapshot(None, &BTreeMap::new()).await.unwrap().id, SnapshotId(4));
}

use std::collections::{BTreeMap, BTreeSet};

use mavis_catalog::Error;
use mavis_types::{RunId, TableId};

use crate::backend::{Db, on_both};

on_both!(
    a_promise_is_kept_with_its_publication_and_only_once,
    nobody_else_publishes_a_promised_table,
    promises_are_listed_oldest_first,
);

async fn a_promise_is_kept_with_its_publication_and_only_once(db: Db) {
    let (id, table) = (RunId::new(), TableId::new());
    let payload = vec![0, 1, 255];
    db.catalog.write_intent(id, &BTreeSet::from([table]), &payload).await.unwrap();
    assert!(matches!(db.catalog.write_intent(id, &BTreeSet::from([table]), b"other").await, Err(Error::Exists { .. })));
    let intent = db.catalog.intent(id).await.unwrap().unwrap();
    assert_eq!((intent.payload, intent.tables), (payload, BTreeSet::from([table])));
    let published = db.catalog.publish_intent(id, &BTreeMap::from([(table, 4)])).await.unwrap().unwrap();
    assert_eq!(published.versions, BTreeMap::from([(table, 4)]));
    assert_eq!(db.catalog.intent(id).await.unwrap(), None);
    assert_eq!(db.catalog.publish_intent(id, &BTreeMap::from([(table, 9)])).await.unwrap(), None);
    assert_eq!(db.catalog.latest_snapshot().await.unwrap().unwrap().versions, BTreeMap::from([(table, 4)]));
}

async fn nobody_else_publishes_a_promised_table(db: Db) {
    let (id, promised, other) = (RunId::new(), TableId::new(), TableId::new());
    db.catalog.write_intent(id, &BTreeSet::from([promised]), b"").await.unwrap();
    let refused = db.catalog.publish_snapshot(None, &BTreeMap::from([(promised, 2), (other, 1)])).await;
    assert!(matches!(refused, Err(Error::Promised { .. })));
    assert_eq!(db.catalog.latest_snapshot().await.unwrap(), None);
    db.catalog.publish_snapshot(None, &BTreeMap::from([(other, 1)])).await.unwrap();
    db.catalog.discard_intent(id).await.unwrap();
    db.catalog.publish_snapshot(None, &BTreeMap::from([(promised, 2)])).await.unwrap();
}

async fn promises_are_listed_oldest_first(db: Db) {
    assert_eq!(db.catalog.open_intents().await.unwrap(), []);
    let (a, b, c) = (TableId::new(), TableId::new(), TableId::new());
    let (first, second) = (RunId::new(), RunId::new());
    db.catalog.write_intent(first, &BTreeSet::from([a, b]), b"").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    db.catalog.write_intent(second, &BTreeSet::from([c]), b"").await.unwrap();
    let open = db.catalog.open_intents().await.unwrap();
    assert_eq!(open, [(first, BTreeSet::from([a, b])), (second, BTreeSet::from([c]))]);
}

use mavis_catalog::{Error, NewAudit, NewSource};
use mavis_types::{SourceId, SourceName};
use serde_json::json;

use crate::backend::{Db, on_both};

on_both!(
    a_source_is_added_once_changed_and_listed_by_name,
    a_removed_source_comes_back_with_its_id,
    the_newest_discovery_report_is_answered_and_old_ones_go,
    the_audit_is_listed_newest_first,
    what_cannot_be_read_is_told_and_not_guessed,
);

fn new(name: &str) -> NewSource {
    NewSource {
        name: SourceName::new(name).unwrap(),
        kind: "files".to_owned(),
        params: json!({"glob": "*.csv", "header": true}),
        authoritative: false,
    }
}

async fn a_source_is_added_once_changed_and_listed_by_name(db: Db) {
    for name in ["b_labs", "b", "ba"] {
        db.catalog.add_source(new(name)).await.unwrap();
    }
    assert!(matches!(db.catalog.add_source(new("b")).await, Err(Error::Exists { what: "source", .. })));
    let before = db.catalog.source(&SourceName::new("b").unwrap()).await.unwrap();
    let changed = db
        .catalog
        .update_source(NewSource { kind: "sqlite".to_owned(), params: json!([1.5]), authoritative: true, ..new("b") })
        .await
        .unwrap();
    assert_eq!((changed.id, changed.kind.as_str(), changed.authoritative), (before.id, "sqlite", true));
    assert_eq!(db.catalog.source_by_id(before.id).await.unwrap(), changed);
    assert!(matches!(db.catalog.update_source(new("nobody")).await, Err(Error::NotFound { .. })));
    let names: Vec<String> = db.catalog.sources().await.unwrap().into_iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["b", "b_labs", "ba"]);
}

async fn a_removed_source_comes_back_with_its_id(db: Db) {
    let name = SourceName::new("labs").unwrap();
    let first = db.catalog.add_source(new("labs")).await.unwrap();
    db.catalog.remove_source(&name).await.unwrap();
    assert!(matches!(db.catalog.source(&name).await, Err(Error::NotFound { .. })));
    assert!(matches!(db.catalog.remove_source(&name).await, Err(Error::NotFound { .. })));
    assert!(matches!(db.catalog.update_source(new("labs")).await, Err(Error::NotFound { .. })));
    assert!(db.catalog.source_by_id(first.id).await.unwrap().removed_at.is_some());
    assert_eq!(db.catalog.sources().await.unwrap(), []);
    let second = db.catalog.add_source(new("labs")).await.unwrap();
    assert_eq!((second.id, second.removed_at), (first.id, None));
}

async fn the_newest_discovery_report_is_answered_and_old_ones_go(db: Db) {
    let source = db.catalog.add_source(new("labs")).await.unwrap().id;
    assert_eq!(db.catalog.latest_discovery(source).await.unwrap(), None);
    for n in 0..12 {
        db.catalog.save_discovery(source, &json!({"n": n})).await.unwrap();
    }
    assert_eq!(db.catalog.latest_discovery(source).await.unwrap().unwrap().report, json!({"n": 11}));
    let unknown = db.catalog.save_discovery(SourceId::new(), &json!({})).await;
    assert!(matches!(unknown, Err(Error::NotFound { what: "source", .. })));
}

async fn the_audit_is_listed_newest_first(db: Db) {
    for n in 0..3_u64 {
        let entry = NewAudit {
            actor: "anonymous".to_owned(),
            action: "login.failed".to_owned(),
            object: format!("token {n}"),
            allowed: n == 1,
            door: "http".to_owned(),
            rows: (n == 2).then_some(7),
        };
        db.catalog.audit(&entry).await.unwrap();
    }
    let entries = db.catalog.audit_entries(2).await.unwrap();
    let shown: Vec<_> = entries.iter().map(|e| (e.object.as_str(), e.allowed, e.rows)).collect();
    assert_eq!(shown, [("token 2", false, Some(7)), ("token 1", true, None)]);
    assert!(entries[0].id > entries[1].id);
}

async fn what_cannot_be_read_is_told_and_not_guessed(db: Db) {
    let source = db.catalog.add_source(new("labs")).await.unwrap();
    let table = db.table("raw.labs.labs").await;
    let run = db.run().await;
    db.execute(
        "UPDATE sources SET params = '{'; UPDATE lake_tables SET zone = 'silver'; UPDATE runs SET state = 'resting'",
    )
    .await;
    let outcomes = [
        db.catalog.source(&source.name).await.map(|_| ()),
        db.catalog.table_by_id(table.id).await.map(|_| ()),
        db.catalog.run(run).await.map(|_| ()),
    ];
    let places = ["sources.params", "lake_tables.zone", "runs.state"];
    for (outcome, expected) in outcomes.into_iter().zip(places) {
        let Err(Error::Corrupt { place }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(place, expected);
    }
    db.execute("UPDATE runs SET state = 'pending', counts = '{\"read\": -1}', attempt = -1").await;
    assert!(matches!(db.catalog.run(run).await, Err(Error::Corrupt { .. })));
}

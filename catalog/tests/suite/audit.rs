use mavis_catalog::NewAudit;

use crate::backend::{Db, on_both};

on_both!(what_the_audit_says_cannot_be_changed_or_taken_back, the_audit_outlives_a_scrub);

fn entry(object: &str) -> NewAudit {
    NewAudit {
        actor: "admin".to_owned(),
        action: "token.create".to_owned(),
        object: object.to_owned(),
        allowed: true,
        door: "grpc".to_owned(),
        rows: None,
    }
}

async fn what_the_audit_says_cannot_be_changed_or_taken_back(db: Db) {
    db.catalog.audit(&entry("one")).await.unwrap();
    db.catalog.audit_many(&[entry("two"), entry("three")]).await.unwrap();
    let before = db.catalog.audit_entries(10).await.unwrap();
    assert_eq!(before.len(), 3);
    let mut tried =
        vec!["UPDATE audit SET actor = 'somebody else'", "DELETE FROM audit", "DELETE FROM audit WHERE id = 1"];
    if db.folder.is_none() {
        tried.push("TRUNCATE audit");
    }
    for sql in tried {
        let refused = db.try_execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{sql}: {refused}");
    }
    assert_eq!(db.catalog.audit_entries(10).await.unwrap(), before);
}

async fn the_audit_outlives_a_scrub(db: Db) {
    db.catalog.audit(&entry("one")).await.unwrap();
    db.catalog.scrub().await.unwrap();
    assert_eq!(db.catalog.audit_entries(10).await.unwrap().len(), 1);
    assert!(db.try_execute("DELETE FROM audit").await.is_err());
}

use mavis_catalog::{Error, NewCursor};
use mavis_types::{Cursor, RunId, TableId};
use serde_json::json;

use crate::backend::{Db, on_both};

on_both!(
    a_cursor_reads_back_as_written,
    the_newest_row_may_be_replaced_and_no_other,
    no_cursor_and_a_null_cursor_are_told_apart,
    applications_do_not_see_each_other,
);

fn step(app: &str, sequence: i64, to: Option<serde_json::Value>) -> NewCursor {
    NewCursor {
        app_id: app.to_owned(),
        sequence,
        table: TableId::new(),
        from: Some(Cursor(json!({"at": sequence - 1}))),
        to: to.map(Cursor),
        run: RunId::new(),
    }
}

async fn a_cursor_reads_back_as_written(db: Db) {
    let new = step("in:a:b", 1, Some(json!({"id": 9_007_199_254_740_993_i64, "nom": "é\u{0}"})));
    db.catalog.write_cursor(&new).await.unwrap();
    let row = db.catalog.cursor("in:a:b", 1).await.unwrap().unwrap();
    assert_eq!((row.table, row.run, row.from, row.to), (new.table, new.run, new.from, new.to));
    assert_eq!(db.catalog.cursor("in:a:b", 2).await.unwrap(), None);
}

async fn the_newest_row_may_be_replaced_and_no_other(db: Db) {
    for sequence in [1, 2, 5] {
        db.catalog.write_cursor(&step("in:a:b", sequence, Some(json!("first")))).await.unwrap();
    }
    db.catalog.write_cursor(&step("in:a:b", 5, Some(json!("second")))).await.unwrap();
    for superseded in [2, 3] {
        let refused = db.catalog.write_cursor(&step("in:a:b", superseded, Some(json!("second")))).await;
        assert!(matches!(refused, Err(Error::Exists { .. })), "{superseded}");
    }
    let to = |row: Option<mavis_catalog::CursorRow>| row.unwrap().to.unwrap().0;
    assert_eq!(to(db.catalog.cursor("in:a:b", 2).await.unwrap()), json!("first"));
    assert_eq!(to(db.catalog.newest_cursor("in:a:b").await.unwrap()), json!("second"));
    assert_eq!(db.catalog.cursor("in:a:b", 3).await.unwrap(), None);
    assert_eq!(db.catalog.cursors(2).await.unwrap().len(), 2);
}

async fn no_cursor_and_a_null_cursor_are_told_apart(db: Db) {
    db.catalog.write_cursor(&step("x", 1, None)).await.unwrap();
    db.catalog.write_cursor(&step("x", 2, Some(json!(null)))).await.unwrap();
    assert_eq!(db.catalog.cursor("x", 1).await.unwrap().unwrap().to, None);
    assert_eq!(db.catalog.cursor("x", 2).await.unwrap().unwrap().to, Some(Cursor(json!(null))));
}

async fn applications_do_not_see_each_other(db: Db) {
    db.catalog.write_cursor(&step("in:a:b", 7, None)).await.unwrap();
    db.catalog.write_cursor(&step("in:a:c", 1, None)).await.unwrap();
    assert_eq!(db.catalog.newest_cursor("in:a:c").await.unwrap().unwrap().sequence, 1);
    assert_eq!(db.catalog.newest_cursor("in:a").await.unwrap(), None);
}

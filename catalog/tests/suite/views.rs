use mavis_catalog::{Error, NewView};

use crate::backend::{Db, on_both};

on_both!(
    a_view_is_stored_once_and_again_where_it_differs,
    the_name_of_a_table_belongs_to_one_view,
    a_removed_view_is_gone_and_its_name_is_free,
);

fn new(id: &str, name: &str, text: &str) -> NewView {
    NewView {
        kind: "ViewDefinition".to_owned(),
        id: id.to_owned(),
        name: Some(name.to_owned()),
        url: Some("http://example.org/view".to_owned()),
        resource: Some("Patient".to_owned()),
        text: text.to_owned(),
    }
}

async fn a_view_is_stored_once_and_again_where_it_differs(db: Db) {
    let (first, is_new) = db.catalog.put_view(new("a", "patients", "one")).await.unwrap();
    assert_eq!((first.version, is_new), (1, true));
    assert_eq!(db.catalog.put_view(new("a", "patients", "one")).await.unwrap(), (first, false));
    let (second, is_new) = db.catalog.put_view(new("a", "people", "two")).await.unwrap();
    assert_eq!((second.version, is_new, second.text.as_str()), (2, false, "two"));
    assert_eq!(db.catalog.view("ViewDefinition", "a").await.unwrap(), second);
    assert_eq!(db.catalog.view_by_name("people").await.unwrap(), Some(second.clone()));
    assert_eq!(db.catalog.view_by_name("patients").await.unwrap(), None);
    let all = [second];
    assert_eq!(db.catalog.views_by_url("http://example.org/view").await.unwrap(), all);
    assert_eq!(db.catalog.views().await.unwrap(), all);
}

async fn the_name_of_a_table_belongs_to_one_view(db: Db) {
    db.catalog.put_view(new("a", "patients", "one")).await.unwrap();
    let refused = db.catalog.put_view(new("b", "patients", "one")).await;
    assert!(matches!(refused, Err(Error::Exists { what: "view", .. })), "{refused:?}");
    assert!(matches!(db.catalog.view("ViewDefinition", "b").await, Err(Error::NotFound { what: "view", .. })));
}

async fn a_removed_view_is_gone_and_its_name_is_free(db: Db) {
    db.catalog.put_view(new("a", "patients", "one")).await.unwrap();
    db.catalog.remove_view("ViewDefinition", "a").await.unwrap();
    assert!(matches!(db.catalog.remove_view("ViewDefinition", "a").await, Err(Error::NotFound { .. })));
    assert!(db.catalog.put_view(new("b", "patients", "one")).await.unwrap().1);
}

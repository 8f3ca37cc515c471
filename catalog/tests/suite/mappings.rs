use futures::future::join_all;
use mavis_catalog::{CodeMapRow, Error, NewMapping};

use crate::backend::{Db, on_both};

on_both!(
    a_new_text_is_a_new_version_and_the_same_text_is_not,
    a_removed_mapping_comes_back_with_the_next_version,
    many_who_apply_at_once_each_get_a_version,
    a_code_map_is_replaced_whole,
);

fn new(name: &str, text: &str) -> NewMapping {
    NewMapping { name: name.to_owned(), resource: "Patient".to_owned(), source: None, text: text.to_owned() }
}

async fn a_new_text_is_a_new_version_and_the_same_text_is_not(db: Db) {
    let first = db.catalog.apply_mapping(new("hms.patient", "one")).await.unwrap();
    assert_eq!(first.version, 1);
    assert_eq!(db.catalog.apply_mapping(new("hms.patient", "one")).await.unwrap(), first);
    let second = db.catalog.apply_mapping(new("hms.patient", "two")).await.unwrap();
    assert_eq!((second.version, second.text.as_str()), (2, "two"));
    assert_eq!(db.catalog.apply_mapping(new("hms.patient", "one")).await.unwrap().version, 3);
    let other = db.catalog.apply_mapping(new("hms.encounter", "x")).await.unwrap();
    assert_eq!(db.catalog.mappings().await.unwrap(), [other, db.catalog.mapping("hms.patient").await.unwrap()]);
    assert!(matches!(db.catalog.mapping("nothing").await, Err(Error::NotFound { what: "mapping", .. })));
}

async fn a_removed_mapping_comes_back_with_the_next_version(db: Db) {
    db.catalog.apply_mapping(new("m", "one")).await.unwrap();
    db.catalog.apply_mapping(new("m", "two")).await.unwrap();
    db.catalog.remove_mapping("m").await.unwrap();
    assert!(matches!(db.catalog.mapping("m").await, Err(Error::NotFound { .. })));
    assert!(matches!(db.catalog.remove_mapping("m").await, Err(Error::NotFound { .. })));
    assert_eq!(db.catalog.mappings().await.unwrap(), []);
    assert_eq!(db.catalog.apply_mapping(new("m", "two")).await.unwrap().version, 3);
    assert_eq!(db.catalog.mapping("m").await.unwrap().version, 3);
}

async fn many_who_apply_at_once_each_get_a_version(db: Db) {
    let applied = join_all((0..10).map(|n| {
        let catalog = db.catalog.clone();
        tokio::spawn(async move { catalog.apply_mapping(new("m", &format!("text {n}"))).await.unwrap().version })
    }))
    .await;
    let mut versions: Vec<u32> = applied.into_iter().map(|version| version.unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=10).collect::<Vec<_>>());
}

async fn a_code_map_is_replaced_whole(db: Db) {
    let row = |n: usize| CodeMapRow {
        source_code: format!("{n}"),
        target_code: "male".to_owned(),
        target_system: n.is_multiple_of(2).then(|| "http://hl7.org/fhir/administrative-gender".to_owned()),
        target_display: None,
    };
    let rows: Vec<CodeMapRow> = (0..1_500).rev().map(row).collect();
    db.catalog.set_code_map("gender", &rows).await.unwrap();
    assert_eq!(db.catalog.code_map("gender").await.unwrap(), rows);
    db.catalog.set_code_map("gender", &rows[..1]).await.unwrap();
    assert_eq!(db.catalog.code_map("gender").await.unwrap(), rows[..1]);
    db.catalog.set_code_map("empty", &[]).await.unwrap();
    assert_eq!(db.catalog.code_map("empty").await.unwrap(), []);
    assert_eq!(db.catalog.code_maps().await.unwrap(), ["empty", "gender"]);
    assert!(matches!(db.catalog.code_map("nothing").await, Err(Error::NotFound { what: "code map", .. })));
}

use futures::future::join_all;
use mavis_catalog::{Error, NewColumn, NewSource, NewTable};
use mavis_types::{SourceName, TableId, TableName, Zone};

use crate::backend::{Db, new_table, on_both};

on_both!(
    two_makers_of_one_table_get_the_same,
    a_folder_that_is_another_tables_gets_a_number,
    ensuring_again_changes_nothing,
    pages_join_to_the_whole_list_in_byte_order,
    patterns_match_with_case_and_escapes,
    columns_are_replaced_and_listed_in_order,
    the_newest_state_stays,
);

async fn two_makers_of_one_table_get_the_same(db: Db) {
    let other = db.open_again().await;
    let made = join_all((0..20).map(|n| {
        let catalog = if n % 2 == 0 { db.catalog.clone() } else { other.clone() };
        tokio::spawn(async move { catalog.ensure_table(new_table("raw.hms.patient")).await.unwrap() })
    }))
    .await;
    let first = made[0].as_ref().unwrap().clone();
    assert_eq!(first.location, "raw/hms/patient");
    for table in made {
        assert_eq!(table.unwrap(), first);
    }
    assert_eq!(db.catalog.tables(None, None, None, None).await.unwrap(), [first]);
    other.close().await;
}

async fn a_folder_that_is_another_tables_gets_a_number(db: Db) {
    let names = ["work.ana.Visits", "work.ana.visits", "work.ana.visits_2", "work.ana.VISITS", "work.../../etc.x"];
    let mut locations = Vec::new();
    for name in &names[..4] {
        locations.push(db.table(name).await.location);
    }
    let mut escaping = new_table("work.a.b");
    escaping.name = TableName::new(Zone::Work, "../..", "a/b c");
    locations.push(db.catalog.ensure_table(escaping).await.unwrap().location);
    assert_eq!(
        locations,
        ["work/ana/visits", "work/ana/visits_2", "work/ana/visits_2_2", "work/ana/visits_3", "work/_____/a_b_c"]
    );
}

async fn ensuring_again_changes_nothing(db: Db) {
    let source = NewSource {
        name: SourceName::new("hms").unwrap(),
        kind: "sqlite".to_owned(),
        params: serde_json::json!({}),
        authoritative: false,
    };
    let source = db.catalog.add_source(source).await.unwrap().id;
    let new = NewTable {
        source: Some(source),
        source_schema: Some("main".to_owned()),
        source_table: Some("HMS_Patient".to_owned()),
        key: vec!["patient_id".to_owned()],
        comment: Some("les patients".to_owned()),
        ..new_table("raw.hms.hms_patient")
    };
    let made = db.catalog.ensure_table(new.clone()).await.unwrap();
    let again = db.catalog.ensure_table(NewTable { key: vec![], comment: None, ..new }).await.unwrap();
    assert_eq!(again, made);
    assert_eq!(made.key, ["patient_id"]);
    assert_eq!(db.catalog.table(&made.name).await.unwrap(), made);
    assert_eq!(db.catalog.table_by_id(made.id).await.unwrap(), made);
    assert_eq!(db.catalog.tables_of_source(source).await.unwrap(), [made]);
    let unknown = TableName::new(Zone::Raw, "hms", "nothing");
    assert_eq!(db.catalog.find_table(&unknown).await.unwrap(), None);
    assert!(matches!(db.catalog.table(&unknown).await, Err(Error::NotFound { what: "table", .. })));
}

async fn pages_join_to_the_whole_list_in_byte_order(db: Db) {
    // A language's collation would order these otherwise: it passes over `_` and mixes the cases.
    let mut names = Vec::new();
    for zone in ["raw", "processed", "fhir"] {
        for schema in ["a", "a_b", "ab", "b"] {
            for table in ["t", "t_2", "t2", "T"] {
                names.push(format!("{zone}.{schema}.{table}"));
            }
        }
    }
    for name in &names {
        db.table(name).await;
    }
    let part = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
    names.sort_by_key(|name| part(name));
    let filters = [
        (None, None),
        (Some(Zone::Processed), None),
        (Some(Zone::Raw), Some("a_b")),
        (None, Some("a_b")),
        (None, Some("nothing")),
    ];
    for (zone, schema) in filters {
        let expected: Vec<&String> = names
            .iter()
            .filter(|name| {
                let parts = part(name);
                zone.is_none_or(|zone| parts[0] == zone.as_str()) && schema.is_none_or(|schema| parts[1] == schema)
            })
            .collect();
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = db.catalog.tables(zone, schema, after.as_ref(), Some(3)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            listed.extend(page.into_iter().map(|table| table.name.to_string()));
        }
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{zone:?} {schema:?}");
        // A page may begin after a name that the filter leaves out.
        for after in &names {
            let after: TableName = after.parse().unwrap();
            let page = db.catalog.tables(zone, schema, Some(&after), None).await.unwrap();
            let rest = expected.iter().filter(|name| part(name) > part(&after.to_string())).count();
            assert_eq!(page.len(), rest, "{zone:?} {schema:?} after {after}");
        }
    }
    let schemas = db.catalog.schemas(Some(Zone::Raw)).await.unwrap();
    assert_eq!(schemas.iter().map(|(_, schema)| schema.as_str()).collect::<Vec<_>>(), ["a", "a_b", "ab", "b"]);
    assert_eq!(db.catalog.schemas(None).await.unwrap().len(), 12);
    assert_eq!(db.catalog.schemas(Some(Zone::Work)).await.unwrap(), []);
}

/// Zone, schema pattern, table pattern, tables found.
type Case = (Option<Zone>, Option<&'static str>, Option<&'static str>, &'static [&'static str]);

async fn patterns_match_with_case_and_escapes(db: Db) {
    for name in [
        "raw.hms.hms_patient",
        "raw.hms.hmsxpatient",
        "raw.hms.HMS_PATIENT",
        "raw.lab.a*b",
        "raw.lab.a[b]c",
        "fhir.r4.patient",
    ] {
        db.table(name).await;
    }
    let cases: [Case; 11] = [
        (None, None, Some("%patient"), &["fhir.r4.patient", "raw.hms.hms_patient", "raw.hms.hmsxpatient"]),
        (None, None, Some("hms_patient"), &["raw.hms.hms_patient", "raw.hms.hmsxpatient"]),
        (None, None, Some(r"hms\_patient"), &["raw.hms.hms_patient"]),
        (None, None, Some(r"hms\_p%"), &["raw.hms.hms_patient"]),
        (None, None, Some("HMS%"), &["raw.hms.HMS_PATIENT"]),
        (None, None, Some("a*%"), &["raw.lab.a*b"]),
        (None, None, Some("%[b]_"), &["raw.lab.a[b]c"]),
        (None, None, Some("*"), &[]),
        (Some(Zone::Fhir), Some("%"), Some("%"), &["fhir.r4.patient"]),
        (None, Some("r_"), None, &["fhir.r4.patient"]),
        (None, Some("lab"), Some(r"a%\"), &[]),
    ];
    for (zone, schema, table, expected) in cases {
        let found = db.catalog.tables_like(zone, schema, table, None, None).await.unwrap();
        let found: Vec<String> = found.into_iter().map(|table| table.name.to_string()).collect();
        assert_eq!(found, expected, "{zone:?} {schema:?} {table:?}");
    }
}

fn column(name: &str) -> NewColumn {
    NewColumn {
        name: name.to_owned(),
        source_name: Some(name.to_uppercase()),
        data_type: "Utf8".to_owned(),
        source_type: None,
        nullable: name != "id",
        comment: Some("une colonne".to_owned()),
    }
}

async fn columns_are_replaced_and_listed_in_order(db: Db) {
    let (a, b) = (db.table("raw.hms.a").await, db.table("raw.hms.b").await);
    let wide: Vec<NewColumn> = (0..1_000).map(|n| column(&format!("c{n}"))).collect();
    db.catalog.set_columns(a.id, &wide).await.unwrap();
    let read = db.catalog.columns(a.id).await.unwrap();
    assert_eq!(read.len(), 1_000);
    assert_eq!((read[999].position, read[999].name.as_str()), (999, "c999"));
    // Replaced by many at once: one of them wins, whole.
    join_all((0..8).map(|n| {
        let (catalog, table) = (db.catalog.clone(), a.id);
        tokio::spawn(async move {
            let columns = [column("id"), column(&format!("only_{n}"))];
            catalog.set_columns(table, &columns).await.unwrap();
        })
    }))
    .await
    .into_iter()
    .for_each(|done| done.unwrap());
    db.catalog.set_columns(b.id, &[column("z"), column("id")]).await.unwrap();
    let listed = db.catalog.columns_of_schema(Zone::Raw, "hms").await.unwrap();
    assert_eq!(listed.len(), 4);
    assert_eq!((listed[0].0.table.as_str(), listed[0].1.name.as_str(), listed[0].1.nullable), ("a", "id", false));
    assert_eq!((listed[2].0.table.as_str(), listed[2].1.name.as_str()), ("b", "z"));
    db.catalog.set_columns(b.id, &[]).await.unwrap();
    let pages = db.catalog.columns_like(Some(Zone::Raw), Some("h%"), None, None, Some(5)).await.unwrap();
    let shown: Vec<_> = pages.iter().map(|(table, columns)| (table.name.table.as_str(), columns.len())).collect();
    assert_eq!(shown, [("a", 2), ("b", 0)]);
    let unknown = db.catalog.set_columns(TableId::new(), &[column("id")]).await;
    assert!(matches!(unknown, Err(Error::NotFound { what: "table", .. })));
}

async fn the_newest_state_stays(db: Db) {
    let table = db.table("raw.hms.a").await;
    let steps = [
        (3, Some(10), (Some(3), Some(10))),
        (2, Some(99), (Some(3), Some(10))),
        (3, None, (Some(3), Some(10))),
        (4, None, (Some(4), None)),
        (4, Some(12), (Some(4), Some(12))),
    ];
    for (version, rows, expected) in steps {
        db.catalog.note_table_state(table.id, version, rows).await.unwrap();
        let now = db.catalog.table_by_id(table.id).await.unwrap();
        assert_eq!((now.version, now.rows), expected);
    }
    db.catalog.set_key(table.id, &["id".to_owned()]).await.unwrap();
    assert_eq!(db.catalog.table_by_id(table.id).await.unwrap().key, ["id"]);
    assert!(matches!(db.catalog.set_key(TableId::new(), &[]).await, Err(Error::NotFound { .. })));
    assert!(matches!(db.catalog.note_table_state(TableId::new(), 1, None).await, Err(Error::NotFound { .. })));
}

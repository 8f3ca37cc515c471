//! What is hidden of a table is hidden in the tables that hold the same, cleaned, mapped or as it came.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use mavis_catalog::NewMapping;
use mavis_sql::not_whole;
use mavis_types::{TableName, Zone};
use rstest::rstest;

use crate::{
    fixture::Fixture,
    rights::{ana, grant, visits},
};

async fn put(lake: &Fixture, zone: Zone, schema: &str, table: &str, columns: &[(&str, ArrayRef)]) {
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema_of = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, column)| Arc::clone(column)).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema_of), arrays).unwrap();
    let table = lake.table(zone, schema, table, &schema_of).await;
    lake.append(&table, &rows).await;
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// `raw.north` and `processed.north`: a Patient and an Observation, as a source that is FHIR already brings them.
async fn brought(lake: &Fixture) {
    let patient = r#"{"resourceType":"Patient","id":"p1","name":[{"family":"Zanzibar"}],"gender":"female"}"#;
    let observation = r#"{"resourceType":"Observation","id":"o1","status":"final","subject":{"display":"Zanzibar"}}"#;
    for zone in [Zone::Raw, Zone::Processed] {
        for (table, kind, id, text) in
            [("patient", "Patient", "p1", patient), ("observation", "Observation", "o1", observation)]
        {
            let columns = [
                ("id", texts(&[Some(id)])),
                ("resource_type", texts(&[Some(kind)])),
                ("resource", texts(&[Some(text)])),
                ("if_none_exist", texts(&[Some("name=Zanzibar")])),
            ];
            put(lake, zone, "north", table, &columns).await;
        }
    }
}

#[rstest]
#[case("raw")]
#[case("processed")]
#[tokio::test(flavor = "multi_thread")]
async fn a_masked_element_is_gone_from_resources_where_they_came_from(#[case] zone: &str) {
    let lake = Fixture::new().await;
    brought(&lake).await;
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    let (patients, all) =
        (format!("SELECT id, resource FROM {zone}.north.patient"), format!("SELECT * FROM {zone}.north.patient"));
    assert!(lake.ask(&ana(&lake).await, &patients).await.unwrap()[0].contains("Zanzibar"));
    grant(&lake, "CREATE MASK ON fhir.r4.patient (name) TO USER ana USING NULL").await;
    let ana = ana(&lake).await;
    let cut = "p1|{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"female\"}";
    assert_eq!(lake.ask(&ana, &patients).await.unwrap(), [cut]);
    let observations = format!("SELECT id, resource FROM {zone}.north.observation");
    let cut = "o1|{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\",\"subject\":{}}";
    assert_eq!(lake.ask(&ana, &observations).await.unwrap(), [cut]);
    assert!(!lake.ask(&ana, &all).await.unwrap()[0].contains("Zanzibar"));
    for nothing in ["resource LIKE '%Zanzibar%'", "if_none_exist = 'name=Zanzibar'", "__hash IS NOT NULL"] {
        let sql = format!("SELECT count(*) FROM {zone}.north.patient WHERE {nothing}");
        assert_eq!(lake.ask(&ana, &sql).await.unwrap(), ["0"], "{nothing}");
    }
    let table: TableName = format!("{zone}.north.patient").parse().unwrap();
    let told = not_whole(lake.lake.catalog(), &ana, std::slice::from_ref(&table)).await.unwrap();
    assert_eq!(told, Some(&table), "nor is it copied elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_rows_of_a_type_are_filtered_its_source_shows_none() {
    let lake = Fixture::new().await;
    brought(&lake).await;
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    grant(&lake, "CREATE POLICY own ON fhir.r4.patient TO USER ana USING (birthDate > '1960')").await;
    let ana = ana(&lake).await;
    let rows =
        |table: &str| format!("SELECT rows FROM system.catalog.tables WHERE table_name = '{table}' AND zone = 'raw'");
    for (table, count, told) in [("patient", "0", "NULL"), ("observation", "1", "1")] {
        for zone in ["raw", "processed"] {
            let sql = format!("SELECT count(*) FROM {zone}.north.{table}");
            assert_eq!(lake.ask(&ana, &sql).await.unwrap(), [count], "{zone} {table}");
        }
        assert_eq!(lake.ask(&ana, &rows(table)).await.unwrap(), [told], "{table}");
    }
    assert_eq!(lake.rows("SELECT count(*) FROM raw.north.patient").await, ["1"]);
}

/// The ids that are left of each zone's rows.
#[rstest]
#[case("processed", "diagnosis <> 'HIV'", &["3"], &["3"])]
#[case("processed", "coalesce(diagnosis, '') <> 'HIV'", &["3", "5"], &["3", "4", "5"])]
#[case("processed", "number > 2 AND diagnosis = 'HIV'", &["2"], &["1", "2"])]
#[case("processed", "id IN (SELECT id FROM processed.hms.lab WHERE diagnosis = 'flu')", &["3"], &["3"])]
#[case("raw", "diagnosis <> ' HIV '", &["2", "3", "4"], &["3"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_holds_on_a_copy_whatever_cleaning_changed(
    #[case] on: &str,
    #[case] condition: &str,
    #[case] raw: &[&str],
    #[case] processed: &[&str],
) {
    let lake = Fixture::new().await;
    let ids = || -> ArrayRef { Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])) };
    let as_came = texts(&[Some(" HIV "), Some("HIV"), Some(" flu"), Some("N/A"), None]);
    let numbers = texts(&[Some("07"), Some(" 3"), Some("1"), Some("1"), Some("1")]);
    put(&lake, Zone::Raw, "hms", "lab", &[("id", ids()), ("diagnosis", as_came), ("number", numbers)]).await;
    let cleaned = texts(&[Some("HIV"), Some("HIV"), Some("flu"), None, None]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 3, 1, 1, 1]));
    assert_eq!(numbers.data_type(), &DataType::Int64);
    put(&lake, Zone::Processed, "hms", "lab", &[("id", ids()), ("diagnosis", cleaned), ("number", numbers)]).await;
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    grant(&lake, &format!("CREATE POLICY p ON {on}.hms.lab TO USER ana USING ({condition})")).await;
    let ana = ana(&lake).await;
    for (zone, left) in [("raw", raw), ("processed", processed)] {
        let sql = format!("SELECT id FROM {zone}.hms.lab ORDER BY id");
        assert_eq!(lake.ask(&ana, &sql).await.unwrap(), left, "{zone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_that_a_reference_repeats_is_gone_where_it_came_from() {
    let lake = Fixture::new().await;
    let text =
        r#"{"resourceType":"Observation","id":"o1","subject":{"identifier":{"value":"Zanzibar"},"display":"Ana"}}"#;
    let columns = [
        ("id", texts(&[Some("o1")])),
        ("resource_type", texts(&[Some("Observation")])),
        ("resource", texts(&[Some(text)])),
    ];
    put(&lake, Zone::Raw, "north", "observation", &columns).await;
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    grant(&lake, "CREATE MASK ON fhir.r4.patient (identifier) TO USER ana USING NULL").await;
    let seen = lake.ask(&ana(&lake).await, "SELECT resource FROM raw.north.observation").await.unwrap();
    assert_eq!(seen, [r#"{"resourceType":"Observation","id":"o1","subject":{"display":"Ana"}}"#]);
}

/// What a mapping says, and what is left of the columns `nom`, `day` and `clinic` that it reads.
#[rstest]
#[case("Patient", "processed.hms.visit v", "name[0].family", "v.nom", "NULL|2024-01-05|3")]
#[case("Observation", "processed.hms.visit v", "subject.display", "v.nom", "NULL|2024-01-05|3")]
#[case("Observation", "processed.hms.visit v", "code.text", "v.nom", "Durand|2024-01-05|3")]
#[case("Patient", "(SELECT id, nom AS n FROM processed.hms.visit) v", "name[0].family", "v.n", "NULL|NULL|NULL")]
#[case(
    "Patient",
    "processed.hms.hms_patient v",
    "name[0].family",
    "(SELECT max(x.nom) FROM processed.hms.visit x WHERE x.day = v.birthdate)",
    "NULL|NULL|3"
)]
#[tokio::test(flavor = "multi_thread")]
async fn what_flows_into_a_masked_element_is_masked_by_whatever_way(
    #[case] resource: &str,
    #[case] from: &str,
    #[case] path: &str,
    #[case] made_of: &str,
    #[case] left: &str,
) {
    let lake = Fixture::new().await;
    visits(&lake).await;
    let text = format!(
        "version = 1\nresource = \"{resource}\"\nfrom = \"{from}\"\nkey = \"v.id\"\n\n[set]\n\"{path}\" = \"{made_of}\"\n"
    );
    let new = NewMapping { name: "m".to_owned(), resource: resource.to_owned(), source: None, text };
    lake.lake.catalog().apply_mapping(new).await.unwrap();
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    grant(&lake, "CREATE MASK ON fhir.r4.patient (name) TO USER ana USING NULL").await;
    let ana = ana(&lake).await;
    for zone in ["raw", "processed"] {
        let seen = lake.ask(&ana, &format!("SELECT nom, day, clinic FROM {zone}.hms.visit")).await.unwrap();
        assert!(seen.iter().any(|row| row == left), "{zone}: {seen:?}");
    }
}

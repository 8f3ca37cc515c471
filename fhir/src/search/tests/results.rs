use rstest::rstest;

use super::*;

#[rstest]
#[case("", 50, Total::None, "")]
#[case("_count=7", 7, Total::None, "_count=7")]
#[case("_count=5000", 1000, Total::None, "_count=1000")]
#[case("_count=99999999999999999999999", 1000, Total::None, "_count=1000")]
#[case("_count=0", 0, Total::Accurate, "_count=0")]
#[case("_summary=count", 0, Total::Accurate, "_summary=count")]
#[case("_total=accurate", 50, Total::Accurate, "_total=accurate")]
#[case(
    "_total=estimate&_format=json&_pretty=true&_elements=id",
    50,
    Total::Accurate,
    "_total=estimate&_format=json&_pretty=true&_elements=id"
)]
fn what_the_answer_shall_be_is_read(
    #[case] query: &str,
    #[case] count: usize,
    #[case] total: Total,
    #[case] applied: &str,
) {
    let table = table("Patient", &[r#"{"resourceType":"Patient","id":"a"}"#]);
    let search = compiled("Patient", &table, query, Handling::Strict).unwrap();
    assert_eq!((search.count, search.total), (count, total));
    assert_eq!(search.applied, pairs(applied));
    assert!(search.criteria.filter.is_none() && search.criteria.links.is_empty());
}

#[rstest]
#[case("", "a b c d")]
#[case("_sort=-_id", "d c b a")]
#[case("_sort=birthdate", "b a c d")]
#[case("_sort=-birthdate", "a c b d")]
#[case("_sort=family", "c b a d")]
#[case("_sort=-family", "a b c d")]
#[case("_sort=gender,-_lastUpdated", "c b d a")]
#[case("_sort=given", "a b c d")]
#[case("_sort=-given", "b a c d")]
#[case("_sort=identifier", "b a c d")]
#[case("_sort=link,-_id", "d c b a")]
fn matches_are_sorted_by_several_keys_and_the_id(#[case] query: &str, #[case] expected: &str) {
    let table = table(
        "Patient",
        &[
            r#"{"resourceType":"Patient","id":"a","birthDate":"1990-05","name":[{"family":"Zola","given":["Anna","Zoe"]}],"gender":"male","identifier":[{"value":"2"}]}"#,
            r#"{"resourceType":"Patient","id":"b","birthDate":"1980","name":[{"family":"Émile","given":["Bob","zz"]}],"gender":"female","identifier":[{"value":"1"}]}"#,
            r#"{"resourceType":"Patient","id":"c","birthDate":"1990-05-01","name":[{"family":"abel"}],"gender":"female"}"#,
            r#"{"resourceType":"Patient","id":"d","gender":"male"}"#,
        ],
    );
    assert_eq!(ids(query, "Patient", &table), expected);
}

#[test]
fn quantities_and_references_sort_too() {
    let table = table(
        "Observation",
        &[
            r#"{"resourceType":"Observation","id":"a","valueQuantity":{"value":10},"subject":{"reference":"Patient/2"},"effectiveDateTime":"2020"}"#,
            r#"{"resourceType":"Observation","id":"b","valueQuantity":{"value":9.5},"subject":{"reference":"Patient/1"},"effectivePeriod":{"start":"2019"}}"#,
        ],
    );
    assert_eq!(ids("_sort=value-quantity", "Observation", &table), "b a");
    assert_eq!(ids("_sort=-value-quantity", "Observation", &table), "a b");
    assert_eq!(ids("_sort=subject", "Observation", &table), "b a");
    assert_eq!(ids("_sort=date", "Observation", &table), "b a");
    assert_eq!(ids("_sort=-date", "Observation", &table), "a b");
}

/// What lets files be skipped stands in the filter as plain comparisons.
#[rstest]
#[case("_id=a", "id = Utf8(\"a\")")]
#[case("patient=p", "__patient = Utf8(\"p\")")]
#[case("subject=Patient/p", "__patient = Utf8(\"p\")")]
#[case("status=final", "status = Utf8(\"final\")")]
#[case("date=ge2020", "effectiveDateTime__end >")]
fn plain_columns_are_compared_plainly(#[case] query: &str, #[case] part: &str) {
    let table = table(
        "Observation",
        &[
            r#"{"resourceType":"Observation","id":"a","status":"final","subject":{"reference":"Patient/p"},"effectiveDateTime":"2020"}"#,
        ],
    );
    let filter = compiled("Observation", &table, query, Handling::Strict).unwrap().criteria.filter.unwrap().to_string();
    assert!(filter.contains(part), "{filter}");
}

#[test]
fn equal_searches_are_equal_expressions_and_others_are_not() {
    let table = table("Patient", &[r#"{"resourceType":"Patient","id":"o","name":[{"family":"a"}]}"#]);
    let filter = |query: &str| compiled("Patient", &table, query, Handling::Strict).unwrap().criteria.filter.unwrap();
    assert_eq!(filter("family=x"), filter("family=X"));
    assert_ne!(filter("family=x"), filter("family=y"));
    assert_ne!(filter("family=x"), filter("family:exact=x"));
}

/// Parquet gives slices of larger batches, with texts as views.
#[test]
fn slices_and_views_are_searched_alike() {
    use arrow::{array::ArrayRef, compute::cast, datatypes::DataType};

    let full = table(
        "Patient",
        &[
            r#"{"resourceType":"Patient","id":"a","name":[{"family":"X","given":["A","B"]}],"identifier":[{"value":"1"}],"generalPractitioner":[{"reference":"Practitioner/1"}]}"#,
            r#"{"resourceType":"Patient","id":"b"}"#,
            r#"{"resourceType":"Patient","id":"c","name":[{"family":"X","given":["C"]},{"given":["D"]}],"identifier":[{"value":"2"}],"generalPractitioner":[{"reference":"Practitioner/2"}]}"#,
        ],
    );
    fn views(data_type: &DataType) -> DataType {
        match data_type {
            DataType::Utf8 => DataType::Utf8View,
            DataType::List(item) => {
                DataType::List(std::sync::Arc::new(item.as_ref().clone().with_data_type(views(item.data_type()))))
            }
            DataType::Struct(fields) => DataType::Struct(
                fields.iter().map(|field| field.as_ref().clone().with_data_type(views(field.data_type()))).collect(),
            ),
            other => other.clone(),
        }
    }
    let columns: Vec<(&str, ArrayRef)> = full
        .schema_ref()
        .fields()
        .iter()
        .zip(full.columns())
        .map(|(field, column)| {
            let to = if field.name() == "id" { DataType::Utf8 } else { views(column.data_type()) };
            (field.name().as_str(), cast(column, &to).unwrap())
        })
        .collect();
    let viewed =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap();
    for batch in [full.slice(1, 2), viewed.slice(1, 2)] {
        assert_eq!(ids("name=x", "Patient", &batch), "c");
        assert_eq!(ids("given=d", "Patient", &batch), "c");
        assert_eq!(ids("given=a", "Patient", &batch), "");
        assert_eq!(ids("identifier=1,2", "Patient", &batch), "c");
        assert_eq!(ids("general-practitioner=Practitioner/2", "Patient", &batch), "c");
        assert_eq!(ids("name:missing=true", "Patient", &batch), "b");
        assert_eq!(ids("_sort=-given", "Patient", &batch), "c b");
    }
}

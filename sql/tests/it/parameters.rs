use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use mavis_sql::Error;
use rstest::rstest;

use crate::fixture::Fixture;

#[rstest]
#[case("SELECT nom FROM hms.hms_patient WHERE id = $1", &[DataType::Int64])]
#[case("SELECT nom FROM hms.hms_patient WHERE id > ? AND nom LIKE ? LIMIT ?", &[DataType::Int64, DataType::Utf8, DataType::Int64])]
#[case("SELECT $1", &[DataType::Utf8])]
#[case("SELECT nom FROM hms.hms_patient WHERE id BETWEEN $2 AND $1", &[DataType::Int64, DataType::Int64])]
#[case("SELECT 1", &[])]
#[tokio::test(flavor = "multi_thread")]
async fn types_of_parameters_are_told(#[case] sql: &str, #[case] expected: &[DataType]) {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let prepared = session.prepare(sql).await.unwrap();
    let types: Vec<DataType> = prepared.parameters.fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_bound_in_order_and_cast() {
    let lake = Fixture::new().await;
    let sql = "SELECT nom FROM hms.hms_patient WHERE id >= ? AND birthdate < ? ORDER BY id LIMIT ?";
    let values = [ScalarValue::from("2"), ScalarValue::from("2030"), ScalarValue::Int64(Some(1))];
    assert_eq!(lake.ask_with(&lake.admin, sql, &values).await.unwrap(), ["Petit"]);
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let prepared = session.prepare(sql).await.unwrap();
    let stream = session.query(sql, &values, None).await.unwrap();
    assert_eq!(prepared.schema, stream.schema, "told before and after binding");
}

#[rstest]
#[case("SELECT nom FROM hms.hms_patient WHERE id = $1", vec![ScalarValue::from("x-4711")])]
#[case("SELECT nom FROM hms.hms_patient WHERE id = $1", vec![])]
#[case("SELECT nom FROM hms.hms_patient WHERE id = $1", vec![ScalarValue::from(1.5_f64)])]
#[case("SELECT nom FROM hms.hms_patient LIMIT $1", vec![ScalarValue::from(1.5_f64)])]
#[case("SELECT nom FROM hms.hms_patient WHERE (id = 1) = $1", vec![ScalarValue::from(2_i64)])]
#[case("SELECT 1", vec![ScalarValue::from(1_i64)])]
#[case("SELECT $2", vec![ScalarValue::from(1_i64)])]
#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_refused_without_being_repeated(
    #[case] sql: &str,
    #[case] values: Vec<ScalarValue>,
) {
    let lake = Fixture::new().await;
    let error = lake.ask_with(&lake.admin, sql, &values).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(!error.to_string().contains("4711"), "{error}");
}

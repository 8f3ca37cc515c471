use arrow::datatypes::{DataType, TimeUnit};
use datafusion::scalar::ScalarValue;
use mavis_sql::Error;
use rstest::rstest;

use crate::fixture::{Fixture, lines};

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

/// The types of an answer's columns, told before and after the values are bound.
async fn types(lake: &Fixture, sql: &str, values: &[ScalarValue]) -> Result<Vec<DataType>, Error> {
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let told = session.prepare_with(sql, values).await?;
    let stream = session.query(sql, values, None).await?;
    assert_eq!(told.schema, stream.schema, "{sql}");
    let columns = stream.schema.fields().iter().map(|field| field.data_type().clone()).collect();
    lines(stream).await?;
    Ok(columns)
}

#[rstest]
#[case("SELECT ?", vec![ScalarValue::from(7_i64)], DataType::Int64)]
#[case("SELECT ?", vec![ScalarValue::Binary(Some(vec![255, 0]))], DataType::Binary)]
#[case("SELECT ?", vec![ScalarValue::Date32(Some(1))], DataType::Date32)]
#[case("SELECT ?", vec![ScalarValue::LargeUtf8(Some("x".to_owned()))], DataType::Utf8)]
#[case("SELECT ?", vec![ScalarValue::TimestampNanosecond(Some(1), None)], DataType::Timestamp(TimeUnit::Microsecond, None))]
#[case("SELECT ?", vec![ScalarValue::FixedSizeBinary(2, Some(vec![1, 2]))], DataType::FixedSizeBinary(2))]
#[case("SELECT ?", vec![ScalarValue::Null], DataType::Utf8)]
#[case("SELECT ? + ?", vec![ScalarValue::from(1_i64), ScalarValue::from(2_i64)], DataType::Int64)]
#[case("SELECT ? + ?", vec![ScalarValue::from(1_i64), ScalarValue::Null], DataType::Int64)]
#[case("SELECT round(?, ?)", vec![ScalarValue::from(1.25_f64), ScalarValue::from(1_i64)], DataType::Float64)]
#[case("SELECT -?", vec![ScalarValue::from(3_i64)], DataType::Int64)]
#[case("SELECT abs(?)", vec![ScalarValue::from(-3_i64)], DataType::Int64)]
#[case("SELECT ? || ?", vec![ScalarValue::from("a"), ScalarValue::from("b")], DataType::Utf8)]
#[case("SELECT ? + ? FROM hms.hms_patient WHERE id = ?", vec![ScalarValue::from(1_i64), ScalarValue::from(2_i64), ScalarValue::from("2")], DataType::Int64)]
#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_may_be_anything_has_the_type_of_its_value(
    #[case] sql: &str,
    #[case] values: Vec<ScalarValue>,
    #[case] expected: DataType,
) {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let prepared = session.prepare(sql).await.unwrap();
    assert_eq!(prepared.parameters.fields().len(), values.len());
    assert_eq!(types(&lake, sql, &values).await.unwrap(), std::slice::from_ref(&expected));
    // The same text with values of other types in between.
    let texts: Vec<ScalarValue> = values.iter().map(|_| ScalarValue::from("5")).collect();
    drop(types(&lake, sql, &texts).await);
    assert_eq!(types(&lake, sql, &values).await.unwrap(), [expected]);
}

#[rstest]
#[case("SELECT ? + ?", vec![ScalarValue::from("a"), ScalarValue::from("b")])]
#[case("SELECT ? + ?", vec![ScalarValue::from(1_i64)])]
#[case("SELECT 1 WHERE 'a' = ?", vec![ScalarValue::Binary(Some(vec![255]))])]
#[case("SELECT length(?)", vec![ScalarValue::Binary(Some(vec![255])), ScalarValue::Null])]
#[tokio::test(flavor = "multi_thread")]
async fn values_that_make_no_sense_are_the_callers_mistake(#[case] sql: &str, #[case] values: Vec<ScalarValue>) {
    let lake = Fixture::new().await;
    let error = lake.ask_with(&lake.admin, sql, &values).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_compared_with_a_text_as_a_text() {
    let lake = Fixture::new().await;
    assert_eq!(lake.ask_with(&lake.admin, "SELECT 1 WHERE '7' = ?", &[ScalarValue::from(7_i64)]).await.unwrap(), ["1"]);
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    },
    compute::concat_batches,
};
use datafusion::prelude::SessionContext;
use mavis_types::SourceId;
use rstest::rstest;

use super::*;
use crate::{ResourceType, resource_id};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

fn session(source: SourceId, unknown: &Arc<UnknownCodes>) -> SessionContext {
    let code = |code: &str| Code { code: code.into(), system: Some("urn:s".into()), display: None };
    let sex = HashMap::from([("M".to_owned(), code("male")), ("2".to_owned(), code("female"))]);
    let maps = Arc::new(CodeMaps::from([("sex".to_owned(), sex)]));
    let context = SessionContext::new();
    for function in for_mapping_counted(source, maps, Arc::clone(unknown)) {
        context.register_udf(function);
    }
    context
}

fn column(context: &SessionContext, sql: &str) -> Result<Vec<Option<String>>, String> {
    let batches = block_on(async { context.sql(sql).await?.collect().await }).map_err(|error| error.to_string())?;
    let batch = concat_batches(&batches[0].schema(), &batches).unwrap();
    Ok(batch.column(0).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

#[test]
fn a_code_is_mapped_and_an_unknown_one_is_null_and_counted() {
    let unknown = Arc::new(UnknownCodes::default());
    let context = session(SourceId::new(), &unknown);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("M"), None, Some("x"), Some(" M "), Some("y")]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![2, 2, 2, 3, 2]));
    let batch = RecordBatch::try_from_iter([("t", texts), ("n", numbers)]).unwrap();
    context.register_batch("p", batch).unwrap();

    let mapped = column(&context, "SELECT code_map('sex', t) FROM p").unwrap();
    assert_eq!(mapped, [Some("male".into()), None, None, Some("male".into()), None]);
    assert_eq!(unknown.counts(), BTreeMap::from([("sex".to_owned(), 2)]));
    let mapped = column(&context, "SELECT code_map('sex', n) FROM p WHERE n = 2").unwrap();
    assert_eq!(mapped, vec![Some("female".to_owned()); 4]);
    assert_eq!(column(&context, "SELECT code_system('sex', 'M')").unwrap(), [Some("urn:s".into())]);
    assert_eq!(column(&context, "SELECT code_display('sex', 'M')").unwrap(), [None]);
}

#[rstest]
#[case("SELECT code_map('gender', 'M')", "there is no code map `gender`: sex")]
#[case("SELECT code_map(t, 'M') FROM (VALUES ('sex')) AS x(t)", "written as a text literal")]
#[case("SELECT reference('Patiënt', 1)", "`Patiënt` is not a FHIR R4 resource type")]
#[case("SELECT reference('Patient')", "at least one key part")]
#[case("SELECT fhir_date(12)", "fhir_date takes text, a date or a timestamp")]
fn what_cannot_work_is_refused_before_any_row(#[case] sql: &str, #[case] message: &str) {
    let context = session(SourceId::new(), &Arc::default());
    let error = block_on(context.sql(sql)).map(|_| ()).expect_err(sql).to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_reference_meets_the_id_of_its_row_whatever_the_types_of_the_key() {
    let source = SourceId::new();
    let context = session(source, &Arc::default());
    let patient: ResourceType = "Patient".parse().unwrap();
    let expected = Some(format!("Patient/{}", resource_id(source, patient, &["12", "a"])));
    let decimal = Decimal128Array::from(vec![Some(1200), None]).with_precision_and_scale(10, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i", Arc::new(Int64Array::from(vec![Some(12), None]))),
        ("d", Arc::new(decimal)),
        ("f", Arc::new(Float64Array::from(vec![Some(12.0), None]))),
        ("t", Arc::new(StringArray::from(vec![Some("12"), None]))),
    ];
    context.register_batch("p", RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    for key in ["i", "d", "f", "t"] {
        let texts = column(&context, &format!("SELECT reference('Patient', {key}, 'a') FROM p")).unwrap();
        assert_eq!(texts, [expected.clone(), None], "{key}");
    }
}

#[rstest]
#[case("1980", Some("1980"))]
#[case("1980-1", Some("1980-01"))]
#[case(" 1980-12-31 ", Some("1980-12-31"))]
#[case("1980-12-31T23:59:59Z", Some("1980-12-31"))]
#[case("1980-12-31 00:00:00", Some("1980-12-31"))]
#[case("31/12/1980", Some("1980-12-31"))]
#[case("1.2.1980", Some("1980-02-01"))]
#[case("19801231", Some("1980-12-31"))]
#[case("31/02/1980", Some("31/02/1980"))]
#[case("inconnu", Some("inconnu"))]
#[case("né en été", Some("né en été"))]
#[case("", None)]
fn dates_in_known_forms_become_fhir_dates_and_others_stay(#[case] text: &str, #[case] date: Option<&str>) {
    assert_eq!(fhir_date(text).as_deref(), date);
}

#[test]
fn dates_and_timestamps_become_fhir_dates() {
    let context = session(SourceId::new(), &Arc::default());
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), None]));
    context.register_batch("p", RecordBatch::try_from_iter([("d", dates)]).unwrap()).unwrap();
    assert_eq!(column(&context, "SELECT fhir_date(d) FROM p").unwrap(), [Some("1970-01-01".into()), None]);
    let timestamp = "SELECT fhir_date(TIMESTAMP '2020-02-29T13:00:00')";
    assert_eq!(column(&context, timestamp).unwrap(), [Some("2020-02-29".into())]);
}

#[rstest]
#[case("Éléonore", "eleonore")]
#[case("MÜLLER", "muller")]
#[case("Cœur", "coeur")]
#[case("Straße", "strasse")]
#[case("o'neil", "o'neil")]
fn folding_forgets_case_and_accents(#[case] text: &str, #[case] folded: &str) {
    assert_eq!(fold(text), folded);
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
    util::pretty::pretty_format_batches,
};
use chrono::DateTime;
use rstest::rstest;

use super::*;
use crate::{
    json,
    shape::{Encoder, Meta},
};

fn plan(view: &str) -> Result<Plan, ViewError> {
    Plan::new(&View::parse(&json::parse(view.as_bytes()).unwrap())?)
}

/// Rows over resources that came with a request.
fn rows(view: &str, resources: &str) -> Result<Vec<RecordBatch>, ViewError> {
    let plan = plan(view)?;
    let resources = json::parse(resources.as_bytes()).unwrap();
    let (batch, misfits) = encode(plan.resource(), resources.items()).unwrap();
    assert_eq!(misfits, 0);
    plan.run(&batch)
}

const NAMES: &str = r#"{"resource":"Patient","select":[
    {"column":[{"name":"id","path":"id"},{"name":"born","path":"birthDate"}]},
    {"forEach":"name","column":[{"name":"family","path":"family"},{"name":"n","path":"%rowIndex"}]}]}"#;

#[test]
fn a_view_reads_and_makes_only_the_columns_asked_for() {
    let plan = plan(NAMES).unwrap();
    assert_eq!(plan.reads().into_iter().collect::<Vec<_>>(), ["birthDate", "id", "name"]);
    let some = plan.project(&[0, 3]);
    assert_eq!(some.reads().into_iter().collect::<Vec<_>>(), ["id", "name"]);
    let names: Vec<String> = some.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["id", "n"]);
    let resources = json::parse(br#"[{"resourceType":"Patient","id":"a","name":[{"family":"x"},{}]}]"#).unwrap();
    let rows = some.run(&encode(some.resource(), resources.items()).unwrap().0).unwrap();
    assert_eq!((rows[0].num_rows(), rows[0].num_columns()), (2, 2));
    // no column at all: the rows are counted all the same
    let none = some.project(&[]);
    let rows = none.run(&encode(none.resource(), resources.items()).unwrap().0).unwrap();
    assert_eq!((rows[0].num_rows(), rows[0].num_columns()), (2, 0));
}

#[test]
fn what_the_table_does_not_have_is_null_of_the_right_type() {
    let view = r#"{"resource":"Observation","select":[{"column":[
        {"name":"number","path":"value.ofType(Quantity).value"},{"name":"flag","path":"value.ofType(boolean)"},
        {"name":"codes","path":"code.coding.code","collection":true}]}]}"#;
    let rows = rows(view, r#"[{"resourceType":"Observation","id":"o"}]"#).unwrap();
    let types: Vec<&DataType> = rows[0].columns().iter().map(|column| column.data_type()).collect();
    assert_eq!(types[..2], [&DataType::Float64, &DataType::Boolean]);
    assert!(rows[0].column(0).is_null(0) && rows[0].column(1).is_null(0));
    assert_eq!(rows[0].column(2).as_list::<i32>().value(0).len(), 0);
}

#[test]
fn meta_of_a_stored_resource_is_the_servers() {
    let text = r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"theirs","lastUpdated":"1999-01-01T00:00:00Z","profile":["p"]}}"#;
    let mut encoder = Encoder::new("Patient".parse().unwrap(), None);
    let last_updated = DateTime::from_timestamp_micros(1_700_000_000_123_000).unwrap();
    let meta = Meta { id: "a", version: 7, last_updated, source: "s", run: "r", hash: [0; 16] };
    encoder.push(&json::parse(text.as_bytes()).unwrap(), text, &meta);
    let view = r#"{"resource":"Patient","select":[{"column":[{"name":"v","path":"meta.versionId"},
        {"name":"at","path":"meta.lastUpdated"},{"name":"p","path":"meta.profile.first()"}]}]}"#;
    let plan = plan(view).unwrap();
    assert!(plan.reads().contains("__version"));
    let rows = plan.run(&encoder.finish().unwrap()).unwrap();
    let shown = pretty_format_batches(&rows).unwrap().to_string();
    assert!(shown.contains("| 7 | 2023-11-14T22:13:20.123Z | p |"), "{shown}");
    // one that came with a request keeps its own
    let own = self::rows(view, &format!("[{text}]")).unwrap();
    assert!(pretty_format_batches(&own).unwrap().to_string().contains("| theirs | 1999-01-01T00:00:00Z | p |"));
}

#[test]
fn questions_within_questions_are_found_to_any_depth() {
    let nested =
        (0..12).fold(r#"{"linkId":"last"}"#.to_owned(), |inner, n| format!(r#"{{"linkId":"{n}","item":[{inner}]}}"#));
    let view =
        r#"{"resource":"Questionnaire","select":[{"repeat":["item"],"column":[{"name":"id","path":"linkId"}]}]}"#;
    let rows = rows(view, &format!(r#"[{{"resourceType":"Questionnaire","item":[{nested}]}}]"#)).unwrap();
    let ids: Vec<&str> = rows[0].column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0", "last"]);
}

#[test]
fn many_rows_come_in_several_batches_in_the_order_of_the_resources() {
    let names = r#"{"family":"x"},"#.repeat(200) + "{}";
    let patients: Vec<String> =
        (0..10).map(|n| format!(r#"{{"resourceType":"Patient","id":"{n}","name":[{names}]}}"#)).collect();
    let view = r#"{"resource":"Patient","select":[{"column":[{"name":"id","path":"id"}]},
        {"forEach":"name","column":[{"name":"a","path":"%rowIndex"}]},{"forEach":"name","column":[{"name":"b","path":"%rowIndex"}]}]}"#;
    let rows = rows(view, &format!("[{}]", patients.join(","))).unwrap();
    assert!(rows.len() > 10);
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 10 * 201 * 201);
    let ids: Vec<&str> = rows.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten()).collect();
    assert!(ids.is_sorted());
}

#[rstest]
#[case(
    r#"{"resource":"Patient","select":[{"repeat":["$this"],"column":[{"name":"a","path":"id"}]}]}"#,
    "does not end within"
)]
#[case(r#"{"resource":"Patient","select":[{"forEach":"name","column":[{"name":"a","path":"family"}]},{"forEach":"name","column":[{"name":"b","path":"family"}]},{"forEach":"name","column":[{"name":"c","path":"family"}]}]}"#, "more than 2097152 rows")]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"name.family"}]}]}"#,
    "column `a`: more than one value"
)]
fn data_that_do_not_fit_are_an_error(#[case] view: &str, #[case] message: &str) {
    let names = r#"{"family":"x"},"#.repeat(200) + "{}";
    let error = rows(view, &format!(r#"[{{"resourceType":"Patient","id":"a","name":[{names}]}}]"#)).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[rstest]
#[case(r"[]", "it is not an object")]
#[case(r#"{"resource":"Patient"}"#, "select: there is none")]
#[case(r#"{"resource":"Patent","select":[{}]}"#, "resource: ")]
#[case(r#"{"resourceType":"Patient","resource":"Patient","select":[{}]}"#, "`Patient` where ViewDefinition")]
#[case(r#"{"resource":"Patient","select":[{"colum":[]}]}"#, "select[0].colum: there is no such element")]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"1a","path":"id"}]}]}"#,
    "select[0].column[0].name: a name begins"
)]
#[case(r#"{"resource":"Patient","select":[{"column":[{"name":"a"}]}]}"#, "select[0].column[0].path: it is missing")]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"id"},{"name":"A","path":"id"}]}]}"#,
    "two columns are called"
)]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"name"}]}]}"#,
    "it selects `HumanName`, a structure"
)]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"birthDate","type":"integer"}]}]}"#,
    "`integer` is declared, and its path gives date"
)]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"id","type":"HumanName"}]}]}"#,
    "`HumanName` is not a primitive type"
)]
#[case(
    r#"{"resource":"Patient","select":[{"forEach":"name","repeat":["name"],"column":[{"name":"a","path":"id"}]}]}"#,
    "only one can stand"
)]
#[case(r#"{"resource":"Patient","select":[{"repeat":[]}]}"#, "select[0].repeat: it holds no expressions")]
#[case(r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"%b"}]}]}"#, "there is no constant `%b`")]
#[case(r#"{"resource":"Patient","constant":[{"name":"b","valueDate":"x"}],"select":[{"column":[{"name":"a","path":"%b"}]}]}"#, "constant[0].valueDate: the value is not of that type")]
#[case(
    r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"id"}]}],"where":[{"path":"name"}]}"#,
    "where[0].path: it is not about a boolean"
)]
fn what_is_no_view_is_refused_with_its_place(#[case] view: &str, #[case] message: &str) {
    let error = plan(view).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn an_element_that_fhir_does_not_know_is_a_warning() {
    let plan = plan(r#"{"resource":"Patient","select":[{"column":[{"name":"a","path":"nam.family"}]}]}"#).unwrap();
    assert_eq!(plan.warnings(), ["`nam` is no element of Patient"]);
}

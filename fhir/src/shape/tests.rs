use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type, Schema, TimestampMicrosecondType},
};
use chrono::DateTime;
use rstest::rstest;

use super::*;
use crate::json::parse;

fn meta(id: &str) -> Meta<'_> {
    Meta {
        id,
        version: 3,
        last_updated: DateTime::from_timestamp(1_600_000_000, 0).unwrap(),
        source: "s",
        run: "r",
        hash: [7; 16],
    }
}

fn encode(resource: &str, texts: &[&str]) -> (RecordBatch, usize) {
    let mut encoder = Encoder::new(resource.parse().unwrap(), None);
    let misfits = texts.iter().map(|text| encoder.push(&parse(text.as_bytes()).unwrap(), text, &meta("own"))).sum();
    assert_eq!(encoder.len(), texts.len());
    (encoder.finish().unwrap(), misfits)
}

fn names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn shape(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{} {}", f.name(), shape(f.data_type()))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        DataType::List(item) => format!("[{}]", shape(item.data_type())),
        DataType::Timestamp(_, _) => "ts".to_owned(),
        other => format!("{other}"),
    }
}

#[test]
fn populated_elements_become_typed_columns_in_the_order_of_the_definitions() {
    let (batch, misfits) = encode(
        "Observation",
        &[
            r#"{"resourceType":"Observation","valueQuantity":{"value":1.10,"unit":"mg"},"status":"final","id":"x","extension":[{"url":"u"}],"text":{"div":"<div/>"}}"#,
            r#"{"resourceType":"Observation","subject":{"reference":"Patient/p"},"effectiveDateTime":"2020-02","code":{"coding":[{"code":"a"},{"code":"b"}]},"unknown":1}"#,
        ],
    );
    assert_eq!(misfits, 0);
    assert_eq!(
        names(&batch),
        [
            "id",
            "__version",
            "__last_updated",
            "__hash",
            "__source",
            "__run",
            "__patient",
            "extension",
            "status",
            "code",
            "subject",
            "effectiveDateTime",
            "effectiveDateTime__start",
            "effectiveDateTime__end",
            "valueQuantity",
            "resource"
        ]
    );
    let type_of = |name: &str| shape(batch.column_by_name(name).unwrap().data_type());
    assert_eq!(type_of("extension"), "[{url Utf8}]");
    assert_eq!(type_of("code"), "{coding [{code Utf8}]}");
    assert_eq!(type_of("subject"), "{reference Utf8, __type Utf8, __id Utf8}");
    assert_eq!(type_of("valueQuantity"), "{value Float64, value__text Utf8, unit Utf8}");
    let quantity = batch.column_by_name("valueQuantity").unwrap().as_struct();
    assert!(quantity.is_valid(0) && quantity.is_null(1));
    assert_eq!(quantity.column(0).as_primitive::<Float64Type>().value(0).to_string(), "1.1");
    assert_eq!(quantity.column(1).as_string::<i32>().value(0), "1.10");
    let start = batch.column_by_name("effectiveDateTime__start").unwrap().as_primitive::<TimestampMicrosecondType>();
    let end = batch.column_by_name("effectiveDateTime__end").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert!(start.is_null(0));
    assert_eq!((end.value(1) - start.value(1)) / 86_400_000_000, 29);
    assert_eq!(batch.column_by_name("__patient").unwrap().as_string::<i32>().value(1), "p");
    assert!(batch.column_by_name("__patient").unwrap().is_null(0));
}

#[test]
fn repeating_primitives_keep_their_places_and_companions_are_parallel() {
    let (batch, misfits) = encode(
        "ActivityDefinition",
        &[
            r#"{"resourceType":"ActivityDefinition","status":"draft"}"#,
            r#"{"resourceType":"ActivityDefinition","timingTiming":{"event":["2020","2021-01-01"]}}"#,
        ],
    );
    assert_eq!(misfits, 0);
    let timing = batch.column_by_name("timingTiming").unwrap();
    assert_eq!(shape(timing.data_type()), "{event [Utf8], event__start [ts], event__end [ts]}");
    let starts = timing.as_struct().column(1).as_list::<i32>().value(1);
    assert_eq!(starts.len(), 2);
}

#[test]
fn what_does_not_fit_is_null_and_counted() {
    let (batch, misfits) = encode(
        "Patient",
        &[
            r#"{"name":{"family":"x"},"birthDate":"nonsense","active":"true","gender":"male","multipleBirthInteger":1.5}"#,
            r#"{"name":[{"given":["a",null,3]}],"active":true,"multipleBirthInteger":2}"#,
        ],
    );
    assert_eq!(misfits, 5);
    let column = |name: &str| batch.column_by_name(name).unwrap();
    assert_eq!(column("birthDate").as_string::<i32>().value(0), "nonsense");
    assert!(column("birthDate__start").is_null(0));
    assert!(column("active").is_null(0) && column("active").as_boolean().value(1));
    assert!(column("multipleBirthInteger").is_null(0) && column("name").is_null(0));
    let names = column("name").as_list::<i32>().value(1);
    let given = names.as_struct().column(0).as_list::<i32>().value(0);
    assert_eq!((given.len(), given.null_count()), (3, 2));
}

#[test]
fn recursion_ends_and_what_lies_deeper_is_counted() {
    let nested =
        (0..20).fold(r#"{"linkId":"last"}"#.to_owned(), |inner, _| format!(r#"{{"linkId":"l","item":[{inner}]}}"#));
    let (batch, misfits) = encode("Questionnaire", &[&format!(r#"{{"status":"draft","item":[{nested}]}}"#)]);
    assert!(misfits > 0);
    let shape = shape(batch.column_by_name("item").unwrap().data_type());
    assert_eq!(shape.matches("linkId").count(), MAX_DEPTH - 1);
}

#[test]
fn known_columns_are_always_made() {
    let (first, _) = encode("Patient", &[r#"{"name":[{"family":"x","period":{"start":"2020"}}],"birthDate":"2020"}"#]);
    let foreign = arrow::datatypes::Field::new("__foreign", DataType::Int64, true);
    let fields: Vec<_> = first.schema().fields().iter().cloned().chain([Arc::new(foreign)]).collect();
    let known = Arc::new(Schema::new(fields));
    let mut encoder = Encoder::new("Patient".parse().unwrap(), Some(known.clone()));
    let text = r#"{"active":true,"name":[{"given":["x"]}]}"#;
    encoder.push(&parse(text.as_bytes()).unwrap(), text, &meta("a"));
    let batch = encoder.finish().unwrap();
    assert_eq!(union(&batch.schema(), &known), batch.schema(), "nothing is missing");
    assert_eq!(
        shape(batch.column_by_name("name").unwrap().data_type()),
        "[{family Utf8, given [Utf8], period {start Utf8, start__start ts, start__end ts}}]"
    );
    let grown = union(&known, &batch.schema());
    let grown: Vec<_> = grown.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(grown.last(), Some(&"active"));
    assert_eq!(grown[..known.fields().len()], known.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>());
}

#[test]
fn an_empty_encoder_makes_the_base_schema() {
    for resource in ["Patient", "Bundle"] {
        let batch = Encoder::new(resource.parse().unwrap(), None).finish().unwrap();
        assert_eq!(batch.schema(), base_schema(resource.parse().unwrap()));
        assert_eq!(batch.num_rows(), 0);
    }
    assert_eq!(history_schema().fields().len(), 8);
}

#[test]
fn the_hash_is_of_the_content() {
    let hash = |text: &str| content_hash(&parse(text.as_bytes()).unwrap());
    let one = hash(r#"{"resourceType":"Patient","id":"1","name":[{"family":"a","given":["b","c"]}]}"#);
    assert_eq!(one, hash(r#"{ "id":"1","name":[{"given":["b","c"],"family":"\u0061"}],"resourceType":"Patient" }"#));
    assert_eq!(
        one,
        hash(
            r#"{"meta":{"versionId":"9","lastUpdated":"x"},"resourceType":"Patient","id":"1","name":[{"family":"a","given":["b","c"]}]}"#
        )
    );
    for other in [
        r#"{"resourceType":"Patient","id":"1","name":[{"family":"a","given":["c","b"]}]}"#,
        r#"{"resourceType":"Patient","id":"1","name":[{"family":"a","given":["bc"]}]}"#,
        r#"{"resourceType":"Patient","id":"1","name":[{"family":"a"},{"given":["b","c"]}]}"#,
        r#"{"meta":{"profile":["p"]},"resourceType":"Patient","id":"1","name":[{"family":"a","given":["b","c"]}]}"#,
        r#"{"resourceType":"Patient","id":"1","name":[{"family":"a","given":["b","c"],"versionId":"1"}]}"#,
    ] {
        assert_ne!(one, hash(other), "{other}");
    }
    assert_eq!(hash(r#"{"meta":{"tag":[1],"versionId":"1"}}"#), hash(r#"{"meta":{"lastUpdated":"1","tag":[1]}}"#));
    assert_ne!(hash(r#"{"a":1.0}"#), hash(r#"{"a":1.00}"#));
    assert_ne!(hash(r#"{"a":1}"#), hash(r#"{"a":"1"}"#));
}

#[rstest]
#[case(r"{}", r#"{"id":"new","meta":{META}}"#)]
#[case(
    r#"{ "resourceType" : "Patient" , "a":1.10 }"#,
    r#"{ "resourceType" : "Patient","id":"new","meta":{META} , "a":1.10 }"#
)]
#[case(r#"{"a":{"id":"x","meta":{}},"id" : "old"}"#, r#"{"a":{"id":"x","meta":{}},"id" : "new","meta":{META}}"#)]
#[case(r#"{"id":"o","meta":{}}"#, r#"{"id":"new","meta":{META}}"#)]
#[case(r#"{"meta":{"profile":["}"]},"b":1}"#, r#"{"id":"new","meta":{META,"profile":["}"]},"b":1}"#)]
#[case(
    r#"{"meta":{"lastUpdated":"1","versionId" : "2", "x":"\"{"}}"#,
    r#"{"id":"new","meta":{"lastUpdated":"2020-09-13T12:26:40.000Z","versionId" : "3", "x":"\"{"}}"#
)]
#[case(r#"{"meta":null}"#, r#"{"id":"new","meta":{META}}"#)]
#[case(r#"{"\u0069d":"old"}"#, r#"{"\u0069d":"new","meta":{META}}"#)]
#[case("[1]", "[1]")]
#[case("{\"cut", "{\"cut")]
fn meta_is_set_and_no_other_byte(#[case] text: &str, #[case] expected: &str) {
    let expected = expected.replace("META", r#""versionId":"3","lastUpdated":"2020-09-13T12:26:40.000Z""#);
    assert_eq!(with_meta(text, "new", 3, DateTime::from_timestamp(1_600_000_000, 0).unwrap()), expected);
}

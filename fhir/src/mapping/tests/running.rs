use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListBuilder,
        RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    compute::concat_batches,
};
use datafusion::prelude::SessionContext;
use mavis_types::SourceId;
use rstest::rstest;

use super::*;
use crate::{
    functions::{Code, CodeMaps, for_mapping},
    resource_id,
};

fn run(source: SourceId, mapping: &Mapping, tables: Vec<(&str, RecordBatch)>) -> Vec<Result<MappedRow, String>> {
    let code = |code: &str| Code { code: code.into(), system: None, display: None };
    let sex = HashMap::from([
        ("M".to_owned(), code("male")),
        ("F".to_owned(), code("female")),
        ("Z".to_owned(), code("zzz")),
    ]);
    let maps = Arc::new(CodeMaps::from([("administrative-gender".to_owned(), sex)]));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let context = SessionContext::new();
        for function in for_mapping(source, maps) {
            context.register_udf(function);
        }
        for (name, batch) in tables {
            context.register_batch(name, batch).unwrap();
        }
        let frame = context.sql(&mapping.to_sql()).await.unwrap();
        assert_eq!(mapping.check_types(frame.schema().as_arrow()), []);
        let batches = frame.collect().await.unwrap();
        mapping.resources(&concat_batches(&batches[0].schema(), &batches).unwrap())
    })
}

fn column(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

#[test]
fn rows_become_patients() {
    let source = SourceId::new();
    let mut mapping = patient();
    mapping.from = "hms_patient p".into();
    let batch = RecordBatch::try_from_iter([
        ("patient_id", column(Int64Array::from(vec![Some(7), Some(8), None, Some(9), Some(10)]))),
        (
            "last_name",
            column(StringArray::from(vec![Some("D'Été \"x\"\\\n"), None, Some("a"), Some("b"), Some("\u{1}")])),
        ),
        ("first_name", column(StringArray::from(vec![Some("Zoé"), None, None, None, None]))),
        ("sex", column(StringArray::from(vec![Some("F"), Some("?"), None, Some("Z"), None]))),
        ("birth_date", column(Date32Array::from(vec![Some(-1), None, None, None, None]))),
        ("clinic_id", column(Int32Array::from(vec![Some(3), None, None, None, None]))),
    ])
    .unwrap();
    let rows = run(source, &mapping, vec![("hms_patient", batch)]);

    let clinic = resource_id(source, "Organization".parse().unwrap(), &["3"]);
    let expected = format!(
        "{{\"resourceType\":\"Patient\",\"identifier\":[{{\"system\":\"urn:mavis:mavis_test:patient\",\"value\":\"7\"}}],\
         \"name\":[{{\"family\":\"D'Été \\\"x\\\"\\\\\\n\",\"given\":[\"Zoé\"]}}],\"gender\":\"female\",\
         \"birthDate\":\"1969-12-31\",\"managingOrganization\":{{\"reference\":\"Organization/{clinic}\"}}}}"
    );
    assert_eq!(rows[0], Ok(MappedRow { key: vec!["7".into()], json: expected }));
    let bare =
        "{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:mavis:mavis_test:patient\",\"value\":\"8\"}]}";
    assert_eq!(rows[1].as_ref().unwrap().json, bare);
    assert_eq!(rows[2], Err("key part 1 is empty".into()));
    let codes = "`gender`: the value is not one of the required codes: ";
    assert!(rows[3].as_ref().unwrap_err().starts_with(codes), "{:?}", rows[3]);
    assert_eq!(rows[4], Err("`name[0].family`: the value is not a FHIR string".into()));
}

fn observation(set: &str) -> Mapping {
    let toml = format!(
        "version = 1\nresource = \"Observation\"\nfrom = \"t p\"\nkey = [\"p.k\", \"1\"]\n[set]\n\
         \"status\" = \"'final'\"\n\"code.text\" = \"p.code\"\n{set}\n"
    );
    Mapping::parse_checked(&toml).unwrap()
}

fn one(set: &str, value: ArrayRef) -> Result<String, String> {
    let batch = RecordBatch::try_from_iter([
        ("k", column(StringArray::from(vec!["a"]))),
        ("code", column(StringArray::from(vec!["c"]))),
        ("v", value),
    ])
    .unwrap();
    let rows = run(SourceId::new(), &observation(set), vec![("t", batch)]);
    let row = rows.into_iter().next().unwrap()?;
    let start = "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"c\"}";
    Ok(row.json.strip_prefix(start).unwrap().trim_start_matches(',').trim_end_matches('}').to_owned())
}

#[rstest]
#[case::decimals_keep_their_scale("valueQuantity.value", column(Decimal128Array::from(vec![5400_i128]).with_precision_and_scale(10, 3).unwrap()), Ok("\"valueQuantity\":{\"value\":5.400"))]
#[case::decimals_from_text_are_as_written("valueQuantity.value", column(StringArray::from(vec!["1.10"])), Ok("\"valueQuantity\":{\"value\":1.10"))]
#[case::floats_are_plain("valueQuantity.value", column(Float64Array::from(vec![120.0])), Ok("\"valueQuantity\":{\"value\":120"))]
#[case::small_floats_have_exponents("valueQuantity.value", column(Float64Array::from(vec![1e-9])), Ok("\"valueQuantity\":{\"value\":1e-9"))]
#[case::infinity_is_no_number("valueQuantity.value", column(Float64Array::from(vec![f64::INFINITY])), Err("`valueQuantity.value`: the value is not a FHIR decimal"))]
#[case::a_comma_is_no_decimal("valueQuantity.value", column(StringArray::from(vec!["1,5"])), Err("`valueQuantity.value`: the value is not a FHIR decimal"))]
#[case::timestamps_are_instants("effectiveDateTime", column(TimestampMicrosecondArray::from(vec![1_500_000])), Ok("\"effectiveDateTime\":\"1970-01-01T00:00:01.500Z\""))]
#[case::zones_do_not_shift("effectiveDateTime", column(TimestampMicrosecondArray::from(vec![0]).with_timezone("+02:00")), Ok("\"effectiveDateTime\":\"1970-01-01T00:00:00Z\""))]
#[case::partial_dates_pass("effectiveDateTime", column(StringArray::from(vec!["2020-02"])), Ok("\"effectiveDateTime\":\"2020-02\""))]
#[case::no_such_day("effectiveDateTime", column(StringArray::from(vec!["2021-02-29"])), Err("`effectiveDateTime`: the value is not a FHIR dateTime"))]
#[case::a_time_needs_its_zone("effectiveDateTime", column(StringArray::from(vec!["2021-02-28T10:00:00"])), Err("`effectiveDateTime`: the value is not a FHIR dateTime"))]
#[case::booleans("valueBoolean", column(BooleanArray::from(vec![true])), Ok("\"valueBoolean\":true"))]
#[case::integers("valueInteger", column(Int64Array::from(vec![12])), Ok("\"valueInteger\":12"))]
#[case::integers_have_32_bits("valueInteger", column(Int64Array::from(vec![1_i64 << 40])), Err("`valueInteger`: the value is not a FHIR integer"))]
#[case::an_empty_text_is_no_value("valueString", column(StringArray::from(vec![""])), Ok(""))]
#[case::a_reference_of_a_wrong_type("subject", column(StringArray::from(vec!["Encounter/1"])), Err("`subject`: it may not refer to a Encounter, only to Device, Group, Location, Patient"))]
#[case::a_reference_of_a_right_type("subject", column(StringArray::from(vec!["Group/1"])), Ok("\"subject\":{\"reference\":\"Group/1\"}"))]
fn values_are_written_as_fhir_writes_them(
    #[case] path: &str,
    #[case] value: ArrayRef,
    #[case] expected: Result<&str, &str>,
) {
    let written = one(&format!("\"{path}\" = \"p.v\""), value);
    assert_eq!(
        written.as_deref().map(|json| json.trim_end_matches('}')).map_err(String::as_str),
        expected.map(|json| json.trim_end_matches('}'))
    );
}

#[test]
fn what_is_left_of_a_null_is_dropped() {
    let set = "\"component[0].code.coding[0].system\" = \"'http://loinc.org'\"\n\"component[0].valueQuantity.value\" = \"p.v\"\n\
               \"component[0].valueQuantity.unit\" = \"'mmHg'\"\n\"component[1].code.text\" = \"'always'\"";
    let null = one(set, column(Float64Array::from(vec![None])));
    assert_eq!(null.unwrap(), "\"component\":[{\"code\":{\"text\":\"always\"}}]");
    let set = set.replace("'always'", "p.v");
    assert_eq!(
        one(
            &set.replace("component[1].code.text", "component[1].code.id"),
            column(StringArray::from(vec![None::<&str>]))
        )
        .unwrap(),
        ""
    );
}

#[test]
fn a_required_element_without_a_value_is_told() {
    let batch = RecordBatch::try_from_iter([
        ("k", column(StringArray::from(vec!["a"]))),
        ("code", column(StringArray::from(vec![None::<&str>]))),
        ("v", column(StringArray::from(vec!["x"]))),
    ])
    .unwrap();
    let rows = run(SourceId::new(), &observation("\"valueString\" = \"p.v\""), vec![("t", batch)]);
    assert_eq!(rows, [Err("`code` is required and has no value".into())]);
}

#[test]
fn for_each_makes_a_resource_of_each_element_beside_joined_tables() {
    let mut contacts = ListBuilder::new(StringBuilder::new());
    contacts.append_value([Some("x"), Some("y")]);
    contacts.append_value(std::iter::empty::<Option<&str>>());
    contacts.append_null();
    let p = RecordBatch::try_from_iter([
        ("id", column(Int32Array::from(vec![1, 2, 3]))),
        ("c", column(Int32Array::from(vec![5, 5, 5]))),
        ("contacts", column(contacts.finish())),
    ])
    .unwrap();
    let q = RecordBatch::try_from_iter([
        ("id", column(Int32Array::from(vec![5]))),
        ("n", column(StringArray::from(vec!["Q"]))),
    ])
    .unwrap();
    let mapping = Mapping::parse_checked(
        "version = 1\nresource = \"Patient\"\nfrom = \"pat p LEFT JOIN clinic q ON q.id = p.c\"\n\
         key = [\"p.id\", \"contact\"]\nfor_each = \"p.contacts AS contact\"\nwhere = \"p.id < 3 -- few\"\n[set]\n\
         \"name[0].family\" = \"contact -- whose\"\n\"name[0].given[0]\" = \"q.n\"\n",
    )
    .unwrap();
    let mut rows: Vec<_> =
        run(SourceId::new(), &mapping, vec![("pat", p), ("clinic", q)]).into_iter().map(Result::unwrap).collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    let json =
        |name: &str| format!("{{\"resourceType\":\"Patient\",\"name\":[{{\"family\":\"{name}\",\"given\":[\"Q\"]}}]}}");
    assert_eq!(
        rows,
        [
            MappedRow { key: vec!["1".into(), "x".into()], json: json("x") },
            MappedRow { key: vec!["1".into(), "y".into()], json: json("y") },
        ]
    );
}

#[test]
fn native_resources_pass_as_they_are() {
    let mapping = Mapping::parse_checked(
        "version = 1\nresource = \"Observation\"\nfrom = \"t p\"\nkey = \"p.k\"\nresource_json = \"p.r\"\n",
    )
    .unwrap();
    let texts =
        ["{\"resourceType\": \"Observation\", \"x\": 1.10}", "{\"resourceType\":\"Patient\"}", "{\"a\":1}", "{"];
    let batch = RecordBatch::try_from_iter([
        ("k", column(Int32Array::from(vec![1, 2, 3, 4]))),
        ("r", column(StringArray::from(texts.to_vec()))),
    ])
    .unwrap();
    let rows = run(SourceId::new(), &mapping, vec![("t", batch)]);
    assert_eq!(rows[0].as_ref().unwrap().json, texts[0]);
    assert_eq!(rows[1], Err("the resource is not a Observation".into()));
    assert_eq!(rows[2], Err("the JSON has no resourceType".into()));
    assert!(rows[3].as_ref().unwrap_err().starts_with("not valid JSON at byte"));
}

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rstest::rstest;

use super::*;

#[test]
fn the_mapping_of_the_documentation_is_read_in_the_order_written() {
    let mapping = patient();
    assert_eq!(mapping.resource.name(), "Patient");
    assert_eq!(mapping.key, ["p.patient_id"]);
    let paths: Vec<String> = mapping.set.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths[0], "identifier[0].system");
    assert_eq!(paths[6], "managingOrganization");
}

#[test]
fn a_mapping_reads_back_as_it_is_written() {
    let mut mapping = patient();
    mapping.key = vec!["p.a".into(), "p.\"B\\\"".into()];
    mapping.for_each = Some("p.contacts AS contact".into());
    mapping.filter = Some("p.x = 'é\n'".into());
    assert_eq!(Mapping::parse(&mapping.to_toml()).unwrap(), mapping);
    let native = Mapping { set: vec![], resource_json: Some("p.resource".into()), ..mapping };
    assert_eq!(Mapping::parse(&native.to_toml()).unwrap(), native);
}

#[rstest]
#[case("version = 1\nresource = \"Patient\"\nfrom = \"t\"\nkey = \"a\"\nfiltr = \"x\"\n[set]\n", &["line 5, filtr: is not a field of a mapping"])]
#[case("version = 1\nresource = \"Patient\"\nfrom = \"t\"\nkey = \"a\"\nwher = \"x\"\n[set]\n", &["line 5, wher: is not a field of a mapping: did you mean `where`?"])]
#[case("version = 2\nresource = \"Patent\"\nfrom = \"\"\nkey = []\n[set]\n", &[
    "line 1, version: version 2 is not known",
    "line 2, resource: `Patent` is not a FHIR R4 resource type: did you mean `Patient`?",
    "line 3, from: is empty",
    "line 4, key: has no part",
])]
#[case("resource = 3\n", &["line 1, resource: is a TOML integer, not a text", "version: is missing", "from: is missing", "key: is missing", "set: is missing"])]
#[case("version = 1\nresource = \"Patient\"\nfrom = \"t\"\nkey = \"a\"\n[set]\nname.family = \"x\"\n\"na me\" = \"y\"\n\"name[x]\" = \"z\"\n", &[
    "line 6, name: is a table: a path with dots stands in quotes",
    "line 7, na me: `na me` is not an element",
    "line 8, name[x]: `[x]` is not an index",
])]
#[case("version = 1\nresource = \"Observation\"\nfrom = \"t\"\nkey = \"a\"\nresource_json = \"r\"\n[set]\n", &["resource_json: stands in the place of [set]"])]
#[case("version = = 1", &["line 1: not valid TOML"])]
fn every_problem_of_syntax_is_told_with_its_line(#[case] toml: &str, #[case] expected: &[&str]) {
    let problems: Vec<String> = Mapping::parse(toml)
        .unwrap_err()
        .into_iter()
        .map(|problem| format!("{}: {}", problem.place, problem.message))
        .collect();
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem} / {expected}");
    }
}

#[rstest]
#[case("Patient", r#""birthDat" = "x""#, "birthDat", "Patient has no element `birthDat`: did you mean `birthDate`?")]
#[case(
    "Patient",
    r#""name[0].famly" = "x""#,
    "name[0].famly",
    "HumanName has no element `famly`: did you mean `family`?"
)]
#[case("Patient", r#""gender[0]" = "x""#, "gender[0]", "`gender` does not repeat: write it without an index")]
#[case("Patient", r#""gender.code" = "x""#, "gender.code", "`gender` is a code and has no elements")]
#[case(
    "Patient",
    r#""maritalStatus" = "x""#,
    "maritalStatus",
    "`maritalStatus` is a CodeableConcept: set its elements (coding, text, ...)"
)]
#[case(
    "Patient",
    r#""deceased" = "x""#,
    "deceased",
    "`deceased` is a choice of types: write one of deceasedBoolean, deceasedDateTime"
)]
#[case(
    "Patient",
    "\"deceasedBoolean\" = \"x\"\n\"deceasedDateTime\" = \"y\"",
    "deceasedDateTime",
    "`deceasedBoolean` and `deceasedDateTime` are choices of one element: set only one of them"
)]
#[case(
    "Patient",
    "\"name.family\" = \"x\"\n\"name[0].family\" = \"y\"",
    "name[0].family",
    "is set twice: `name.family` is the same element"
)]
#[case(
    "Patient",
    "\"managingOrganization\" = \"x\"\n\"managingOrganization.reference\" = \"y\"",
    "managingOrganization.reference",
    "is set twice: `managingOrganization` is the same element"
)]
#[case("Patient", r#""id" = "x""#, "id", "the id is made from `key` and cannot be set")]
#[case(
    "Patient",
    r#""contained[0].id" = "x""#,
    "contained[0].id",
    "`contained` holds whole resources, which a mapping cannot set"
)]
#[case(
    "Patient",
    r#""communication[0].preferred" = "true""#,
    "communication[0].language",
    "`communication[0]` requires `language`, which is not set"
)]
#[case("Observation", r#""status" = "'final'""#, "code", "Observation requires `code`, which is not set")]
#[case(
    "MedicationStatement",
    "\"status\" = \"'active'\"\n\"subject\" = \"x\"",
    "medication[x]",
    "MedicationStatement requires `medication[x]`, which is not set"
)]
#[case("Patient", r#""birthDate" = "p.a, p.b""#, "birthDate", "is not one SQL expression: more follows it")]
#[case("Patient", r#""birthDate" = "(p.a""#, "birthDate", "is not one SQL expression: ")]
fn what_is_wrong_with_a_path_is_told_at_the_path(
    #[case] resource: &str,
    #[case] set: &str,
    #[case] place: &str,
    #[case] message: &str,
) {
    let toml = format!("version = 1\nresource = \"{resource}\"\nfrom = \"t p\"\nkey = \"p.k\"\n[set]\n{set}\n");
    let problems = Mapping::parse(&toml).unwrap().check();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].place, place);
    assert!(problems[0].message.starts_with(message), "{}", problems[0].message);
}

#[test]
fn a_checked_mapping_tells_the_line_of_a_wrong_path() {
    let toml = PATIENT.replace("\"birthDate\"", "\"birthDay\"");
    let problems = Mapping::parse_checked(&toml).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place, "line 13, birthDay");
}

#[rstest]
#[case("from", "t p WHERE 1 = 1")]
#[case("from", "t; DROP TABLE t")]
#[case("key", "p.a FROM u")]
#[case("where", "true) OR (true")]
#[case("for_each", "p.contacts")]
#[case("for_each", "q.contacts AS c")]
fn a_part_that_is_more_or_less_than_its_part_is_refused(#[case] field: &str, #[case] value: &str) {
    let mut mapping = patient();
    match field {
        "from" => mapping.from = value.into(),
        "key" => mapping.key = vec![value.into()],
        "where" => mapping.filter = Some(value.into()),
        _ => mapping.for_each = Some(value.into()),
    }
    let problems = mapping.check();
    assert_eq!(problems.iter().map(|problem| problem.place.as_str()).collect::<Vec<_>>(), [field]);
}

#[rstest]
#[case(DataType::Utf8, DataType::Date32, None)]
#[case(DataType::Int64, DataType::Timestamp(TimeUnit::Microsecond, None), None)]
#[case(DataType::Null, DataType::Utf8View, None)]
#[case(DataType::Boolean, DataType::Date32, Some("gender"))]
#[case(DataType::Utf8, DataType::Int32, Some("birthDate"))]
fn types_that_cannot_stand_in_an_element_are_told(
    #[case] gender: DataType,
    #[case] birth_date: DataType,
    #[case] place: Option<&str>,
) {
    let mapping = patient();
    let mut fields = vec![Field::new("key_0", DataType::Int64, true)];
    for index in 0..mapping.set.len() {
        let data_type = match index {
            4 => gender.clone(),
            5 => birth_date.clone(),
            _ => DataType::Utf8,
        };
        fields.push(Field::new(format!("set_{index}"), data_type, true));
    }
    let problems = mapping.check_types(&Schema::new(fields));
    assert_eq!(problems.first().map(|problem| problem.place.as_str()), place);
    assert!(problems.len() <= 1);
}

#[test]
fn the_rule_hash_follows_the_meaning() {
    let mapping = patient();
    assert_eq!(mapping.rule_hash(), patient().rule_hash());
    let mut other = patient();
    other.set[5].1 = "p.birth_day".into();
    assert_ne!(mapping.rule_hash(), other.rule_hash());
    let mut other = patient();
    other.key = vec!["p".into(), "patient_id".into()];
    assert_ne!(mapping.rule_hash(), other.rule_hash());
    let mut other = patient();
    other.filter = Some(String::new());
    assert_ne!(mapping.rule_hash(), other.rule_hash());
}

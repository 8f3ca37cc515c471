use rstest::rstest;

use super::*;

fn set(mapping: &Mapping) -> Vec<(String, &str)> {
    mapping.set.iter().map(|(path, expression)| (path.to_string(), expression.as_str())).collect()
}

#[rstest]
#[case(r#"{"hms_patient": {"resourceType": "Patient", "patient_id": "id", "first_name": "name.given", "middle": "name.given", "birth_date": "birthDate", "sex": "gender"}}"#)]
#[case(r#"{"hms_patient": {"resource": "Patient", "columns": {"patient_id": "id", "first_name": "Patient.name.given", "middle": "name[0].given[1]", "birth_date": "birthDate", "sex": "gender"}}}"#)]
#[case(r#"{"tables": [{"table": "hms_patient", "resource": "Patient", "mapping": [{"source": "patient_id", "target": "id"}, {"source": "first_name", "target": "name.given"}, {"source": "middle", "target": "name.given"}, {"source": "birth_date", "target": "birthDate"}, {"source": "sex", "target": "gender"}]}]}"#)]
#[case(r#"{"hms_patient": {"resourceType": "Patient", "mapping": {"id": "patient_id", "name.given": ["first_name", "middle"], "birthDate": "birth_date", "gender": "sex"}}}"#)]
fn every_form_of_the_replaced_mapping_is_read(#[case] json: &str) {
    let mappings = Mapping::parse_json(json, "MAVIS_TEST").unwrap();
    assert_eq!(mappings.len(), 1);
    let mapping = &mappings[0];
    assert_eq!(mapping.from, "processed.mavis_test.hms_patient p");
    assert_eq!(mapping.key, ["p.patient_id"]);
    let expected = [
        ("identifier[0].system", "'urn:mavis:mavis_test:patient'"),
        ("identifier[0].value", "p.patient_id"),
        ("name[0].given[0]", "p.first_name"),
        ("name[0].given[1]", "p.middle"),
        ("birthDate", "fhir_date(p.birth_date)"),
        ("gender", "code_map('administrative-gender', p.sex)"),
    ];
    assert_eq!(set(mapping), expected.map(|(path, sql)| (path.to_owned(), sql)));
    assert_eq!(mapping.check(), []);
}

#[test]
fn a_foreign_key_becomes_a_reference() {
    let json = r#"{"acs_hospitalization": {"resourceType": "Encounter", "hosp_id": "id", "Patient ID": "subject", "date_entree": "period.start"}}"#;
    let mappings = Mapping::parse_json(json, "s").unwrap();
    let lines = set(&mappings[0]);
    assert!(lines.contains(&("subject".to_owned(), "reference('Patient', p.patient_id)")), "{lines:?}");
    assert!(lines.contains(&("period.start".to_owned(), "p.date_entree")), "{lines:?}");
}

#[rstest]
#[case("{", "line 1", "not valid JSON")]
#[case("{}", "", "there is no table in it")]
#[case(r#"{"t": {"a": "id"}}"#, "t", "has no `resourceType`")]
#[case(r#"{"t": {"resource": "Person2"}}"#, "t", "`Person2` is not a FHIR R4 resource type")]
#[case(r#"{"t": {"resource": "Patient", "a": "birthDate"}}"#, "t", "no column is mapped to `id`")]
#[case(r#"{"t": {"resource": "Patient", "a": "id", "b": "na me"}}"#, "t.b", "`na me` is not an element")]
#[case(r#"{"t": {"resource": "Patient", "a": "id", "b": 3}}"#, "t.b", "its FHIR path is not a text")]
#[case(r#"{"t": 3}"#, "t", "is not a table")]
fn what_is_not_understood_is_told(#[case] json: &str, #[case] place: &str, #[case] message: &str) {
    let problems = Mapping::parse_json(json, "s").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].place, place);
    assert!(problems[0].message.starts_with(message), "{}", problems[0].message);
}

#[test]
fn a_mapping_survives_the_way_through_the_old_form() {
    let mapping = patient();
    let mut read = Mapping::parse_json(&Mapping::to_json(std::slice::from_ref(&mapping)), "other").unwrap();
    let mut read = read.remove(0);
    let mut expected = mapping;
    read.set.sort_by_key(|(path, _)| path.to_string());
    expected.set.sort_by_key(|(path, _)| path.to_string());
    assert_eq!(read, expected);
}

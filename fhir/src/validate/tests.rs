use rstest::rstest;

use super::*;
use crate::json::parse;

fn issues(text: &str) -> Vec<String> {
    let value = parse(text.as_bytes()).unwrap();
    let show = |issue: &Issue| {
        let mark = if issue.severity == Severity::Error { "E" } else { "W" };
        format!("{mark} {}: {}", issue.path, issue.message)
    };
    validate(resource_type(&value).unwrap(), &value).iter().map(show).collect()
}

const OBSERVATION: &str = r#""resourceType":"Observation","status":"final","code":{"text":"x"}"#;

#[rstest]
#[case(r#"{"resourceType":"Patient"}"#)]
#[case(r#"{"resourceType":"Patient","birthDate":"1980-02","_birthDate":{"extension":[{"url":"u","valueDateTime":"1980-02-03T10:00:00Z"}]}}"#)]
#[case(r#"{"resourceType":"Patient","_birthDate":{"extension":[{"url":"u","valueCode":"unknown"}]}}"#)]
#[case(r#"{"resourceType":"Patient","name":[{"given":["a",null,"c"],"_given":[null,{"id":"x"},null]}]}"#)]
#[case(r#"{"resourceType":"Patient","contained":[{"resourceType":"Organization","name":"x"}]}"#)]
#[case(r#"{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Patient"}}]}"#)]
#[case(r#"{"resourceType":"Observation","_status":{"extension":[{"url":"u","valueCode":"x"}]},"code":{}}"#)]
fn what_r4_allows_has_no_error(#[case] text: &str) {
    let errors: Vec<_> = issues(text).into_iter().filter(|issue| !issue.contains("the object is empty")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[rstest]
#[case(
    r#""component":[{"code":{},"valueQuantity":{"value":"5"}}]"#,
    "E Observation.component[0].valueQuantity.value: a number is expected for decimal, not a string"
)]
#[case(r#""valueString":"a","valueInteger":1"#, "E Observation.valueInteger: only one type of `value[x]` may be given")]
#[case(
    r#""_valueString":{"id":"a"},"valueInteger":1"#,
    "E Observation.valueInteger: only one type of `value[x]` may be given"
)]
#[case(
    r#""category":{"text":"x"}"#,
    "E Observation.category: the element repeats: an array is expected, not an object"
)]
#[case(r#""subject":[{"display":"x"}]"#, "E Observation.subject: the element does not repeat: no array is expected")]
#[case(r#""component":[{"valueString":"x"}]"#, "E Observation.component[0]: `code` is required")]
#[case(r#""component":[null]"#, "E Observation.component[0]: null cannot stand for an object")]
#[case(r#""extension":[{"valueString":"x"}]"#, "E Observation.extension[0]: `url` is required")]
#[case(r#""subject":"Patient/1""#, "E Observation.subject: an object is expected for Reference, not a string")]
#[case(
    r#""effectiveDateTime":"2020-02-30""#,
    "E Observation.effectiveDateTime: it is no dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz"
)]
#[case(
    r#""effectiveDateTime":"""#,
    "E Observation.effectiveDateTime: it is no dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz"
)]
#[case(
    r#""effectiveDateTime":"2020-02-20T10:00:00""#,
    "W Observation.effectiveDateTime: the time has no zone; it is read as UTC"
)]
#[case(r#""issued":"2020-02-20""#, "E Observation.issued: it is no instant: YYYY-MM-DDThh:mm:ss.sss+zz:zz")]
#[case(r#""valueTime":"10:00""#, "E Observation.valueTime: it is no time: hh:mm:ss")]
#[case(r#""valueInteger":1.0"#, "E Observation.valueInteger: a whole number of 32 bits is expected")]
#[case(r#""valueInteger":2147483648"#, "E Observation.valueInteger: a whole number of 32 bits is expected")]
#[case(r#""valueBoolean":"true""#, "E Observation.valueBoolean: a boolean is expected for boolean, not a string")]
#[case(r#""valueQuantity":{"value":1e999}"#, "E Observation.valueQuantity.value: the decimal is out of range")]
#[case(
    r#""valueAttachment":{}"#,
    "W Observation.valueAttachment: Observation has no such element; it is kept in the JSON only"
)]
#[case(r#""Jane Doe 1980":1"#, "W Observation.?: Observation has no such element; it is kept in the JSON only")]
#[case(r#""_code":{"id":"x"}"#, "W Observation._code: Observation has no such element; it is kept in the JSON only")]
#[case(r#""_valueString":"x""#, "E Observation._valueString: an object is expected, not a string")]
#[case(r#""category":[]"#, "W Observation.category: the array is empty")]
#[case(r#""subject":{}"#, "W Observation.subject: the object is empty")]
#[case(r#""subject":null"#, "W Observation.subject: null stands where the element should be left out")]
#[case(r#""valueString":"""#, "W Observation.valueString: the text is empty")]
#[case(r#""language":" fr""#, "W Observation.language: a code has no spaces at its ends and single ones within")]
#[case(r#""implicitRules":"a b""#, "W Observation.implicitRules: a URI has no spaces")]
#[case(r#""id":"a b""#, "E Observation.id: an id is 1 to 64 letters, digits, `-` or `.`")]
#[case(r#""encounter":{"reference":"Patient/1"}"#, "W Observation.encounter: a reference to Encounter is expected")]
#[case(
    r#""text":{"status":"wrong","div":"<div></div>"}"#,
    "W Observation.text.status: no code of the required value set is given"
)]
#[case(r#""contained":[{"id":"x"}]"#, "E Observation.contained[0]: `resourceType` is missing")]
#[case(
    r#""contained":[{"resourceType":"Patient","active":1}]"#,
    "E Observation.contained[0].active: a boolean is expected for boolean, not a number"
)]
fn what_is_wrong_is_said_with_its_path_and_without_its_value(#[case] member: &str, #[case] expected: &str) {
    let found = issues(&format!("{{{OBSERVATION},{member}}}"));
    let found: Vec<_> = found.into_iter().filter(|issue| !issue.contains(".code: the object is empty")).collect();
    assert_eq!(found, [expected]);
}

#[test]
fn missing_required_elements_are_errors() {
    let found = issues(r#"{"resourceType":"Observation","code":null}"#);
    assert!(found.contains(&"E Observation: `status` is required".to_owned()), "{found:?}");
    assert!(found.contains(&"E Observation: `code` is required".to_owned()), "{found:?}");
    assert_eq!(
        issues(r#"{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"display":"x"}}"#),
        ["E MedicationRequest: `medication[x]` is required"]
    );
}

#[test]
fn codes_of_a_concept_are_held_against_their_value_set() {
    let condition = |coding: &str| {
        issues(&format!(
            r#"{{"resourceType":"Condition","subject":{{"display":"x"}},"clinicalStatus":{{"coding":[{coding}]}}}}"#
        ))
    };
    assert!(condition(r#"{"code":"local"},{"code":"active"}"#).is_empty());
    assert_eq!(
        condition(r#"{"code":"local"}"#),
        ["W Condition.clinicalStatus: no code of the required value set is given"]
    );
}

#[rstest]
#[case("{}", "`resourceType` is missing")]
#[case("[]", "a resource must be an object, not an array")]
#[case(r#"{"resourceType":1}"#, "`resourceType` must be a string, not a number")]
#[case(r#"{"resourceType":"patient"}"#, "`resourceType` names no resource type of R4")]
fn a_resource_without_a_type_is_an_error(#[case] text: &str, #[case] message: &str) {
    assert_eq!(resource_type(&parse(text.as_bytes()).unwrap()).unwrap_err().message, message);
}

#[rstest]
#[case("urn:oid:1.2.3", true)]
#[case("urn:oid:1", false)]
#[case("urn:oid:3.1", false)]
#[case("1.2.3", false)]
#[case("urn:oid:1.02", false)]
fn oids_are_checked(#[case] text: &str, #[case] is_valid: bool) {
    let value = Value::from(text);
    assert_eq!(primitive::check(definitions::Primitive::Oid, &value).is_none(), is_valid);
}

#[rstest]
#[case("AAAA", true)]
#[case("AA==", true)]
#[case("AAA A\nAAA=", true)]
#[case("AAA", false)]
#[case("A=AA", false)]
#[case("AA-_", false)]
fn base64_is_checked(#[case] text: &str, #[case] is_valid: bool) {
    let value = Value::from(text);
    assert_eq!(primitive::check(definitions::Primitive::Base64Binary, &value).is_none(), is_valid);
}

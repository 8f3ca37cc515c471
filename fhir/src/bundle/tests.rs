use std::collections::HashMap;

use rstest::rstest;

use super::*;
use crate::json::parse;

#[test]
fn a_bundle_is_taken_apart_in_order() {
    let text = br#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=a|b"}},
        {"request":{"method":"DELETE","url":"Patient/7"}}]}"#;
    let entries = entries(parse(text).unwrap()).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].full_url.as_deref(), Some("urn:uuid:1"));
    assert_eq!(entries[0].resource.as_ref().unwrap().get_str("resourceType"), Some("Patient"));
    assert_eq!(entries[0].method.as_deref(), Some("POST"));
    assert_eq!(entries[0].if_none_exist.as_deref(), Some("identifier=a|b"));
    assert_eq!((entries[1].index, entries[1].url.as_deref()), (1, Some("Patient/7")));
    assert!(entries[1].resource.is_none());
}

#[rstest]
#[case("[]", "not a Bundle: it is an array, not an object")]
#[case(r#"{"resourceType":"Patient"}"#, "not a Bundle: `resourceType` is not `Bundle`")]
#[case(r#"{"entry":[]}"#, "not a Bundle: `resourceType` is not `Bundle`")]
#[case(r#"{"resourceType":"Bundle","entry":{}}"#, "not a Bundle: `entry` is an object, not an array")]
#[case(r#"{"resourceType":"Bundle","entry":[{},"x"]}"#, "entry 1: it is a string, not an object")]
fn what_is_no_bundle_is_refused(#[case] text: &str, #[case] message: &str) {
    assert_eq!(entries(parse(text.as_bytes()).unwrap()).unwrap_err().to_string(), message);
}

#[test]
fn a_bundle_without_entries_is_empty() {
    assert!(entries(parse(br#"{"resourceType":"Bundle"}"#).unwrap()).unwrap().is_empty());
}

#[rstest]
#[case("Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|9999941591", &[("identifier", "http://hl7.org/fhir/sid/us-npi|9999941591")])]
#[case("Patient?identifier=http%3A%2F%2Fa.b%7Cx+y%20z&birthdate=2020", &[("identifier", "http://a.b|x y z"), ("birthdate", "2020")])]
#[case("Patient?name=%C3%A9%2", &[("name", "é%2")])]
#[case("Patient?active", &[("active", "")])]
fn a_conditional_reference_is_read_and_decoded(#[case] text: &str, #[case] criteria: &[(&str, &str)]) {
    let condition = Condition::parse(text).unwrap();
    let read: Vec<_> = condition.criteria.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(read, criteria);
}

#[rstest]
#[case("Patient/1")]
#[case("Patient?")]
#[case("Patient?=x")]
#[case("patient?identifier=x")]
#[case("http://a.b/Patient?identifier=x")]
#[case("urn:uuid:1")]
fn anything_else_is_no_condition(#[case] text: &str) {
    assert_eq!(Condition::parse(text), None);
}

#[rstest]
#[case("identifier=s|v", Some((Some("s"), "v")))]
#[case("identifier=v", Some((None, "v")))]
#[case("identifier=|v", Some((Some(""), "v")))]
#[case("identifier=s|", None)]
#[case("identifier=s|v,s|w", None)]
#[case("identifier=s|v%5C%2Cw", None)]
#[case("identifier:not=s|v", None)]
#[case("identifier=s|v&active=true", None)]
fn a_sole_identifier_is_told_apart(#[case] query: &str, #[case] expected: Option<(Option<&str>, &str)>) {
    let condition = Condition::with_type("Patient".parse().unwrap(), query).unwrap();
    assert_eq!(condition.identifier(), expected);
}

#[rstest]
#[case("Patient/a-1.B", Some(("Patient", "a-1.B")))]
#[case("Patient/1/_history/2", Some(("Patient", "1")))]
#[case("Patient/1/x", None)]
#[case("Patient/1/_history/", None)]
#[case("Patient/", None)]
#[case("Patient/a b", None)]
#[case("Nothing/1", None)]
#[case("#p", None)]
#[case("urn:uuid:1", None)]
#[case("http://a.b/Patient/1", None)]
fn a_relative_reference_is_split(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
    assert_eq!(relative_reference(text), expected);
}

const NESTED: &str = r##"{"subject":{"reference":"urn:uuid:1"},"contained":[{"author":{"reference":"urn:uuid:2"}}],"extension":[{"valueReference":{"reference":"Practitioner?identifier=a|b"}}],"focus":[{"reference":"#urn"},{"reference":"Patient/9"}],"data":[{"reference":{"reference":"urn:uuid:1"}}],"note":"urn:uuid:1","n":1.10}"##;

#[test]
fn references_are_visited_wherever_they_are() {
    let mut seen = Vec::new();
    for_each_reference(&parse(NESTED.as_bytes()).unwrap(), &mut |reference| seen.push(reference.to_owned()));
    assert_eq!(seen, ["urn:uuid:1", "urn:uuid:2", "Practitioner?identifier=a|b", "Patient/9", "urn:uuid:1"]);
}

#[test]
fn references_are_rewritten_and_nothing_else() {
    let mut value = parse(NESTED.as_bytes()).unwrap();
    let pairs = [("urn:uuid:1", "Patient/1"), ("Practitioner?identifier=a|b", "Practitioner/7"), ("#urn", "Patient/8")];
    let resolved: HashMap<_, _> = pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    assert!(rewrite_references(&mut value, &resolved));
    let expected = NESTED
        .replace(r#""reference":"urn:uuid:1""#, r#""reference":"Patient/1""#)
        .replace("Practitioner?identifier=a|b", "Practitioner/7");
    assert_eq!(value.to_json(), expected);
    assert!(!rewrite_references(&mut value, &HashMap::new()));
}

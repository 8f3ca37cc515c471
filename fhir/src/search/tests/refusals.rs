use rstest::rstest;

use super::*;

fn refusal(query: &str) -> SearchError {
    let table = table("Observation", &[r#"{"resourceType":"Observation","id":"o"}"#]);
    compiled("Observation", &table, query, Handling::Strict).map(|_| ()).expect_err(query)
}

#[rstest]
#[case("date=2023-13", "is not a date")]
#[case("date=yesterday", "is not a date")]
#[case("date=gt", "is not a date")]
#[case("value-quantity=abc", "is not a number")]
#[case("value-quantity=1.2.3", "is not a number")]
#[case("value-quantity=1|x", "a quantity is written")]
#[case("_count=-1", "is not a whole number")]
#[case("_count=ten", "is not a whole number")]
#[case("_total=some", "is not one of none, estimate, accurate")]
#[case("_summary=maybe", "is not one of")]
#[case("_sort=", "names no search parameter")]
#[case("code=|", "a token needs a code or a system")]
#[case("code=a|b|c", "a token has one `|` at most")]
#[case("code=a,,b", "a value is empty")]
#[case("code:exact=x", "the modifier `:exact` is not for it: it takes :missing, :not, :text, :of-type")]
#[case("date:exact=2020", "the modifier `:exact` is not for it: it takes :missing")]
#[case("code:missing=yes", "`:missing` is true or false")]
#[case("subject=Patiënt/1", "`Patiënt` is not a FHIR R4 resource type")]
#[case("subject=a b", "is not a reference")]
#[case("subject:Patient=Group/1", "the reference is to a Group, its modifier says Patient")]
#[case("subject:Thing=1", "the modifier `:Thing` is not for it")]
#[case("_id=a|b", "an id has no system")]
#[case("code=", "has no value")]
fn a_value_that_is_wrong_is_refused(#[case] query: &str, #[case] reason: &str) {
    match refusal(query) {
        SearchError::Invalid { name, reason: found } => {
            assert_eq!(name, query.split_once('=').unwrap().0);
            assert!(found.contains(reason), "{found}");
        }
        other => panic!("{query}: {other}"),
    }
}

#[rstest]
#[case("_text=x")]
#[case("_content=x")]
#[case("_query=x")]
#[case("_has:Observation:patient:code=x")]
#[case("_include=Observation:subject")]
#[case("_revinclude:iterate=Provenance:target")]
#[case("subject:Patient.name=x")]
#[case("patient.name=x")]
#[case("code-value-quantity=x$1")]
#[case("code:in=http://x")]
#[case("_sort=code-value-quantity")]
fn what_is_not_there_yet_is_refused_by_its_name(#[case] query: &str) {
    let error = refusal(query);
    assert!(
        matches!(&error, SearchError::Unsupported { name, .. } if *name == query.split_once('=').unwrap().0),
        "{error}"
    );
}

#[test]
fn an_unknown_parameter_is_refused_or_left_out() {
    let error = refusal("subjekt=x");
    assert!(
        matches!(&error, SearchError::UnknownParameter { name, known, .. } if name == "subjekt" && known.contains("`subject`")),
        "{error}"
    );
    let table = table("Observation", &[r#"{"resourceType":"Observation","id":"o"}"#]);
    let query = "subjekt=x&code=y&_sort=-nothing&_count=5&status=";
    let search = compiled("Observation", &table, query, Handling::Lenient).unwrap();
    assert_eq!(search.applied, pairs("code=y&_count=5"));
    let ignored: Vec<&str> = search.ignored.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(ignored, ["subjekt", "_sort", "status"]);
    assert!(search.ignored[0].1.contains("did you mean `subject`"), "{:?}", search.ignored);
}

#[test]
fn a_plan_does_not_show_what_is_searched_for() {
    let table = table("Patient", &[r#"{"resourceType":"Patient","id":"o","name":[{"family":"a"}]}"#]);
    let search = compiled("Patient", &table, "family=Dupont", Handling::Strict).unwrap();
    let filter = search.filter.unwrap();
    assert!(!format!("{filter} {filter:?}").to_lowercase().contains("dupont"));
}

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
#[case("_count=1&_count=2", "is given twice")]
#[case("_count=1e9", "is not a whole number")]
#[case("_sort=", "names no search parameter")]
#[case("code=|", "a token needs a code or a system")]
#[case("code=a|b|c", "a token has one `|` at most")]
#[case("code=a,,b", "a value is empty")]
#[case(
    "code:exact=x",
    "the modifier `:exact` is not for it: it takes :missing, :not, :text, :of-type, :in, :not-in, :below, :above"
)]
#[case("date:exact=2020", "the modifier `:exact` is not for it: it takes :missing")]
#[case("code:missing=yes", "`:missing` is true or false")]
#[case("subject=Patiënt/1", "`Patiënt` is not a FHIR R4 resource type")]
#[case("subject=a b", "is not a reference")]
#[case("subject:Patient=Group/1", "the reference is to a Group, its modifier says Patient")]
#[case("subject:Thing=1", "the modifier `:Thing` is not for it")]
#[case("_id=a|b", "an id has no system")]
#[case("_id=../etc", "is not an id")]
#[case("_list=a b", "is not the id of a List")]
#[case("_has=x", "is written `_has:Type:reference:parameter`")]
#[case("_has:Observation:code=x", "is written `_has:Type:reference:parameter`")]
#[case("_has:Thing:subject:code=x", "`Thing` is not a FHIR R4 resource type")]
#[case("_has:Patient:link:name=x", "`link` of Patient never refers to a Observation")]
#[case("_has:Encounter:status:_id=x", "`status` of Encounter is not a reference")]
#[case("code.name=x", "`code` of Observation is not a reference")]
#[case("subject:Practitioner.name=x", "`subject` of Observation never refers to a Practitioner")]
#[case("subject:Thing.name=x", "`Thing` is not a FHIR R4 resource type")]
#[case("subject:Patient.birthdate=2024-13-45", "is not a date")]
#[case("subject.birthdate=yesterday", "is not a date")]
#[case("code-value-quantity=x", "its values are written `code$value-quantity`")]
#[case("code-value-quantity=x$y", "is not a number")]
#[case("code-value-quantity=a$1$2", "its values are written")]
#[case("code-value-quantity:exact=a$1", "takes no modifier")]
#[case("_include=Observation", "is written `Type:parameter`")]
#[case("_include=Observation:code", "`code` of Observation is not a reference")]
#[case("_include=Observation:subject:Practitioner", "never refers to a Practitioner")]
#[case("_include=Patient:link", "comes with `_include:iterate`")]
#[case("_include:again=Observation:subject", "the modifier `:again` is not for it")]
#[case("_revinclude=Patient:link", "`link` of Patient never refers to a Observation")]
#[case("_summary=text&_include=Observation:subject", "does not go with included resources")]
#[case("code=", "has no value")]
#[case("code:text=\u{301}", "has no letter")]
#[case("value-string=\u{301}", "has no letter")]
#[case("value-string:contains=a,\u{301}", "has no letter")]
#[case("_profile:below=urn:oid:1.2", "about URLs, not about URNs")]
#[case("_source:above=URN:uuid:1", "about URLs, not about URNs")]
fn a_value_that_is_wrong_is_refused(#[case] query: &str, #[case] reason: &str) {
    match refusal(query) {
        SearchError::Invalid { name, reason: found } => {
            assert!(query.split('&').any(|pair| pair.split_once('=').unwrap().0 == name), "{name}");
            assert!(found.contains(reason), "{found}");
        }
        other => panic!("{query}: {other}"),
    }
}

#[rstest]
#[case("_text=x")]
#[case("_content=x")]
#[case("_query=x")]
#[case("_filter=x eq y")]
#[case("_contained=true")]
#[case("_containedType=container")]
#[case("_type=Patient")]
#[case("_list=$current-problems")]
#[case("code:in=http://x")]
#[case("code:not-in=http://x")]
#[case("code:below=http://x|y")]
#[case("code:above=http://x|y")]
#[case("subject:below=Patient/1")]
#[case("subject:Patient._text=x")]
#[case("_has:Provenance:target:_content=x")]
#[case("_sort=code-value-quantity")]
#[case("_sort=subject:Patient.name")]
fn what_is_not_there_is_refused_by_its_name(#[case] query: &str) {
    let error = refusal(query);
    assert!(
        matches!(&error, SearchError::Unsupported { name, .. } if *name == query.split_once('=').unwrap().0),
        "{error}"
    );
}

fn many(name: &str, count: usize) -> String {
    let values: Vec<String> = (0..count).map(|number| format!("v{number}")).collect();
    format!("{name}={}", values.join(","))
}

#[rstest]
#[case(many("code", 501), "at most 500 values")]
#[case(many("_id", 1000), "at most 500 values")]
#[case(many("subject:Patient.identifier", 501), "at most 500 values")]
#[case(format!("subject:Patient.{}name=x", "link:Patient.".repeat(19)), "at most 5 levels")]
#[case(format!("{}code=x", "_has:Observation:derived-from:".repeat(6)), "at most 5 levels")]
#[case(format!("{}_id=x", "focus.".repeat(5)), "more than 200 tables")]
#[case(format!("_sort={}", ["date"; 11].join(",")), "at most 10 keys")]
#[case("status=final&".repeat(101).trim_end_matches('&').to_owned(), "at most 100 parameters")]
fn what_asks_too_much_is_refused(#[case] query: String, #[case] reason: &str) {
    let error = refusal(&query);
    assert!(matches!(&error, SearchError::TooMuch { .. }) && error.to_string().contains(reason), "{error}");
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
    let filter = search.criteria.filter.unwrap();
    assert!(!format!("{filter} {filter:?}").to_lowercase().contains("dupont"));
}

/// Each type of parameter takes the modifiers that R4 gives it (section 3.1.1.4.4), and no other.
#[rstest]
#[case("Patient", "birthdate", "2020", "missing")]
#[case("RiskAssessment", "probability", "1", "missing")]
#[case("Observation", "value-quantity", "1", "missing")]
#[case("Location", "near", "1|1", "missing")]
#[case("Patient", "family", "x", "missing exact contains")]
#[case("Observation", "code", "x", "missing not text in not-in")]
#[case("Observation", "code", "s|x", "missing not text in not-in below above")]
#[case("Patient", "identifier", "s|x|y", "missing text of-type")]
#[case("Patient", "gender", "x", "missing not text in not-in")]
#[case("Patient", "active", "true", "missing not")]
#[case("Patient", "email", "x", "missing not text")]
#[case("Patient", "deceased", "true", "missing not")]
#[case("Observation", "subject", "1", "missing identifier Patient Group")]
#[case("Observation", "subject", "Patient/1", "missing identifier Patient")]
#[case("ValueSet", "url", "http://x", "missing below above")]
#[case("ValueSet", "url", "urn:x", "missing")]
#[case("Patient", "_profile", "http://x", "missing below above")]
#[case("Patient", "_tag", "s|x", "missing not text in not-in below above")]
#[case("Patient", "_id", "x", "missing not")]
#[case("Patient", "_lastUpdated", "2020", "missing")]
#[case("Observation", "code-value-quantity", "x$1", "")]
fn each_type_takes_its_modifiers(#[case] resource: &str, #[case] code: &str, #[case] value: &str, #[case] taken: &str) {
    const MODIFIERS: [&str; 16] = [
        "missing",
        "exact",
        "contains",
        "not",
        "text",
        "in",
        "not-in",
        "below",
        "above",
        "identifier",
        "of-type",
        "type",
        "iterate",
        "Patient",
        "Group",
        "",
    ];
    let found: Vec<&str> = MODIFIERS
        .into_iter()
        .filter(|modifier| {
            let value = if *modifier == "missing" { "true" } else { value };
            let parameters = vec![(format!("{code}:{modifier}"), value.to_owned())];
            let request = Request {
                parameters: &parameters,
                handling: Handling::Lenient,
                now: now(),
                base: None,
                types: &[],
                codes: None,
            };
            match compile::compile(resource.parse().unwrap(), request, &Schemas::new()) {
                Ok(_) => true,
                Err(SearchError::Invalid { .. } | SearchError::Unsupported { .. }) => false,
                Err(error) => panic!("{modifier}: {error}"),
            }
        })
        .collect();
    let mut taken: Vec<&str> = taken.split_whitespace().collect();
    taken.sort_by_key(|modifier| MODIFIERS.iter().position(|known| known == modifier));
    assert_eq!(found, taken);
}

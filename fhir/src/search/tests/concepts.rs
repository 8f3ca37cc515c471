use rstest::rstest;

use super::*;

fn set(codes: &[(&str, &str)]) -> CodeSet {
    codes.iter().map(|(system, code)| ((*system).to_owned(), (*code).to_owned())).collect()
}

/// A small hierarchy, `animal` above `dog` above `poodle`, beside value sets.
fn known() -> KnownCodes {
    let system = || "urn:zoo".to_owned();
    let value_set = |url: &str| CodesOf::ValueSet(url.to_owned());
    let below = |code: &str| CodesOf::Below { system: system(), code: code.to_owned() };
    let above = |code: &str| CodesOf::Above { system: system(), code: code.to_owned() };
    KnownCodes::from([
        (value_set("http://v.org/dogs"), set(&[("urn:zoo", "dog"), ("urn:zoo", "poodle"), ("urn:other", "hound")])),
        (value_set("http://v.org/dogs|2"), set(&[("urn:zoo", "dog")])),
        (value_set("ValueSet/cats"), set(&[("urn:zoo", "cat")])),
        (value_set("http://v.org/none"), set(&[])),
        (
            value_set("http://v.org/states"),
            set(&[("http://hl7.org/fhir/observation-status", "final"), ("urn:x", "amended")]),
        ),
        (below("dog"), set(&[("urn:zoo", "dog"), ("urn:zoo", "poodle")])),
        (below("animal"), set(&[("urn:zoo", "animal"), ("urn:zoo", "dog"), ("urn:zoo", "poodle"), ("urn:zoo", "cat")])),
        (above("dog"), set(&[("urn:zoo", "dog"), ("urn:zoo", "animal")])),
    ])
}

const OBSERVATIONS: [&str; 7] = [
    r#"{"resourceType":"Observation","id":"animal","status":"final","code":{"coding":[{"system":"urn:zoo","code":"animal"}]}}"#,
    r#"{"resourceType":"Observation","id":"both","status":"amended","code":{"coding":[{"system":"urn:other","code":"hound"},{"system":"urn:zoo","code":"cat"}]}}"#,
    r#"{"resourceType":"Observation","id":"cat","status":"final","code":{"coding":[{"system":"urn:zoo","code":"cat"}]}}"#,
    r#"{"resourceType":"Observation","id":"dog","status":"final","code":{"coding":[{"system":"urn:zoo","code":"dog"}]},"component":[{"code":{"coding":[{"system":"urn:zoo","code":"poodle"}]}}]}"#,
    r#"{"resourceType":"Observation","id":"elsewhere","status":"final","code":{"coding":[{"system":"urn:elsewhere","code":"dog"}]}}"#,
    r#"{"resourceType":"Observation","id":"poodle","status":"registered","code":{"coding":[{"system":"urn:zoo","code":"poodle"}]}}"#,
    r#"{"resourceType":"Observation","id":"words","status":"final","code":{"coding":[{"code":"dog"}],"text":"dog"}}"#,
];

#[rstest]
#[case("code:in=http://v.org/dogs", "both dog poodle")]
#[case("code:in=http://v.org/dogs|2", "dog")]
#[case("code:in=ValueSet/cats", "both cat")]
#[case("code:in=https://here.org/fhir/ValueSet/cats", "both cat")]
#[case("code:in=http://v.org/dogs|2,ValueSet/cats", "both cat dog")]
#[case("code:in=http://v.org/dogs&code:in=ValueSet/cats", "both")]
#[case("code:in=http://v.org/none", "")]
// what has no coding of the set, also where it has no coding that says its system
#[case("code:not-in=http://v.org/dogs", "animal cat elsewhere words")]
#[case("code:not-in=http://v.org/none", "animal both cat dog elsewhere poodle words")]
#[case("code:not-in=http://v.org/dogs,ValueSet/cats", "animal elsewhere words")]
#[case("component-code:in=http://v.org/dogs", "dog")]
#[case("component-code:not-in=http://v.org/dogs", "animal both cat elsewhere poodle words")]
#[case("code:below=urn:zoo|dog", "dog poodle")]
#[case("code:below=urn:zoo|animal", "animal both cat dog poodle")]
#[case("code:above=urn:zoo|dog", "animal dog")]
#[case("code:above=urn:zoo|dog,http://x|y", "animal dog")]
// a code's system is implied: `amended` of another system is another code
#[case("status:in=http://v.org/states", "animal cat dog elsewhere words")]
#[case("status:not-in=http://v.org/states", "both poodle")]
#[case("code:below=urn:zoo|dog&status=final", "dog")]
fn codes_are_found_by_what_is_known_of_them(#[case] query: &str, #[case] expected: &str) {
    let mut known = known();
    known.insert(CodesOf::Above { system: "http://x".to_owned(), code: "y".to_owned() }, set(&[]));
    let tables = one("Observation", &table("Observation", &OBSERVATIONS));
    assert_eq!(answer_knowing("Observation", &tables, query, Some(&known)).join(" "), expected);
}

#[test]
fn chains_and_reversed_chains_take_them_too() {
    let tables = tables(&[
        ("Patient", &[r#"{"resourceType":"Patient","id":"p"}"#, r#"{"resourceType":"Patient","id":"q"}"#]),
        (
            "Observation",
            &[
                r#"{"resourceType":"Observation","id":"a","status":"final","subject":{"reference":"Patient/p"},"code":{"coding":[{"system":"urn:zoo","code":"poodle"}]}}"#,
                r#"{"resourceType":"Observation","id":"b","status":"final","subject":{"reference":"Patient/q"},"code":{"coding":[{"system":"urn:zoo","code":"cat"}]},"derivedFrom":[{"reference":"Observation/a"}]}"#,
            ],
        ),
    ]);
    let known = known();
    let find = |resource: &str, query: &str| answer_knowing(resource, &tables, query, Some(&known)).join(" ");
    assert_eq!(find("Patient", "_has:Observation:patient:code:below=urn:zoo|dog"), "p");
    assert_eq!(find("Patient", "_has:Observation:patient:code:in=ValueSet/cats"), "q");
    assert_eq!(find("Observation", "derived-from:Observation.code:in=http://v.org/dogs"), "b");
}

#[test]
fn a_search_says_which_codes_it_needs_before_it_is_compiled() {
    let parameters = pairs(
        "code:in=http://v.org/a,ValueSet/b&component-code:below=urn:zoo|dog&has-member:Observation.code:above=urn:zoo|cat",
    );
    let observation = "Observation".parse().unwrap();
    let request = Request {
        parameters: &parameters,
        handling: Handling::Strict,
        now: now(),
        base: None,
        types: &[],
        codes: None,
    };
    let zoo = || "urn:zoo".to_owned();
    let needed = super::super::codes(observation, request).unwrap();
    let expected = BTreeMap::from([
        (CodesOf::ValueSet("ValueSet/b".to_owned()), "code:in".to_owned()),
        (CodesOf::ValueSet("http://v.org/a".to_owned()), "code:in".to_owned()),
        (CodesOf::Below { system: zoo(), code: "dog".to_owned() }, "component-code:below".to_owned()),
        (CodesOf::Above { system: zoo(), code: "cat".to_owned() }, "code:above".to_owned()),
    ]);
    assert_eq!(needed.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert_eq!(needed[&CodesOf::Below { system: zoo(), code: "dog".to_owned() }], "component-code:below");
    // compiled without them it would find too little: it is refused
    let tables = one("Observation", &table("Observation", &OBSERVATIONS));
    let error = search("Observation", &tables, "code:in=http://v.org/a", Handling::Lenient).unwrap_err();
    assert!(matches!(&error, SearchError::Unsupported { name, .. } if name == "code:in"), "{error}");
    let known = known();
    let error = search_knowing("Observation", &tables, "code:in=http://v.org/a", Handling::Strict, Some(&known));
    assert!(matches!(error, Err(SearchError::Unsupported { .. })));
    let request = Request { codes: Some(&known), ..request };
    assert_eq!(super::super::codes(observation, request).unwrap().len(), 3);
}

#[rstest]
#[case("Observation", "code:below=dog", "is written `system|code`")]
#[case("Observation", "code:above=urn:zoo|", "is written `system|code`")]
#[case("Observation", "code:below=|dog", "is written `system|code`")]
#[case("Observation", "code:in=", "has no value")]
#[case("Observation", "code:in=a,,b", "a value is empty")]
#[case("Patient", "identifier:in=http://v.org/dogs", "`:in` is about codes of code systems")]
#[case("Patient", "active:not-in=http://v.org/dogs", "`:not-in` is about codes of code systems")]
#[case("Patient", "deceased:below=urn:zoo|dog", "`:below` is about codes of code systems")]
#[case("Patient", "name:in=http://v.org/dogs", "the modifier `:in` is not for it")]
fn what_names_no_codes_is_refused(#[case] resource: &str, #[case] query: &str, #[case] reason: &str) {
    let error = search(resource, &Tables::new(), query, Handling::Strict).unwrap_err();
    assert!(matches!(&error, SearchError::Invalid { reason: found, .. } if found.contains(reason)), "{error}");
}

#[test]
fn value_sets_are_many_at_a_price() {
    let many: Vec<String> = (0..21).map(|number| format!("http://v.org/{number}")).collect();
    let error = search("Observation", &Tables::new(), &format!("code:in={}", many.join(",")), Handling::Strict);
    assert!(matches!(error, Err(SearchError::TooMuch { .. })), "{error:?}");
}

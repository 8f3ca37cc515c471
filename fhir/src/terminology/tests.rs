use rstest::rstest;

use super::*;
use crate::json;

const SYSTEM: &str = r#"{"resourceType":"CodeSystem","url":"urn:cs","content":"complete","caseSensitive":true,"concept":[
    {"code":"animal","display":"Animal","concept":[
        {"code":"dog","display":"Dog","property":[{"code":"legs","valueInteger":4},{"code":"inactive","valueBoolean":false}],
         "concept":[{"code":"puppy","display":"Puppy"}]},
        {"code":"bird","display":"Bird","property":[{"code":"legs","valueInteger":2}]}]},
    {"code":"plant","display":"Plant"},
    {"code":"moss","display":"Moss","property":[{"code":"parent","valueCode":"plant"}]}]}"#;

fn library(sets: &[&str]) -> Library {
    let mut library = Library::default();
    let system = CodeSystem::read(&json::parse(SYSTEM.as_bytes()).unwrap()).unwrap();
    library.code_systems.insert("urn:cs".to_owned(), Some(system));
    for text in sets {
        let set = ValueSet::read(&json::parse(text.as_bytes()).unwrap());
        library.value_sets.insert(set.url.clone(), Some(set));
    }
    library
}

fn expanded(compose: &str, library: &Library) -> Result<Vec<String>, TerminologyError> {
    let text = format!(r#"{{"resourceType":"ValueSet","url":"urn:vs","compose":{compose}}}"#);
    let set = ValueSet::read(&json::parse(text.as_bytes()).unwrap());
    expand(&set, library, 100).map(|codes| codes.into_iter().map(|coded| coded.code).collect())
}

fn filtered(property: &str, op: &str, value: &str) -> Result<Vec<String>, TerminologyError> {
    let filter = format!(r#"[{{"property":"{property}","op":"{op}","value":"{value}"}}]"#);
    expanded(&format!(r#"{{"include":[{{"system":"urn:cs","filter":{filter}}}]}}"#), &library(&[]))
}

#[rstest]
#[case("concept", "is-a", "animal", &["animal", "dog", "puppy", "bird"])]
#[case("concept", "descendent-of", "animal", &["dog", "puppy", "bird"])]
#[case("concept", "is-a", "plant", &["plant", "moss"])]
#[case("concept", "is-not-a", "animal", &["plant", "moss"])]
#[case("concept", "generalizes", "puppy", &["animal", "dog", "puppy"])]
#[case("concept", "is-a", "nothing", &[])]
#[case("code", "in", "dog, moss", &["dog", "moss"])]
#[case("legs", "=", "4", &["dog"])]
#[case("legs", "exists", "true", &["dog", "bird"])]
#[case("legs", "exists", "false", &["animal", "puppy", "plant", "moss"])]
#[case("display", "regex", ".o.*", &["dog", "moss"])]
#[case("inactive", "=", "false", &["dog"])]
fn filters_mean_what_r4_says(#[case] property: &str, #[case] op: &str, #[case] value: &str, #[case] codes: &[&str]) {
    assert_eq!(filtered(property, op, value).unwrap(), codes);
}

#[rstest]
#[case("legs", "is-a", "4")]
#[case("concept", "child-of", "dog")]
#[case("concept", "regex", "(")]
fn filters_that_cannot_be_applied_are_refused(#[case] property: &str, #[case] op: &str, #[case] value: &str) {
    assert!(matches!(filtered(property, op, value), Err(TerminologyError::Unsupported(_))));
}

#[test]
fn includes_are_united_and_excludes_taken_away() {
    let compose = r#"{"include":[{"system":"urn:cs","concept":[{"code":"dog"},{"code":"moss","display":"M"}]},
        {"system":"urn:other","concept":[{"code":"x"}]},{"system":"urn:cs","concept":[{"code":"dog"},{"code":"bird"}]}],
        "exclude":[{"system":"urn:cs","concept":[{"code":"bird"}]}]}"#;
    let mut with_other = library(&[]);
    assert_eq!(
        expanded(compose, &with_other),
        Err(TerminologyError::Missing(Missing::CodeSystem("urn:other".to_owned())))
    );
    with_other.code_systems.insert("urn:other".to_owned(), None);
    assert_eq!(expanded(compose, &with_other).unwrap(), ["dog", "moss", "x"]);
    let whole = expanded(r#"{"include":[{"system":"urn:other"}]}"#, &with_other);
    assert_eq!(whole, Err(TerminologyError::UnknownSystem("urn:other".to_owned())));
}

#[test]
fn value_sets_include_others_and_never_themselves() {
    let inner = r#"{"resourceType":"ValueSet","url":"urn:inner","compose":{"include":[{"system":"urn:cs","concept":[{"code":"dog"},{"code":"moss"}]}]}}"#;
    let cyclic = r#"{"resourceType":"ValueSet","url":"urn:cyclic","compose":{"include":[{"valueSet":["urn:vs"]}]}}"#;
    let with = library(&[inner, cyclic]);
    let only = expanded(r#"{"include":[{"valueSet":["urn:inner|1.0"]}]}"#, &with).unwrap();
    assert_eq!(only, ["dog", "moss"]);
    let both = r#"{"include":[{"system":"urn:cs","filter":[{"property":"concept","op":"is-a","value":"animal"}],"valueSet":["urn:inner"]}]}"#;
    assert_eq!(expanded(both, &with).unwrap(), ["dog"]);
    assert_eq!(expanded(r#"{"include":[{"valueSet":["urn:cyclic"]}]}"#, &with), Err(TerminologyError::Cycle));
    assert_eq!(expanded(r#"{"include":[{"system":"urn:cs"}]}"#, &with).unwrap().len(), 6);
}

#[test]
fn a_stored_expansion_counts_where_there_is_no_definition() {
    let text = r#"{"resourceType":"ValueSet","url":"urn:s","expansion":{"contains":[{"abstract":true,"system":"s","code":"all",
        "contains":[{"system":"s","code":"a"}]},{"system":"s","code":"b","display":"B"}]}}"#;
    let set = ValueSet::read(&json::parse(text.as_bytes()).unwrap());
    let codes = expand(&set, &Library::default(), 10).unwrap();
    assert_eq!(codes.iter().map(|coded| coded.code.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(expand(&set, &Library::default(), 1), Err(TerminologyError::TooMany(1)));
}

#[test]
fn a_code_is_found_in_a_value_set_by_its_system() {
    let text = r#"{"url":"urn:s","compose":{"include":[{"system":"urn:cs","concept":[{"code":"dog"}]}]}}"#;
    let set = ValueSet::read(&json::parse(text.as_bytes()).unwrap());
    let with = library(&[]);
    let display = |system, code| contains(&set, &with, system, code).unwrap().map(|coded| coded.display);
    assert_eq!(display(Some("urn:cs"), "dog"), Some(Some("Dog".to_owned())));
    assert_eq!(display(None, "dog"), Some(Some("Dog".to_owned())));
    assert_eq!(display(Some("urn:x"), "dog"), None);
    assert_eq!(display(Some("urn:cs"), "DOG"), None);
}

#[test]
fn a_cycle_in_a_code_system_ends() {
    let text = r#"{"url":"u","content":"complete","concept":[{"code":"a","property":[{"code":"parent","valueCode":"b"}]},
        {"code":"b","property":[{"code":"parent","valueCode":"a"}]}]}"#;
    let system = CodeSystem::read(&json::parse(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(system.below("a").len(), 2);
    assert_eq!(system.above("a").len(), 2);
    assert!(system.below("c").is_empty());
}

#[rstest]
#[case("urn:a", "1", None, &[("equivalent", "x"), ("wider", "y")])]
#[case("urn:a", "1", Some("urn:c"), &[])]
#[case("urn:a", "9", None, &[("inexact", "other")])]
#[case("urn:z", "1", None, &[])]
fn a_map_translates_from_its_source_only(
    #[case] system: &str,
    #[case] code: &str,
    #[case] target: Option<&str>,
    #[case] wanted: &[(&str, &str)],
) {
    let map = r#"{"resourceType":"ConceptMap","url":"urn:m","group":[{"source":"urn:a","target":"urn:b","unmapped":{"mode":"fixed","code":"other"},
        "element":[{"code":"1","target":[{"code":"x","equivalence":"equivalent"},{"code":"y","equivalence":"wider"}]}]}]}"#;
    let map = json::parse(map.as_bytes()).unwrap();
    let found = translate(&map, system, code, target);
    let found: Vec<(&str, &str)> =
        found.iter().map(|one| (one.equivalence.as_str(), one.code.as_deref().unwrap())).collect();
    assert_eq!(found, wanted);
}

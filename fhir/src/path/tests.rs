#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::definitions;

fn shown(resource: &str, expression: &str) -> Vec<String> {
    let selection = compile(resource.parse().unwrap(), expression).unwrap();
    let step = |step: &Step| match step {
        Step::Member(name) => (*name).to_owned(),
        Step::Where { member, value } => format!("[{member}={value}]"),
        Step::Resolves(target) => format!("[{target}]"),
    };
    selection
        .paths()
        .iter()
        .map(|path| format!("{}: {}", path.steps.iter().map(step).collect::<Vec<_>>().join("."), path.element.type_id))
        .collect()
}

#[rstest]
#[case("Patient", "Patient.name", &["name: HumanName"])]
#[case("Patient", "Patient.name.family | Patient.name.given", &["name.family: string", "name.given: string"])]
#[case("Patient", "Patient.telecom.where(system='email')", &["telecom.[system=email]: ContactPoint"])]
#[case("Patient", "Patient.deceased.exists() and Patient.deceased != false", &["deceasedBoolean: boolean", "deceasedDateTime: dateTime"])]
#[case("Observation", "Observation.value.ofType(Quantity)", &["valueQuantity: Quantity"])]
#[case("Observation", "(Observation.value as CodeableConcept)", &["valueCodeableConcept: CodeableConcept"])]
#[case("Observation", "Observation.value.as(string)", &["valueString: string"])]
#[case("Observation", "Observation.effective", &["effectiveDateTime: dateTime", "effectivePeriod: Period", "effectiveTiming: Timing", "effectiveInstant: instant"])]
#[case("Observation", "Observation.subject.where(resolve() is Patient)", &["subject.[Patient]: Reference"])]
#[case("Observation", "Resource.meta.tag", &["meta.tag: Coding"])]
fn expressions_become_ways_over_columns(#[case] resource: &str, #[case] expression: &str, #[case] paths: &[&str]) {
    assert_eq!(shown(resource, expression), paths);
}

#[rstest]
#[case("Patient.nam", "there is no element `nam`")]
#[case("Patient.contained", "`contained` holds whole resources")]
#[case("Patient.name.first()", "the function `first`")]
#[case("Patient.name[0]", "`[`")]
#[case("", "it has no expression")]
#[case("Patient.name.where(use='x'", "`)` is missing")]
#[case("Patient.name.where(use", "`)` is missing")]
#[case("Patient..name", "a name is missing")]
#[case("@@", "`@` without a date")]
#[case("'x", "a text without end")]
fn what_is_not_of_the_subset_is_refused(#[case] expression: &str, #[case] message: &str) {
    let error = compile("Patient".parse().unwrap(), expression).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

/// Every search parameter of R4, on every type that it is about. Those that do not compile are few and known.
#[test]
fn all_search_parameters_compile_but_these() {
    let mut compiled = 0;
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in ResourceType::all() {
        for parameter in definitions::search_parameters(resource) {
            match compile(resource, parameter.expression) {
                Ok(_) => compiled += 1,
                Err(error) => {
                    refused.entry(error.to_string()).or_default().push(format!("{resource}.{}", parameter.code))
                }
            }
        }
    }
    // `_text`, `_content` and `_query` of every type have no expression.
    let empty = refused.remove("it has no expression").unwrap();
    assert!(
        empty.iter().all(|name| name.ends_with("._text") || name.ends_with("._content") || name.ends_with("._query"))
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = BTreeMap::from([
        // the first entry of a Bundle, whose resource has no columns
        (
            "the expression is not of the FHIRPath subset: `[`".to_owned(),
            names(&["Bundle.composition", "Bundle.message"]),
        ),
        // composites of the whole resource
        (
            "the expression is not of the FHIRPath subset: it selects the resource itself".to_owned(),
            names(&[
                "Observation.code-value-concept",
                "Observation.code-value-date",
                "Observation.code-value-quantity",
                "Observation.code-value-string",
                "Observation.combo-code-value-concept",
                "Observation.combo-code-value-quantity",
            ]),
        ),
    ]);
    assert_eq!(refused, expected);
    assert_eq!((compiled, empty.len()), (2573, 438));
}

/// Beside the composites and the one special parameter, every parameter is about a type that can be compared.
#[test]
fn what_search_parameters_are_about_can_be_compared_but_these() {
    use crate::{definitions::ParameterKind, search::supports};
    let mut not = Vec::new();
    for resource in ResourceType::all() {
        for parameter in definitions::search_parameters(resource) {
            let whole = matches!(parameter.kind, ParameterKind::Composite | ParameterKind::Special);
            let Ok(Selection::Elements(paths)) = compile(resource, parameter.expression) else { continue };
            if !whole && !paths.iter().any(|path| supports(parameter.kind, path.element.type_id)) {
                not.push(format!("{resource}.{}", parameter.code));
            }
        }
    }
    assert_eq!(not, Vec::<String>::new());
}

//! Whose patient's compartment a resource is in.

use std::sync::LazyLock;

use crate::{
    ResourceType,
    bundle::relative_reference,
    definitions::{self, TypeId},
    json::Value,
};

/// Ways from a resource's root to references that may put it into a compartment, by resource type.
static PATHS: LazyLock<Vec<Vec<Vec<&'static str>>>> = LazyLock::new(|| ResourceType::all().map(paths).collect());

/// The id of the patient whose compartment the resource is in: for a Patient `id`, else that of the first `Patient/id`
/// which a search parameter of the patient compartment finds.
#[must_use]
pub fn patient_of<'a>(resource_type: ResourceType, resource: &'a Value<'_>, id: &'a str) -> Option<&'a str> {
    if resource_type.name() == "Patient" {
        return Some(id);
    }
    PATHS.get(usize::from(resource_type.0))?.iter().find_map(|path| first_patient(resource, path))
}

/// Every patient whose compartment the resource is in, some more than once: for a Patient `id`, and all that the search
/// parameters of the patient compartment find.
pub fn patients_of<'a>(
    resource_type: ResourceType,
    resource: &'a Value<'_>,
    id: &'a str,
) -> impl Iterator<Item = &'a str> {
    let own = (resource_type.name() == "Patient").then_some(id);
    let mut found = Vec::new();
    for path in PATHS.get(usize::from(resource_type.0)).into_iter().flatten() {
        all_patients(resource, path, &mut found);
    }
    own.into_iter().chain(found)
}

fn all_patients<'a>(value: &'a Value<'_>, path: &[&str], found: &mut Vec<&'a str>) {
    if let Value::Array(items) = value {
        return items.iter().for_each(|item| all_patients(item, path, found));
    }
    match path.split_first() {
        Some((name, rest)) => {
            if let Some(value) = value.get(name) {
                all_patients(value, rest, found);
            }
        }
        None => {
            if let Some(("Patient", id)) = value.get_str("reference").and_then(relative_reference) {
                found.push(id);
            }
        }
    }
}

/// The elements of the type itself that [`patient_of`] may find the patient in; none of a Patient, which is its own.
pub fn patient_elements(resource_type: ResourceType) -> impl Iterator<Item = &'static str> {
    let paths = PATHS.get(usize::from(resource_type.0)).filter(|_| resource_type.name() != "Patient");
    paths.into_iter().flatten().filter_map(|path| path.first().copied())
}

/// Whether a Patient that an element of the resource itself refers to is the one that [`patient_of`] gives: the element is
/// the first that it looks at, and occurs once.
pub(crate) fn tells_patient(resource_type: ResourceType, element: &str) -> bool {
    let first = PATHS.get(usize::from(resource_type.0)).and_then(|paths| paths.first());
    let many = definitions::element(definitions::root(resource_type), element).is_none_or(|element| element.many);
    resource_type.name() != "Patient" && first.is_some_and(|path| path.as_slice() == [element]) && !many
}

fn first_patient<'a>(value: &'a Value<'_>, path: &[&str]) -> Option<&'a str> {
    if let Value::Array(items) = value {
        return items.iter().find_map(|item| first_patient(item, path));
    }
    match path.split_first() {
        Some((name, rest)) => first_patient(value.get(name)?, rest),
        None => match relative_reference(value.get_str("reference")?)? {
            ("Patient", id) => Some(id),
            _ => None,
        },
    }
}

fn paths(resource: ResourceType) -> Vec<Vec<&'static str>> {
    let codes = definitions::patient_compartment(resource).iter();
    let parameters = codes.filter_map(|code| definitions::search_parameter(resource, code));
    parameters.flat_map(|parameter| parameter.expression.split('|')).flat_map(|one| path(resource, one)).collect()
}

/// The element names of `Type.a.b`, which may end in `.where(resolve() is Patient)` or be cast to a Reference; `value` of a
/// choice becomes `valueReference`. More than one where a choice has several references; none where it is no such path.
fn path(resource: ResourceType, expression: &'static str) -> Option<Vec<&'static str>> {
    let plain = expression.trim().trim_start_matches('(');
    let end = plain.find([' ', ')']).unwrap_or(plain.len());
    let plain = &plain[..end];
    let plain = [".where(", ".ofType(", ".as("]
        .into_iter()
        .fold(plain, |text, call| text.find(call).map_or(text, |end| &text[..end]));
    let mut steps = plain.split('.').skip(1);
    let mut at: TypeId = definitions::root(resource);
    let mut names = Vec::new();
    for step in &mut steps {
        let element = definitions::element(at, step).or_else(|| {
            definitions::elements(at).iter().find(|one| one.choice == Some(step) && one.type_id.is_reference())
        })?;
        names.push(element.name);
        at = element.type_id;
    }
    at.is_reference().then_some(names)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::json;

    #[test]
    fn every_parameter_of_the_compartment_leads_to_references() {
        for resource in ResourceType::all().filter(|resource| resource.name() != "Patient") {
            for code in definitions::patient_compartment(resource) {
                let parameter = definitions::search_parameter(resource, code).unwrap();
                for one in parameter.expression.split('|') {
                    assert!(path(resource, one).is_some(), "{resource} {code}: {one}");
                }
            }
        }
    }

    #[rstest]
    #[case("Patient", r#"{"id":"x"}"#, Some("own"))]
    #[case("Observation", r#"{"subject":{"reference":"Patient/p1"}}"#, Some("p1"))]
    #[case("Observation", r#"{"subject":{"reference":"Patient/p1/_history/3"}}"#, Some("p1"))]
    #[case("Observation", r#"{"subject":{"reference":"Group/p1"}}"#, None)]
    #[case("Observation", r#"{"subject":{"reference":"https://example.org/Patient/p1"}}"#, None)]
    #[case(
        "Observation",
        r#"{"subject":{"reference":"Group/g"},"performer":[{"display":"x"},{"reference":"Patient/p2"}]}"#,
        Some("p2")
    )]
    #[case(
        "Appointment",
        r#"{"participant":[{"actor":{"reference":"Location/l"}},{"actor":{"reference":"Patient/p3"}}]}"#,
        Some("p3")
    )]
    #[case("Group", r#"{"member":[{"entity":{"reference":"Patient/p4"}}]}"#, Some("p4"))]
    #[case("Organization", r#"{"partOf":{"reference":"Patient/p1"}}"#, None)]
    #[case("Observation", r#"{"subject":"Patient/p1"}"#, None)]
    fn a_resource_is_in_the_compartment_of_its_patient(
        #[case] resource: ResourceType,
        #[case] text: &str,
        #[case] patient: Option<&str>,
    ) {
        let value = json::parse(text.as_bytes()).unwrap();
        assert_eq!(patient_of(resource, &value, "own"), patient);
        assert_eq!(patients_of(resource, &value, "own").next(), patient);
    }

    #[test]
    fn a_resource_that_names_two_patients_is_in_both_compartments() {
        let text = r#"{"subject":{"reference":"Patient/a"},"performer":[{"reference":"Practitioner/p"},{"reference":"Patient/b"}]}"#;
        let value = json::parse(text.as_bytes()).unwrap();
        let resource: ResourceType = "Observation".parse().unwrap();
        assert_eq!(patients_of(resource, &value, "o").collect::<Vec<_>>(), ["a", "b"]);
    }
}

use rstest::rstest;

use super::*;

fn resource(name: &str) -> ResourceType {
    name.parse().unwrap()
}

#[test]
fn there_are_147_resource_types_in_the_order_of_their_names() {
    let names: Vec<_> = ResourceType::all().map(ResourceType::name).collect();
    assert_eq!(names.len(), 147);
    assert!(names.is_sorted());
    assert_eq!(resource("MedicationRequest").table(), "medicationrequest");
    assert_eq!(ResourceType::from_table("medicationrequest"), Some(resource("MedicationRequest")));
    assert_eq!("patient".parse::<ResourceType>(), Err(UnknownResourceType("patient".to_owned())));
    assert!("DomainResource".parse::<ResourceType>().is_err());
}

#[test]
fn every_line_of_the_tables_is_read() {
    let lines = include_str!("../../definitions/search.txt").lines().filter(|line| line.starts_with("  ")).count();
    let read: usize = ResourceType::all().map(|resource| search_parameters(resource).len()).sum();
    let domain = ResourceType::all().filter(|resource| search_parameter(*resource, "_text").is_some()).count();
    // `Resource` has eight, which every type has, and `DomainResource` one.
    assert_eq!(read, lines - 9 + 8 * 147 + domain);
    for resource in ResourceType::all() {
        assert!(elements(root(resource)).len() > 4, "{resource}");
        assert_eq!(root(resource).kind(), TypeKind::Resource(resource));
        for code in patient_compartment(resource) {
            assert!(search_parameter(resource, code).is_some(), "{resource} {code}");
        }
        for of in COMPARTMENTS.map(|of| of.parse::<ResourceType>().unwrap()) {
            for code in compartment(of, resource).iter().filter(|code| **code != ITSELF) {
                assert!(search_parameter(resource, code).is_some(), "{of}: {resource} {code}");
            }
        }
    }
}

#[test]
fn every_element_is_found_by_its_name_and_only_by_it() {
    for id in (0..).map(TypeId).take(DEFINITIONS.types.len()) {
        assert_eq!(TypeId::from_name(id.name()), Some(id));
        for (index, one) in elements(id).iter().enumerate() {
            assert_eq!(element_index(id, one.name), Some(index), "{id}.{}", one.name);
        }
        assert!(element_index(id, "nothing").is_none());
        assert!(element_index(id, "").is_none());
    }
}

#[rstest]
#[case("Patient", &["birthDate"], "date", false)]
#[case("Patient", &["name", "given"], "string", true)]
#[case("Patient", &["contact", "name", "period", "start"], "dateTime", false)]
#[case("Patient", &["deceasedDateTime"], "dateTime", false)]
#[case("Observation", &["component", "valueQuantity", "value"], "decimal", false)]
#[case("Questionnaire", &["item", "item", "item", "linkId"], "string", false)]
#[case("Bundle", &["entry", "link", "url"], "uri", false)]
#[case("Patient", &["id"], "id", false)]
#[case("Patient", &["extension", "valueCodeableConcept", "coding", "code"], "code", false)]
fn a_path_is_found_with_its_type(
    #[case] name: &str,
    #[case] path: &[&str],
    #[case] type_name: &str,
    #[case] many: bool,
) {
    let found = find(resource(name), path).unwrap();
    assert_eq!((found.type_id.name(), found.many), (type_name, many));
}

#[rstest]
#[case("Patient", &["deceased"])]
#[case("Patient", &["birthDate", "start"])]
#[case("Patient", &["name", "birthDate"])]
#[case("Patient", &[])]
fn a_path_that_does_not_exist_is_not_found(#[case] name: &str, #[case] path: &[&str]) {
    assert!(find(resource(name), path).is_none());
}

#[test]
fn choices_cardinalities_targets_and_codes_are_as_in_r4() {
    let observation = resource("Observation");
    let value = find(observation, &["valueQuantity"]).unwrap();
    assert_eq!((value.choice, value.min, value.many), (Some("value"), 0, false));
    assert_eq!(elements(root(observation)).iter().filter(|element| element.choice == Some("value")).count(), 11);
    let status = find(observation, &["status"]).unwrap();
    assert_eq!(status.min, 1);
    assert!(status.required_codes.unwrap().contains(&"entered-in-error"));
    assert_eq!(find(observation, &["encounter"]).unwrap().targets, ["Encounter"]);
    assert!(find(observation, &["focus"]).unwrap().targets.is_empty());
    assert!(find(observation, &["code"]).unwrap().required_codes.is_none());
    let gender = find(resource("Patient"), &["gender"]).unwrap();
    assert_eq!(gender.required_codes.unwrap(), ["male", "female", "other", "unknown"]);
}

#[test]
fn search_parameters_speak_of_their_type_only() {
    let birthdate = search_parameter(resource("Patient"), "birthdate").unwrap();
    assert_eq!((birthdate.kind, birthdate.expression), (ParameterKind::Date, "Patient.birthDate"));
    let composite = search_parameter(resource("Observation"), "code-value-quantity").unwrap();
    let parts: Vec<_> = composite.components.iter().map(|part| (part.code, part.kind, part.expression)).collect();
    assert_eq!(
        parts,
        [("code", ParameterKind::Token, "code"), ("value-quantity", ParameterKind::Quantity, "value.ofType(Quantity)")]
    );
    assert!(search_parameter(resource("Patient"), "_lastUpdated").is_some());
    assert!(search_parameter(resource("Binary"), "_text").is_none(), "Binary is no DomainResource");
    assert_eq!(patient_compartment(resource("AllergyIntolerance")), ["patient", "recorder", "asserter"]);
    assert!(patient_compartment(resource("Organization")).is_empty());
    let compartment = |of: &str, name: &str| compartment(resource(of), resource(name));
    assert_eq!(compartment("Encounter", "Observation"), ["encounter"]);
    assert_eq!(compartment("Encounter", "Encounter"), [ITSELF]);
    assert_eq!(compartment("Practitioner", "Encounter"), ["practitioner", "participant"]);
    assert_eq!(compartment("Device", "Observation"), ["subject", "device"]);
    assert_eq!(compartment("RelatedPerson", "Coverage"), ["policy-holder", "subscriber", "payor"]);
    assert!(compartment("Encounter", "Patient").is_empty() && compartment("Organization", "Patient").is_empty());
}

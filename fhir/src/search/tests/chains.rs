use rstest::rstest;

use super::*;

fn hospital() -> Tables {
    tables(&[
        (
            "Organization",
            &[
                r#"{"resourceType":"Organization","id":"o1","name":"North Hospital","address":[{"city":"Lille"}]}"#,
                r#"{"resourceType":"Organization","id":"o2","name":"South Clinic","partOf":{"reference":"Organization/o1"}}"#,
                r#"{"resourceType":"Organization","id":"o3","name":"Ward","partOf":{"reference":"Organization/o2/_history/4"}}"#,
            ],
        ),
        (
            "Practitioner",
            &[r#"{"resourceType":"Practitioner","id":"d1","name":[{"family":"House"}],"identifier":[{"value":"77"}]}"#],
        ),
        (
            "Patient",
            &[
                r#"{"resourceType":"Patient","id":"p1","name":[{"family":"Smith"}],"gender":"male","birthDate":"1980-01-01","managingOrganization":{"reference":"Organization/o1"},"generalPractitioner":[{"reference":"Practitioner/d1"},{"reference":"Organization/o2"}]}"#,
                r#"{"resourceType":"Patient","id":"p2","name":[{"family":"Jones"}],"gender":"female","managingOrganization":{"reference":"Organization/o2"},"generalPractitioner":[{"reference":"Organization/o1"}]}"#,
                r#"{"resourceType":"Patient","id":"p3","name":[{"family":"Smithers"}],"gender":"female","managingOrganization":{"reference":"Organization/o3"},"link":[{"other":{"reference":"Patient/p1"},"type":"seealso"}]}"#,
                r#"{"resourceType":"Patient","id":"p4"}"#,
            ],
        ),
        (
            "Group",
            &[
                r#"{"resourceType":"Group","id":"p2","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p1"}},{"entity":{"reference":"Patient/p3"}}],"identifier":[{"value":"77"}]}"#,
            ],
        ),
        (
            "Observation",
            &[
                r#"{"resourceType":"Observation","id":"b1","status":"final","code":{"coding":[{"code":"8480-6"}]},"subject":{"reference":"Patient/p1"},"performer":[{"reference":"Practitioner/d1"},{"reference":"Organization/o2"}],"valueQuantity":{"value":120}}"#,
                r#"{"resourceType":"Observation","id":"b2","status":"final","code":{"coding":[{"code":"8480-6"}]},"subject":{"reference":"Patient/p2"},"hasMember":[{"reference":"Observation/b1"}]}"#,
                r#"{"resourceType":"Observation","id":"b3","status":"amended","code":{"coding":[{"code":"29463-7"}]},"subject":{"reference":"Group/p2"},"performer":[{"reference":"Organization/o1"}]}"#,
                r#"{"resourceType":"Observation","id":"b4","status":"final","code":{"coding":[{"code":"29463-7"}]},"subject":{"reference":"Patient/gone"}}"#,
                r#"{"resourceType":"Observation","id":"b5","status":"final","code":{"text":"x"},"subject":{"reference":"https://elsewhere.org/fhir/Patient/p1"}}"#,
                r#"{"resourceType":"Observation","id":"b6","status":"final","code":{"coding":[{"code":"29463-7"}]},"subject":{"reference":"Patient/p3"},"derivedFrom":[{"reference":"Observation/b3"}]}"#,
            ],
        ),
        (
            "AuditEvent",
            &[
                r#"{"resourceType":"AuditEvent","id":"a1","type":{"code":"rest"},"recorded":"2024-01-01T00:00:00Z","agent":[{"requestor":true,"who":{"reference":"Practitioner/d1"}}],"source":{"observer":{"reference":"Practitioner/d1"}},"entity":[{"what":{"reference":"Observation/b1"}}]}"#,
                r#"{"resourceType":"AuditEvent","id":"a2","type":{"code":"rest"},"recorded":"2024-01-01T00:00:00Z","agent":[{"requestor":true,"who":{"reference":"Patient/p2"}}],"source":{"observer":{"reference":"Practitioner/d1"}},"entity":[{"what":{"reference":"Observation/b6"}}]}"#,
            ],
        ),
        (
            "List",
            &[
                r#"{"resourceType":"List","id":"l1","status":"current","mode":"working","entry":[{"item":{"reference":"Patient/p2"}},{"item":{"reference":"Observation/b1"}},{"item":{"reference":"Patient/p4"}}]}"#,
                r#"{"resourceType":"List","id":"l2","status":"current","mode":"working","entry":[{"item":{"reference":"Patient/p3"}}]}"#,
            ],
        ),
    ])
}

#[rstest]
// typed and untyped, one level
#[case("Observation", "subject:Patient.name=smith", "b1 b6")]
#[case("Observation", "patient.name=smith", "b1 b6")]
#[case("Observation", "subject:Patient.name:exact=Smith", "b1")]
#[case("Observation", "subject.identifier=77", "b3")]
#[case("Observation", "subject:Group._id=p2", "b3")]
#[case("Observation", "subject:Patient._id=p2", "b2")]
#[case("Observation", "subject._id=p2", "b2 b3")]
#[case("Observation", "subject:Patient.gender:not=male", "b2 b6")]
#[case("Observation", "subject:Patient.birthdate:missing=true", "b2 b6")]
#[case("Observation", "subject:Patient.birthdate=lt1990", "b1")]
#[case("Observation", "subject:Patient.gender=male,female", "b1 b2 b6")]
#[case("Observation", "subject:Patient.name=nobody", "")]
#[case("Observation", "subject:Device.identifier=1", "")]
// a value that means something to one of the types alone
#[case("Observation", "subject.name=smith", "b1 b6")]
// several conditions: each has its own resource, all on one observation
#[case("Observation", "subject:Patient.name=smith&subject:Patient.gender=female", "b6")]
#[case("Observation", "subject:Patient.gender=female&code=8480-6", "b2")]
// lists of references
#[case("Observation", "performer:Practitioner.name=house", "b1")]
#[case("Observation", "performer.name=south,house", "b1")]
#[case("Observation", "performer:Organization.name=north", "b3")]
#[case("Observation", "performer:Organization.name=north,south", "b1 b3")]
#[case("Observation", "performer:Practitioner.name=house&performer:Organization.name=south", "b1")]
#[case("Patient", "general-practitioner.name=north", "p2")]
#[case("Patient", "general-practitioner:Practitioner.identifier=77", "p1")]
// several levels
#[case("Observation", "subject:Patient.organization.name=south", "b2")]
#[case("Observation", "subject:Patient.organization:Organization.partof.name=north", "b2")]
#[case("Observation", "patient.organization.partof.partof.address-city=lille", "b6")]
#[case("Observation", "has-member.subject:Patient.name=smith", "b2")]
#[case("Organization", "partof.name=south", "o3")]
#[case("Patient", "link:Patient.name=smith", "p3")]
// reversed
#[case("Patient", "_has:Observation:patient:code=8480-6", "p1 p2")]
#[case("Patient", "_has:Observation:subject:code=29463-7", "p3")]
#[case("Group", "_has:Observation:subject:code=29463-7", "p2")]
#[case("Patient", "_has:Observation:patient:value-quantity=gt100", "p1")]
#[case("Patient", "_has:Observation:patient:status:not=final", "")]
#[case("Patient", "_has:Observation:patient:code=8480-6&gender=female", "p2")]
#[case("Patient", "_has:Observation:patient:code=8480-6&_has:Observation:patient:code=29463-7", "")]
#[case("Patient", "_has:Group:member:_id=p2", "p1 p3")]
#[case("Patient", "_has:Condition:patient:code=x", "")]
#[case("Practitioner", "_has:Observation:performer:code=8480-6", "d1")]
#[case("Organization", "_has:Patient:organization:gender=female", "o2 o3")]
// reversed twice, and with chains on either side
#[case("Patient", "_has:Observation:patient:_has:AuditEvent:entity:agent=Practitioner/d1", "p1")]
#[case("Patient", "_has:Observation:patient:_has:AuditEvent:entity:agent:Patient.name=jones", "p3")]
#[case("Patient", "_has:Observation:patient:performer.name=house", "p1")]
#[case("Patient", "_has:Observation:patient:performer:Organization.partof.name=north", "p1")]
#[case("Observation", "patient._has:Group:member:_id=p2", "b1 b6")]
#[case("Observation", "subject:Patient._has:Patient:link:name=smithers", "b1")]
#[case("Observation", "derived-from:Observation.subject:Group.identifier=77", "b6")]
// lists
#[case("Patient", "_list=l1", "p2 p4")]
#[case("Patient", "_list=List/l1,l2", "p2 p3 p4")]
#[case("Observation", "_list=l1", "b1")]
#[case("Observation", "patient._list=l1", "b2")]
#[case("Patient", "_list=l3", "")]
// this server's own URL
#[case("Observation", "subject=https://here.org/fhir/Patient/p1", "b1")]
#[case("Observation", "subject=https://elsewhere.org/fhir/Patient/p1", "b5")]
fn chains_lead_to_what_a_reader_would_find(#[case] resource: &str, #[case] query: &str, #[case] expected: &str) {
    assert_eq!(answer(resource, &hospital(), query).join(" "), expected);
}

#[test]
fn canonical_urls_are_followed_with_and_without_their_version() {
    let tables = tables(&[
        (
            "Questionnaire",
            &[
                r#"{"resourceType":"Questionnaire","id":"q1","status":"active","url":"http://q.org/a","version":"1","title":"Falls"}"#,
                r#"{"resourceType":"Questionnaire","id":"q2","status":"active","url":"http://q.org/a","version":"2","title":"Fallen"}"#,
                r#"{"resourceType":"Questionnaire","id":"q3","status":"active","url":"http://q.org/b","title":"Pain"}"#,
            ],
        ),
        (
            "QuestionnaireResponse",
            &[
                r#"{"resourceType":"QuestionnaireResponse","id":"r1","status":"completed","questionnaire":"http://q.org/a"}"#,
                r#"{"resourceType":"QuestionnaireResponse","id":"r2","status":"completed","questionnaire":"http://q.org/a|2"}"#,
                r#"{"resourceType":"QuestionnaireResponse","id":"r3","status":"completed","questionnaire":"http://q.org/b"}"#,
            ],
        ),
    ]);
    let found = |query: &str| answer("QuestionnaireResponse", &tables, query).join(" ");
    assert_eq!(found("questionnaire.title=fall"), "r1 r2");
    assert_eq!(found("questionnaire.title=falls"), "r1");
    assert_eq!(found("questionnaire.title=fallen"), "r1 r2");
    assert_eq!(found("questionnaire:Questionnaire.title=pain"), "r3");
    assert_eq!(found("questionnaire=http://q.org/a"), "r1 r2");
    let error = search("Questionnaire", &tables, "_has:QuestionnaireResponse:questionnaire:_id=r1", Handling::Strict);
    assert!(matches!(error, Err(SearchError::Unsupported { .. })), "{error:?}");
}

#[test]
fn a_chain_over_a_table_that_is_not_there_finds_nothing() {
    let mut tables = hospital();
    tables.remove(&"Patient".parse().unwrap());
    assert_eq!(answer("Observation", &tables, "patient.name=smith").join(" "), "");
    assert_eq!(answer("Observation", &tables, "subject._id=p2").join(" "), "b3");
}

#[test]
fn the_tables_of_a_search_are_known_before_they_are_opened() {
    let parameters = pairs(
        "patient.organization.name=x&_has:AuditEvent:entity:agent:Practitioner.name=y&performer:Organization.name=z",
    );
    let request = Request {
        parameters: &parameters,
        handling: Handling::Strict,
        now: now(),
        base: None,
        types: &[],
        codes: None,
    };
    let names: Vec<&str> =
        super::super::tables("Observation".parse().unwrap(), request).unwrap().iter().map(|one| one.name()).collect();
    assert_eq!(names, ["AuditEvent", "Observation", "Organization", "Patient", "Practitioner"]);
}

#[test]
fn an_unknown_part_of_a_chain_is_left_out_or_refused_with_its_type() {
    let tables = hospital();
    let query = "patient.nam=x&code=8480-6";
    let error = search("Observation", &tables, query, Handling::Strict).unwrap_err();
    assert!(
        matches!(&error, SearchError::UnknownParameter { name, resource, known } if name == "patient.nam" && resource.name() == "Patient" && known.contains("`name`")),
        "{error}"
    );
    let lenient = search("Observation", &tables, query, Handling::Lenient).unwrap();
    assert_eq!(lenient.applied, pairs("code=8480-6"));
}

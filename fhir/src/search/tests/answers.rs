use rstest::rstest;

use super::*;

const PATIENTS: [&str; 5] = [
    r#"{"resourceType":"Patient","id":"p1","active":true,"identifier":[{"system":"urn:a","value":"X1"},{"system":"urn:b","value":"Y1"}],
        "name":[{"use":"official","family":"Müller-Été","given":["Jean","Paul"]}],"gender":"male","birthDate":"1980-05-10",
        "telecom":[{"system":"phone","value":"555 1"},{"system":"email","value":"a@b.c"}],
        "address":[{"line":["1 rue X"],"city":"Paris","postalCode":"75001"}],"generalPractitioner":[{"reference":"Practitioner/d1"},{"reference":"Organization/o1"}],
        "managingOrganization":{"reference":"Organization/o1"},"deceasedBoolean":false}"#,
    r#"{"resourceType":"Patient","id":"p2","active":false,"identifier":[{"value":"X1","type":{"coding":[{"system":"urn:t","code":"MR"}],"text":"Medical record"}}],
        "name":[{"family":"muller"}],"gender":"female","birthDate":"1980-06",
        "telecom":[{"system":"phone","value":"555 2"}],"deceasedDateTime":"2020-01-01"}"#,
    r#"{"resourceType":"Patient","id":"p3","identifier":[{"system":"urn:a"}],"name":[{"given":["Élodie"]},{"family":"Smith, John"}],"birthDate":"1990",
        "communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"fr-FR","display":"Français"}],"text":"French"}}],
        "managingOrganization":{"reference":"https://other.org/fhir/Organization/o1"},"deceasedBoolean":true}"#,
    r#"{"resourceType":"Patient","id":"p4","gender":"Male","managingOrganization":{"reference":"Organization/o2/_history/3","identifier":{"system":"urn:f","value":"77"}},
        "address":[{"city":"Lyon"},{"city":"parisot"}]}"#,
    r#"{"resourceType":"Patient","id":"p5"}"#,
];

#[rstest]
// string
#[case("name=muller", "p1 p2")]
#[case("name=MÜLLER-e", "p1")]
#[case("family=mül", "p1 p2")]
#[case("given=elodie", "p3")]
#[case("given=paul", "p1")]
#[case("name=aul", "")]
#[case("name:contains=AUL", "p1")]
#[case("family:exact=muller", "p2")]
#[case("family:exact=Muller", "")]
#[case("family=muller,smith", "p1 p2 p3")]
#[case("family=smith\\, john", "p3")]
#[case("name=jean&name=muller", "p1")]
#[case("address=paris", "p1 p4")]
#[case("address-city=paris", "p1 p4")]
#[case("address-postalcode=750", "p1")]
#[case("family:missing=true", "p4 p5")]
#[case("family:missing=false", "p1 p2 p3")]
// token
#[case("identifier=X1", "p1 p2")]
#[case("identifier=x1", "p1 p2")]
#[case("identifier=urn:a|X1", "p1")]
#[case("identifier=|X1", "p2")]
#[case("identifier=urn:a|", "p1 p3")]
#[case("identifier=urn:a|Y1", "")]
#[case("identifier=urn:b|Y1,urn:a|", "p1 p3")]
#[case("identifier:not=X1", "p3 p4 p5")]
#[case("identifier:not=X1,Y1", "p3 p4 p5")]
#[case("identifier:of-type=urn:t|MR|X1", "p2")]
#[case("identifier:of-type=urn:t|MR|Y1", "")]
#[case("identifier:text=medical", "p2")]
// a code that is not in its required value set is kept as it is, and is not one that is
#[case("gender=male", "p1")]
#[case("gender=MALE", "p1")]
#[case("gender=female,male", "p1 p2")]
#[case("gender=http://hl7.org/fhir/administrative-gender|female", "p2")]
#[case("gender=http://example.org|female", "")]
#[case("gender=http://hl7.org/fhir/observation-status|female", "")]
#[case("gender=http://hl7.org/fhir/administrative-gender|", "p1 p2 p4")]
#[case("gender=|female", "")]
#[case("gender:not=male", "p2 p3 p4 p5")]
#[case("gender:missing=true", "p3 p5")]
#[case("active=true", "p1")]
#[case("active=false", "p2")]
#[case("active:not=true", "p2 p3 p4 p5")]
#[case("telecom=555 2", "p2")]
#[case("phone=555 1,a@b.c", "p1")]
#[case("phone=a@b.c", "")]
#[case("email=a@b.c", "p1")]
#[case("email:missing=true", "p2 p3 p4 p5")]
#[case("language=fr-fr", "p3")]
#[case("language:text=fran", "p3")]
#[case("language:text=fren", "p3")]
#[case("deceased=true", "p2 p3")]
#[case("deceased=false", "p1 p4 p5")]
#[case("death-date=2020", "p2")]
// reference
#[case("organization=o1", "p1")]
#[case("organization=Organization/o1", "p1")]
#[case("organization:Organization=o1", "p1")]
#[case("organization=https://other.org/fhir/Organization/o1", "p3")]
#[case("organization=o2", "p4")]
#[case("organization=Organization/o1,Organization/o2", "p1 p4")]
#[case("organization:identifier=urn:f|77", "p4")]
#[case("general-practitioner=Practitioner/d1", "p1")]
#[case("general-practitioner:Organization=o1", "p1")]
#[case("general-practitioner:Practitioner=o1", "")]
#[case("organization:missing=true", "p2 p5")]
// ids
#[case("_id=p2", "p2")]
#[case("_id=p2,p4,zz", "p2 p4")]
#[case("_id=P2", "")]
#[case("_id:not=p2", "p1 p3 p4 p5")]
#[case("_lastUpdated=ge2024-01-01T03:00:00Z", "p4 p5")]
#[case("_lastUpdated=2024", "p1 p2 p3 p4 p5")]
#[case("_lastUpdated=lt2024-01-01T01:00:00Z", "p1")]
// an element that no resource has
#[case("link=Patient/1", "")]
#[case("link:missing=true", "p1 p2 p3 p4 p5")]
#[case("_profile=http://x", "")]
fn patients_are_found(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Patient", &table("Patient", &PATIENTS)), expected);
}

const OBSERVATIONS: [&str; 6] = [
    r#"{"resourceType":"Observation","id":"o1","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure panel"},{"system":"urn:l","code":"BP"}]},
        "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2024-01-10T10:00:00Z","category":[{"coding":[{"code":"vital-signs"}]}],
        "component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":120,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}},
                     {"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":{"value":80,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}"#,
    r#"{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"Weight of body","coding":[{"system":"http://loinc.org","code":"29463-7"}]},"subject":{"reference":"Patient/p2"},
        "effectivePeriod":{"start":"2024-01-09","end":"2024-01-12"},"valueQuantity":{"value":5.40,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}}"#,
    r#"{"resourceType":"Observation","id":"o3","status":"amended","code":{"coding":[{"code":"29463-7"}]},"subject":{"reference":"Group/p1"},
        "effectivePeriod":{"start":"2024-01-11T00:00:00Z"},"valueQuantity":{"value":5.405,"unit":"kilo"}}"#,
    r#"{"resourceType":"Observation","id":"o4","status":"final","code":{"text":"x"},"subject":{"reference":"https://h.org/fhir/Patient/p1"},"performer":[{"reference":"Patient/p9"}],
        "effectiveTiming":{"event":["2023-05-01","2024-02-01T12:00:00+02:00"]},"valueCodeableConcept":{"coding":[{"system":"urn:v","code":"pos"}]}}"#,
    r#"{"resourceType":"Observation","id":"o5","status":"final","code":{"text":"y"},"subject":{"reference":"Patient/p9"},"effectiveInstant":"2024-01-10T10:00:00.500Z","valueString":"Café noir"}"#,
    r#"{"resourceType":"Observation","id":"o6","status":"final","code":{"text":"z"},"valueQuantity":{"value":-100,"code":"kg"}}"#,
];

#[rstest]
#[case("code=85354-9", "o1")]
#[case("code=http://loinc.org|29463-7", "o2")]
#[case("code=|29463-7", "o3")]
#[case("code=29463-7,BP", "o1 o2 o3")]
#[case("code:not=29463-7", "o1 o4 o5 o6")]
#[case("code:text=weight", "o2")]
#[case("code:text=BLOOD", "o1")]
#[case("category=vital-signs", "o1")]
#[case("status=final&code=29463-7", "o2")]
#[case("status=FINAL,amended", "o1 o2 o3 o4 o5 o6")]
#[case("component-code=8462-4", "o1")]
#[case("component-value-quantity=gt100", "o1")]
#[case("component-value-quantity=lt70", "")]
#[case("value-quantity=5.4", "o2 o3")]
#[case("value-quantity=5.40", "o2")]
#[case("value-quantity=5.405", "o3")]
#[case("value-quantity=ne5.40", "o3 o6")]
#[case("value-quantity=5.40|http://unitsofmeasure.org|kg", "o2")]
#[case("value-quantity=5.4||kg", "o2")]
#[case("value-quantity=5.4||kilo", "o3")]
#[case("value-quantity=5.4|http://x|kg", "")]
#[case("value-quantity=5.4||KG", "")]
#[case("value-quantity=gt5.40", "o3")]
#[case("value-quantity=ge5.40", "o2 o3")]
#[case("value-quantity=lt5.40", "o6")]
#[case("value-quantity=le5.40", "o2 o6")]
#[case("value-quantity=sa5.40", "o3")]
#[case("value-quantity=eb5.405", "o2 o6")]
#[case("value-quantity=ap5.9", "o2 o3")]
#[case("value-quantity=ap6.1", "")]
#[case("value-quantity=-1e2", "o6")]
#[case("value-quantity=ap-95", "o6")]
#[case("value-quantity:missing=true", "o1 o4 o5")]
#[case("value-concept=urn:v|pos", "o4")]
#[case("value-string=cafe", "o5")]
#[case("patient=p1", "o1")]
#[case("patient=Patient/p1,Patient/p2", "o1 o2")]
#[case("patient=p9", "o5")]
#[case("subject=p1", "o1 o3")]
#[case("subject=Patient/p1", "o1")]
#[case("subject:Group=p1", "o3")]
#[case("subject:Patient=p1", "o1")]
#[case("subject=https://h.org/fhir/Patient/p1", "o4")]
#[case("performer=Patient/p9", "o4")]
#[case("patient:missing=true", "o3 o6")]
fn observations_are_found(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Observation", &table("Observation", &OBSERVATIONS)), expected);
}

#[rstest]
#[case("url=http://a.org/fhir/ValueSet/x", "v1")]
#[case("url=http://a.org/fhir/ValueSet", "")]
#[case("url:below=http://a.org/fhir/", "v1 v2")]
#[case("url:below=http://a.org/fhir/ValueSet/x", "v1")]
#[case("url:below=http://a.org/fhir/Value", "")]
#[case("url:below=http://a.org/fhir/ValueSet", "v1 v2")]
#[case("url:above=http://a.org/fhir/ValueSet/x/y", "v1")]
#[case("url:above=http://a.org/fhir/ValueSet/x", "v1")]
#[case("url:above=http://a.org/fhir/ValueSet/xyz", "")]
#[case("url=URN:OID:1.2", "")]
#[case("url=http://a.org/fhir/ValueSet/x,urn:oid:1.2.3", "v1 v3")]
#[case("url:missing=true", "v4")]
#[case("title:contains=ALPH", "v4")]
fn uris_are_found(#[case] query: &str, #[case] expected: &str) {
    let table = table(
        "ValueSet",
        &[
            r#"{"resourceType":"ValueSet","id":"v1","status":"active","url":"http://a.org/fhir/ValueSet/x"}"#,
            r#"{"resourceType":"ValueSet","id":"v2","status":"active","url":"http://a.org/fhir/ValueSet/xy"}"#,
            r#"{"resourceType":"ValueSet","id":"v3","status":"active","url":"urn:oid:1.2.3"}"#,
            r#"{"resourceType":"ValueSet","id":"v4","status":"active","title":"An alphabet"}"#,
        ],
    );
    assert_eq!(ids(query, "ValueSet", &table), expected);
}

#[rstest]
#[case("probability=0.8", "r1")]
#[case("probability=0.80", "")]
#[case("probability=gt0.5", "r1")]
#[case("probability=lt0.5", "r2")]
#[case("probability=1e-1", "r2")]
#[case("probability=0.8,0.1", "r1 r2")]
fn numbers_are_found(#[case] query: &str, #[case] expected: &str) {
    let table = table(
        "RiskAssessment",
        &[
            r#"{"resourceType":"RiskAssessment","id":"r1","status":"final","subject":{"reference":"Patient/1"},"prediction":[{"probabilityDecimal":0.77},{"probabilityDecimal":0.3,"rationale":"x"}]}"#,
            r#"{"resourceType":"RiskAssessment","id":"r2","status":"final","subject":{"reference":"Patient/1"},"prediction":[{"probabilityDecimal":0.1}]}"#,
        ],
    );
    // 0.3 of r1 is below 0.5 as well
    let expected = if query == "probability=lt0.5" { "r1 r2" } else { expected };
    assert_eq!(ids(query, "RiskAssessment", &table), expected);
}

#[test]
fn the_escaped_signs_are_part_of_the_value() {
    let table = table(
        "Patient",
        &[
            r#"{"resourceType":"Patient","id":"a","identifier":[{"value":"1|2"}],"name":[{"text":"x\\y"}]}"#,
            r#"{"resourceType":"Patient","id":"b","identifier":[{"system":"1","value":"2"}],"name":[{"text":"x$y"}]}"#,
        ],
    );
    assert_eq!(ids("identifier=1\\|2", "Patient", &table), "a");
    assert_eq!(ids("identifier=1|2", "Patient", &table), "b");
    assert_eq!(ids("name=x\\\\y", "Patient", &table), "a");
    assert_eq!(ids("name=x\\$y", "Patient", &table), "b");
}

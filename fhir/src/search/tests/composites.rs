use rstest::rstest;

use super::*;

const OBSERVATIONS: [&str; 4] = [
    r#"{"resourceType":"Observation","id":"o1","status":"final","code":{"coding":[{"system":"urn:l","code":"panel"}]},
        "component":[{"code":{"coding":[{"system":"urn:l","code":"sys"}]},"valueQuantity":{"value":120,"code":"mm[Hg]","system":"urn:u"}},
                     {"code":{"coding":[{"system":"urn:l","code":"dia"}]},"valueQuantity":{"value":80,"code":"mm[Hg]","system":"urn:u"}}]}"#,
    r#"{"resourceType":"Observation","id":"o2","status":"final","code":{"coding":[{"system":"urn:l","code":"sys"}]},"valueQuantity":{"value":90}}"#,
    r#"{"resourceType":"Observation","id":"o3","status":"final","code":{"coding":[{"code":"smoker"}]},"valueCodeableConcept":{"coding":[{"code":"yes"},{"code":"ja"}]},
        "component":[{"code":{"coding":[{"code":"brand"}]},"valueCodeableConcept":{"coding":[{"code":"x"}]}},{"code":{"coding":[{"code":"shop"}]}}]}"#,
    r#"{"resourceType":"Observation","id":"o4","status":"final","code":{"coding":[{"code":"born"}]},"valueDateTime":"2020-05-01"}"#,
];

#[rstest]
// both of one component: 120 is systolic, 80 is diastolic
#[case("component-code-value-quantity=sys$gt100", "o1")]
#[case("component-code-value-quantity=dia$gt100", "")]
#[case("component-code-value-quantity=dia$80", "o1")]
#[case("component-code-value-quantity=urn:l|dia$lt100|urn:u|mm[Hg]", "o1")]
#[case("component-code-value-quantity=urn:x|dia$lt100", "")]
#[case("component-code-value-quantity=dia$gt100,sys$gt100", "o1")]
#[case("component-code-value-quantity=dia$gt100,sys$lt100", "")]
#[case("component-code-value-concept=brand$x", "o3")]
#[case("component-code-value-concept=shop$x", "")]
// of the resource itself
#[case("code-value-quantity=sys$lt100", "o2")]
#[case("code-value-quantity=sys$gt100", "")]
#[case("code-value-quantity=panel$gt100", "")]
#[case("code-value-concept=smoker$ja", "o3")]
#[case("code-value-concept=smoker$nein", "")]
#[case("code-value-date=born$2020-05", "o4")]
#[case("code-value-date=born$gt2021", "")]
#[case("code-value-date=sys$2020-05", "")]
// of either
#[case("combo-code-value-quantity=sys$gt80", "o1 o2")]
#[case("combo-code-value-quantity=sys$gt100", "o1")]
#[case("combo-code-value-quantity=dia$gt70,sys$lt95", "o1 o2")]
#[case("combo-code-value-concept=brand$x,smoker$yes", "o3")]
fn the_parts_of_a_composite_are_of_one_element(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Observation", &table("Observation", &OBSERVATIONS)), expected);
}

#[test]
fn parts_crossed_in_the_definitions_are_read_as_they_are_named() {
    let document = |id: &str, relates: &str| {
        format!(
            "{{\"resourceType\":\"DocumentReference\",\"id\":\"{id}\",\"status\":\"current\",\"relatesTo\":[{relates}],\"content\":[{{\"attachment\":{{\"title\":\"t\"}}}}]}}"
        )
    };
    let relation = |code: &str, target: &str| {
        format!("{{\"code\":\"{code}\",\"target\":{{\"reference\":\"DocumentReference/{target}\"}}}}")
    };
    let texts = [
        document("d1", &format!("{},{}", relation("replaces", "x"), relation("signs", "y"))),
        document("d2", &relation("signs", "x")),
    ];
    let table = table("DocumentReference", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ids("relationship=DocumentReference/x$replaces", "DocumentReference", &table), "d1");
    assert_eq!(ids("relationship=DocumentReference/x$signs", "DocumentReference", &table), "d2");
    assert_eq!(ids("relationship=DocumentReference/y$signs", "DocumentReference", &table), "d1");
    assert_eq!(ids("relationship=x$signs,y$signs", "DocumentReference", &table), "d1 d2");
}

#[test]
fn composites_of_choices_and_of_three_parts_are_answered() {
    let group = table(
        "Group",
        &[
            r#"{"resourceType":"Group","id":"g1","type":"person","actual":true,"characteristic":[{"code":{"coding":[{"code":"gender"}]},"valueCodeableConcept":{"coding":[{"code":"female"}]},"exclude":false},{"code":{"coding":[{"code":"alive"}]},"valueBoolean":true,"exclude":false}]}"#,
        ],
    );
    assert_eq!(ids("characteristic-value=gender$female", "Group", &group), "g1");
    assert_eq!(ids("characteristic-value=gender$true", "Group", &group), "");
    assert_eq!(ids("characteristic-value=alive$true", "Group", &group), "g1");
    let sequence = table(
        "MolecularSequence",
        &[
            r#"{"resourceType":"MolecularSequence","id":"s1","coordinateSystem":1,"referenceSeq":{"chromosome":{"coding":[{"code":"1"}]},"referenceSeqId":{"coding":[{"code":"NC_1"}]},"windowStart":100,"windowEnd":200},"variant":[{"start":120,"end":130},{"start":300,"end":400}]}"#,
        ],
    );
    assert_eq!(ids("chromosome-window-coordinate=1$gt50$lt250", "MolecularSequence", &sequence), "s1");
    assert_eq!(ids("chromosome-window-coordinate=2$gt50$lt250", "MolecularSequence", &sequence), "");
    // the chromosome is the resource's, start and end are of one variant
    assert_eq!(ids("chromosome-variant-coordinate=1$gt110$lt140", "MolecularSequence", &sequence), "s1");
    assert_eq!(ids("chromosome-variant-coordinate=1$gt250$lt140", "MolecularSequence", &sequence), "");
    assert_eq!(ids("chromosome-variant-coordinate=2$gt110$lt140", "MolecularSequence", &sequence), "");
    assert_eq!(ids("referenceseqid-variant-coordinate=NC_1$gt290$lt500", "MolecularSequence", &sequence), "s1");
}

#[rstest]
#[case("near=48.8566|2.3522|10|km", "paris")]
#[case("near=48.8566|2.3522|400|km", "lyon paris")]
#[case("near=48.8566|2.3522|1|km,45.764|4.8357|1|km", "lyon paris")]
#[case("near=0|0|100|km", "")]
#[case("near:missing=true", "nowhere")]
fn places_are_found_by_where_they_are(#[case] query: &str, #[case] expected: &str) {
    let table = table(
        "Location",
        &[
            r#"{"resourceType":"Location","id":"paris","position":{"longitude":2.3522,"latitude":48.8566}}"#,
            r#"{"resourceType":"Location","id":"lyon","position":{"longitude":4.8357,"latitude":45.7640}}"#,
            r#"{"resourceType":"Location","id":"nowhere","name":"Nowhere"}"#,
        ],
    );
    assert_eq!(ids(query, "Location", &table), expected);
}

/// Every composite parameter of R4 compiles, on every type that has one.
#[test]
fn all_composites_of_all_types_are_answered() {
    use crate::definitions::{ParameterKind, search_parameters};
    let mut count = 0;
    for resource in ResourceType::all() {
        for parameter in search_parameters(resource).iter().filter(|one| one.kind == ParameterKind::Composite) {
            let value = parameter.components.iter().map(|component| match component.kind {
                ParameterKind::Number | ParameterKind::Quantity => "1",
                ParameterKind::Date => "2020",
                _ => "x",
            });
            let query = format!("{}={}", parameter.code, value.collect::<Vec<_>>().join("$"));
            let found = search(resource.name(), &Tables::new(), &query, Handling::Strict);
            assert!(found.is_ok(), "{resource}?{query}: {found:?}");
            count += 1;
        }
    }
    assert_eq!(count, COMPOSITES);
}

const COMPOSITES: usize = 72;

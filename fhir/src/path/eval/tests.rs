#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

//! Single expressions over one patient or observation, with answers worked out by hand from FHIRPath 2.0.

use std::collections::HashMap;

use arrow::{array::Array, util::display::array_value_to_string};
use rstest::rstest;

use super::*;
use crate::{
    ResourceType, json,
    path::{PathError, check::Checker, syntax::Literal},
    shape::{Encoder, Meta},
};

const PATIENT: &str = r##"{"resourceType":"Patient","id":"p","active":true,"birthDate":"1970-06",
    "extension":[{"url":"a","valueCode":"x"},{"url":"b","extension":[{"url":"c","valueInteger":7}]}],
    "name":[{"family":"Alpha","given":["A","B"],"use":"official"},{"family":"beta","given":["C"]},{"given":["A"]}],
    "multipleBirthInteger":3,
    "managingOrganization":{"reference":"Organization/o/_history/2"},
    "generalPractitioner":[{"reference":"http://elsewhere.org/Practitioner/1"},{"reference":"#c"},{"reference":"Practitioner/2"}]}"##;

fn evaluated(resource: &str, expression: &str) -> Result<Vec<String>, String> {
    let value = json::parse(resource.as_bytes()).unwrap();
    let resource_type: ResourceType = value.get_str("resourceType").unwrap().parse().unwrap();
    let mut encoder = Encoder::new(resource_type, None);
    let last_updated = chrono::DateTime::UNIX_EPOCH;
    encoder.push(&value, resource, &Meta { id: "p", version: 1, last_updated, source: "s", run: "r", hash: [0; 16] });
    let batch = encoder.finish().unwrap();
    let constants = HashMap::from([("c".to_owned(), Literal::Text("beta".to_owned()))]);
    let checker = Checker::new(resource_type, &constants);
    let told = |error: PathError| error.to_string();
    let expr = checker.compile(expression, &[checker.root()]).map_err(told)?;
    let resources = Part {
        type_id: checker.root(),
        values: std::sync::Arc::new(arrow::array::StructArray::from(batch)),
        text: None,
    };
    let foci = Items { parts: vec![resources.clone()], owners: vec![0], part: None, index: vec![0] };
    let around = Around::Rows { row_index: None, resources: &resources, resource: &[0] };
    let items = evaluate(&expr, &Scope { foci, count: 1, around }).map_err(|error| error.to_string())?;
    let shown = |item: usize| {
        let values = &items.parts[items.part_of(item)].values;
        assert!(values.is_valid(items.index[item] as usize));
        array_value_to_string(values, items.index[item] as usize).unwrap()
    };
    Ok((0..items.len()).map(shown).collect())
}

#[rstest]
#[case("name.given", &["A", "B", "C", "A"])]
#[case("Patient.name.given", &["A", "B", "C", "A"])]
#[case("name[1].given", &["C"])]
#[case("name.given[1]", &["B"])]
#[case("name.given.first() | name.given.last()", &["A"])]
#[case("name.given | 'Z'", &["A", "B", "C", "Z"])]
#[case("name.given.distinct().count()", &["3"])]
#[case("name.given.isDistinct()", &["false"])]
#[case("name.given.skip(1).take(2)", &["B", "C"])]
#[case("name.given.tail().first()", &["B"])]
#[case("name.where(use = 'official').family", &["Alpha"])]
#[case("name.where(family = %c).given", &["C"])]
#[case("name.where($this.family.exists().not()).given", &["A"])]
#[case("name.where($index > 0).given", &["C", "A"])]
#[case("name.select(given.count())", &["2", "1", "1"])]
#[case("name.select(family & '!')", &["Alpha!", "beta!", "!"])]
#[case("name.family.select($this + '?')", &["Alpha?", "beta?"])]
#[case("name.all(given.exists())", &["true"])]
#[case("name.all(family.exists())", &["false"])]
#[case("name.exists(family = 'beta')", &["true"])]
#[case("name.family.empty()", &["false"])]
#[case("address.empty()", &["true"])]
#[case("address.exists()", &["false"])]
#[case("address.city", &[])]
#[case("name.given.join('-')", &["A-B-C-A"])]
#[case("active and address.exists()", &["false"])]
#[case("active or {}", &["true"])]
#[case("{} or false", &[])]
#[case("{} and false", &["false"])]
#[case("{} implies true", &["true"])]
#[case("true xor active", &["false"])]
#[case("active.not()", &["false"])]
#[case("multipleBirth.ofType(integer) + 1", &["4"])]
#[case("multipleBirth + 0.5", &["3.5"])]
#[case("multipleBirth.ofType(boolean)", &[])]
#[case("multipleBirth is integer", &["true"])]
#[case("(multipleBirth as integer) * 2 - 10 / 4", &["3.5"])]
#[case("7 div 2 + 7 mod 2", &["4"])]
#[case("-multipleBirth.ofType(integer)", &["-3"])]
#[case("1 / 0", &[])]
#[case("0.1 + 0.2 = 0.3", &["true"])]
#[case("1 = 1.0", &["true"])]
#[case("9223372036854775807 + 1", &[])]
#[case("'a' = 'A'", &["false"])]
#[case("'a  b' ~ 'A b'", &["true"])]
#[case("{} = 1", &[])]
#[case("{} ~ {}", &["true"])]
#[case("name.given = name.given", &["true"])]
#[case("name.given = 'A'", &["false"])]
#[case("'B' in name.given", &["true"])]
#[case("name.given contains 'Q'", &["false"])]
#[case("birthDate = @1970-06", &["true"])]
#[case("birthDate = @1970-06-01", &[])]
#[case("birthDate = @1971-06-01", &["false"])]
#[case("birthDate < @1970-07-01", &["true"])]
#[case("birthDate < @1970-06-15", &[])]
#[case("@2020-01-01T10:00:00+02:00 = @2020-01-01T08:00:00Z", &["true"])]
#[case("@T10:00 < @T11:30:00", &["true"])]
#[case("extension('a').value", &["x"])]
#[case("extension('a').value.ofType(string)", &["x"])]
#[case("extension('b').extension('c').value.ofType(integer)", &["7"])]
#[case("getResourceKey()", &["p"])]
#[case("managingOrganization.getReferenceKey()", &["o"])]
#[case("managingOrganization.getReferenceKey(Organization)", &["o"])]
#[case("managingOrganization.getReferenceKey(Patient)", &[])]
#[case("generalPractitioner.getReferenceKey()", &["http://elsewhere.org/Practitioner/1", "2"])]
#[case("name.where(%resource.active).family.first()", &["Alpha"])]
#[case("name.family.first().upper() & name.family.first().substring(1, 2).lower()", &["ALPHAlp"])]
#[case("'Alpha'.startsWith('Al') and 'Alpha'.endsWith('pha') and 'Alpha'.contains('lph')", &["true"])]
#[case("'abc'.matches('^a.c$')", &["true"])]
#[case("'abc'.indexOf('c') + 'abc'.length()", &["5"])]
#[case("'a.b'.replace('.', '-')", &["a-b"])]
#[case("'12'.toInteger() + 1", &["13"])]
#[case("(1.5).round() + (-1.2).abs() + (1.7).floor() + (1.2).ceiling()", &["6.2"])]
#[case("iif(active, 'yes', 'no')", &["yes"])]
#[case("iif(address.exists(), 'yes')", &[])]
#[case("name.given.combine(name.family).count()", &["6"])]
#[case("1 + 2 * 3 = 7 and not_an_element.exists().not()", &["true"])]
#[case("name.family /* both */ // of them", &["Alpha", "beta"])]
#[case("`name`.`family`.first()", &["Alpha"])]
#[case("'it\\'s \\u0041'", &["it's A"])]
fn an_expression_has_its_values(#[case] expression: &str, #[case] values: &[&str]) {
    assert_eq!(evaluated(PATIENT, expression).unwrap(), values);
}

#[rstest]
#[case("name.family < 'x'", "`<` meets more than one value")]
#[case("name.given.single()", "`single()` meets more than one value")]
#[case("name.given and true", "`and` meets more than one value")]
#[case("name.frobnicate()", "the function `frobnicate`")]
#[case("%nothing", "there is no constant `%nothing`")]
#[case("name + 1", "`+` needs numbers, not HumanName")]
#[case("active < true", "`<` needs values with an order, not boolean")]
#[case("birthDate > 5", "`>` compares values of different kinds")]
#[case("name.getReferenceKey()", "something other than a Reference")]
#[case("name.getResourceKey()", "something other than a resource")]
#[case("name.ofType(Nothing)", "there is no type `Nothing`")]
#[case("name.first(1)", "`first()` takes 0 to 0 arguments")]
#[case("4 days", "quantities")]
#[case("name.lowBoundary()", "needs a decimal, date or time")]
#[case("'a'.matches('(')", "the regular expression")]
fn what_has_no_answer_is_an_error(#[case] expression: &str, #[case] message: &str) {
    let error = evaluated(PATIENT, expression).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn no_expression_overflows_the_stack_or_runs_long() {
    for hostile in [
        "(".repeat(10_000),
        "name.".repeat(5_000) + "family",
        "1".to_owned() + &" + 1".repeat(5_000),
        "-".repeat(10_000) + "1",
        "name".to_owned() + &"[0]".repeat(5_000),
        "iif(".repeat(1_000),
        "x".repeat(30_000),
    ] {
        assert!(evaluated(PATIENT, &hostile).is_err());
    }
    let deep = "(".repeat(38) + "1" + &" + 1)".repeat(38) + &" + 1".repeat(400);
    assert_eq!(evaluated(PATIENT, &deep).unwrap(), ["439"]);
    let calls = "name".to_owned() + &".where(true)".repeat(50) + ".count()";
    assert_eq!(evaluated(PATIENT, &calls).unwrap(), ["3"]);
    let within = "iif(true, ".repeat(38) + "1" + &")".repeat(38);
    assert_eq!(evaluated(PATIENT, &within).unwrap(), ["1"]);
}

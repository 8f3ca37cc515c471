//! R4 section 3.1.1.4 by the letter: each table is one paragraph of it.

use rstest::rstest;

use super::*;

fn risks() -> RecordBatch {
    let risk = |id: &str, probability: &str| {
        format!(
            "{{\"resourceType\":\"RiskAssessment\",\"id\":\"{id}\",\"status\":\"final\",\"subject\":{{\"reference\":\"Patient/1\"}},\"prediction\":[{{{probability}}}]}}"
        )
    };
    let decimal = |id: &str, number: &str| risk(id, &format!("\"probabilityDecimal\":{number}"));
    let texts = [
        decimal("n099", "99.49"),
        decimal("n0995", "99.5"),
        decimal("n100", "100"),
        decimal("n1004", "100.4999999999999999999"),
        decimal("n1005", "100.5"),
        decimal("n110", "110"),
        decimal("n94", "94.9"),
        risk("range", "\"probabilityRange\":{\"low\":{\"value\":99.6},\"high\":{\"value\":100.2}}"),
        risk("upto", "\"probabilityRange\":{\"high\":{\"value\":50}}"),
    ];
    table("RiskAssessment", &texts.iter().map(String::as_str).collect::<Vec<_>>())
}

// "Number": the value `100` means [99.5, 100.5), `1e2` [95, 105), `100.00` [99.995, 100.005); other prefixes than eq and ne take
// it as exact
#[rstest]
#[case("100", "n0995 n100 n1004 range")]
#[case("eq100", "n0995 n100 n1004 range")]
#[case("100.00", "n100")]
#[case("100.0", "n100")]
#[case("1e2", "n099 n0995 n100 n1004 n1005 range")]
#[case("1.0e2", "n099 n0995 n100 n1004 n1005 range")]
#[case("1.00e2", "n0995 n100 n1004 range")]
#[case("0.1e3", "n099 n0995 n100 n1004 n1005 n110 n94 range")]
#[case("ne100", "n099 n1005 n110 n94 upto")]
#[case("gt100", "n1004 n1005 n110 range")]
#[case("ge100", "n100 n1004 n1005 n110 range")]
#[case("lt100", "n099 n0995 n94 range upto")]
#[case("le100", "n099 n0995 n100 n94 range upto")]
#[case("sa100", "n1004 n1005 n110")]
#[case("eb100", "n099 n0995 n94 upto")]
#[case("ap100", "n099 n0995 n100 n1004 n1005 n110 n94 range")]
#[case("ap55", "upto")]
#[case("ap60", "")]
#[case("-1e-3", "")]
#[case("94.9,110", "n110 n94")]
fn numbers_have_the_precision_that_they_are_written_with(#[case] value: &str, #[case] expected: &str) {
    // `ap60` is 54 to 66; the one digit of `0.1e3` means 50 to 150
    assert_eq!(ids(&format!("probability={value}"), "RiskAssessment", &risks()), expected, "{value}");
}

#[rstest]
#[case("probability:missing=true", "")]
#[case("probability:missing=false", "n099 n0995 n100 n1004 n1005 n110 n94 range upto")]
// a range that has no lower end has no place in the order: it comes last
#[case("_sort=probability", "n94 n099 n0995 range n100 n1004 n1005 n110 upto")]
fn numbers_may_be_missing_and_have_an_order(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "RiskAssessment", &risks()), expected);
}

const NAMES: [&str; 6] = [
    r#"{"resourceType":"Patient","id":"composed","name":[{"family":"Éluard","given":["Paul"]}]}"#,
    r#"{"resourceType":"Patient","id":"decomposed","name":[{"family":"E\u0301LUARD"}]}"#,
    r#"{"resourceType":"Patient","id":"plain","name":[{"family":"eluard-grindel","suffix":["Jr"]}],"active":true}"#,
    r#"{"resourceType":"Patient","id":"sharp","name":[{"family":"Strauß","prefix":["Dr."]}],"active":false}"#,
    r#"{"resourceType":"Patient","id":"turkish","name":[{"family":"İnönü","text":"İsmet İnönü"}]}"#,
    r#"{"resourceType":"Patient","id":"wide","name":[{"family":"Ｓｍｉｔｈ"}]}"#,
];

// "String": without regard to case, accents and other marks, from the beginning; `:contains` anywhere, `:exact` as it stands
#[rstest]
#[case("family=eluard", "composed decomposed plain")]
#[case("family=ÉLUARD", "composed decomposed plain")]
#[case("family=e\u{301}luard", "composed decomposed plain")]
#[case("family=luard", "")]
#[case("family:contains=LUARD", "composed decomposed plain")]
#[case("family:contains=d-g", "plain")]
#[case("family:exact=Éluard", "composed")]
#[case("family:exact=E\u{301}LUARD", "decomposed")]
#[case("family:exact=éluard", "")]
#[case("family:exact=Éluar", "")]
#[case("family=strauss", "sharp")]
#[case("family=STRAUSS", "sharp")]
#[case("family=strauß", "sharp")]
#[case("family=inonu", "turkish")]
#[case("family=İNÖNÜ", "turkish")]
#[case("family=smith", "wide")]
#[case("name=dr", "sharp")]
#[case("name=jr", "plain")]
#[case("name=ismet", "turkish")]
#[case("name:contains=met ino", "turkish")]
#[case("name:exact=Paul", "composed")]
#[case("phonetic=paul", "composed")]
#[case("given=paul,anna", "composed")]
#[case("given:missing=false", "composed")]
// token on a boolean: its system is that of truths
#[case("active=true", "plain")]
#[case("active=true,false", "plain sharp")]
#[case("active=http://hl7.org/fhir/special-values|true", "plain")]
#[case("active=http://terminology.hl7.org/CodeSystem/special-values|false", "sharp")]
#[case("active=http://example.org|true", "")]
#[case("active=|true", "")]
#[case("active:not=false", "composed decomposed plain turkish wide")]
#[case("active:missing=true", "composed decomposed turkish wide")]
#[case("deceased=true", "")]
#[case("deceased=http://example.org|false", "")]
#[case("deceased:missing=true", "composed decomposed plain sharp turkish wide")]
fn texts_are_compared_without_case_and_marks(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Patient", &table("Patient", &NAMES)), expected);
}

const CONTACTS: [&str; 3] = [
    r#"{"resourceType":"Patient","id":"home","telecom":[{"system":"phone","use":"home","value":"555"}],"identifier":[{"system":"urn:oid:1.2","value":"A"},{"value":"B"}]}"#,
    r#"{"resourceType":"Patient","id":"mail","telecom":[{"system":"email","value":"A@b.org"}],"identifier":[{"system":"urn:oid:1.3","value":"A","type":{"coding":[{"system":"urn:t","code":"MR"}],"text":"Medical record"}}]}"#,
    r#"{"resourceType":"Patient","id":"work","telecom":[{"system":"phone","use":"work","value":"555"},{"system":"email","use":"home","value":"c@d.org"}],"identifier":[{"value":"A","type":{"coding":[{"system":"urn:t","code":"SS"}]}}]}"#,
];

// "Token": `code`, `system|code`, `|code` (it has no system), `system|`
#[rstest]
#[case("telecom=555", "home work")]
#[case("telecom=home|555", "home")]
#[case("telecom=work|555", "work")]
#[case("telecom=phone|555", "home work")]
#[case("telecom=email|555", "")]
#[case("telecom=|a@b.org", "mail")]
#[case("telecom=|555", "")]
#[case("telecom=home|", "home work")]
#[case("phone=555", "home work")]
#[case("email=c@d.org", "work")]
#[case("email=home|c@d.org", "work")]
#[case("phone:missing=true", "mail")]
#[case("identifier=A", "home mail work")]
#[case("identifier=a", "home mail work")]
#[case("identifier=|A", "work")]
#[case("identifier=|B", "home")]
#[case("identifier=urn:oid:1.2|A", "home")]
#[case("identifier=URN:OID:1.2|A", "")]
#[case("identifier=urn:oid:1.2|", "home")]
#[case("identifier=urn:oid:1.3|B,|A", "work")]
#[case("identifier:not=urn:oid:1.2|A", "mail work")]
#[case("identifier:of-type=urn:t|MR|A", "mail")]
#[case("identifier:of-type=urn:t|MR|A,urn:t|SS|a", "mail work")]
#[case("identifier:of-type=|SS|A", "work")]
#[case("identifier:text=MEDICAL", "mail")]
fn tokens_are_told_by_system_and_code(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Patient", &table("Patient", &CONTACTS)), expected);
}

const TAGGED: [&str; 3] = [
    r#"{"resourceType":"Patient","id":"a","meta":{"tag":[{"system":"urn:t","code":"x","display":"Ex"},{"code":"y"}],"profile":["http://p.org/one","http://p.org/two|1"],"security":[{"system":"urn:s","code":"R"}],"source":"http://src.org/a#1"}}"#,
    r#"{"resourceType":"Patient","id":"b","meta":{"tag":[{"system":"urn:u","code":"x"}],"profile":["http://p.org/two"],"source":"urn:uuid:1"}}"#,
    r#"{"resourceType":"Patient","id":"c"}"#,
];

#[rstest]
#[case("_tag=x", "a b")]
#[case("_tag=urn:t|x", "a")]
#[case("_tag=|y", "a")]
#[case("_tag=urn:u|", "b")]
#[case("_tag:not=x", "c")]
#[case("_tag:text=ex", "a")]
#[case("_tag:missing=true", "c")]
#[case("_security=r", "a")]
#[case("_security=urn:s|R", "a")]
#[case("_security:missing=false", "a")]
#[case("_profile=http://p.org/one", "a")]
#[case("_profile=http://p.org/two", "b")]
#[case("_profile=http://p.org/two|1", "a")]
#[case("_profile=http://P.org/one", "")]
#[case("_profile:below=http://p.org/two", "a b")]
#[case("_profile:below=http://p.org", "a b")]
#[case("_profile:above=http://p.org/one/more", "a")]
#[case("_profile:missing=true", "c")]
#[case("_source=http://src.org/a#1", "a")]
#[case("_source:below=http://src.org/a", "a")]
#[case("_source=urn:uuid:1", "b")]
#[case("_id=a,c", "a c")]
#[case("_id:not=a,c", "b")]
#[case("_id:missing=false", "a b c")]
#[case("_lastUpdated=2024-01-01T01:00:00Z", "b")]
#[case("_lastUpdated=2024-01-01T02:00:00+01:00", "b")]
#[case("_lastUpdated=ne2024-01-01T01:00:00Z", "a c")]
#[case("_lastUpdated=gt2024-01-01T01:00:00Z", "c")]
#[case("_lastUpdated=ge2024-01-01T01:00:00Z", "b c")]
#[case("_lastUpdated=lt2024-01-01T01:00:00Z", "a")]
#[case("_lastUpdated=le2024-01-01T01:00:00Z", "a b")]
#[case("_lastUpdated=sa2024-01-01T01:00:00Z", "c")]
#[case("_lastUpdated=eb2024-01-01T01:00:00Z", "a")]
#[case("_lastUpdated=ap2024-01-01T01:00:00Z", "b")]
#[case("_lastUpdated=ge2024-01-01T01:00:00Z&_lastUpdated=lt2024-01-01T02:00:00Z", "b")]
#[case("_lastUpdated=2023", "")]
#[case("_lastUpdated:missing=false", "a b c")]
fn what_every_resource_has_is_searched(#[case] query: &str, #[case] expected: &str) {
    // a tenth of the hour between now and the time asked for is six minutes
    assert_eq!(ids(query, "Patient", &table("Patient", &TAGGED)), expected);
}

fn charges() -> RecordBatch {
    table(
        "Invoice",
        &[
            r#"{"resourceType":"Invoice","id":"euro","status":"issued","totalNet":{"value":12.50,"currency":"EUR"}}"#,
            r#"{"resourceType":"Invoice","id":"dollar","status":"issued","totalNet":{"value":12.5,"currency":"USD"}}"#,
        ],
    )
}

#[rstest]
#[case("totalnet=12.5", "dollar euro")]
#[case("totalnet=12.50|urn:iso:std:iso:4217|EUR", "euro")]
#[case("totalnet=12.50||USD", "dollar")]
#[case("totalnet=12.50|urn:iso:std:iso:4218|EUR", "")]
#[case("totalnet=gt12.49|urn:iso:std:iso:4217|USD", "dollar")]
#[case("totalnet=gt12.5", "")]
fn money_is_a_quantity_of_its_currency(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Invoice", &charges()), expected);
}

const SERIES: [&str; 3] = [
    // 100, 101, 104.5 and what could not be measured
    r#"{"resourceType":"Observation","id":"series","status":"final","code":{"text":"x"},"valueSampledData":{"origin":{"value":100,"system":"urn:u","code":"mV","unit":"millivolt"},"period":10,"factor":0.5,"dimensions":1,"data":"0 2 E 9 L U"}}"#,
    r#"{"resourceType":"Observation","id":"plain","status":"final","code":{"text":"x"},"valueQuantity":{"value":101,"system":"urn:u","code":"mV"},"component":[{"code":{"text":"c"},"valueSampledData":{"origin":{"value":0},"period":1,"dimensions":1,"data":"7 8"}}]}"#,
    r#"{"resourceType":"Observation","id":"none","status":"final","code":{"text":"x"},"valueSampledData":{"origin":{"value":5},"period":10,"dimensions":1}}"#,
];

#[rstest]
#[case("value-quantity=101", "plain series")]
#[case("value-quantity=104.5", "series")]
#[case("value-quantity=102", "")]
#[case("value-quantity=gt104", "series")]
#[case("value-quantity=lt100", "")]
#[case("value-quantity=le100", "series")]
#[case("value-quantity=5", "")]
#[case("value-quantity=104.5|urn:u|mV", "series")]
#[case("value-quantity=104.5||millivolt", "series")]
#[case("value-quantity=104.5||V", "")]
#[case("value-quantity:missing=false", "none plain series")]
#[case("component-value-quantity=8", "plain")]
#[case("combo-value-quantity=7,104.5", "plain series")]
fn a_series_is_found_by_any_value_that_was_measured(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Observation", &table("Observation", &SERIES)), expected);
}

const REFERRING: [&str; 5] = [
    r#"{"resourceType":"Observation","id":"abs","status":"final","code":{"text":"x"},"subject":{"reference":"http://far.org/fhir/Patient/1"}}"#,
    r#"{"resourceType":"Observation","id":"group","status":"final","code":{"text":"x"},"subject":{"reference":"Group/1"}}"#,
    r#"{"resourceType":"Observation","id":"logical","status":"final","code":{"text":"x"},"subject":{"type":"Patient","identifier":{"system":"urn:i","value":"77"}}}"#,
    r#"{"resourceType":"Observation","id":"pat","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/1"}}"#,
    r#"{"resourceType":"Observation","id":"ver","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/1/_history/2"}}"#,
];

// "Reference": `id`, `Type/id`, a URL; `:Type`, `:identifier`
#[rstest]
#[case("subject=1", "group pat ver")]
#[case("subject=Patient/1", "pat ver")]
#[case("subject=Patient/1/_history/9", "pat ver")]
#[case("subject:Patient=1", "pat ver")]
#[case("subject:Group=1", "group")]
#[case("subject:Patient=Patient/1", "pat ver")]
#[case("subject:Device=1", "")]
#[case("patient=1", "pat ver")]
#[case("subject=https://here.org/fhir/Patient/1", "pat ver")]
#[case("subject=http://far.org/fhir/Patient/1", "abs")]
#[case("subject=http://far.org/fhir/Patient/2", "")]
#[case("subject=Group/1,http://far.org/fhir/Patient/1", "abs group")]
#[case("subject:identifier=urn:i|77", "logical")]
#[case("subject:identifier=77", "logical")]
#[case("subject:identifier=|77", "")]
#[case("subject:missing=true", "")]
#[case("encounter:missing=true", "abs group logical pat ver")]
fn references_are_told_by_id_type_url_and_identifier(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Observation", &table("Observation", &REFERRING)), expected);
}

const ESCAPED: [&str; 4] = [
    r#"{"resourceType":"Patient","id":"comma","name":[{"family":"a,b"}],"identifier":[{"system":"s","value":"x,y"}]}"#,
    r#"{"resourceType":"Patient","id":"dollar","name":[{"family":"a$b"}],"identifier":[{"system":"s","value":"x$y"}]}"#,
    r#"{"resourceType":"Patient","id":"pipe","name":[{"family":"a|b"}],"identifier":[{"system":"s|t","value":"x|y"}]}"#,
    r#"{"resourceType":"Patient","id":"slash","name":[{"family":"a\\b"}],"identifier":[{"system":"s","value":"x\\,y"}]}"#,
];

#[rstest]
#[case("family=a\\,b", "comma")]
#[case("family=a,b", "comma dollar pipe slash")]
#[case("family=a\\$b", "dollar")]
#[case("family=a$b", "dollar")]
#[case("family=a\\|b", "pipe")]
#[case("family=a|b", "pipe")]
#[case("family=a\\\\b", "slash")]
#[case("family:exact=a\\,b,a\\$b", "comma dollar")]
#[case("identifier=x\\,y", "comma")]
#[case("identifier=s|x\\,y", "comma")]
#[case("identifier=s\\|t|x\\|y", "pipe")]
#[case("identifier=x\\|y", "pipe")]
#[case("identifier=x$y", "dollar")]
#[case("identifier=x\\\\\\,y", "slash")]
#[case("identifier=x\\,y,x\\|y", "comma pipe")]
fn escaped_signs_are_the_signs(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Patient", &table("Patient", &ESCAPED)), expected);
}

const NESTED: [&str; 3] = [
    r#"{"resourceType":"Observation","id":"both","status":"final","code":{"text":"x"},"component":[{"code":{"coding":[{"code":"c"}]}},{"code":{"text":"d"},"valueQuantity":{"value":1}}]}"#,
    r#"{"resourceType":"Observation","id":"code","status":"final","code":{"text":"x"},"component":[{"code":{"text":"d"}}]}"#,
    r#"{"resourceType":"Observation","id":"none","status":"final","code":{"text":"x"}}"#,
];

#[rstest]
#[case("component-code:missing=true", "none")]
#[case("component-code:missing=false", "both code")]
#[case("component-value-quantity:missing=true", "code none")]
#[case("component-value-quantity:missing=false", "both")]
#[case("component-code:not=c", "code none")]
#[case("component-code:text=d", "both code")]
#[case("combo-code:missing=true", "")]
fn nested_elements_may_be_missing(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Observation", &table("Observation", &NESTED)), expected);
}

const MEASURED: [&str; 7] = [
    r#"{"resourceType":"Observation","id":"g","status":"final","code":{"text":"x"},"valueQuantity":{"value":0.0054,"system":"http://unitsofmeasure.org","code":"g"}}"#,
    r#"{"resourceType":"Observation","id":"local","status":"final","code":{"text":"x"},"valueQuantity":{"value":5.4,"system":"urn:local","code":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"mg","status":"final","code":{"text":"x"},"valueQuantity":{"value":5.40,"unit":"milligram","system":"http://unitsofmeasure.org","code":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"ml","status":"final","code":{"text":"x"},"valueQuantity":{"value":5.4,"system":"http://unitsofmeasure.org","code":"mL"}}"#,
    r#"{"resourceType":"Observation","id":"nocode","status":"final","code":{"text":"x"},"valueQuantity":{"value":5.4,"unit":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"odd","status":"final","code":{"text":"x"},"valueQuantity":{"value":5.4,"system":"http://unitsofmeasure.org","code":"Cel"}}"#,
    r#"{"resourceType":"Observation","id":"ug","status":"final","code":{"text":"x"},"valueQuantity":{"value":5440,"system":"http://unitsofmeasure.org","code":"ug"},"component":[{"code":{"text":"c"},"valueQuantity":{"value":2,"system":"http://unitsofmeasure.org","code":"h"}}]}"#,
];

// "Quantity": number, number|system|code, number||code (the code or the unit as people write it); of UCUM's units those that
// measure the same convert
#[rstest]
#[case("value-quantity=5.4", "local mg ml nocode odd")]
#[case("value-quantity=5.4|http://unitsofmeasure.org|mg", "g mg ug")]
#[case("value-quantity=5.40|http://unitsofmeasure.org|mg", "g mg")]
#[case("value-quantity=0.0054|http://unitsofmeasure.org|g", "g mg ug")]
#[case("value-quantity=5400|http://unitsofmeasure.org|ug", "g mg")]
#[case("value-quantity=5.4e3|http://unitsofmeasure.org|ug", "g mg ug")]
#[case("value-quantity=gt5.4|http://unitsofmeasure.org|mg", "ug")]
#[case("value-quantity=ge5.4|http://unitsofmeasure.org|mg", "g mg ug")]
#[case("value-quantity=lt5.41|http://unitsofmeasure.org|mg", "g mg")]
#[case("value-quantity=le0.0054|http://unitsofmeasure.org|g", "g mg")]
#[case("value-quantity=ne5.40|http://unitsofmeasure.org|mg", "ug")]
#[case("value-quantity=sa5.4|http://unitsofmeasure.org|mg", "ug")]
#[case("value-quantity=eb5.44|http://unitsofmeasure.org|mg", "g mg")]
#[case("value-quantity=ap6|http://unitsofmeasure.org|mg", "g mg ug")]
#[case("value-quantity=5.4||mg", "local mg nocode")]
#[case("value-quantity=5.4||milligram", "mg")]
#[case("value-quantity=5.4|urn:local|mg", "local")]
#[case("value-quantity=5.4|http://unitsofmeasure.org|Cel", "odd")]
#[case("value-quantity=5.4|http://unitsofmeasure.org|MG", "")]
#[case("value-quantity=gt100|http://unitsofmeasure.org|kg", "")]
#[case("value-quantity=gt0|http://unitsofmeasure.org|L", "ml")]
#[case("component-value-quantity=120|http://unitsofmeasure.org|min", "ug")]
#[case("component-value-quantity=7200|http://unitsofmeasure.org|s", "ug")]
#[case("_sort=value-quantity&value-quantity=5.4||mg", "local mg nocode")]
fn quantities_are_told_by_number_and_unit(#[case] query: &str, #[case] expected: &str) {
    assert_eq!(ids(query, "Observation", &table("Observation", &MEASURED)), expected);
}

fn ranges() -> RecordBatch {
    let condition = |id: &str, onset: &str| {
        format!(
            "{{\"resourceType\":\"Condition\",\"id\":\"{id}\",\"subject\":{{\"reference\":\"Patient/1\"}},{onset}}}"
        )
    };
    let years = |value: &str| format!("{{\"value\":{value},\"system\":\"http://unitsofmeasure.org\",\"code\":\"a\"}}");
    let texts = [
        condition("age", &format!("\"onsetAge\":{}", years("40"))),
        condition("from", &format!("\"onsetRange\":{{\"low\":{}}}", years("50"))),
        condition("range", &format!("\"onsetRange\":{{\"low\":{},\"high\":{}}}", years("39.6"), years("40.2"))),
        condition("wide", &format!("\"onsetRange\":{{\"low\":{},\"high\":{}}}", years("20"), years("60"))),
    ];
    table("Condition", &texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[rstest]
#[case("40", "age range")]
#[case("ne40", "from wide")]
#[case("gt40", "from range wide")]
#[case("ge40", "age from range wide")]
#[case("lt40", "range wide")]
#[case("le40", "age range wide")]
#[case("sa40", "from")]
#[case("eb41", "age range")]
#[case("ap40", "age range wide")]
#[case("480|http://unitsofmeasure.org|mo", "age")]
#[case("gt481|http://unitsofmeasure.org|mo", "from range wide")]
fn a_range_is_compared_by_both_of_its_ends(#[case] value: &str, #[case] expected: &str) {
    // 40.2 years are 482.4 months
    assert_eq!(ids(&format!("onset-age={value}"), "Condition", &ranges()), expected);
}

const LIMITS: [&str; 5] = [
    r#"{"resourceType":"Observation","id":"at","status":"final","code":{"text":"x"},"valueQuantity":{"value":5,"system":"http://unitsofmeasure.org","code":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"below","status":"final","code":{"text":"x"},"valueQuantity":{"value":5,"comparator":"<","system":"http://unitsofmeasure.org","code":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"from","status":"final","code":{"text":"x"},"valueQuantity":{"value":5,"comparator":">=","system":"http://unitsofmeasure.org","code":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"over","status":"final","code":{"text":"x"},"valueQuantity":{"value":0.005,"comparator":">","system":"http://unitsofmeasure.org","code":"g"}}"#,
    r#"{"resourceType":"Observation","id":"upto","status":"final","code":{"text":"x"},"valueQuantity":{"value":5,"comparator":"<=","system":"http://unitsofmeasure.org","code":"mg"}}"#,
];

// a comparator modifies what the value means: `< 5` is everything below 5, and equal to no number
#[rstest]
#[case("5", "at")]
#[case("ne5", "below from over upto")]
#[case("gt5", "from over")]
#[case("ge5", "at from over upto")]
#[case("lt5", "below upto")]
#[case("le5", "at below from upto")]
#[case("sa5", "over")]
#[case("eb5", "below")]
#[case("gt4", "at below from over upto")]
#[case("sa4", "at from over")]
#[case("lt6", "at below from over upto")]
#[case("eb6", "at below upto")]
#[case("ap9", "from over")]
#[case("ap5", "at below from over upto")]
fn a_comparator_makes_a_value_open_to_one_side(#[case] value: &str, #[case] expected: &str) {
    let query = format!("value-quantity={value}|http://unitsofmeasure.org|mg");
    assert_eq!(ids(&query, "Observation", &table("Observation", &LIMITS)), expected);
}

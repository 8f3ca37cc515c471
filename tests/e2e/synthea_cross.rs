//! Hundreds of searches made of what the synthetic patients hold, each against a plain reader's answer.

use std::collections::{BTreeMap, BTreeSet};

use mavis_tests::{Server, shared};
use serde_json::Value;

use crate::plain::{Kind, PARAMETERS, Parameter, REFERENCES, Reader, at, date};

const PREFIXES: [&str; 8] = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"];

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'=' | b'&' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Two values of a parameter, from different places.
fn samples<'r>(reader: &'r Reader, parameter: &Parameter) -> Vec<&'r Value> {
    let values: Vec<&Value> = reader.all(parameter.of).iter().flat_map(|one| parameter.values(one)).collect();
    match values.len() {
        0 => Vec::new(),
        1 => values,
        many => vec![values[many / 3], values[many * 2 / 3]],
    }
}

fn first_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => items.iter().find_map(first_text),
        Value::Object(_) => ["family", "city", "line", "text"].iter().find_map(|name| first_text(&value[*name])),
        _ => None,
    }
}

/// Values of a query, as `modifier=value`; `turn` picks other prefixes for other parameters.
fn questions(parameter: &Parameter, value: &Value, turn: usize) -> Vec<String> {
    let mut all = Vec::new();
    match parameter.kind {
        Kind::Token => {
            let coding = at(value, "coding").first().copied().unwrap_or(value);
            let code = match coding {
                Value::String(code) => code.clone(),
                Value::Bool(truth) => truth.to_string(),
                coding => coding["code"].as_str().or(coding["value"].as_str()).unwrap_or_default().to_owned(),
            };
            all.push(format!("={code}"));
            let loud = if coding.is_boolean() { code.clone() } else { code.to_uppercase() };
            all.push(format!(":not={loud}"));
            if let Some(system) = coding["system"].as_str() {
                all.push(format!("={system}|{code}"));
                // what stands before the `|` of a telecom has two readings
                let is_telecom = matches!(parameter.code, "telecom" | "phone" | "email");
                let of_none = !turn.is_multiple_of(2) && !is_telecom;
                all.push(if of_none { format!("=|{code}") } else { format!("={system}|") });
            }
            if let Some(text) = value["text"].as_str().or(coding["display"].as_str()) {
                all.push(format!(":text={}", text.split(' ').next().unwrap_or_default().to_uppercase()));
            }
        }
        Kind::Text => {
            let Some(text) = first_text(value) else { return all };
            let letters: Vec<char> = text.chars().collect();
            let part = |from: usize, to: usize| letters[from..to.min(letters.len())].iter().collect::<String>();
            all.push(format!("={}", part(0, 3).to_uppercase()));
            all.push(format!(":exact={text}"));
            all.push(format!(":contains={}", part(1.min(letters.len() - 1), 5).to_lowercase()));
        }
        Kind::Date => {
            let text = value.as_str().or(value["start"].as_str()).or(value["end"].as_str()).unwrap_or_default();
            let shapes = [&text[..text.len().min(10)], &text[..7], &text[..4], text];
            let prefixes: Vec<&str> = if matches!(parameter.of, "Observation" | "Encounter" | "CarePlan") {
                PREFIXES.to_vec()
            } else {
                (0..3).map(|step| PREFIXES[(turn * 3 + step) % 8]).collect()
            };
            for (step, prefix) in prefixes.into_iter().enumerate() {
                all.push(format!("={prefix}{}", shapes[(turn + step) % 4]));
            }
        }
        Kind::Quantity => {
            let (number, unit) = (&value["value"], value["code"].as_str().unwrap_or_default());
            let number = number.as_f64().map(|number| number.to_string()).unwrap_or_default();
            for prefix in PREFIXES {
                all.push(format!("={prefix}{number}"));
                all.push(format!("={prefix}{number}|http://unitsofmeasure.org|{unit}"));
            }
            let short = number.split('.').next().unwrap_or_default();
            all.extend([format!("={number}||{unit}"), format!("={short}||{unit}"), format!("={number}||no")]);
        }
        Kind::Reference => {
            let Some((target, id)) = value["reference"].as_str().and_then(|text| text.split_once('/')) else {
                return all;
            };
            all.extend([format!("={target}/{id}"), format!("={id}"), format!(":{target}={id}")]);
        }
        Kind::Uri => all.extend(value.as_str().map(|uri| format!("={uri}"))),
    }
    // the reader takes no escapes
    all.retain(|question| !question.contains(['\\', '$']) && question.matches('|').count() < 3);
    all
}

/// Types and queries.
fn searches(reader: &Reader) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    let mut one_of: BTreeMap<(&str, Sort), String> = BTreeMap::new();
    for (turn, parameter) in PARAMETERS.iter().enumerate().filter(|(_, one)| one.of != "*") {
        for (index, value) in samples(reader, parameter).into_iter().enumerate() {
            if value.as_str().is_some_and(|text| text.contains(',')) {
                continue;
            }
            for (place, question) in questions(parameter, value, turn + index).into_iter().enumerate() {
                let query = format!("{}{question}", parameter.code);
                if place == 0 {
                    one_of.entry((parameter.of, Sort::of(parameter.kind))).or_insert_with(|| query.clone());
                }
                // of the second value one question is enough
                if index == 0 || place == 0 {
                    all.push((parameter.of, query));
                }
            }
        }
        if turn.is_multiple_of(3) {
            all.push((parameter.of, format!("{}:missing={}", parameter.code, turn.is_multiple_of(2))));
        }
    }
    for (kind, code, target) in REFERENCES {
        for of in [Sort::Token, Sort::Date, Sort::Text] {
            if let Some(query) = one_of.get(&(*target, of)) {
                all.push((kind, format!("{code}:{target}.{query}")));
            }
            if let Some(query) = one_of.get(&(*kind, of)) {
                all.push((target, format!("_has:{kind}:{code}:{query}")));
            }
        }
    }
    for (kind, query) in [
        ("Observation", "encounter:Encounter.subject:Patient.gender=female"),
        ("Observation", "encounter:Encounter.service-provider:Organization.name=m"),
        ("DiagnosticReport", "result:Observation.encounter:Encounter.class=AMB"),
        ("Patient", "_has:Observation:subject:_has:DiagnosticReport:result:status=final"),
        ("Patient", "_has:Encounter:subject:participant:Practitioner.gender=male"),
        ("Observation", "encounter:Encounter._has:Condition:encounter:clinical-status=active"),
        ("Observation", "code=8302-2,29463-7&date=ge2015&subject:Patient.gender=male"),
        ("Observation", "code=8302-2&date=ge2012&date=lt2014-06"),
        ("Observation", "combo-code=8480-6&combo-value-quantity=gt140"),
        ("Observation", "_profile=http://hl7.org/fhir/StructureDefinition/vitalsigns&status=final"),
        ("Observation", "code-value-quantity=8302-2$gt170"),
        ("Observation", "code-value-quantity=http://loinc.org|8302-2$lt1.2|http://unitsofmeasure.org|cm,29463-7$ge90"),
        ("Observation", "code-value-concept=72166-2$266919005"),
        ("Observation", "component-code-value-quantity=8480-6$gt130"),
        ("Observation", "component-code-value-quantity=8462-4$gt130"),
        ("Observation", "component-code-value-quantity=8480-6$le120|http://unitsofmeasure.org|mm[Hg],8462-4$ge95"),
        ("Observation", "combo-code-value-quantity=8462-4$lt75,8302-2$sa180"),
        ("Patient", "_has:Observation:subject:code-value-quantity=8302-2$gt180"),
        ("Condition", "clinical-status:not=active,resolved"),
        ("Encounter", "class=EMER,IMP&date=sa2018"),
        ("Patient", "gender=female&birthdate=lt1960-06&death-date:missing=true"),
    ] {
        all.push((kind, query.to_owned()));
    }
    all
}

/// Which kinds of questions chains are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Token,
    Date,
    Text,
    Other,
}

impl Sort {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Token => Self::Token,
            Kind::Date => Self::Date,
            Kind::Text => Self::Text,
            _ => Self::Other,
        }
    }
}

async fn bundle(server: &Server, path: &str) -> Value {
    let answer = server.request("GET", &encoded_path(path), &[("prefer", "handling=strict")], None).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().unwrap()
}

fn encoded_path(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap();
    format!("{path}?{}", encoded(query))
}

fn ids(bundle: &Value, mode: &str) -> BTreeSet<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let of_mode = entries.filter(|entry| entry["search"]["mode"] == mode);
    of_mode.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn searches_find_what_a_plain_reader_of_the_bundles_finds() {
    let Some(folder) = shared("data/synthea-120") else { return };
    let server = Server::start().await.unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap()]).unwrap().ok().unwrap();
    let reader = Reader::of_bundles(&folder);
    let searches = searches(&reader);
    let mut telling = 0;
    let mut wrong: Vec<String> = Vec::new();
    for (kind, query) in &searches {
        let expected = reader.search(kind, query);
        telling += usize::from(!expected.is_empty() && expected.len() < reader.all(kind).len());
        let counted = bundle(&server, &format!("/fhir/{kind}?{query}&_summary=count")).await;
        if counted["total"] != expected.len() {
            wrong.push(format!("{kind}?{query}: {} and not {}", counted["total"], expected.len()));
        } else if (1..=60).contains(&expected.len()) {
            let found = bundle(&server, &format!("/fhir/{kind}?{query}&_elements=id&_count=1000")).await;
            if ids(&found, "match") != expected {
                wrong.push(format!("{kind}?{query}: as many, but others"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} searches:\n{}", wrong.len(), searches.len(), wrong.join("\n"));
    assert!(searches.len() > 300 && telling > 200, "{} searches, {telling} of them tell something", searches.len());

    sorted(&server, &reader).await;
    together(&server, &reader).await;
    compartments(&server, &reader).await;
}

async fn sorted(server: &Server, reader: &Reader) {
    let times = |of: &Value| date(of.as_str().unwrap()).0;
    let heights = reader.search("Observation", "code=8302-2");
    let mut expected: Vec<i64> = reader
        .all("Observation")
        .iter()
        .filter(|one| heights.contains(one["id"].as_str().unwrap()))
        .map(|one| times(&one["effectiveDateTime"]))
        .collect();
    expected.sort_unstable();
    let resources = async |query: &str| -> Vec<Value> {
        let found = bundle(server, &format!("/fhir/{query}")).await;
        found["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect()
    };
    let found = resources("Observation?code=8302-2&_sort=date&_count=300").await;
    let dates: Vec<i64> = found.iter().map(|one| times(&one["effectiveDateTime"])).collect();
    assert_eq!(dates, expected[..300]);
    let found = resources("Observation?code=8302-2&_sort=-date&_count=300").await;
    let dates: Vec<i64> = found.iter().map(|one| times(&one["effectiveDateTime"])).collect();
    assert_eq!(dates, expected.iter().rev().take(300).copied().collect::<Vec<_>>());

    let mut expected: Vec<(String, i64)> = reader
        .all("Patient")
        .iter()
        .map(|one| (one["gender"].as_str().unwrap().to_owned(), -times(&one["birthDate"])))
        .collect();
    expected.sort();
    let found = resources("Patient?_sort=gender,-birthdate&_count=1000").await;
    let keys: Vec<(String, i64)> =
        found.iter().map(|one| (one["gender"].as_str().unwrap().to_owned(), -times(&one["birthDate"]))).collect();
    assert_eq!(keys, expected);
}

async fn together(server: &Server, reader: &Reader) {
    let targets = |kind: &str, of: &BTreeSet<String>, path: &str| -> BTreeSet<String> {
        let matches = reader.all(kind).iter().filter(|one| of.contains(one["id"].as_str().unwrap()));
        let references = matches.flat_map(|one| at(one, path)).filter_map(|one| one["reference"].as_str());
        references.filter_map(|one| one.split_once('/')).map(|(_, id)| id.to_owned()).collect()
    };
    let emergencies = reader.search("Encounter", "class=EMER");
    let mut expected = targets("Encounter", &emergencies, "subject");
    expected.extend(targets("Encounter", &emergencies, "serviceProvider"));
    let query = "Encounter?class=EMER&_count=1000&_include=Encounter:subject&_include=Encounter:service-provider";
    let found = bundle(server, &format!("/fhir/{query}")).await;
    assert!(!expected.is_empty() && ids(&found, "match") == emergencies);
    assert_eq!(ids(&found, "include"), expected);

    let patient = reader.all("Patient")[7]["id"].as_str().unwrap();
    let mut expected = reader.search("Condition", &format!("patient=Patient/{patient}"));
    expected.extend(targets("Condition", &expected, "encounter"));
    let query =
        format!("Patient?_id={patient}&_revinclude=Condition:patient&_include:iterate=Condition:encounter&_count=1");
    let found = bundle(server, &format!("/fhir/{query}")).await;
    assert!(!expected.is_empty());
    assert_eq!(ids(&found, "include"), expected);
}

async fn compartments(server: &Server, reader: &Reader) {
    let encounter = reader.search("Encounter", "class=EMER").into_iter().next().unwrap();
    let found = bundle(server, &format!("/fhir/Encounter/{encounter}/Observation?_count=1000")).await;
    assert_eq!(ids(&found, "match"), reader.search("Observation", &format!("encounter=Encounter/{encounter}")));
    // the types that the definition names and the data have, each with where it refers to an encounter
    let members = [
        ("Encounter", ""),
        ("CarePlan", "encounter"),
        ("CareTeam", "encounter"),
        ("Claim", "item.encounter"),
        ("Condition", "encounter"),
        ("DiagnosticReport", "encounter"),
        ("DocumentReference", "context.encounter"),
        ("ExplanationOfBenefit", "item.encounter"),
        ("MedicationAdministration", "context"),
        ("MedicationRequest", "encounter"),
        ("Observation", "encounter"),
        ("Procedure", "encounter"),
    ];
    let own = format!("Encounter/{encounter}");
    let mut expected = BTreeSet::from([encounter.clone()]);
    for (kind, path) in members.into_iter().filter(|(_, path)| !path.is_empty()) {
        let refers = |one: &&Value| at(one, path).iter().any(|reference| reference["reference"] == own);
        expected.extend(reader.all(kind).iter().filter(refers).map(|one| one["id"].as_str().unwrap().to_owned()));
    }
    let found = bundle(server, &format!("/fhir/Encounter/{encounter}/*?_count=1000")).await;
    assert_eq!(ids(&found, "match"), expected);

    let practitioner = reader.all("Practitioner")[0]["id"].as_str().unwrap();
    let found = bundle(server, &format!("/fhir/Practitioner/{practitioner}/Encounter?_count=1000&_elements=id")).await;
    let expected = reader.search("Encounter", &format!("participant=Practitioner/{practitioner}"));
    assert_eq!(ids(&found, "match"), expected);
}

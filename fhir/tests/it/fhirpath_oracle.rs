//! Our FHIRPath compiler against another implementation (`rh-fhirpath`): on the expressions of the official SQL on FHIR suite
//! over its resources, and on generated ones over generated resources. Where the other one is wrong by the specification, the
//! expression stands in [`EXCEPTIONS`] with the reason.

use std::{collections::BTreeSet, fs, path::Path};

use crate::generate::{self, Chance};
use arrow::{
    array::{Array, AsArray},
    util::display::array_value_to_string,
};
use mavis_fhir::{
    ResourceType,
    definitions::{self, TypeId, TypeKind},
    json,
    view::{Plan, View, encode},
};
use rh_fhirpath::{EvaluationContext, FhirPathEvaluator, FhirPathParser, FhirPathValue};
use serde_json::{Value, json};

/// Parts of expressions that the other implementation answers otherwise, and why it is not followed.
const EXCEPTIONS: [(&str, &str); 6] = [
    // FHIRPath 2.0, "ofType": of all items, those of the type; R4 names `value[x]` of type Range `valueRange` in JSON.
    ("ofType(Range)", "it does not find a choice of this structured type"),
    ("ofType(Period)", "it finds a choice of this structured type in some resources only"),
    ("ofType(CodeableConcept)", "it finds a choice of this structured type in some resources only"),
    // R4, "fhirpath.html", "Additional functions": `extension(url)` is asked of any collection of elements.
    (").extension(", "it finds no extensions of an extension"),
    // FHIRPath 2.0, "lowBoundary": the precision of the input counts, trailing zeros too.
    ("value.lowBoundary()", "numbers of JSON reach it as doubles, which keep no trailing zero"),
    ("value.highBoundary()", "numbers of JSON reach it as doubles, which keep no trailing zero"),
];

/// Resources and expressions of each of their types that are generated.
const RESOURCES: usize = 40;
const EXPRESSIONS: usize = 25;

/// What we give for one resource, each value as text; `None` where it is no primitive, or an error.
fn ours(resource: &str, expression: &str) -> Option<Vec<String>> {
    let parsed = json::parse(resource.as_bytes()).unwrap();
    let kind = parsed.get_str("resourceType").unwrap();
    let view = json!({ "resource": kind, "select": [
        { "column": [{ "name": "x", "path": expression, "collection": true }] }] })
    .to_string();
    let view = View::parse(&json::parse(view.as_bytes()).unwrap()).unwrap();
    let plan = Plan::new(&view).ok()?;
    let (batch, misfits) = encode(plan.resource(), std::iter::once(&parsed)).unwrap();
    assert_eq!(misfits, 0);
    let rows = plan.run(&batch).ok()?;
    let row = rows.iter().find(|batch| batch.num_rows() > 0)?;
    let values = row.column(0).as_list::<i32>().value(0);
    Some((0..values.len()).map(|item| written(&array_value_to_string(&values, item).unwrap())).collect())
}

/// Numbers by value: a decimal column is a double.
fn written(text: &str) -> String {
    text.parse::<f64>()
        .map_or_else(|_| text.trim_start_matches(['@', 'T']).to_owned(), |number| format!("{:?}", number + 0.0))
}

/// What the other one gives; `None` where it gives a structure, or an error.
fn theirs(resource: &Value, expression: &str) -> Option<Vec<String>> {
    let parsed = FhirPathParser::new().parse(expression).ok()?;
    let value = FhirPathEvaluator::new().evaluate(&parsed, &EvaluationContext::new(resource.clone())).ok()?;
    let mut texts = Vec::new();
    flat(value, &mut texts).then_some(texts)
}

fn flat(value: FhirPathValue, texts: &mut Vec<String>) -> bool {
    let text = match value {
        FhirPathValue::Empty => return true,
        FhirPathValue::FhirPrimitive { inner, .. } => return flat(*inner, texts),
        FhirPathValue::Collection(values) | FhirPathValue::UnorderedCollection(values) => {
            return values.into_iter().all(|value| flat(value, texts));
        }
        FhirPathValue::Boolean(value) | FhirPathValue::TypedBoolean { value, .. } => value.to_string(),
        FhirPathValue::Integer(value) | FhirPathValue::Long(value) => value.to_string(),
        FhirPathValue::Number(value) => value.to_string(),
        FhirPathValue::String(value)
        | FhirPathValue::TypedString { value, .. }
        | FhirPathValue::Date(value)
        | FhirPathValue::DateTime(value)
        | FhirPathValue::TypedDateTime { value, .. }
        | FhirPathValue::Time(value) => value,
        _ => return false,
    };
    texts.push(written(&text));
    true
}

/// How far both were asked, and where they differ.
#[derive(Debug, Default)]
struct Compared {
    agreed: usize,
    /// One of the two has no answer: an error, a structure, a function that it lacks.
    unanswered: usize,
    differing: BTreeSet<String>,
}

impl Compared {
    fn compare(&mut self, resource: &Value, expression: &str) {
        if EXCEPTIONS.iter().any(|(part, _)| expression.contains(part)) {
            return;
        }
        match (ours(&resource.to_string(), expression), theirs(resource, expression)) {
            (Some(ours), Some(theirs)) if ours == theirs => self.agreed += 1,
            (Some(ours), Some(theirs)) => {
                let kind = resource["resourceType"].as_str().unwrap();
                self.differing.insert(format!("{kind}: {expression}: {ours:?}, and the other {theirs:?}"));
            }
            _ => self.unanswered += 1,
        }
    }

    fn settle(&self, at_least: usize) {
        let differing: Vec<&String> = self.differing.iter().take(40).collect();
        println!("{} answers agree, {} have none to compare", self.agreed, self.unanswered);
        assert!(self.differing.is_empty(), "{} differ:\n{differing:#?}", self.differing.len());
        assert!(self.agreed >= at_least, "only {} answers were compared", self.agreed);
    }
}

/// Every expression of a select whose focus is the resource, those of a `forEach` put after it.
fn expressions(select: &Value, before: Option<&str>, found: &mut BTreeSet<String>) {
    let over = select.get("forEach").or_else(|| select.get("forEachOrNull")).and_then(Value::as_str);
    if select.get("repeat").is_some() {
        return;
    }
    let joined = |path: &str| match before {
        Some(before) => format!("({before}).select({path})"),
        None => path.to_owned(),
    };
    let inside = over.map(joined);
    let inside = inside.as_deref().or(before);
    for column in select["column"].as_array().into_iter().flatten() {
        let path = column["path"].as_str().unwrap_or_default();
        found.insert(match inside {
            Some(inside) => format!("({inside}).select({path})"),
            None => path.to_owned(),
        });
    }
    for nested in ["select", "unionAll"] {
        for select in select[nested].as_array().into_iter().flatten() {
            expressions(select, inside, found);
        }
    }
}

/// What only SQL on FHIR has.
fn is_plain(expression: &str) -> bool {
    !["getResourceKey", "getReferenceKey", "%"].iter().any(|own| expression.contains(own))
}

#[test]
fn the_suites_expressions_mean_the_same_to_both() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/sql-on-fhir"));
    let Ok(entries) = fs::read_dir(folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the SQL on FHIR suite is missing");
        println!("skipped: the SQL on FHIR suite is missing");
        return;
    };
    let mut compared = Compared::default();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let suite: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for test in suite["tests"].as_array().unwrap() {
            if test["expectError"] == true {
                continue;
            }
            let mut found = BTreeSet::new();
            expressions(&test["view"], None, &mut found);
            let wheres = test["view"]["where"].as_array().into_iter().flatten();
            found.extend(wheres.filter_map(|one| one["path"].as_str()).map(str::to_owned));
            for resource in suite["resources"].as_array().unwrap() {
                if resource["resourceType"] != test["view"]["resource"] {
                    continue;
                }
                for expression in found.iter().filter(|expression| is_plain(expression)) {
                    compared.compare(resource, expression);
                }
            }
        }
    }
    compared.settle(600);
}

/// An expression over a type, by a walk through its elements.
fn generated(root: TypeId, chance: &mut Chance) -> Option<String> {
    let mut path = String::new();
    let mut at = root;
    for _ in 0..4 {
        let elements: Vec<_> = definitions::elements(at)
            .iter()
            .filter(|element| !matches!(element.type_id.kind(), TypeKind::AnyResource | TypeKind::Resource(_)))
            .filter(|element| {
                element.type_id.name() != "Narrative" && element.name != "id" && element.name != "extension"
            })
            .collect();
        let element = elements.get(chance.below(elements.len().max(1)))?;
        let step = match element.choice {
            Some(choice) => format!("{choice}.ofType({})", element.type_id.name()),
            None => element.name.to_owned(),
        };
        path = if path.is_empty() { step } else { format!("{path}.{step}") };
        at = element.type_id;
        if element.many && chance.below(3) == 0 {
            path.push_str([".first()", ".last()", ".tail()", ".skip(1)", ".take(1)", "[0]"][chance.below(6)]);
        }
        if at.primitive().is_some() {
            break;
        }
    }
    let ends: &[&str] = if at.primitive().is_some() {
        &["", "", ".exists()", ".count()", ".distinct().count()", ".first()", ".empty()", ".exists().not()"]
    } else {
        &[".exists()", ".count()", ".empty()", ".where($index = 0).count()", ".exists() and true"]
    };
    path.push_str(ends[chance.below(ends.len())]);
    Some(path)
}

#[test]
fn generated_expressions_over_generated_resources_mean_the_same_to_both() {
    let mut chance = Chance(20_240_229);
    let mut compared = Compared::default();
    let types: Vec<ResourceType> = ResourceType::all().collect();
    for _ in 0..RESOURCES {
        let kind = types[chance.below(types.len())];
        let resource: Value = serde_json::from_str(&generate::resource(kind, &mut chance)).unwrap();
        for _ in 0..EXPRESSIONS {
            if let Some(expression) = generated(definitions::root(kind), &mut chance) {
                compared.compare(&resource, &expression);
            }
        }
    }
    compared.settle(800);
}

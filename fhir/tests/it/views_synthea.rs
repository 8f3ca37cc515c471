//! Views over the 120 synthetic patients, against the same rows read out of the JSON one by one.

use std::{fs, io::Read, path::Path};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Float64Type, Int32Type},
};
use bzip2::read::MultiBzDecoder;
use mavis_fhir::{
    json::{self, Value},
    view::{Plan, View, encode},
};

const COMPONENTS: &str = r#"{"resource":"Observation","where":[{"path":"status = 'final' and component.exists()"}],"select":[
    {"column":[{"name":"id","path":"getResourceKey()","type":"id"}]},
    {"forEach":"component","column":[
        {"name":"i","path":"%rowIndex","type":"integer"},
        {"name":"code","path":"code.coding.code.first()","type":"code"},
        {"name":"value","path":"value.ofType(Quantity).value","type":"decimal"}]}]}"#;

const RACES: &str = r#"{"resource":"Patient","constant":[
    {"name":"race","valueUri":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"}],"select":[{"column":[
    {"name":"race","path":"extension(%race).extension('ombCategory').value.ofType(Coding).code.first()","type":"code"}]}]}"#;

fn rows<'a>(view: &str, resources: impl Iterator<Item = &'a Value<'a>>) -> Vec<RecordBatch> {
    let view = View::parse(&json::parse(view.as_bytes()).unwrap()).unwrap();
    let plan = Plan::new(&view).unwrap();
    assert!(plan.warnings().is_empty());
    plan.run(&encode(plan.resource(), resources).unwrap().0).unwrap()
}

/// Id, place, code and value of each component, as [`COMPONENTS`] asks for them.
fn components(resource: &Value<'_>) -> Vec<(String, i32, Option<String>, Option<f64>)> {
    if resource.get_str("resourceType") != Some("Observation") || resource.get_str("status") != Some("final") {
        return Vec::new();
    }
    let id = resource.get_str("id").unwrap();
    let components = (0..).zip(resource.get("component").into_iter().flat_map(Value::items));
    let one = |(place, component): (i32, &Value<'_>)| {
        let coding = component.at(&["code", "coding"]).and_then(|list| list.items().next().cloned());
        let code = coding.and_then(|coding| coding.get_str("code").map(str::to_owned));
        let value = component.at(&["valueQuantity", "value"]).and_then(Value::as_number);
        (id.to_owned(), place, code, value.map(|text| text.parse().unwrap()))
    };
    components.map(one).collect()
}

fn race(patient: &Value<'_>) -> Option<String> {
    let of = |value: &Value<'_>, url: &str| -> Option<String> {
        let found = value.get("extension")?.items().find(|extension| extension.get_str("url") == Some(url))?;
        Some(found.to_json())
    };
    let race = of(patient, "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race")?;
    let category = of(&json::parse(race.as_bytes()).unwrap(), "ombCategory")?;
    json::parse(category.as_bytes()).unwrap().at(&["valueCoding", "code"])?.as_str().map(str::to_owned)
}

#[test]
fn views_give_what_the_resources_say() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/synthea-120"));
    let Ok(entries) = fs::read_dir(folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the data set synthea-120 is missing");
        println!("skipped: the data set synthea-120 is missing");
        return;
    };
    let (mut made, mut patients) = (0, 0);
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "bz2") {
            continue;
        }
        let mut text = Vec::new();
        MultiBzDecoder::new(fs::File::open(&path).unwrap()).read_to_end(&mut text).unwrap();
        let bundle = json::parse(&text).unwrap();
        let resources: Vec<&Value<'_>> =
            bundle.get("entry").unwrap().items().map(|entry| entry.get("resource").unwrap()).collect();
        let mut found = Vec::new();
        for batch in rows(COMPONENTS, resources.iter().copied()) {
            let text = |column: usize| batch.column(column).as_string::<i32>();
            let (places, values) =
                (batch.column(1).as_primitive::<Int32Type>(), batch.column(3).as_primitive::<Float64Type>());
            for row in 0..batch.num_rows() {
                let code = text(2).is_valid(row).then(|| text(2).value(row).to_owned());
                let value = values.is_valid(row).then(|| values.value(row));
                found.push((text(0).value(row).to_owned(), places.value(row), code, value));
            }
        }
        let expected: Vec<_> = resources.iter().flat_map(|resource| components(resource)).collect();
        assert_eq!(found, expected, "{}", path.display());
        made += found.len();

        let is_patient = |resource: &&Value<'_>| resource.get_str("resourceType") == Some("Patient");
        let expected: Vec<_> = resources.iter().copied().filter(is_patient).map(race).collect();
        let found: Vec<_> = rows(RACES, resources.iter().copied())
            .iter()
            .flat_map(|batch| {
                batch.column(0).as_string::<i32>().iter().map(|race| race.map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(found, expected, "{}", path.display());
        patients += found.len();
    }
    assert_eq!((made, patients), (3520, 120));
}

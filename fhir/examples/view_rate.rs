//! How fast views are computed, apart from reading files: a flat view of Conditions and one of the components of
//! Observations (those of the public SQL on FHIR comparison), on one thread, over batches of 8,192 resources in memory.
//!
//!     cargo run --profile demo -p mavis-fhir --example view_rate

#![allow(clippy::unwrap_used, reason = "a program to measure with")]

use std::time::Instant;

use arrow::array::RecordBatch;
use chrono::DateTime;
use mavis_fhir::{
    json,
    shape::{Encoder, Meta},
    view::{Plan, View},
};

const CONDITIONS: &str = r#"{"resource":"Condition","select":[{"column":[
    {"name":"id","path":"getResourceKey()"},
    {"name":"patient_id","path":"subject.getReferenceKey(Patient)"},
    {"name":"encounter_id","path":"encounter.getReferenceKey(Encounter)"},
    {"name":"system","path":"code.coding.system.first()"},
    {"name":"code","path":"code.coding.code.first()"},
    {"name":"display","path":"code.coding.display.first()"},
    {"name":"clinical_status","path":"clinicalStatus.coding.code.first()"},
    {"name":"onset","path":"onset.ofType(dateTime)"},
    {"name":"abatement","path":"abatement.ofType(dateTime)"},
    {"name":"recorded","path":"recordedDate"}]}]}"#;

const COMPONENTS: &str = r#"{"resource":"Observation","select":[
    {"column":[
        {"name":"id","path":"getResourceKey()"},
        {"name":"patient_id","path":"subject.getReferenceKey(Patient)"},
        {"name":"effective","path":"effective.ofType(dateTime)"}]},
    {"forEach":"component","column":[
        {"name":"system","path":"code.coding.system.first()"},
        {"name":"code","path":"code.coding.code.first()"},
        {"name":"value","path":"value.ofType(Quantity).value"},
        {"name":"unit","path":"value.ofType(Quantity).unit"}]}]}"#;

fn condition(n: usize) -> String {
    format!(
        r#"{{"resourceType":"Condition","id":"c{n}","subject":{{"reference":"Patient/p{p}"}},"encounter":{{"reference":"Encounter/e{n}"}},
        "clinicalStatus":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"resolved"}}]}},
        "code":{{"coding":[{{"system":"http://snomed.info/sct","code":"{code}","display":"A finding of some length"}}],"text":"A finding"}},
        "onsetDateTime":"2019-07-12T10:20:30+02:00","recordedDate":"2019-07-12T10:20:30+02:00"}}"#,
        p = n / 40,
        code = 10_509_002 + n % 300
    )
}

/// One in five has two components, as blood pressures have.
fn observation(n: usize) -> String {
    let component = |code: &str, value: usize| {
        format!(
            r#"{{"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"valueQuantity":{{"value":{value}.5,"unit":"mm[Hg]"}}}}"#
        )
    };
    let components = match n % 5 {
        0 => format!(r#","component":[{},{}]"#, component("8480-6", 100 + n % 50), component("8462-4", 60 + n % 30)),
        _ => String::new(),
    };
    format!(
        r#"{{"resourceType":"Observation","id":"o{n}","status":"final","subject":{{"reference":"Patient/p{p}"}},
        "code":{{"coding":[{{"system":"http://loinc.org","code":"85354-9"}}]}},"effectiveDateTime":"2019-07-12T10:20:30+02:00"{components}}}"#,
        p = n / 400
    )
}

fn batches(resource: &str, count: usize, make: fn(usize) -> String) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for start in (0..count).step_by(8192) {
        let mut encoder = Encoder::new(resource.parse().unwrap(), None);
        for n in start..count.min(start + 8192) {
            let text = make(n);
            let value = json::parse(text.as_bytes()).unwrap();
            let id = value.get_str("id").unwrap();
            let last_updated = DateTime::UNIX_EPOCH;
            encoder.push(&value, "", &Meta { id, version: 1, last_updated, source: "s", run: "r", hash: [0; 16] });
        }
        batches.push(encoder.finish().unwrap());
    }
    batches
}

fn measure(name: &str, view: &str, batches: &[RecordBatch]) {
    let plan = Plan::new(&View::parse(&json::parse(view.as_bytes()).unwrap()).unwrap()).unwrap();
    let resources: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut best = f64::INFINITY;
    let mut rows = 0;
    for _ in 0..5 {
        let start = Instant::now();
        rows = batches.iter().flat_map(|batch| plan.run(batch).unwrap()).map(|rows| rows.num_rows()).sum();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{name}: {resources} resources, {rows} rows, {:.0} ms, {:.1} M resources/s",
        best * 1e3,
        resources as f64 / best / 1e6
    );
}

fn main() {
    measure("conditions", CONDITIONS, &batches("Condition", 460_000, condition));
    measure("observation components", COMPONENTS, &batches("Observation", 1_000_000, observation));
}

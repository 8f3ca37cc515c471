//! Searches over the 120 synthetic patients, each against the same question asked of the Bundles.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Read,
};

use bzip2::read::BzDecoder;
use mavis_tests::{Server, shared};
use serde_json::Value;

/// All resources of the Bundles, with ways from a reference to what it is to.
struct World {
    resources: Vec<Value>,
    by_url: HashMap<String, usize>,
    by_identifier: HashMap<String, usize>,
}

impl World {
    fn read(folder: &std::path::Path) -> Self {
        let mut world = Self { resources: Vec::new(), by_url: HashMap::new(), by_identifier: HashMap::new() };
        for entry in fs::read_dir(folder).unwrap() {
            let mut text = String::new();
            BzDecoder::new(fs::File::open(entry.unwrap().path()).unwrap()).read_to_string(&mut text).unwrap();
            let bundle: Value = serde_json::from_str(&text).unwrap();
            for entry in bundle["entry"].as_array().unwrap() {
                let (index, resource) = (world.resources.len(), entry["resource"].clone());
                world.by_url.insert(entry["fullUrl"].as_str().unwrap().to_owned(), index);
                for identifier in items(&resource["identifier"]) {
                    let (system, value) = (text_of(&identifier["system"]), text_of(&identifier["value"]));
                    let kind = text_of(&resource["resourceType"]);
                    world.by_identifier.insert(format!("{kind}?identifier={system}|{value}"), index);
                }
                world.resources.push(resource);
            }
        }
        world
    }

    fn of<'w>(&'w self, kind: &'w str) -> impl Iterator<Item = &'w Value> {
        self.resources.iter().filter(move |resource| resource["resourceType"] == kind)
    }

    fn at(&self, reference: &Value) -> Option<usize> {
        let text = reference["reference"].as_str()?;
        self.by_url.get(text).or_else(|| self.by_identifier.get(text)).copied()
    }

    fn to(&self, reference: &Value) -> Option<&Value> {
        self.at(reference).map(|index| &self.resources[index])
    }

    /// How many resources of `kind` one of `from` that fits refers to by what `by` names.
    fn pointed_at(
        &self,
        kind: &str,
        from: &str,
        fits: impl Fn(&Value) -> bool,
        by: impl Fn(&Value) -> Vec<Value>,
    ) -> usize {
        let found: HashSet<usize> = self
            .of(from)
            .filter(|resource| fits(resource))
            .flat_map(by)
            .filter_map(|reference| self.at(&reference))
            .filter(|index| self.resources[*index]["resourceType"] == kind)
            .collect();
        found.len()
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn coded(concept: &Value, code: &str) -> bool {
    items(&concept["coding"]).iter().any(|coding| coding["code"] == code)
}

#[tokio::test]
async fn searches_over_several_tables_find_what_the_bundles_hold() {
    let Some(folder) = shared("data/synthea-120") else { return };
    let server = Server::start().await.unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap()]).unwrap().ok().unwrap();
    let world = World::read(&folder);
    let female = |patient: Option<&Value>| patient.is_some_and(|patient| patient["gender"] == "female");
    let count = |kind: &'static str, fits: &dyn Fn(&Value) -> bool| world.of(kind).filter(|one| fits(one)).count();
    let component = |one: &Value, code: &str, above: f64| {
        items(&one["component"]).iter().any(|part| {
            coded(&part["code"], code) && part["valueQuantity"]["value"].as_f64().is_some_and(|value| value > above)
        })
    };
    let hypertension = |one: &Value| coded(&one["code"], "59621000");

    let cases: Vec<(&str, usize)> = vec![
        ("Observation?subject:Patient.gender=female", count("Observation", &|one| female(world.to(&one["subject"])))),
        (
            "Observation?patient.gender=female&status=final",
            count("Observation", &|one| one["status"] == "final" && female(world.to(&one["subject"]))),
        ),
        ("Observation?code=http://loinc.org|8302-2", count("Observation", &|one| coded(&one["code"], "8302-2"))),
        (
            "Observation?code-value-quantity=http://loinc.org|8302-2$gt170",
            count("Observation", &|one| {
                coded(&one["code"], "8302-2")
                    && one["valueQuantity"]["value"].as_f64().is_some_and(|value| value > 170.0)
            }),
        ),
        (
            "Observation?component-code-value-quantity=8480-6$gt130",
            count("Observation", &|one| component(one, "8480-6", 130.0)),
        ),
        (
            "Observation?component-code-value-quantity=8462-4$gt130",
            count("Observation", &|one| component(one, "8462-4", 130.0)),
        ),
        (
            "Observation?encounter.class=IMP",
            count("Observation", &|one| {
                world.to(&one["encounter"]).is_some_and(|encounter| encounter["class"]["code"] == "IMP")
            }),
        ),
        (
            "Observation?encounter.subject:Patient.birthdate=lt1950",
            count("Observation", &|one| {
                let patient = world.to(&one["encounter"]).and_then(|encounter| world.to(&encounter["subject"]));
                patient.is_some_and(|patient| text_of(&patient["birthDate"]) < "1950")
            }),
        ),
        (
            "Encounter?participant:Practitioner.gender=male",
            count("Encounter", &|one| {
                items(&one["participant"])
                    .iter()
                    .any(|part| world.to(&part["individual"]).is_some_and(|who| who["gender"] == "male"))
            }),
        ),
        (
            "Encounter?service-provider.name=milford",
            count("Encounter", &|one| {
                world
                    .to(&one["serviceProvider"])
                    .is_some_and(|who| text_of(&who["name"]).to_lowercase().starts_with("milford"))
            }),
        ),
        (
            "DiagnosticReport?result.code=2339-0",
            count("DiagnosticReport", &|one| {
                items(&one["result"])
                    .iter()
                    .any(|part| world.to(part).is_some_and(|found| coded(&found["code"], "2339-0")))
            }),
        ),
        (
            "Patient?_has:Condition:patient:code=59621000",
            world.pointed_at("Patient", "Condition", hypertension, |one| vec![one["subject"].clone()]),
        ),
        ("Condition?subject:Patient._has:Immunization:patient:status=completed", {
            let immune: HashSet<usize> = world
                .of("Immunization")
                .filter(|one| one["status"] == "completed")
                .filter_map(|one| world.at(&one["patient"]))
                .collect();
            count("Condition", &|one| world.at(&one["subject"]).is_some_and(|patient| immune.contains(&patient)))
        }),
        (
            "Observation?_has:DiagnosticReport:result:category=LAB",
            world.pointed_at(
                "Observation",
                "DiagnosticReport",
                |one| items(&one["category"]).iter().any(|category| coded(category, "LAB")),
                |one| items(&one["result"]).to_vec(),
            ),
        ),
        ("Patient?_has:Encounter:subject:_has:Condition:encounter:code=59621000", {
            let encounters: HashSet<usize> = world
                .of("Condition")
                .filter(|one| hypertension(one))
                .filter_map(|one| world.at(&one["encounter"]))
                .collect();
            let patients: HashSet<usize> =
                encounters.iter().filter_map(|index| world.at(&world.resources[*index]["subject"])).collect();
            patients.len()
        }),
        (
            "Practitioner?_has:Encounter:participant:class=EMER",
            world.pointed_at(
                "Practitioner",
                "Encounter",
                |one| one["class"]["code"] == "EMER",
                |one| items(&one["participant"]).iter().map(|part| part["individual"].clone()).collect(),
            ),
        ),
        (
            "MedicationRequest?medication.code=1803932",
            count("MedicationRequest", &|one| {
                world.to(&one["medicationReference"]).is_some_and(|found| coded(&found["code"], "1803932"))
            }),
        ),
        (
            "Provenance?target:Patient.gender=female",
            count("Provenance", &|one| {
                items(&one["target"]).iter().any(|part| {
                    world
                        .to(part)
                        .is_some_and(|found| found["resourceType"] == "Patient" && found["gender"] == "female")
                })
            }),
        ),
        (
            "Location?near=42.375967|-71.118275|5|km",
            count("Location", &|one| {
                let (Some(latitude), Some(longitude)) =
                    (one["position"]["latitude"].as_f64(), one["position"]["longitude"].as_f64())
                else {
                    return false;
                };
                // on so small a map the earth is flat
                let north = (latitude - 42.375_967) * 111.195;
                let east = (longitude + 71.118_275) * 111.195 * 42.375_967_f64.to_radians().cos();
                north.hypot(east) <= 5.0
            }),
        ),
    ];
    for (search, expected) in &cases {
        let answer = server.get(&format!("/fhir/{search}&_summary=count")).await.unwrap();
        assert_eq!(answer.status, 200, "{search}: {}", answer.text());
        assert_eq!(answer.json().unwrap()["total"], *expected, "{search}");
    }
    assert!(cases.iter().filter(|(_, expected)| *expected > 0).count() > cases.len() - 4, "{:?}", cases);

    // the same in SQL
    let sql = "SELECT count(*) FROM observation o JOIN patient p ON o.subject['reference'] = 'Patient/' || p.id WHERE p.gender = 'female'";
    assert_eq!(server.count(sql).await.unwrap(), i64::try_from(cases[0].1).unwrap());

    // a patient's compartment, whole: what says so in its columns, and the patient
    let patient = server.value("SELECT min(id) FROM patient").await.unwrap();
    let patient = patient.as_str().unwrap();
    let mut expected = 1;
    for kind in ["observation", "condition", "encounter", "procedure", "immunization", "claim"] {
        let sql = format!("SELECT count(*) FROM {kind} WHERE __patient = '{patient}'");
        let found = server.count(&sql).await.unwrap();
        let path = format!("/fhir/Patient/{patient}/{}?_summary=count", kind[..1].to_uppercase() + &kind[1..]);
        assert_eq!(server.get(&path).await.unwrap().json().unwrap()["total"], found, "{kind}");
        expected += found;
    }
    let all = server.get(&format!("/fhir/Patient/{patient}/*?_summary=count")).await.unwrap().json().unwrap();
    assert!(all["total"].as_i64().unwrap() >= expected);

    // every included patient is the subject of a match, and each subject is there
    let page = server.get("/fhir/Encounter?_count=100&_include=Encounter:subject").await.unwrap().json().unwrap();
    let entries = page["entry"].as_array().unwrap();
    let subjects: HashSet<String> = entries
        .iter()
        .filter(|entry| entry["search"]["mode"] == "match")
        .map(|entry| text_of(&entry["resource"]["subject"]["reference"]).to_owned())
        .collect();
    let included: HashSet<String> = entries
        .iter()
        .filter(|entry| entry["search"]["mode"] == "include")
        .map(|entry| format!("Patient/{}", text_of(&entry["resource"]["id"])))
        .collect();
    assert_eq!(included, subjects);
}

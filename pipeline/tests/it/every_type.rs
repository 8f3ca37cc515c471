//! Resources of every type, made from the definitions: what goes in comes out.

use crate::generate::{Chance, resource};
use crate::support::{House, me};
use mavis_fhir::{ResourceType, json};
use mavis_pipeline::{Effect, Operation, Together, Which, Write};

/// One resource of each type, under the id `x`.
fn one_of_each(seed: u64) -> Vec<(ResourceType, String)> {
    let mut chance = Chance(seed);
    ResourceType::all()
        .map(|of| {
            let text = resource(of, &mut chance);
            let mut value = json::parse(text.as_bytes()).unwrap();
            value.set("id", "x");
            value.remove("meta");
            (of, value.to_json())
        })
        .collect()
}

fn writes(resources: &[(ResourceType, String)]) -> Vec<Write> {
    let write = |(resource, body): &(ResourceType, String)| Write {
        resource: *resource,
        operation: Operation::Update { which: Which::Id("x".into()), body: body.clone(), if_match: None },
        full_url: None,
    };
    resources.iter().map(write).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_of_every_type_come_back_as_they_went_in() {
    let house = House::new();
    let life = house.start().await;
    for (seed, version) in [(1, 1), (2, 2)] {
        let resources = one_of_each(seed);
        assert_eq!(resources.len(), 147);
        for (effect, known) in [(None, version), (Some(Effect::Unchanged), version)] {
            let answers = life.pipeline.write(&me(), writes(&resources), Together::All).await.unwrap();
            for answer in answers {
                let written = answer.unwrap();
                if let Some(effect) = effect {
                    assert_eq!(written.effect, effect, "{}", written.resource);
                }
                // Two seeds may make the same resource of a small type.
                assert!(written.version <= known, "{}", written.resource);
            }
        }
        for (of, text) in &resources {
            for schema in ["r4", "r4_history"] {
                let newest = "SELECT resource FROM t ORDER BY __version DESC LIMIT 1";
                let stored = life.ask(&format!("fhir.{schema}.{}", of.table()), newest).await;
                let stored = stored[0].as_deref().unwrap();
                let same = json::parse(stored.as_bytes()).unwrap() == json::parse(text.as_bytes()).unwrap();
                assert!(same, "{schema} {of}: {stored} is not {text}");
            }
        }
    }
}

//! Direct writes: atomic over several types, whenever the process dies.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{House, Life, me};
use mavis_pipeline::{Effect, Operation, Together, Which, Write, WriteError, Written};

fn put(resource: &str, id: &str, rest: &str) -> Write {
    let comma = if rest.is_empty() { "" } else { "," };
    Write {
        resource: resource.parse().unwrap(),
        operation: Operation::Update {
            which: Which::Id(id.to_owned()),
            body: format!("{{\"resourceType\":\"{resource}\",\"id\":\"{id}\"{comma}{rest}}}"),
            if_match: None,
        },
        full_url: None,
    }
}

fn delete(resource: &str, id: &str) -> Write {
    let operation = Operation::Delete { which: Which::Id(id.to_owned()), if_match: None };
    Write { resource: resource.parse().unwrap(), operation, full_url: None }
}

async fn all(life: &Life, writes: Vec<Write>) -> Result<Vec<Written>, WriteError> {
    let answers = life.pipeline.write(&me(), writes, Together::All).await?;
    Ok(answers.into_iter().map(Result::unwrap).collect())
}

fn observation(number: usize) -> String {
    format!(
        "\"status\":\"final\",\"code\":{{\"text\":\"{number}\"}},\"subject\":{{\"reference\":\"Patient/p{number}\"}}"
    )
}

/// Three types at once: two new resources, and one that every write changes.
fn transaction(number: usize) -> Vec<Write> {
    vec![
        put("Patient", &format!("p{number}"), ""),
        put("Observation", &format!("o{number}"), &observation(number)),
        put("Organization", "shared", &format!("\"name\":\"{number}\"")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_count_up_and_known_content_makes_none() {
    let house = House::new();
    let life = house.start().await;
    for (write, effect, version) in [
        (put("Patient", "a", ""), Effect::Created, 1),
        (put("Patient", "a", ""), Effect::Unchanged, 1),
        (put("Patient", "a", "\"active\":true"), Effect::Updated, 2),
        (delete("Patient", "a"), Effect::Deleted, 3),
        (delete("Patient", "a"), Effect::Nothing, 3),
        (delete("Patient", "nobody"), Effect::Nothing, 0),
        (put("Patient", "a", "\"active\":true"), Effect::Created, 4),
    ] {
        let written = all(&life, vec![write.clone()]).await.unwrap().remove(0);
        assert_eq!((written.effect, written.version), (effect, version), "{write:?}");
    }
    assert_eq!(life.count("fhir.r4_history.patient").await, 4);
    assert_eq!(life.count("fhir.r4.patient").await, 1);
    assert_eq!(life.catalog.open_intents().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing_and_each_version_is_one_writers() {
    let house = House::new();
    let life = Arc::new(house.start().await);
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let life = Arc::clone(&life);
            tokio::spawn(async move { all(&life, transaction(number)).await.unwrap() })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for task in tasks {
        versions.insert(task.await.unwrap()[2].version);
    }
    assert_eq!(versions, (1..=12).collect());
    assert_eq!(life.count("fhir.r4.patient").await, 12);
    assert_eq!(life.count("fhir.r4.organization").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_entry_leaves_nothing_of_the_others() {
    let house = House::new();
    let life = house.start().await;
    let mut writes = transaction(1);
    let stale = Operation::Update {
        which: Which::Id("x".into()),
        body: r#"{"resourceType":"Device","id":"x"}"#.into(),
        if_match: Some(4),
    };
    writes.push(Write { resource: "Device".parse().unwrap(), operation: stale, full_url: None });
    let refused = all(&life, writes).await.unwrap_err();
    assert!(matches!(refused, WriteError::Refused { index: 3, .. }), "{refused:?}");
    assert_eq!(life.catalog.latest_snapshot().await.unwrap(), None);
    assert_eq!(life.count("fhir.r4_history.patient").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_keeps_a_resource_that_a_client_changed() {
    let house = House::new();
    let life = house.start().await;
    all(&life, vec![put("Patient", "a", "")]).await.unwrap();
    let owner = life.ask("fhir.r4.patient", "SELECT __source FROM t").await;
    assert_eq!(owner, [Some("fhir_api".to_owned())]);
}

/// Ids of a type's current table at the published version.
async fn published(life: &Life, resource: &str) -> Vec<String> {
    let name = format!("fhir.r4.{resource}");
    let Ok(table) = life.catalog.table(&name.parse().unwrap()).await else { return Vec::new() };
    let Some(snapshot) = life.catalog.latest_snapshot().await.unwrap() else { return Vec::new() };
    let Some(version) = snapshot.versions.get(&table.id) else { return Vec::new() };
    assert_eq!(*version, life.lake.version(table.id).await.unwrap(), "`{name}` is further than what is published");
    life.ask(&name, "SELECT id FROM t ORDER BY id").await.into_iter().flatten().collect()
}

#[test]
fn a_transaction_is_whole_or_absent_whenever_the_process_dies() {
    let house = Arc::new(House::new());
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut seed = 7_u64;
    for life in 0..10_usize {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (house, answered) = (Arc::clone(&house), Arc::clone(&answered));
        let (ready, started) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let lived = house.start().await;
            ready.send(()).unwrap();
            for number in life * 1_000.. {
                all(&lived, transaction(number)).await.unwrap();
                answered.lock().unwrap().push(number);
            }
        });
        started.recv_timeout(Duration::from_secs(120)).expect("the server does not start");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(20 + (seed >> 33) % 700));
        runtime.shutdown_background();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let life = house.start().await;
        assert_eq!(life.catalog.open_intents().await.unwrap(), []);
        let patients = published(&life, "patient").await;
        let observations = published(&life, "observation").await;
        let numbers = |ids: &[String]| ids.iter().map(|id| id[1..].parse::<usize>().unwrap()).collect::<BTreeSet<_>>();
        assert_eq!(numbers(&patients), numbers(&observations));
        let answered: BTreeSet<usize> = answered.lock().unwrap().iter().copied().collect();
        assert!(answered.is_subset(&numbers(&patients)), "an answered write is gone");
        assert!(!answered.is_empty(), "no life was long enough to write anything");
        // Of the resource that all of them changed there is one version for each.
        let versions = life
            .ask("fhir.r4_history.organization", "SELECT CAST(__version AS VARCHAR) AS v FROM t ORDER BY __version")
            .await;
        let versions: Vec<usize> = versions.iter().map(|text| text.as_ref().unwrap().parse().unwrap()).collect();
        assert_eq!(versions, (1..=patients.len()).collect::<Vec<_>>());
        let mut seen: HashMap<String, usize> = HashMap::new();
        for id in life.ask("fhir.r4_history.observation", "SELECT id FROM t").await.into_iter().flatten() {
            *seen.entry(id).or_default() += 1;
        }
        assert!(seen.values().all(|times| *times == 1), "a version was written twice");
        // And writing goes on.
        all(&life, transaction(999_999)).await.unwrap();
    });
}

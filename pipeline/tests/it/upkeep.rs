//! Small files are put together while others read and write.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::support::*;
use arrow::array::AsArray;
use datafusion::catalog::TableProvider;
use mavis_pipeline::{Operation, Together, Upkeep, Which, Write};

const NOW: Upkeep = Upkeep { every: Duration::from_secs(3600), files: 8, snapshots: Duration::from_secs(24 * 3600) };

async fn put(life: &Life, id: usize, word: &str) {
    let write = Write {
        resource: "Observation".parse().unwrap(),
        operation: Operation::Update {
            which: Which::Id(format!("o{id}")),
            body: format!(
                "{{\"resourceType\":\"Observation\",\"id\":\"o{id}\",\"status\":\"final\",\"code\":{{\"text\":\"{word}\"}},\
                 \"subject\":{{\"reference\":\"Patient/p{}\"}}}}",
                id % 7
            ),
            if_match: None,
        },
        full_url: None,
    };
    life.pipeline.write(&me(), vec![write], Together::Each).await.unwrap().remove(0).unwrap();
}

async fn files(life: &Life, table: &str) -> usize {
    let table = life.catalog.table(&table.parse().unwrap()).await.unwrap();
    life.lake.file_count(table.id).await.unwrap()
}

async fn ids(life: &Life, provider: Arc<dyn TableProvider>) -> BTreeSet<String> {
    let session = life.lake.sessions().session(256 << 20);
    session.register_table("t", provider).unwrap();
    let mut found = BTreeSet::new();
    for batch in session.sql("SELECT id FROM t").await.unwrap().collect().await.unwrap() {
        found.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_single_writes_leave_few_files_and_every_row() {
    let house = House::new();
    let life = house.start().await;
    let (current, history) = ("fhir.r4.observation", "fhir.r4_history.observation");
    let mut made = 0;
    for round in 0..3 {
        let before = if round == 0 { 0 } else { files(&life, current).await };
        for id in round * 100..(round + 1) * 100 {
            put(&life, id, "first").await;
        }
        made += files(&life, current).await - before;
        if round < 2 {
            life.pipeline.keep_up_once(NOW).await.unwrap();
        }
    }
    assert_eq!(made, 300, "every write leaves a file");
    let pinned = life.catalog.latest_snapshot().await.unwrap().unwrap();
    let table = life.catalog.table(&current.parse().unwrap()).await.unwrap();
    let page = life.lake.provider(table.id, Some(pinned.versions[&table.id])).await.unwrap();
    let before = ids(&life, Arc::clone(&page)).await;
    assert_eq!(before.len(), 300);

    // Others write meanwhile.
    let (kept, ()) = tokio::join!(async { life.pipeline.keep_up_once(NOW).await.unwrap() }, async {
        for id in 300..310 {
            put(&life, id, "meanwhile").await;
        }
    });
    let kept_again = life.pipeline.keep_up_once(NOW).await.unwrap();
    assert!(kept.compacted + kept_again.compacted >= 2, "{kept:?} {kept_again:?}");
    for table in [current, history] {
        let left = files(&life, table).await;
        assert!(left < 2 * NOW.files, "{left} files of {table}");
        assert_eq!(life.count(table).await, 310);
    }
    assert_eq!(ids(&life, page).await, before, "who walks over pages sees what was there");

    // What is read now is the new arrangement, and what is written next stands on it.
    let newest = life.catalog.latest_snapshot().await.unwrap().unwrap();
    assert_eq!(newest.versions[&table.id], life.version(current).await);
    put(&life, 5, "again").await;
    assert_eq!(life.count(history).await, 311);
    let version = life.ask(current, "SELECT __version FROM t WHERE id = 'o5'").await;
    assert_eq!(version, [Some("2".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_rewritten_where_files_are_few_and_nothing_is_published_twice() {
    let house = House::new();
    let life = house.start().await;
    for id in 0..5 {
        put(&life, id, "few").await;
    }
    let (versions, snapshot) = (life.versions().await, life.catalog.latest_snapshot().await.unwrap().unwrap().id);
    let kept = life.pipeline.keep_up_once(NOW).await.unwrap();
    assert_eq!((kept.compacted, kept.overtaken), (0, 0));
    assert_eq!(life.versions().await, versions);
    assert_eq!(life.catalog.latest_snapshot().await.unwrap().unwrap().id, snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_forgotten_with_time_but_never_the_newest() {
    let house = House::new();
    let life = house.start().await;
    for id in 0..3 {
        put(&life, id, "x").await;
    }
    let newest = life.catalog.latest_snapshot().await.unwrap().unwrap().id;
    let kept = life.pipeline.keep_up_once(Upkeep { snapshots: Duration::ZERO, ..NOW }).await.unwrap();
    assert!(kept.snapshots_forgotten >= 2, "{kept:?}");
    let left: Vec<_> = life.catalog.snapshots(10).await.unwrap().into_iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(left, [newest]);
}

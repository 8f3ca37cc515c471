//! What belongs together is published together, once all hops of a run are through.

use std::{collections::BTreeMap, time::Duration};

use mavis_types::TableId;

use super::current::Together;
use crate::{context::Running, failure::Failure, write::settle};

/// How long a publication waits for recorded writes to the same tables.
const PATIENCE: Duration = Duration::from_secs(120);

/// Commits that are looked through for one that changed something; after more of them a version is published anyway.
const LOOKED_THROUGH: i64 = 32;

/// The versions that a run has brought the FHIR zone to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touched(BTreeMap<TableId, i64>);

impl Touched {
    pub(crate) fn add(&mut self, together: Together) {
        for (table, version) in [together.history, together.current] {
            let entry = self.0.entry(table).or_insert(version);
            *entry = (*entry).max(version);
        }
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.0.keys().copied()
    }

    pub(crate) fn versions(&self) -> &BTreeMap<TableId, i64> {
        &self.0
    }

    /// Publishes the versions that hold something else than the newest snapshot's; nothing where there are none.
    pub(crate) async fn publish(&self, running: &Running) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        // Another run may have published newer versions of a table that both wrote; they are not taken back.
        let _one_at_a_time = running.context.publishing.lock().await;
        let latest = running.catalog().latest_snapshot().await?;
        let published = |table: &TableId| latest.as_ref().and_then(|snapshot| snapshot.versions.get(table)).copied();
        let mut newer: BTreeMap<TableId, i64> = BTreeMap::new();
        for (table, version) in &self.0 {
            let is_new = match published(table) {
                None => true,
                Some(published) if version - published > LOOKED_THROUGH => true,
                Some(published) if published < *version => {
                    running.lake().changed_between(*table, published, *version).await?
                }
                Some(_) => false,
            };
            if is_new {
                newer.insert(*table, *version);
            }
        }
        if newer.is_empty() {
            return Ok(());
        }
        let began = tokio::time::Instant::now();
        let snapshot = loop {
            match running.catalog().publish_snapshot(Some(running.id), &newer).await {
                // A write to several tables is on its way: it is published first, whole.
                Err(mavis_catalog::Error::Promised { .. }) if began.elapsed() < PATIENCE => {
                    Box::pin(settle(&running.context)).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => break other?,
            }
        };
        running
            .info(format!("published snapshot {} of the FHIR zone: {} tables are newer", snapshot.id, newer.len()))
            .await;
        Ok(())
    }
}

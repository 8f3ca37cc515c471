//! What the lake needs now and then, done in the background: small files put together, snapshots forgotten.
//!
//! Single writes and streams leave a file each. Once a table has gathered enough of them they become one, while others go
//! on reading and writing ([`mavis_lake::Compacted`] tells how). Nobody sees it until the newer version is published; a
//! walk over pages that began before stays on its own snapshot, whose files a vacuum keeps longer than any walk may last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use mavis_catalog::Table;
use mavis_lake::Compacted;
use mavis_types::{RunId, TableId, Zone};

use crate::{context::Context, failure::Failure};

/// How the lake is kept in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upkeep {
    /// Pause between two rounds.
    pub every: Duration,
    /// Files of about one size that a table gathers before they are put together; 0: never.
    pub files: usize,
    /// Age at which published snapshots are forgotten. Pages of a search cannot be walked for longer.
    pub snapshots: Duration,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self { every: Duration::from_secs(60), files: 16, snapshots: Duration::from_secs(24 * 3600) }
    }
}

/// What one round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Compactions that were committed.
    pub compacted: u64,
    /// Files that there are less.
    pub files_fewer: u64,
    /// Compactions that somebody's write came before.
    pub overtaken: u64,
    pub snapshots_forgotten: u64,
    /// Folders of tables that were dropped, and of statements that died.
    pub folders_deleted: u64,
}

/// How long the files of a table that was dropped stay for those who read it.
const LOOSE: Duration = Duration::from_secs(24 * 3600);

/// What is remembered from round to round: versions of tables in which nothing was left to do.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<TableId, i64>);

/// One round over all tables. A table that fails does not keep the others from their turn.
pub(crate) async fn round(context: &Arc<Context>, upkeep: Upkeep, seen: &mut Seen) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    if upkeep.files > 0 {
        for table in context.catalog.tables(None, None, None, None).await? {
            // A view has none.
            let Some(version) = table.version else { continue };
            if seen.0.get(&table.id) == Some(&version) {
                continue;
            }
            match Box::pin(compact(context, &table, upkeep.files, &mut kept)).await {
                Ok(Some(version)) => {
                    seen.0.insert(table.id, version);
                }
                Ok(None) => {}
                Err(failure) => tracing::warn!(table = %table.name, %failure, "small files could not be put together"),
            }
        }
    }
    kept.folders_deleted = context.lake.sweep(LOOSE).await?;
    kept.snapshots_forgotten = context.catalog.forget_snapshots(upkeep.snapshots).await?;
    Ok(kept)
}

/// Compacts until nothing is left to do; answers the version in which that is so.
async fn compact(context: &Arc<Context>, table: &Table, files: usize, kept: &mut Kept) -> Result<Option<i64>, Failure> {
    loop {
        let version = context.lake.version(table.id).await?;
        match context.lake.compact(table.id, files, RunId::new()).await? {
            Compacted::Nothing => {
                // A write to several tables may have kept the newer version from being published.
                if table.name.zone == Zone::Fhir && !publish(context, table.id, version).await? {
                    return Ok(None);
                }
                return Ok(Some(version));
            }
            Compacted::Done { files, .. } => {
                kept.compacted += 1;
                kept.files_fewer += files.files_before.saturating_sub(files.files_after);
            }
            Compacted::Overtaken => {
                kept.overtaken += 1;
                return Ok(None);
            }
        }
    }
}

/// Publishes a version of a table of the FHIR zone that holds the rows of the published one in another arrangement.
/// `false`: it has to wait.
async fn publish(context: &Arc<Context>, table: TableId, version: i64) -> Result<bool, Failure> {
    let _one_at_a_time = context.publishing.lock().await;
    let latest = context.catalog.latest_snapshot().await?;
    let Some(published) = latest.and_then(|snapshot| snapshot.versions.get(&table).copied()) else { return Ok(true) };
    if published >= version {
        return Ok(true);
    }
    // What a run has committed and not yet published is its own to publish, with all that belongs to it.
    if context.lake.rows_changed_between(table, published, version).await? {
        return Ok(false);
    }
    match context.catalog.publish_snapshot(None, &BTreeMap::from([(table, version)])).await {
        Ok(_) => Ok(true),
        Err(mavis_catalog::Error::Promised { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

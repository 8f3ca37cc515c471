//! OPTIMIZE, VACUUM, checkpoints and log clean-up: apart from ingestion, under the same lease.
//!
//! None of them changes a row: optimised files are committed as rearranged (no data change), so that change feeds and
//! hops pass over them, and application transactions stay as they are.

use std::{collections::HashSet, sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use chrono::Utc;
use datafusion::{
    common::Column,
    logical_expr::{Expr, SortExpr},
};
use deltalake_core::{
    checkpoints::{cleanup_metadata, create_checkpoint},
    kernel::Action,
    protocol::DeltaOperation,
};
use futures::TryStreamExt;
use mavis_types::{RunId, TableId, TableName};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{
    Error, Lake,
    commit::{Publication, Void},
    create::{Properties, REMEMBER_FILES_DAYS, tell_catalog},
    lease::Hold,
    scan::{DataFile, add, data_files, read, row_count},
    stage::{FileKind, Stage, StageOptions, StagedFile, TARGET_FILE_BYTES, delete_files},
    table::{Open, version_of},
};

/// Of a sorted table, everything is sorted again when small files are a fifth of it, or it is small altogether.
const SORT_ALL_BYTES: u64 = 1 << 30;
const SORT_ALL_SHARE: u64 = 5;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Commits after which a checkpoint is due.
const CHECKPOINT_COMMITS: i64 = 100;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Optimized {
    pub files_before: u64,
    pub files_after: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuumed {
    pub files_deleted: u64,
}

impl Lake {
    /// Puts small files together, sorted as the table says, and checkpoints the log.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`].
    pub async fn optimize(&self, table: TableId, run: RunId) -> Result<Optimized, Error> {
        let open = self.opened(table).await?;
        let hold = self.hold(table, &open.name, run).await?;
        let outcome = Box::pin(rewrite(self, &open, &hold, run)).await;
        let outcome = match outcome {
            Ok(done) => checkpoint_now(&open).await.map(|()| done),
            Err(error) => Err(error),
        };
        hold.release().await;
        outcome
    }

    /// Deletes files that no version younger than `retention` uses: removed ones, change files, and what writers left
    /// behind that died. Less than 24 hours is refused: pinned snapshots live that long. More than 30 days is refused
    /// too: the log does not remember removed files for longer.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`].
    pub async fn vacuum(&self, table: TableId, retention: Duration, run: RunId) -> Result<Vacuumed, Error> {
        let refuse = |reason: String| Error::Store { doing: "checking the retention of a vacuum".to_owned(), reason };
        if retention < DAY {
            return Err(refuse(
                "less than 24 hours would delete files of pinned snapshots; give 24 hours or more".to_owned(),
            ));
        }
        if retention > DAY * u32::try_from(REMEMBER_FILES_DAYS).unwrap_or(u32::MAX) {
            return Err(refuse(format!("removed files are remembered for {REMEMBER_FILES_DAYS} days; give no more")));
        }
        let open = self.opened(table).await?;
        let hold = self.hold(table, &open.name, run).await?;
        let outcome = delete_unused(self, &open, &hold, retention).await;
        hold.release().await;
        outcome
    }

    /// Writes a checkpoint where a hundred commits have gathered, and cleans up the log.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`].
    pub async fn checkpoint(&self, table: TableId, run: RunId) -> Result<(), Error> {
        let open = self.opened(table).await?;
        if !checkpoint_due(&open).await? {
            return Ok(());
        }
        let hold = self.hold(table, &open.name, run).await?;
        let outcome = checkpoint_now(&open).await;
        hold.release().await;
        outcome
    }
}

async fn rewrite(lake: &Lake, open: &Open, hold: &Hold, run: RunId) -> Result<Optimized, Error> {
    let base = open.newest_listed().await?;
    let files = data_files(&base, &open.name)?;
    if open.foreign().is_some() {
        // They stay as their owner wrote them.
        let bytes = files.iter().map(|file| file.bytes).sum();
        let count = files.len() as u64;
        return Ok(Optimized { files_before: count, files_after: count, bytes_before: bytes, bytes_after: bytes });
    }
    let size = |files: &[DataFile]| files.iter().map(|file| file.bytes).sum::<u64>();
    let mut done = Optimized { files_before: files.len() as u64, bytes_before: size(&files), ..Optimized::default() };
    let properties = Properties::of(&base)?;
    // Files of three quarters of their size are not put together.
    let enough = properties.file_bytes() / 4 * 3;
    let small: Vec<DataFile> = files.iter().filter(|file| file.bytes < enough).cloned().collect();
    let all = !properties.sort.is_empty()
        && (done.bytes_before < SORT_ALL_BYTES || size(&small) * SORT_ALL_SHARE >= done.bytes_before);
    let chosen = if all { files.clone() } else { small.clone() };
    if small.len() < 2 {
        return Ok(Optimized { files_after: done.files_before, bytes_after: done.bytes_before, ..done });
    }
    let store = lake.store().table(&open.location)?;
    let made = put_together(lake, open, &base, &properties, &store, &chosen).await?;
    let made_bytes: u64 = made.iter().map(|file| file.bytes).sum();
    done.files_after = done.files_before - chosen.len() as u64 + made.len() as u64;
    done.bytes_after = done.bytes_before - size(&chosen) + made_bytes;
    Box::pin(publish(lake, open, hold, run, &base, Rearranged { old: &chosen, new: made }, &store)).await?;
    info!(table = %open.name, before = done.files_before, after = done.files_after, "optimised `{}`", open.name);
    Ok(done)
}

/// The rows of some files of a version in new files, sorted as the table says. Nothing is left behind where it fails.
pub(crate) async fn put_together(
    lake: &Lake,
    open: &Open,
    base: &deltalake_core::DeltaTable,
    properties: &Properties,
    store: &Arc<dyn ObjectStore>,
    chosen: &[DataFile],
) -> Result<Vec<StagedFile>, Error> {
    let schema = base.snapshot()?.snapshot().arrow_schema();
    let mut stage = Stage::start(StageOptions {
        store: Arc::clone(store),
        schema: Arc::clone(&schema),
        statistics: Arc::new(properties.statistics.clone()),
        kind: FileKind::Data,
        file_bytes: properties.file_bytes(),
    });
    let copied = if properties.sort.is_empty() {
        copy(store, open, &schema, chosen, &mut stage).await
    } else {
        copy_sorted(lake, base, chosen, &properties.sort, &schema, &mut stage).await
    };
    if let Err(error) = copied {
        stage.discard().await;
        return Err(error);
    }
    let made = stage.finish().await?;
    if let Some(error) = unlike(&open.name, chosen, &made) {
        delete_files(&**store, made.into_iter().map(|file| file.path)).await;
        return Err(error);
    }
    Ok(made)
}

/// Why the new files cannot take the place of the old ones, if they cannot.
fn unlike(table: &TableName, old: &[DataFile], new: &[StagedFile]) -> Option<Error> {
    let before: u64 = old.iter().map(|file| file.rows).sum::<Option<u64>>()?;
    let after: u64 = new.iter().map(|file| file.rows).sum();
    let detail = format!("{before} rows were put together into {after}");
    (before != after).then(|| Error::Unbalanced { table: table.clone(), detail })
}

/// Files that hold the same rows.
pub(crate) struct Rearranged<'a> {
    pub(crate) old: &'a [DataFile],
    pub(crate) new: Vec<StagedFile>,
}

/// Commits that the new files stand for the old ones; answers the version.
pub(crate) async fn publish(
    lake: &Lake,
    open: &Open,
    hold: &Hold,
    run: RunId,
    base: &deltalake_core::DeltaTable,
    Rearranged { old, new }: Rearranged<'_>,
    store: &Arc<dyn ObjectStore>,
) -> Result<i64, Error> {
    let mut actions: Vec<Action> = old.iter().map(|file| Action::Remove(file.remove(false))).collect();
    actions.extend(new.iter().map(|file| Action::Add(add(file, false))));
    let target_size = i64::try_from(TARGET_FILE_BYTES).unwrap_or(i64::MAX);
    let operation = DeltaOperation::Optimize { predicate: None, target_size };
    let retry_wait = lake.tuning().retry_wait;
    let publication =
        Publication { open, base, hold, run, transaction: None, actions, operation, retry_wait, cursor: None };
    match publication.publish().await {
        Ok(now) => {
            let table = lake.catalog().table_by_id(open.id).await?;
            tell_catalog(lake, &table, &now, false).await;
            version_of(&now)
        }
        Err(Void { error, certain }) => {
            if certain {
                delete_files(&**store, new.into_iter().map(|file| file.path)).await;
            }
            Err(error)
        }
    }
}

async fn copy(
    store: &Arc<dyn ObjectStore>,
    open: &Open,
    schema: &SchemaRef,
    files: &[DataFile],
    stage: &mut Stage,
) -> Result<(), Error> {
    for file in files {
        let mut batches = Box::pin(read(store, &file.path, file.bytes, schema, &open.name).await?);
        while let Some(batch) = batches.try_next().await? {
            stage.write(batch).await?;
        }
    }
    Ok(())
}

async fn copy_sorted(
    lake: &Lake,
    base: &deltalake_core::DeltaTable,
    files: &[DataFile],
    sort: &[String],
    schema: &SchemaRef,
    stage: &mut Stage,
) -> Result<(), Error> {
    let provider = base
        .table_provider()
        .with_session(lake.sessions().state())
        .with_file_paths(files.iter().map(|file| file.path.to_string()))
        .await?;
    let order: Vec<SortExpr> = sort
        .iter()
        .filter(|name| schema.field_with_name(name).is_ok())
        .map(|name| Expr::Column(Column::from_name(name)).sort(true, true))
        .collect();
    let rows = lake.sessions().internal().read_table(provider)?.sort(order)?;
    let mut batches = rows.execute_stream().await?;
    while let Some(batch) = batches.try_next().await? {
        let batch = crate::conform::conform(&batch, schema)
            .map_err(|refused| Error::store("sorting a table", &std::io::Error::other(refused.instead)))?;
        stage.write(batch).await?;
    }
    Ok(())
}

async fn delete_unused(lake: &Lake, open: &Open, hold: &Hold, retention: Duration) -> Result<Vacuumed, Error> {
    let failed = |error: object_store::Error| Error::store("vacuuming", &error);
    let table = open.newest_listed().await?;
    let cutoff = Utc::now() - chrono::TimeDelta::from_std(retention).unwrap_or(chrono::TimeDelta::MAX);
    let mut kept: HashSet<Path> = data_files(&table, &open.name)?.into_iter().map(|file| file.path).collect();
    let log = table.log_store();
    let mut removed = table.snapshot()?.all_tombstones(&log);
    while let Some(file) = removed.try_next().await? {
        // A file without a time of removal is not known to be old enough.
        if file.deletion_timestamp().is_none_or(|time| time >= cutoff.timestamp_millis()) {
            kept.insert(Path::parse(file.path().as_ref()).unwrap_or_else(|_| Path::from(file.path().as_ref())));
        }
    }
    let store = lake.store().table(&open.location)?;
    let log_folder = Path::from("_delta_log");
    let unused: Vec<ObjectMeta> = store
        .list(None)
        .try_filter(|meta| {
            let keep = kept.contains(&meta.location)
                || meta.location.prefix_matches(&log_folder)
                || meta.last_modified >= cutoff;
            std::future::ready(!keep)
        })
        .try_collect()
        .await
        .map_err(failed)?;
    hold.prove().await?;
    let mut files_deleted = 0;
    for meta in unused {
        match store.delete(&meta.location).await {
            Ok(()) => files_deleted += 1,
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    info!(table = %open.name, files_deleted, "vacuumed `{}`", open.name);
    Ok(Vacuumed { files_deleted })
}

async fn checkpoint_due(open: &Open) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Last {
        version: i64,
    }
    let table = open.newest_listed().await?;
    let log = table.log_store();
    let hint = log.object_store(None).get(&Path::from("_delta_log/_last_checkpoint")).await;
    let last = match hint {
        Ok(found) => {
            let bytes = found.bytes().await.map_err(|error| Error::store("reading a checkpoint's hint", &error))?;
            serde_json::from_slice::<Last>(&bytes).map_or(0, |last| last.version)
        }
        Err(object_store::Error::NotFound { .. }) => 0,
        Err(error) => return Err(Error::store("reading a checkpoint's hint", &error)),
    };
    Ok(version_of(&table)? - last >= CHECKPOINT_COMMITS)
}

async fn checkpoint_now(open: &Open) -> Result<(), Error> {
    let table = open.newest_listed().await?;
    // An empty log needs none.
    if version_of(&table)? == 0 || row_count(&table)?.is_none() {
        return Ok(());
    }
    create_checkpoint(&table, None).await?;
    cleanup_metadata(&table, None).await?;
    Ok(())
}

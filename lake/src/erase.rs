//! Rows that must be gone: from the newest version ([`Lake::erase`]) and from every older one ([`Lake::forget_past`]).
//!
//! Erasing is no change of what a table tells: files with such rows are written again without them and committed as
//! rearranged, as an optimisation is, so that hops and change feeds pass over it and repeat nothing. Older versions keep the
//! rows until the past is forgotten: a checkpoint of the newest version is written, and every log entry before it (which hold
//! statistics) and every file that it does not name are deleted, however young they are. A query that still reads an older
//! version ends with an error.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::{filter_record_batch, not},
    datatypes::SchemaRef,
};
use deltalake_core::{
    checkpoints::create_checkpoint, kernel::Action, logstore::extract_version_from_filename, protocol::DeltaOperation,
};
use futures::TryStreamExt;
use mavis_types::{RunId, TableId};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tracing::info;

use crate::{
    Error, Lake,
    commit::{Publication, Void},
    create::{Properties, tell_catalog},
    lease::Hold,
    scan::{DataFile, add, data_files, read},
    stage::{FileKind, Stage, StageOptions, delete_files},
    table::{Open, version_of},
};

/// Says of each row of a batch whether it must go; it gets the columns that it asks for, as far as the table has them.
pub type Matches = Arc<dyn Fn(&RecordBatch) -> Result<BooleanArray, Error> + Send + Sync>;

/// What erasing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    pub rows: u64,
    /// The version without the rows; the newest, where there were none.
    pub version: i64,
}

impl Lake {
    /// Takes the rows that match out of the newest version. Older versions keep them: see [`Lake::forget_past`].
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`], and what `matches` says.
    pub async fn erase(
        &self,
        table: TableId,
        columns: &[String],
        matches: Matches,
        run: RunId,
    ) -> Result<Erased, Error> {
        let open = self.opened(table).await?;
        let hold = self.hold(table, &open.name, run).await?;
        let outcome = Box::pin(take_out(self, &open, &hold, columns, matches, run)).await;
        hold.release().await;
        outcome
    }

    /// Deletes what older versions of the table are made of, at once. `only_at`: the version that readers are sent to; where
    /// the table has moved on from it, nothing is done.
    ///
    /// # Errors
    /// [`Error::Busy`] where the table has moved on: try again when it has settled. [`Error::Store`].
    pub async fn forget_past(&self, table: TableId, only_at: Option<i64>, run: RunId) -> Result<(), Error> {
        let open = self.opened(table).await?;
        let hold = self.hold(table, &open.name, run).await?;
        let outcome = Box::pin(forget(self, &open, &hold, only_at)).await;
        hold.release().await;
        outcome
    }
}

async fn take_out(
    lake: &Lake,
    open: &Open,
    hold: &Hold,
    columns: &[String],
    matches: Matches,
    run: RunId,
) -> Result<Erased, Error> {
    let base = open.newest().await?;
    let version = version_of(&base)?;
    let store = lake.store().table(&open.location)?;
    let schema = base.snapshot()?.snapshot().arrow_schema();
    let wanted: Vec<usize> =
        (0..schema.fields().len()).filter(|index| columns.contains(schema.field(*index).name())).collect();
    if wanted.len() < columns.len() {
        return Ok(Erased { rows: 0, version });
    }
    let narrow = schema.project(&wanted).map(Arc::new).map_err(Error::arrow)?;
    let properties = Properties::of(&base)?;
    let mut stage = Stage::start(StageOptions {
        store: Arc::clone(&store),
        schema: Arc::clone(&schema),
        statistics: Arc::new(properties.statistics.clone()),
        kind: FileKind::Data,
        file_bytes: properties.file_bytes(),
    });
    let (mut old, mut rows) = (Vec::new(), 0);
    for file in data_files(&base, &open.name)? {
        let found = count(&store, open, &narrow, &file, &matches).await?;
        if found > 0 {
            rows += found;
            if let Err(error) = copy_without(&store, open, &schema, &narrow, &file, &matches, &mut stage).await {
                stage.discard().await;
                return Err(error);
            }
            old.push(file);
        }
    }
    let new = stage.finish().await?;
    if old.is_empty() {
        return Ok(Erased { rows: 0, version });
    }
    let mut actions: Vec<Action> = old.iter().map(|file| Action::Remove(file.remove(false))).collect();
    actions.extend(new.iter().map(|file| Action::Add(add(file, false))));
    let operation = DeltaOperation::Delete { predicate: None };
    let retry_wait = lake.tuning().retry_wait;
    let publication =
        Publication { open, base: &base, hold, run, transaction: None, actions, operation, retry_wait, cursor: None };
    match publication.publish().await {
        Ok(now) => {
            let table = lake.catalog().table_by_id(open.id).await?;
            tell_catalog(lake, &table, &now, false).await;
            let version = version_of(&now)?;
            info!(table = %open.name, rows, "erased {rows} rows of `{}`", open.name);
            Ok(Erased { rows, version })
        }
        Err(Void { error, certain }) => {
            if certain {
                delete_files(&*store, new.into_iter().map(|file| file.path)).await;
            }
            Err(error)
        }
    }
}

async fn count(
    store: &Arc<dyn ObjectStore>,
    open: &Open,
    narrow: &SchemaRef,
    file: &DataFile,
    matches: &Matches,
) -> Result<u64, Error> {
    let mut found = 0;
    let mut batches = Box::pin(read(store, &file.path, file.bytes, narrow, &open.name).await?);
    while let Some(batch) = batches.try_next().await? {
        found += matches(&batch)?.true_count() as u64;
    }
    Ok(found)
}

async fn copy_without(
    store: &Arc<dyn ObjectStore>,
    open: &Open,
    schema: &SchemaRef,
    narrow: &SchemaRef,
    file: &DataFile,
    matches: &Matches,
    stage: &mut Stage,
) -> Result<(), Error> {
    let mut batches = Box::pin(read(store, &file.path, file.bytes, schema, &open.name).await?);
    while let Some(batch) = batches.try_next().await? {
        let columns = narrow.fields().iter().map(|field| batch.schema_ref().index_of(field.name()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(Error::arrow)?;
        let gone = matches(&batch.project(&columns).map_err(Error::arrow)?)?;
        // What is unknown stays.
        let gone: BooleanArray = gone.iter().map(|gone| Some(gone == Some(true))).collect();
        let kept = not(&gone).and_then(|kept| filter_record_batch(&batch, &kept)).map_err(Error::arrow)?;
        if kept.num_rows() > 0 {
            stage.write(kept).await?;
        }
    }
    Ok(())
}

async fn forget(lake: &Lake, open: &Open, hold: &Hold, only_at: Option<i64>) -> Result<(), Error> {
    let failed = |error: object_store::Error| Error::store("forgetting the past of a table", &error);
    let table = open.newest().await?;
    let newest = version_of(&table)?;
    if only_at.is_some_and(|wanted| wanted != newest) {
        let reason = "it was written meanwhile and is not published yet".to_owned();
        return Err(Error::Busy { table: open.name.clone(), reason });
    }
    if newest > 0 {
        create_checkpoint(&table, None).await?;
    }
    hold.prove().await?;
    let log = table.log_store();
    let log_store = log.object_store(None);
    let entries: Vec<Path> =
        log_store.list(Some(log.log_path())).map_ok(|meta| meta.location).try_collect().await.map_err(failed)?;
    for entry in entries {
        let version = extract_version_from_filename(entry.as_ref()).and_then(|version| i64::try_from(version).ok());
        let is_checkpoint = entry.filename().is_some_and(|name| name.contains(".checkpoint"));
        // The newest entry is kept beside its checkpoint: it tells whose commit it is.
        if version.is_some_and(|version| version < newest || (is_checkpoint && version > newest)) {
            delete(&*log_store, &entry).await?;
        }
    }
    let kept: HashSet<Path> = data_files(&table, &open.name)?.into_iter().map(|file| file.path).collect();
    let store = lake.store().table(&open.location)?;
    let log_folder = Path::from("_delta_log");
    let unused: Vec<Path> = store
        .list(None)
        .map_ok(|meta| meta.location)
        .try_filter(|path| std::future::ready(!kept.contains(path) && !path.prefix_matches(&log_folder)))
        .try_collect()
        .await
        .map_err(failed)?;
    for path in &unused {
        delete(&*store, path).await?;
    }
    // What is in memory was read with the log that is gone.
    open.forget_versions();
    lake.pages().forget();
    open.reload().await?;
    info!(table = %open.name, files = unused.len(), "forgot every older version of `{}`", open.name);
    Ok(())
}

async fn delete(store: &dyn ObjectStore, path: &Path) -> Result<(), Error> {
    match store.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(Error::store("forgetting the past of a table", &error)),
    }
}

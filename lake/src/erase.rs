//! Rows that must be gone: from the newest version ([`Lake::erase`]) and from every older one ([`Lake::forget_past`]).
//!
//! Erasing is no change of what a table tells: files with such rows are written again without them and committed as
//! rearranged, as an optimisation is, so that hops and change feeds pass over it and repeat nothing. Older versions keep the
//! rows until the past is forgotten: a checkpoint of the newest version is written, and every log entry before it (which hold
//! statistics) and every file that it does not name are deleted, however young they are. A query that still reads an older
//! version ends with an error.
//!
//! Of a table taken over in place files of others are left as they are: the log names files of ours in their stead, and the
//! answer says which ones their owner has to delete.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::{filter_record_batch, not},
    datatypes::SchemaRef,
};
use deltalake_core::{
    checkpoints::create_checkpoint,
    kernel::{Action, Add},
    logstore::extract_version_from_filename,
    protocol::DeltaOperation,
};
use futures::{TryStreamExt, stream::BoxStream};
use mavis_types::{RunId, TableId};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tracing::info;

use crate::{
    Error, Lake,
    commit::{Publication, Void},
    create::{Properties, tell_catalog},
    in_place::{Layout, number_of, replacement_of},
    lease::Hold,
    scan::{DataFile, add, data_files, read_as},
    stage::{FileKind, Stage, StageOptions, delete_files},
    table::{Open, version_of},
};

/// Says of each row of a batch whether it must go; it gets the columns that it asks for, as far as the table has them.
pub type Matches = Arc<dyn Fn(&RecordBatch) -> Result<BooleanArray, Error> + Send + Sync>;

/// What erasing did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    pub rows: u64,
    /// The version without the rows; the newest, where there were none.
    pub version: i64,
    /// Files of others that hold the rows still: the table was taken over in place, and reads files of its own instead of
    /// them now. Their owner has to delete them.
    pub foreign: Vec<String>,
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
    let base = open.newest_listed().await?;
    let version = version_of(&base)?;
    let store = lake.store().table(&open.location)?;
    let schema = base.snapshot()?.snapshot().arrow_schema();
    let wanted: Vec<usize> =
        (0..schema.fields().len()).filter(|index| columns.contains(schema.field(*index).name())).collect();
    if wanted.len() < columns.len() {
        return Ok(Erased { version, ..Erased::default() });
    }
    let narrow = schema.project(&wanted).map(Arc::new).map_err(Error::arrow)?;
    let properties = Properties::of(&base)?;
    let copy =
        Copy { store: &store, open, schema: &schema, narrow: &narrow, matches: &matches, properties: &properties };
    let mut stage = Stage::start(copy.options(FileKind::Data, &schema, &properties.statistics));
    let (mut old, mut new, mut rows) = (Vec::new(), Vec::new(), 0);
    for file in data_files(&base, &open.name)? {
        let copied = async {
            let found = copy.count(&file).await?;
            if found > 0 {
                match &file.layout {
                    None => copy.without(&file, &mut stage).await?,
                    Some(layout) => new.extend(copy.instead(&file, layout).await?),
                }
            }
            Ok::<u64, Error>(found)
        };
        match copied.await {
            Ok(0) => {}
            Ok(found) => {
                rows += found;
                old.push(file);
            }
            Err(error) => {
                stage.discard().await;
                delete_files(&*store, new.iter().map(path_of)).await;
                return Err(error);
            }
        }
    }
    new.extend(stage.finish().await?.iter().map(|file| add(file, false)));
    if old.is_empty() {
        return Ok(Erased { version, ..Erased::default() });
    }
    let foreign = old.iter().filter(|file| is_foreign(file)).map(|file| file.remove(false).path).collect();
    let made: Vec<Path> = new.iter().map(path_of).collect();
    let mut actions: Vec<Action> = old.iter().map(|file| Action::Remove(file.remove(false))).collect();
    actions.extend(new.into_iter().map(Action::Add));
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
            Ok(Erased { rows, version, foreign })
        }
        Err(Void { error, certain }) => {
            if certain {
                delete_files(&*store, made).await;
            }
            Err(error)
        }
    }
}

/// Whether a file is named by its URL: it is not ours.
fn is_foreign(file: &DataFile) -> bool {
    file.layout.is_some() && replacement_of(&file.path).is_none()
}

fn path_of(file: &Add) -> Path {
    Path::from(file.path.as_str())
}

/// Files written again without the rows that match.
struct Copy<'a> {
    store: &'a Arc<dyn ObjectStore>,
    open: &'a Open,
    schema: &'a SchemaRef,
    /// The columns that `matches` asks for.
    narrow: &'a SchemaRef,
    matches: &'a Matches,
    properties: &'a Properties,
}

impl Copy<'_> {
    fn options(&self, kind: FileKind, schema: &SchemaRef, statistics: &HashSet<String>) -> StageOptions {
        StageOptions {
            store: Arc::clone(self.store),
            schema: Arc::clone(schema),
            statistics: Arc::new(statistics.clone()),
            kind,
            file_bytes: self.properties.file_bytes(),
        }
    }

    async fn rows(
        &self,
        file: &DataFile,
        schema: &SchemaRef,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        read_as(self.store, (&file.path, file.bytes), file.layout.as_ref(), schema, &self.open.name).await
    }

    async fn count(&self, file: &DataFile) -> Result<u64, Error> {
        let mut found = 0;
        let mut batches = self.rows(file, self.narrow).await?;
        while let Some(batch) = batches.try_next().await? {
            found += (self.matches)(&batch)?.true_count() as u64;
        }
        Ok(found)
    }

    fn kept(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let columns = self.narrow.fields().iter().map(|field| batch.schema_ref().index_of(field.name()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(Error::arrow)?;
        let gone = (self.matches)(&batch.project(&columns).map_err(Error::arrow)?)?;
        // What is unknown stays.
        let gone: BooleanArray = gone.iter().map(|gone| Some(gone == Some(true))).collect();
        not(&gone).and_then(|kept| filter_record_batch(batch, &kept)).map_err(Error::arrow)
    }

    async fn without(&self, file: &DataFile, stage: &mut Stage) -> Result<(), Error> {
        let mut batches = self.rows(file, self.schema).await?;
        while let Some(batch) = batches.try_next().await? {
            let kept = self.kept(&batch)?;
            if kept.num_rows() > 0 {
                stage.write(kept).await?;
            }
        }
        Ok(())
    }

    /// Files of ours that stand for a foreign one, with what the log says of its rows.
    async fn instead(&self, file: &DataFile, layout: &Layout) -> Result<Vec<Add>, Error> {
        let columns = layout.columns();
        let of = replacement_of(&file.path).unwrap_or_else(|| number_of(&file.path));
        let wanted = columns.own.iter().filter(|column| self.properties.statistics.contains(&column.name));
        let wanted: HashSet<String> = wanted.map(|column| column.in_files.clone()).collect();
        let mut stage = Stage::start(self.options(FileKind::Instead { of }, &columns.in_files(), &wanted));
        let copied = async {
            let mut batches = self.rows(file, self.schema).await?;
            while let Some(batch) = batches.try_next().await? {
                stage.write(layout.for_file(&self.kept(&batch)?)?).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = copied.await {
            stage.discard().await;
            return Err(error);
        }
        let values = file.remove(false).partition_values.unwrap_or_default();
        let made = stage.finish().await?;
        Ok(made.iter().map(|made| Add { partition_values: values.clone(), ..add(made, false) }).collect())
    }
}

async fn forget(lake: &Lake, open: &Open, hold: &Hold, only_at: Option<i64>) -> Result<(), Error> {
    let failed = |error: object_store::Error| Error::store("forgetting the past of a table", &error);
    let table = open.newest_listed().await?;
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
    let mut entries: Vec<Path> =
        log_store.list(Some(log.log_path())).map_ok(|meta| meta.location).try_collect().await.map_err(failed)?;
    // From the beginning on, one by one: who has an older version open sees by its own entry that others are gone, wherever this
    // ends (`Open::newest`). Names of entries begin with the version, of one length.
    entries.sort();
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

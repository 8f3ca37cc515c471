use std::{collections::BTreeMap, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::catalog::TableProvider;
use deltalake_core::{
    DeltaTable,
    kernel::Action,
    protocol::{DeltaOperation, SaveMode},
};
use futures::TryStreamExt;
use mavis_catalog::Table;
use mavis_types::{RunId, TableId, Zone};
use object_store::{ObjectStore, path::Path};
use tracing::warn;

use super::{new_columns, places::Places};
use crate::{
    Error, Lake,
    commit::{Publication, Void},
    compare::{FILE_SHIFT, Marks, NONE, WHOLE},
    conform::conform,
    create::{Properties, default_statistics, metadata_with, set_columns, with_statistics},
    lease::Hold,
    rows::filter,
    scan::{self, DataFile, add, data_files, read},
    stage::{FileKind, Stage, StageOptions, delete_files},
    table::{Open, version_of},
};

/// What a change is told to be in the table's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Insert,
    Update,
    Delete,
    Merge,
    /// Everything that was there goes.
    Replace,
    /// Columns are added.
    Alter,
}

/// The right to change one table once. Dropping it commits nothing, deletes what was staged, and gives the lease back.
#[derive(Debug)]
pub struct Change {
    lake: Lake,
    open: Arc<Open>,
    table: Table,
    base: DeltaTable,
    run: RunId,
    hold: Hold,
    properties: Properties,
    store: Arc<dyn ObjectStore>,
    files: Arc<Vec<DataFile>>,
    /// The table's columns before.
    before: SchemaRef,
    /// The table's columns after.
    schema: SchemaRef,
    replaces: bool,
    gone: BTreeMap<usize, Marks>,
    marked: u64,
    pushed: u64,
    stage: Option<Stage>,
}

impl Lake {
    /// Takes the lease of a table of the work zone and loads its newest version: whoever changes it too waits, or is told
    /// that it is in use.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::NoSuchTable`] also where it was dropped meanwhile, [`Error::Store`].
    pub async fn change(&self, table: TableId, run: RunId) -> Result<Change, Error> {
        Box::pin(begin(self, table, run)).await
    }
}

async fn begin(lake: &Lake, id: TableId, run: RunId) -> Result<Change, Error> {
    let open = lake.opened(id).await?;
    let hold = lake.hold(id, &open.name, run).await?;
    // From here on nobody else commits, as long as the lease is ours.
    match under_lease(lake, &open, id).await {
        Ok((table, base)) => {
            let snapshot = base.snapshot()?;
            let schema = snapshot.snapshot().arrow_schema();
            Ok(Change {
                lake: lake.clone(),
                properties: Properties::of(&base)?,
                store: lake.store().table(&open.location)?,
                files: Arc::new(data_files(&base, &open.name)?),
                before: Arc::clone(&schema),
                schema,
                replaces: false,
                gone: BTreeMap::new(),
                marked: 0,
                pushed: 0,
                stage: None,
                open,
                table,
                base,
                run,
                hold,
            })
        }
        Err(error) => {
            hold.release().await;
            Err(error)
        }
    }
}

async fn under_lease(lake: &Lake, open: &Open, id: TableId) -> Result<(Table, DeltaTable), Error> {
    let table = match lake.catalog().table_by_id(id).await {
        Err(mavis_catalog::Error::NotFound { .. }) => {
            return Err(Error::NoSuchTable { table: open.name.to_string() });
        }
        other => other?,
    };
    if table.name.zone != Zone::Work {
        let reason = "only tables of the work zone are changed by statements".to_owned();
        return Err(Error::Busy { table: table.name, reason });
    }
    let base = open.newest_listed().await?;
    if table.version != Some(version_of(&base)?) {
        // An earlier process died between its commit and telling the catalog.
        tell(lake, &table, &base, true).await;
    }
    Ok((table, base))
}

/// Tells the catalog where the table stands. The log is the truth: a failure is logged, and made good by the next change.
async fn tell(lake: &Lake, table: &Table, now: &DeltaTable, columns: bool) {
    let told = async {
        if columns {
            let schema = now.snapshot()?.snapshot().arrow_schema();
            set_columns(lake, table, &schema, &new_columns(&schema)).await?;
        }
        lake.catalog().note_table_state(table.id, version_of(now)?, scan::row_count(now)?).await?;
        Ok::<(), Error>(())
    };
    if let Err(error) = told.await {
        warn!(table = %table.name, "the catalog was not told of a commit to `{}`: {error}", table.name);
    }
}

impl Change {
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The table's columns, after the change.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Version that the change stands on.
    ///
    /// # Errors
    /// [`Error::Delta`], for a table that is not loaded.
    pub fn version(&self) -> Result<i64, Error> {
        version_of(&self.base)
    }

    /// Rows that the change stands on, where the log tells.
    ///
    /// # Errors
    /// As [`Change::version`].
    pub fn rows(&self) -> Result<Option<u64>, Error> {
        scan::row_count(&self.base)
    }

    /// The rows that the change stands on, with a column [`PLACE`](super::PLACE) after the table's own.
    #[must_use]
    pub fn places(&self) -> Arc<dyn TableProvider> {
        Arc::new(Places::new(
            Arc::clone(&self.store),
            self.open.name.clone(),
            &self.before,
            Arc::clone(&self.files),
            self.base.clone(),
        ))
    }

    /// Everything that is there goes with this change, and the table has these columns from then on.
    pub fn replace(&mut self, schema: &SchemaRef) {
        self.replaces = true;
        self.schema = super::stored_as(schema);
        self.properties.statistics = default_statistics(&self.schema, &[]).into_iter().collect();
    }

    /// The table has these columns from then on: those that it has, and more that may be null.
    pub fn widen(&mut self, schema: &SchemaRef) {
        self.schema = super::stored_as(schema);
    }

    /// The row of this place goes. `false`: it was marked before, or there is no such row.
    pub fn mark(&mut self, place: i64) -> bool {
        let Ok(place) = u64::try_from(place) else { return false };
        let (file, row) = (usize::try_from(place >> FILE_SHIFT).unwrap_or(usize::MAX), place & ((1 << FILE_SHIFT) - 1));
        if file >= self.files.len() {
            return false;
        }
        let marks = self.gone.entry(file).or_default();
        if marks.get(row) != NONE {
            return false;
        }
        marks.set(row, WHOLE);
        self.marked += 1;
        true
    }

    /// Rows that were marked.
    #[must_use]
    pub fn marked(&self) -> u64 {
        self.marked
    }

    /// Stages rows that are new, or that stand for marked ones. They have the columns of [`Change::schema`].
    ///
    /// # Errors
    /// [`Error::Evolution`] for values that do not fit, [`Error::Store`].
    pub async fn push(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let batch = conform(batch, &self.schema).map_err(|refused| refused.on(&self.table.name))?;
        self.pushed += batch.num_rows() as u64;
        self.write(batch).await
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), Error> {
        let stage = self.stage.get_or_insert_with(|| {
            Stage::start(StageOptions {
                store: Arc::clone(&self.store),
                schema: Arc::clone(&self.schema),
                statistics: Arc::new(self.properties.statistics.clone()),
                kind: FileKind::Data,
                file_bytes: self.properties.file_bytes(),
            })
        });
        stage.write(batch).await
    }

    /// Throws away what was staged and gives the lease back.
    pub async fn abandon(mut self) {
        if let Some(stage) = self.stage.take() {
            stage.discard().await;
        }
        self.hold.release().await;
    }

    /// Commits all of it at once and gives the lease back; answers the version. Where nothing changes, nothing is committed.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Unbalanced`], [`Error::Store`]. In each case nothing was committed, except that a store
    /// which fails and cannot be asked either leaves it open.
    pub async fn commit(mut self, doing: Doing) -> Result<i64, Error> {
        let mut created = Vec::new();
        let outcome = Box::pin(self.publish(doing, &mut created)).await;
        let result = match outcome {
            Ok(version) => Ok(version),
            Err(Void { error, certain }) => {
                if let Some(stage) = self.stage.take() {
                    stage.discard().await;
                }
                if certain {
                    delete_files(&*self.store, created).await;
                }
                Err(error)
            }
        };
        self.hold.release().await;
        result
    }

    async fn publish(&mut self, doing: Doing, created: &mut Vec<Path>) -> Result<i64, Void> {
        let mut actions = Vec::new();
        let grown = *self.before != *self.schema;
        if grown {
            let mut metadata = metadata_with(&self.base, &self.schema)?;
            if self.replaces {
                metadata = with_statistics(metadata, &default_statistics(&self.schema, &[]))?;
            }
            actions.push(Action::Metadata(metadata));
        }
        let mut kept = Some(0);
        let files = Arc::clone(&self.files);
        for (number, file) in files.iter().enumerate() {
            match self.gone.remove(&number) {
                _ if self.replaces => actions.push(Action::Remove(file.remove(true))),
                Some(marks) => {
                    actions.push(Action::Remove(file.remove(true)));
                    self.copy(file, &marks).await?;
                }
                None => kept = kept.zip(file.rows).map(|(kept, rows)| kept + rows),
            }
        }
        let mut staged = 0;
        if let Some(stage) = self.stage.take() {
            let new = stage.finish().await?;
            created.extend(new.iter().map(|file| file.path.clone()));
            staged = new.iter().map(|file| file.rows).sum();
            actions.extend(new.iter().map(|file| Action::Add(add(file, true))));
        }
        self.balance(kept, staged)?;
        if actions.is_empty() {
            return Ok(version_of(&self.base)?);
        }
        let publication = Publication {
            open: &self.open,
            base: &self.base,
            hold: &self.hold,
            run: self.run,
            transaction: None,
            actions,
            operation: operation(doing),
            retry_wait: self.lake.tuning().retry_wait,
            cursor: None,
        };
        let now = publication.publish().await?;
        tell(&self.lake, &self.table, &now, grown).await;
        Ok(version_of(&now).unwrap_or_default().max(version_of(&self.base).unwrap_or_default() + 1))
    }

    /// Copies what stays of a file that loses rows.
    async fn copy(&mut self, file: &DataFile, marks: &Marks) -> Result<(), Error> {
        let schema = Arc::clone(&self.schema);
        let mut first = 0_u64;
        let mut batches = Box::pin(read(&self.store, &file.path, file.bytes, &schema, &self.table.name).await?);
        while let Some(batch) = batches.try_next().await? {
            let stays = filter(&batch, |row| marks.get(first + row as u64) == NONE)?;
            first += batch.num_rows() as u64;
            if stays.num_rows() > 0 {
                self.write(stays).await?;
            }
        }
        Ok(())
    }

    /// The files that the commit is about to name must hold as many rows as were counted.
    fn balance(&self, kept: Option<u64>, staged: u64) -> Result<(), Error> {
        let (Some(before), Some(kept)) = (self.rows()?, kept) else { return Ok(()) };
        let expected = if self.replaces { self.pushed } else { (before + self.pushed).saturating_sub(self.marked) };
        if kept + staged == expected {
            return Ok(());
        }
        let detail = format!(
            "{before} rows, {} new and {} gone do not make {}",
            self.pushed,
            if self.replaces { before } else { self.marked },
            kept + staged
        );
        Err(Error::Unbalanced { table: self.table.name.clone(), detail })
    }
}

fn operation(doing: Doing) -> DeltaOperation {
    let write = |mode| DeltaOperation::Write { mode, partition_by: None, predicate: None };
    match doing {
        Doing::Insert | Doing::Alter => write(SaveMode::Append),
        Doing::Replace => write(SaveMode::Overwrite),
        Doing::Update => DeltaOperation::Update { predicate: None },
        Doing::Delete => DeltaOperation::Delete { predicate: None },
        Doing::Merge => crate::ending::merge_operation(),
    }
}

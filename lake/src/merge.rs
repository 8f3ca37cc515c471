//! From differences to files: what stays is copied, what goes is left out, and the change feed is told.

use std::{collections::HashSet, ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use deltalake_core::kernel::{Action, AddCDCFile};
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};

use crate::{
    Error, WriteMode,
    compare::{Differences, FILE_SHIFT, Marks, NONE, REPLACED, WHOLE, compare},
    create::Properties,
    ending::rows_of,
    ledger::{FLAG, Ledger},
    owned::Owned,
    rows::{Identity, filter, patch_occurrences, with_text},
    scan::{DataFile, add, read},
    stage::{FileKind, Stage, StageOptions, StagedFile},
    unit::Work,
};

/// Column of the change feed's files.
pub(crate) const CHANGE_TYPE: &str = "_change_type";
/// Incoming keys up to which rows of the table that none of them meets are not even noted.
const LOOKED_UP_KEYS: usize = 1 << 20;

/// Incoming rows in files, in their order.
pub(crate) struct Staged {
    pub(crate) files: Vec<StagedFile>,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Whether the files stand in the table's folder already.
    pub(crate) in_table: bool,
}

pub(crate) struct Merge<'a> {
    pub(crate) work: &'a Work,
    pub(crate) store: &'a Arc<dyn ObjectStore>,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) properties: &'a Properties,
    pub(crate) identity: &'a Identity,
    pub(crate) staged: Staged,
    /// Whether columns change their type, so that every old file is written again.
    pub(crate) retype: bool,
    /// Files in the table's folder, to be deleted if nothing is committed.
    pub(crate) created: &'a mut Vec<Path>,
}

/// What a commit is to say.
pub(crate) struct Merged {
    pub(crate) actions: Vec<Action>,
    /// Rows of the table after the commit, where the log can tell.
    pub(crate) rows_after: Option<u64>,
    /// Staged files that the commit does not name.
    pub(crate) useless: Vec<Path>,
}

/// Files that are being written; each begins with its first row.
struct Outputs {
    table: Option<Stage>,
    /// Copies of files that change their types only.
    copies: Option<Stage>,
    feed: Option<Stage>,
    feed_schema: SchemaRef,
}

impl Merge<'_> {
    /// Compares the incoming rows with the table's.
    pub(crate) async fn compare(
        &self,
        incoming: Ledger,
        mode: WriteMode,
        delete_missing: bool,
        owned: Option<&Owned>,
    ) -> Result<Differences, Error> {
        let tuning = self.work.lake.tuning();
        let wanted: Option<HashSet<u128>> = match incoming.in_memory() {
            Some(records) if mode == WriteMode::Upsert && !delete_missing && records.len() <= LOOKED_UP_KEYS => {
                Some(records.iter().map(|record| record.key).collect())
            }
            _ => None,
        };
        let mut table = Ledger::new(&self.work.lake.options().spill_dir, tuning.keys_in_memory);
        let narrow = self.narrow_schema(owned)?;
        for (number, file) in rows_of(self.work)?.iter().enumerate() {
            if incoming.len() == 0 && !delete_missing {
                break;
            }
            let mut first = 0_u64;
            let mut batches = Box::pin(read(self.store, &file.path, file.bytes, &narrow, &self.work.table.name).await?);
            while let Some(batch) = batches.try_next().await? {
                let may_go = match owned {
                    Some(owned) => Some(owned.holds(&batch)?),
                    None => None,
                };
                let place = |row: usize| {
                    let flag = if may_go.as_ref().is_none_or(|mask| mask.value(row)) { FLAG } else { 0 };
                    ((number as u64) << FILE_SHIFT) | (first + row as u64) | flag
                };
                for record in self.identity.stored(&batch, place)? {
                    if wanted.as_ref().is_none_or(|wanted| wanted.contains(&record.key)) {
                        table.push(record)?;
                    }
                }
                first += batch.num_rows() as u64;
            }
        }
        tokio::task::spawn_blocking(move || compare(&incoming.finish()?, &table.finish()?, delete_missing))
            .await
            .map_err(|error| Error::task("comparing rows", &error))?
    }

    fn narrow_schema(&self, owned: Option<&Owned>) -> Result<SchemaRef, Error> {
        let mut names: HashSet<&str> = self.identity.columns().into_iter().collect();
        names.extend(owned.into_iter().flat_map(Owned::columns));
        let indices: Vec<usize> = (0..self.schema.fields().len())
            .filter(|index| names.contains(self.schema.field(*index).name().as_str()))
            .collect();
        self.schema.project(&indices).map(Arc::new).map_err(Error::arrow)
    }

    /// Every staged row is new; the files are taken as they are.
    pub(crate) async fn append(&mut self) -> Result<Merged, Error> {
        let base = rows_of(self.work)?;
        let mut outputs = self.outputs();
        let mut merged = Merged { actions: Vec::new(), rows_after: known_rows(&base), useless: Vec::new() };
        for file in &self.staged.files {
            merged.actions.push(Action::Add(add(file, true)));
            merged.rows_after = merged.rows_after.map(|rows| rows + file.rows);
        }
        if self.retype {
            for file in &base {
                self.copy(&mut outputs, file, &mut merged).await?;
            }
        }
        self.close(outputs, &mut merged).await?;
        Ok(merged)
    }

    pub(crate) async fn apply(&mut self, found: &Differences) -> Result<Merged, Error> {
        let base = rows_of(self.work)?;
        let mut outputs = self.outputs();
        let mut merged = Merged { actions: Vec::new(), rows_after: known_rows(&base), useless: Vec::new() };
        let feed = self.properties.change_feed && !found.gone.is_empty();
        let mut first = 0;
        for file in std::mem::take(&mut self.staged.files) {
            let range = first..first + file.rows;
            first += file.rows;
            self.take_staged(&mut outputs, &mut merged, &file, range, found, feed).await?;
        }
        for (number, file) in base.iter().enumerate() {
            match u32::try_from(number).ok().and_then(|number| found.gone.get(&number)) {
                Some(gone) => self.rewrite(&mut outputs, &mut merged, file, gone, feed).await?,
                None if self.retype => self.copy(&mut outputs, file, &mut merged).await?,
                None => {}
            }
        }
        self.close(outputs, &mut merged).await?;
        Ok(merged)
    }

    async fn take_staged(
        &mut self,
        outputs: &mut Outputs,
        merged: &mut Merged,
        file: &StagedFile,
        range: Range<u64>,
        found: &Differences,
        feed: bool,
    ) -> Result<(), Error> {
        let kept = found.incoming.marked(range.clone());
        let from = found.occurrences.partition_point(|(row, _)| *row < range.start);
        let numbered = found.occurrences.get(from).is_some_and(|(row, _)| *row < range.end);
        let as_is = self.staged.in_table && kept == file.rows && !numbered;
        merged.rows_after = merged.rows_after.map(|rows| rows + kept);
        if as_is {
            merged.actions.push(Action::Add(add(file, true)));
        } else if self.staged.in_table {
            merged.useless.push(file.path.clone());
        }
        if kept == 0 || (as_is && !feed) {
            return Ok(());
        }
        let mut batches =
            Box::pin(read(&self.staged.store, &file.path, file.bytes, self.schema, &self.work.table.name).await?);
        let mut first = range.start;
        while let Some(batch) = batches.try_next().await? {
            let next = first + batch.num_rows() as u64;
            let mark = |row: usize| found.incoming.get(first + row as u64);
            let marks: Vec<u8> = (0..batch.num_rows()).map(mark).filter(|mark| *mark != NONE).collect();
            let batch = patch_occurrences(batch, first, &found.occurrences)?;
            let batch = filter(&batch, |row| mark(row) != NONE)?;
            if feed {
                let said = |row: usize| if marks[row] == REPLACED { "update_postimage" } else { "insert" };
                self.tell_feed(outputs, &batch, said).await?;
            }
            if !as_is {
                self.write(&mut outputs.table, batch).await?;
            }
            first = next;
        }
        Ok(())
    }

    /// Copies what stays of a file of the table.
    async fn rewrite(
        &mut self,
        outputs: &mut Outputs,
        merged: &mut Merged,
        file: &DataFile,
        gone: &Marks,
        feed: bool,
    ) -> Result<(), Error> {
        merged.actions.push(Action::Remove(file.remove(true)));
        let mut replaced = 0;
        let mut left = 0;
        let mut batches = Box::pin(read(self.store, &file.path, file.bytes, self.schema, &self.work.table.name).await?);
        let mut first = 0_u64;
        while let Some(batch) = batches.try_next().await? {
            let marks: Vec<u8> = (0..batch.num_rows()).map(|row| gone.get(first + row as u64)).collect();
            first += batch.num_rows() as u64;
            replaced += marks.iter().filter(|mark| **mark == REPLACED).count() as u64;
            left += marks.iter().filter(|mark| **mark != NONE).count() as u64;
            if feed && marks.iter().any(|mark| *mark != NONE) {
                let lost = filter(&batch, |row| marks[row] != NONE)?;
                let kinds: Vec<u8> = marks.iter().copied().filter(|mark| *mark != NONE).collect();
                let said = |row: usize| if kinds[row] == WHOLE { "delete" } else { "update_preimage" };
                self.tell_feed(outputs, &lost, said).await?;
            }
            let kept = filter(&batch, |row| marks[row] == NONE)?;
            self.write(&mut outputs.table, kept).await?;
        }
        merged.rows_after = merged.rows_after.map(|rows| rows.saturating_sub(left));
        debug_assert!(replaced <= left);
        Ok(())
    }

    /// Writes a file again in the new types; no row changes.
    async fn copy(&mut self, outputs: &mut Outputs, file: &DataFile, merged: &mut Merged) -> Result<(), Error> {
        merged.actions.push(Action::Remove(file.remove(false)));
        let mut batches = Box::pin(read(self.store, &file.path, file.bytes, self.schema, &self.work.table.name).await?);
        while let Some(batch) = batches.try_next().await? {
            self.write(&mut outputs.copies, batch).await?;
        }
        Ok(())
    }

    fn outputs(&self) -> Outputs {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true)));
        Outputs { table: None, copies: None, feed: None, feed_schema: Arc::new(Schema::new(fields)) }
    }

    fn stage(&self, schema: &SchemaRef, kind: FileKind) -> Stage {
        Stage::start(StageOptions {
            store: Arc::clone(self.store),
            schema: Arc::clone(schema),
            statistics: Arc::new(self.properties.statistics.clone()),
            kind,
            file_bytes: self.properties.file_bytes(),
        })
    }

    async fn write(&self, output: &mut Option<Stage>, batch: RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        output.get_or_insert_with(|| self.stage(self.schema, FileKind::Data)).write(batch).await
    }

    async fn tell_feed(
        &self,
        outputs: &mut Outputs,
        batch: &RecordBatch,
        said: impl Fn(usize) -> &'static str,
    ) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = with_text(batch, &outputs.feed_schema, said)?;
        let schema = Arc::clone(&outputs.feed_schema);
        outputs.feed.get_or_insert_with(|| self.stage(&schema, FileKind::Change)).write(batch).await
    }

    async fn close(&mut self, outputs: Outputs, merged: &mut Merged) -> Result<(), Error> {
        for (stage, kind) in [(outputs.table, Some(true)), (outputs.copies, Some(false)), (outputs.feed, None)] {
            let Some(stage) = stage else { continue };
            let files = stage.finish().await?;
            self.created.extend(files.iter().map(|file| file.path.clone()));
            merged.actions.extend(files.iter().map(|file| match kind {
                Some(data_change) => Action::Add(add(file, data_change)),
                None => Action::Cdc(AddCDCFile {
                    path: file.path.to_string(),
                    size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
                    partition_values: std::collections::HashMap::new(),
                    data_change: false,
                    tags: None,
                }),
            }));
        }
        Ok(())
    }
}

fn known_rows(files: &[DataFile]) -> Option<u64> {
    files.iter().map(|file| file.rows).sum()
}

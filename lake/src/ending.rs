//! The end of a writing: what its rows change is found out, counted, written and committed.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake_core::{
    kernel::Action,
    protocol::{DeltaOperation, SaveMode},
};
use mavis_types::Counts;
use object_store::{ObjectStore, path::Path};

use crate::{
    Committed, End, Error, WriteMode,
    commit::{self, Void},
    compare::Differences,
    create::{Properties, metadata_with, tell_catalog},
    evolve::retypes,
    ledger::Ledger,
    merge::{Merge, Staged},
    owned::Owned,
    rows::Identity,
    scan,
    stage::{StagedFile, delete_files},
    table::version_of,
    unit::{Kind, Work},
    write::Place,
};

/// The end of a writing: all rows are in files, and the ledger knows them.
pub(crate) struct Ending {
    pub(crate) mode: WriteMode,
    pub(crate) delete_missing: bool,
    pub(crate) owned: Option<Owned>,
    pub(crate) properties: Properties,
    pub(crate) schema: SchemaRef,
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    pub(crate) table_store: Arc<dyn ObjectStore>,
    pub(crate) read: Option<u64>,
    pub(crate) pushed: u64,
    pub(crate) noted: Counts,
    /// Files in the table's folder that a commit has yet to name.
    pub(crate) created: Vec<Path>,
}

impl Ending {
    pub(crate) async fn run(
        &mut self,
        work: &Work,
        files: Vec<StagedFile>,
        ledger: Ledger,
        end: End,
    ) -> Result<Committed, Void> {
        if matches!(self.place, Place::Table) {
            self.created.extend(files.iter().map(|file| file.path.clone()));
        }
        let base_schema = work.base.snapshot().map_err(Error::from)?.snapshot().arrow_schema();
        let retype = retypes(&base_schema, &self.schema);
        let staged = match &self.place {
            Place::Table => Staged { files, store: Arc::clone(&self.table_store), in_table: true },
            Place::Local { store, .. } => Staged { files, store: Arc::clone(store), in_table: false },
        };
        let (read, pushed, noted) = (self.read, self.pushed, self.noted);
        let mut merge = Merge {
            work,
            store: &self.table_store,
            schema: &self.schema,
            properties: &self.properties,
            identity: &self.identity,
            staged,
            retype,
            created: &mut self.created,
        };
        let found = if self.mode == WriteMode::Append {
            Differences { inserted: self.pushed, ..Differences::default() }
        } else {
            merge.compare(ledger, self.mode, self.delete_missing, self.owned.as_ref()).await?
        };
        let counts = balanced(work, read, pushed, noted, &found)?;
        let grown = *base_schema != *self.schema;
        let moved = match work.kind {
            Kind::Ingest => end.cursor.is_some() && end.cursor != work.cursor,
            Kind::Hop => work.previous != Some(work.sequence),
        };
        // Rows that were set aside are this step's: with the step given up, the next one would forget them.
        if !found.any() && !grown && !moved && noted.quarantined == 0 {
            delete_files(&*self.table_store, std::mem::take(merge.created)).await;
            let (version, sequence) = (work.base_version, work.previous.unwrap_or(0));
            return Ok(Committed { version, sequence, counts, differing_keys: found.differing });
        }
        let merged = if self.mode == WriteMode::Append { merge.append().await? } else { merge.apply(&found).await? };
        check_rows(work, &merged.rows_after, &counts)?;
        let mut actions = Vec::with_capacity(merged.actions.len() + 1);
        if grown {
            actions.push(Action::Metadata(metadata_with(&work.base, &self.schema)?));
        }
        let removes = merged.actions.iter().any(|action| matches!(action, Action::Remove(_)));
        actions.extend(merged.actions);
        let operation = if removes { merge_operation() } else { append_operation() };
        let to = end.cursor.or_else(|| work.cursor.clone());
        // Files that turned out to be of no use go now; those that the commit names may stay for ever from here on.
        let now = commit::commit(work, actions, operation, to).await?;
        delete_files(&*self.table_store, merged.useless).await;
        tell_catalog(&work.lake, &work.table, &now, grown).await;
        let version = version_of(&now)?.max(work.base_version + 1);
        Ok(Committed { version, sequence: work.sequence, counts, differing_keys: found.differing })
    }
}

fn balanced(work: &Work, read: Option<u64>, pushed: u64, noted: Counts, found: &Differences) -> Result<Counts, Error> {
    let unbalanced = |detail: String| Error::Unbalanced { table: work.table.name.clone(), detail };
    let read =
        read.ok_or_else(|| unbalanced(format!("{} rows were fanned out of {pushed} pushed", noted.fanned_out)))?;
    let counts = Counts {
        read,
        inserted: found.inserted,
        updated: found.updated,
        unchanged: found.unchanged,
        deduplicated: noted.deduplicated + found.deduplicated,
        deleted: found.deleted,
        ..noted
    };
    if counts.balances() { Ok(counts) } else { Err(unbalanced(format!("{counts:?}"))) }
}

/// What the log will say after the commit must be what the counts say.
fn check_rows(work: &Work, after: &Option<u64>, counts: &Counts) -> Result<(), Error> {
    let (Some(before), Some(after)) = (work.base_rows()?, *after) else { return Ok(()) };
    if before + counts.inserted == after + counts.deleted {
        return Ok(());
    }
    Err(Error::Unbalanced {
        table: work.table.name.clone(),
        detail: format!(
            "{before} rows, {} inserted and {} deleted do not make {after} rows",
            counts.inserted, counts.deleted
        ),
    })
}

fn append_operation() -> DeltaOperation {
    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None }
}

pub(crate) fn merge_operation() -> DeltaOperation {
    DeltaOperation::Merge {
        predicate: None,
        merge_predicate: None,
        matched_predicates: Vec::new(),
        not_matched_predicates: Vec::new(),
        not_matched_by_source_predicates: Vec::new(),
    }
}

/// The rows that a scan of the loaded version would give.
pub(crate) fn rows_of(work: &Work) -> Result<Vec<scan::DataFile>, Error> {
    scan::data_files(&work.base, &work.table.name)
}

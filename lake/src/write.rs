//! A writing: rows are stamped, staged, remembered by key, and in the end compared, merged and committed.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    datatypes::{DataType, Schema, SchemaRef},
};
use mavis_catalog::NewQuarantined;
use mavis_types::Counts;
use object_store::{ObjectStore, local::LocalFileSystem};

use crate::{
    Committed, End, Error, WriteMode,
    columns::{self, with_lake_columns},
    commit::Void,
    conform::conform,
    create::Properties,
    ending::Ending,
    evolve::{Refused, retypes, storable_schema, unite},
    hop::DELETED,
    ledger::{FLAG, Ledger, Scratch},
    owned::Owned,
    rows::{Identity, Stamp, filter},
    stage::{FileKind, Stage, StageOptions, delete_files},
    unit::Work,
};

/// Quarantined rows that are told to the catalog at once.
const QUARANTINE_ROWS: usize = 500;

/// What becomes of rows of the table that were not pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They are deleted in a snapshot that says it is whole.
    IfWhole,
    /// They are deleted.
    Delete,
}

/// Where rows wait until they are compared.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the table's folder: most of them will stay.
    Table,
    /// On the local disk: most of them will turn out to be unchanged.
    Local { store: Arc<dyn ObjectStore>, _folder: Scratch },
}

#[derive(Debug)]
pub(crate) struct Writing {
    work: Work,
    mode: WriteMode,
    missing: Missing,
    owned: Option<Owned>,
    properties: Properties,
    /// The table's columns after this writing.
    schema: SchemaRef,
    /// Whether [`DELETED`] says of each row that it deletes its key.
    flagged: bool,
    /// Names that the caller's batches may have.
    declared: HashSet<String>,
    identity: Identity,
    stamp: Stamp,
    stage: Stage,
    place: Place,
    table_store: Arc<dyn ObjectStore>,
    ledger: Ledger,
    order: u64,
    /// All that was there before is gone, in the table and in this writing.
    emptied: bool,
    pushed: u64,
    deduplicated: u64,
    fanned_out: u64,
    quarantined: u64,
    waiting: Vec<NewQuarantined>,
}

fn new_ledger(work: &Work) -> Ledger {
    Ledger::new(&work.lake.options().spill_dir, work.lake.tuning().keys_in_memory)
}

fn declares(schema: &Schema, name: &str) -> bool {
    schema.field_with_name(name).is_ok()
}

impl Writing {
    pub(crate) async fn start(
        work: Work,
        mode: WriteMode,
        schema: &Schema,
        missing: Missing,
        owned: Option<&str>,
    ) -> Result<Self, Error> {
        if let Err(refused) = work.open.copied() {
            work.hold.release().await;
            return Err(refused);
        }
        let identity = Identity { key: work.table.key.clone() };
        let base = work.base.snapshot()?.snapshot().arrow_schema();
        // In a table that has the column itself (a history with tombstones) it is data like any other.
        let flagged = declares(schema, DELETED) && !declares(&base, DELETED);
        if flagged && mode == WriteMode::Append {
            return Err(Error::Evolution {
                table: work.table.name.clone(),
                column: DELETED.to_owned(),
                from: "nothing".to_owned(),
                to: "Boolean".to_owned(),
                instead: "an append deletes nothing; upsert, or make the table with that column".to_owned(),
            });
        }
        let fields: Vec<_> =
            schema.fields().iter().filter(|field| !flagged || field.name() != DELETED).cloned().collect();
        let incoming = with_lake_columns(&storable_schema(&Schema::new(fields)), identity.key.is_empty());
        let united = unite(&base, &incoming).map_err(|refused| refused.on(&work.table.name))?;
        if mode != WriteMode::Append
            && !identity.key.is_empty()
            && !identity.key.iter().any(|key| declares(schema, key))
        {
            return Err(Error::Evolution {
                table: work.table.name.clone(),
                column: identity.key.join(", "),
                from: "the key".to_owned(),
                to: "nothing".to_owned(),
                instead: "write the columns of the table's key too".to_owned(),
            });
        }
        let properties = Properties::of(&work.base)?;
        let table_store = work.lake.store().table(&work.open.location)?;
        let empty = work.base_rows()? == Some(0);
        // What an application brings for the first time is new, even where others have rows.
        let place = if mode == WriteMode::Snapshot && !empty && work.previous.is_some() {
            let folder = Scratch::new(&work.lake.options().spill_dir, "rows")?;
            let store = LocalFileSystem::new_with_prefix(folder.path())
                .map_err(|error| Error::store("opening the spill folder", &error))?;
            Place::Local { store: Arc::new(store), _folder: folder }
        } else {
            Place::Table
        };
        let owned = match owned {
            Some(condition) => Some(Owned::new(work.lake.sessions(), condition, &united)?),
            None => None,
        };
        let source = match work.table.source {
            Some(id) => Some(work.lake.catalog().source_by_id(id).await?.name.to_string()),
            None => None,
        };
        work.lake.catalog().discard_quarantine(work.app.as_str(), work.quarantine_sequence()).await?;
        let keyless_append = mode == WriteMode::Append && identity.key.is_empty();
        let stamp = Stamp {
            run: work.run.to_string(),
            began: work.began,
            source,
            append_version: keyless_append.then_some(work.base_version + 1),
        };
        let (kind, store) = match &place {
            Place::Table => (FileKind::Data, Arc::clone(&table_store)),
            Place::Local { store, .. } => (FileKind::Waiting, Arc::clone(store)),
        };
        let statistics = Arc::new(properties.statistics.clone());
        let stage = Stage::start(StageOptions {
            store,
            schema: Arc::clone(&united),
            statistics,
            kind,
            file_bytes: properties.file_bytes(),
        });
        let ledger = new_ledger(&work);
        Ok(Self {
            mode,
            missing,
            owned,
            properties,
            flagged,
            declared: schema.fields().iter().map(|field| field.name().clone()).collect(),
            schema: united,
            identity,
            stamp,
            stage,
            place,
            table_store,
            ledger,
            order: 0,
            emptied: false,
            pushed: 0,
            deduplicated: 0,
            fanned_out: 0,
            quarantined: 0,
            waiting: Vec::new(),
            work,
        })
    }

    /// Rows that come from now on may have these columns too. Rows that came before have nulls in them.
    pub(crate) async fn widen(&mut self, schema: &Schema) -> Result<(), Error> {
        let refused = |refused: Refused| refused.on(&self.work.table.name);
        let fields: Vec<_> =
            schema.fields().iter().filter(|field| !self.flagged || field.name() != DELETED).cloned().collect();
        let united = unite(&self.schema, &storable_schema(&Schema::new(fields))).map_err(refused)?;
        self.declared.extend(schema.fields().iter().map(|field| field.name().clone()));
        if united == self.schema {
            return Ok(());
        }
        if retypes(&self.schema, &united) {
            return Err(refused(Refused {
                column: "*".to_owned(),
                from: DataType::Null,
                to: DataType::Null,
                instead: "a column's type cannot change while rows are written; begin again with the wider type"
                    .to_owned(),
            }));
        }
        self.schema = Arc::clone(&united);
        self.stage.widen(united).await
    }

    /// Of a hop that began ahead of its input: which version of the input it brings.
    pub(crate) fn reached(&mut self, version: i64) {
        self.work.sequence = version;
    }

    pub(crate) async fn push(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let schema = batch.schema_ref();
        if let Some(unknown) = schema.fields().iter().find(|field| !self.declared.contains(field.name())) {
            return Err(Error::Evolution {
                table: self.work.table.name.clone(),
                column: unknown.name().clone(),
                from: "nothing".to_owned(),
                to: unknown.data_type().to_string(),
                instead: "name it in the schema that the writing begins with".to_owned(),
            });
        }
        let deleted = self.flagged.then(|| deleted_rows(batch)).flatten();
        let rows = conform(batch, &self.schema).map_err(|refused: Refused| refused.on(&self.work.table.name))?;
        let given = |name: &str| batch.column_by_name(name).is_some();
        let hashes = self.identity.hashes(&rows, given(columns::HASH))?;
        let stamped = self.stamp.fill(&rows, given, &hashes, self.stage.rows())?;
        let is_deleted =
            |row: usize| deleted.as_ref().is_some_and(|deleted| deleted.is_valid(row) && deleted.value(row));
        if self.mode != WriteMode::Append {
            let mut next = self.stage.rows();
            let places: Vec<u64> = (0..rows.num_rows())
                .map(|row| {
                    if is_deleted(row) {
                        return FLAG;
                    }
                    next += 1;
                    next - 1
                })
                .collect();
            let order = self.order;
            for record in self.identity.records(&rows, &hashes, |row| order + row as u64, |row| places[row])? {
                self.ledger.push(record)?;
            }
        }
        self.order += rows.num_rows() as u64;
        let live = if deleted.is_some() { filter(&stamped, |row| !is_deleted(row))? } else { stamped };
        self.pushed += live.num_rows() as u64;
        self.stage.write(live).await
    }

    /// Rows of these keys are gone: those of the table and those pushed so far.
    pub(crate) fn delete(&mut self, keys: &RecordBatch) -> Result<(), Error> {
        let lacking = self.identity.key.iter().find(|key| keys.column_by_name(key).is_none());
        if self.identity.key.is_empty() || lacking.is_some() || self.mode == WriteMode::Append {
            return Err(self.cannot_delete(lacking.map_or("the key", String::as_str)));
        }
        let rows = conform(keys, &self.schema).map_err(|refused: Refused| refused.on(&self.work.table.name))?;
        let nothing = vec![0; rows.num_rows()];
        let order = self.order;
        for record in self.identity.records(&rows, &nothing, |row| order + row as u64, |_| FLAG)? {
            // A key of nothing but nulls names no row.
            if !record.keyless() {
                self.ledger.push(record)?;
            }
        }
        self.order += rows.num_rows() as u64;
        Ok(())
    }

    /// Every row is gone: those of the table and those pushed so far.
    pub(crate) fn empty(&mut self) -> Result<(), Error> {
        if self.mode == WriteMode::Append {
            return Err(self.cannot_delete("every row"));
        }
        self.ledger = new_ledger(&self.work);
        self.emptied = true;
        // They were read, and what came later stands in their place.
        self.deduplicated += std::mem::take(&mut self.pushed);
        Ok(())
    }

    fn cannot_delete(&self, column: &str) -> Error {
        Error::Evolution {
            table: self.work.table.name.clone(),
            column: column.to_owned(),
            from: "what is there".to_owned(),
            to: "nothing".to_owned(),
            instead:
                "rows are deleted by the columns of the table's key, in an upsert or a snapshot; give the table a key"
                    .to_owned(),
        }
    }

    pub(crate) async fn quarantine(&mut self, row: NewQuarantined) -> Result<(), Error> {
        let ordinal = i64::try_from(self.quarantined).unwrap_or(i64::MAX);
        self.quarantined += 1;
        let app_id = self.work.app.as_str().to_owned();
        self.waiting.push(NewQuarantined { app_id, sequence: self.work.quarantine_sequence(), ordinal, ..row });
        if self.waiting.len() >= QUARANTINE_ROWS { self.flush_quarantine().await } else { Ok(()) }
    }

    async fn flush_quarantine(&mut self) -> Result<(), Error> {
        if !self.waiting.is_empty() {
            self.work.lake.catalog().quarantine(&self.waiting).await?;
            self.waiting.clear();
        }
        Ok(())
    }

    pub(crate) fn note_deduplicated(&mut self, rows: u64) {
        self.deduplicated += rows;
    }

    pub(crate) fn note_fanned_out(&mut self, rows: u64) {
        self.fanned_out += rows;
    }

    pub(crate) async fn abandon(self) {
        self.stage.discard().await;
        forget_quarantine(&self.work).await;
        self.work.hold.release().await;
    }

    pub(crate) async fn finish(mut self, end: End) -> Result<Committed, Error> {
        if let Err(error) = self.flush_quarantine().await {
            self.abandon().await;
            return Err(error);
        }
        let Self { work, stage, .. } = self;
        let files = match stage.finish().await {
            Ok(files) => files,
            Err(error) => {
                forget_quarantine(&work).await;
                work.hold.release().await;
                return Err(error);
            }
        };
        let mut ending = Ending {
            mode: self.mode,
            delete_missing: self.emptied
                || match self.missing {
                    Missing::IfWhole => self.mode == WriteMode::Snapshot && end.whole,
                    Missing::Delete => true,
                },
            owned: self.owned,
            properties: self.properties,
            schema: self.schema,
            identity: self.identity,
            place: self.place,
            table_store: self.table_store,
            read: (self.pushed + self.deduplicated + self.quarantined).checked_sub(self.fanned_out),
            pushed: self.pushed,
            noted: Counts {
                deduplicated: self.deduplicated,
                fanned_out: self.fanned_out,
                quarantined: self.quarantined,
                ..Counts::default()
            },
            created: Vec::new(),
        };
        let outcome = ending.run(&work, files, self.ledger, end).await;
        let result = match outcome {
            Ok(committed) => Ok(committed),
            Err(Void { error, certain }) => {
                if certain {
                    delete_files(&*ending.table_store, std::mem::take(&mut ending.created)).await;
                    forget_quarantine(&work).await;
                }
                Err(error)
            }
        };
        work.hold.release().await;
        result
    }
}

fn deleted_rows(batch: &RecordBatch) -> Option<BooleanArray> {
    batch.column_by_name(DELETED).and_then(|column| column.as_boolean_opt().cloned())
}

/// Rows that were set aside belong to the unit; the next one sets them aside again.
async fn forget_quarantine(work: &Work) {
    if let Err(error) = work.lake.catalog().discard_quarantine(work.app.as_str(), work.quarantine_sequence()).await {
        tracing::warn!(table = %work.table.name, "quarantined rows of a unit that was given up stay listed: {error}");
    }
}

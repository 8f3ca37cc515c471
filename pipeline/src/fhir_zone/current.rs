//! The current table brought up to its history.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use datafusion::{catalog::TableProvider, prelude::ident};
use futures::TryStreamExt;
use mavis_fhir::{
    ResourceType, json,
    shape::{self, Meta},
};
use mavis_lake::{End, HopInput, Writer, hop::DELETED};
use mavis_types::TableId;

use super::{Target, state::id_hash};
use crate::{context::Running, failure::Failure, retry, tables::SESSION_BYTES};

/// Names the hop from history to current. Changes when the columns that are made of a resource change.
const RULE: &str = "current-1";
/// Ids that are deleted with one push.
const CHUNK: usize = 4_096;
/// How often current is brought up to history before a unit gives up: nobody else writes history meanwhile.
const CATCH_UPS: usize = 4;

/// Versions of history and current that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Together {
    pub(crate) history: (TableId, i64),
    pub(crate) current: (TableId, i64),
}

fn together(target: &Target, history: i64, current: i64) -> Together {
    Together { history: (target.history.id, history), current: (target.current.id, current) }
}

/// The current table, staged while its history is: what the next version of history will change. Dropped, it changes
/// nothing, and the next unit or start catches up with history.
#[derive(Debug)]
pub(crate) struct Current {
    writer: Writer,
    columns: SchemaRef,
    /// Whether rows are being written: from then on a new column begins a new file.
    is_open: bool,
    waiting: Waiting,
}

/// The first rows of a table wait until most of the columns are known, so that few files differ in theirs.
const WAIT_BYTES: usize = 16 << 20;
/// What the first rows of all tables may take together; beyond it those with the most begin to be written.
const ALL_WAIT_BYTES: usize = 64 << 20;
static ALL_WAITING: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug, Default)]
struct Waiting {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Waiting {
    /// Whether it is enough.
    fn put(&mut self, batch: RecordBatch) -> bool {
        let bytes = batch.get_array_memory_size();
        self.batches.push(batch);
        self.bytes += bytes;
        let all = ALL_WAITING.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes > WAIT_BYTES || (all > ALL_WAIT_BYTES && self.bytes > WAIT_BYTES / 8)
    }

    fn take(&mut self) -> Vec<RecordBatch> {
        ALL_WAITING.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        std::mem::take(&mut self.batches)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.take();
    }
}

impl Current {
    /// The caller holds the lease of the history table, and gives the only version that history gets meanwhile.
    pub(crate) async fn begin(running: &Running, target: &Target) -> Result<Self, Failure> {
        let (history, current) = (target.history.id, target.current.id);
        for _ in 0..CATCH_UPS {
            let Some(ahead) = retry::begin_ahead(running, history, current, RULE).await? else {
                Box::pin(advance(running, target)).await?;
                continue;
            };
            let known = running.lake().schema(current).await?;
            let columns = own_columns(target.resource, &known);
            let writer = ahead.write(with_flag(&columns)).await?;
            return Ok(Self { writer, columns, is_open: false, waiting: Waiting::default() });
        }
        Err(Failure::Transient(format!("`{}` does not catch up with its history", target.current.name)))
    }

    /// Columns that resources have had so far.
    pub(crate) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    /// Rows that history's next version brings.
    pub(crate) async fn push(&mut self, batch: RecordBatch) -> Result<(), Failure> {
        if self.is_open {
            return push(&mut self.writer, &mut self.columns, &batch).await;
        }
        if self.waiting.put(batch) { self.open().await } else { Ok(()) }
    }

    /// Begins to write what waits; called by itself before the end.
    pub(crate) async fn open(&mut self) -> Result<(), Failure> {
        self.is_open = true;
        let batches = self.waiting.take();
        let all = batches.iter().fold(Arc::clone(&self.columns), |all, batch| shape::union(&all, &batch.schema()));
        widen(&mut self.writer, &mut self.columns, all).await?;
        for batch in batches {
            push(&mut self.writer, &mut self.columns, &batch).await?;
        }
        Ok(())
    }

    /// Ids of which history's next version is a tombstone.
    pub(crate) async fn delete(&mut self, ids: &[String]) -> Result<(), Failure> {
        delete(&mut self.writer, ids).await
    }

    /// Commits, once history's `version` is committed.
    pub(crate) async fn finish(mut self, target: &Target, version: i64) -> Result<Together, Failure> {
        if let Err(failure) = self.open().await {
            self.abandon().await;
            return Err(failure);
        }
        let committed = self.writer.finish_at(version, End::default()).await?;
        Ok(together(target, version, committed.version))
    }

    /// Gives up what was staged: history has no new version.
    pub(crate) async fn abandon(self) {
        self.writer.abandon().await;
    }
}

async fn widen(writer: &mut Writer, columns: &mut SchemaRef, wider: SchemaRef) -> Result<(), Failure> {
    if wider != *columns {
        writer.widen(with_flag(&wider)).await?;
        *columns = wider;
    }
    Ok(())
}

async fn push(writer: &mut Writer, columns: &mut SchemaRef, batch: &RecordBatch) -> Result<(), Failure> {
    let wider = shape::union(columns, &batch.schema());
    widen(writer, columns, wider).await?;
    Ok(writer.push(batch).await?)
}

async fn delete(writer: &mut Writer, ids: &[String]) -> Result<(), Failure> {
    for ids in ids.chunks(CHUNK) {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(ids.iter().map(|id| Some(id.as_str())).collect::<StringArray>())),
            (DELETED, Arc::new(BooleanArray::from(vec![true; ids.len()]))),
        ];
        writer.push(&RecordBatch::try_from_iter(columns)?).await?;
    }
    Ok(())
}

/// Brings the current table up to its history, from history alone, and tells which versions belong together.
pub(crate) async fn advance(running: &Running, target: &Target) -> Result<Together, Failure> {
    let (history, current) = (target.history.id, target.current.id);
    if let Some((from, to)) = running.lake().hop_is_even(history, current, RULE).await? {
        return Ok(together(target, from, to));
    }
    let hop = retry::begin_hop(running, history, current, RULE).await?;
    let (rows, to, whole) = match hop.input().clone() {
        HopInput::Nothing => {
            // Under the lease, so that the two versions cannot move apart.
            let current = running.lake().version(current).await?;
            let history = running.lake().version(history).await?;
            hop.abandon().await;
            return Ok(together(target, history, current));
        }
        HopInput::Changes { rows, to, .. } => (rows, to, false),
        HopInput::Whole { rows, to } => (rows, to, true),
    };
    let known = running.lake().schema(current).await;
    let columns = match known {
        Ok(known) => own_columns(target.resource, &known),
        Err(error) => {
            hop.abandon().await;
            return Err(error.into());
        }
    };
    let mut writer = hop.write(with_flag(&columns), None).await?;
    match Box::pin(read_back(running, target.resource, rows, &mut writer, columns)).await {
        Ok(()) => {
            let committed = writer.finish(End { cursor: None, whole }).await?;
            Ok(together(target, to, committed.version))
        }
        Err(failure) => {
            writer.abandon().await;
            Err(failure)
        }
    }
}

/// The columns of a current table that resources make; those that the lake adds are its own.
pub(crate) fn own_columns(resource: ResourceType, table: &Schema) -> SchemaRef {
    let base = shape::base_schema(resource);
    let kept: Vec<Arc<Field>> = table
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with("__") || base.field_with_name(field.name()).is_ok())
        .cloned()
        .collect();
    Arc::new(Schema::new(kept))
}

fn with_flag(columns: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = columns.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, true)));
    Arc::new(Schema::new(fields))
}

/// Writes the newest of each id's versions among the rows.
async fn read_back(
    running: &Running,
    resource: ResourceType,
    rows: Arc<dyn TableProvider>,
    writer: &mut Writer,
    mut columns: SchemaRef,
) -> Result<(), Failure> {
    let session = running.lake().sessions().session(SESSION_BYTES);
    let mut newest: HashMap<u128, i64> = HashMap::new();
    let narrow = session.read_table(Arc::clone(&rows))?.select(["id", "__version"].map(ident))?;
    let mut stream = narrow.execute_stream().await?;
    while let Some(batch) = stream.try_next().await? {
        let ids = cast(batch.column(0), &DataType::Utf8)?;
        let versions = batch.column(1).as_primitive::<Int64Type>();
        for (id, version) in ids.as_string::<i32>().iter().zip(versions.values()) {
            let entry = newest.entry(id_hash(id.unwrap_or_default())).or_insert(*version);
            *entry = (*entry).max(*version);
        }
    }
    let wanted = ["id", "__version", "__last_updated", "__deleted", "__hash", "__source", "__run", "resource"];
    let mut stream = session.read_table(rows)?.select(wanted.map(ident))?.execute_stream().await?;
    let newest = Arc::new(newest);
    while let Some(batch) = stream.try_next().await? {
        running.check()?;
        let (newest, known) = (Arc::clone(&newest), Arc::clone(&columns));
        let (encoded, gone) = tokio::task::spawn_blocking(move || encode(resource, &batch, &newest, &known)).await??;
        if let Some(encoded) = encoded {
            push(writer, &mut columns, &encoded).await?;
        }
        delete(writer, &gone).await?;
    }
    Ok(())
}

fn encode(
    resource: ResourceType,
    batch: &RecordBatch,
    newest: &HashMap<u128, i64>,
    known: &SchemaRef,
) -> Result<(Option<RecordBatch>, Vec<String>), Failure> {
    let text = |index: usize| cast(batch.column(index), &DataType::Utf8);
    let (ids, sources, runs, texts) = (text(0)?, text(5)?, text(6)?, text(7)?);
    let (ids, sources) = (ids.as_string::<i32>(), sources.as_string::<i32>());
    let (runs, texts) = (runs.as_string::<i32>(), texts.as_string::<i32>());
    let versions = batch.column(1).as_primitive::<Int64Type>();
    let updated =
        cast(batch.column(2), &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())))?;
    let updated = updated.as_primitive::<TimestampMicrosecondType>();
    let deleted = batch.column(3).as_boolean();
    let hashes = cast(batch.column(4), &DataType::Binary)?;
    let hashes = hashes.as_binary::<i32>();
    let mut encoder = shape::Encoder::new(resource, Some(Arc::clone(known)));
    let mut gone = Vec::new();
    for row in 0..batch.num_rows() {
        let id = ids.value(row);
        if newest.get(&id_hash(id)) != Some(&versions.value(row)) {
            continue;
        }
        if (deleted.is_valid(row) && deleted.value(row)) || texts.is_null(row) {
            gone.push(id.to_owned());
            continue;
        }
        let value = json::parse(texts.value(row).as_bytes())
            .map_err(|error| Failure::Permanent(format!("a stored version of a {resource} cannot be read: {error}")))?;
        let mut hash = [0_u8; 16];
        if hashes.value(row).len() == 16 {
            hash.copy_from_slice(hashes.value(row));
        }
        let last_updated = DateTime::<Utc>::from_timestamp_micros(updated.value(row)).unwrap_or_default();
        let meta = Meta {
            id,
            version: versions.value(row),
            last_updated,
            source: sources.value(row),
            run: runs.value(row),
            hash,
        };
        encoder.push(&value, texts.value(row), &meta);
    }
    let encoded = if encoder.is_empty() { None } else { Some(encoder.finish()?) };
    Ok((encoded, gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_rows_wait_up_to_a_share_of_all_and_give_it_back() {
        let batch = || {
            let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(3 << 20)]));
            RecordBatch::try_from_iter([("a", text)]).unwrap()
        };
        let before = ALL_WAITING.load(Ordering::Relaxed);
        let mut one = Waiting::default();
        let enough = (0..6).map(|_| one.put(batch())).collect::<Vec<_>>();
        assert_eq!(enough, [false, false, false, false, false, true]);
        assert_eq!(one.take().len(), 6);
        let mut many: Vec<Waiting> = (0..30).map(|_| Waiting::default()).collect();
        let enough = many.iter_mut().filter_map(|waiting| waiting.put(batch()).then_some(())).count();
        assert!(enough >= 8, "all of them together take too much: {enough}");
        drop(many);
        assert_eq!(ALL_WAITING.load(Ordering::Relaxed), before);
    }
}

//! The current table brought up to its history.

use std::{collections::HashMap, sync::Arc};

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

use super::{Staging, Target, state::id_hash};
use crate::{context::Running, failure::Failure, retry, tables::SESSION_BYTES};

/// Names the hop from history to current. Changes when the columns that are made of a resource change.
const RULE: &str = "current-1";
/// Resources that are read back and encoded at once.
const CHUNK: usize = 4_096;

/// What a unit has just committed to history, ready for the current table.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) batches: Staging,
    pub(crate) gone: Vec<String>,
    /// History's version before and after the commit.
    pub(crate) before: i64,
    pub(crate) after: i64,
    /// History had no version at all before.
    pub(crate) first: bool,
    /// Union of the batches' columns.
    pub(crate) columns: SchemaRef,
}

/// Versions of history and current that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Together {
    pub(crate) history: (TableId, i64),
    pub(crate) current: (TableId, i64),
}

/// Brings the current table up to its history and tells which versions belong together.
pub(crate) async fn advance(running: &Running, target: &Target, fresh: Option<Fresh>) -> Result<Together, Failure> {
    let together =
        |history, current| Together { history: (target.history.id, history), current: (target.current.id, current) };
    let hop = retry::begin_hop(running, target.history.id, target.current.id, RULE).await?;
    let (rows, to, from) = match hop.input().clone() {
        HopInput::Nothing => {
            // Under the lease, so that the two versions cannot move apart.
            let current = running.lake().version(target.current.id).await?;
            let history = running.lake().version(target.history.id).await?;
            hop.abandon().await;
            return Ok(together(history, current));
        }
        HopInput::Changes { rows, from, to } => (rows, to, Some(from)),
        HopInput::Whole { rows, to } => (rows, to, None),
    };
    let ours = fresh.filter(|fresh| fresh.after == to && from.map_or(fresh.first, |from| from == fresh.before));
    let committed = match ours {
        Some(fresh) => {
            let mut writer = hop.write(with_flag(&fresh.columns), None).await?;
            match pour(running, &mut writer, fresh).await {
                Ok(()) => writer.finish(end(from)).await?,
                Err(failure) => {
                    writer.abandon().await;
                    return Err(failure);
                }
            }
        }
        None => {
            let known = running.lake().schema(target.current.id).await?;
            let known = own_columns(target.resource, &known);
            let (batches, gone, columns) = match read_back(running, target.resource, rows, known).await {
                Ok(read) => read,
                Err(failure) => {
                    hop.abandon().await;
                    return Err(failure);
                }
            };
            let fresh = Fresh { batches, gone, before: 0, after: to, first: false, columns };
            let mut writer = hop.write(with_flag(&fresh.columns), None).await?;
            match pour(running, &mut writer, fresh).await {
                Ok(()) => writer.finish(end(from)).await?,
                Err(failure) => {
                    writer.abandon().await;
                    return Err(failure);
                }
            }
        }
    };
    Ok(together(to, committed.version))
}

fn end(from: Option<i64>) -> End {
    End { cursor: None, whole: from.is_none() }
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

async fn pour(running: &Running, writer: &mut Writer, fresh: Fresh) -> Result<(), Failure> {
    for batch in fresh.batches.drain()? {
        running.check()?;
        writer.push(&batch?).await?;
    }
    for ids in fresh.gone.chunks(CHUNK) {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(ids.iter().map(|id| Some(id.as_str())).collect::<StringArray>())),
            (DELETED, Arc::new(BooleanArray::from(vec![true; ids.len()]))),
        ];
        writer.push(&RecordBatch::try_from_iter(columns)?).await?;
    }
    Ok(())
}

type ReadBack = (Staging, Vec<String>, SchemaRef);

/// Encodes the newest of each id's versions among the rows.
async fn read_back(
    running: &Running,
    resource: ResourceType,
    rows: Arc<dyn TableProvider>,
    mut columns: SchemaRef,
) -> Result<ReadBack, Failure> {
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
    let (mut staging, mut gone) = (Staging::default(), Vec::new());
    let newest = Arc::new(newest);
    while let Some(batch) = stream.try_next().await? {
        running.check()?;
        let (newest, known) = (Arc::clone(&newest), Arc::clone(&columns));
        let (encoded, deleted) =
            tokio::task::spawn_blocking(move || encode(resource, &batch, &newest, &known)).await??;
        gone.extend(deleted);
        if let Some(encoded) = encoded {
            columns = shape::union(&columns, &encoded.schema());
            staging.put(encoded)?;
        }
    }
    Ok((staging, gone, columns))
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

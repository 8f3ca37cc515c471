//! What changed in a table between two versions: the last change of each key.
//!
//! Where a commit wrote change files, they say it; otherwise added files are rows that came and removed files rows that
//! went. Keys and versions are read first (into a ledger that spills), then the rows that count are streamed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_stream::try_stream;
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use deltalake_core::{
    DeltaTable,
    kernel::{Action, Add},
};
use futures::TryStreamExt;
use mavis_types::TableName;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::{
    Error, Lake, columns,
    compare::{FILE_SHIFT, Marks, NONE, REPLACED, WHOLE},
    history,
    hop::DELETED,
    in_place::{self, AGAIN, Columns, IN_PLACE, Layout, file_path},
    ledger::{FLAG, Ledger, Record, for_each_key},
    merge::CHANGE_TYPE,
    rows::{Identity, filter},
    scan::{data_files, read_as},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file of the change feed: each row says what happened to it.
    Told,
    Added,
    Removed,
}

#[derive(Debug, Clone)]
struct ChangeFile {
    path: Path,
    bytes: u64,
    kind: Kind,
    version: i64,
    layout: Option<Arc<Layout>>,
}

/// The files that say what changed in `(from, to]`; `None` when some are gone.
async fn change_files(
    (table, name): (&DeltaTable, &TableName),
    store: &Arc<dyn ObjectStore>,
    from: i64,
    to: i64,
) -> Result<Option<Vec<ChangeFile>>, Error> {
    let mut files = Vec::new();
    let in_place = table.snapshot()?.metadata().configuration().contains_key(IN_PLACE);
    let columns = if in_place { Some(Arc::new(Columns::of(table)?)) } else { None };
    // What was taken out of a foreign file is still in it.
    let current: HashSet<Path> = match &columns {
        Some(_) => data_files(table, name)?.into_iter().map(|file| file.path).collect(),
        None => HashSet::new(),
    };
    for version in from + 1..=to {
        let Some(actions) = history::actions(table, version).await? else { return Ok(None) };
        let told = actions.iter().any(|action| matches!(action, Action::Cdc(_)));
        for action in &actions {
            let (path, kind) = match action {
                Action::Cdc(file) => (&file.path, Kind::Told),
                Action::Add(file) if file.data_change && !told => (&file.path, Kind::Added),
                Action::Remove(file) if file.data_change && !told => (&file.path, Kind::Removed),
                _ => continue,
            };
            // What a foreign file held before its owner changed or deleted it, nobody knows any more.
            let is_again = matches!(action, Action::Add(Add { tags: Some(tags), .. }) if tags.contains_key(AGAIN));
            if in_place && (kind == Kind::Removed || is_again) {
                return Ok(None);
            }
            let layout = match (&columns, action) {
                (Some(columns), Action::Add(file)) => {
                    Some(Arc::new(Layout::new(Arc::clone(columns), &file.partition_values)))
                }
                _ => None,
            };
            let path = file_path(path);
            if in_place && !current.contains(&path) {
                return Ok(None);
            }
            match store.head(&path).await {
                Ok(meta) => files.push(ChangeFile { path, bytes: meta.size, kind, version, layout }),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(in_place::reading("looking for change files", name, &error)),
            }
        }
    }
    Ok(Some(files))
}

/// The last change of each key in `(from, to]`, as a table with [`DELETED`] after the columns of `schema`. `None` when
/// the feed is gone, tells of rows whose key is null (two of them cannot be told apart), or tells of rows that are gone
/// from a table in which [`DELETED`] is data.
pub(crate) async fn last_changes(
    lake: &Lake,
    (table, name, location): (&DeltaTable, &TableName, &str),
    key: &[String],
    from: i64,
    to: i64,
) -> Result<Option<Arc<dyn TableProvider>>, Error> {
    let store = lake.store().table(location)?;
    let Some(files) = change_files((table, name), &store, from, to).await? else { return Ok(None) };
    let schema = table.snapshot()?.snapshot().arrow_schema();
    let has_flag = schema.field_with_name(DELETED).is_ok();
    // Without a key, hash and occurrence together name a row.
    let key =
        if key.is_empty() { vec![columns::HASH.to_owned(), columns::OCCURRENCE.to_owned()] } else { key.to_vec() };
    let identity = Identity { key };
    let narrow = narrow_schema(&schema, &identity)?;
    let mut ledger = Ledger::new(&lake.options().spill_dir, lake.tuning().keys_in_memory);
    for (number, file) in files.iter().enumerate() {
        let mut first = 0_u64;
        let mut batches = read_as(&store, (&file.path, file.bytes), file.layout.as_ref(), &narrow, name).await?;
        while let Some(batch) = batches.try_next().await? {
            let zeros = vec![0; batch.num_rows()];
            let told = batch.column_by_name(CHANGE_TYPE).map(|column| column.as_string::<i32>().clone());
            for (row, record) in identity.records(&batch, &zeros, |_| 0, |_| 0)?.into_iter().enumerate() {
                if record.keyless() {
                    return Ok(None);
                }
                let gone = match file.kind {
                    Kind::Added => false,
                    Kind::Removed => true,
                    Kind::Told => match told.as_ref().filter(|told| told.is_valid(row)).map(|told| told.value(row)) {
                        Some("update_preimage") => continue,
                        Some("delete") => true,
                        _ => false,
                    },
                };
                let version = u64::try_from(file.version).unwrap_or(0);
                let place = ((number as u64) << FILE_SHIFT) | (first + row as u64);
                // Within one version what came stands after what went.
                let order = version << 1 | u64::from(!gone);
                ledger.push(Record { order, place: place | if gone { FLAG } else { 0 }, ..record })?;
            }
            first += batch.num_rows() as u64;
        }
    }
    let Some(marks) = last_of_each(ledger, has_flag).await? else { return Ok(None) };
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    if !has_flag {
        fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, false)));
    }
    let out = Arc::new(Schema::new(fields));
    let parts: Vec<(ChangeFile, Marks)> = files
        .into_iter()
        .enumerate()
        .filter_map(|(number, file)| Some((file, marks.get(&u32::try_from(number).ok()?)?.clone())))
        .collect();
    let partition =
        ChangeRows { store, name: name.clone(), stored: schema, schema: Arc::clone(&out), parts: Arc::new(parts) };
    Ok(Some(Arc::new(StreamingTable::try_new(out, vec![Arc::new(partition)])?)))
}

fn narrow_schema(schema: &Schema, identity: &Identity) -> Result<SchemaRef, Error> {
    let mut fields = Vec::new();
    for name in &identity.key {
        fields.push(schema.field_with_name(name).map_err(Error::arrow)?.clone());
    }
    fields.push(Field::new(CHANGE_TYPE, DataType::Utf8, true));
    Ok(Arc::new(Schema::new(fields)))
}

async fn last_of_each(ledger: Ledger, none_gone: bool) -> Result<Option<BTreeMap<u32, Marks>>, Error> {
    let work = move || {
        let mut untold = false;
        let mut marks: BTreeMap<u32, Marks> = BTreeMap::new();
        let nothing = Ledger::new(std::path::Path::new(""), 1).finish()?;
        for_each_key(&ledger.finish()?, &nothing, |changes, _| {
            if let Some(last) = changes.last() {
                untold |= none_gone && last.flagged();
                let file = u32::try_from(last.position() >> FILE_SHIFT).unwrap_or(u32::MAX);
                let row = last.position() & ((1 << FILE_SHIFT) - 1);
                marks.entry(file).or_default().set(row, if last.flagged() { REPLACED } else { WHOLE });
            }
        })?;
        Ok((!untold).then_some(marks))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::task("reading changes", &error))?
}

/// The rows that count; a mark of [`REPLACED`] says that the row is gone.
#[derive(Debug)]
struct ChangeRows {
    store: Arc<dyn ObjectStore>,
    name: TableName,
    /// The table's columns.
    stored: SchemaRef,
    /// Those, and [`DELETED`].
    schema: SchemaRef,
    parts: Arc<Vec<(ChangeFile, Marks)>>,
}

impl PartitionStream for ChangeRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (store, name) = (Arc::clone(&self.store), self.name.clone());
        let (schema, out, parts) = (Arc::clone(&self.stored), Arc::clone(&self.schema), Arc::clone(&self.parts));
        let to_write = Arc::clone(&out);
        let stream = try_stream! {
            for (file, marks) in parts.iter() {
                let mut first = 0_u64;
                let place = (&file.path, file.bytes);
                let mut batches =
                    read_as(&store, place, file.layout.as_ref(), &schema, &name).await.map_err(external)?;
                while let Some(batch) = batches.try_next().await.map_err(external)? {
                    let rows = batch.num_rows() as u64;
                    if let Some(batch) = marked(&batch, &to_write, marks, first).map_err(external)? {
                        yield batch;
                    }
                    first += rows;
                }
            }
        };
        Box::pin(RecordBatchStreamAdapter::new(out, stream))
    }
}

fn external(error: Error) -> DataFusionError {
    match error {
        Error::Query(error) => error,
        other => DataFusionError::External(Box::new(other)),
    }
}

fn marked(batch: &RecordBatch, out: &SchemaRef, marks: &Marks, first: u64) -> Result<Option<RecordBatch>, Error> {
    let mark = |row: usize| marks.get(first + row as u64);
    let gone: BooleanArray =
        (0..batch.num_rows()).map(mark).filter(|mark| *mark != NONE).map(|mark| Some(mark == REPLACED)).collect();
    if gone.is_empty() {
        return Ok(None);
    }
    let kept = filter(batch, |row| mark(row) != NONE)?;
    let mut columns = kept.columns().to_vec();
    if out.fields().len() > columns.len() {
        columns.push(Arc::new(gone));
    }
    RecordBatch::try_new(Arc::clone(out), columns).map(Some).map_err(Error::arrow)
}

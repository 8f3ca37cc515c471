//! The first step: a source's table as the source has it, its own columns and types, under the lake's names.
//!
//! What a second reading yields decides how rows meet those that are there: a snapshot is compared, rows after a cursor
//! replace those of their key. Long readings are committed where the source says that it may be begun again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use mavis_catalog::{NewColumn, Source, Step, Table};
use mavis_connectors::{ReadItem, ReadMode, Source as Connected};
use mavis_lake::{AppId, End, TableSpec, WriteMode, Writer};
use mavis_types::{Counts, Cursor, normalize_name};

use crate::{
    ReportTable,
    context::{Running, UnitLine},
    discover,
    failure::Failure,
    in_place,
    quarantine::{Aside, Rejected, tell_differing},
    reading::Reading,
    retry,
    settling::Settling,
};

/// A reading that may be begun again is committed after so many rows or bytes.
const COMMIT_ROWS: u64 = 1_000_000;
const COMMIT_BYTES: usize = 512 << 20;

/// What to bring.
#[derive(Debug, Clone)]
pub(crate) struct ToRaw<'a> {
    pub(crate) source: &'a Source,
    pub(crate) connected: &'a Arc<dyn Connected>,
    pub(crate) table: &'a ReportTable,
    /// Read from the beginning and compare.
    pub(crate) full: bool,
    pub(crate) settling: &'a Settling,
}

/// Brings what is new of a table into the raw zone.
pub(crate) async fn to_raw(running: &Running, job: &ToRaw<'_>, entry: &Table) -> Result<Counts, Failure> {
    let mut line = running.unit(Step::ToRaw, entry, job.table.row_estimate).await;
    let what = format!("`{}` to raw", job.table.table);
    let outcome = {
        // What was committed before a failure stays counted.
        let progress = tokio::sync::Mutex::new((&mut line, Counts::default()));
        retry::unit(running, &what, || async {
            let mut progress = progress.lock().await;
            let (line, total) = &mut *progress;
            Box::pin(bring(running, job, entry, line, total)).await.map(|()| *total)
        })
        .await
    };
    line.finish(&outcome).await;
    outcome
}

/// The columns of a reading: the source's names and types, and what they are called here.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) fields: Vec<(String, Field)>,
    /// Columns of the source that are left out.
    held: HashSet<String>,
}

impl Columns {
    pub(crate) fn of(table: &ReportTable) -> Self {
        let data_type = |text: &str| text.parse::<DataType>().unwrap_or(DataType::Utf8);
        let field = |c: &crate::ReportColumn| (c.name.clone(), Field::new(&c.lake_name, data_type(&c.data_type), true));
        Self { fields: table.columns.iter().map(field).collect(), held: table.held_columns.iter().cloned().collect() }
    }

    /// Takes over the types that really come, and columns that were not there before. Whether there were any.
    fn learn(&mut self, batch: &Schema) -> bool {
        let mut grown = false;
        for field in batch.fields() {
            if self.held.contains(field.name()) {
                continue;
            }
            if let Some((_, known)) = self.fields.iter_mut().find(|(name, _)| name == field.name()) {
                known.set_data_type(field.data_type().clone());
                continue;
            }
            let base = normalize_name(field.name());
            let mut name = base.clone();
            let mut number = 2;
            while self.fields.iter().any(|(_, known)| *known.name() == name) {
                name = format!("{base}_{number}");
                number += 1;
            }
            self.fields.push((field.name().clone(), Field::new(name, field.data_type().clone(), true)));
            grown = true;
        }
        grown
    }

    fn knows(&self, batch: &Schema) -> bool {
        batch.fields().iter().filter(|field| !self.held.contains(field.name())).all(|field| {
            self.fields.iter().any(|(name, known)| name == field.name() && known.data_type() == field.data_type())
        })
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.iter().map(|(_, field)| field.clone()).collect::<Vec<_>>()))
    }

    fn rename(&self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        let batch = &if self.held.is_empty() {
            batch.clone()
        } else {
            let schema = batch.schema();
            let kept = schema.fields().iter().enumerate().filter(|(_, field)| !self.held.contains(field.name()));
            batch.project(&kept.map(|(index, _)| index).collect::<Vec<_>>())?
        };
        let names: BTreeMap<&str, &Field> = self.fields.iter().map(|(name, field)| (name.as_str(), field)).collect();
        let fields: Vec<Field> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let name = names.get(field.name().as_str()).map_or(field.name(), |known| known.name());
                Field::new(name, field.data_type().clone(), true)
            })
            .collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), batch.columns().to_vec(), &options)?)
    }

    pub(crate) fn for_catalog(&self, table: &ReportTable) -> Vec<NewColumn> {
        self.fields
            .iter()
            .map(|(name, field)| {
                let reported = table.columns.iter().find(|column| column.name == *name);
                NewColumn {
                    name: field.name().clone(),
                    source_name: Some(name.clone()),
                    data_type: field.data_type().to_string(),
                    source_type: reported.map(|column| column.source_type.clone()),
                    nullable: true,
                    comment: reported.and_then(|column| column.comment.clone()),
                }
            })
            .collect()
    }
}

/// How rows meet those that are there. `again`: the table has rows, and is read from its beginning all the same.
fn write_mode(job: &ToRaw<'_>, key: &[String], again: bool) -> WriteMode {
    match job.table.mode {
        ReadMode::Snapshot => WriteMode::Snapshot,
        _ if job.full => WriteMode::Snapshot,
        // A table that was read in another way before: what is gone meanwhile is found by comparing.
        ReadMode::Incremental if again && !key.is_empty() => WriteMode::Snapshot,
        ReadMode::Incremental | ReadMode::Append if !key.is_empty() => WriteMode::Upsert,
        ReadMode::Incremental | ReadMode::Append => WriteMode::Append,
    }
}

async fn ensure(running: &Running, job: &ToRaw<'_>, columns: &Columns) -> Result<Table, Failure> {
    let spec = TableSpec {
        table: discover::raw_table(job.source, job.table),
        schema: columns.schema(),
        columns: columns.for_catalog(job.table),
        change_feed: true,
        statistics: Vec::new(),
        sort: Vec::new(),
    };
    Ok(Box::pin(running.lake().ensure(&spec)).await?)
}

/// One reading and its commits. Begun again from the last commit where it fails.
async fn bring(
    running: &Running,
    job: &ToRaw<'_>,
    entry: &Table,
    line: &mut UnitLine,
    total: &mut Counts,
) -> Result<(), Failure> {
    let app = AppId::ingest(job.source.id, entry.id);
    if let Some(tree) = job.connected.in_place(&job.table.table).await? {
        *total += in_place::take_over(running, job, &app, tree).await?;
        line.progress(*total).await;
        return Ok(());
    }
    let mut columns = Columns::of(job.table);
    let mut stream: Option<Reading<'_>> = None;
    let mut held: Option<RecordBatch> = None;
    let mut from_the_beginning = false;
    // Where the table stood when the reading began, and after each commit of it.
    let mut stands: Option<Cursor> = None;
    'unit: loop {
        // The types are those that come, not those that a report says: look at the first rows before the table is made.
        let first = stream.is_none();
        if first {
            let from = if job.full || job.table.mode == ReadMode::Snapshot {
                None
            } else {
                running.lake().cursor(entry.id, &app).await?
            };
            if let Some(from) = &from {
                job.settling.stands(&job.table.table, from);
                if job.connected.changed(&job.table.table, Some(from)).await? == Some(false) {
                    return Ok(());
                }
            }
            from_the_beginning = from.is_none();
            stands.clone_from(&from);
            stream = Some(Reading::open(running, job.connected, &job.table.table, from).await?);
        }
        let Some(reading) = stream.as_mut() else { continue };
        let mut waiting: Vec<ReadItem> = Vec::new();
        if first {
            loop {
                let item = reading.next(false).await?;
                let enough = !matches!(item, ReadItem::Reject { .. } | ReadItem::Emptied);
                if let ReadItem::Batch(batch) = &item {
                    columns.learn(&batch.schema());
                }
                waiting.push(item);
                if enough {
                    break;
                }
            }
        } else if let Some(batch) = held.take() {
            waiting.push(ReadItem::Batch(batch));
        }
        let table = ensure(running, job, &columns).await?;
        let unit = retry::begin(running, table.id, &app).await?;
        if !job.full && job.table.mode != ReadMode::Snapshot && differ(unit.cursor(), stands.as_ref()) {
            // Somebody else brought rows of this source meanwhile: what comes now may be older than what is there.
            unit.abandon().await;
            running
                .info(format!("`{}` was read by another run meanwhile; reading on from there", job.table.table))
                .await;
            stream = None;
            held = None;
            continue 'unit;
        }
        let mode = write_mode(job, &table.key, from_the_beginning && !unit.is_empty()?);
        let before = unit.cursor().cloned();
        let mut writer = unit.write(mode, columns.schema()).await?;
        let mut aside = Aside::new(running, table.id, Step::ToRaw).await?;
        let mut waiting = waiting.into_iter();
        let (mut rows, mut gone, mut bytes) = (0_u64, 0_u64, 0_usize);
        let end = loop {
            if running.cancel.is_cancelled() {
                writer.abandon().await;
                return Err(Failure::Cancelled);
            }
            let item = match waiting.next() {
                Some(item) => item,
                None => match reading.next(mode != WriteMode::Snapshot).await {
                    Ok(item) => item,
                    Err(failure) => {
                        writer.abandon().await;
                        return Err(failure);
                    }
                },
            };
            match item {
                ReadItem::Batch(batch) => {
                    if !columns.knows(&batch.schema()) {
                        // A column that was not there before: begin the unit again, with it.
                        writer.abandon().await;
                        columns.learn(&batch.schema());
                        running.info(format!("`{}` has a new column; reading again with it", job.table.table)).await;
                        stream = None;
                        held = None;
                        continue 'unit;
                    }
                    rows += batch.num_rows() as u64;
                    bytes += batch.get_array_memory_size();
                    writer.push(&columns.rename(&batch)?).await?;
                    line.progress(Counts { read: total.read + rows, ..*total }).await;
                }
                ReadItem::Gone(keys) => {
                    gone += keys.num_rows() as u64;
                    bytes += keys.get_array_memory_size();
                    writer.delete(&columns.rename(&keys)?)?;
                }
                ReadItem::Emptied => writer.empty()?,
                ReadItem::Reject { origin, reason, payload } => {
                    rows += 1;
                    aside.put(running, &mut writer, Rejected { reason, origin, payload }).await?;
                }
                ReadItem::Cursor(cursor) => {
                    if mode != WriteMode::Snapshot && (rows + gone >= COMMIT_ROWS || bytes >= COMMIT_BYTES) {
                        break End { cursor: Some(cursor), whole: false };
                    }
                }
                ReadItem::End { cursor, whole } => {
                    if whole && mode == WriteMode::Snapshot {
                        aside.close_all(running).await?;
                    }
                    let end = End { cursor: cursor.or(before), whole: whole && mode == WriteMode::Snapshot };
                    *total += finish(running, job, writer, mode, end, &aside).await?;
                    return Ok(());
                }
            }
        };
        stands.clone_from(&end.cursor);
        *total += finish(running, job, writer, mode, end, &aside).await?;
        from_the_beginning = false;
        line.progress(*total).await;
    }
}

async fn finish(
    running: &Running,
    job: &ToRaw<'_>,
    writer: Writer,
    mode: WriteMode,
    end: End,
    aside: &Aside,
) -> Result<Counts, Failure> {
    let reached = end.cursor.clone();
    let committed = writer.finish(end).await?;
    if let Some(reached) = &reached {
        job.settling.stands(&job.table.table, reached);
    }
    aside.report(running, &job.table.table.to_string()).await;
    // Of changes, several of one key are nothing to tell of.
    if mode == WriteMode::Snapshot || job.table.mode != ReadMode::Incremental {
        tell_differing(running, &job.table.table.to_string(), committed.differing_keys).await;
    }
    let mut counts = committed.counts;
    counts.read += aside.known;
    counts.quarantined += aside.known;
    Ok(counts)
}

/// Whether two cursors are not the same, as the catalog writes them.
fn differ(one: Option<&Cursor>, other: Option<&Cursor>) -> bool {
    one.map(Cursor::to_json) != other.map(Cursor::to_json)
}

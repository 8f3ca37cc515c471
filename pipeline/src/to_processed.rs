//! The second step: the raw table cleaned and normalised.
//!
//! Only what changed in the raw table since the last hop is read; new rules compare everything once. A row that the rules
//! cannot clean is set aside whole, and its former version leaves the processed table with it: what stands there is
//! always what the source says now.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array},
    compute::{filter_record_batch, take_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{catalog::TableProvider, prelude::SessionContext};
use futures::TryStreamExt;
use mavis_catalog::{NewColumn, NewTable, Source, Step, Table};
use mavis_lake::{End, HopInput, TableSpec, Writer, hop::DELETED};
use mavis_types::{Counts, TableName, Zone};

use crate::{
    ReportTable,
    clean::{Cleaner, TableRules},
    context::{Running, UnitLine},
    discover::rules_of,
    failure::Failure,
    quality::Checks,
    quarantine::{Aside, Rejected, tell_differing},
    retry,
    tables::SESSION_BYTES,
};

/// Column that tells the rows of a table without a key apart: a hash of the cleaned row.
pub(crate) const ROW: &str = "__row";

/// Carries what changed in `raw` into the processed zone. Returns the processed table too.
pub(crate) async fn to_processed(
    running: &Running,
    source: &Source,
    table: &ReportTable,
    raw: &Table,
) -> Result<Counts, Failure> {
    let rules = rules_of(table);
    let input = running.lake().schema(raw.id).await?;
    let output = ensure(running, source, table, &rules, &input).await?;
    let mut line = running.unit(Step::ToProcessed, &output, raw.rows).await;
    let what = format!("`{}` to processed", table.table);
    let outcome = {
        let line = tokio::sync::Mutex::new(&mut line);
        retry::unit(running, &what, || async {
            Box::pin(carry(running, &rules, raw, &output, &mut **line.lock().await)).await
        })
        .await
    };
    line.finish(&outcome).await;
    outcome
}

/// The entry of a table's processed copy.
pub(crate) fn processed_name(table: &ReportTable) -> TableName {
    TableName::new(Zone::Processed, &table.lake_name.0, &table.lake_name.1)
}

/// Columns of the processed table, its own row hash first where it has no key.
pub(crate) fn output_schema(cleaner: &Cleaner, rules: &TableRules) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = cleaner.schema().fields().iter().cloned().collect();
    if rules.key.is_empty() {
        fields.push(Arc::new(Field::new(ROW, DataType::Utf8, true)));
    }
    Arc::new(Schema::new(fields))
}

async fn ensure(
    running: &Running,
    source: &Source,
    table: &ReportTable,
    rules: &TableRules,
    input: &SchemaRef,
) -> Result<Table, Failure> {
    let schema = output_schema(&Cleaner::new(rules, input), rules);
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let reported = table.columns.iter().find(|column| column.lake_name == *field.name());
            NewColumn {
                name: field.name().clone(),
                source_name: reported.map(|column| column.name.clone()),
                data_type: field.data_type().to_string(),
                source_type: reported.map(|column| column.source_type.clone()),
                nullable: true,
                comment: reported.and_then(|column| column.comment.clone()),
            }
        })
        .collect();
    let key = if rules.key.is_empty() { vec![ROW.to_owned()] } else { rules.key.clone() };
    let spec = TableSpec {
        table: NewTable {
            name: processed_name(table),
            source: Some(source.id),
            source_schema: table.table.schema.clone(),
            source_table: Some(table.table.name.clone()),
            key,
            comment: table.comment.clone(),
        },
        schema,
        columns,
        change_feed: true,
        statistics: Vec::new(),
        sort: Vec::new(),
    };
    Ok(Box::pin(running.lake().ensure(&spec)).await?)
}

/// A cleaned batch on its way: its rows by what becomes of them. Equal rows of a table without a key carry one hash, which is the
/// processed table's key: the lake keeps one of them and counts the others.
pub(crate) struct Step2<'a> {
    running: &'a Running,
    rules: &'a TableRules,
    cleaner: Cleaner,
    checks: Checks,
    schema: SchemaRef,
    warnings: std::collections::BTreeMap<String, u64>,
}

impl<'a> Step2<'a> {
    pub(crate) fn new(
        running: &'a Running,
        rules: &'a TableRules,
        input: &Schema,
        session: &SessionContext,
    ) -> Result<Self, Failure> {
        let cleaner = Cleaner::new(rules, input);
        let checks = Checks::plan(session, &rules.checks, cleaner.schema())?;
        let schema = output_schema(&cleaner, rules);
        Ok(Self { running, rules, cleaner, checks, schema, warnings: std::collections::BTreeMap::new() })
    }

    /// Columns of what is written, with the flag of rows that are gone.
    pub(crate) fn write_schema(&self) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, true)));
        Arc::new(Schema::new(fields))
    }

    /// Cleans live rows and pushes them; sets aside what does not fit, and takes its former version away.
    pub(crate) async fn push(
        &mut self,
        batch: &RecordBatch,
        writer: &mut Writer,
        aside: &mut Aside,
    ) -> Result<(), Failure> {
        let cleaned = self.cleaner.clean(batch)?;
        let mut bad = cleaned.bad;
        for (reason, count) in cleaned.warnings {
            *self.warnings.entry(format!("have {reason} (kept)")).or_insert(0) += count;
        }
        let rows = self.checks.apply(cleaned.batch, &mut bad, &mut self.warnings)?;
        let mut keep = vec![true; rows.num_rows()];
        for one in &bad {
            keep[one.row] = false;
        }
        if !bad.is_empty() {
            let indices =
                UInt32Array::from_iter_values(bad.iter().map(|bad| u32::try_from(bad.row).unwrap_or(u32::MAX)));
            let payloads = as_json(&take_record_batch(batch, &indices)?)?;
            for (one, payload) in bad.iter().zip(payloads) {
                let origin = format!("row {:032x}", xxhash_rust::xxh3::xxh3_128(payload.as_bytes()));
                aside.put(self.running, writer, Rejected { reason: one.reason.clone(), origin, payload }).await?;
            }
            if !self.rules.key.is_empty() {
                self.push_gone(&take_record_batch(&rows, &indices)?, writer).await?;
            }
        }
        let rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        let rows = if self.rules.key.is_empty() { with_row(&rows, &row_hashes(&rows)?)? } else { rows };
        if rows.num_rows() > 0 {
            writer.push(&rows).await?;
        }
        Ok(())
    }

    /// Deletes rows by their key. Rows without a whole key were never there.
    async fn push_gone(&self, rows: &RecordBatch, writer: &mut Writer) -> Result<(), Failure> {
        let key: &[String] = if self.rules.key.is_empty() { &[ROW.to_owned()] } else { &self.rules.key };
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for name in key {
            let Some(column) = rows.column_by_name(name) else { return Ok(()) };
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(Arc::clone(column));
        }
        let whole: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(columns.iter().all(|column| column.is_valid(row)))).collect();
        fields.push(Field::new(DELETED, DataType::Boolean, true));
        columns.push(Arc::new(BooleanArray::from(vec![true; rows.num_rows()])));
        let gone = filter_record_batch(&RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, &whole)?;
        if gone.num_rows() > 0 {
            writer.push(&gone).await?;
        }
        Ok(())
    }

    async fn report(&self, table: &str) {
        for (reason, count) in &self.warnings {
            self.running.warn(format!("`{table}`: {count} rows {reason}")).await;
        }
    }
}

/// The name of what the hop does. Rows without a key are told apart by a hash of what they say, and a value of another type
/// has another hash: once a column of the raw table has got another type, the rows that went before cannot be found by
/// it any more, and everything is compared once.
fn rule_of(rules: &TableRules, input: &Schema) -> String {
    if !rules.key.is_empty() {
        return rules.hash();
    }
    let mut types: Vec<String> = input
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with("__"))
        // What is text reads the same as before; so does a column that was not there.
        .filter(|field| !matches!(field.data_type(), DataType::Utf8))
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    if types.is_empty() {
        return rules.hash();
    }
    types.sort();
    format!("{}-{:032x}", rules.hash(), xxhash_rust::xxh3::xxh3_128(types.join("\n").as_bytes()))
}

async fn carry(
    running: &Running,
    rules: &TableRules,
    raw: &Table,
    output: &Table,
    line: &mut UnitLine,
) -> Result<Counts, Failure> {
    let input = running.lake().schema(raw.id).await?;
    let hop = retry::begin_hop(running, raw.id, output.id, &rule_of(rules, &input)).await?;
    let (rows, changes) = match hop.input().clone() {
        HopInput::Nothing => {
            hop.abandon().await;
            return Ok(Counts::default());
        }
        HopInput::Changes { rows, .. } => (rows, true),
        HopInput::Whole { rows, .. } => (rows, false),
    };
    let session = running.lake().sessions().session(SESSION_BYTES);
    let mut step = Step2::new(running, rules, &rows.schema(), &session)?;
    let mut writer = hop.write(step.write_schema(), None).await?;
    let name = output.name.to_string();
    match Box::pin(pour(running, &session, &mut step, rows, changes, raw, &mut writer, output, line)).await {
        Ok(aside) => {
            let committed = writer.finish(End { cursor: None, whole: !changes }).await?;
            let mut counts = committed.counts;
            counts.read += aside.known;
            counts.quarantined += aside.known;
            aside.report(running, &name).await;
            tell_differing(running, &name, committed.differing_keys).await;
            step.report(&name).await;
            Ok(counts)
        }
        Err(failure) => {
            writer.abandon().await;
            Err(failure)
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "one caller; a struct would only rename them")]
async fn pour(
    running: &Running,
    session: &SessionContext,
    step: &mut Step2<'_>,
    rows: Arc<dyn TableProvider>,
    changes: bool,
    raw: &Table,
    writer: &mut Writer,
    output: &Table,
    line: &mut UnitLine,
) -> Result<Aside, Failure> {
    let key = step.rules.key.clone();
    let mut aside = Aside::by(running, output.id, Step::ToProcessed, |row| subject(&row.payload, &key)).await?;
    let mut changed: HashSet<u128> = HashSet::new();
    let mut stream = session.read_table(rows)?.execute_stream().await?;
    let mut read = 0;
    let mut gone_rows: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        running.check()?;
        let (live, gone) = split(&batch, changes)?;
        read += live.num_rows() as u64;
        step.push(&live, writer, &mut aside).await?;
        if changes && aside.waits() {
            changed.extend(subjects(&gone, &key)?);
            if !key.is_empty() {
                changed.extend(subjects(&live, &key)?);
            }
        }
        if gone.num_rows() > 0 {
            if step.rules.key.is_empty() {
                gone_rows.push(gone);
            } else {
                let keys = step.cleaner.clean(&gone)?.batch;
                step.push_gone(&keys, writer).await?;
            }
        }
        line.progress(Counts { read, ..Counts::default() }).await;
    }
    // Before the commit: should it not come about, what is closed here is gone from the raw table all the same.
    if !gone_rows.is_empty() {
        let open = aside.open_subjects();
        changed.retain(|subject| open.contains(subject));
        forget(running, session, step, &gone_rows, raw, writer, &mut changed).await?;
    }
    if changes {
        aside.close_of(running, &changed).await?;
    } else {
        aside.close_all(running).await?;
    }
    Ok(aside)
}

/// What a row in quarantine is found by when its raw row changes: its key as JSON, or without one all of it.
fn subject(payload: &str, key: &[String]) -> u128 {
    let of_key = || {
        let value: serde_json::Value = serde_json::from_str(payload).ok()?;
        let parts: Vec<&serde_json::Value> = key.iter().map(|name| &value[name.as_str()]).collect();
        serde_json::to_vec(&parts).ok()
    };
    let of_key = if key.is_empty() { None } else { of_key() };
    xxhash_rust::xxh3::xxh3_128(of_key.as_deref().unwrap_or(payload.as_bytes()))
}

/// The [`subject`] of each raw row.
fn subjects(rows: &RecordBatch, key: &[String]) -> Result<Vec<u128>, Failure> {
    let columns: Vec<usize> = key.iter().filter_map(|name| rows.schema().index_of(name).ok()).collect();
    let rows = if key.is_empty() { rows.clone() } else { rows.project(&columns)? };
    Ok(as_json(&rows)?.iter().map(|row| subject(row, key)).collect())
}

/// Of rows without a key, those leave the processed table that no raw row cleans to any more. Of the subjects in
/// `changed`, those stay whose last equal raw row is gone.
async fn forget(
    running: &Running,
    session: &SessionContext,
    step: &Step2<'_>,
    gone: &[RecordBatch],
    raw: &Table,
    writer: &mut Writer,
    changed: &mut HashSet<u128>,
) -> Result<(), Failure> {
    let mut cleaned = Vec::with_capacity(gone.len());
    let mut lost = HashSet::new();
    for batch in gone {
        let batch = step.cleaner.clean(batch)?.batch;
        let hashes = row_hashes(&batch)?;
        lost.extend(hashes.iter().copied());
        cleaned.push((batch, hashes));
    }
    // Raw rows are told apart by their hash; only those that may be in quarantine are written out.
    let mut waiting: HashMap<u128, u128> = HashMap::new();
    if !changed.is_empty() {
        for batch in gone {
            let found = row_hashes(batch)?.into_iter().zip(subjects(batch, &[])?);
            waiting.extend(found.filter(|(_, subject)| changed.contains(subject)));
        }
    }
    let provider = running.lake().provider(raw.id, None).await?;
    let mut stream = session.read_table(provider)?.execute_stream().await?;
    while let Some(batch) = stream.try_next().await? {
        running.check()?;
        if !waiting.is_empty() {
            for hash in row_hashes(&batch)? {
                if let Some(subject) = waiting.get(&hash) {
                    changed.remove(subject);
                }
            }
        }
        for hash in row_hashes(&step.cleaner.clean(&batch)?.batch)? {
            lost.remove(&hash);
        }
    }
    for (batch, hashes) in cleaned {
        let keep: BooleanArray = hashes.iter().map(|hash| Some(lost.contains(hash))).collect();
        step.push_gone(&filter_record_batch(&with_row(&batch, &hashes)?, &keep)?, writer).await?;
    }
    Ok(())
}

/// Live rows and rows that are gone.
fn split(batch: &RecordBatch, changes: bool) -> Result<(RecordBatch, RecordBatch), Failure> {
    let flags = if changes { batch.column_by_name(DELETED).and_then(|flags| flags.as_boolean_opt()) } else { None };
    let Some(flags) = flags else { return Ok((batch.clone(), batch.slice(0, 0))) };
    let is_gone: BooleanArray = flags.iter().map(|flag| Some(flag == Some(true))).collect();
    let is_live: BooleanArray = is_gone.iter().map(|gone| gone.map(|gone| !gone)).collect();
    Ok((filter_record_batch(batch, &is_live)?, filter_record_batch(batch, &is_gone)?))
}

fn row_hashes(rows: &RecordBatch) -> Result<Vec<u128>, Failure> {
    Ok(mavis_lake::hash::hash_rows(rows, |name| !name.starts_with("__"))?)
}

fn with_row(rows: &RecordBatch, hashes: &[u128]) -> Result<RecordBatch, Failure> {
    let texts: StringArray = hashes.iter().map(|hash| Some(format!("{hash:032x}"))).collect();
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW, DataType::Utf8, true)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(texts));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The rows as JSON objects, without Mavis's own columns.
pub(crate) fn as_json(batch: &RecordBatch) -> Result<Vec<String>, Failure> {
    let own: Vec<usize> =
        (0..batch.num_columns()).filter(|index| !batch.schema().field(*index).name().starts_with("__")).collect();
    let batch = batch.project(&own)?;
    let mut buffer = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut buffer);
    writer.write(&batch)?;
    writer.finish()?;
    let text = String::from_utf8(buffer).map_err(|_| Failure::permanent("a row cannot be written as JSON"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

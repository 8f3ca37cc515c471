//! Quarantined rows sent again, corrected or not, through the step that refused them.
//!
//! A row of the raw or processed step is a JSON object of columns (under the lake's or the source's names); of the FHIR
//! step it is the resource with the id that it will have. It counts as replayed only after it is committed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema},
};
use datafusion::prelude::{Expr, ident, lit};
use futures::TryStreamExt;
use mavis_catalog::{QuarantineState, Quarantined, Step, Table};
use mavis_fhir::{json, validate};
use mavis_lake::{AppId, End, WriteMode};
use mavis_types::{Counts, RunId, TableId};

use crate::{
    context::{Context, Running},
    discover::{self, rules_of},
    failure::Failure,
    fhir_zone::{
        Closes, Encoder, Landing, Shared, State, Target, Touched, current::own_columns, target::history_schema,
    },
    import::IMPORT_KIND,
    quarantine::{self, Aside},
    retry,
    tables::SESSION_BYTES,
    to_processed::{Step2, as_json},
    write::{known, settle, unpromised},
};

/// Folder of corrected payloads, beside those of sources: no source is called so.
pub(crate) const CORRECTIONS: &str = ".replay";

/// Where a corrected payload waits; patient data, so it is not part of the run's request.
pub(crate) fn corrected_path(context: &Context, run: RunId) -> PathBuf {
    context.options.spool.join(CORRECTIONS).join(format!("{run}.json"))
}

/// Sends rows again; each table's rows are one unit.
pub(crate) async fn replay(
    running: &Running,
    ids: &[i64],
    corrected: bool,
    touched: &mut Touched,
) -> Result<Counts, Failure> {
    let path = corrected_path(&running.context, running.id);
    let text = if corrected { Some(tokio::fs::read_to_string(&path).await?) } else { None };
    let mut groups: BTreeMap<(TableId, Step), Vec<Quarantined>> = BTreeMap::new();
    let mut refused: Vec<String> = Vec::new();
    for row in current(running, ids, &mut refused).await? {
        let mut row = row;
        if let Some(text) = &text {
            row.payload.clone_from(text);
        }
        groups.entry((row.table, row.step)).or_default().push(row);
    }
    let mut total = Counts::default();
    for ((table, step), rows) in groups {
        let table = running.catalog().table_by_id(table).await?;
        let line = running.unit(step, &table, Some(rows.len() as u64)).await;
        let outcome = match step {
            Step::ToRaw => Box::pin(to_raw(running, &table, &rows)).await,
            Step::ToProcessed => Box::pin(to_processed(running, &table, &rows)).await,
            Step::ToFhir => Box::pin(to_fhir(running, &table, &rows, touched)).await,
            Step::Discover | Step::Maintain => Err(Failure::permanent("rows of this step cannot be replayed")),
        };
        line.finish(&outcome).await;
        let counts = outcome.map_err(|failure| failure.at(&format!("`{}`", table.name)))?;
        total += counts;
        if counts.quarantined == 0 {
            for row in &rows {
                running.catalog().set_quarantine_state(row.id, QuarantineState::Replayed).await?;
            }
        } else {
            running
                .warn(format!(
                    "`{}`: {} rows were refused again and stay in quarantine",
                    table.name, counts.quarantined
                ))
                .await;
        }
    }
    if let [first, rest @ ..] = refused.as_slice()
        && total.read == 0
    {
        let more =
            if rest.is_empty() { String::new() } else { format!(" (and {} more; see the run's log)", rest.len()) };
        return Err(Failure::Permanent(format!("{first}{more}")));
    }
    if corrected {
        // What stays behind is overwritten by nothing and read by nobody; the next clean start removes it.
        let _removed = tokio::fs::remove_file(&path).await;
    }
    Ok(total)
}

/// The rows that may be sent again: those that say what their source says still. Of the others it is told why not.
async fn current(running: &Running, ids: &[i64], refused: &mut Vec<String>) -> Result<Vec<Quarantined>, Failure> {
    let (mut rows, mut cleaned): (Vec<Quarantined>, BTreeMap<TableId, Vec<Quarantined>>) = Default::default();
    let mut mapped: BTreeMap<TableId, Vec<Quarantined>> = BTreeMap::new();
    for id in ids {
        let row = running.catalog().quarantined_row(*id).await?;
        match row.state {
            QuarantineState::Replayed => running.info(format!("row {id} was replayed before; left out")).await,
            QuarantineState::Dropped => refused.push(format!(
                "row {id} was dropped, by a person or because it was corrected or deleted at the source; it is not \
                 replayed"
            )),
            QuarantineState::Waiting if row.step == Step::ToProcessed => {
                cleaned.entry(row.table).or_default().push(row);
            }
            QuarantineState::Waiting if row.step == Step::ToFhir => mapped.entry(row.table).or_default().push(row),
            QuarantineState::Waiting => rows.push(row),
        }
    }
    for (table, waiting) in mapped {
        let table = running.catalog().table_by_id(table).await?;
        let newer = newer_versions(running, &table, &waiting).await?;
        for row in waiting {
            match newer.get(&row.id) {
                None => rows.push(row),
                Some(version) => refused.push(format!(
                    "row {} is older than version {version} of its resource, and would overwrite it; drop it",
                    row.id
                )),
            }
        }
    }
    for (table, waiting) in cleaned {
        let table = running.catalog().table_by_id(table).await?;
        let there = still_there(running, &table, &waiting).await?;
        for (row, there) in waiting.into_iter().zip(there) {
            if there {
                rows.push(row);
            } else {
                refused.push(format!(
                    "row {} was corrected or deleted at the source since it was set aside, and would overwrite what \
                     came after it; drop it",
                    row.id
                ));
            }
        }
    }
    for reason in refused.iter() {
        running.warn(reason).await;
    }
    Ok(rows)
}

fn resource_of(table: &Table) -> Result<mavis_fhir::ResourceType, Failure> {
    mavis_fhir::ResourceType::all()
        .find(|resource| resource.table() == table.name.table)
        .ok_or_else(|| Failure::permanent("the table is not one of the FHIR zone"))
}

/// Of rows of the FHIR step, by their ids: the version that their resource got after they were set aside.
async fn newer_versions(running: &Running, table: &Table, rows: &[Quarantined]) -> Result<HashMap<i64, i64>, Failure> {
    let target = Target::ensure(running, resource_of(table)?).await?;
    let ids: Vec<(&Quarantined, String)> =
        rows.iter().filter_map(|row| Some((row, quarantine::resource_id(row)?))).collect();
    let known = known(running, &target, &ids.iter().map(|(_, id)| id.as_str()).collect(), false).await?;
    let newer = |(row, id): &(&Quarantined, String)| {
        let known = known.get(id).filter(|known| known.last_updated > row.at)?;
        Some((row.id, known.version))
    };
    Ok(ids.iter().filter_map(newer).collect())
}

/// Rows that are looked for by their values; of more, the raw table is read once as a whole.
const LOOKED_UP: usize = 32;

/// Whether the raw table has each of these rows of the processed step still, as it was set aside.
async fn still_there(running: &Running, table: &Table, rows: &[Quarantined]) -> Result<Vec<bool>, Failure> {
    let name = mavis_types::TableName { zone: mavis_types::Zone::Raw, ..table.name.clone() };
    let raw = running.catalog().table(&name).await?;
    let provider = running.lake().provider(raw.id, None).await?;
    let mut wanted: HashMap<serde_json::Value, Vec<usize>> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        if let Ok(object) = serde_json::from_str(&row.payload) {
            wanted.entry(object).or_default().push(place);
        }
    }
    let session = running.lake().sessions().session(SESSION_BYTES);
    let mut frame = session.read_table(Arc::clone(&provider))?;
    if rows.len() <= LOOKED_UP {
        let any = wanted.keys().map(|object| same_texts(&provider.schema(), object)).reduce(Expr::or);
        frame = frame.filter(any.unwrap_or_else(|| lit(false)))?;
    }
    let mut found = vec![false; rows.len()];
    let mut stream = frame.execute_stream().await?;
    while let Some(batch) = stream.try_next().await? {
        running.check()?;
        for text in as_json(&batch)? {
            let Ok(row) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            for place in wanted.get(&row).into_iter().flatten() {
                found[*place] = true;
            }
        }
    }
    Ok(found)
}

/// Rows whose texts and whole numbers are the object's; a wider net than equality, that the store can apply.
fn same_texts(schema: &Schema, object: &serde_json::Value) -> Expr {
    let same = |field: &Arc<Field>| {
        let column = ident(field.name());
        match (field.data_type(), object.get(field.name())?) {
            (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, serde_json::Value::String(text)) => {
                Some(column.eq(lit(text.as_str())))
            }
            (DataType::Int64 | DataType::Int32 | DataType::Int16, serde_json::Value::Number(number)) => {
                Some(column.eq(lit(number.as_i64()?)))
            }
            _ => None,
        }
    };
    let own = schema.fields().iter().filter(|field| !field.name().starts_with("__"));
    own.filter_map(same).reduce(Expr::and).unwrap_or_else(|| lit(true))
}

/// JSON objects as a batch of the table's columns; every value becomes text and is cast to the column's type.
fn as_batch(rows: &[Quarantined], columns: &[(String, Option<String>, DataType)]) -> Result<RecordBatch, Failure> {
    let refuse = |row: &Quarantined, what: &str| {
        Failure::Permanent(format!("row {}: {what}; give the corrected row as a JSON object of its columns", row.id))
    };
    let not_json = |row: &Quarantined| {
        Failure::Permanent(format!(
            "row {}: what was set aside is a piece of a file, not a row; repair the file and import it again, or give \
             the corrected row as a JSON object of its columns",
            row.id
        ))
    };
    let mut objects = Vec::with_capacity(rows.len());
    for row in rows {
        let value: serde_json::Value = serde_json::from_str(&row.payload).map_err(|_| not_json(row))?;
        let serde_json::Value::Object(object) = value else { return Err(refuse(row, "the payload is not an object")) };
        if let Some(unknown) = object.keys().find(|key| {
            !columns.iter().any(|(name, source, _)| name == *key || source.as_deref() == Some(key.as_str()))
        }) {
            return Err(refuse(row, &format!("the table has no column `{unknown}`")));
        }
        objects.push(object);
    }
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, source, data_type) in columns {
        if data_type.is_nested() {
            if objects.iter().any(|object| object.get(name).is_some_and(|value| !value.is_null())) {
                return Err(Failure::Permanent(format!(
                    "column `{name}` is nested; a row that sets it cannot be replayed"
                )));
            }
            continue;
        }
        let texts: StringArray = objects
            .iter()
            .map(|object| match object.get(name).or_else(|| object.get(source.as_ref()?)) {
                None | Some(serde_json::Value::Null) => None,
                Some(serde_json::Value::String(text)) => Some(text.clone()),
                Some(other) => Some(other.to_string()),
            })
            .collect();
        let texts: ArrayRef = Arc::new(texts);
        let array = cast(&texts, data_type)?;
        if array.null_count() != texts.null_count() {
            return Err(Failure::Permanent(format!("column `{name}`: a value is no {data_type}")));
        }
        fields.push(Field::new(name, data_type.clone(), true));
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

async fn columns_of(running: &Running, table: &Table) -> Result<Vec<(String, Option<String>, DataType)>, Failure> {
    let known = running.catalog().columns(table.id).await?;
    let schema = running.lake().schema(table.id).await?;
    let source_name = |name: &str| known.iter().find(|column| column.name == name).and_then(|c| c.source_name.clone());
    Ok(schema
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with("__"))
        .map(|field| (field.name().clone(), source_name(field.name()), field.data_type().clone()))
        .collect())
}

async fn to_raw(running: &Running, table: &Table, rows: &[Quarantined]) -> Result<Counts, Failure> {
    let source = table.source.ok_or_else(|| Failure::permanent("the table belongs to no source"))?;
    let batch = as_batch(rows, &columns_of(running, table).await?)?;
    let unit = retry::begin(running, table.id, &AppId::ingest(source, table.id)).await?;
    let cursor = unit.cursor().cloned();
    let mode = if table.key.is_empty() { WriteMode::Append } else { WriteMode::Upsert };
    let mut writer = unit.write(mode, batch.schema()).await?;
    writer.push(&batch).await?;
    Ok(writer.finish(End { cursor, whole: false }).await?.counts)
}

async fn to_processed(running: &Running, table: &Table, rows: &[Quarantined]) -> Result<Counts, Failure> {
    let id = table.source.ok_or_else(|| Failure::permanent("the table belongs to no source"))?;
    let source = running.catalog().source_by_id(id).await?;
    let report = discover::latest(&running.context, &source).await?;
    let reported = report.and_then(|report| {
        let name = (table.name.schema.clone(), table.name.table.clone());
        report.tables.into_iter().find(|table| table.lake_name == name)
    });
    let Some(reported) = reported else {
        return Err(Failure::permanent("the table is not in the source's discovery report; discover the source again"));
    };
    let rules = rules_of(&reported);
    let raw_name = mavis_types::TableName { zone: mavis_types::Zone::Raw, ..table.name.clone() };
    let raw = running.catalog().table(&raw_name).await?;
    let batch = as_batch(rows, &columns_of(running, &raw).await?)?;
    let session = running.lake().sessions().session(SESSION_BYTES);
    let mut step = Step2::new(running, &rules, &batch.schema(), &session)?;
    let unit = retry::begin(running, table.id, &AppId::ingest(id, table.id)).await?;
    let mut writer = unit.write(WriteMode::Upsert, step.write_schema()).await?;
    let mut aside = Aside::new(running, table.id, Step::ToProcessed).await?;
    if let Err(failure) = step.push(&batch, &mut writer, &mut aside).await {
        writer.abandon().await;
        return Err(failure);
    }
    if aside.rows > 0 {
        writer.abandon().await;
        aside.report(running, &table.name.to_string()).await;
        let rows = rows.len() as u64;
        return Ok(Counts { read: rows, quarantined: rows, ..Counts::default() });
    }
    Ok(writer.finish(End::default()).await?.counts)
}

async fn to_fhir(
    running: &Running,
    table: &Table,
    rows: &[Quarantined],
    touched: &mut Touched,
) -> Result<Counts, Failure> {
    let resource = resource_of(table)?;
    let target = Target::ensure(running, resource).await?;
    Box::pin(settle(&running.context)).await?;
    let mut total = Counts::default();
    for row in rows {
        let value = json::parse(row.payload.as_bytes())
            .map_err(|error| Failure::Permanent(format!("row {}: the payload is no resource: {error}", row.id)))?;
        if value.get("resourceType").is_none() {
            return Err(Failure::Permanent(format!(
                "row {}: what was set aside is a row that its mapping could not make a resource of; correct it where it \
                 came from, or give the resource",
                row.id
            )));
        }
        if let Err(issue) = validate::resource_type(&value) {
            return Err(Failure::Permanent(format!("row {}: {}: {}", row.id, issue.path, issue.message)));
        }
        let id = value.get("id").and_then(json::Value::as_str).map(str::to_owned).ok_or_else(|| {
            Failure::Permanent(format!(
                "row {}: the resource has no id; give the corrected resource with its id",
                row.id
            ))
        })?;
        // Whoever's run refused it owns it.
        let owner = running.catalog().run(row.run).await?.source;
        let source = match owner {
            Some(id) => running.catalog().source_by_id(id).await?,
            None => return Err(Failure::Permanent(format!("row {}: its run belongs to no source", row.id))),
        };
        let made_by = if source.kind == IMPORT_KIND { "import" } else { quarantine::made_by(&row.origin) };
        let unit = retry::begin(running, target.history.id, &AppId::ingest(source.id, target.history.id)).await?;
        let cursor = unit.cursor().cloned();
        unpromised(&running.context, &BTreeSet::from([target.history.id])).await?;
        let state = State::read(running, &target).await?;
        let columns = own_columns(resource, running.lake().schema(target.current.id).await?.as_ref());
        let shared = Shared::new(resource, state, columns, source.name.as_str(), made_by, &running.id.to_string());
        let mut landing = Landing::new(running, &target, source.id, quarantine::made_by, Closes::Nothing).await?;
        let encoded = {
            let mut encoder = Encoder::new(&shared);
            encoder.put(&id, &value, &row.payload, &|| row.origin.clone());
            encoder.finish()?
        };
        if encoded.counts.quarantined > 0 {
            unit.abandon().await;
            if let Some(rejected) = encoded.rejected.first() {
                running.warn(format!("row {}: {}", row.id, rejected.reason)).await;
            }
            total += encoded.counts;
            continue;
        }
        let mut writer = unit.write(WriteMode::Append, history_schema()).await?;
        if let Err(failure) = landing.put(running, &mut writer, encoded).await {
            writer.abandon().await;
            return Err(failure);
        }
        let end = End { cursor, whole: false };
        let (counts, together) = Box::pin(landing.commit(running, &target, writer, end)).await?;
        touched.add(together);
        total += counts;
    }
    Ok(total)
}

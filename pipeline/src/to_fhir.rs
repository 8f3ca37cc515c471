//! The third step: processed rows to FHIR resources, through a mapping.
//!
//! A mapping that makes each resource from one row reads only the rows that changed. One that joins tables, or makes
//! several resources of a row, is computed again as a whole when one of its tables changed, and compared: content that is
//! known makes no new version, and what the mapping no longer makes is deleted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow::array::{Array, RecordBatch};
use datafusion::{
    catalog::TableProvider,
    prelude::{DataFrame, ident, lit},
};
use futures::{Stream, StreamExt, TryStreamExt};
use mavis_catalog::{Step, Table};
use mavis_fhir::{functions::canonical_text, mapping::Mapping, resource_id};
use mavis_lake::{AppId, End, HopInput, WriteMode, Writer, hop::DELETED};
use mavis_types::{Counts, Cursor, TableId};

use crate::{
    context::{Running, UnitLine},
    failure::Failure,
    fhir_zone::{
        Closes, Encoded, Encoder, Incoming, Landing, Shared, State, Target, Touched,
        current::{self, own_columns},
        state::{self, id_hash},
        target::history_schema,
    },
    mapping::{Planned, Rule, plan},
    quarantine::{self, Rejected},
    retry,
    to_processed::ROW,
    write::{settle, unpromised},
};

/// Rows that are encoded at once on one core.
const CHUNK: usize = 4_096;

/// Runs a mapping over what changed.
pub(crate) async fn to_fhir(running: &Running, rule: &Rule, touched: &mut Touched) -> Result<Counts, Failure> {
    let mut inputs = Vec::new();
    for name in &rule.inputs {
        match running.catalog().find_table(name).await? {
            Some(table) if running.lake().version(table.id).await.is_ok() => inputs.push(table),
            _ => {
                running
                    .warn(format!("mapping `{}` waits for table `{name}`, which was not ingested yet", rule.name))
                    .await;
                return Ok(Counts::default());
            }
        }
    }
    let Some(driving) = inputs.first() else { return Ok(Counts::default()) };
    let target = Target::ensure(running, rule.mapping.resource).await?;
    let mut line = running.unit(Step::ToFhir, &target.current, driving.rows).await;
    let what = format!("mapping `{}`", rule.name);
    let outcome = {
        let progress = tokio::sync::Mutex::new((&mut line, &mut *touched));
        retry::unit(running, &what, || async {
            let mut progress = progress.lock().await;
            let (line, touched) = &mut *progress;
            let unit = Unit { running, rule, target: &target, inputs: &inputs };
            Box::pin(settle(&running.context)).await?;
            Box::pin(unit.run(line, touched)).await
        })
        .await
    }
    .map_err(|failure| failure.at(&what));
    line.finish(&outcome).await;
    outcome
}

/// One mapping into one resource type.
struct Unit<'a> {
    running: &'a Running,
    rule: &'a Rule,
    target: &'a Target,
    inputs: &'a [Table],
}

/// The rows of a unit.
struct Rows {
    planned: Planned,
    /// Rows that are there now.
    live: Mapping,
    /// Ids of which each is one of these rows' or was; `None`: all that the mapping ever made.
    touched: Option<HashSet<u128>>,
    last: Last,
    touched_ids: Vec<String>,
}

/// Which row of an id counts; ids by [`id_hash`].
#[derive(Debug, Default)]
struct Last {
    /// The ordinal of the last row of each.
    of: HashMap<u128, u64>,
    /// Those that several rows have.
    several: HashSet<u128>,
}

impl Unit<'_> {
    async fn run(&self, line: &mut UnitLine, touched: &mut Touched) -> Result<Counts, Failure> {
        if self.inputs.len() == 1 {
            Box::pin(self.run_hop(line, touched)).await
        } else {
            Box::pin(self.run_join(line, touched)).await
        }
    }

    /// One input table: a hop, whose transaction is the input's version.
    async fn run_hop(&self, line: &mut UnitLine, touched: &mut Touched) -> Result<Counts, Failure> {
        let input = &self.inputs[0];
        let hop = retry::begin_hop(self.running, input.id, self.target.history.id, &self.rule.hash()).await?;
        let found = hop.input().clone();
        if matches!(found, HopInput::Nothing) {
            hop.abandon().await;
            return self.catch_up(touched).await;
        }
        let rows = match self.rows_of(input, found).await {
            Ok(rows) => rows,
            Err(failure) => {
                hop.abandon().await;
                return Err(failure);
            }
        };
        let writer = hop.write(history_schema(), Some("false")).await?;
        Box::pin(self.write(line, touched, rows, writer, End::default())).await
    }

    /// Several input tables: computed again as a whole when one of them moved. The unit's cursor tells their versions.
    async fn run_join(&self, line: &mut UnitLine, touched: &mut Touched) -> Result<Counts, Failure> {
        let app = AppId::hop(self.inputs[0].id, &self.rule.hash());
        let unit = retry::begin(self.running, self.target.history.id, &app).await?;
        let prepared = async {
            self.unpromised().await?;
            let mut versions: BTreeMap<TableId, i64> = BTreeMap::new();
            for input in self.inputs {
                versions.insert(input.id, self.running.lake().version(input.id).await?);
            }
            let texts: BTreeMap<String, i64> =
                versions.iter().map(|(id, version)| (id.to_string(), *version)).collect();
            let cursor = Cursor(serde_json::json!(texts));
            if unit.cursor() == Some(&cursor) {
                return Ok(None);
            }
            let planned = Planned::new(&self.running.context, self.rule);
            for input in self.inputs {
                let version = versions.get(&input.id).copied();
                planned.table(&input.name, self.running.lake().provider(input.id, version).await?)?;
            }
            let rows = self.whole(planned).await?;
            Ok::<_, Failure>(Some((rows, cursor)))
        };
        match prepared.await {
            Ok(Some((rows, cursor))) => {
                let writer = unit.write(WriteMode::Append, history_schema()).await?;
                let end = End { cursor: Some(cursor), whole: false };
                Box::pin(self.write(line, touched, rows, writer, end)).await
            }
            Ok(None) => {
                unit.abandon().await;
                self.catch_up(touched).await
            }
            Err(failure) => {
                unit.abandon().await;
                Err(failure)
            }
        }
    }

    /// What was promised to be written comes first.
    async fn unpromised(&self) -> Result<(), Failure> {
        unpromised(&self.running.context, &BTreeSet::from([self.target.history.id])).await
    }

    /// Nothing new; the current table may still lag behind after a crash.
    async fn catch_up(&self, touched: &mut Touched) -> Result<Counts, Failure> {
        touched.add(Box::pin(current::advance(self.running, self.target)).await?);
        Ok(Counts::default())
    }

    /// What a hop's input makes the mapping read.
    async fn rows_of(&self, input: &Table, found: HopInput) -> Result<Rows, Failure> {
        self.unpromised().await?;
        let planned = Planned::new(&self.running.context, self.rule);
        let (rows, to) = match found {
            HopInput::Changes { rows, to, .. } => (Some(rows), to),
            HopInput::Whole { to, .. } => (None, to),
            HopInput::Nothing => return Err(Failure::permanent("a hop without input has no rows")),
        };
        if let Some(rows) = rows
            && plan::is_row_by_row(&self.rule.mapping)
            && self.tells_by_row(&planned, input, &rows).await?
        {
            return self.changes(planned, input, rows).await;
        }
        planned.table(&input.name, self.running.lake().provider(input.id, Some(to)).await?)?;
        self.whole(planned).await
    }

    /// Whether a changed row tells which resource changed: the mapping's key is the table's, or rows only came.
    async fn tells_by_row(
        &self,
        planned: &Planned,
        input: &Table,
        rows: &Arc<dyn TableProvider>,
    ) -> Result<bool, Failure> {
        let mut key = input.key.clone();
        key.sort();
        if plan::key_columns(&self.rule.mapping).is_some_and(|columns| columns == key) {
            return Ok(true);
        }
        if key != [ROW] {
            return Ok(false);
        }
        let gone = planned.session().read_table(Arc::clone(rows))?.filter(ident(DELETED).eq(lit(true)))?;
        Ok(gone.count().await? == 0)
    }

    async fn changes(&self, planned: Planned, input: &Table, rows: Arc<dyn TableProvider>) -> Result<Rows, Failure> {
        // The keys of all rows, gone ones and those that the filter leaves out too.
        let before = Planned::new(&self.running.context, self.rule);
        before.table(&input.name, Arc::clone(&rows))?;
        let mut touched_ids = Vec::new();
        let keys = plan::keys_only(&self.rule.mapping, false);
        let mut stream = before.frame(&keys).await?.execute_stream().await?;
        while let Some(batch) = stream.try_next().await? {
            touched_ids.extend(keys.resources(&batch).into_iter().flatten().map(|row| self.id(&row.key)));
        }
        let live = planned.session().read_table(rows)?;
        let live: DataFrame = live.filter(ident(DELETED).is_not_true())?;
        planned.table(&input.name, live.into_view())?;
        let mut found = self.last_rows(planned).await?;
        found.touched = Some(touched_ids.iter().map(|id| id_hash(id)).collect());
        found.touched_ids = touched_ids;
        Ok(found)
    }

    async fn whole(&self, planned: Planned) -> Result<Rows, Failure> {
        self.last_rows(planned).await
    }

    /// Which row is the last one of each id.
    async fn last_rows(&self, planned: Planned) -> Result<Rows, Failure> {
        let keys = plan::keys_only(&self.rule.mapping, true);
        let mut last = Last::default();
        let mut ordinal = 0_u64;
        let mut stream = planned.frame(&keys).await?.execute_stream().await?;
        while let Some(batch) = stream.try_next().await? {
            self.running.check()?;
            for row in keys.resources(&batch) {
                if let Ok(row) = row {
                    let id = id_hash(&self.id(&row.key));
                    if last.of.insert(id, ordinal).is_some() {
                        last.several.insert(id);
                    }
                }
                ordinal += 1;
            }
        }
        drop(stream);
        Ok(Rows { planned, live: self.rule.mapping.clone(), touched: None, last, touched_ids: Vec::new() })
    }

    fn id(&self, key: &[String]) -> String {
        id_of(self.rule, key)
    }

    async fn write(
        &self,
        line: &mut UnitLine,
        touched: &mut Touched,
        rows: Rows,
        mut writer: Writer,
        end: End,
    ) -> Result<Counts, Failure> {
        match Box::pin(self.pour(line, rows, &mut writer)).await {
            Ok(landing) => {
                let (counts, together) = Box::pin(landing.commit(self.running, self.target, writer, end)).await?;
                touched.add(together);
                Ok(counts)
            }
            Err(failure) => {
                writer.abandon().await;
                Err(failure)
            }
        }
    }

    async fn pour(&self, line: &mut UnitLine, rows: Rows, writer: &mut Writer) -> Result<Landing, Failure> {
        let running = self.running;
        let state = State::read(running, self.target).await?;
        let known = running.lake().schema(self.target.current.id).await?;
        let columns = own_columns(self.target.resource, &known);
        let source = self.rule.source.name.as_str();
        let run = running.id.to_string();
        let shared = Arc::new(Shared::new(self.target.resource, state, columns, source, &self.rule.name, &run));
        let closes = match &rows.touched {
            Some(touched) => Closes::Of(touched.clone()),
            None => Closes::From(HashSet::from([quarantine::hash(&self.rule.name)])),
        };
        let source_id = self.rule.source.id;
        let mut landing = Landing::new(running, self.target, source_id, quarantine::made_by, closes).await?;
        let stream = rows.planned.frame(&rows.live).await?.execute_stream().await?;
        let chunks = encode_all(
            Arc::new(self.rule.clone()),
            Arc::clone(&shared),
            Arc::new(rows.last),
            stream.map_err(Failure::from),
        );
        Box::pin(landing.pour(running, writer, line, chunks)).await?;
        let gone = match &rows.touched {
            Some(_) => rows
                .touched_ids
                .into_iter()
                .filter(|id| !landing.seen.contains(&id_hash(id)))
                .collect::<HashSet<_>>()
                .into_iter()
                .collect(),
            None => {
                let missing = shared.state.missing(source, &self.rule.name, &landing.seen);
                state::ids_of(running, self.target, &missing).await?
            }
        };
        let mut encoder = Encoder::new(&shared);
        let mut gone: Vec<String> = gone;
        gone.sort();
        gone.iter().for_each(|id| encoder.delete(id));
        landing.put(running, writer, encoder.finish()?).await?;
        if !landing.differing.is_empty() {
            running
                .warn(format!(
                    "mapping `{}`: {} keys name rows that differ; the last of each was kept",
                    self.rule.name,
                    landing.differing.len()
                ))
                .await;
        }
        for (map, count) in rows.planned.unknown.counts() {
            running
                .warn(format!(
                    "mapping `{}`: {count} codes are not in the code map `{map}`; their elements were left out (give \
                     the map with those codes again, and they are filled in)",
                    self.rule.name
                ))
                .await;
        }
        Ok(landing)
    }
}

/// The id of the resource that a row becomes.
pub(crate) fn id_of(rule: &Rule, key: &[String]) -> String {
    if rule.keeps_ids
        && let [id] = key
    {
        return id.clone();
    }
    let parts: Vec<&str> = key.iter().map(String::as_str).collect();
    resource_id(rule.source.id, rule.mapping.resource, &parts)
}

/// Encodes batches on all cores; the outcomes come in the order of the rows.
fn encode_all(
    rule: Arc<Rule>,
    shared: Arc<Shared>,
    last: Arc<Last>,
    batches: impl Stream<Item = Result<RecordBatch, Failure>>,
) -> impl Stream<Item = Result<Encoded, Failure>> {
    let mut ordinal = 0_u64;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    batches
        .map_ok(|batch| {
            let slices: Vec<RecordBatch> = (0..batch.num_rows())
                .step_by(CHUNK)
                .map(|at| batch.slice(at, CHUNK.min(batch.num_rows() - at)))
                .collect();
            futures::stream::iter(slices.into_iter().map(Ok::<_, Failure>))
        })
        .try_flatten()
        .map(move |batch: Result<RecordBatch, Failure>| {
            let (rule, shared, last) = (Arc::clone(&rule), Arc::clone(&shared), Arc::clone(&last));
            let first = ordinal;
            if let Ok(batch) = &batch {
                ordinal += batch.num_rows() as u64;
            }
            async move {
                let batch = batch?;
                tokio::task::spawn_blocking(move || encode(&rule, &shared, &last, first, &batch)).await?
            }
        })
        .buffered(cores)
}

fn encode(rule: &Rule, shared: &Shared, last: &Last, first: u64, batch: &RecordBatch) -> Result<Encoded, Failure> {
    let mut encoder = Encoder::new(shared);
    for (offset, row) in rule.mapping.resources(batch).into_iter().enumerate() {
        let ordinal = first + offset as u64;
        match row {
            Ok(row) => {
                let id = id_of(rule, &row.key);
                let hash = id_hash(&id);
                if last.several.contains(&hash) {
                    encoder.note_content(hash, &row.json);
                }
                if last.of.get(&hash).is_some_and(|last| *last != ordinal) {
                    encoder.note_deduplicated();
                    continue;
                }
                let origin = origin(rule, &row.key);
                encoder.put_text(&Incoming { id, json: row.json, origin });
            }
            Err(reason) => encoder.reject(set_aside(rule, &batch.slice(offset, 1), reason)?),
        }
    }
    encoder.finish()
}

/// Where a resource came from, as a person finds it: the mapping, and the key of its row.
fn origin(rule: &Rule, key: &[String]) -> String {
    format!("{} key {}", rule.name, key.join(", "))
}

/// A row that could not become a resource: what the mapping made of it, under the names that the mapping gives.
fn set_aside(rule: &Rule, row: &RecordBatch, reason: String) -> Result<Rejected, Failure> {
    let said = crate::to_processed::as_json(row)?.into_iter().next().unwrap_or_default();
    let Ok(serde_json::Value::Object(said)) = serde_json::from_str(&said) else {
        return Err(Failure::permanent("a row of a mapping cannot be written as JSON"));
    };
    let mapping = &rule.mapping;
    let part = |place: usize| {
        let texts = canonical_text(row.column_by_name(&format!("key_{place}"))?).ok()?;
        Some(texts.value(0).to_owned()).filter(|text| texts.is_valid(0) && !text.is_empty())
    };
    let key: Vec<Option<String>> = (0..mapping.key.len()).map(part).collect();
    let mut payload = serde_json::Map::new();
    let whole: Option<Vec<String>> = key.iter().cloned().collect();
    if let Some(key) = &whole {
        payload.insert("id".to_owned(), id_of(rule, key).into());
    }
    for (name, value) in said {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok();
        let known = match (number("key_"), number("set_")) {
            (Some(place), _) => mapping.key.get(place).cloned(),
            (_, Some(place)) => mapping.set.get(place).map(|(path, _)| path.to_string()),
            _ => mapping.resource_json.clone(),
        };
        payload.entry(known.unwrap_or(name)).or_insert(value);
    }
    let key: Vec<String> = key.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Rejected { reason, origin: origin(rule, &key), payload: serde_json::Value::Object(payload).to_string() })
}

//! Discovery of one source, and what is stored of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use chrono::{Datelike, Utc};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use mavis_catalog::{DriftState, NewColumn, NewDrift, NewTable, Source};
use mavis_connectors::{ReadItem, ReadRequest, Selection, Source as Connected, SourceTable, TableKind, TableRef};
use mavis_types::{RunId, TableName, Zone};

use super::{
    drift::{self, DriftConfig, DriftMode},
    names, profile,
};
use crate::{
    DiscoveryReport, ReportColumn, ReportTable,
    clean::{self, CleanConfig, ColumnRule, TableRules},
    context::Context,
    failure::Failure,
};

/// Rows of a sample.
const SAMPLE: usize = 2_000;
/// Samples one after the other that fail for a passing reason before the source counts as silent.
const SILENT: usize = 3;
/// How long a table's sample may take; a view that computes for hours is described without one.
const SAMPLE_TIME: Duration = Duration::from_secs(60);

/// How a source is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Every table is sampled.
    Whole,
    /// Only tables that are new or described otherwise than before are sampled.
    Changes,
    /// As [`Look::Changes`], and what was held is accepted.
    Accepting,
}

/// What a look at a source found.
#[derive(Debug)]
pub(crate) struct Discovered {
    pub(crate) report: DiscoveryReport,
    /// What a convention decided, for the log.
    pub(crate) notes: Vec<String>,
    /// What is different from the report before, and was not told yet.
    pub(crate) changes: Vec<NewDrift>,
}

/// Describes and profiles the source's tables, compares with the report before, stores the report where it differs, and makes
/// the raw tables' entries.
pub(crate) async fn discover(
    context: &Context,
    source: &Source,
    connected: &Arc<dyn Connected>,
    run: Option<RunId>,
    look: Look,
) -> Result<Discovered, Failure> {
    let config = CleanConfig::from_params(&source.params).map_err(Failure::Permanent)?;
    let drifting = DriftConfig::from_params(&source.params).map_err(Failure::Permanent)?;
    let found = connected.discover(&Selection::default()).await?;
    context.looked.lock().unwrap_or_else(PoisonError::into_inner).insert(source.id, Instant::now());
    let before = latest_of(context, source).await?;
    let current = before.as_ref().is_some_and(|(_, current)| *current);
    let before = before.map(|(report, _)| report);
    let previous: HashMap<TableRef, &ReportTable> =
        before.iter().flat_map(|report| &report.tables).map(|table| (table.table.clone(), table)).collect();
    // What is configured may have changed with the source's parameters.
    let unchanged = |table: &SourceTable| {
        let known = previous.get(&table.table).copied();
        known.filter(|known| look != Look::Whole && current && drift::same_shape(table, known))
    };
    let year = Utc::now().year();
    let mut sampling: Vec<BoxFuture<'static, Result<Profiles, Failure>>> = Vec::new();
    // A source that stops answering costs a few samples, not one per table.
    let silent = Arc::new(AtomicUsize::new(0));
    for table in found.tables.iter().filter(|table| unchanged(table).is_none()) {
        sampling.push(profiled(Arc::clone(connected), table.table.clone(), year, Arc::clone(&silent)).boxed());
    }
    let samples: Vec<Result<Profiles, Failure>> =
        stream::iter(sampling).buffered(context.options.tables_per_run.max(1)).collect().await;
    let mut samples = samples.into_iter();
    if silent.load(Ordering::Relaxed) >= SILENT {
        let failure = samples.find_map(|sample| sample.err().filter(Failure::is_transient));
        return Err(failure.unwrap_or_else(|| Failure::Transient("the source stopped answering".to_owned())));
    }
    let mut failures: Vec<(String, String)> =
        found.failures.iter().map(|(table, reason)| (table.to_string(), reason.clone())).collect();
    let references: Vec<TableRef> = found.tables.iter().map(|table| table.table.clone()).collect();
    let known = context.catalog.tables_of_source(source.id).await?;
    let entries: HashMap<&TableName, &mavis_catalog::Table> = known.iter().map(|table| (&table.name, table)).collect();
    let lake_names = names::Names::of(&known).tables(&source.name, &references);
    let mut tables = Vec::with_capacity(found.tables.len());
    let mut notes = Vec::new();
    for (table, lake_name) in found.tables.into_iter().zip(lake_names) {
        if let Some(same) = unchanged(&table) {
            tables.push(ReportTable { row_estimate: table.row_estimate, comment: table.comment, ..same.clone() });
            continue;
        }
        let profiles = samples.next().unwrap_or_else(|| Ok(BTreeMap::new())).unwrap_or_else(|failure| {
            failures.push((table.table.to_string(), failure.to_string()));
            BTreeMap::new()
        });
        let raw = TableName::new(Zone::Raw, &lake_name.0, &lake_name.1);
        let columns = match entries.get(&raw) {
            Some(table) => context.catalog.columns(table.id).await?,
            None => Vec::new(),
        };
        let rules = previous.get(&table.table).and_then(|table| table.rules.as_ref());
        let (table, noted) = describe(table, lake_name, profiles, &columns, &config, rules, year);
        notes.extend(noted.into_iter().map(|note| format!("table `{}`, {note}", table.table)));
        tables.push(table);
    }
    let mut report = DiscoveryReport { source: source.name.to_string(), made_at: Utc::now(), tables, failures };
    let mode = if look == Look::Accepting { DriftMode::Apply } else { drifting.mode };
    let mut changes = Vec::new();
    if let Some(before) = &before {
        changes = drift::compare(before, &report, mode);
        if mode == DriftMode::Hold {
            report = drift::hold(before, report, &changes);
        }
        changes = told_anew(context, source, look, changes).await?;
    }
    context.catalog.add_drift(source.id, run, &changes).await?;
    let same = |before: &DiscoveryReport| look != Look::Whole && current && same_tables(before, &report);
    if before.as_ref().is_some_and(same) {
        context.catalog.touch_discovery(source.id).await?;
    } else {
        register(context, source, &report).await?;
    }
    Ok(Discovered { report, notes, changes })
}

/// Whether two reports say the same of the same tables, but for their sizes.
fn same_tables(before: &DiscoveryReport, now: &DiscoveryReport) -> bool {
    before.tables.len() == now.tables.len()
        && before.failures == now.failures
        && before.tables.iter().zip(&now.tables).all(|(before, now)| {
            before.table == now.table
                && before.lake_name == now.lake_name
                && before.key == now.key
                && before.mode == now.mode
                && before.comment == now.comment
                && before.held == now.held
                && before.held_columns == now.held_columns
                && before.rules == now.rules
                && before.columns.len() == now.columns.len()
                && before.columns.iter().zip(&now.columns).all(|(before, now)| {
                    before.name == now.name
                        && before.source_type == now.source_type
                        && before.data_type == now.data_type
                })
        })
}

/// The changes that were not told before. Those that were held and are no longer there are settled.
async fn told_anew(
    context: &Context,
    source: &Source,
    look: Look,
    changes: Vec<NewDrift>,
) -> Result<Vec<NewDrift>, Failure> {
    let held = context.catalog.held_drift(source.id).await?;
    if held.is_empty() {
        return Ok(changes);
    }
    let as_held = |change: &NewDrift| NewDrift { state: DriftState::Held, ..change.clone() };
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for known in &held {
        let found = changes.iter().any(|change| as_held(change) == known.change);
        if found { there.push(known.id) } else { gone.push(known.id) }
    }
    context.catalog.settle_drift(&gone, DriftState::Gone).await?;
    if look == Look::Accepting {
        context.catalog.settle_drift(&there, DriftState::Accepted).await?;
    }
    Ok(changes.into_iter().filter(|change| !held.iter().any(|known| known.change == as_held(change))).collect())
}

/// The newest stored report of a source.
pub(crate) async fn latest(context: &Context, source: &Source) -> Result<Option<DiscoveryReport>, Failure> {
    Ok(latest_of(context, source).await?.map(|(report, _)| report))
}

/// As [`latest`], and whether the source is declared as it was when the report was made.
pub(crate) async fn latest_of(context: &Context, source: &Source) -> Result<Option<(DiscoveryReport, bool)>, Failure> {
    let found = context.catalog.latest_report(source.id).await.map_err(|error| match error {
        mavis_catalog::Error::Corrupt { .. } => {
            Failure::Permanent("the stored discovery report cannot be read; discover the source again".to_owned())
        }
        error => error.into(),
    })?;
    Ok(found.map(|(report, made_at): (DiscoveryReport, _)| (report, made_at >= source.updated_at)))
}

/// Stores a report and makes the raw tables' entries.
pub(crate) async fn register(context: &Context, source: &Source, report: &DiscoveryReport) -> Result<(), Failure> {
    let tables = report.tables.iter().map(|table| (raw_table(source, table), columns(table))).collect();
    context.catalog.ensure_tables(tables).await?;
    context.catalog.save_discovery(source.id, report).await?;
    Ok(())
}

/// The entry of a table's raw copy.
pub(crate) fn raw_table(source: &Source, table: &ReportTable) -> NewTable {
    NewTable {
        name: TableName::new(Zone::Raw, &table.lake_name.0, &table.lake_name.1),
        source: Some(source.id),
        source_schema: table.table.schema.clone(),
        source_table: Some(table.table.name.clone()),
        key: rules_of(table).key,
        comment: table.comment.clone(),
    }
}

/// The catalog's columns of a reported table.
pub(crate) fn columns(table: &ReportTable) -> Vec<NewColumn> {
    table
        .columns
        .iter()
        .map(|column| NewColumn {
            name: column.lake_name.clone(),
            source_name: Some(column.name.clone()),
            data_type: column.data_type.clone(),
            source_type: Some(column.source_type.clone()),
            nullable: column.nullable,
            comment: column.comment.clone(),
        })
        .collect()
}

/// How the table is cleaned; of a report that does not say, by default.
pub(crate) fn rules_of(table: &ReportTable) -> TableRules {
    table.rules.clone().unwrap_or_else(|| {
        let lake_name = |name: &String| table.columns.iter().find(|c| c.name == *name).map(|c| c.lake_name.clone());
        TableRules {
            version: 1,
            columns: BTreeMap::new(),
            checks: Vec::new(),
            key: table.key.iter().filter_map(lake_name).collect(),
            pivot_year: 2026,
        }
    })
}

/// Profiles of a table's columns, by name.
type Profiles = BTreeMap<String, crate::ColumnProfile>;

async fn profiled(
    connected: Arc<dyn Connected>,
    table: TableRef,
    year: i32,
    silent: Arc<AtomicUsize>,
) -> Result<Profiles, Failure> {
    if silent.load(Ordering::Relaxed) >= SILENT {
        return Err(Failure::permanent("not looked at, since the source stopped answering"));
    }
    let batches = sample(&connected, &table).await;
    match &batches {
        Err(failure) if failure.is_transient() => silent.fetch_add(1, Ordering::Relaxed),
        _ => silent.swap(0, Ordering::Relaxed),
    };
    let batches = batches?;
    tokio::task::spawn_blocking(move || profile::profiles(&batches, year)).await?
}

async fn sample(connected: &Arc<dyn Connected>, table: &TableRef) -> Result<Vec<RecordBatch>, Failure> {
    let request = ReadRequest { batch_rows: SAMPLE, sample: true, ..ReadRequest::whole(table.clone()) };
    let read = async {
        let mut stream = connected.read(request).await?;
        let (mut batches, mut rows) = (Vec::<RecordBatch>::new(), 0);
        while let Some(item) = stream.try_next().await? {
            if let ReadItem::Batch(batch) = item {
                // A later batch may have more columns; the first ones are enough for a sample.
                if batches.first().is_none_or(|first| first.schema() == batch.schema()) {
                    let wanted = batch.num_rows().min(SAMPLE - rows);
                    rows += wanted;
                    batches.push(batch.slice(0, wanted));
                }
                if rows >= SAMPLE {
                    break;
                }
            }
        }
        Ok::<_, Failure>(batches)
    };
    tokio::time::timeout(SAMPLE_TIME, read)
        .await
        .unwrap_or_else(|_| Err(Failure::permanent("reading a sample took more than a minute; described without one")))
}

fn describe(
    table: SourceTable,
    lake_name: (String, String),
    mut profiles: BTreeMap<String, crate::ColumnProfile>,
    known: &[mavis_catalog::Column],
    config: &CleanConfig,
    previous: Option<&TableRules>,
    year: i32,
) -> (ReportTable, Vec<String>) {
    let source_names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let lake_columns = names::columns(known, &source_names);
    let columns: Vec<ReportColumn> = table
        .columns
        .iter()
        .zip(lake_columns)
        .map(|(column, lake_name)| ReportColumn {
            name: column.name.clone(),
            lake_name,
            data_type: column.data_type.to_string(),
            source_type: column.source_type.clone(),
            nullable: column.nullable,
            comment: column.comment.clone(),
            profile: profiles.remove(&column.name),
        })
        .collect();
    let said = config.table(&[&table.table.name, &table.table.to_string(), &lake_name.1]);
    let resources = table.kind == TableKind::Resources;
    let declared = if said.key.is_empty() || resources { &table.key } else { &said.key };
    let find = |name: &String| columns.iter().find(|c| c.name == *name || c.lake_name == *name);
    let key: Vec<String> = declared.iter().filter_map(find).map(|c| c.lake_name.clone()).collect();
    let (rules, notes) = if resources {
        let untouched = columns.iter().map(|c| (c.lake_name.clone(), ColumnRule::untouched())).collect();
        let rules =
            TableRules { version: 1, columns: untouched, checks: Vec::new(), key: key.clone(), pivot_year: year };
        (rules, Vec::new())
    } else {
        let tokens = config.null_tokens.as_deref();
        clean::choose(&columns, &key, &said, config.day_first, tokens, previous, year)
    };
    let report = ReportTable {
        table: table.table,
        lake_name,
        kind: table.kind,
        mode: table.mode,
        columns,
        key: declared.clone(),
        foreign_keys: table.foreign_keys,
        comment: table.comment,
        row_estimate: table.row_estimate,
        rules: Some(rules),
        held: Vec::new(),
        held_columns: Vec::new(),
    };
    (report, notes)
}

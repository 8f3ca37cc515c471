//! Between the contract's messages and the words of the crates that do the work.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use mavis_catalog::{Catalog, LogLevel, LogLine, Run, RunState, RunUnit};
use mavis_connectors::{SourceSpec, StageReport};
use mavis_pipeline::{RunEvent, SourceSummary, UnitProgress};
use mavis_proto::v1 as pb;
use mavis_sql::Sizes;
use mavis_types::{Counts, Principal, RunId, SourceId, SourceName, TableId};
use prost_types::Timestamp;
use serde::Serialize;
use tonic::Status;

use super::status;

pub(super) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: at.timestamp(), nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0) }
}

/// The word that an enum serialises to: `to_raw`, `completed`.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

pub(super) fn run_id(text: &str) -> Result<RunId, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("`{text}` is not a run: a run's id is a UUID")))
}

/// The id that a caller chose, or a new one.
pub(super) fn chosen_run_id(text: &str) -> Result<RunId, Status> {
    if text.is_empty() { Ok(RunId::new()) } else { run_id(text) }
}

pub(super) fn source_name(text: &str) -> Result<SourceName, Status> {
    SourceName::new(text).map_err(status)
}

pub(super) fn required<T>(value: Option<T>, field: &str) -> Result<T, Status> {
    value.ok_or_else(|| Status::invalid_argument(format!("`{field}` is missing")))
}

pub(super) fn spec(spec: pb::SourceSpec) -> Result<SourceSpec, Status> {
    let params = match spec.params_json.trim() {
        "" => serde_json::json!({}),
        text => serde_json::from_str(text)
            .map_err(|error| Status::invalid_argument(format!("`params_json` is not JSON: {error}")))?,
    };
    if !params.is_object() {
        return Err(Status::invalid_argument("`params_json` must be a JSON object"));
    }
    Ok(SourceSpec { name: source_name(&spec.name)?, kind: spec.kind, params, authoritative: spec.authoritative })
}

pub(super) fn source(source: mavis_catalog::Source) -> pb::Source {
    pb::Source {
        id: source.id.to_string(),
        spec: Some(pb::SourceSpec {
            name: source.name.to_string(),
            kind: source.kind,
            params_json: source.params.to_string(),
            authoritative: source.authoritative,
        }),
        created_at: Some(timestamp(source.created_at)),
        updated_at: Some(timestamp(source.updated_at)),
        tables: 0,
        last_run_state: pb::RunState::Unspecified.into(),
        last_run_at: None,
    }
}

pub(super) fn summary(summary: SourceSummary) -> pb::Source {
    let last = summary.last_run;
    pb::Source {
        tables: summary.tables,
        last_run_state: last.map_or(pb::RunState::Unspecified, |(state, _)| run_state(state)).into(),
        last_run_at: last.map(|(_, at)| timestamp(at)),
        ..source(summary.source)
    }
}

pub(super) fn stage(report: StageReport) -> pb::StageReport {
    pb::StageReport {
        stage: word(report.stage),
        outcome: word(report.outcome),
        message: report.message,
        millis: report.millis,
    }
}

pub(super) fn report(report: &mavis_pipeline::DiscoveryReport) -> pb::DiscoveryReport {
    pb::DiscoveryReport {
        source: report.source.clone(),
        tables: report
            .tables
            .iter()
            .map(|table| pb::DiscoveredTable {
                name: table.table.to_string(),
                lake_name: format!("{}.{}", table.lake_name.0, table.lake_name.1),
                kind: word(table.kind),
                mode: word(table.mode),
                columns: u32::try_from(table.columns.len()).unwrap_or(u32::MAX),
                key: table.key.clone(),
                row_estimate: table.row_estimate,
            })
            .collect(),
        failures: report
            .failures
            .iter()
            .map(|(table, reason)| pb::DiscoveryFailure { table: table.clone(), reason: reason.clone() })
            .collect(),
        json: serde_json::to_string(report).unwrap_or_default(),
    }
}

pub(super) fn run_state(state: RunState) -> pb::RunState {
    match state {
        RunState::Pending => pb::RunState::Pending,
        RunState::Running => pb::RunState::Running,
        RunState::Completed => pb::RunState::Completed,
        RunState::CompletedWithWarnings => pb::RunState::CompletedWithWarnings,
        RunState::Failed => pb::RunState::Failed,
        RunState::Retrying => pb::RunState::Retrying,
        RunState::FailedPermanently => pb::RunState::FailedPermanently,
        RunState::Cancelled => pb::RunState::Cancelled,
    }
}

pub(super) fn counts(counts: Counts) -> pb::Counts {
    pb::Counts {
        read: counts.read,
        fanned_out: counts.fanned_out,
        inserted: counts.inserted,
        updated: counts.updated,
        unchanged: counts.unchanged,
        deduplicated: counts.deduplicated,
        quarantined: counts.quarantined,
        deleted: counts.deleted,
    }
}

fn log_line(line: LogLine) -> pb::LogLine {
    let level = match line.level {
        LogLevel::Info => pb::LogLevel::Info,
        LogLevel::Warn => pb::LogLevel::Warn,
        LogLevel::Error => pb::LogLevel::Error,
    };
    pb::LogLine { sequence: line.sequence, at: Some(timestamp(line.at)), level: level.into(), message: line.message }
}

pub(super) fn log(lines: Vec<LogLine>) -> Vec<pb::LogLine> {
    lines.into_iter().map(log_line).collect()
}

/// `counted`: as `mavis_sql::knows_counts` says; an error may tell numbers, too.
pub(super) fn unit(unit: RunUnit, table: String, expected_rows: Option<u64>, counted: bool) -> pb::RunUnit {
    pb::RunUnit {
        step: word(unit.step),
        table,
        state: word(unit.state),
        counts: counted.then(|| counts(unit.counts)),
        error: unit.error.filter(|_| counted).unwrap_or_default(),
        seconds: unit.seconds,
        expected_rows: expected_rows.filter(|_| counted),
    }
}

/// An event as watchers are told it, at this door and in the demo. `counted`: as `mavis_sql::knows_counts` says; `sized`: as
/// `mavis_sql::Sizes` says of the run.
pub(crate) fn event(event: RunEvent, counted: bool, sized: bool) -> pb::RunEvent {
    use pb::run_event::Event;
    let event = match event {
        RunEvent::State { state, counts: sum, error } => Event::State(pb::RunStateChange {
            state: run_state(state).into(),
            counts: sized.then(|| counts(sum)),
            error: error.filter(|_| sized).unwrap_or_default(),
        }),
        RunEvent::Unit(UnitProgress { table, unit: row, expected }) => Event::Unit(unit(row, table, expected, counted)),
        RunEvent::Log(line) => Event::Log(log_line(line)),
    };
    pb::RunEvent { event: Some(event) }
}

/// Names behind ids, each looked up once per answer.
#[derive(Debug)]
pub(super) struct Names<'a> {
    catalog: &'a Catalog,
    by: &'a Principal,
    sizes: Sizes,
    sources: HashMap<SourceId, String>,
    tables: HashMap<TableId, Option<mavis_types::TableName>>,
}

impl<'a> Names<'a> {
    pub(super) fn new(catalog: &'a Catalog, by: &'a Principal) -> Self {
        Self { catalog, by, sizes: Sizes::default(), sources: HashMap::new(), tables: HashMap::new() }
    }

    /// The source's name; its id where it was removed.
    async fn source(&mut self, id: SourceId) -> Result<String, Status> {
        if let Some(name) = self.sources.get(&id) {
            return Ok(name.clone());
        }
        let name = match self.catalog.source_by_id(id).await {
            Ok(source) => source.name.to_string(),
            Err(mavis_catalog::Error::NotFound { .. }) => id.to_string(),
            Err(error) => return Err(status(error)),
        };
        self.sources.insert(id, name.clone());
        Ok(name)
    }

    pub(super) async fn table(&mut self, id: TableId) -> Result<Option<mavis_types::TableName>, Status> {
        if let Some(name) = self.tables.get(&id) {
            return Ok(name.clone());
        }
        let name = match self.catalog.table_by_id(id).await {
            Ok(table) => Some(table.name),
            Err(mavis_catalog::Error::NotFound { .. }) => None,
            Err(error) => return Err(status(error)),
        };
        self.tables.insert(id, name.clone());
        Ok(name)
    }

    pub(super) async fn run(&mut self, run: Run) -> Result<pb::Run, Status> {
        let source = match run.source {
            Some(id) => self.source(id).await?,
            None => String::new(),
        };
        let named = Some(source.as_str()).filter(|source| !source.is_empty());
        let sized = self.sizes.are_known(self.catalog, self.by, named).await.map_err(status)?;
        Ok(pb::Run {
            id: run.id.to_string(),
            kind: word(run.kind),
            source,
            requested_by: run.requested_by,
            state: run_state(run.state).into(),
            parent_id: run.parent.map(|id| id.to_string()).unwrap_or_default(),
            attempt: run.attempt,
            error: run.error.filter(|_| sized).unwrap_or_default(),
            counts: sized.then(|| counts(run.counts)),
            created_at: Some(timestamp(run.created_at)),
            started_at: run.started_at.map(timestamp),
            finished_at: run.finished_at.map(timestamp),
        })
    }
}

//! What is expected of the age of a table's rows, and what is late.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use chrono::{DateTime, Utc};
use mavis_connectors::TableRef;
use mavis_types::{SourceId, TableName};

use super::ScheduleSpec;
use crate::{alert, context::Context, failure::Failure};

/// A table of which something is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFreshness {
    pub source_id: SourceId,
    pub source: String,
    pub table: TableName,
    /// Seconds that its rows may be old.
    pub expected_seconds: u64,
    /// The time that its rows tell of; `None`: it was never read.
    pub fresh_at: Option<DateTime<Utc>>,
    /// Seconds by which it is late; of one that was never read, since it was first heard of. 0: it is not.
    pub late_seconds: u64,
}

/// Every table of which something is expected, by source and name.
pub(super) async fn all(context: &Context, now: DateTime<Utc>) -> Result<Vec<TableFreshness>, Failure> {
    let mut all = Vec::new();
    for schedule in context.catalog.schedules().await? {
        let Ok(spec) = serde_json::from_value::<ScheduleSpec>(schedule.spec) else { continue };
        if spec.freshness.seconds.is_none() && spec.freshness.tables.is_empty() {
            continue;
        }
        let source = context.catalog.source_by_id(schedule.source).await?;
        for fresh in context.catalog.fresh(schedule.source).await? {
            let table = TableRef { schema: fresh.source_schema, name: fresh.source_table };
            let Some(expected_seconds) = spec.freshness.of(&table) else { continue };
            let since = fresh.fresh_at.unwrap_or(fresh.known_at);
            let age = u64::try_from((now - since).num_seconds()).unwrap_or(0);
            all.push(TableFreshness {
                source_id: source.id,
                source: source.name.to_string(),
                table: fresh.name,
                expected_seconds,
                fresh_at: fresh.fresh_at,
                late_seconds: age.saturating_sub(expected_seconds),
            });
        }
    }
    Ok(all)
}

/// Makes an alert of the tables of a source that have become late.
async fn note(context: &Context, tables: &[TableFreshness], now: DateTime<Utc>) -> Result<(), Failure> {
    let Some(first) = tables.first() else { return Ok(()) };
    let late: Vec<&TableFreshness> = tables.iter().filter(|table| table.late_seconds > 0).collect();
    let names: BTreeSet<String> = late.iter().map(|table| table.table.to_string()).collect();
    let body = |new: &BTreeSet<String>| alert::late(&first.source, new, &late, now);
    context.catalog.note_late(first.source_id, &names, body).await?;
    Ok(())
}

/// Tells metrics and the log what is late: one line per source.
pub(super) async fn tell(context: &Context, now: DateTime<Utc>) -> Result<(), Failure> {
    let all = all(context, now).await?;
    if context.alerts.load(Ordering::Relaxed) {
        for of_one in all.chunk_by(|a, b| a.source == b.source) {
            note(context, of_one, now).await?;
        }
    }
    let late: Vec<&TableFreshness> = all.iter().filter(|table| table.late_seconds > 0).collect();
    metrics::gauge!("mavis_tables_late").set(late.len() as f64);
    metrics::gauge!("mavis_tables_late_seconds")
        .set(late.iter().map(|table| table.late_seconds).max().unwrap_or(0) as f64);
    for of_one in late.chunk_by(|a, b| a.source == b.source) {
        if let Some(worst) = of_one.iter().max_by_key(|table| table.late_seconds) {
            tracing::warn!(
                source = worst.source,
                tables = of_one.len(),
                seconds = worst.late_seconds,
                "{} tables of `{}` are late, `{}` by {} s",
                of_one.len(),
                worst.source,
                worst.table,
                worst.late_seconds
            );
        }
    }
    Ok(())
}

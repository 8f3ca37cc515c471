//! What became of every row, per source table.

use std::collections::BTreeMap;

use anyhow::Context;
use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use mavis_catalog::{QuarantineFilter, QuarantineState, Step};
use mavis_types::{Principal, TableId, TableName, Zone};
use serde_json::{Value, json};

use super::fill::Filled;
use crate::{
    App,
    cli::{output::Table, watch::seconds},
};

/// Delta version of each table of the lake.
///
/// # Errors
/// When the catalog or a table cannot be read.
pub(super) async fn versions(app: &App) -> anyhow::Result<BTreeMap<TableId, i64>> {
    let mut versions = BTreeMap::new();
    for table in app.catalog.tables(None, None, None, None).await? {
        if table.version.is_some() {
            versions.insert(table.id, app.lake.version(table.id).await?);
        }
    }
    Ok(versions)
}

/// One row per source table: what was read in this run, what each zone holds now, and where the others are: set aside,
/// kept once of several equal ones (`duplicates`), or not made a resource of by the mapping (`not_mapped`). So
/// `raw = FHIR + quarantined + duplicates + not_mapped`, but for rows that were set aside before the raw zone.
///
/// # Errors
/// When a count cannot be read.
pub(super) async fn table(app: &App, by: &Principal, filled: &[Filled<'_>]) -> anyhow::Result<Table> {
    let mut table = Table::new([
        "source_table",
        "read",
        "raw",
        "processed",
        "FHIR",
        "quarantined",
        "duplicates",
        "not_mapped",
        "seconds",
    ]);
    let mut sum = [0_u64; 7];
    let mut total_seconds = 0.0;
    for one in filled {
        let source = one.source.spec.name.as_str();
        for (name, resource) in one.source.tables {
            let raw = TableName::new(Zone::Raw, source, *name);
            let processed = TableName::new(Zone::Processed, source, *name);
            let fhir = TableName::new(Zone::Fhir, "r4", resource.to_ascii_lowercase());
            let mut took = 0.0;
            let mut read = 0;
            for unit in &one.units {
                let target = app.catalog.table_by_id(unit.table).await?.name;
                let ours =
                    target == raw || target == processed || target.zone == Zone::Fhir && target.table == fhir.table;
                if ours {
                    took += unit.seconds;
                }
                if unit.step == Step::ToRaw && target == raw {
                    read = unit.counts.read;
                }
            }
            let of_source = format!(" WHERE __source IN ('{source}', '{}')", one.id);
            let in_raw = rows(app, by, &raw, "").await?;
            let in_processed = rows(app, by, &processed, "").await?;
            let in_fhir = rows(app, by, &fhir, &of_source).await?;
            let aside_raw = quarantined(app, one, &raw).await?;
            let aside_processed = quarantined(app, one, &processed).await?;
            let aside_fhir = quarantined(app, one, &fhir).await?;
            let rows = [
                read,
                in_raw,
                in_processed,
                in_fhir,
                aside_raw + aside_processed + aside_fhir,
                in_raw.saturating_sub(in_processed + aside_processed),
                in_processed.saturating_sub(in_fhir + aside_fhir),
            ];
            for (sum, count) in sum.iter_mut().zip(rows) {
                *sum += count;
            }
            total_seconds += took;
            let mut row = vec![json!(format!("{source}.{name}"))];
            row.extend(rows.map(Value::from));
            row.push(seconds(took));
            table.push(row);
        }
    }
    let mut row = vec![json!("all")];
    row.extend(sum.map(Value::from));
    row.push(seconds(total_seconds));
    table.push(row);
    Ok(table)
}

/// Rows of a table as a query sees them; 0 where nothing was ever put into it.
async fn rows(app: &App, by: &Principal, name: &TableName, condition: &str) -> anyhow::Result<u64> {
    if app.catalog.find_table(name).await?.is_none_or(|table| table.version.is_none()) {
        return Ok(0);
    }
    let session = app.engine.session(by, None).await?;
    let sql = format!("SELECT count(*) FROM {name}{condition}");
    let batches: Vec<_> = Box::pin(session.query(&sql, &[], None)).await?.batches.try_collect().await?;
    let first = batches.iter().find(|batch| batch.num_rows() > 0).context("a count has no row")?;
    let count = first.column(0).as_primitive_opt::<Int64Type>().context("a count is no number")?.value(0);
    Ok(u64::try_from(count)?)
}

/// Rows on their way from this source to a table that wait in quarantine.
async fn quarantined(app: &App, one: &Filled<'_>, name: &TableName) -> anyhow::Result<u64> {
    let Some(table) = app.catalog.find_table(name).await? else { return Ok(0) };
    let filter = QuarantineFilter {
        table: Some(table.id),
        state: Some(QuarantineState::Waiting),
        ..QuarantineFilter::default()
    };
    let (mut count, mut of_runs) = (0, BTreeMap::new());
    for row in app.catalog.quarantined(&filter).await? {
        let ours = match of_runs.get(&row.run) {
            Some(ours) => *ours,
            None => {
                let ours = app.catalog.run(row.run).await?.source == Some(one.id);
                of_runs.insert(row.run, ours);
                ours
            }
        };
        count += u64::from(ours);
    }
    Ok(count)
}

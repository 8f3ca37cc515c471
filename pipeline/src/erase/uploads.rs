//! Rows that clients sent and that have not landed yet: they wait in the inboxes of sources of kind `push`.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::or,
    datatypes::{Field, Schema},
};
use mavis_catalog::{RunState, Source};
use mavis_connectors::{
    SourceKind,
    push::{Inbox, Push},
};
use mavis_lake::{AppId, erase::Matches};
use mavis_types::{TableName, Zone, normalize_name};

use super::{Erasure, find::Found, origin};
use crate::{context::Running, failure::Failure};

/// Runs of a source that are looked at.
const RUNS: u32 = 20;

/// Deletes uploads that have landed, and takes the rows that a mapping's key tells out of those that wait. Rows that are left
/// waiting may hold more of the person than keys tell: that is said.
pub(super) async fn uploads(running: &Running, found: &Found, done: &mut Erasure) -> Result<(), Failure> {
    for source in running.catalog().sources().await? {
        if source.kind != Push::NAME {
            continue;
        }
        let inbox = running.context.inbox(&source)?;
        let tables = inbox.sent().await?;
        if !tables.is_empty() && is_at_work(running, &source).await? {
            done.unreached.push(format!(
                "uploads into `{}`: a run is bringing some; erase again with `finish` when it is over",
                source.name
            ));
        }
        for table in tables {
            of_table(running, found, &source, &inbox, &table, done).await?;
        }
    }
    Ok(())
}

async fn is_at_work(running: &Running, source: &Source) -> Result<bool, Failure> {
    let runs = running.catalog().runs(Some(source.id), RUNS).await?;
    Ok(runs.iter().any(|run| matches!(run.state, RunState::Pending | RunState::Running)))
}

async fn of_table(
    running: &Running,
    found: &Found,
    source: &Source,
    inbox: &Inbox,
    table: &str,
    done: &mut Erasure,
) -> Result<(), Failure> {
    let tables = running.catalog().tables_of_source(source.id).await?;
    let entry =
        tables.into_iter().find(|entry| entry.name.zone == Zone::Raw && entry.source_table.as_deref() == Some(table));
    let cursor = match &entry {
        Some(entry) => {
            let app = AppId::ingest(source.id, entry.id);
            running.catalog().newest_cursor(app.as_str()).await?.and_then(|row| row.to)
        }
        None => None,
    };
    let waiting = inbox.waiting(table, cursor.as_ref()).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let name = entry
        .map_or_else(|| TableName::new(Zone::Raw, source.name.as_str(), normalize_name(table)), |entry| entry.name);
    let keys = Arc::new(Box::pin(origin::keys(running, found, &name)).await?);
    let (mut gone, mut left) = (0, 0);
    for number in waiting {
        let keys = Arc::clone(&keys);
        let taken = inbox.take_out(table, number, move |batch| theirs(batch, &keys)).await?;
        if let Some((went, stay)) = taken {
            (gone, left) = (gone + went, left + stay);
        }
    }
    let name = format!("{}.{table}", source.name);
    if gone > 0 {
        *done.rows.entry(format!("uploads into {name}")).or_default() += gone;
    }
    if left > 0 {
        done.unreached.push(format!(
            "{left} rows of uploads into `{name}` that wait to land: what keys of mappings do not tell to be the person's is kept; \
             ingest `{}` and erase again with `finish`",
            source.name
        ));
    }
    Ok(())
}

/// Which rows of an upload, whose columns have the sender's names, have one of the keys.
fn theirs(
    batch: &RecordBatch,
    keys: &[(BTreeSet<String>, Matches)],
) -> Result<arrow::array::BooleanArray, mavis_connectors::Error> {
    let broken = || mavis_connectors::Error::Malformed {
        place: "an upload".to_owned(),
        reason: "a column of a key cannot be read".to_owned(),
    };
    let schema = batch.schema();
    let mut seen = BTreeSet::new();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let name = normalize_name(field.name());
            // Of two that are called alike only the first has the name in the lake.
            let name = if seen.insert(name.clone()) { name } else { format!("{name} {at}") };
            Field::new(name, field.data_type().clone(), true)
        })
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec()).map_err(|_| broken())?;
    let mut all = arrow::array::BooleanArray::from(vec![false; batch.num_rows()]);
    for (columns, matches) in keys {
        if columns.iter().all(|column| batch.column_by_name(column).is_some()) {
            all = or(&all, &matches(&batch).map_err(|_| broken())?).map_err(|_| broken())?;
        }
    }
    Ok(all)
}

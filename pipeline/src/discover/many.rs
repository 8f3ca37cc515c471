//! Discovery of many sources as one job: bounded connections per host and in all, told source by source, taken up again where
//! it was. What a source costs that does not answer is its own time-out, in a place of its own.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use mavis_catalog::{DiscoveryItem, Source, UnitState};
use mavis_types::SourceName;
use tokio::sync::Semaphore;

use super::{
    drift,
    run::{Look, discover},
};
use crate::{context::Running, failure::Failure, import::IMPORT_KIND, job};

/// Sources that are looked at at once, in all and on one host. Each uses as many connections as tables of a run are worked on
/// at once.
const IN_ALL: usize = 16;
const ON_HOST: usize = 4;
/// Changes of one source that the log tells; the others stand in `system.ops.drift`.
const TOLD: usize = 20;

/// Looks at the sources that have not been looked at in this run; what came of them all.
pub(crate) async fn discover_many(running: &Running, names: &[SourceName]) -> Result<Looked, Failure> {
    let catalog = running.catalog();
    let mut sources: HashMap<_, Source> = HashMap::new();
    let mut ids = Vec::new();
    for source in catalog.sources().await? {
        if source.kind != IMPORT_KIND && names.contains(&source.name) {
            ids.push(source.id);
            sources.insert(source.id, source);
        }
    }
    catalog.add_discovery_items(running.id, &ids).await?;
    let items = catalog.discovery_items(running.id).await?;
    let done = items.iter().filter(|item| item.finished_at.is_some()).count();
    if done > 0 {
        running.info(format!("{done} of {} sources were looked at before", items.len())).await;
    }
    let hosts: HashMap<String, Arc<Semaphore>> = sources
        .values()
        .filter_map(|source| host(&source.params))
        .map(|host| (host, Arc::new(Semaphore::new(ON_HOST))))
        .collect();
    let in_all = Semaphore::new(IN_ALL);
    // The order of the list is kept on each host; hosts do not wait for each other.
    let mut work: Vec<BoxFuture<'_, Result<Option<bool>, Failure>>> = Vec::new();
    for item in items.iter().filter(|item| item.finished_at.is_none()) {
        let Some(source) = sources.get(&item.source) else { continue };
        let on_host = host(&source.params).and_then(|host| hosts.get(&host));
        work.push(in_turn(running, source, on_host, &in_all).boxed());
    }
    let many = items.len().max(1);
    let outcomes: Vec<Result<Option<bool>, Failure>> = stream::iter(work).buffer_unordered(many).collect().await;
    for outcome in outcomes {
        outcome?;
    }
    running.check()?;
    let items = catalog.discovery_items(running.id).await?;
    let failed = items.iter().filter(|item| item.state == UnitState::Failed).count();
    let sum = |of: fn(&DiscoveryItem) -> Option<u64>| items.iter().filter_map(of).sum::<u64>();
    let (tables, changes) = (sum(|item| item.tables), sum(|item| item.changes));
    running
        .info(format!("looked at {} sources: {tables} tables, {changes} changes, {failed} sources failed", items.len()))
        .await;
    Ok(Looked { sources: items.len(), failed })
}

async fn in_turn(
    running: &Running,
    source: &Source,
    on_host: Option<&Arc<Semaphore>>,
    in_all: &Semaphore,
) -> Result<Option<bool>, Failure> {
    let _on_host = match on_host {
        Some(host) => host.acquire().await.ok(),
        None => None,
    };
    let _in_all = in_all.acquire().await.ok();
    if running.cancel.is_cancelled() { Ok(None) } else { Box::pin(one(running, source)).await.map(Some) }
}

/// What a discovery of many came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) sources: usize,
    pub(crate) failed: usize,
}

/// Looks at one source; whether it went through. Only what concerns the catalog itself is an error.
async fn one(running: &Running, source: &Source) -> Result<bool, Failure> {
    let began = Instant::now();
    let mut item = DiscoveryItem {
        run: running.id,
        source: source.id,
        state: UnitState::Running,
        tables: None,
        failures: None,
        changes: None,
        error: None,
        millis: None,
        finished_at: None,
    };
    running.catalog().set_discovery_item(&item).await?;
    let looked = async {
        let connected = running.context.connect(&job::spec(source))?;
        Box::pin(discover(&running.context, source, &connected, Some(running.id), Look::Changes)).await
    };
    let looked = tokio::select! {
        () = running.cancel.cancelled() => Err(Failure::Cancelled),
        looked = looked => looked,
    };
    let seconds = began.elapsed().as_secs_f64();
    item.millis = Some(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let name = &source.name;
    let through = looked.is_ok();
    match looked {
        // It is looked at again when the run goes on.
        Err(Failure::Cancelled) => return Ok(false),
        Ok(found) => {
            item.state = UnitState::Completed;
            item.tables = Some(found.report.tables.len() as u64);
            item.failures = Some(found.report.failures.len() as u64);
            item.changes = Some(found.changes.len() as u64);
            running
                .info(format!(
                    "`{name}`: {} tables, {} changes, {seconds:.1} s",
                    found.report.tables.len(),
                    found.changes.len()
                ))
                .await;
            for change in found.changes.iter().take(TOLD) {
                running.info(format!("`{name}`: {}", drift::told(change))).await;
            }
            if !found.report.failures.is_empty() {
                running.warn(format!("`{name}`: {} tables could not be described", found.report.failures.len())).await;
            }
        }
        Err(failure) => {
            item.state = UnitState::Failed;
            item.error = Some(failure.to_string());
            running.warn(format!("`{name}`: {failure} ({seconds:.1} s)")).await;
        }
    }
    running.catalog().set_discovery_item(&item).await?;
    Ok(through)
}

/// What connections are counted by: the machine that they go to first.
fn host(params: &serde_json::Value) -> Option<String> {
    let of = |block: &serde_json::Value| {
        let host = block.get("host")?.as_str()?.to_lowercase();
        Some(format!("{host}:{}", block.get("port").and_then(serde_json::Value::as_u64).unwrap_or_default()))
    };
    params.get("ssh").and_then(of).or_else(|| of(params))
}

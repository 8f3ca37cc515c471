//! Promised writes whose maker is gone, completed by whoever comes next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mavis_catalog::Source;
use mavis_fhir::ResourceType;
use mavis_types::{RunId, TableId};

use super::{
    commit::{Part, begin, commit, is_done},
    item::{Item, unpack},
    matching::known,
    run::source,
};
use crate::{
    context::{Context, Running},
    failure::Failure,
    fhir_zone::Target,
};

/// How long a write under way is waited for by one that holds leases itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Completes every open intent that nobody in this process is working on, and waits for the others.
///
/// The caller holds no lease and no turn.
pub(crate) async fn settle(context: &Arc<Context>) -> Result<(), Failure> {
    for (id, _) in context.catalog.open_intents().await? {
        complete(context, id).await?;
    }
    Ok(())
}

/// Does what is missing of one intent. Doing it twice at a time is safe: each table's lease decides who writes, and its
/// cursor whether there is anything left to write.
pub(crate) async fn complete(context: &Arc<Context>, id: RunId) -> Result<(), Failure> {
    let Some(intent) = context.catalog.intent(id).await? else { return Ok(()) };
    let mut by_type: BTreeMap<ResourceType, Vec<Item>> = BTreeMap::new();
    for (name, items) in unpack(&intent.payload)? {
        let resource: ResourceType = name.parse().map_err(|_| {
            Failure::permanent("a recorded write is of a resource type that this version does not know")
        })?;
        by_type.insert(resource, items);
    }
    let _turns = context.turns.wait(&by_type.keys().copied().collect()).await;
    if context.catalog.intent(id).await?.is_none() {
        return Ok(());
    }
    tracing::info!(run.id = %id, "completing a write that was recorded and not published");
    let source = source(context).await?;
    let running = Running::unlisted(Arc::clone(context), id);
    let mut parts = Vec::new();
    for (resource, items) in by_type {
        match Box::pin(part(&running, resource, items, &source)).await {
            Ok(part) => parts.push(part),
            Err(failure) => {
                for part in parts {
                    part.unit.abandon().await;
                }
                return Err(failure);
            }
        }
    }
    Box::pin(commit(&running, parts)).await?;
    Ok(())
}

async fn part(
    running: &Running,
    resource: ResourceType,
    mut items: Vec<Item>,
    source: &Source,
) -> Result<Part, Failure> {
    let target = Target::ensure(running, resource).await?;
    let unit = begin(running, &target, source.id).await?;
    if !is_done(&unit, running.id) {
        let ids: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
        match known(running, &target, &ids, false).await {
            // Nobody writes a promised table; a version that is there all the same is not written twice.
            Ok(known) => items.retain(|item| known.get(&item.id).is_none_or(|known| known.version < item.version)),
            Err(failure) => {
                unit.abandon().await;
                return Err(failure);
            }
        }
    }
    Ok(Part { target, unit, items })
}

/// Waits until no open intent names the tables. For whoever has just taken their leases: what is promised comes first.
///
/// # Errors
/// [`Failure::Transient`] where one stays: give the leases back, [`settle`], and begin again.
pub(crate) async fn unpromised(context: &Context, tables: &BTreeSet<TableId>) -> Result<(), Failure> {
    let began = tokio::time::Instant::now();
    loop {
        let open = context.catalog.open_intents().await?;
        if open.iter().all(|(_, promised)| promised.is_disjoint(tables)) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure::Transient("a recorded write to this table is being completed".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! A write from its request to its answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mavis_catalog::{NewSource, Source};
use mavis_fhir::ResourceType;
use mavis_types::{Principal, RunId, Smart, SourceName, TableId};

use super::{
    check::{Checked, check},
    commit::{Part, Targets, begin, commit},
    decide::{Decided, decide},
    item::{Items, pack},
    request::{Refusal, Together, Write, WriteError, Written},
    settle::{complete, settle},
    sight::seen,
};
use crate::{
    context::{Context, Running},
    failure::Failure,
    fhir_zone::Target,
};

/// Name and kind of the source that resources belong to which clients create; nothing connects to it.
const SOURCE: &str = "fhir_api";
const KIND: &str = "rest";
/// Tries to complete a write that was promised, while the client waits.
const TRIES: u32 = 3;
/// Tries to begin while recorded writes have to be completed first.
const BEGINS: u32 = 3;
/// Commits of a table after which its log is looked at.
const CHECKPOINT_EVERY: i64 = 50;

/// An answer per interaction, in their order.
pub(crate) type Answers = Vec<Result<Written, Refusal>>;

/// The source of direct writes, made where it is not there.
pub(crate) async fn source(context: &Context) -> Result<Source, Failure> {
    let found = context.written_by.get_or_try_init(|| async {
        let name = SourceName::new(SOURCE).map_err(|error| Failure::permanent(error.to_string()))?;
        let params = serde_json::json!({});
        let new = NewSource { name: name.clone(), kind: KIND.to_owned(), params, authoritative: true };
        let source = match context.catalog.source(&name).await {
            Ok(source) => source,
            Err(mavis_catalog::Error::NotFound { .. }) => match context.catalog.add_source(new).await {
                Err(mavis_catalog::Error::Exists { .. }) => context.catalog.source(&name).await?,
                added => added?,
            },
            Err(error) => return Err(error.into()),
        };
        if source.kind != KIND {
            let message =
                format!("a source of kind `{}` is named `{SOURCE}`, which direct writes need: rename it", source.kind);
            return Err(Failure::permanent(message));
        }
        Ok(source)
    });
    found.await.cloned()
}

/// Writes, and answers when everybody can see it.
pub(crate) async fn write(
    context: &Arc<Context>,
    writes: Vec<Write>,
    together: Together,
    by: &Principal,
) -> Result<Answers, WriteError> {
    let checked = tokio::task::spawn_blocking(move || writes.into_iter().map(check).collect::<Vec<_>>())
        .await
        .map_err(|error| failed(error.into()))?;
    let mut answers: Vec<Option<Result<Written, Refusal>>> = Vec::with_capacity(checked.len());
    let mut waiting: Vec<(usize, Checked)> = Vec::new();
    for (index, outcome) in checked.into_iter().enumerate() {
        match outcome.and_then(|checked| seen(by, checked)) {
            Ok(checked) => {
                waiting.push((index, checked));
                answers.push(None);
            }
            Err(refusal) if together == Together::All => return Err(WriteError::Refused { index, refusal }),
            Err(refusal) => answers.push(Some(Err(refusal))),
        }
    }
    while !waiting.is_empty() {
        let (places, round): (Vec<usize>, Vec<Checked>) = waiting.iter().cloned().unzip();
        let decided = Box::pin(one_round(context, round, together, by.smart.clone())).await?;
        let before = waiting.len();
        waiting = Vec::new();
        for ((place, checked), outcome) in places.into_iter().zip(decided.checked).zip(decided.outcomes) {
            match outcome {
                Some(outcome) => {
                    if let Some(answer) = answers.get_mut(place) {
                        *answer = Some(outcome);
                    }
                }
                None => waiting.push((place, checked)),
            }
        }
        if waiting.len() == before {
            return Err(WriteError::Failed { reason: "the entries wait for each other".to_owned() });
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

fn failed(failure: Failure) -> WriteError {
    match failure {
        Failure::Transient(reason) | Failure::Interrupted(reason) => WriteError::Busy { reason },
        failure => WriteError::Failed { reason: failure.to_string() },
    }
}

struct Round {
    checked: Vec<Checked>,
    outcomes: Vec<Option<Result<Written, Refusal>>>,
}

async fn one_round(
    context: &Arc<Context>,
    checked: Vec<Checked>,
    together: Together,
    smart: Option<Arc<Smart>>,
) -> Result<Round, WriteError> {
    let id = RunId::new();
    let running = Running::unlisted(Arc::clone(context), id);
    let source = source(context).await.map_err(failed)?;
    let types: BTreeSet<ResourceType> = checked.iter().map(|checked| checked.resource).collect();
    let mut held = None;
    for _ in 0..BEGINS {
        let turns = context.turns.wait(&types).await;
        match Box::pin(begin_all(&running, &types, &source)).await.map_err(failed)? {
            Some(begun) => {
                held = Some((turns, begun));
                break;
            }
            None => {
                drop(turns);
                Box::pin(settle(context)).await.map_err(failed)?;
            }
        }
    }
    let Some((turns, (targets, mut units))) = held else {
        return Err(WriteError::Busy {
            reason: "a recorded write to the same resources is being completed".to_owned(),
        });
    };
    let decided = Box::pin(decide(&running, &targets, checked.clone(), together, source.name.as_str(), smart)).await;
    let Decided { items, outcomes } = match decided {
        Ok(decided) => decided,
        Err(failure) => {
            abandon(units).await;
            return Err(failed(failure));
        }
    };
    if together == Together::All
        && let Some((index, refusal)) = outcomes.iter().enumerate().find_map(|(index, outcome)| match outcome {
            Some(Err(refusal)) => Some((index, refusal.clone())),
            _ => None,
        })
    {
        abandon(units).await;
        return Err(WriteError::Refused { index, refusal });
    }
    if items.is_empty() {
        abandon(units).await;
        return Ok(Round { checked, outcomes });
    }
    let tables: BTreeSet<TableId> = items
        .keys()
        .filter_map(|resource| targets.get(resource))
        .flat_map(|target| [target.history.id, target.current.id])
        .collect();
    let by_name: Items = items.iter().map(|(resource, items)| (resource.name().to_owned(), items.clone())).collect();
    let payload = match tokio::task::spawn_blocking(move || pack(&by_name)).await.map_err(Failure::from).flatten() {
        Ok(payload) => payload,
        Err(failure) => {
            abandon(units).await;
            return Err(failed(failure));
        }
    };
    if let Err(error) = context.catalog.write_intent(id, &tables, &payload).await {
        // An error says nothing about what took effect.
        if !matches!(context.catalog.intent(id).await, Ok(Some(_))) {
            abandon(units).await;
            return Err(failed(error.into()));
        }
    }
    let mut parts = Vec::new();
    for (resource, items) in items {
        if let (Some(target), Some(unit)) = (targets.get(&resource), units.remove(&resource)) {
            parts.push(Part { target: target.clone(), unit, items });
        }
    }
    abandon(units).await;
    let outcome = Box::pin(commit(&running, parts)).await;
    drop(turns);
    match outcome {
        Ok(touched) => keep_short(&running, touched.versions()),
        Err(failure) => {
            tracing::warn!(run.id = %id, %failure, "a recorded write was not completed at once; it is tried again");
            Box::pin(insist(context, id)).await?;
        }
    }
    Ok(Round { checked, outcomes })
}

/// Completes a promised write whose first try failed.
async fn insist(context: &Arc<Context>, id: RunId) -> Result<(), WriteError> {
    let mut wait = Duration::from_millis(200);
    for attempt in 1..=TRIES {
        match complete(context, id).await {
            Ok(()) => return Ok(()),
            Err(failure) => {
                tracing::error!(run.id = %id, attempt, %failure, "a recorded write is not completed yet");
                tokio::time::sleep(wait).await;
                wait *= 4;
            }
        }
    }
    Err(WriteError::Recorded)
}

/// Now and then, apart: a long log makes opening slow.
fn keep_short(running: &Running, versions: &BTreeMap<TableId, i64>) {
    for table in versions.iter().filter(|(_, version)| **version % CHECKPOINT_EVERY == 0).map(|(table, _)| *table) {
        let running = running.clone();
        tokio::spawn(async move {
            if let Err(error) = Box::pin(running.lake().checkpoint(table, running.id)).await {
                tracing::debug!(table = %table, %error, "no checkpoint was written");
            }
        });
    }
}

type Units = BTreeMap<ResourceType, mavis_lake::Unit>;

async fn abandon(units: Units) {
    for (_, unit) in units {
        unit.abandon().await;
    }
}

/// Takes the lease of every type's history. `None` where a recorded write comes first.
async fn begin_all(
    running: &Running,
    types: &BTreeSet<ResourceType>,
    source: &Source,
) -> Result<Option<(Targets, Units)>, Failure> {
    let (mut targets, mut units) = (Targets::new(), Units::new());
    for resource in types {
        let begun = async {
            let target = Box::pin(Target::ensure(running, *resource)).await?;
            let unit = begin(running, &target, source.id).await?;
            Ok::<_, Failure>((target, unit))
        };
        match begun.await {
            Ok((target, unit)) => {
                targets.insert(*resource, target);
                units.insert(*resource, unit);
            }
            Err(failure) => {
                abandon(units).await;
                return Err(failure);
            }
        }
    }
    let mine: BTreeSet<TableId> = targets.values().map(|target| target.history.id).collect();
    match running.catalog().open_intents().await {
        Ok(open) if open.iter().all(|(_, tables)| tables.is_disjoint(&mine)) => Ok(Some((targets, units))),
        Ok(_) => {
            abandon(units).await;
            Ok(None)
        }
        Err(error) => {
            abandon(units).await;
            Err(error.into())
        }
    }
}

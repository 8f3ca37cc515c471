//! A promised write into the tables, once, and its publication.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use mavis_fhir::ResourceType;
use mavis_lake::{AppId, End, Unit, WriteMode};
use mavis_types::{Cursor, RunId, SourceId};

use super::item::{Item, rows};
use crate::{
    context::Running,
    failure::Failure,
    fhir_zone::{Current, Target, Touched, advance, current::Together, target::history_schema},
};

/// The versions of one type, and the right to write them.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) target: Target,
    pub(crate) unit: Unit,
    pub(crate) items: Vec<Item>,
}

/// Begins to write one type's history; waits for whoever has it, but not for long: somebody waits for the answer.
pub(crate) async fn begin(running: &Running, target: &Target, source: SourceId) -> Result<Unit, Failure> {
    let app = AppId::ingest(source, target.history.id);
    Ok(Box::pin(running.lake().begin(target.history.id, app, running.id)).await?)
}

fn cursor(id: RunId) -> Cursor {
    Cursor(serde_json::json!({ "write": id.to_string() }))
}

/// Whether the unit's application has committed this write: it was the last thing that it did.
pub(crate) fn is_done(unit: &Unit, id: RunId) -> bool {
    unit.cursor() == Some(&cursor(id))
}

/// Commits every part, several at once, and publishes them together with the end of the intent.
pub(crate) async fn commit(running: &Running, parts: Vec<Part>) -> Result<Touched, Failure> {
    let committed = try_join_all(parts.into_iter().map(|part| {
        let running = running.clone();
        async move { tokio::spawn(async move { Box::pin(one(&running, part)).await }).await? }
    }))
    .await?;
    let mut touched = Touched::default();
    for together in committed {
        touched.add(together);
    }
    publish(running, &touched).await?;
    Ok(touched)
}

/// One type: history, then current.
async fn one(running: &Running, part: Part) -> Result<Together, Failure> {
    let Part { target, unit, items } = part;
    if is_done(&unit, running.id) || items.is_empty() {
        unit.abandon().await;
        return Box::pin(advance(running, &target)).await;
    }
    let prepared = async {
        let current = Current::begin(running, &target).await?;
        let (resource, run, known) = (target.resource, running.id.to_string(), current.columns());
        let rows = tokio::task::spawn_blocking(move || rows(resource, &items, &run, known)).await??;
        Ok::<_, Failure>((current, rows))
    };
    let (mut current, rows) = match prepared.await {
        Ok(prepared) => prepared,
        Err(failure) => {
            unit.abandon().await;
            return Err(failure);
        }
    };
    let mut writer = unit.write(WriteMode::Append, history_schema()).await?;
    let staged = async {
        if let Some(history) = &rows.history {
            writer.push(history).await?;
        }
        if let Some(batch) = rows.current {
            current.push(batch).await?;
        }
        current.delete(&rows.gone).await
    };
    if let Err(failure) = staged.await {
        writer.abandon().await;
        current.abandon().await;
        return Err(failure);
    }
    match writer.finish(End { cursor: Some(cursor(running.id)), whole: false }).await {
        Ok(committed) => Box::pin(current.finish(&target, committed.version)).await,
        Err(error) => {
            current.abandon().await;
            Err(error.into())
        }
    }
}

/// Closes the intent and publishes what it came to, at once; nothing where somebody else has.
async fn publish(running: &Running, touched: &Touched) -> Result<(), Failure> {
    running.catalog().publish_intent(running.id, touched.versions()).await?;
    Ok(())
}

/// Parts by type, in one order for everybody.
pub(crate) type Targets = BTreeMap<ResourceType, Target>;

//! Logs that sources keep for us (replication slots): how much they hold back is told in metrics, by source, whether a run comes
//! or not. A log that nobody reads fills the source's disk.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use mavis_catalog::Source;
use mavis_connectors::{LogHealth, Source as Connected};

use crate::{context::Context, failure::Failure, job};

/// Sources that are asked at once, and how long each may take.
const AT_ONCE: usize = 8;
const ANSWER: Duration = Duration::from_secs(15);

/// Sources that metrics tell of.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeSet<String>>);

impl Told {
    fn swap(&self, now: BTreeSet<String>) -> BTreeSet<String> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    fn add(&self, source: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned());
    }
}

/// Asks every source that keeps a log.
pub(crate) async fn round(context: &Context) -> Result<(), Failure> {
    let sources = context.catalog.sources().await?;
    let asked: Vec<BoxFuture<'_, Option<String>>> = sources.iter().map(|source| ask(context, source).boxed()).collect();
    let answers: Vec<Option<String>> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let now: BTreeSet<String> = answers.into_iter().flatten().collect();
    let before = context.logs.swap(now.clone());
    for gone in before.difference(&now) {
        // What is no longer there has no number.
        for name in [KEPT, LAG, LEFT, SOUND] {
            metrics::gauge!(name, "source" => gone.clone()).set(f64::NAN);
        }
    }
    Ok(())
}

/// The source's name where it keeps a log.
async fn ask(context: &Context, source: &Source) -> Option<String> {
    let connected = context.connect(&job::spec(source)).ok()?;
    tell(source, connected.as_ref()).await.then(|| source.name.to_string())
}

/// Asks one source after a run of it.
pub(crate) async fn after_run(context: &Context, source: &Source, connected: &dyn Connected) {
    if tell(source, connected).await {
        context.logs.add(source.name.as_str());
    }
}

const KEPT: &str = "mavis_replication_kept_bytes";
const LAG: &str = "mavis_replication_lag_bytes";
const LEFT: &str = "mavis_replication_left_bytes";
const SOUND: &str = "mavis_replication_sound";

/// Whether the source keeps a log. One that does not answer is not sound as far as anybody can tell.
async fn tell(source: &Source, connected: &dyn Connected) -> bool {
    let name = source.name.to_string();
    let health = match tokio::time::timeout(ANSWER, connected.log_health()).await {
        Ok(Ok(None)) => return false,
        Ok(Ok(Some(health))) => health,
        Ok(Err(error)) => {
            tracing::debug!(source = name, %error, "the log that a source keeps could not be asked about");
            metrics::gauge!(SOUND, "source" => name).set(0.0);
            return true;
        }
        Err(_) => {
            metrics::gauge!(SOUND, "source" => name).set(0.0);
            return true;
        }
    };
    let LogHealth { sound, kept_bytes, lag_bytes, left_bytes } = health;
    let set = |gauge: &'static str, value: f64| metrics::gauge!(gauge, "source" => name.clone()).set(value);
    set(SOUND, if sound { 1.0 } else { 0.0 });
    set(KEPT, kept_bytes as f64);
    set(LAG, lag_bytes as f64);
    let unlimited = if sound { f64::INFINITY } else { 0.0 };
    set(LEFT, left_bytes.map_or(unlimited, |bytes| bytes as f64));
    true
}

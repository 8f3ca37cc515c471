//! Somebody outside is told: of a schedule that is disabled, of tables that are late.
//!
//! What is to be told is a row of the catalog, written in the transaction that makes it true, so that it is told although the
//! server dies, and once although several servers look. Telling is a task of its own: a receiver that does not answer keeps
//! nothing waiting, and is tried again with longer and longer pauses for a day.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use mavis_catalog::Alert;
use serde_json::{Value, json};

use crate::{TableFreshness, context::Context};

/// Alerts that are told at once, and how long one may take before somebody else may try it.
const AT_ONCE: u32 = 8;
const LEASE: Duration = Duration::from_secs(120);
/// Pauses between tries: the first one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// How long an alert is tried before it is given up, in seconds.
const PATIENCE: i64 = 24 * 3600;
/// Tables that one alert names.
const NAMED: usize = 100;
/// Characters of an error.
const WORDS: usize = 1_000;

/// Who is told.
#[async_trait]
pub trait Teller: Send + Sync + fmt::Debug + 'static {
    /// Tells once; must come to an end within a minute.
    ///
    /// # Errors
    /// In words for the log, without a secret: the alert is told again later.
    async fn tell(&self, alert: &Alert) -> Result<(), String>;
}

/// How telling goes; tests make the times short.
#[derive(Debug, Clone, Copy)]
pub struct Telling {
    /// How often the catalog is asked for what is to be told.
    pub every: Duration,
    /// The pause after a try that failed; each further one is twice as long.
    pub first_pause: Duration,
}

impl Default for Telling {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), first_pause: FIRST_PAUSE }
    }
}

fn cut(words: &str) -> String {
    words.chars().take(WORDS).collect()
}

/// What is told of a schedule that is disabled.
pub(crate) fn disabled(source: &str, failures: u32, reason: &str, error: Option<&str>, at: DateTime<Utc>) -> Value {
    let error = error.map(cut);
    let last = error.as_ref().map_or_else(String::new, |error| format!("; the last one: {error}"));
    json!({
        "kind": "schedule_disabled",
        "source": source,
        "failures": failures,
        "reason": cut(reason),
        "error": error,
        "at": at.to_rfc3339(),
        "text": cut(&format!("mavis: the schedule of source {source} is disabled: {reason}{last}")),
    })
}

/// What is told of tables of a source that have become late.
pub(crate) fn late(source: &str, new: &BTreeSet<String>, tables: &[&TableFreshness], at: DateTime<Utc>) -> Value {
    let of_new: Vec<&&TableFreshness> = tables.iter().filter(|table| new.contains(&table.table.to_string())).collect();
    let worst = of_new.iter().max_by_key(|table| table.late_seconds);
    let worst = worst.map_or_else(String::new, |table| format!(", {} by {} s", table.table, table.late_seconds));
    let named: Vec<Value> = of_new
        .iter()
        .take(NAMED)
        .map(|table| {
            json!({
                "table": table.table.to_string(),
                "expected_seconds": table.expected_seconds,
                "late_seconds": table.late_seconds,
                "fresh_at": table.fresh_at.map(|at| at.to_rfc3339()),
            })
        })
        .collect();
    json!({
        "kind": "tables_late",
        "source": source,
        "count": new.len(),
        "tables": named,
        "at": at.to_rfc3339(),
        "text": format!("mavis: {} tables of source {source} are late{worst}", new.len()),
    })
}

/// Tells what is to be told, for ever.
pub(crate) async fn keep_telling(context: Arc<Context>, teller: Arc<dyn Teller>, telling: Telling) {
    loop {
        match context.catalog.take_alerts(AT_ONCE, LEASE).await {
            Ok(alerts) if !alerts.is_empty() => {
                let told =
                    alerts.iter().map(|alert| tell(&context, teller.as_ref(), alert, telling)).collect::<Vec<_>>();
                futures::stream::iter(told).buffer_unordered(AT_ONCE as usize).collect::<Vec<()>>().await;
            }
            Ok(_) => tokio::time::sleep(telling.every).await,
            Err(error) => {
                tracing::warn!(%error, "the catalog could not be asked for alerts; trying again");
                tokio::time::sleep(telling.every).await;
            }
        }
    }
}

async fn tell(context: &Context, teller: &dyn Teller, alert: &Alert, telling: Telling) {
    let ended = match teller.tell(alert).await {
        Ok(()) => {
            metrics::counter!("mavis_alerts_told_total").increment(1);
            context.catalog.end_alert(alert.id, true).await
        }
        Err(reason) if (Utc::now() - alert.created_at).num_seconds() >= PATIENCE => {
            metrics::counter!("mavis_alerts_given_up_total").increment(1);
            tracing::error!(tries = alert.tries, reason, "an alert is given up after a day: {reason}");
            context.catalog.end_alert(alert.id, false).await
        }
        Err(reason) => {
            metrics::counter!("mavis_alerts_failed_total").increment(1);
            tracing::warn!(tries = alert.tries, reason, "an alert could not be told; trying again later: {reason}");
            let times = 1_u32 << alert.tries.saturating_sub(1).min(16);
            let pause = telling.first_pause.saturating_mul(times).min(LONGEST_PAUSE);
            context.catalog.put_off_alert(alert.id, pause).await
        }
    };
    if let Err(error) = ended {
        // It is told once more when its time comes: better twice than never.
        tracing::warn!(%error, "the catalog was not told what became of an alert");
    }
}

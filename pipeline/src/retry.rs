//! Trying again: a unit within a run, and a table that somebody else is writing.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use mavis_lake::{Ahead, AppId, Hop, Unit};
use mavis_types::TableId;

use crate::{context::Running, failure::Failure};

/// Tries of one unit within a run.
const UNIT_TRIES: usize = 4;
/// How long a table in use is waited for: another source may be writing a large import.
const LEASE_WAIT: Duration = Duration::from_secs(30 * 60);

/// Pauses before a way that broke is tried again: 91 s in all, as long as a tunnel or a restarting database may take.
pub(crate) fn way_back() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(7)
        .build()
}

/// Runs a unit, and again after 0.5, 1, 2 s where it failed for a passing reason; where a reading broke in the middle, as
/// long as its way may take to come back. A unit is committed once or not at all, so that doing it again is safe.
pub(crate) async fn unit<T, F, Fut>(running: &Running, what: &str, mut attempt: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Failure>>,
{
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(UNIT_TRIES - 1)
        .build();
    let mut broken = false;
    loop {
        running.check()?;
        match attempt().await {
            Err(failure) if failure.is_transient() => {
                if !broken && matches!(failure, Failure::Interrupted(_)) {
                    (broken, waits) = (true, way_back());
                }
                let Some(wait) = waits.next() else { return Err(failure) };
                running.info(format!("{what}: {failure}; trying again in {:.1} s", wait.as_secs_f64())).await;
                sleep(running, wait).await?;
            }
            outcome => return outcome,
        }
    }
}

/// Begins a unit, and waits for the table while somebody else writes it.
pub(crate) async fn begin(running: &Running, table: TableId, app: &AppId) -> Result<Unit, Failure> {
    wait_for(running, || Box::pin(running.lake().begin(table, app.clone(), running.id))).await
}

/// Begins a hop, and waits for the output while somebody else writes it.
pub(crate) async fn begin_hop(running: &Running, input: TableId, output: TableId, rule: &str) -> Result<Hop, Failure> {
    wait_for(running, || Box::pin(running.lake().begin_hop(input, output, rule, running.id))).await
}

/// Begins a hop ahead of its input, whose lease the caller holds, and waits for the output while somebody else writes it.
pub(crate) async fn begin_ahead(
    running: &Running,
    input: TableId,
    output: TableId,
    rule: &str,
) -> Result<Option<Ahead>, Failure> {
    wait_for(running, || Box::pin(running.lake().begin_ahead(input, output, rule, running.id))).await
}

/// Asks again while the table is in use, with growing pauses.
pub(crate) async fn wait_for<T, F, Fut>(running: &Running, mut ask: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, mavis_lake::Error>>,
{
    let began = tokio::time::Instant::now();
    let mut wait = Duration::from_millis(20);
    let mut told = false;
    loop {
        running.check()?;
        match ask().await {
            Err(mavis_lake::Error::Busy { table, reason }) if began.elapsed() < LEASE_WAIT => {
                if !told && began.elapsed() > Duration::from_secs(5) {
                    told = true;
                    running.info(format!("waiting for `{table}`: {reason}")).await;
                }
                sleep(running, wait).await?;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
            Ok(got) => return Ok(got),
            Err(error) => return Err(error.into()),
        }
    }
}

/// # Errors
/// [`Failure::Cancelled`] where the run was asked to end meanwhile.
pub(crate) async fn sleep(running: &Running, wait: Duration) -> Result<(), Failure> {
    tokio::select! {
        () = running.cancel.cancelled() => Err(Failure::Cancelled),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

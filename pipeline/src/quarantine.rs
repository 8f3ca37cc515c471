//! Rows set aside: what is told of them, and that the same row is not set aside twice.

use std::collections::HashSet;

use mavis_catalog::{NewQuarantined, QuarantineFilter, QuarantineState, Step};
use mavis_lake::Writer;
use mavis_types::TableId;
use xxhash_rust::xxh3::xxh3_128;

use crate::{context::Running, failure::Failure};

/// Rows read from the catalog at once.
const PAGE: u32 = 5_000;
/// Reasons that a run's log names, most frequent first.
const NAMED: usize = 8;

/// Sets rows of one table and step aside. A row that waits there already, with the same origin and payload, is counted
/// and not written again: a source that is read again as a whole brings its bad rows again.
#[derive(Debug)]
pub(crate) struct Aside {
    table: TableId,
    step: Step,
    waiting: HashSet<u128>,
    /// Rows set aside, new or not.
    pub(crate) rows: u64,
    /// Of these, rows that waited already; the writer was not told of them.
    pub(crate) known: u64,
    reasons: std::collections::BTreeMap<String, u64>,
}

/// A row that cannot go on.
#[derive(Debug, Clone)]
pub(crate) struct Rejected {
    pub(crate) reason: String,
    pub(crate) origin: String,
    pub(crate) payload: String,
}

fn mark(origin: &str, payload: &str) -> u128 {
    xxh3_128(format!("{}:{origin}{payload}", origin.len()).as_bytes())
}

impl Aside {
    pub(crate) async fn new(running: &Running, table: TableId, step: Step) -> Result<Self, Failure> {
        let mut waiting = HashSet::new();
        let mut after = None;
        loop {
            let filter = QuarantineFilter {
                table: Some(table),
                state: Some(QuarantineState::Waiting),
                after,
                limit: Some(PAGE),
                ..QuarantineFilter::default()
            };
            let page = running.catalog().quarantined(&filter).await?;
            let Some(last) = page.last().map(|row| row.id) else { break };
            waiting.extend(page.iter().filter(|row| row.step == step).map(|row| mark(&row.origin, &row.payload)));
            if page.len() < PAGE as usize {
                break;
            }
            after = Some(last);
        }
        Ok(Self { table, step, waiting, rows: 0, known: 0, reasons: std::collections::BTreeMap::new() })
    }

    /// Sets a row aside.
    pub(crate) async fn put(&mut self, running: &Running, writer: &mut Writer, row: Rejected) -> Result<(), Failure> {
        self.rows += 1;
        *self.reasons.entry(row.reason.clone()).or_insert(0) += 1;
        if !self.waiting.insert(mark(&row.origin, &row.payload)) {
            self.known += 1;
            return Ok(());
        }
        writer
            .quarantine(NewQuarantined {
                app_id: String::new(),
                sequence: 0,
                ordinal: 0,
                run: running.id,
                table: self.table,
                step: self.step,
                reason: row.reason,
                origin: row.origin,
                payload: row.payload,
            })
            .await?;
        Ok(())
    }

    /// Tells the run's log how many rows were set aside, and why.
    pub(crate) async fn report(&self, running: &Running, table: &str) {
        if self.rows == 0 {
            return;
        }
        let mut reasons: Vec<(&String, &u64)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), (*reason).clone()));
        let mut told: Vec<String> =
            reasons.iter().take(NAMED).map(|(reason, count)| format!("{count} x {reason}")).collect();
        if reasons.len() > NAMED {
            told.push(format!("and {} other reasons", reasons.len() - NAMED));
        }
        running.warn(format!("`{table}`: {} rows in quarantine: {}", self.rows, told.join("; "))).await;
    }
}

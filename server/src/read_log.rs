//! The audit of queries and of reads by key, of which there may be thousands a second: lines are gathered for a moment and
//! written together. Each commit to the catalog makes everybody ask it anew who they are and what names mean.

use std::time::Duration;

use mavis_catalog::{Catalog, NewAudit};
use mavis_types::{Principal, TableName};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

use crate::auth::Door;

/// Lines that wait to be written; a reader waits when there are more.
const WAITING: usize = 8_192;
/// Lines that are written together.
const TOGETHER: usize = 2_048;
/// How often lines are tried to be written, each time after a wait that is twice as long: for some fifty seconds.
const TRIES: u32 = 9;
/// How long lines are gathered. A crash of the process loses as much of the audit of queries and reads.
const GATHER: Duration = Duration::from_millis(200);

/// Writes down who read which table by key, and how many rows; never the keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadLog(mpsc::Sender<Line>);

#[derive(Debug)]
enum Line {
    Entry(NewAudit),
    /// Whoever waits for what was noted before.
    Flush(oneshot::Sender<()>),
}

impl ReadLog {
    /// Starts the task that writes; it ends when the last clone is gone.
    #[must_use]
    pub fn start(catalog: Catalog) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(write(catalog, receiver));
        Self(sender)
    }

    /// Notes a read that was answered.
    pub async fn note(&self, principal: &Principal, table: &TableName, door: Door, rows: usize) {
        let entry = NewAudit {
            actor: principal.name.clone(),
            action: "read".to_owned(),
            object: table.to_string(),
            allowed: true,
            door: door.as_str().to_owned(),
            rows: Some(rows as u64),
        };
        metrics::counter!("mavis_reads_by_key_total", "door" => door.as_str()).increment(1);
        self.line(entry).await;
    }

    /// Writes a line of the audit together with others, soon.
    pub async fn line(&self, entry: NewAudit) {
        if self.0.send(Line::Entry(entry)).await.is_err() {
            error!("a line of the audit is lost: the task that writes the audit has ended");
        }
    }

    /// Waits until everything that was noted is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.0.send(Line::Flush(done)).await.is_ok() {
            // An error says that the task has ended, which leaves nothing to wait for.
            drop(written.await);
        }
    }
}

/// Writes lines down, with patience: a database that is busy or changes its host takes none of them.
async fn keep(catalog: &Catalog, entries: &[NewAudit]) {
    let (mut wait, lines) = (GATHER, entries.len());
    for left in (0..TRIES).rev() {
        match catalog.audit_many(entries).await {
            Ok(()) => return,
            Err(error) if left == 0 => {
                error!(error = &error as &dyn std::error::Error, "{lines} lines of the audit are lost");
                return;
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot write {lines} lines of the audit; they wait");
            }
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

async fn write(catalog: Catalog, mut lines: mpsc::Receiver<Line>) {
    let mut taken = Vec::with_capacity(TOGETHER);
    while lines.recv_many(&mut taken, TOGETHER).await > 0 {
        let mut entries = Vec::with_capacity(taken.len());
        let mut waiting = Vec::new();
        for line in taken.drain(..) {
            match line {
                Line::Entry(entry) => entries.push(entry),
                Line::Flush(done) => waiting.push(done),
            }
        }
        keep(&catalog, &entries).await;
        let flushed = !waiting.is_empty();
        for done in waiting {
            if done.send(()).is_err() {
                debug!("whoever waited for the audit has gone");
            }
        }
        if !flushed && lines.len() < TOGETHER {
            tokio::time::sleep(GATHER).await;
        }
    }
}

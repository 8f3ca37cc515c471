//! One unit, one commit, exactly once.
//!
//! A unit stands on a snapshot of its table at version `base`, where its application `app` had committed transaction `c`
//! (or none). The steps, in this order:
//!
//! 1. The lease is proven to be ours.
//! 2. The cursor row `N` of the catalog is written: where the unit began and where it ended.
//! 3. The lease is proven again: a process that slept through its lease ends here.
//! 4. The commit is tried at version `base + 1` and nowhere else (put-if-absent, no retry on another version), with
//!    transaction `N` of `app`, and with the unit's own mark.
//! 5. After any error the log is read anew, for an error says nothing about what took effect. Version `base + 1` bears our
//!    mark: done. Transaction still `c` and version still `base`: the same commit is tried again. Everything else is
//!    another writer's work, and the unit is void.
//!
//! Files of a void unit are deleted only when version `base + 1` is certainly somebody else's; otherwise a write that is
//! still under way could make a commit that names them.

use std::time::Duration;

use deltalake_core::{
    DeltaTable, DeltaTableError,
    kernel::{
        Action, Transaction,
        transaction::{CommitBuilder, TableReference},
    },
    protocol::DeltaOperation,
};
use mavis_catalog::{CursorRow, NewCursor};
use mavis_types::{Cursor, RunId};
use serde_json::json;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    Error, Lake,
    create::plain_commit,
    history,
    lease::Hold,
    table::{Open, version_of},
    unit::{Kind, Work},
};

/// The key of the unit's mark in `commitInfo`.
const MARK: &str = "mavis.unit";
const RUN: &str = "mavis.run";
/// Where the unit ended, once more: the commit itself says it.
const CURSOR: &str = "mavis.cursor";
/// Commits that are looked through for an application's last one.
const LOOK_BACK: i64 = 16;
/// Tries of one commit, and of reading the log after one.
const TRIES: u32 = 4;

/// A commit on a snapshot, under a lease.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) open: &'a Open,
    pub(crate) base: &'a DeltaTable,
    pub(crate) hold: &'a Hold,
    pub(crate) run: RunId,
    /// The application's transaction; maintenance has none.
    pub(crate) transaction: Option<Transaction>,
    pub(crate) actions: Vec<Action>,
    pub(crate) operation: DeltaOperation,
    pub(crate) retry_wait: Duration,
    /// Where the unit ended.
    pub(crate) cursor: Option<Cursor>,
}

/// Why nothing was committed, as far as can be known.
#[derive(Debug)]
pub(crate) struct Void {
    pub(crate) error: Error,
    /// Whether it is certain that no commit names the unit's files, now and later.
    pub(crate) certain: bool,
}

impl<E: Into<Error>> From<E> for Void {
    /// An error before the commit was tried.
    fn from(error: E) -> Self {
        Self { error: error.into(), certain: true }
    }
}

/// An error after a commit was tried.
fn unsure(error: impl Into<Error>) -> Void {
    Void { error: error.into(), certain: false }
}

/// Commits a unit (all five steps) and returns the table as of its commit.
pub(crate) async fn commit(
    work: &Work,
    actions: Vec<Action>,
    operation: DeltaOperation,
    to: Option<Cursor>,
) -> Result<DeltaTable, Void> {
    work.hold.prove().await?;
    if work.kind == Kind::Ingest {
        let row = NewCursor {
            app_id: work.app.as_str().to_owned(),
            sequence: work.sequence,
            table: work.table.id,
            from: work.cursor.clone(),
            to: to.clone(),
            run: work.run,
        };
        work.lake.catalog().write_cursor(&row).await?;
    }
    let publication = Publication {
        open: &work.open,
        base: &work.base,
        hold: &work.hold,
        run: work.run,
        transaction: Some(Transaction::new(work.app.as_str(), work.sequence)),
        actions,
        operation,
        retry_wait: work.lake.tuning().retry_wait,
        cursor: to.filter(|_| work.kind == Kind::Ingest),
    };
    publication.publish().await
}

/// Where the application's last commit ended: what the catalog's row says, unless the commit itself is at hand and says
/// otherwise. A process that slept between proving its lease and writing its row could overwrite the row of the unit
/// that took over from it; its commit then failed, but the row stayed.
pub(crate) async fn committed_cursor(lake: &Lake, base: &DeltaTable, row: CursorRow) -> Result<Option<Cursor>, Error> {
    let newest = version_of(base)?;
    for version in ((newest - LOOK_BACK).max(1)..=newest).rev() {
        let Some(actions) = history::actions(base, version).await? else { break };
        let transaction = actions.iter().find_map(|action| match action {
            Action::Txn(txn) if txn.app_id == row.app_id => Some(txn.version),
            _ => None,
        });
        if transaction.is_none() {
            continue;
        }
        let info = actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        let Some(info) = info.filter(|info| info.info.contains_key(MARK)) else { break };
        let said = info.info.get(CURSOR).cloned().map(Cursor);
        if transaction != Some(row.sequence) || said == row.to {
            break;
        }
        warn!(app = row.app_id, "the cursor row of step {} was overwritten; the commit's own is taken", row.sequence);
        let CursorRow { app_id, sequence, table, from, run, .. } = row;
        let new = NewCursor { app_id, sequence, table, from, to: said.clone(), run };
        lake.catalog().write_cursor(&new).await?;
        return Ok(said);
    }
    Ok(row.to)
}

enum Outcome {
    Done(DeltaTable),
    /// Nobody has committed; the same commit may be tried again.
    NotYet,
}

impl Publication<'_> {
    /// Steps 3 to 5.
    pub(crate) async fn publish(&self) -> Result<DeltaTable, Void> {
        let name = &self.open.name;
        let mark = Uuid::new_v4().to_string();
        let mut wait = self.retry_wait;
        let mut last = None;
        for attempt in 1..=TRIES {
            if attempt == 1 {
                self.hold.prove().await?;
            } else {
                tokio::time::sleep(wait).await;
                wait *= 4;
                // An earlier try may still take effect.
                self.hold.prove().await.map_err(unsure)?;
            }
            match self.try_once(&mark).await {
                Ok(version) => {
                    info!(table = %name, version, "committed version {version} of `{name}`");
                    // It is committed; where the log cannot be read now, only our view stays old.
                    return Ok(self.open.newest_listed().await.unwrap_or_else(|_| self.base.clone()));
                }
                Err(error) => {
                    warn!(table = %name, attempt, "a commit to `{name}` reported an error: {error}");
                    match self.outcome(&mark).await? {
                        Outcome::Done(table) => return Ok(table),
                        Outcome::NotYet => last = Some(error),
                    }
                }
            }
        }
        let reason = last.map_or_else(String::new, |error| error.to_string());
        Err(unsure(Error::Store { doing: format!("committing to table `{name}`"), reason }))
    }

    async fn try_once(&self, mark: &str) -> Result<u64, DeltaTableError> {
        let base: &dyn TableReference = self.base.snapshot()?.snapshot();
        let mut said = vec![(MARK.to_owned(), json!(mark)), (RUN.to_owned(), json!(self.run.to_string()))];
        said.extend(self.cursor.iter().map(|cursor| (CURSOR.to_owned(), cursor.0.clone())));
        let mut properties = plain_commit().with_metadata(said);
        if let Some(transaction) = &self.transaction {
            properties = properties.with_application_transaction(transaction.clone());
        }
        let commit = CommitBuilder::from(properties)
            .with_actions(self.actions.clone())
            .build(Some(base), self.base.log_store(), self.operation.clone())
            .await?;
        Ok(commit.version())
    }

    async fn reload(&self) -> Result<DeltaTable, Void> {
        let mut wait = self.retry_wait;
        let mut tried = self.open.reload().await;
        for _ in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 4;
            tried = self.open.reload().await;
        }
        tried.map_err(|error| {
            let doing = format!(
                "committing to table `{}` (the log cannot be read either; the next run finds out whether it was \
                 committed)",
                self.open.name
            );
            unsure(Error::Store { doing, reason: error.to_string() })
        })
    }

    async fn outcome(&self, mark: &str) -> Result<Outcome, Void> {
        let now = self.reload().await?;
        let base = version_of(self.base).map_err(unsure)?;
        if version_of(&now).map_err(unsure)? == base {
            return Ok(Outcome::NotYet);
        }
        let next = history::actions(&now, base + 1).await.map_err(unsure)?;
        let ours = next.into_iter().flatten().any(|action| match action {
            Action::CommitInfo(info) => info.info.get(MARK).and_then(|value| value.as_str()) == Some(mark),
            _ => false,
        });
        if ours {
            return Ok(Outcome::Done(now));
        }
        let error = Error::Conflict { table: self.open.name.clone(), version: base + 1 };
        Err(Void { error, certain: true })
    }
}

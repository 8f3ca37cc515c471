//! Which versions a table has, and when they were made.

use chrono::{DateTime, Utc};
use deltalake_core::{
    DeltaTable,
    kernel::Action,
    logstore::{commit_uri_from_version, extract_version_from_filename, get_actions},
};
use futures::TryStreamExt;

use crate::{
    Error,
    table::{Open, to_delta, version_of},
};

/// The oldest version that can be opened: the oldest commit, or the checkpoint before it.
pub(crate) async fn oldest(table: &DeltaTable) -> Result<i64, Error> {
    let log = table.log_store();
    let failed = |error: object_store::Error| Error::store("listing a table's log", &error);
    let versions: Vec<i64> = log
        .object_store(None)
        .list(Some(log.log_path()))
        .try_filter_map(|meta| async move {
            Ok(extract_version_from_filename(meta.location.as_ref()).and_then(|version| i64::try_from(version).ok()))
        })
        .try_collect()
        .await
        .map_err(failed)?;
    Ok(versions.into_iter().min().unwrap_or(0))
}

/// The actions of a commit; `None` when its entry is gone.
pub(crate) async fn actions(table: &DeltaTable, version: i64) -> Result<Option<Vec<Action>>, Error> {
    match table.log_store().read_commit_entry(to_delta(version)).await? {
        Some(bytes) => Ok(Some(get_actions(to_delta(version), &bytes)?)),
        None => Ok(None),
    }
}

/// Whether a commit in `(from, to]` touched a file or the columns, and did not only note a transaction. A commit whose
/// entry is gone counts as one that did.
pub(crate) async fn touched(table: &DeltaTable, from: i64, to: i64) -> Result<bool, Error> {
    let touches =
        |action: &Action| matches!(action, Action::Add(_) | Action::Remove(_) | Action::Cdc(_) | Action::Metadata(_));
    for version in from + 1..=to {
        match actions(table, version).await? {
            Some(actions) if !actions.iter().any(touches) => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// Whether a commit in `(from, to]` changed rows or columns: files that came or went with their rows. One whose entry is
/// gone counts as one that did.
pub(crate) async fn rows_changed(table: &DeltaTable, from: i64, to: i64) -> Result<bool, Error> {
    let changes = |action: &Action| match action {
        Action::Add(file) => file.data_change,
        Action::Remove(file) => file.data_change,
        Action::Cdc(_) | Action::Metadata(_) => true,
        _ => false,
    };
    for version in from + 1..=to {
        match actions(table, version).await? {
            Some(actions) if !actions.iter().any(changes) => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

pub(crate) async fn committed_at(table: &DeltaTable, version: i64) -> Result<Option<i64>, Error> {
    let Some(actions) = actions(table, version).await? else { return Ok(None) };
    let said = actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.in_commit_timestamp.or(info.timestamp),
        _ => None,
    });
    if said.is_some() {
        return Ok(said);
    }
    let path = commit_uri_from_version(Some(to_delta(version)));
    let store = table.log_store().object_store(None);
    match object_store::ObjectStoreExt::head(&store, &path).await {
        Ok(meta) => Ok(Some(meta.last_modified.timestamp_millis())),
        Err(_) => Ok(None),
    }
}

/// A commit of a table, as its log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub version: i64,
    pub at: Option<DateTime<Utc>>,
    /// What was done, in Delta's words: `WRITE`, `MERGE`, `OPTIMIZE`.
    pub operation: Option<String>,
}

/// The newest commits, the newest first, as far as their entries are kept.
pub(crate) async fn commits(table: &DeltaTable, limit: usize) -> Result<Vec<Commit>, Error> {
    let (first, mut version) = (oldest(table).await?, version_of(table)?);
    let mut commits = Vec::new();
    while version >= first && commits.len() < limit {
        let Some(actions) = actions(table, version).await? else { break };
        let info = actions.into_iter().find_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        let at = match info.as_ref().and_then(|info| info.in_commit_timestamp.or(info.timestamp)) {
            Some(at) => Some(at),
            None => committed_at(table, version).await?,
        };
        let operation = info.and_then(|info| info.operation);
        commits.push(Commit { version, at: at.and_then(DateTime::from_timestamp_millis), operation });
        version -= 1;
    }
    Ok(commits)
}

/// The newest version whose commit is not younger than `at`.
pub(crate) async fn version_at(open: &Open, table: &DeltaTable, at: DateTime<Utc>) -> Result<i64, Error> {
    let (first, last) = (oldest(table).await?, version_of(table)?);
    let wanted = at.timestamp_millis();
    let (mut low, mut high) = (first, last);
    let mut found = None;
    while low <= high {
        let middle = low + (high - low) / 2;
        match committed_at(table, middle).await? {
            Some(time) if time <= wanted => {
                found = Some(middle);
                low = middle + 1;
            }
            Some(_) => high = middle - 1,
            // The entry is gone: only younger ones can be told.
            None => low = middle + 1,
        }
    }
    found.ok_or_else(|| Error::NoSuchVersion {
        table: open.name.clone(),
        wanted: format!("at {}", at.to_rfc3339()),
        oldest: first,
        newest: last,
    })
}

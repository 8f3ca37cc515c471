//! Exports that go on, and those that ended: what is known of them stands in their folders.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::LIFE;

/// Exports at once; more wait for their turn.
const AT_ONCE: usize = 2;
/// Exports that go on or wait, at most.
const MOST: usize = 20;

/// What stands in an export's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::fhir) struct Job {
    pub(in crate::fhir) id: Uuid,
    /// The URL that began it.
    pub(in crate::fhir) request: String,
    /// The token that began it, with its rights then.
    pub(in crate::fhir) owner: String,
    /// When the state that it exports was published.
    pub(in crate::fhir) transaction_time: DateTime<Utc>,
    pub(in crate::fhir) began_at: DateTime<Utc>,
    #[serde(default)]
    pub(in crate::fhir) kind: Kind,
    pub(in crate::fhir) state: State,
}

/// What is exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub(in crate::fhir) enum Kind {
    #[default]
    Resources,
    /// Rows of views and queries.
    Rows { format: String, media_type: String, tracking: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(in crate::fhir) enum State {
    Running,
    Done {
        at: DateTime<Utc>,
        outputs: Vec<Written>,
    },
    Failed {
        at: DateTime<Utc>,
        reason: String,
        /// What a request that waited for the answer would have been told.
        #[serde(default = "server_error")]
        status: u16,
    },
}

fn server_error() -> u16 {
    500
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::fhir) struct Written {
    /// The type of its resources, or the name that was given to its rows.
    pub(in crate::fhir) resource: String,
    pub(in crate::fhir) file: String,
    pub(in crate::fhir) rows: u64,
}

/// An export of this process.
#[derive(Debug, Default)]
pub(in crate::fhir) struct Live {
    pub(in crate::fhir) cancel: CancellationToken,
    /// Types of resources, or views and queries.
    pub(in crate::fhir) parts: AtomicU64,
    pub(in crate::fhir) parts_done: AtomicU64,
    pub(in crate::fhir) rows: AtomicU64,
}

impl Live {
    pub(in crate::fhir) fn progress(&self, kind: &Kind) -> String {
        let (parts, rows) = match kind {
            Kind::Resources => ("types", "resources"),
            Kind::Rows { .. } => ("views and queries", "rows"),
        };
        let (done, all) = (self.parts_done.load(Ordering::Relaxed), self.parts.load(Ordering::Relaxed));
        format!("{done} of {all} {parts}, {} {rows}", self.rows.load(Ordering::Relaxed))
    }
}

/// Every export of a data folder.
#[derive(Debug, Clone)]
pub struct Exports {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    live: Mutex<HashMap<Uuid, Arc<Live>>>,
    turns: Arc<Semaphore>,
}

/// What is known of an export.
#[derive(Debug)]
pub(in crate::fhir) enum Known {
    Nothing,
    Running(Job, Arc<Live>),
    Ended(Job),
}

impl Exports {
    /// `folder`: made when it is needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let inner = Inner { folder, live: Mutex::new(HashMap::new()), turns: Arc::new(Semaphore::new(AT_ONCE)) };
        Self { inner: Arc::new(inner) }
    }

    pub(in crate::fhir) fn folder(&self, id: Uuid) -> PathBuf {
        self.inner.folder.join(id.hyphenated().to_string())
    }

    pub(in crate::fhir) fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.turns)
    }

    fn live(&self, id: Uuid) -> Option<Arc<Live>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Begins one; `None` where too many go on.
    pub(in crate::fhir) async fn begin(&self, job: &Job) -> std::io::Result<Option<Arc<Live>>> {
        self.forget_old().await;
        let live = {
            let mut all = self.inner.live.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MOST {
                return Ok(None);
            }
            let live = Arc::new(Live::default());
            all.insert(job.id, Arc::clone(&live));
            live
        };
        if let Err(error) = self.store(job).await {
            self.end(job.id);
            return Err(error);
        }
        Ok(Some(live))
    }

    /// From here on only the folder knows of it.
    pub(in crate::fhir) fn end(&self, id: Uuid) {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(in crate::fhir) async fn store(&self, job: &Job) -> std::io::Result<()> {
        let folder = self.folder(job.id);
        tokio::fs::create_dir_all(&folder).await?;
        let text = serde_json::to_vec(job).map_err(std::io::Error::other)?;
        let part = folder.join("job.part");
        tokio::fs::write(&part, text).await?;
        tokio::fs::rename(part, folder.join("job.json")).await
    }

    pub(in crate::fhir) async fn find(&self, id: Uuid) -> Known {
        // First who works on it: it may end in between.
        let live = self.live(id);
        let Some(job) = read(&self.folder(id)).await else { return Known::Nothing };
        match (&job.state, live) {
            (State::Running, Some(live)) => Known::Running(job, live),
            (State::Running, None) => match read(&self.folder(id)).await {
                Some(job) if job.state != State::Running => Known::Ended(job),
                _ => {
                    let reason = "the server was restarted while it exported; begin the export again".to_owned();
                    Known::Ended(Job { state: State::Failed { at: job.began_at, reason, status: 500 }, ..job })
                }
            },
            _ => Known::Ended(job),
        }
    }

    /// Ends an export and deletes its files.
    pub(in crate::fhir) async fn remove(&self, id: Uuid) -> std::io::Result<()> {
        if let Some(live) = self.live(id) {
            live.cancel.cancel();
        }
        self.end(id);
        match tokio::fs::remove_dir_all(self.folder(id)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends every export and deletes its files; answers how many there were.
    ///
    /// # Errors
    /// As the file system says.
    pub async fn remove_all(&self) -> std::io::Result<u64> {
        let mut entries = match tokio::fs::read_dir(&self.inner.folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut removed = 0;
        while let Some(entry) = entries.next_entry().await? {
            if let Some(id) = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok()) {
                self.remove(id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Deletes what is older than a day.
    pub(in crate::fhir) async fn forget_old(&self) {
        let Ok(mut entries) = tokio::fs::read_dir(&self.inner.folder).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let id = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok());
            let Some(id) = id.filter(|id| self.live(*id).is_none()) else { continue };
            let old = match read(&entry.path()).await {
                Some(job) => is_over(&job, Utc::now()),
                // A folder that says nothing, or is being deleted.
                None => continue,
            };
            if old && let Err(error) = self.remove(id).await {
                tracing::warn!(%error, "the files of an export whose time is over were not deleted");
            }
        }
    }
}

/// When the files of an export are deleted.
pub(in crate::fhir) fn expires(job: &Job) -> DateTime<Utc> {
    let ended = match &job.state {
        State::Running => job.began_at,
        State::Done { at, .. } | State::Failed { at, .. } => *at,
    };
    ended + LIFE
}

pub(in crate::fhir) fn is_over(job: &Job, now: DateTime<Utc>) -> bool {
    expires(job) <= now
}

async fn read(folder: &Path) -> Option<Job> {
    serde_json::from_slice(&tokio::fs::read(folder.join("job.json")).await.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: State) -> Job {
        let now = Utc::now();
        Job {
            id: Uuid::new_v4(),
            request: String::new(),
            owner: String::new(),
            transaction_time: now,
            began_at: now,
            kind: Kind::Resources,
            state,
        }
    }

    #[tokio::test]
    async fn an_export_that_a_restart_interrupted_has_failed() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(State::Running);
        let before = Exports::new(folder.path().to_path_buf());
        before.begin(&job).await.unwrap().unwrap();
        assert!(matches!(before.find(job.id).await, Known::Running(..)));
        let after = Exports::new(folder.path().to_path_buf());
        let Known::Ended(found) = after.find(job.id).await else { panic!("it goes on") };
        assert!(matches!(found.state, State::Failed { .. }));
    }

    #[tokio::test]
    async fn files_live_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let exports = Exports::new(folder.path().to_path_buf());
        let long_ago = Utc::now() - chrono::Duration::hours(25);
        let old = job(State::Done { at: long_ago, outputs: vec![] });
        let new = job(State::Done { at: Utc::now(), outputs: vec![] });
        for job in [&old, &new] {
            exports.store(job).await.unwrap();
        }
        exports.forget_old().await;
        assert!(matches!(exports.find(old.id).await, Known::Nothing));
        assert!(matches!(exports.find(new.id).await, Known::Ended(_)));
    }
}

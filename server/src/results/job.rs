use std::{
    path::PathBuf,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use mavis_types::Principal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::file::Part;
use crate::http::ApiError;

/// Where a job is.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// It waits for its turn, or is planned.
    Queued,
    Running,
    Done {
        at: DateTime<Utc>,
    },
    Failed {
        at: DateTime<Utc>,
        error: ApiError,
    },
    Cancelled {
        at: DateTime<Utc>,
    },
}

impl Phase {
    /// When it ended.
    pub(crate) fn ended(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Queued | Self::Running => None,
            Self::Done { at } | Self::Failed { at, .. } | Self::Cancelled { at } => Some(*at),
        }
    }
}

/// One query whose answer is fetched later.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: Uuid,
    pub(crate) owner: Principal,
    pub(crate) submitted_at: DateTime<Utc>,
    /// Told to whoever polls: whether the rows have an order.
    pub(crate) ordered: bool,
    pub(super) folder: PathBuf,
    /// How long the answer is kept after its end.
    pub(super) life: Duration,
    /// Ended when nobody asked for it this long.
    pub(super) patience: Option<Duration>,
    pub(super) cancel: CancellationToken,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) schema: OnceLock<SchemaRef>,
    pub(super) query: OnceLock<Uuid>,
    pub(super) parts: OnceLock<Vec<Part>>,
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The last time that its owner asked for it.
    pub(super) asked_at: Mutex<DateTime<Utc>>,
}

impl Job {
    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Columns of the answer, once they are known.
    pub(crate) fn schema(&self) -> Option<&SchemaRef> {
        self.schema.get()
    }

    /// Tells the columns before the query runs; they are those that it then has.
    pub(crate) fn promise(&self, schema: &SchemaRef) {
        self.schema.get_or_init(|| schema.clone());
    }

    /// The engine's id of the query, once it runs.
    pub(crate) fn query(&self) -> Option<Uuid> {
        self.query.get().copied()
    }

    /// Rows written so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes of its files so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files of the whole answer; 0 before the end.
    pub(crate) fn parts(&self) -> usize {
        self.parts.get().map_or(0, Vec::len)
    }

    /// When its files are deleted; `None` while it goes on and nobody has to ask for it.
    pub(crate) fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self.phase().ended() {
            Some(at) => Some(at.max(self.asked()) + self.life),
            None => Some(self.asked() + self.patience?),
        }
    }

    /// Waits until it ended, for so long at most.
    pub(crate) async fn wait(&self, longest: Duration) {
        let mut phase = self.phase.subscribe();
        // Out of time or the end: the phase tells.
        drop(tokio::time::timeout(longest, phase.wait_for(|phase| phase.ended().is_some())).await.map(drop));
        self.touch();
    }

    /// Its owner asked for it: the time after which it is given up begins anew.
    pub(crate) fn touch(&self) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Utc::now();
    }

    fn asked(&self) -> DateTime<Utc> {
        // Reading an answer does not keep it for ever: only a job that must be asked for counts from the last question.
        if self.patience.is_some() {
            *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            self.submitted_at
        }
    }

    pub(super) fn end(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}

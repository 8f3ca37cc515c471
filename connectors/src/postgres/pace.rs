//! How fast a table is read, where its source is to be spared.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::Params;

/// Bytes after which time is looked at.
const STEP: u64 = 256 << 10;

/// Keeps a reading, with all its connections, below the declared rate.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    rows_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Pace {
    pub(super) fn new(params: &Params) -> Self {
        Self {
            began: Instant::now(),
            rows_per_second: params.max_rows_per_second.filter(|rows| *rows > 0),
            bytes_per_second: params.max_megabytes_per_second.filter(|mb| *mb > 0).map(|mb| mb << 20),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Takes note of what came, and waits until it was allowed to.
    pub(super) async fn wait(&self, rows: u64, bytes: usize) {
        if self.rows_per_second.is_none() && self.bytes_per_second.is_none() {
            return;
        }
        let bytes = bytes as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let all_rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        if self.rows_per_second.is_none() && before / STEP == (before + bytes) / STEP {
            return;
        }
        let due = |done: u64, limit: Option<u64>| {
            #[allow(clippy::cast_precision_loss, reason = "a time to wait need not be exact")]
            limit.map_or(0.0, |limit| done as f64 / limit as f64)
        };
        let seconds = due(all_rows, self.rows_per_second).max(due(before + bytes, self.bytes_per_second));
        let early = Duration::from_secs_f64(seconds).saturating_sub(self.began.elapsed());
        if early > Duration::from_millis(5) {
            tokio::time::sleep(early).await;
        }
    }
}

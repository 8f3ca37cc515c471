use std::time::Duration;

/// What one query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Planning included.
    pub time: Duration,
    pub memory_bytes: usize,
    /// Rows of the answer; more are cut off with an error, never silently. `None`: no limit.
    pub rows: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(300), memory_bytes: 2 << 30, rows: None }
    }
}

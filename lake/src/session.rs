//! Plain DataFusion sessions over one shared runtime: memory, spill, file metadata cache.

use std::sync::Arc;

use datafusion::{
    execution::runtime_env::RuntimeEnv,
    prelude::{SessionConfig, SessionContext},
};

/// Makes sessions that share one runtime.
#[derive(Debug, Clone)]
pub struct Sessions {}

impl Sessions {
    #[must_use]
    pub fn runtime(&self) -> Arc<RuntimeEnv> {
        todo!()
    }

    /// The configuration that every session starts from: the two settings of delta-rs against a panic on dictionary join
    /// keys, UTC, nested type support, partitions.
    #[must_use]
    pub fn config(&self) -> SessionConfig {
        todo!()
    }

    /// An empty session with its own memory child pool of at most `memory_bytes`.
    #[must_use]
    pub fn session(&self, memory_bytes: usize) -> SessionContext {
        let _ = memory_bytes;
        todo!()
    }
}

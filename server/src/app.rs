use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use mavis_catalog::Catalog;
use mavis_lake::Lake;
use mavis_pipeline::Pipeline;
use mavis_sql::Engine;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{auth::Auth, config::Config};

/// What every door is given: cheap to clone, one per server.
///
/// A door is a function of it (`http::router`, `fhir::router`, `flight::service`, `grpc::routes`); it takes what it needs
/// and keeps nothing of its own that would have to outlive a request.
#[derive(Clone)]
pub struct App {
    pub catalog: Catalog,
    pub lake: Lake,
    pub pipeline: Pipeline,
    pub engine: Engine,
    pub auth: Auth,
    pub config: Arc<Config>,
    pub readiness: Readiness,
    /// Renders what `/metrics` answers.
    pub metrics: PrometheusHandle,
    /// Signs what clients carry back to us, such as `next` links; made anew at each start of a new data folder and kept.
    pub signing_key: Arc<[u8; 32]>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// Whether the server takes requests.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<AtomicU8>);

/// The phases of a server's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Stopping,
}

impl Readiness {
    #[must_use]
    pub fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }

    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }
}

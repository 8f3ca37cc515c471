use std::{future::Future, sync::Arc};

use mavis_catalog::Catalog;
use mavis_lake::Lake;
use mavis_pipeline::Pipeline;
use mavis_sql::Engine;
use mavis_types::Principal;
use metrics_exporter_prometheus::PrometheusHandle;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::{auth::Auth, config::Config, fhir::Exports, read_log::ReadLog, results::Results};

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
    /// Audits queries and reads by key.
    pub reads: ReadLog,
    pub config: Arc<Config>,
    pub readiness: Readiness,
    /// Renders what `/metrics` answers.
    pub metrics: PrometheusHandle,
    /// Bulk exports that go on or wait to be fetched.
    pub exports: Exports,
    /// Answers of long queries, until they are fetched.
    pub results: Results,
    /// Signs what clients carry back to us, such as `next` links; made anew at each start of a new data folder and kept.
    pub signing_key: Arc<[u8; 32]>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

impl App {
    /// Signs where a walk over pages is: nobody goes on with a walk that somebody else began, and so comes to a state of the
    /// lake that was before what he may see. It is the same for all tokens of one name.
    #[must_use]
    pub fn page_key(&self, of: &Principal) -> [u8; 32] {
        page_key(&self.signing_key, &of.name)
    }
}

fn page_key(key: &[u8; 32], name: &str) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(b"pages of ").chain_update(name).finalize().into()
}

/// Whether the server takes requests; what lasts (watching a run, a stream of events) ends when it stops.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<Phase>);

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
        Self(watch::Sender::new(Phase::Starting))
    }

    pub fn set(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the server is asked to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut phase = self.0.subscribe();
        async move {
            // An error says that the server is gone, which is a stop too.
            drop(phase.wait_for(|phase| *phase == Phase::Stopping).await.map(drop));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_signs_pages_otherwise() {
        assert_eq!(page_key(&[1; 32], "ana"), page_key(&[1; 32], "ana"));
        assert_ne!(page_key(&[1; 32], "ana"), page_key(&[1; 32], "bob"));
        assert_ne!(page_key(&[1; 32], "ana"), page_key(&[2; 32], "ana"));
    }

    #[tokio::test]
    async fn whoever_waits_for_the_stop_is_woken_even_when_it_came_before() {
        let readiness = Readiness::starting();
        let before = readiness.stopping();
        readiness.set(Phase::Ready);
        readiness.set(Phase::Stopping);
        before.await;
        readiness.stopping().await;
        assert_eq!(readiness.phase(), Phase::Stopping);
    }
}

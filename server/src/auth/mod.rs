//! Who is calling: a bearer token becomes a principal, the same way at every door.
//!
//! Nothing is kept here: each request asks the catalog (one look-up by hash, in its memory while nothing was committed to it),
//! so that a revoked token is refused at once, on every server that shares the catalog. A failed login is audited, and its answer comes later the more often the same
//! peer fails; a good token is never slowed down.

mod bearer;
mod grpc;
mod http;
mod slow;

use std::{net::IpAddr, sync::Arc};

use mavis_catalog::{Catalog, NewAudit};
use mavis_types::Principal;
use tracing::{error, warn};

pub use bearer::bearer;
pub use grpc::AuthLayer;
pub use http::require_token;
use slow::SlowDown;

/// Turns tokens into principals. Cheap to clone; shared by all doors.
#[derive(Debug, Clone)]
pub struct Auth {
    catalog: Catalog,
    slow: Arc<SlowDown>,
}

/// A door, as the audit names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Http,
    Grpc,
    Flight,
    Fhir,
    Postgres,
}

impl Door {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Door::Http => "http",
            Door::Grpc => "grpc",
            Door::Flight => "flight",
            Door::Fhir => "fhir",
            Door::Postgres => "postgres",
        }
    }

    /// The door that an HTTP path belongs to.
    #[must_use]
    pub fn of_http_path(path: &str) -> Self {
        if path == "/fhir" || path.starts_with("/fhir/") { Door::Fhir } else { Door::Http }
    }

    /// The door that a gRPC method (`/package.Service/Method`) belongs to.
    #[must_use]
    pub fn of_grpc_path(path: &str) -> Self {
        if path.starts_with("/arrow.flight.") { Door::Flight } else { Door::Grpc }
    }
}

/// Why a caller was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "no token: send `authorization: Bearer TOKEN`; the first one is in admin.token of the server's data folder"
    )]
    Missing,
    #[error("the token is unknown, expired or revoked: ask an administrator for another")]
    Unknown,
    #[error("the token is good, but its role may not do this: ask an administrator")]
    Forbidden,
    #[error("the catalog cannot be asked who you are: try again, and read the server's log")]
    Unavailable,
}

impl Auth {
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, slow: Arc::new(SlowDown::default()) }
    }

    /// Who the token belongs to. `peer`: the caller's address, where the door knows it.
    ///
    /// # Errors
    /// [`Denied`]; a wrong token is answered late and audited, a missing one is not.
    pub async fn authenticate(
        &self,
        token: Option<&str>,
        peer: Option<IpAddr>,
        door: Door,
    ) -> Result<Principal, Denied> {
        metrics::counter!("mavis_requests_total", "door" => door.as_str()).increment(1);
        let Some(token) = token else { return Err(Denied::Missing) };
        match self.catalog.authenticate(token).await {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => {
                metrics::counter!("mavis_logins_failed_total", "door" => door.as_str()).increment(1);
                let delay = self.slow.failed(peer);
                let from = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
                warn!(peer = from, door = door.as_str(), "login failed from {from}");
                self.audit("anonymous", "login.failed", &from, false, door).await;
                tokio::time::sleep(delay).await;
                Err(Denied::Unknown)
            }
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the catalog cannot be asked for a token");
                Err(Denied::Unavailable)
            }
        }
    }

    /// Says no to a principal whose role is not enough, and audits it.
    ///
    /// # Errors
    /// [`Denied::Forbidden`] where `allowed` is false.
    pub async fn permit(&self, principal: &Principal, allowed: bool, action: &str, door: Door) -> Result<(), Denied> {
        if allowed {
            return Ok(());
        }
        warn!(principal = principal.name, action, "refused `{action}` to `{}`", principal.name);
        self.audit(&principal.name, action, "", false, door).await;
        Err(Denied::Forbidden)
    }

    /// Writes a line of the audit. An audit that cannot be written is logged, and does not undo what it is about.
    pub async fn audit(&self, actor: &str, action: &str, object: &str, allowed: bool, door: Door) {
        let entry = NewAudit {
            actor: actor.to_owned(),
            action: action.to_owned(),
            object: object.to_owned(),
            allowed,
            door: door.as_str().to_owned(),
            rows: None,
        };
        if let Err(error) = self.catalog.audit(&entry).await {
            error!(error = &error as &dyn std::error::Error, action, "cannot write the audit of `{action}`");
        }
    }
}

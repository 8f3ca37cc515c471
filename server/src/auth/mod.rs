//! Who is calling: a token becomes a principal, the same way at every door. It is one of our own, or one that an OpenID Connect
//! issuer signed ([`oidc`]); it comes as a bearer token, or as a password.
//!
//! Nothing is kept here: each request asks the catalog (one look-up by hash, in its memory while nothing was committed to it),
//! so that a revoked token is refused at once, on every server that shares the catalog. A failed login is audited, and its answer comes later the more often the same
//! peer fails; a good token is never slowed down.

mod bearer;
mod grpc;
mod http;
mod lasting;
pub mod oidc;
mod slow;

use std::{net::IpAddr, sync::Arc};

use anyhow::bail;
use mavis_catalog::{Catalog, NewAudit};
use mavis_types::{Principal, Role, Scope, TokenId};
use tracing::{error, warn};

pub use bearer::{of_authorization, token};
pub use grpc::AuthLayer;
pub use http::require_token;
pub(crate) use lasting::Lasting;
use oidc::{Expiry, Fault, Identity, Issuers};
use slow::SlowDown;

/// Turns tokens into principals. Cheap to clone; shared by all doors.
#[derive(Debug, Clone)]
pub struct Auth {
    catalog: Catalog,
    issuers: Issuers,
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
    /// While an answer was read.
    #[error("the rights of this token were changed since the answer began: ask again")]
    Changed,
    #[error("the catalog cannot be asked who you are: try again, and read the server's log")]
    Unavailable,
    /// A token of an OpenID Connect issuer.
    #[error("the signed token is not taken: {0}")]
    Signed(Fault),
}

impl Denied {
    /// Whether the caller is known and may not; otherwise it is not known who asks.
    #[must_use]
    pub fn is_forbidden(self) -> bool {
        matches!(self, Self::Forbidden | Self::Changed | Self::Signed(Fault::NoRole))
    }

    /// Whether the same token may be taken later.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Unavailable | Self::Signed(Fault::Unreachable))
    }
}

impl Auth {
    #[must_use]
    pub fn new(catalog: Catalog, issuers: Issuers) -> Self {
        Self { catalog, issuers, slow: Arc::new(SlowDown::default()) }
    }

    /// The issuers whose signed tokens are taken.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Refuses to go on where a token of our own is named as somebody of an issuer would be: what is granted to one would be
    /// granted to both.
    ///
    /// # Errors
    /// The name, or that the catalog cannot be asked.
    pub async fn check_names(&self) -> anyhow::Result<()> {
        for token in self.catalog.tokens().await?.into_iter().filter(|token| token.revoked_at.is_none()) {
            if self.is_of_issuer(&token.name) {
                bail!(
                    "the token `{}` has the name of a principal of an issuer: revoke it, or give the issuer another `name`",
                    token.name
                );
            }
        }
        Ok(())
    }

    /// Whether names like this one are an issuer's to give.
    #[must_use]
    pub fn is_of_issuer(&self, name: &str) -> bool {
        self.issuers.prefixes().any(|prefix| name.starts_with(&prefix))
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
        let denied = match self.principal(token).await {
            Ok(principal) => return Ok(principal),
            Err(denied) if denied.is_passing() => return Err(denied),
            Err(denied) => denied,
        };
        metrics::counter!("mavis_logins_failed_total", "door" => door.as_str()).increment(1);
        let failed = self.slow.failed(peer, door.as_str());
        if let Some(count) = failed.tell {
            let from = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            warn!(peer = from, door = door.as_str(), count, reason = %denied, "login failed from {from}");
            self.tell_failures(&from, door.as_str(), count).await;
        }
        // The place is given back also when the caller goes away meanwhile.
        let waited = Waited { slow: Arc::clone(&self.slow), peer };
        tokio::time::sleep(failed.delay).await;
        drop(waited);
        Err(denied)
    }

    async fn principal(&self, token: &str) -> Result<Principal, Denied> {
        if !self.issuers.is_signed(token) {
            return self.catalog.authenticate(token).await.map_err(unavailable)?.ok_or(Denied::Unknown);
        }
        self.signed(self.issuers.identity(token, Expiry::Ends).await.map_err(Denied::Signed)?).await
    }

    /// Who a token belongs to with which an answer began; `None` for one of ours that expired since. `id`: the token's.
    async fn still(&self, token: &str, id: TokenId) -> Result<Option<Principal>, Denied> {
        if self.issuers.is_signed(token) {
            let identity = self.issuers.identity(token, Expiry::Passed).await.map_err(Denied::Signed)?;
            return self.signed(identity).await.map(Some);
        }
        if let Some(principal) = self.catalog.authenticate(token).await.map_err(unavailable)? {
            return Ok(Some(principal));
        }
        let tokens = self.catalog.tokens().await.map_err(unavailable)?;
        let is_there = tokens.iter().any(|known| known.id == id && known.revoked_at.is_none());
        if is_there { Ok(None) } else { Err(Denied::Unknown) }
    }

    async fn signed(&self, identity: Identity) -> Result<Principal, Denied> {
        let Identity { id, name, role, groups, smart, granted_only } = identity;
        let only = granted_only && !matches!(role, Role::Admin | Role::Engineer);
        let scope = if only { Scope::Schemas(Vec::new()) } else { Scope::All };
        let mut principal = Principal::new(id, name, role, scope);
        principal.groups = groups;
        principal.smart = smart.map(Arc::new);
        self.catalog.signed_in(principal).await.map_err(unavailable)
    }

    async fn tell_failures(&self, peer: &str, door: &'static str, count: u64) {
        let object = if count == 1 { peer.to_owned() } else { format!("{peer}, {count} times") };
        self.note("anonymous", "login.failed", &object, false, door).await;
    }

    /// Writes the failed logins into the audit that were only counted until now; with `all` those of the last moments too.
    pub async fn tell_untold(&self, all: bool) {
        for untold in self.slow.untold(all) {
            self.tell_failures(&untold.peer, untold.door, untold.count).await;
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
        self.note(actor, action, object, allowed, door.as_str()).await;
    }

    async fn note(&self, actor: &str, action: &str, object: &str, allowed: bool, door: &str) {
        let entry = NewAudit {
            actor: actor.to_owned(),
            action: action.to_owned(),
            object: object.to_owned(),
            allowed,
            door: door.to_owned(),
            rows: None,
        };
        if let Err(error) = self.catalog.audit(&entry).await {
            error!(error = &error as &dyn std::error::Error, action, "cannot write the audit of `{action}`");
        }
    }
}

fn unavailable(error: mavis_catalog::Error) -> Denied {
    error!(error = &error as &dyn std::error::Error, "the catalog cannot be asked for a token");
    Denied::Unavailable
}

/// A failure whose answer waits.
struct Waited {
    slow: Arc<SlowDown>,
    peer: Option<IpAddr>,
}

impl Drop for Waited {
    fn drop(&mut self) {
        self.slow.answered(self.peer);
    }
}

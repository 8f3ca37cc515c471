//! Signed tokens (JWT) of OpenID Connect issuers: whose they are, and with which role.
//!
//! A token is taken if a key of its issuer signed it, it is for us, it is its time, and one of its groups has a role here.
//! [`keys`] fetches the issuer's keys and keeps them fresh; [`claims`] reads what a token says. Which algorithm is used is
//! decided by the configuration and the key, never by the token alone: `none` and shared secrets (`HS256`) do not exist here.

mod claims;
mod fault;
mod header;
mod issuer;
mod keys;

use std::sync::Arc;

use anyhow::bail;
use mavis_types::{Role, Smart, TokenId};

pub use fault::Fault;
use issuer::Issuer;
pub use keys::Endpoints;

use crate::config::OidcConfig;

/// Bytes of a token, at most.
const LONGEST: usize = 16 << 10;

/// Who a signed token is of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identity {
    /// Made of issuer and subject: the same for every token of one person.
    pub(super) id: TokenId,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) groups: Vec<String>,
    pub(super) smart: Option<Smart>,
    /// Whether it reads only what is granted to it.
    pub(super) granted_only: bool,
}

/// What the end of a token's time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It is no good any more.
    Ends,
    /// Nothing: an answer began while it was good.
    Passed,
}

/// The issuers that are trusted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Issuers(Arc<Vec<Issuer>>);

impl Issuers {
    /// Reads the configuration and begins to fetch keys in the background. An issuer that cannot be reached is no error:
    /// its tokens are refused until it can.
    ///
    /// # Errors
    /// What is wrong in the configuration.
    pub fn start(configured: &[OidcConfig]) -> anyhow::Result<Self> {
        let mut issuers: Vec<Issuer> = Vec::with_capacity(configured.len());
        for config in configured {
            let issuer = Issuer::start(config)?;
            if issuers.iter().any(|known| known.url() == issuer.url()) {
                bail!("oidc: the issuer {} is configured twice", issuer.url());
            }
            if issuers.iter().any(|known| known.name() == issuer.name()) {
                bail!("oidc: two issuers have the name `{}`: give each a `name` of its own", issuer.name());
            }
            issuers.push(issuer);
        }
        Ok(Self(Arc::new(issuers)))
    }

    /// What names of principals begin with, for each issuer: no token of our own may have such a name.
    pub fn prefixes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|issuer| format!("{}:", issuer.name()))
    }

    /// Where the issuer of this URL says that clients get tokens; `None` before it was asked.
    #[must_use]
    pub fn endpoints(&self, issuer: &str) -> Option<Endpoints> {
        self.0.iter().find(|known| known.url() == issuer)?.endpoints()
    }

    /// Whether a text is a signed token rather than one of ours, which have no dots.
    pub(super) fn is_signed(&self, token: &str) -> bool {
        !self.0.is_empty() && token.starts_with("ey") && token.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Who the token is of.
    pub(super) async fn identity(&self, token: &str, expiry: Expiry) -> Result<Identity, Fault> {
        if token.len() > LONGEST {
            return Err(Fault::Malformed);
        }
        let said = claims::unverified_issuer(token).ok_or(Fault::Malformed)?;
        let issuer = self.0.iter().find(|issuer| issuer.url() == said).ok_or(Fault::Issuer)?;
        issuer.identity(token, expiry).await
    }
}

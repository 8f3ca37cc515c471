use std::sync::Arc;

use anyhow::{Context, bail};
use jsonwebtoken::{Algorithm, Validation, decode, errors::ErrorKind};
use mavis_types::{Role, Smart, TokenId};
use url::{Host, Url};
use uuid::Uuid;

use super::{
    Expiry, Fault, Identity,
    claims::Claims,
    header::{ALL, Header, algorithm},
    keys::{Endpoints, Keys},
};
use crate::config::OidcConfig;

/// One trusted issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    config: OidcConfig,
    name: String,
    algorithms: Vec<Algorithm>,
    keys: Arc<Keys>,
}

impl Issuer {
    pub(super) fn start(config: &OidcConfig) -> anyhow::Result<Self> {
        let url = trusted_url(&config.issuer)?;
        if let Some(keys) = &config.jwks_url {
            trusted_url(keys)?;
        }
        if config.audience.is_empty() || config.audience.iter().any(String::is_empty) {
            bail!("oidc: {} needs an `audience`, or tokens for other services would be taken", config.issuer);
        }
        let name = match &config.name {
            Some(name) => name.clone(),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(is_name) {
            bail!("oidc: the issuer's `name` has letters, digits, `-`, `_` and `.` only");
        }
        let names: Vec<&str> = match config.algorithms.as_slice() {
            [] => ALL.to_vec(),
            some => some.iter().map(String::as_str).collect(),
        };
        let algorithms = names.into_iter().map(|name| {
            algorithm(name)
                .with_context(|| format!("oidc: `{name}` is not an algorithm that is taken: {}", ALL.join(", ")))
        });
        let algorithms = algorithms.collect::<anyhow::Result<Vec<_>>>()?;
        let keys = Keys::start(config).with_context(|| format!("oidc: {}", config.issuer))?;
        Ok(Self { config: config.clone(), name, algorithms, keys })
    }

    pub(super) fn url(&self) -> &str {
        &self.config.issuer
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn endpoints(&self) -> Option<Endpoints> {
        self.keys.endpoints()
    }

    /// Who a token is of that says to be from here.
    pub(super) async fn identity(&self, token: &str, expiry: Expiry) -> Result<Identity, Fault> {
        let header = Header::read(token, &self.algorithms)?;
        let keys = self.keys.find(header.key.as_deref(), header.algorithm).await?;
        let mut validation = Validation::new(header.algorithm);
        validation.leeway = self.config.leeway_seconds;
        validation.validate_nbf = true;
        validation.validate_exp = expiry == Expiry::Ends;
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&self.config.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut fault = Fault::Key;
        for key in &keys {
            match decode::<Claims>(token, key, &validation) {
                Ok(data) => return self.of_claims(&data.claims),
                Err(error) => fault = told(error.kind()),
            }
            // Another key may have signed it, where the token does not say which.
            if !matches!(fault, Fault::Signature | Fault::Key) {
                break;
            }
        }
        Err(fault)
    }

    fn of_claims(&self, claims: &Claims) -> Result<Identity, Fault> {
        if claims.iss != self.config.issuer || claims.sub.is_empty() {
            return Err(Fault::Claims);
        }
        let name = claims.name(&self.config.name_claim).ok_or(Fault::Claims)?;
        let said = claims.texts(&self.config.groups_claim);
        let scopes = claims.scopes();
        let smart = Smart::of_scopes(&scopes, claims.text(&self.config.patient_claim));
        let has = |role: &Role| said.iter().any(|group| self.config.roles.get(*group) == Some(role));
        let role = Role::ALL.into_iter().find(has);
        let role = role.or(self.config.smart_role.filter(|_| smart.is_some())).ok_or(Fault::NoRole)?;
        let mut groups: Vec<String> = said.iter().filter_map(|group| self.config.groups.get(*group)).cloned().collect();
        groups.sort_unstable();
        groups.dedup();
        // A URL holds no line break: issuer and subject cannot run into each other.
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{}\n{}", claims.iss, claims.sub).as_bytes());
        Ok(Identity {
            id: TokenId::from_uuid(id),
            name: format!("{}:{name}", self.name),
            role,
            groups,
            smart,
            granted_only: self.config.granted_only,
        })
    }
}

/// A URL that nobody on the way can change the answer of.
pub(super) fn trusted_url(text: &str) -> anyhow::Result<Url> {
    let url: Url = text.parse().with_context(|| format!("oidc: `{text}` is not a URL"))?;
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && is_here) {
        return Ok(url);
    }
    bail!("oidc: `{text}` must be an https URL: whoever can change what it answers could sign tokens")
}

fn told(kind: &ErrorKind) -> Fault {
    match kind {
        ErrorKind::InvalidSignature => Fault::Signature,
        ErrorKind::InvalidAudience => Fault::Audience,
        ErrorKind::InvalidIssuer => Fault::Issuer,
        ErrorKind::ExpiredSignature => Fault::Expired,
        ErrorKind::ImmatureSignature => Fault::Early,
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => Fault::Algorithm,
        ErrorKind::InvalidKeyFormat
        | ErrorKind::InvalidEcdsaKey
        | ErrorKind::InvalidEddsaKey
        | ErrorKind::InvalidRsaKey(_) => Fault::Key,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => Fault::Claims,
        _ => Fault::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://login.example.org/realms/a", true)]
    #[case("http://127.0.0.1:8080", true)]
    #[case("http://localhost:8080", true)]
    #[case("http://[::1]:8080", true)]
    #[case("http://login.example.org", false)]
    #[case("http://localhost.example.org", false)]
    #[case("ftp://login.example.org", false)]
    #[case("login.example.org", false)]
    fn only_urls_that_nobody_can_answer_in_place_of_are_asked(#[case] text: &str, #[case] is: bool) {
        assert_eq!(trusted_url(text).is_ok(), is);
    }
}

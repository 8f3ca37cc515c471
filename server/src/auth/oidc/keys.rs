//! The public keys of an issuer: fetched in the background, kept while it cannot be reached, until they are too old.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use super::{Fault, header};
use crate::config::OidcConfig;

/// What an issuer may take for an answer.
const TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer, at most.
const LONGEST: usize = 1 << 20;
/// Keys of one issuer, at most.
const MOST: usize = 200;
/// Keys that are tried on a token that does not say which signed it.
const TRIED: usize = 10;
/// Pause before an issuer that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(15);
/// The least that keys are kept, whatever their `Cache-Control` says.
const LEAST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Keys {
    issuer: String,
    /// Where the keys are, if that is configured.
    place: Option<String>,
    client: reqwest::Client,
    refresh: Duration,
    refetch: Duration,
    oldest: Duration,
    state: RwLock<State>,
    /// Held by who fetches: the others wait for what it brings.
    fetching: Mutex<()>,
}

/// Where an issuer says that clients get tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    pub jwks: String,
    pub authorization: Option<String>,
    pub token: Option<String>,
    pub introspection: Option<String>,
    pub revocation: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    keys: Arc<Vec<Key>>,
    /// When the keys were fetched, and for how long they are fresh.
    fetched: Option<(Instant, Duration)>,
    tried: Option<Instant>,
    endpoints: Option<Endpoints>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// Algorithms that it signs with.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Keys {
    /// Begins to fetch the keys; the task ends when they are dropped.
    pub(super) fn start(config: &OidcConfig) -> anyhow::Result<Arc<Self>> {
        let mut client = reqwest::Client::builder()
            .timeout(TIME)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("mavis/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &config.ca_cert {
            let pem = std::fs::read(file).with_context(|| format!("cannot read ca_cert {}", file.display()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("ca_cert {} holds no certificates", file.display()))?;
            client = client.tls_certs_only(authorities);
        }
        let keys = Arc::new(Self {
            issuer: config.issuer.clone(),
            place: config.jwks_url.clone(),
            client: client.build().context("cannot make a client to fetch keys with")?,
            refresh: Duration::from_secs(config.refresh_seconds.max(1)),
            refetch: Duration::from_secs(config.refetch_seconds),
            oldest: Duration::from_secs(config.oldest_seconds),
            state: RwLock::default(),
            fetching: Mutex::new(()),
        });
        let weak = Arc::downgrade(&keys);
        tokio::spawn(async move {
            while let Some(keys) = weak.upgrade() {
                keys.fetch(Duration::ZERO).await;
                let pause = keys.until_stale();
                drop(keys);
                tokio::time::sleep(pause).await;
            }
        });
        Ok(keys)
    }

    /// The keys that may have signed a token.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<DecodingKey>, Fault> {
        if !self.is_good() {
            self.fetch(self.refetch).await;
            if !self.is_good() {
                return Err(Fault::Unreachable);
            }
        }
        let found = self.known(id, algorithm);
        if !found.is_empty() {
            return Ok(found);
        }
        // A new key, perhaps. Whoever makes up keys makes us ask no more often than now and then.
        self.fetch(self.refetch).await;
        let found = self.known(id, algorithm);
        if found.is_empty() { Err(Fault::Key) } else { Ok(found) }
    }

    fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let keys = Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).keys);
        let fits =
            |key: &&Key| key.algorithms.contains(&algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id));
        keys.iter().filter(fits).take(TRIED).map(|key| key.key.clone()).collect()
    }

    /// What the issuer said last, if it was asked.
    pub(super) fn endpoints(&self) -> Option<Endpoints> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).endpoints.clone()
    }

    /// Whether there are keys that are not too old.
    fn is_good(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.fetched.is_some_and(|(at, _)| at.elapsed() <= self.oldest)
    }

    fn until_stale(&self) -> Duration {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = state.fetched.map_or(Duration::ZERO, |(at, fresh)| fresh.saturating_sub(at.elapsed()));
        // Not fresh: the last try failed.
        if fresh.is_zero() { AGAIN.min(self.refresh) } else { fresh }
    }

    /// Fetches the keys, unless somebody tried less than `pause` ago.
    async fn fetch(&self, pause: Duration) {
        let asked = Instant::now();
        let _alone = self.fetching.lock().await;
        let tried = self.state.read().unwrap_or_else(PoisonError::into_inner).tried;
        if tried.is_some_and(|tried| tried >= asked || tried.elapsed() < pause) {
            return;
        }
        let fetched = self.ask().await;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.tried = Some(Instant::now());
        match fetched {
            Ok((keys, fresh)) => {
                debug!(issuer = self.issuer, keys = keys.len(), "fetched the keys of {}", self.issuer);
                if state.fetched.is_none() {
                    info!(issuer = self.issuer, keys = keys.len(), "tokens of {} are taken", self.issuer);
                }
                (state.keys, state.fetched) = (Arc::new(keys), Some((Instant::now(), fresh)));
            }
            Err(error) => {
                let age = state.fetched.map_or(u64::MAX, |(at, _)| at.elapsed().as_secs());
                warn!(
                    issuer = self.issuer,
                    error = format!("{error:#}"),
                    age,
                    "cannot fetch the keys of {}",
                    self.issuer
                );
                metrics::counter!("mavis_oidc_fetches_failed_total").increment(1);
            }
        }
    }

    async fn ask(&self) -> anyhow::Result<(Vec<Key>, Duration)> {
        let place = match &self.place {
            Some(place) => place.clone(),
            None => self.discover().await?,
        };
        let (answer, fresh) = self.get(&place).await?;
        let set: JwkSet = serde_json::from_slice(&answer).context("the keys are not a JSON Web Key Set")?;
        let keys: Vec<Key> = set.keys.into_iter().take(MOST).filter_map(Key::read).collect();
        if keys.is_empty() {
            bail!("there is no key at {place} that signatures can be verified with");
        }
        Ok((keys, fresh.unwrap_or(self.refresh).max(LEAST).min(self.refresh)))
    }

    /// Where the issuer says that its keys are (OpenID Connect Discovery 1.0, section 4).
    async fn discover(&self) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
            authorization_endpoint: Option<String>,
            token_endpoint: Option<String>,
            introspection_endpoint: Option<String>,
            revocation_endpoint: Option<String>,
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document: Document = serde_json::from_slice(&self.get(&url).await?.0)
            .with_context(|| format!("{url} answers no OpenID configuration"))?;
        if document.issuer != self.issuer {
            bail!("{url} says that it is of another issuer: write `issuer` letter by letter as it does");
        }
        super::issuer::trusted_url(&document.jwks_uri)?;
        let endpoints = Endpoints {
            jwks: document.jwks_uri.clone(),
            authorization: document.authorization_endpoint,
            token: document.token_endpoint,
            introspection: document.introspection_endpoint,
            revocation: document.revocation_endpoint,
        };
        self.state.write().unwrap_or_else(PoisonError::into_inner).endpoints = Some(endpoints);
        Ok(document.jwks_uri)
    }

    /// The body at an address, and for how long it is fresh.
    async fn get(&self, url: &str) -> anyhow::Result<(Vec<u8>, Option<Duration>)> {
        let mut answer = self.client.get(url).header("accept", "application/json").send().await?;
        if !answer.status().is_success() {
            bail!("{url} answers {}", answer.status());
        }
        let control = answer.headers().get("cache-control").and_then(|value| value.to_str().ok());
        let fresh = control.and_then(|control| {
            let age = control.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
            age.parse().ok().map(Duration::from_secs)
        });
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LONGEST {
                bail!("{url} answers more than {LONGEST} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, fresh))
    }
}

/// Read key by key: one of a kind that is not known leaves the others good.
#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl Key {
    /// `None` for a key that verifies no signature here: for encryption, of another kind, or a shared secret.
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
            return None;
        }
        let all: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return None,
        };
        let algorithms: Vec<Algorithm> = match jwk.common.key_algorithm {
            None => all.to_vec(),
            Some(said) => {
                let said = header::algorithm(&said.to_string())?;
                all.iter().copied().filter(|algorithm| *algorithm == said).collect()
            }
        };
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| !algorithms.is_empty())?;
        Some(Self { id: jwk.common.key_id, algorithms, key })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256" }))]
    #[case(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc" }))]
    #[case(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "HS256" }))]
    #[case(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP" }))]
    #[case(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "ES256" }))]
    #[case(json!({ "kty": "EC", "crv": "secp256k1", "x": "AQAB", "y": "AQAB" }))]
    #[case(json!({ "kty": "OKP", "crv": "X25519", "x": "AQAB" }))]
    #[case(json!("text"))]
    fn keys_that_verify_no_signature_here_are_passed_over(#[case] key: Value) {
        assert!(Key::read(key).is_none());
    }

    #[rstest]
    #[case(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), 6)]
    #[case(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "PS256", "use": "sig" }), 1)]
    #[case(json!({ "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB" }), 1)]
    #[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" }), 1)]
    fn a_key_signs_with_algorithms_of_its_kind(#[case] key: Value, #[case] algorithms: usize) {
        assert_eq!(Key::read(key).unwrap().algorithms.len(), algorithms);
    }
}

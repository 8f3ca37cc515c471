//! Tokens that are bought with a secret or a signed assertion, kept until shortly before they end.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA384, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::{
    address::same_origin,
    auth::{Auth, Credentials, SigningAlgorithm},
    client::{Client, Method, Request},
};
use crate::{Error, Stage};

/// A token is not used in its last seconds.
const MARGIN: Duration = Duration::from_secs(30);
/// A token that says no lifetime is bought anew after this.
const LIFETIME: Duration = Duration::from_secs(300);

/// The token at hand.
#[derive(Default)]
pub(super) struct Tokens {
    current: Mutex<Option<(SecretString, Instant)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Configuration {
    token_endpoint: String,
}

impl Client {
    /// What a request carries: the secret itself, or the token at hand, or a new one. `refused`: what was carried before was
    /// not accepted.
    pub(super) async fn token(&self, refused: bool) -> Result<Option<SecretString>, Error> {
        let credentials: &Credentials = &self.credentials;
        if !credentials.buys_tokens() {
            return credentials.ask().await;
        }
        let mut current = credentials.tokens.current.lock().await;
        if let Some((token, until)) = current.as_ref()
            && !refused
            && *until > Instant::now()
        {
            return Ok(Some(token.clone()));
        }
        let granted = self.buy().await?;
        let lifetime = granted.expires_in.map_or(LIFETIME, Duration::from_secs);
        let until = Instant::now() + lifetime.saturating_sub(MARGIN);
        *current = Some((granted.access_token.clone(), until));
        Ok(Some(granted.access_token))
    }

    async fn buy(&self) -> Result<Granted, Error> {
        let Some(secret) = self.credentials.ask().await? else {
            return Err(self.refused(Stage::Login, "no token is to be bought"));
        };
        let (url, form) = match &self.credentials.auth {
            Auth::ClientCredentials { token_url, client_id, scope } => {
                (token_url.clone(), with_secret(&secret, client_id, scope.as_deref()))
            }
            Auth::SmartBackend { client_id, token_url, scope, key_id, algorithm } => {
                let url = match token_url {
                    Some(url) => url.clone(),
                    None => self.token_endpoint().await?,
                };
                let form = self.with_assertion(&secret, &url, client_id, scope, key_id.as_deref(), *algorithm)?;
                (url, form)
            }
            _ => (String::new(), String::new()),
        };
        let url: Url = url.parse().map_err(|_| self.refused(Stage::Login, "the token's address is not a URL"))?;
        let mut request = Request::new(Method::POST, url);
        request.is_open = true;
        request.header("content-type", "application/x-www-form-urlencoded");
        request.header("accept", "application/json");
        request.body = Some(form.into_bytes().into());
        let answer = Box::pin(self.fetch(&request)).await.map_err(|error| match error {
            Error::Refused { endpoint, reason, .. } => {
                Error::Refused { endpoint, stage: Stage::Login, reason: format!("no token was given: {reason}") }
            }
            other => other,
        })?;
        let body = answer.body.open().map_err(|_| self.refused(Stage::Login, "the token could not be read"))?;
        serde_json::from_reader(body).map_err(|_| self.refused(Stage::Login, "what answered gives no `access_token`"))
    }

    fn with_assertion(
        &self,
        secret: &SecretString,
        url: &str,
        client_id: &str,
        scope: &str,
        key_id: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> Result<String, Error> {
        let assertion = sign(client_id, url, key_id, algorithm, secret.expose_secret())
            .map_err(|reason| self.refused(Stage::Login, reason))?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("scope", scope)
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion);
        Ok(form.finish())
    }

    /// Where the server says that tokens are given (SMART App Launch, discovery). Only on its own origin: whoever gets the
    /// assertion can use it there.
    async fn token_endpoint(&self) -> Result<String, Error> {
        let url = self.below(".well-known/smart-configuration")?;
        let mut request = Request::new(Method::GET, url);
        request.is_open = true;
        request.header("accept", "application/json");
        let answer = Box::pin(self.fetch(&request)).await?;
        let configuration: Option<Configuration> =
            answer.body.open().ok().and_then(|body| serde_json::from_reader(body).ok());
        let Some(Configuration { token_endpoint }) = configuration else {
            let reason = "its SMART configuration names no `token_endpoint`: set `auth.token_url`";
            return Err(self.refused(Stage::Login, reason));
        };
        match token_endpoint.parse::<Url>() {
            Ok(url) if same_origin(&url, self.base()) || self.trusts(&url) => Ok(token_endpoint),
            _ => Err(self.refused(
                Stage::Login,
                "its SMART configuration names a token endpoint on another host: set `auth.token_url` if that is right",
            )),
        }
    }
}

fn with_secret(secret: &SecretString, client_id: &str, scope: Option<&str>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("client_id", client_id).append_pair("client_secret", secret.expose_secret());
    if let Some(scope) = scope {
        form.append_pair("scope", scope);
    }
    form.finish()
}

/// A signed assertion (RFC 7523; SMART App Launch, backend services).
fn sign(
    client_id: &str,
    audience: &str,
    key_id: Option<&str>,
    algorithm: SigningAlgorithm,
    pem: &str,
) -> Result<String, &'static str> {
    const NO_KEY: &str = "the secret is not a private key (PEM) of the declared `auth.algorithm`";
    let random = SystemRandom::new();
    let name = match algorithm {
        SigningAlgorithm::RS384 => "RS384",
        SigningAlgorithm::ES384 => "ES384",
    };
    let mut header = json!({ "alg": name, "typ": "JWT" });
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": chrono::Utc::now().timestamp() + 240,
        "jti": uuid::Uuid::new_v4().to_string(),
    });
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NO_KEY)?;
    let signature = match (algorithm, &key) {
        (SigningAlgorithm::RS384, PrivateKeyDer::Pkcs8(_) | PrivateKeyDer::Pkcs1(_)) => {
            let pair = match &key {
                PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
                key => RsaKeyPair::from_pkcs8(key.secret_der()),
            };
            let pair = pair.map_err(|_| NO_KEY)?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA384, &random, signed.as_bytes(), &mut signature).map_err(|_| NO_KEY)?;
            signature
        }
        (SigningAlgorithm::ES384, PrivateKeyDer::Pkcs8(key)) => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.secret_pkcs8_der(), &random);
            let pair = pair.map_err(|_| NO_KEY)?;
            pair.sign(&random, signed.as_bytes()).map_err(|_| NO_KEY)?.as_ref().to_vec()
        }
        _ => {
            return Err(
                "the secret is a private key of another kind: give it as PKCS #8 (`openssl pkcs8 -topk8 -nocrypt`)",
            );
        }
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

use std::fmt;

use reqwest::{
    RequestBuilder,
    header::{HeaderName, HeaderValue},
};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::token::Tokens;
use crate::{Error, Secret, SecretWord, Secrets};

/// How a server knows who asks. The secret itself (password, token, client secret or private key) is the source's
/// password in the environment.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    #[default]
    None,
    /// User and password.
    Basic { user: String },
    /// `Authorization: Bearer`.
    Bearer {},
    /// The secret in a header of this name (`X-Api-Key`).
    Header { name: String },
    /// OAuth 2 client credentials: the secret buys a token.
    ClientCredentials {
        token_url: String,
        client_id: String,
        #[serde(default)]
        scope: Option<String>,
    },
    /// SMART backend services: a JWT, signed with the private key (PEM) that is the secret, buys a token.
    SmartBackend {
        client_id: String,
        /// Asked of the server (`.well-known/smart-configuration`) when absent.
        #[serde(default)]
        token_url: Option<String>,
        #[serde(default = "default_scope")]
        scope: String,
        /// `kid` of the key as it is registered.
        #[serde(default)]
        key_id: Option<String>,
        #[serde(default)]
        algorithm: SigningAlgorithm,
    },
}

fn default_scope() -> String {
    "system/*.read".to_owned()
}

/// How a client assertion is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    RS384,
    #[default]
    ES384,
}

/// Who asks, with the secret; prints nothing of it.
pub(crate) struct Credentials {
    pub(super) auth: Auth,
    /// Asked for at each request.
    pub(super) secret: Secret,
    pub(super) tokens: Tokens,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    /// The declared way, with the secret that it needs; asks for nothing yet.
    ///
    /// # Errors
    /// [`Error::Params`] for a header that is none.
    pub(crate) fn new(auth: Auth, kind: &str, source: &str, secrets: &Secrets) -> Result<Self, Error> {
        if let Auth::Header { name } = &auth
            && HeaderName::from_bytes(name.as_bytes()).is_err()
        {
            let reason = "`auth.name` is not the name of a header".to_owned();
            return Err(Error::Params { source_name: source.to_owned(), reason });
        }
        let word = match auth {
            Auth::SmartBackend { .. } => SecretWord::PrivateKey,
            _ => SecretWord::Password,
        };
        Ok(Self { auth, secret: secrets.named(word, kind, source), tokens: Tokens::default() })
    }

    /// The secret, where one is needed.
    ///
    /// # Errors
    /// As [`Secret::require`].
    pub(super) async fn ask(&self) -> Result<Option<SecretString>, Error> {
        match self.auth {
            Auth::None => Ok(None),
            _ => self.secret.require().await.map(Some),
        }
    }

    /// Puts the credentials on a request to an origin that may see them.
    pub(super) fn apply(&self, request: RequestBuilder, secret: &SecretString) -> RequestBuilder {
        match &self.auth {
            Auth::None => request,
            Auth::Basic { user } => request.basic_auth(user, Some(secret.expose_secret())),
            Auth::Header { name } => match HeaderValue::from_str(secret.expose_secret().trim_end()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    request.header(name.as_str(), value)
                }
                Err(_) => request,
            },
            Auth::Bearer {} | Auth::ClientCredentials { .. } | Auth::SmartBackend { .. } => {
                request.bearer_auth(secret.expose_secret().trim_end())
            }
        }
    }

    /// Whether a token has to be bought first.
    pub(super) fn buys_tokens(&self) -> bool {
        matches!(self.auth, Auth::ClientCredentials { .. } | Auth::SmartBackend { .. })
    }
}

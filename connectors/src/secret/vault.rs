//! Secrets in a KV version 2 store of Vault or OpenBao.
//!
//! A source's entry stands at `<mount>/<path>/<NAME>` and has a field per secret. Entries are remembered for a short while
//! (so that a thousand connections do not ask a thousand times), and asked for anew when a login is refused. The token is
//! renewed when half of its life is over; where it cannot be renewed any more, a new login is made (AppRole), or the file
//! that holds the token is read again (an agent may have written another one).

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::Url;
use vaultrs::{
    auth::approle,
    client::{VaultClient, VaultClientSettingsBuilder},
    error::ClientError,
};

use super::files;
use crate::{Error, Stage};

/// Requests to the store at once.
const AT_ONCE: usize = 16;
/// How soon a renewal that failed is tried again, and the longest pause between two looks at the token.
const SOON: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(600);

/// How the store is reached.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// `https://vault.example.org:8200`
    pub address: String,
    /// Where the KV version 2 engine is mounted.
    pub mount: String,
    /// Below the mount, without the source's name; may be empty.
    pub path: String,
    pub namespace: Option<String>,
    /// PEM file of the authorities that vouch for the store's certificate, besides the machine's.
    pub ca_cert: Option<PathBuf>,
    pub login: VaultLogin,
    /// How long an entry is remembered.
    pub cache: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// How this server shows who it is.
#[derive(Debug, Clone)]
pub enum VaultLogin {
    Token(SecretString),
    /// The file holds the token; read again when the token is refused.
    TokenFile(PathBuf),
    AppRole {
        /// Where the method is mounted.
        mount: String,
        role_id: String,
        secret_id: AppRoleSecret,
    },
}

/// The second half of an AppRole's login.
#[derive(Debug, Clone)]
pub enum AppRoleSecret {
    Given(SecretString),
    /// Read at each login.
    File(PathBuf),
}

/// A store; cheap to clone.
#[derive(Clone)]
pub(super) struct Vault {
    inner: Arc<Inner>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("address", &self.inner.options.address).finish_non_exhaustive()
    }
}

struct Inner {
    options: VaultOptions,
    session: tokio::sync::Mutex<Option<Session>>,
    entries: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Entry>>>>,
    requests: tokio::sync::Semaphore,
}

/// A login that was made.
#[derive(Clone)]
struct Session {
    client: Arc<VaultClient>,
    /// When it is to be renewed; `None`: it lasts for ever.
    renew: Option<Instant>,
    renewable: bool,
    /// Which login of this process it is.
    number: u64,
}

/// What is remembered of a source's entry.
#[derive(Default)]
struct Entry {
    read: Option<Instant>,
    /// `None`: there was no entry.
    fields: Option<HashMap<String, SecretString>>,
}

impl Vault {
    pub(super) fn new(options: VaultOptions) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Params { source_name: "secrets.vault".to_owned(), reason };
        let url: Url = options.address.parse().map_err(|error| refuse(format!("`address` is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.password().is_some() || !url.username().is_empty() {
            return Err(refuse("`address` must be http:// or https:// with a host and a port only".to_owned()));
        }
        if options.mount.trim_matches('/').is_empty() {
            return Err(refuse("`mount` is empty: name the KV version 2 engine".to_owned()));
        }
        let options = VaultOptions {
            address: url.as_str().trim_end_matches('/').to_owned(),
            mount: options.mount.trim_matches('/').to_owned(),
            path: options.path.trim_matches('/').to_owned(),
            ..options
        };
        // Both providers of rustls may be compiled in; an error says that one was chosen already.
        drop(rustls::crypto::ring::default_provider().install_default());
        // A certificate that cannot be read is told now, not at the first connection.
        client(&options, "").map_err(|error| refuse(told(&error)))?;
        let inner = Arc::new(Inner {
            options,
            session: tokio::sync::Mutex::new(None),
            entries: Mutex::new(HashMap::new()),
            requests: tokio::sync::Semaphore::new(AT_ONCE),
        });
        tokio::spawn(keep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    pub(super) fn address(&self) -> &str {
        &self.inner.options.address
    }

    /// The path as the store's own command line writes it.
    pub(super) fn shown_path(&self, name: &str) -> String {
        format!("{}/{}", self.inner.options.mount, self.inner.options.path_of(name))
    }

    /// The first of `fields` that the first of `entries` with one of them has. `anew`: as the store has it now.
    pub(super) async fn field(
        &self,
        entries: &[String],
        fields: &[String],
        anew: bool,
    ) -> Result<Option<SecretString>, Error> {
        let mut refused = None;
        for entry in entries {
            match self.entry(entry, fields, anew).await {
                Ok(Some(secret)) => return Ok(Some(secret)),
                Ok(None) => {}
                // The policy may cover one way of writing the name only.
                Err(error @ Error::Refused { .. }) => refused = Some(refused.unwrap_or(error)),
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    async fn entry(&self, name: &str, fields: &[String], anew: bool) -> Result<Option<SecretString>, Error> {
        let asked = Instant::now();
        let path = self.inner.options.path_of(name);
        let slot = {
            let mut entries = self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(path.clone()).or_default())
        };
        // Whoever asks for the same entry meanwhile waits for this answer.
        let mut slot = slot.lock().await;
        let fresh =
            slot.read.is_some_and(|read| if anew { read >= asked } else { read.elapsed() < self.inner.options.cache });
        if !fresh {
            slot.fields = self.inner.read(&path).await?;
            slot.read = Some(Instant::now());
        }
        let found = slot.fields.as_ref().and_then(|known| fields.iter().find_map(|field| known.get(field)));
        Ok(found.cloned())
    }
}

impl VaultOptions {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

impl Inner {
    /// An entry as the store has it.
    async fn read(&self, path: &str) -> Result<Option<HashMap<String, SecretString>>, Error> {
        let _turn = self.requests.acquire().await;
        let mut used = None;
        loop {
            let session = self.session(used).await?;
            let read: Result<Map<String, Value>, ClientError> =
                vaultrs::kv2::read(session.client.as_ref(), &self.options.mount, path).await;
            return match read {
                Ok(fields) => Ok(Some(fields.into_iter().filter_map(secret_field).collect())),
                Err(ClientError::APIError { code: 404, .. } | ClientError::ResponseDataEmptyError) => Ok(None),
                // A token that has run out is refused in the same words as a policy that lacks the right.
                Err(ClientError::APIError { code: 403, .. }) if used.is_none() => {
                    used = Some(session.number);
                    continue;
                }
                Err(ClientError::APIError { code: 403, .. }) => Err(self.refused(format!(
                    "this server's token may not read `{}/{path}`: give its policy `read` on `{}/data/{path}`",
                    self.options.mount, self.options.mount
                ))),
                Err(error) => Err(self.failed(&error)),
            };
        }
    }

    /// The login in use; another one than `refused`, where that is the number of one that was.
    async fn session(&self, refused: Option<u64>) -> Result<Session, Error> {
        let mut held = self.session.lock().await;
        let number = held.as_ref().map_or(0, |session| session.number);
        if let Some(session) = held.as_ref().filter(|session| Some(session.number) != refused) {
            let due = session.renew.is_some_and(|renew| renew <= Instant::now());
            if !due {
                return Ok(session.clone());
            }
            if session.renewable
                && let Ok(auth) = vaultrs::token::renew_self(session.client.as_ref(), None).await
            {
                let renewed =
                    Session { renew: half(auth.lease_duration), renewable: auth.renewable, ..session.clone() };
                *held = Some(renewed.clone());
                return Ok(renewed);
            }
        }
        let session = self.log_in(number + 1).await?;
        *held = Some(session.clone());
        Ok(session)
    }

    async fn log_in(&self, number: u64) -> Result<Session, Error> {
        let file = async |path: &PathBuf| {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || files::read(Some(&path), &[], "secrets.vault")).await;
            read.map_err(|_| self.refused("a file could not be read".to_owned()))??
                .ok_or_else(|| self.refused("the file with this server's credentials is empty".to_owned()))
        };
        let make = |token: &str| client(&self.options, token).map_err(|error| self.refused(told(&error)));
        let token = match &self.options.login {
            VaultLogin::Token(token) => token.clone(),
            VaultLogin::TokenFile(path) => file(path).await?,
            VaultLogin::AppRole { mount, role_id, secret_id } => {
                let secret_id = match secret_id {
                    AppRoleSecret::Given(secret) => secret.clone(),
                    AppRoleSecret::File(path) => file(path).await?,
                };
                let unnamed = make("")?;
                let auth = approle::login(&unnamed, mount, role_id, secret_id.expose_secret()).await;
                let auth = auth.map_err(|error| match error {
                    ClientError::APIError { code: 400 | 403, .. } => self.refused(
                        "the AppRole login was not accepted: check `role_id`, and whether the secret id has run out"
                            .to_owned(),
                    ),
                    error => self.failed(&error),
                })?;
                let client = Arc::new(make(&auth.client_token)?);
                tracing::info!(address = %self.options.address, "logged in to the store of secrets");
                return Ok(Session { client, renew: half(auth.lease_duration), renewable: auth.renewable, number });
            }
        };
        let client = Arc::new(make(token.expose_secret())?);
        match vaultrs::token::lookup_self(client.as_ref()).await {
            Ok(known) => {
                Ok(Session { client, renew: half(known.ttl), renewable: known.renewable.unwrap_or(false), number })
            }
            Err(ClientError::APIError { code: 403, .. }) => Err(self.refused(
                "this server's token is not accepted: it has run out or was revoked; give it a new one".to_owned(),
            )),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn refused(&self, reason: String) -> Error {
        Error::Refused { endpoint: self.options.address.clone(), stage: Stage::Secret, reason }
    }

    fn failed(&self, error: &ClientError) -> Error {
        let unreachable = |reason: &str| Error::Unreachable {
            endpoint: self.options.address.clone(),
            stage: Stage::Secret,
            reason: reason.to_owned(),
        };
        match error {
            ClientError::APIError { code: 503, .. } => {
                unreachable("the store of secrets is sealed or starting up; unseal it")
            }
            ClientError::APIError { code: code @ (429 | 500..=599), .. } => {
                unreachable(&format!("the store of secrets answered {code}"))
            }
            ClientError::APIError { code, .. } => self.refused(format!("the store of secrets answered {code}")),
            // The library's word for an answer that is none of the interface's.
            ClientError::RestClientError { source } if source.to_string().starts_with("Error parsing") => {
                self.refused("what answers there does not speak Vault's interface; check the address".to_owned())
            }
            ClientError::RestClientError { source: rustify_error } => unreachable(&format!(
                "the store of secrets does not answer ({}); check its address and whether it runs",
                rustify_error
            )),
            error => self.refused(told(error)),
        }
    }
}

/// Looks after the token for as long as somebody holds the store.
async fn keep(inner: Weak<Inner>) {
    let mut pause = SOON;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        let renew = inner.session.lock().await.as_ref().map(|session| session.renew);
        pause = match renew {
            // Nobody has asked for a secret yet.
            None => SOON,
            Some(None) => LATE,
            Some(Some(at)) if at > Instant::now() => (at - Instant::now()).min(LATE),
            Some(Some(_)) => {
                if let Err(error) = inner.session(None).await {
                    tracing::warn!(%error, "the token for the store of secrets could not be renewed; trying again");
                }
                SOON
            }
        };
    }
}

fn client(options: &VaultOptions, token: &str) -> Result<VaultClient, ClientError> {
    let settings = VaultClientSettingsBuilder::default()
        .address(&options.address)
        .ca_certs(options.ca_cert.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
        .identity(None)
        .timeout(Some(options.timeout))
        .token(token)
        .verify(true)
        .namespace(options.namespace.clone())
        .build()
        .map_err(|_| ClientError::InvalidUpdateParameter)?;
    VaultClient::new(settings)
}

/// Half of a life in seconds, from now; `None`: for ever.
fn half(seconds: u64) -> Option<Instant> {
    (seconds > 0).then(|| Instant::now() + Duration::from_millis(seconds.saturating_mul(500)))
}

/// A field of an entry under the name that it is looked for by; what is no text is none of ours.
fn secret_field((name, value): (String, Value)) -> Option<(String, SecretString)> {
    match value {
        Value::String(text) if !text.is_empty() => {
            Some((name.to_ascii_lowercase().replace('-', "_"), SecretString::from(text)))
        }
        _ => None,
    }
}

/// The library's words, which quote no answer.
fn told(error: &ClientError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

//! How Mavis proves to an SSH server who it is: a key file, keys of an agent, a password.

use std::{path::PathBuf, sync::Arc};

use russh::{
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, agent::client::AgentClient, decode_secret_key},
};
use secrecy::{ExposeSecret, SecretString};

use super::{params::SshHop, watcher::Watcher};
use crate::{Error, Secret, SecretWord, Secrets};

/// Rounds of questions that a server may ask one after the other.
const ROUNDS: usize = 8;

/// Secrets that a login may need; asked for when a connection is made.
#[derive(Debug, Clone)]
pub(super) struct Needs {
    source: String,
    password: Secret,
    passphrase: Secret,
    private_key: Secret,
}

/// What there is to log in with, tried in this order: private key, agent, password.
#[derive(Debug, Clone)]
pub(super) struct Login {
    user: String,
    key: Option<Key>,
    passphrase: Option<SecretString>,
    agent: Option<Agent>,
    password: Option<SecretString>,
    needs: Needs,
}

#[derive(Debug, Clone)]
enum Key {
    File(PathBuf),
    Secret(SecretString),
}

#[derive(Debug, Clone)]
enum Agent {
    /// The one of the environment.
    Environment,
    Socket(PathBuf),
}

/// Why nobody was let in. No text of the server is passed on.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Somebody has to change something.
    Denied(String),
    /// The connection broke meanwhile.
    Broken(String),
}

impl Needs {
    pub(super) fn of(source: &str, hop: &SshHop, secrets: &Secrets) -> Self {
        let named = |word| secrets.named(word, "ssh", hop.secret.as_deref().unwrap_or(source));
        Self {
            source: source.to_owned(),
            password: named(SecretWord::Password),
            passphrase: named(SecretWord::Passphrase),
            private_key: named(SecretWord::PrivateKey),
        }
    }

    /// The login as the secrets are now.
    ///
    /// # Errors
    /// [`Error::MissingSecret`] where there is nothing to log in with; those of the secrets' places.
    pub(super) async fn login(&self, hop: &SshHop) -> Result<Login, Error> {
        let key = match &hop.key_file {
            Some(path) => Some(Key::File(path.clone())),
            None => self.private_key.get().await?.map(Key::Secret),
        };
        let agent = match &hop.agent_socket {
            Some(path) => Some(Agent::Socket(path.clone())),
            None => hop.agent.then_some(Agent::Environment),
        };
        let passphrase = if key.is_some() { self.passphrase.get().await? } else { None };
        let password = self.password.get().await?;
        if key.is_none() && agent.is_none() && password.is_none() {
            let place =
                format!("{} for {}, or declare `key_file` or `agent` for it", self.password.place(), hop.label());
            return Err(Error::MissingSecret { source_name: self.source.clone(), place });
        }
        Ok(Login { user: hop.user.clone(), key, passphrase, agent, password, needs: self.clone() })
    }
}

impl Login {
    /// After it was refused: whether one of its secrets is another one by now.
    pub(super) async fn is_outdated(&self) -> Result<bool, Error> {
        let needs = &self.needs;
        let key = match &self.key {
            Some(Key::Secret(key)) => needs.private_key.renewed(Some(key)).await?.is_some(),
            Some(Key::File(_)) | None => false,
        };
        let password = match &self.password {
            Some(password) => needs.password.renewed(Some(password)).await?.is_some(),
            None => false,
        };
        Ok(key || password)
    }

    /// Everything that decides who this is, for telling sessions apart; the caller keeps no more than a digest of it.
    pub(super) fn identity(&self) -> SecretString {
        let shown = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let key = match &self.key {
            Some(Key::Secret(key)) => Some(key.expose_secret().to_owned()),
            Some(Key::File(path)) => Some(path.display().to_string()),
            None => None,
        };
        let parts = (&self.user, key, &self.agent, shown(&self.passphrase), shown(&self.password));
        SecretString::from(format!("{parts:?}"))
    }

    pub(super) async fn enter(&self, handle: &mut Handle<Watcher>) -> Result<(), Refusal> {
        let mut tried = Vec::new();
        if let Some(key) = &self.key {
            let place = self.place(key);
            let key = Arc::new(self.private_key(key, &place).await?);
            tried.push(format!("the key of {place}"));
            let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
            let answer = handle.authenticate_publickey(&self.user, PrivateKeyWithHashAlg::new(key, hash)).await;
            if answer.map_err(|error| broken(&error))?.success() {
                return Ok(());
            }
        }
        if let Some(agent) = self.agent.as_ref().filter(|_| !handle.is_closed()) {
            let (entered, keys) = self.enter_by_agent(agent, handle).await?;
            if entered {
                return Ok(());
            }
            tried.push(format!("the {keys} keys of the agent"));
        }
        if let Some(password) = self.password.as_ref().filter(|_| !handle.is_closed()) {
            tried.push(format!("the password of {}", self.needs.password.variable()));
            let answer = handle.authenticate_password(&self.user, password.expose_secret()).await;
            match answer.map_err(|error| broken(&error))? {
                AuthResult::Success => return Ok(()),
                // Servers that leave passwords to PAM ask for them as a question.
                AuthResult::Failure { .. } if !handle.is_closed() => {
                    if self.answer_questions(handle, password).await? {
                        return Ok(());
                    }
                }
                AuthResult::Failure { .. } => {}
            }
        }
        let closed = if handle.is_closed() { "; the server ended the connection then" } else { "" };
        Err(Refusal::Denied(format!(
            "user `{}` was not let in with {}{closed}; check the user, and that the server accepts it",
            self.user,
            tried.join(" nor with "),
        )))
    }

    /// Where a key is, in words.
    fn place(&self, key: &Key) -> String {
        match key {
            Key::File(path) => format!("the file `{}`", path.display()),
            Key::Secret(_) => format!("the secret {}", self.needs.private_key.variable()),
        }
    }

    async fn private_key(&self, key: &Key, place: &str) -> Result<PrivateKey, Refusal> {
        let text = match key {
            Key::Secret(text) => text.clone(),
            Key::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => SecretString::from(text),
                Err(error) => return Err(Refusal::Denied(format!("{place} cannot be read ({})", error.kind()))),
            },
        };
        let passphrase = self.passphrase.clone();
        // Deriving the key of an encrypted one takes a good part of a second.
        let decoded = tokio::task::spawn_blocking(move || {
            decode_secret_key(text.expose_secret(), passphrase.as_ref().map(ExposeSecret::expose_secret))
        });
        let Ok(decoded) = decoded.await else {
            return Err(Refusal::Denied(format!("{place} holds no private key that is understood")));
        };
        decoded.map_err(|error| {
            let passphrase = &self.needs.passphrase;
            Refusal::Denied(match error {
                russh::keys::Error::KeyIsEncrypted => {
                    format!("the key of {place} is encrypted: set {}", passphrase.place())
                }
                _ if self.passphrase.is_some() => {
                    format!("the key of {place} cannot be opened; check the passphrase of {}", passphrase.variable())
                }
                _ => format!("{place} holds no private key that is understood"),
            })
        })
    }

    /// Whether a key of the agent was let in, and how many it has.
    async fn enter_by_agent(&self, agent: &Agent, handle: &mut Handle<Watcher>) -> Result<(bool, usize), Refusal> {
        let no_agent = |_| {
            Refusal::Denied(
                "no SSH agent answers; start the server with SSH_AUTH_SOCK set, or declare `agent_socket` or `key_file`".to_owned(),
            )
        };
        let agent = match agent {
            Agent::Socket(path) => AgentClient::connect_uds(path).await,
            Agent::Environment => AgentClient::connect_env().await,
        };
        let mut agent = agent.map_err(no_agent)?;
        let identities = agent.request_identities().await.map_err(no_agent)?;
        for identity in &identities {
            let key = identity.public_key().into_owned();
            let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
            match handle.authenticate_publickey_with(&self.user, key, hash, &mut agent).await {
                Ok(answer) if answer.success() => return Ok((true, identities.len())),
                Ok(_) if handle.is_closed() => break,
                // An agent that does not sign with this key may sign with the next.
                Ok(_) | Err(_) => {}
            }
        }
        Ok((false, identities.len()))
    }

    /// Answers each question that hides its answer with the password.
    async fn answer_questions(&self, handle: &mut Handle<Watcher>, password: &SecretString) -> Result<bool, Refusal> {
        let mut answer = handle.authenticate_keyboard_interactive_start(&self.user, None).await;
        for _ in 0..ROUNDS {
            match answer {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(true),
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => {
                    let answers = prompts
                        .iter()
                        .map(|prompt| if prompt.echo { String::new() } else { password.expose_secret().to_owned() });
                    answer = handle.authenticate_keyboard_interactive_respond(answers.collect()).await;
                }
                // A server that ends the connection after too many failures has said no.
                Ok(KeyboardInteractiveAuthResponse::Failure { .. }) | Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// The hash that an RSA key is to sign with; servers of before 2016 know SHA-1 only.
async fn rsa_hash(handle: &Handle<Watcher>, is_rsa: bool) -> Result<Option<HashAlg>, Refusal> {
    if !is_rsa {
        return Ok(None);
    }
    let told = handle.best_supported_rsa_hash().await.map_err(|error| broken(&error))?;
    Ok(told.unwrap_or(Some(HashAlg::Sha256)))
}

fn broken(error: &russh::Error) -> Refusal {
    Refusal::Broken(format!("the connection broke while logging in ({error})"))
}

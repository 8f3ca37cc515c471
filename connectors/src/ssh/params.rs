use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// The way to a source's host through an SSH server, and through others before it where `via` names some.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshParams {
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    /// Private key (OpenSSH, PKCS#8 or PEM) on the machine of the Mavis server; without one, the secret
    /// `SSH_PRIVATE_KEY_<NAME>` may hold one. The passphrase of an encrypted one is the secret `SSH_PASSPHRASE_<NAME>`.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Use the keys of an agent: the one that `SSH_AUTH_SOCK` names where the server was started, or `agent_socket`.
    #[serde(default)]
    pub agent: bool,
    /// The socket of an agent; means `agent`.
    #[serde(default)]
    pub agent_socket: Option<PathBuf>,
    /// The name under which password, key and passphrase are kept (`SSH_PASSWORD_<THIS>`), so that many sources share one. The
    /// source's own name where nothing is said.
    #[serde(default)]
    pub secret: Option<String>,
    /// Fingerprints of the server's host key (`SHA256:...`, as `ssh-keygen -l` writes them); one of them must be there.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// A file of known host keys, in OpenSSH's form, on the machine of the Mavis server.
    #[serde(default)]
    pub known_hosts: Option<PathBuf>,
    /// Whether the key of a server that is not known yet is trusted and recorded. Default: only where neither
    /// `host_keys` nor `known_hosts` is declared.
    #[serde(default)]
    pub trust_on_first_use: Option<bool>,
    /// SSH servers to go through before, in this order: the first is reached from here.
    #[serde(default)]
    pub via: Vec<SshHop>,
    /// Seconds until an attempt to connect, or to log in, is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Seconds of silence (1 to 7,200) after which the server is asked for a sign of life; three without an answer end the session.
    #[serde(default = "default_keep_alive")]
    pub keep_alive_seconds: u64,
}

/// An SSH server on the way to another one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshHop {
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    /// As in the `ssh` block itself.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    #[serde(default)]
    pub agent: bool,
    #[serde(default)]
    pub agent_socket: Option<PathBuf>,
    /// The name under which password and passphrase are kept; the source's own name where nothing is said.
    #[serde(default)]
    pub secret: Option<String>,
    #[serde(default)]
    pub host_keys: Vec<String>,
    #[serde(default)]
    pub known_hosts: Option<PathBuf>,
    #[serde(default)]
    pub trust_on_first_use: Option<bool>,
}

fn default_port() -> u16 {
    22
}

fn default_connect_timeout() -> u64 {
    10
}

fn default_keep_alive() -> u64 {
    15
}

impl SshParams {
    /// All servers of the way, the nearest first.
    pub(super) fn hops(&self) -> Vec<SshHop> {
        let last = SshHop {
            host: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            key_file: self.key_file.clone(),
            agent: self.agent,
            agent_socket: self.agent_socket.clone(),
            secret: self.secret.clone(),
            host_keys: self.host_keys.clone(),
            known_hosts: self.known_hosts.clone(),
            trust_on_first_use: self.trust_on_first_use,
        };
        self.via.iter().cloned().chain([last]).collect()
    }
}

impl SshHop {
    /// `user@host:port`, as messages call the server.
    pub(super) fn label(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }
}

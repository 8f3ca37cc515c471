use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use mavis_connectors::{AppRoleSecret, Secrets, VaultLogin, VaultOptions};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Where the passwords and keys of sources are, besides the environment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsConfig {
    /// Folder with one file per variable (`POSTGRES_PASSWORD_HMS`), as Kubernetes mounts a Secret. Default: none; systemd's
    /// folder of credentials is found by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    pub vault: VaultConfig,
}

/// A KV version 2 store of Vault or OpenBao.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://vault.example.org:8200`. Default: none, no store is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where the engine is mounted. Default: `secret`.
    pub mount: String,
    /// Below the mount: entries are `<mount>/<path>/<NAME>`. Default: `datalake`.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// PEM file of the authorities that vouch for the store, besides the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// The token, best given as MAVIS_SECRETS__VAULT__TOKEN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// File with the token, read again when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Role of an AppRole login, in the place of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Its secret id, best given as MAVIS_SECRETS__VAULT__SECRET_ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<Secret>,
    /// File with the secret id, read at each login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id_file: Option<PathBuf>,
    /// Where the AppRole method is mounted. Default: `approle`.
    pub approle_mount: String,
    /// How long an entry is remembered, in seconds; a login that is refused asks anew at once. Default: 30.
    pub cache_seconds: u64,
    /// How long an answer is waited for, in seconds. Default: 10.
    pub timeout_seconds: u64,
}

impl Default for VaultConfig {
    fn default() -> Self {
        Self {
            address: None,
            mount: "secret".to_owned(),
            path: "datalake".to_owned(),
            namespace: None,
            ca_cert: None,
            token: None,
            token_file: None,
            role_id: None,
            secret_id: None,
            secret_id_file: None,
            approle_mount: "approle".to_owned(),
            cache_seconds: 30,
            timeout_seconds: 10,
        }
    }
}

impl SecretsConfig {
    /// The secrets with what is configured.
    ///
    /// # Errors
    /// What is missing or contradicts itself; never a secret.
    pub(crate) fn complete(&self, mut secrets: Secrets) -> anyhow::Result<Secrets> {
        if let Some(folder) = &self.folder {
            if !folder.is_dir() {
                bail!("secrets.folder {} is not a folder: mount the secrets there, or leave it out", folder.display());
            }
            secrets = secrets.with_folder(folder);
        }
        match self.vault.options()? {
            Some(options) => Ok(secrets.with_vault(options)?),
            None => Ok(secrets),
        }
    }
}

impl VaultConfig {
    fn options(&self) -> anyhow::Result<Option<VaultOptions>> {
        let Some(address) = &self.address else { return Ok(None) };
        let text = |secret: &Secret| SecretString::from(secret.expose().to_owned());
        let secret_id = match (&self.secret_id, &self.secret_id_file) {
            (Some(given), None) => Some(AppRoleSecret::Given(text(given))),
            (None, Some(file)) => Some(AppRoleSecret::File(file.clone())),
            (None, None) => None,
            (Some(_), Some(_)) => bail!("secrets.vault: give `secret_id` or `secret_id_file`, not both"),
        };
        let login = match (&self.token, &self.token_file, &self.role_id) {
            (Some(token), None, None) => VaultLogin::Token(text(token)),
            (None, Some(file), None) => VaultLogin::TokenFile(file.clone()),
            (None, None, Some(role_id)) => match secret_id {
                Some(secret_id) => {
                    VaultLogin::AppRole { mount: self.approle_mount.clone(), role_id: role_id.clone(), secret_id }
                }
                None => bail!("secrets.vault: `role_id` needs `secret_id_file` or MAVIS_SECRETS__VAULT__SECRET_ID"),
            },
            (None, None, None) => bail!(
                "secrets.vault.address is set, and nothing to log in with: give `token_file`, `role_id` with \
                 `secret_id_file`, or MAVIS_SECRETS__VAULT__TOKEN"
            ),
            _ => bail!("secrets.vault: give one of `token`, `token_file` and `role_id`"),
        };
        Ok(Some(VaultOptions {
            address: address.clone(),
            mount: self.mount.clone(),
            path: self.path.clone(),
            namespace: self.namespace.clone(),
            ca_cert: self.ca_cert.clone(),
            login,
            cache: Duration::from_secs(self.cache_seconds),
            timeout: Duration::from_secs(self.timeout_seconds.max(1)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "nothing to log in with")]
    #[case("role_id = 'r'", "secret_id_file")]
    #[case("token = 'canary'\ntoken_file = 'f'", "one of")]
    #[case("role_id = 'r'\nsecret_id = 'canary'\nsecret_id_file = 'f'", "not both")]
    fn what_cannot_log_in_is_refused_without_its_secrets(#[case] text: &str, #[case] says: &str) {
        let config: VaultConfig = toml::from_str(&format!("address = 'http://127.0.0.1:1'\n{text}")).unwrap();
        let error = config.options().unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("canary"), "{error}");
        assert!(!format!("{config:?} {}", toml::to_string(&config).unwrap()).contains("canary"));
    }
}

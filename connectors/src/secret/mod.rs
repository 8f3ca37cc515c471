//! Where connectors get their secrets, and when: at each connection, never before.
//!
//! A secret is asked for by what it is (a [`SecretWord`]), the kind of the other side (`postgres`, `ssh`) and the source's
//! name. Looked for are, in this order: a variable of the environment ([`Secrets::variable`]), a file that the variable
//! `<VARIABLE>_FILE` names, a file of that name in one of the folders (as Kubernetes and systemd mount them), and a KV
//! version 2 store of Vault or OpenBao. What is in files and in the store may change while the server runs.
//!
//! No secret is printed: not by `Debug`, not in an error, not in a log line.

mod files;
mod vault;

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

pub use vault::{AppRoleSecret, VaultLogin, VaultOptions};

use crate::Error;
use vault::Vault;

/// Where the secrets of all sources are; cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    inner: Arc<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    variables: HashMap<String, SecretString>,
    /// Files by variable: of `X_FILE`, under `X`.
    files: HashMap<String, PathBuf>,
    folders: Vec<PathBuf>,
    vault: Option<Vault>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretWord {
    /// What a user logs in with.
    Password,
    /// What opens an encrypted key.
    Passphrase,
    /// A key, as PEM text.
    PrivateKey,
    /// What an HTTP service is shown.
    Token,
    /// Keys of object stores: S3's id, secret and session token, Azure's key, Google's key of a service account (JSON).
    AccessKeyId,
    SecretAccessKey,
    SessionToken,
    AccountKey,
    ServiceAccountKey,
}

impl SecretWord {
    const ALL: [Self; 9] = [
        Self::Password,
        Self::Passphrase,
        Self::PrivateKey,
        Self::Token,
        Self::AccessKeyId,
        Self::SecretAccessKey,
        Self::SessionToken,
        Self::AccountKey,
        Self::ServiceAccountKey,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "PASSWORD",
            Self::Passphrase => "PASSPHRASE",
            Self::PrivateKey => "PRIVATE_KEY",
            Self::Token => "TOKEN",
            Self::AccessKeyId => "ACCESS_KEY_ID",
            Self::SecretAccessKey => "SECRET_ACCESS_KEY",
            Self::SessionToken => "SESSION_TOKEN",
            Self::AccountKey => "ACCOUNT_KEY",
            Self::ServiceAccountKey => "SERVICE_ACCOUNT_KEY",
        }
    }
}

impl Secrets {
    /// The variables of the environment that are named as secrets are (`..._PASSWORD_...`, with or without `_FILE` at the
    /// end), those that object stores know (`AWS_...`, `AZURE_...`, `GOOGLE_...`), and systemd's folder of credentials.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut inner = Inner::default();
        for (name, value) in std::env::vars_os() {
            if name == "CREDENTIALS_DIRECTORY" {
                inner.folders.push(PathBuf::from(&value));
            }
            let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else { continue };
            inner.take(name, value);
        }
        Self { inner: Arc::new(inner) }
    }

    /// Secrets given by hand, for tests: variables as the environment has them.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut inner = Inner::default();
        for (name, value) in pairs {
            inner.take(name.to_owned(), value.to_owned());
        }
        Self { inner: Arc::new(inner) }
    }

    /// These secrets, and those of a folder with one file per variable. Asked after the folders that are there.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        Arc::make_mut(&mut self.inner).folders.push(folder.into());
        self
    }

    /// These secrets, and those of a store, which is asked last. Opens no connection; the token is renewed in the background
    /// for as long as these secrets are held. Must be called within a runtime.
    ///
    /// # Errors
    /// [`Error::Params`] where the options cannot work: an address that is none, a certificate that cannot be read.
    pub fn with_vault(mut self, options: VaultOptions) -> Result<Self, Error> {
        let vault = Vault::new(options)?;
        Arc::make_mut(&mut self.inner).vault = Some(vault);
        Ok(self)
    }

    /// The variable with the password of `kind` for the source `name`: `<KIND>_PASSWORD_<NAME>`, kind and name upper-cased,
    /// every other character `_` (`POSTGRES_PASSWORD_NEW_DB`, `SSH_PASSWORD_NEW_DB`).
    #[must_use]
    pub fn variable(kind: &str, name: &str) -> String {
        variable(SecretWord::Password, kind, name)
    }

    /// The password of `kind` for the source `name`, to be asked for when a connection is made.
    #[must_use]
    pub fn of(&self, kind: &str, name: &str) -> Secret {
        self.named(SecretWord::Password, kind, name)
    }

    /// A secret of `kind` for the source `name`, to be asked for when a connection is made.
    #[must_use]
    pub fn named(&self, word: SecretWord, kind: &str, name: &str) -> Secret {
        Secret { secrets: self.clone(), word, kind: kind.to_owned(), name: name.to_owned() }
    }

    /// The folders and files that secrets are read from.
    #[must_use]
    pub fn places(&self) -> Vec<PathBuf> {
        self.inner.folders.iter().chain(self.inner.files.values()).cloned().collect()
    }

    /// What needs no waiting: the environment and files.
    pub(crate) fn at_hand(&self, kind: &str, name: &str) -> Result<Option<SecretString>, Error> {
        let variable = Self::variable(kind, name);
        match self.inner.variables.get(&variable) {
            Some(secret) => Ok(Some(secret.clone())),
            None => files::read(self.inner.files.get(&variable), &self.inner.folders, &variable),
        }
    }

    /// Settings and keys of object stores, as their variables are called in lower case (`aws_access_key_id`, ...).
    pub(crate) fn store_options(&self) -> impl Iterator<Item = (String, &SecretString)> {
        self.inner
            .variables
            .iter()
            .filter(|(name, _)| is_store_variable(name))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
    }
}

impl Inner {
    /// Takes a variable in, where it is one of ours. An empty one counts as absent.
    fn take(&mut self, name: String, value: String) {
        if value.is_empty() || !(is_secret_variable(&name) || is_store_variable(&name)) {
            return;
        }
        match name.strip_suffix("_FILE").filter(|_| is_secret_variable(&name)) {
            Some(variable) => {
                self.files.insert(variable.to_owned(), PathBuf::from(value));
            }
            None => {
                self.variables.insert(name, SecretString::from(value));
            }
        }
    }
}

/// A secret that a source needs. Holds no value: it is asked for at each connection, so that one that was changed is taken
/// up without a restart.
#[derive(Clone)]
pub struct Secret {
    secrets: Secrets,
    word: SecretWord,
    kind: String,
    name: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.variable())
    }
}

impl Secret {
    /// The variable that may hold it.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.word, &self.kind, &self.name)
    }

    /// Where it is looked for, in words that fit after "set".
    #[must_use]
    pub fn place(&self) -> String {
        let variable = self.variable();
        match &self.secrets.inner.vault {
            None => format!("the environment variable {variable}"),
            Some(vault) => format!(
                "the environment variable {variable}, or `{}` of `{}` in {}",
                self.fields()[0],
                vault.shown_path(&upper(&self.name)),
                vault.address(),
            ),
        }
    }

    /// The secret as it is now; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read, a store that does not answer or refuses ([`Error::Unreachable`], [`Error::Refused`] with
    /// [`crate::Stage::Secret`]).
    pub async fn get(&self) -> Result<Option<SecretString>, Error> {
        self.ask(false).await
    }

    /// The secret as it is now.
    ///
    /// # Errors
    /// As [`Secret::get`], and [`Error::MissingSecret`].
    pub async fn require(&self) -> Result<SecretString, Error> {
        self.get().await?.ok_or_else(|| self.missing())
    }

    /// After the other side refused `old`: the secret asked for anew, past what is remembered; `None` where it is still
    /// `old`, so that trying again would not help.
    ///
    /// # Errors
    /// As [`Secret::get`].
    pub async fn renewed(&self, old: Option<&SecretString>) -> Result<Option<SecretString>, Error> {
        let now = self.ask(true).await?;
        let same = now.as_ref().map(ExposeSecret::expose_secret) == old.map(ExposeSecret::expose_secret);
        Ok(now.filter(|_| !same))
    }

    /// The error of a source that cannot do without it.
    #[must_use]
    pub fn missing(&self) -> Error {
        Error::MissingSecret { source_name: self.name.clone(), place: self.place() }
    }

    async fn ask(&self, anew: bool) -> Result<Option<SecretString>, Error> {
        let inner = &self.secrets.inner;
        let variable = self.variable();
        if let Some(secret) = inner.variables.get(&variable) {
            return Ok(Some(secret.clone()));
        }
        let (file, folders) = (inner.files.get(&variable).cloned(), inner.folders.clone());
        if file.is_some() || !folders.is_empty() {
            let read = tokio::task::spawn_blocking(move || files::read(file.as_ref(), &folders, &variable));
            let read = read.await.map_err(|_| files::unreadable("the folder of secrets", "reading it broke off"))?;
            if let Some(secret) = read? {
                return Ok(Some(secret));
            }
        }
        let Some(vault) = &inner.vault else { return Ok(None) };
        let mut entries = vec![upper(&self.name)];
        if !entries.contains(&self.name) {
            entries.push(self.name.clone());
        }
        vault.field(&entries, &self.fields(), anew).await
    }

    /// What the secret may be called among the fields of the source's entry: `postgres_password`, then `password`. What is
    /// for the tunnel is never taken for the database, nor the other way round.
    fn fields(&self) -> Vec<String> {
        let word = self.word.as_str().to_ascii_lowercase();
        let full = format!("{}_{word}", upper(&self.kind).to_ascii_lowercase());
        match self.kind.as_str() {
            kind if kind.starts_with("ssh") => vec![full],
            // As everybody else calls them, too.
            "s3" => vec![full, format!("aws_{word}"), word],
            _ => vec![full, word],
        }
    }
}

fn upper(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    // A source name that starts with a digit is kept with a `_` before it, which nobody writes.
    text.strip_prefix('_').unwrap_or(&text).to_owned()
}

fn variable(word: SecretWord, kind: &str, name: &str) -> String {
    format!("{}_{}_{}", upper(kind), word.as_str(), upper(name))
}

fn is_secret_variable(name: &str) -> bool {
    SecretWord::ALL.iter().any(|word| name.contains(&format!("_{}_", word.as_str())))
        && !name.starts_with("MAVIS_")
        && !["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix) && !name.contains("_PASSWORD_"))
}

fn is_store_variable(name: &str) -> bool {
    !name.contains("_PASSWORD_") && ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres", "NEW_DB", "POSTGRES_PASSWORD_NEW_DB")]
    #[case("ssh", "new_db", "SSH_PASSWORD_NEW_DB")]
    #[case("postgres", "clinic-2.north", "POSTGRES_PASSWORD_CLINIC_2_NORTH")]
    #[case("mysql", "_2nd", "MYSQL_PASSWORD_2ND")]
    fn the_variable_is_the_kind_and_the_name_in_upper_case(
        #[case] kind: &str,
        #[case] name: &str,
        #[case] variable: &str,
    ) {
        assert_eq!(Secrets::variable(kind, name), variable);
    }

    #[tokio::test]
    async fn a_password_is_found_by_kind_and_name_and_never_printed() {
        let secrets = Secrets::from_pairs([("POSTGRES_PASSWORD_NEW_DB", "tiger"), ("SSH_PASSWORD_NEW_DB", "")]);
        let secret = secrets.of("postgres", "new_db");
        assert_eq!(secret.get().await.unwrap().unwrap().expose_secret(), "tiger");
        assert!(secrets.of("ssh", "new_db").get().await.unwrap().is_none());
        let missing = secrets.of("ssh", "new_db").require().await.unwrap_err().to_string();
        assert!(missing.contains("SSH_PASSWORD_NEW_DB"), "{missing}");
        assert!(!format!("{secrets:?} {secret:?} {:?}", secret.get().await).contains("tiger"));
    }

    #[tokio::test]
    async fn words_are_told_apart() {
        let secrets =
            Secrets::from_pairs([("SSH_PASSPHRASE_A", "p"), ("SSH_PRIVATE_KEY_A", "k"), ("HTTP_TOKEN_A", "t")]);
        for (word, kind, value) in [
            (SecretWord::Passphrase, "ssh", Some("p")),
            (SecretWord::PrivateKey, "ssh", Some("k")),
            (SecretWord::Token, "http", Some("t")),
            (SecretWord::Password, "ssh", None),
        ] {
            let found = secrets.named(word, kind, "a").get().await.unwrap();
            assert_eq!(found.as_ref().map(ExposeSecret::expose_secret), value, "{word:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_each_time_and_the_environment_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("named");
        std::fs::write(&named, "one\n").unwrap();
        std::fs::write(folder.path().join("POSTGRES_PASSWORD_B"), "two\r\n").unwrap();
        std::fs::write(folder.path().join("POSTGRES_PASSWORD_C"), "three").unwrap();
        let secrets = Secrets::from_pairs([
            ("POSTGRES_PASSWORD_A_FILE", named.to_str().unwrap()),
            ("POSTGRES_PASSWORD_C", "from the environment"),
        ])
        .with_folder(folder.path());
        let (a, b, c) = (secrets.of("postgres", "a"), secrets.of("postgres", "b"), secrets.of("postgres", "c"));
        let text = async |secret: &Secret| secret.get().await.unwrap().unwrap().expose_secret().to_owned();
        assert_eq!((text(&a).await, text(&b).await), ("one".to_owned(), "two".to_owned()));
        assert_eq!(text(&c).await, "from the environment");
        let old = b.get().await.unwrap();
        assert!(b.renewed(old.as_ref()).await.unwrap().is_none());
        std::fs::write(folder.path().join("POSTGRES_PASSWORD_B"), "rotated").unwrap();
        assert_eq!(b.renewed(old.as_ref()).await.unwrap().unwrap().expose_secret(), "rotated");
        assert!(secrets.of("postgres", "d").get().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_named_and_is_not_there_is_an_error_without_its_content() {
        let secrets = Secrets::from_pairs([("POSTGRES_PASSWORD_A_FILE", "/nowhere/secret")]);
        let error = secrets.of("postgres", "a").get().await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/secret"), "{error}");
    }
}

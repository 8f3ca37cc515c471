//! Keys of object stores: asked for when a request is signed, so that one that was rotated is used without a restart.
//!
//! They are secrets like passwords: of the source, from the environment, a file, a folder or a store of secrets. Where a source has
//! none of its own, what the variables of the store say (`AWS_...`) is used, and what the machine's role gives.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use object_store::{
    CredentialProvider, ObjectStore, ObjectStoreScheme, Result as StoreResult,
    aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider},
    azure::{AzureAccessKey, AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder},
    gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder},
    parse_url_opts,
    path::Path,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use url::Url;

use crate::{Error, Secret, SecretWord, Secrets};

/// How long an answer is used: a reading makes thousands of requests.
const USED_FOR: Duration = Duration::from_secs(10);

/// The keys of one source for one kind of store.
pub(crate) struct Keys {
    id: Option<Secret>,
    /// Whichever there is first.
    secret: Vec<Secret>,
    token: Option<Secret>,
    state: Mutex<Option<(Instant, Found)>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.secret).finish()
    }
}

#[derive(Clone, Default)]
struct Found {
    id: Option<SecretString>,
    secret: Option<SecretString>,
    token: Option<SecretString>,
}

impl Found {
    fn same(&self, other: &Self) -> bool {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        text(&self.id) == text(&other.id)
            && text(&self.secret) == text(&other.secret)
            && text(&self.token) == text(&other.token)
    }
}

impl Keys {
    fn of_s3(secrets: &Secrets, kind: &str, source: &str) -> Self {
        let of = |word| secrets.named(word, "s3", source);
        Self {
            id: Some(of(SecretWord::AccessKeyId)),
            secret: vec![of(SecretWord::SecretAccessKey), secrets.of(kind, source)],
            token: Some(of(SecretWord::SessionToken)),
            state: Mutex::default(),
        }
    }

    fn of_one(word: SecretWord, store: &str, secrets: &Secrets, kind: &str, source: &str) -> Self {
        let secret = vec![secrets.named(word, store, source), secrets.of(kind, source)];
        Self { id: None, secret, token: None, state: Mutex::default() }
    }

    async fn ask(&self, anew: bool) -> Result<Found, Error> {
        let ask = async |secret: &Secret| if anew { secret.renewed(None).await } else { secret.get().await };
        let mut found = Found::default();
        for secret in &self.secret {
            found.secret = ask(secret).await?;
            if found.secret.is_some() {
                break;
            }
        }
        // Without the secret the others say nothing.
        if found.secret.is_some() {
            for (secret, into) in [(&self.id, &mut found.id), (&self.token, &mut found.token)] {
                if let Some(secret) = secret {
                    *into = ask(secret).await?;
                }
            }
        }
        Ok(found)
    }

    async fn found(&self) -> StoreResult<Found> {
        let mut state = self.state.lock().await;
        if let Some((at, found)) = state.as_ref()
            && at.elapsed() < USED_FOR
        {
            return Ok(found.clone());
        }
        let found = self.ask(false).await.map_err(asking)?;
        *state = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    fn missing(&self, source: &str) -> Error {
        let places: Vec<String> = self.secret.iter().map(Secret::place).collect();
        Error::MissingSecret { source_name: source.to_owned(), place: places.join(", or ") }
    }

    /// After the store refused what was used: asks anew, past what is remembered. Whether there is another one now.
    pub(crate) async fn renew(&self) -> Result<bool, Error> {
        let mut state = self.state.lock().await;
        let found = self.ask(true).await?;
        let is_other = state.as_ref().is_none_or(|(_, before)| !before.same(&found));
        *state = Some((Instant::now(), found));
        Ok(is_other)
    }
}

/// An error of a store of secrets, among those of object stores.
fn asking(error: Error) -> object_store::Error {
    object_store::Error::Generic { store: "keys", source: Box::new(error) }
}

/// What an object store says where its keys could not be asked for.
pub(super) fn asked(error: &object_store::Error) -> Option<Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<Error>() {
            Some(Error::Unreachable { endpoint, stage, reason }) => {
                return Some(Error::Unreachable { endpoint: endpoint.clone(), stage: *stage, reason: reason.clone() });
            }
            Some(Error::Refused { endpoint, stage, reason }) => {
                return Some(Error::Refused { endpoint: endpoint.clone(), stage: *stage, reason: reason.clone() });
            }
            Some(Error::MissingSecret { source_name, place }) => {
                return Some(Error::MissingSecret { source_name: source_name.clone(), place: place.clone() });
            }
            _ => {}
        }
        next = error.source();
    }
    None
}

#[derive(Debug)]
struct S3Keys {
    keys: Arc<Keys>,
    source: String,
    /// What is declared, or in the environment.
    id: Option<String>,
    /// Where no key is declared either.
    fallback: Option<AwsCredentialProvider>,
}

#[async_trait]
impl CredentialProvider for S3Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> StoreResult<Arc<AwsCredential>> {
        let found = self.keys.found().await?;
        let Some(secret) = found.secret else {
            return match &self.fallback {
                Some(fallback) => fallback.get_credential().await,
                None => Err(asking(self.keys.missing(&self.source))),
            };
        };
        let id = found.id.map(|id| id.expose_secret().to_owned()).or_else(|| self.id.clone());
        let Some(key_id) = id else {
            return Err(asking(Error::MissingSecret {
                source_name: self.source.clone(),
                place: "`storage.aws_access_key_id`, or where its secret access key is, `s3_access_key_id`".to_owned(),
            }));
        };
        let token = found.token.map(|token| token.expose_secret().to_owned());
        Ok(Arc::new(AwsCredential { key_id, secret_key: secret.expose_secret().to_owned(), token }))
    }
}

#[derive(Debug)]
struct AzureKeys {
    keys: Arc<Keys>,
    fallback: AzureCredentialProvider,
}

#[async_trait]
impl CredentialProvider for AzureKeys {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> StoreResult<Arc<AzureCredential>> {
        match self.keys.found().await?.secret {
            None => self.fallback.get_credential().await,
            Some(secret) => {
                let key =
                    AzureAccessKey::try_new(secret.expose_secret()).map_err(|_| bad("no key of a storage account"))?;
                Ok(Arc::new(AzureCredential::AccessKey(key)))
            }
        }
    }
}

fn bad(what: &str) -> object_store::Error {
    object_store::Error::Generic { store: "keys", source: format!("what stands in the secret is {what}").into() }
}

#[derive(Debug)]
struct GoogleKeys {
    keys: Arc<Keys>,
    fallback: GcpCredentialProvider,
    /// What gives tokens for a key, which is remembered beside it.
    made: Mutex<Option<(String, GcpCredentialProvider)>>,
}

#[async_trait]
impl CredentialProvider for GoogleKeys {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> StoreResult<Arc<GcpCredential>> {
        let Some(secret) = self.keys.found().await?.secret else { return self.fallback.get_credential().await };
        let mut made = self.made.lock().await;
        let provider = match made.as_ref() {
            Some((key, provider)) if key == secret.expose_secret() => Arc::clone(provider),
            _ => {
                let builder = GoogleCloudStorageBuilder::new().with_bucket_name("any");
                let store = builder.with_service_account_key(secret.expose_secret()).build();
                let store = store.map_err(|_| bad("no key of a service account"))?;
                let provider = Arc::clone(store.credentials());
                *made = Some((secret.expose_secret().to_owned(), Arc::clone(&provider)));
                provider
            }
        };
        drop(made);
        provider.get_credential().await
    }
}

/// A store, the path in it, and the keys that it is asked with.
pub(super) type Opened = (Arc<dyn ObjectStore>, Path, Option<Arc<Keys>>);

/// The store of a URL. `options`: what is declared, and what the environment says; nothing is asked for yet.
pub(super) fn open(
    url: &Url,
    options: BTreeMap<String, String>,
    (secrets, kind, source): (&Secrets, &str, &str),
) -> Result<Opened, String> {
    let failed = |error: object_store::Error| format!("`path` or `storage`: {error}");
    let (scheme, path) = ObjectStoreScheme::parse(url).map_err(|error| failed(error.into()))?;
    // Options that a store does not know are another store's.
    macro_rules! with_options {
        ($builder:expr) => {
            options.iter().fold($builder.with_url(url.as_str()), |builder, (key, value)| match key.parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            })
        };
    }
    match (url.scheme(), scheme) {
        ("s3" | "s3a", ObjectStoreScheme::AmazonS3) => {
            let builder = with_options!(AmazonS3Builder::new());
            let keys = Arc::new(Keys::of_s3(secrets, kind, source));
            let of = |names: &[&str]| names.iter().find_map(|name| options.get(*name).cloned());
            let id = of(&["aws_access_key_id", "access_key_id"]);
            // An id without its secret is no key: the secret is the source's.
            let is_half = id.is_some() && of(&["aws_secret_access_key", "secret_access_key"]).is_none();
            let fallback = match is_half {
                true => None,
                false => Some(Arc::clone(builder.clone().build().map_err(failed)?.credentials())),
            };
            let provider = S3Keys { keys: Arc::clone(&keys), source: source.to_owned(), id, fallback };
            let store = builder.with_credentials(Arc::new(provider)).build().map_err(failed)?;
            Ok((Arc::new(store), path, Some(keys)))
        }
        ("az" | "adl" | "azure" | "abfs" | "abfss", ObjectStoreScheme::MicrosoftAzure) => {
            let builder = with_options!(MicrosoftAzureBuilder::new());
            let keys = Arc::new(Keys::of_one(SecretWord::AccountKey, "az", secrets, kind, source));
            let plain = builder.clone().build().map_err(failed)?;
            let provider = AzureKeys { keys: Arc::clone(&keys), fallback: Arc::clone(plain.credentials()) };
            let store = builder.with_credentials(Arc::new(provider)).build().map_err(failed)?;
            Ok((Arc::new(store), path, Some(keys)))
        }
        ("gs", ObjectStoreScheme::GoogleCloudStorage) => {
            let builder = with_options!(GoogleCloudStorageBuilder::new());
            let keys = Arc::new(Keys::of_one(SecretWord::ServiceAccountKey, "gs", secrets, kind, source));
            let plain = builder.clone().build().map_err(failed)?;
            let fallback = Arc::clone(plain.credentials());
            let provider = GoogleKeys { keys: Arc::clone(&keys), fallback, made: Mutex::default() };
            let store = builder.with_credentials(Arc::new(provider)).build().map_err(failed)?;
            Ok((Arc::new(store), path, Some(keys)))
        }
        _ => {
            let (store, path) = parse_url_opts(url, options).map_err(failed)?;
            Ok((Arc::from(store), path, None))
        }
    }
}

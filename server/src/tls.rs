//! The certificate of the doors, read again when its files change.
//!
//! Connections that are open go on with the certificate that they began with; the next one gets the new. Files that do not
//! fit together (a certificate was written and its key not yet) leave the old ones in use until they do.
//!
//! A client's certificate is asked for where `tls.client_ca` is set. It opens the connection and nothing more: who asks is
//! told by the token all the same.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tracing::{info, warn};

use crate::config::{ClientCertificates, TlsConfig};

/// Pause between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// What is spoken inside: told to clients in the handshake (RFC 7301), which break off where it is not what they speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Http,
    Grpc,
    Postgres,
}

impl Inside {
    const ALL: [Self; 3] = [Self::Http, Self::Grpc, Self::Postgres];

    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Grpc => vec![b"h2".to_vec()],
            Self::Postgres => vec![b"postgresql".to_vec()],
        }
    }
}

/// The certificate in use. Cheap to clone; all doors share it.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: Files,
    current: RwLock<[Arc<ServerConfig>; 3]>,
    /// Of the contents that were read last, good or not.
    seen: Mutex<[u8; 32]>,
}

#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_certificates: ClientCertificates,
}

struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// The certificate, where one is configured; its files are watched from now on.
    ///
    /// # Errors
    /// When only one of the two files is named, or one cannot be read or used.
    pub(crate) fn load(config: &TlsConfig) -> anyhow::Result<Option<Self>> {
        let (cert, key) = match (&config.cert, &config.key) {
            (None, None) if config.client_ca.is_some() => {
                bail!("tls.client_ca asks clients for certificates, which needs tls.cert and tls.key")
            }
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ => bail!("tls.cert and tls.key belong together: set both or neither"),
        };
        let (client_ca, client_certificates) = (config.client_ca.clone(), config.client_certificates);
        let files = Files { cert, key, client_ca, client_certificates };
        let contents = files.read()?;
        let current = RwLock::new(files.configs(&contents)?);
        let tls = Self(Arc::new(Shared { files, current, seen: Mutex::new(contents.digest()) }));
        let weak = Arc::downgrade(&tls.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(shared) = weak.upgrade() else { return };
                // A share of the network may take its time to answer.
                if tokio::task::spawn_blocking(move || shared.look()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Some(tls))
    }

    /// Whether who shows no certificate is turned away.
    pub(crate) fn requires_certificates(&self) -> bool {
        let files = &self.0.files;
        files.client_ca.is_some() && files.client_certificates == ClientCertificates::Required
    }

    /// The settings of the next connection.
    pub(crate) fn current(&self, inside: Inside) -> Arc<ServerConfig> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        let [http, grpc, postgres] = &*current;
        Arc::clone(match inside {
            Inside::Http => http,
            Inside::Grpc => grpc,
            Inside::Postgres => postgres,
        })
    }
}

impl Shared {
    /// Takes what the files hold now, if that is new and good.
    fn look(&self) {
        let contents = match self.files.read() {
            Ok(contents) => contents,
            Err(error) => return self.complain(&error, [0; 32]),
        };
        let digest = contents.digest();
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == digest {
            return;
        }
        match self.files.configs(&contents) {
            Ok(configs) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = configs;
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = digest;
                info!("the certificate has changed: new connections get the new one");
            }
            Err(error) => self.complain(&error, digest),
        }
    }

    /// Once for the same contents.
    fn complain(&self, error: &anyhow::Error, digest: [u8; 32]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != digest {
            *seen = digest;
            warn!("the files of the certificate have changed and cannot be used, the old ones stay in use: {error:#}");
        }
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<Contents> {
        let client_ca = self.client_ca.as_deref().map(read).transpose()?;
        Ok(Contents { cert: read(&self.cert)?, key: read(&self.key)?, client_ca })
    }

    fn configs(&self, contents: &Contents) -> anyhow::Result<[Arc<ServerConfig>; 3]> {
        let chain = certificates(&contents.cert, &self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .with_context(|| format!("{} holds no private key in PEM", self.key.display()))?;
        let builder = match (&contents.client_ca, &self.client_ca) {
            (Some(pem), Some(file)) => {
                let mut authorities = RootCertStore::empty();
                for certificate in certificates(pem, file)? {
                    authorities.add(certificate).with_context(|| format!("{} holds no authority", file.display()))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(authorities));
                let verifier = match self.client_certificates {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Asked => verifier.allow_unauthenticated(),
                };
                ServerConfig::builder().with_client_cert_verifier(verifier.build()?)
            }
            _ => ServerConfig::builder().with_no_client_auth(),
        };
        let config =
            builder.with_single_cert(chain, key).context("the certificate and the key do not belong together")?;
        Ok(Inside::ALL.map(|inside| {
            let mut config = config.clone();
            config.alpn_protocols = inside.names();
            Arc::new(config)
        }))
    }
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

fn certificates(pem: &[u8], file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("{} is not PEM", file.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(chain)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

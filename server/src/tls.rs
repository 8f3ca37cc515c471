//! The certificate of the doors.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use tokio_rustls::rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tonic::transport::Identity;

use crate::config::Config;

/// What both doors need of the certificate.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) http: Arc<ServerConfig>,
    pub(crate) grpc: Identity,
}

/// The certificate, where one is configured.
///
/// # Errors
/// When only one of the two files is named, or one cannot be read.
pub(crate) fn load(config: &Config) -> anyhow::Result<Option<Tls>> {
    let (cert, key) = match (&config.tls.cert, &config.tls.key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => bail!("tls.cert and tls.key belong together: set both or neither"),
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificate {}", cert.display()))?;
    let private =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read the key {}", key.display()))?;
    let mut http = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .context("the certificate and the key do not belong together")?;
    http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let grpc = Identity::from_pem(read(cert)?, read(key)?);
    Ok(Some(Tls { http: Arc::new(http), grpc }))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

//! Host keys of SSH servers that are trusted on first use: kept in the catalog, for every server that shares it.

use async_trait::async_trait;
use mavis_catalog::{Catalog, KnownHost};
use mavis_connectors::ssh::{HostKey, HostKeys};

#[derive(Debug)]
pub(crate) struct CatalogKeys(pub(crate) Catalog);

fn of(known: KnownHost) -> HostKey {
    HostKey { algorithm: known.algorithm, fingerprint: known.fingerprint, line: known.public_key }
}

fn unknown(error: &mavis_catalog::Error) -> String {
    tracing::error!(%error, "the catalog does not tell which host keys are known");
    "its host key cannot be compared: the catalog does not answer".to_owned()
}

#[async_trait]
impl HostKeys for CatalogKeys {
    async fn known(&self, host: &str, port: u16) -> Result<Option<HostKey>, String> {
        let known = self.0.known_host(host, port).await;
        known.map(|known| known.map(of)).map_err(|error| unknown(&error))
    }

    async fn record(&self, host: &str, port: u16, key: &HostKey) -> Result<HostKey, String> {
        let recorded = self.0.record_known_host(host, port, &key.algorithm, &key.fingerprint, &key.line).await;
        recorded.map(of).map_err(|error| unknown(&error))
    }
}

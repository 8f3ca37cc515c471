//! What looks at a server's host key during a handshake.

use std::sync::{Arc, Mutex, PoisonError};

use russh::{
    client,
    keys::{Algorithm, PublicKey, PublicKeyOrCertificate},
};

use super::host_key::{HostKeys, Trust};

/// Checks the host key; everything else that a server may start is left unanswered.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) trust: Trust,
    pub(super) keys: Arc<dyn HostKeys>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) verdict: Verdict,
}

/// Why a host key was refused, and its algorithm.
pub(super) type Verdict = Arc<Mutex<Option<(String, Option<Algorithm>)>>>;

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let key = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.clone(),
            PublicKeyOrCertificate::Certificate(certificate) => PublicKey::from(certificate.public_key().clone()),
        };
        match self.trust.check(&*self.keys, &self.host, self.port, &key).await {
            Ok(()) => Ok(true),
            Err(reason) => {
                *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some((reason, Some(key.algorithm())));
                Ok(false)
            }
        }
    }
}

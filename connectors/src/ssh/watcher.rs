//! What looks at a server's host key during a handshake.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use russh::{
    client::{self, DisconnectReason},
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
    pub(super) ended: Ended,
    /// How long silence is borne.
    pub(super) silence: Duration,
}

/// Why a host key was refused, and its algorithm.
pub(super) type Verdict = Arc<Mutex<Option<(String, Option<Algorithm>)>>>;

/// How the last session of a place ended, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended(Arc<Mutex<Option<(Instant, String)>>>);

impl Ended {
    pub(super) fn note(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), reason));
    }

    /// Why, where it ended not longer ago than this.
    pub(super) fn within(&self, time: Duration) -> Option<String> {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.as_ref().filter(|(when, _)| when.elapsed() < time).map(|(_, reason)| reason.clone())
    }
}

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

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let server = format!("{}:{}", self.host, self.port);
        self.ended.note(match &reason {
            DisconnectReason::ReceivedDisconnect(_) => format!("the SSH server {server} ended the session"),
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => format!(
                "the SSH server {server} said nothing for {} s, not even to three signs of life (`ssh.keep_alive_seconds`); is \
                 the network cut?",
                self.silence.as_secs()
            ),
            DisconnectReason::Error(russh::Error::IO(error)) => {
                format!("the SSH session to {server} was cut ({})", error.kind())
            }
            DisconnectReason::Error(_) => format!("the SSH session to {server} was cut"),
        });
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

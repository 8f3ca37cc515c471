use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;

use super::{
    forward::{Endpoint, LocalPort},
    params::SshParams,
    pool::{Declared, Slot, Tunnels},
    session::{Opened, Session},
};
use crate::{Error, Secrets, Stage, route::Stages};

/// The way that one source declares. Opens a session when it is needed; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tunnel {
    way: Arc<[Declared]>,
    tunnels: Tunnels,
    /// The session that was used last: it serves on while the place of its secrets does not answer.
    last: Arc<Mutex<Option<Arc<Slot>>>>,
}

impl Tunnels {
    /// The way that a source declares. Opens nothing, asks for no secret.
    ///
    /// # Errors
    /// [`Error::Params`].
    pub fn tunnel(&self, source: &str, ssh: &SshParams, secrets: &Secrets) -> Result<Tunnel, Error> {
        let way = Self::way(source, ssh, secrets)?;
        Ok(Tunnel { way: way.into(), tunnels: self.clone(), last: Arc::default() })
    }
}

impl Tunnel {
    async fn slot(&self) -> Result<Arc<Slot>, Error> {
        let found = self.tunnels.slot(&self.way).await;
        if let Ok(slot) = &found {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(slot));
            return found;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last {
            Some(slot) if slot.is_open().await => Ok(slot),
            _ => found,
        }
    }

    /// The session, with the secrets as they are now. Where a login is refused and a secret is another one by now, with that.
    async fn session(&self, anew: bool) -> Result<Arc<Session>, Error> {
        let slot = self.slot().await?;
        let trouble = match slot.session(anew).await {
            Ok(session) => return Ok(session),
            Err(trouble) => trouble,
        };
        if trouble.is_denied() && slot.has_outdated_secret().await? {
            return Ok(self.slot().await?.session(anew).await?);
        }
        Err(trouble.into())
    }

    /// A connection to what the last server of the way reaches. A session that breaks under it is opened anew, once.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<Opened, Error> {
        let limit = self.limit();
        let session = self.session(false).await?;
        match session.open(host, port, limit).await {
            Err(_) if !session.is_alive() => Ok(self.session(false).await?.open(host, port, limit).await?),
            outcome => Ok(outcome?),
        }
    }

    /// Why the session that was used last ended, where it did not longer ago than this.
    pub(crate) fn ended(&self, time: Duration) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.ended(time)
    }

    fn limit(&self) -> Duration {
        self.way.last().map_or(Duration::from_secs(10), |last| last.limit)
    }

    /// One connection to a host and port as the SSH server reaches them, for a driver that connects to Unix sockets.
    /// Names are resolved there, and certificates are to be checked against `host` as if there were no tunnel.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Refused`]: stage `name` and `route` of the first SSH server, `ssh` for host
    /// keys and logins, `database` where the SSH server does not get there.
    pub async fn open(&self, host: &str, port: u16) -> Result<Endpoint, Error> {
        Endpoint::of(self.connect(host, port).await?, port, self.tunnels.folders())
    }

    /// A loopback port that leads there, for drivers that only know TCP. The first connection is opened beforehand, so
    /// that what is wrong is told here.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn port(&self, host: &str, port: u16) -> Result<LocalPort, Error> {
        let first = self.connect(host, port).await?;
        let (tunnel, far) = (self.clone(), host.to_owned());
        let more = move || {
            let (tunnel, far) = (tunnel.clone(), far.clone());
            async move { tunnel.connect(&far, port).await }.boxed()
        };
        LocalPort::of(more, &format!("{host}:{port}"), first).await
    }

    /// The stages name, route and ssh of a connection test, and `database` where the SSH server cannot get to
    /// `host:port`. Whether all passed.
    pub(crate) async fn check(&self, stages: &mut Stages, host: &str, port: u16) -> bool {
        let Some(near) = self.way.first() else { return false };
        if !stages.reach(&near.hop.host, near.hop.port, near.limit, "ssh.host").await {
            return false;
        }
        let session = match self.session(true).await {
            Ok(session) => session,
            Err(error) => {
                // What failed behind the nearest server is SSH's: that one itself was reached.
                let (endpoint, reason) = match error {
                    Error::Unreachable { endpoint, reason, .. } | Error::Refused { endpoint, reason, .. } => {
                        (endpoint, reason)
                    }
                    error => (near.hop.label(), error.to_string()),
                };
                stages.failed(Stage::Ssh, format!("{endpoint}: {reason}"));
                return false;
            }
        };
        let servers: Vec<String> = self.way.iter().map(|server| server.hop.label()).collect();
        stages.passed(Stage::Ssh, format!("host key and login of {}", servers.join(", then ")));
        match session.open(host, port, self.limit()).await {
            Ok(_) => true,
            Err(trouble) => {
                stages.failed(trouble.stage(), trouble.message());
                false
            }
        }
    }
}

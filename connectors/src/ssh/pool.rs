//! The sessions that there are: one for all who go the same way as the same user.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    forward::Folders,
    host_key::{HostKeys, Remembered, Trust},
    login::Needs,
    params::{SshHop, SshParams},
    session::{Gate, Session},
    trouble::Trouble,
    watcher::Ended,
};
use crate::{Error, Secrets, line};

/// For how long a login that was refused is not tried again by itself: servers lock out who tries too often.
const LOCKED_OUT: Duration = Duration::from_secs(60);
/// When a session that nobody uses is closed.
const IDLE: Duration = Duration::from_secs(120);

/// All sessions of a process, and the host keys that it trusts.
#[derive(Clone)]
pub struct Tunnels {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Arc<dyn HostKeys>,
    slots: Mutex<HashMap<u128, Arc<Slot>>>,
    folders: Folders,
    /// Makes digests of secrets useless elsewhere.
    salt: uuid::Uuid,
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("host_keys", &self.shared.keys).finish_non_exhaustive()
    }
}

impl Default for Tunnels {
    /// Tunnels that forget host keys with the process.
    fn default() -> Self {
        Self::new(Arc::new(Remembered::default()))
    }
}

impl Tunnels {
    /// Tunnels that keep the keys of servers that are trusted on first use in `keys`.
    #[must_use]
    pub fn new(keys: Arc<dyn HostKeys>) -> Self {
        let shared = Shared { keys, slots: Mutex::default(), folders: Folders::default(), salt: uuid::Uuid::new_v4() };
        Self { shared: Arc::new(shared) }
    }

    /// The servers of a declared way, and what each needs. Asks for no secret.
    pub(super) fn way(source: &str, ssh: &SshParams, secrets: &Secrets) -> Result<Vec<Declared>, Error> {
        let refuse = |reason| Error::Params { source_name: source.to_owned(), reason };
        let way = ssh.hops().into_iter().map(|hop| {
            let trust = Trust::of(&hop).map_err(refuse)?;
            let needs = Needs::of(source, &hop, secrets);
            let limit = Duration::from_secs(ssh.connect_timeout_seconds.max(1));
            let keep_alive = line::keep_alive(source, ssh.keep_alive_seconds)?;
            Ok(Declared { hop, trust, needs, limit, keep_alive })
        });
        way.collect()
    }

    pub(crate) fn folders(&self) -> &Folders {
        &self.shared.folders
    }

    /// The place of the session at the end of a way, for who has the secrets as they are now.
    pub(super) async fn slot(&self, way: &[Declared]) -> Result<Arc<Slot>, Error> {
        // What tells this way from others; it holds secrets, and only its digest is kept.
        let mut words = format!("{}\n", self.shared.salt);
        let mut slot: Option<Arc<Slot>> = None;
        for declared in way {
            let Declared { hop, trust, needs, limit, keep_alive } = declared.clone();
            let login = needs.login(&hop).await?;
            let host = hop.host.to_ascii_lowercase();
            words.push_str(&format!("{host}:{} {trust:?} {}\n", hop.port, login.identity().expose_secret()));
            let gate = Gate { hop, trust, login, limit, keep_alive };
            slot = Some(self.find(xxh3_128(words.as_bytes()), gate, slot));
        }
        slot.ok_or_else(|| Error::Unsupported {
            what: "a way without a server".to_owned(),
            instead: "name one in `ssh.host`".to_owned(),
        })
    }

    fn find(&self, digest: u128, gate: Gate, below: Option<Arc<Slot>>) -> Arc<Slot> {
        let mut slots = self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&digest) {
            return Arc::clone(slot);
        }
        // Gates that nobody declares any more are forgotten, and what they refused with them.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.state.try_lock().is_ok_and(|state| state.matters()));
        let keys = Arc::clone(&self.shared.keys);
        let slot = Arc::new(Slot { gate, below, keys, ended: Ended::default(), state: tokio::sync::Mutex::default() });
        slots.insert(digest, Arc::clone(&slot));
        slot
    }
}

/// A server on the way as it is declared.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) hop: SshHop,
    trust: Trust,
    needs: Needs,
    pub(super) limit: Duration,
    keep_alive: Duration,
}

/// The place of one session, whether it is open or not.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) gate: Gate,
    pub(super) below: Option<Arc<Slot>>,
    keys: Arc<dyn HostKeys>,
    ended: Ended,
    /// Held while a session is opened: who comes meanwhile waits for it.
    state: tokio::sync::Mutex<State>,
}

impl State {
    /// Whether a session or a refusal of a moment ago would be forgotten with it.
    fn matters(&self) -> bool {
        self.session.is_some() || self.failed.as_ref().is_some_and(|(when, _)| when.elapsed() < LOCKED_OUT)
    }
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    /// How the last attempt ended, where it failed.
    failed: Option<(Instant, Trouble)>,
}

impl Slot {
    /// The session, opened where there is none that lives. `anew`: also where a login was refused a moment ago.
    pub(super) fn session(self: &Arc<Self>, anew: bool) -> BoxFuture<'_, Result<Arc<Session>, Trouble>> {
        Box::pin(self.find(anew))
    }

    pub(super) async fn is_open(&self) -> bool {
        self.state.lock().await.session.as_ref().is_some_and(|session| session.is_alive())
    }

    /// Whether a login of the way would be another one with the secrets as they are now.
    pub(super) async fn has_outdated_secret(&self) -> Result<bool, Error> {
        let mut slot = Some(self);
        while let Some(server) = slot {
            if server.gate.login.is_outdated().await? {
                return Ok(true);
            }
            slot = server.below.as_deref();
        }
        Ok(false)
    }

    /// Why a session of the way ended, where it did not longer ago than this; the nearest tells for all behind it.
    pub(super) fn ended(&self, time: Duration) -> Option<String> {
        let below = self.below.as_ref().and_then(|below| below.ended(time));
        below.or_else(|| self.ended.within(time))
    }

    async fn find(self: &Arc<Self>, anew: bool) -> Result<Arc<Session>, Trouble> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(session) = state.session.as_ref().filter(|session| session.is_alive()) {
            return Ok(Arc::clone(session));
        }
        if state.session.take().is_some() {
            tracing::info!("the SSH session to {} broke; opening it anew", self.gate.hop.label());
        }
        if let Some((when, trouble)) = &state.failed
            && (*when >= asked || (!anew && trouble.is_denied() && when.elapsed() < LOCKED_OUT))
        {
            return Err(trouble.clone());
        }
        let opening = async {
            let below = match &self.below {
                Some(below) => Some(below.session(anew).await?),
                None => None,
            };
            Session::connect(&self.gate, &self.keys, &self.ended, below).await
        };
        match Box::pin(opening).await {
            Ok(session) => {
                let session = Arc::new(session);
                state.failed = None;
                state.session = Some(Arc::clone(&session));
                tracing::info!("the SSH session to {} is open", self.gate.hop.label());
                tokio::spawn(close_when_idle(Arc::clone(self)));
                Ok(session)
            }
            Err(trouble) => {
                state.failed = Some((Instant::now(), trouble.clone()));
                Err(trouble)
            }
        }
    }
}

/// Gives a session back that nobody has used for a while, or that broke.
async fn close_when_idle(slot: Arc<Slot>) {
    let mut unused = 0;
    loop {
        tokio::time::sleep(IDLE / 4).await;
        let mut state = slot.state.lock().await;
        let Some(session) = state.session.as_ref().filter(|session| session.is_alive()) else { return };
        unused = if Arc::strong_count(session) == 1 { unused + 1 } else { 0 };
        if unused >= 4 {
            tracing::info!("the SSH session to {} is closed: nobody uses it", slot.gate.hop.label());
            state.session = None;
            return;
        }
    }
}

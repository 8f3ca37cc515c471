//! One SSH connection, and channels through it.

use std::{
    borrow::Cow,
    sync::{Arc, PoisonError},
    time::Duration,
};

use russh::{
    Channel, ChannelOpenFailure,
    client::{self, Handle, Msg},
    keys::Algorithm,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use super::{
    host_key::{HostKeys, Trust},
    login::{Login, Refusal},
    params::SshHop,
    trouble::Trouble,
    watcher::{Ended, Verdict, Watcher},
};
use crate::Stage;

/// Connections that one session carries at a time; more wait.
const CHANNELS: usize = 128;
/// Packets of a channel that wait to be taken.
const WAITING: usize = 16;
/// Signs of life that may stay unanswered.
const KEEP_ALIVES: u32 = 3;
/// How many times as long as at first it takes, at most, until a host of which nothing comes is asked for again.
const RARELY: u32 = 16;

/// A server on the way, and what is needed to get into it.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) hop: SshHop,
    pub(super) trust: Trust,
    pub(super) login: Login,
    /// Until an attempt is given up.
    pub(super) limit: Duration,
    pub(super) keep_alive: Duration,
}

/// A session that is logged in.
pub(super) struct Session {
    handle: Handle<Watcher>,
    label: String,
    /// How long silence is borne.
    silence: Duration,
    ended: Ended,
    places: Arc<Semaphore>,
    /// The session that this one goes through, and its place there.
    below: Option<(Arc<Session>, OwnedSemaphorePermit)>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("label", &self.label).field("alive", &self.is_alive()).finish()
    }
}

/// One connection through a session: as long as it is there, its place is taken.
pub(super) struct Opened {
    pub(super) channel: Channel<Msg>,
    /// Host and port as the server reaches them.
    pub(super) far: (String, u16),
    pub(super) session: Arc<Session>,
    pub(super) place: OwnedSemaphorePermit,
}

impl Session {
    /// Connects through `below`, or directly where there is none, checks the host key and logs in.
    pub(super) async fn connect(
        gate: &Gate,
        keys: &Arc<dyn HostKeys>,
        ended: &Ended,
        below: Option<Arc<Session>>,
    ) -> Result<Self, Trouble> {
        let label = gate.hop.label();
        let mut refused: Vec<Algorithm> = Vec::new();
        let mut first: Option<Trouble> = None;
        // A pin may be of another of the server's keys than the one that it showed.
        loop {
            let verdict = Verdict::default();
            match Self::attempt(gate, keys, ended, below.clone(), &refused, &verdict).await {
                Ok(session) => return Ok(session),
                Err(trouble) => {
                    let seen = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let pinned = matches!(gate.trust, Trust::Pinned(_));
                    match seen {
                        Some((reason, Some(algorithm))) if pinned && refused.len() < 3 => {
                            first.get_or_insert(Trouble::refused(&label, Stage::Ssh, reason));
                            refused.push(algorithm);
                        }
                        Some((reason, _)) => {
                            return Err(first.unwrap_or_else(|| Trouble::refused(&label, Stage::Ssh, reason)));
                        }
                        None => return Err(first.unwrap_or(trouble)),
                    }
                }
            }
        }
    }

    async fn attempt(
        gate: &Gate,
        keys: &Arc<dyn HostKeys>,
        ended: &Ended,
        below: Option<Arc<Session>>,
        refused: &[Algorithm],
        verdict: &Verdict,
    ) -> Result<Self, Trouble> {
        let hop = &gate.hop;
        let label = hop.label();
        let algorithms = gate.trust.algorithms(&**keys, &hop.host, hop.port, refused).await;
        let algorithms = algorithms.map_err(|reason| Trouble::refused(&label, Stage::Ssh, reason))?;
        let config = Arc::new(settings(gate, algorithms));
        let watcher = Watcher {
            trust: gate.trust.clone(),
            keys: Arc::clone(keys),
            host: hop.host.clone(),
            port: hop.port,
            verdict: Arc::clone(verdict),
            ended: ended.clone(),
            silence: silence(gate),
        };
        let (handle, below) = match below {
            None => (handshake(gate, config, dial(gate).await?, watcher).await?, None),
            Some(session) => {
                let Opened { channel, session, place, .. } = session.open(&hop.host, hop.port, gate.limit).await?;
                (handshake(gate, config, channel.into_stream(), watcher).await?, Some((session, place)))
            }
        };
        let handle = enter(gate, handle).await?;
        let places = Arc::new(Semaphore::new(CHANNELS));
        Ok(Self { handle, label, silence: silence(gate), ended: ended.clone(), places, below })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Whether a reader that does not take its data stops others: of this session, or of one that it goes through.
    pub(super) fn is_shared(&self) -> bool {
        self.places.available_permits() + 1 < CHANNELS
            || self.below.as_ref().is_some_and(|(below, _)| below.is_shared())
    }

    /// A connection to a host and port as the server reaches them.
    pub(super) async fn open(self: &Arc<Self>, host: &str, port: u16, limit: Duration) -> Result<Opened, Trouble> {
        let endpoint = format!("{host}:{port}");
        let by = &self.label;
        let late = |what: &str| {
            let reason = format!("{what} within {} s", limit.as_secs());
            Trouble::unreachable(&endpoint, Stage::Database, reason)
        };
        let Ok(Ok(place)) = timeout(limit, Arc::clone(&self.places).acquire_owned()).await else {
            return Err(late(&format!("none of the {CHANNELS} places in the SSH session to {by} became free")));
        };
        let asked = self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        match timeout(limit, asked).await {
            Ok(Ok(channel)) => Ok(Opened { channel, far: (host.to_owned(), port), session: Arc::clone(self), place }),
            Ok(Err(error)) => Err(self.closed_door(&endpoint, &error)),
            Err(_) => Err(late(&format!("the SSH server {by} got no answer from `{endpoint}`"))),
        }
    }

    /// Waits until the server does not reach a host any more to which it carries a connection that is silent: nobody else tells
    /// of a host that went without a word. `heard`: when something came from there. Where nothing comes it is asked less and less
    /// often: a connection that ends without a word is a mistake in the eyes of the host, and MySQL counts them. The reason is kept
    /// for whoever asks why the connection ended.
    pub(super) async fn lost(&self, (host, port): &(String, u16), heard: impl Fn() -> Instant) {
        let (mut asked, mut wait) = (Instant::now(), self.silence);
        loop {
            sleep_until(heard().max(asked) + wait).await;
            if heard().elapsed() < self.silence {
                wait = self.silence;
                continue;
            }
            wait = (wait * 2).min(self.silence * RARELY);
            // Where all places are taken, it is asked another time.
            if let Ok(_place) = self.places.try_acquire() {
                let trial = self.handle.channel_open_direct_tcpip(host, u32::from(*port), "127.0.0.1", 0);
                let gone = match timeout(self.silence, trial).await {
                    Ok(Ok(channel)) => {
                        drop(channel.close().await);
                        false
                    }
                    Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) | Err(_) => {
                        self.is_alive()
                    }
                    // The session ends, or the server has its own reasons to open nothing more.
                    Ok(Err(_)) => false,
                };
                if gone {
                    self.ended.note(format!(
                        "nothing came from `{host}:{port}` for {} s, and the SSH server {} does not reach it any more; is it \
                         down, or the network behind the SSH server cut?",
                        heard().elapsed().as_secs(),
                        self.label
                    ));
                    return;
                }
            }
            asked = Instant::now();
        }
    }

    fn closed_door(&self, endpoint: &str, error: &russh::Error) -> Trouble {
        let by = &self.label;
        let stage = Stage::Database;
        match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => Trouble::refused(
                endpoint,
                stage,
                format!(
                    "the SSH server {by} does not let its users go on to `{endpoint}`; ask for it (AllowTcpForwarding, \
                     PermitOpen)"
                ),
            ),
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ResourceShortage) => {
                Trouble::unreachable(endpoint, stage, format!("the SSH server {by} has no more connections to give"))
            }
            russh::Error::ChannelOpenFailure(_) => Trouble::unreachable(
                endpoint,
                stage,
                format!("the SSH server {by} is refused there; is the database up, are host and port right?"),
            ),
            _ => Trouble::unreachable(by, Stage::Ssh, "the session broke while a connection was opened"),
        }
    }
}

/// A TCP connection to the server itself.
async fn dial(gate: &Gate) -> Result<TcpStream, Trouble> {
    let hop = &gate.hop;
    let label = hop.label();
    let seconds = gate.limit.as_secs();
    let connecting = async {
        let addresses: Vec<_> = match lookup_host((hop.host.as_str(), hop.port)).await {
            Ok(addresses) => addresses.collect(),
            Err(_) => Vec::new(),
        };
        if addresses.is_empty() {
            let reason = format!("the name `{}` does not resolve; check `ssh.host`", hop.host);
            return Err(Trouble::unreachable(&label, Stage::Name, reason));
        }
        TcpStream::connect(&*addresses)
            .await
            .map_err(|error| Trouble::unreachable(&label, Stage::Route, crate::route::closed(hop.port, &error)))
    };
    let stream = match timeout(gate.limit, connecting).await {
        Ok(stream) => stream?,
        Err(_) => return Err(Trouble::unreachable(&label, Stage::Route, crate::route::silent(seconds))),
    };
    if stream.set_nodelay(true).is_err() {
        tracing::debug!("an SSH connection keeps small packets back");
    }
    // Signs of life are the session's; but it waits for what it sends to be taken.
    if crate::line::give_up_after(&stream, gate.keep_alive * (KEEP_ALIVES + 2)).is_err() {
        tracing::warn!("the SSH connection to {label} is not watched: the system refuses its settings");
    }
    Ok(stream)
}

async fn handshake<S>(
    gate: &Gate,
    config: Arc<client::Config>,
    stream: S,
    watcher: Watcher,
) -> Result<Handle<Watcher>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let label = gate.hop.label();
    match timeout(gate.limit, client::connect_stream(config, stream, watcher)).await {
        Ok(Ok(handle)) => Ok(handle),
        Ok(Err(russh::Error::NoCommonAlgo { kind, theirs, .. })) => Err(Trouble::refused(
            &label,
            Stage::Ssh,
            format!("it offers no {kind:?} that is still safe, only {}; its software is outdated", theirs.join(", ")),
        )),
        Ok(Err(russh::Error::IO(_) | russh::Error::Disconnect | russh::Error::HUP)) => Err(Trouble::unreachable(
            &label,
            Stage::Ssh,
            "it ended the connection during the handshake; does an SSH server listen there, does it limit connections?",
        )),
        Ok(Err(error)) => Err(Trouble::refused(
            &label,
            Stage::Ssh,
            format!("what listens there does not speak SSH as expected ({error})"),
        )),
        Err(_) => Err(Trouble::unreachable(
            &label,
            Stage::Ssh,
            format!("no SSH handshake within {} s; does an SSH server listen there?", gate.limit.as_secs()),
        )),
    }
}

async fn enter(gate: &Gate, mut handle: Handle<Watcher>) -> Result<Handle<Watcher>, Trouble> {
    let label = gate.hop.label();
    match timeout(gate.limit, Box::pin(gate.login.enter(&mut handle))).await {
        Ok(Ok(())) => Ok(handle),
        Ok(Err(Refusal::Denied(reason))) => Err(Trouble::denied(&label, format!("login: {reason}"))),
        Ok(Err(Refusal::Broken(reason))) => Err(Trouble::unreachable(&label, Stage::Ssh, format!("login: {reason}"))),
        Err(_) => {
            let reason = format!("login: no answer within {} s", gate.limit.as_secs());
            Err(Trouble::unreachable(&label, Stage::Ssh, reason))
        }
    }
}

fn silence(gate: &Gate) -> Duration {
    gate.keep_alive * (KEEP_ALIVES + 1)
}

fn settings(gate: &Gate, algorithms: Vec<Algorithm>) -> client::Config {
    let mut preferred = russh::Preferred::DEFAULT;
    preferred.key = Cow::Owned(algorithms);
    // Processors have instructions for AES; databases' binary forms do not compress well enough to pay for it.
    let mut ciphers = preferred.cipher.to_vec();
    ciphers.sort_by_key(|cipher| *cipher != russh::cipher::AES_256_GCM);
    preferred.cipher = Cow::Owned(ciphers);
    preferred.compression = Cow::Borrowed(&[russh::compression::NONE]);
    client::Config {
        preferred,
        channel_buffer_size: WAITING,
        keepalive_interval: Some(gate.keep_alive),
        keepalive_max: KEEP_ALIVES as usize,
        nodelay: true,
        ..client::Config::default()
    }
}

//! The connections of a source to its server, direct or through SSH, and what is noticed of those that fall silent.
//!
//! A link that goes down takes packets without telling anybody: a reader that only waits would wait for ever. Who sends is
//! told by the kernel after a quarter of an hour. So every TCP connection that we make is asked for signs of life
//! ([`watch`]). Drivers that open their sockets themselves do not do that, and are given a private Unix socket instead, behind
//! which the watched connection stands; a tunnel's sessions watch themselves (`ssh::session`).

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf, copy_buf},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use crate::{
    Ambient, Error, Stage,
    relay::Relay,
    route,
    ssh::{Endpoint, SshParams, Tunnel, Tunnels},
};

const BUFFER_BYTES: usize = 256 << 10;
/// Signs of life that may stay unanswered.
const UNANSWERED: u32 = 3;
/// How long the reason of a break is that of an error that a driver tells.
const LATELY: Duration = Duration::from_secs(5);
/// How long a server is still listened to whose driver has gone.
const LINGER: Duration = Duration::from_secs(10);
/// The longest silence that is asked about; systems take no more than some nine hours.
const MOST_KEEP_ALIVE_SECONDS: u64 = 7_200;

/// What parameters of sources say where nothing else is declared.
pub(crate) fn default_keep_alive() -> u64 {
    15
}

/// The silence that a source declares.
///
/// # Errors
/// [`Error::Params`] for one that no system takes.
pub(crate) fn keep_alive(source: &str, seconds: u64) -> Result<Duration, Error> {
    if (1..=MOST_KEEP_ALIVE_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let reason = format!("`keep_alive_seconds` is {seconds}; it must be from 1 to {MOST_KEEP_ALIVE_SECONDS}");
    Err(Error::Params { source_name: source.to_owned(), reason })
}

/// Has the kernel ask the other side for a sign of life after each `keep_alive` of silence, and give the connection up after
/// three that were not answered, and after the same time where what we sent is not taken.
pub(crate) fn watch(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let asked = TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive).with_retries(UNANSWERED);
    socket.set_tcp_keepalive(&asked)?;
    give_up_after(stream, keep_alive * (UNANSWERED + 1))
}

/// Has the kernel give a connection up where what we sent is not taken for so long. Systems that cannot do that keep their own
/// time, mostly a quarter of an hour.
pub(crate) fn give_up_after(stream: &TcpStream, time: Duration) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return SockRef::from(stream).set_tcp_user_timeout(Some(time));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Ok(());
}

/// The way of one source to its server.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where the server is not reached from here.
    tunnel: Option<Tunnel>,
    tunnels: Tunnels,
    keep_alive: Duration,
    broke: Broke,
}

/// How the last connection that broke did so, and when.
type Broke = Arc<Mutex<Option<(Instant, io::ErrorKind)>>>;

impl Line {
    /// # Errors
    /// [`Error::Params`] for a time that no system takes; as [`Ambient::tunnel`].
    pub(crate) fn new(
        source: &str,
        ssh: Option<&SshParams>,
        keep_alive_seconds: u64,
        ambient: &Ambient,
    ) -> Result<Self, Error> {
        Ok(Self {
            tunnel: ambient.tunnel(source, ssh)?,
            tunnels: ambient.tunnels.clone(),
            keep_alive: keep_alive(source, keep_alive_seconds)?,
            broke: Broke::default(),
        })
    }

    pub(crate) fn tunnel(&self) -> Option<&Tunnel> {
        self.tunnel.as_ref()
    }

    /// One connection, open on the far side, for a driver that connects to Unix sockets. What is wrong on the way is told by
    /// who knows it. Certificates are to be checked against `host`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Refused`] with the stage.
    pub(crate) async fn open(&self, host: &str, port: u16, limit: Duration) -> Result<Endpoint, Error> {
        match &self.tunnel {
            Some(tunnel) => tunnel.open(host, port).await,
            None => {
                let far = self.dial(host, port, limit).await?;
                Endpoint::serve(port, self.tunnels.folders(), Stage::Route, |near| carry(near, far))
            }
        }
    }

    /// The same for a driver that only knows TCP.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) async fn relay(&self, host: &str, port: u16, limit: Duration) -> Result<Relay, Error> {
        let relay = match &self.tunnel {
            Some(tunnel) => {
                let endpoint = tunnel.open(host, port).await?;
                match UnixStream::connect(endpoint.path()).await {
                    Ok(far) => Relay::over(far).await,
                    Err(error) => Err(error),
                }
            }
            None => Relay::over(self.dial(host, port, limit).await?).await,
        };
        relay.map_err(|error| unreachable(host, port, Stage::Route, route::closed(port, &error)))
    }

    async fn dial(&self, host: &str, port: u16, limit: Duration) -> Result<Watched, Error> {
        let far = timeout(limit, reach(host, port)).await;
        let far = far.unwrap_or_else(|_| Err(unreachable(host, port, Stage::Route, route::silent(limit.as_secs()))))?;
        if far.set_nodelay(true).and_then(|()| watch(&far, self.keep_alive)).is_err() {
            tracing::warn!("a connection to `{host}:{port}` is not watched: the system refuses its settings");
        }
        Ok(Watched { far, broke: Arc::clone(&self.broke) })
    }

    /// What it means that a driver's connection broke just now.
    pub(crate) fn reason(&self) -> String {
        let lately = |broke: &Broke| {
            let broke = *broke.lock().unwrap_or_else(PoisonError::into_inner);
            broke.filter(|(when, _)| when.elapsed() < LATELY).map(|(_, kind)| kind)
        };
        match lately(&self.broke) {
            Some(io::ErrorKind::TimedOut) => format!(
                "the connection broke: nothing came from the server for {} s, not even an answer to {UNANSWERED} signs of life \
                 (`keep_alive_seconds`); is the network cut?",
                (self.keep_alive * (UNANSWERED + 1)).as_secs()
            ),
            Some(
                kind
                @ (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown),
            ) => format!("the connection broke: there is no route to the server any more ({kind}); is the VPN up?"),
            Some(io::ErrorKind::ConnectionReset) => {
                "the connection broke: the server, or somebody on the way, cut it".to_owned()
            }
            _ => match self.tunnel.as_ref().and_then(|tunnel| tunnel.ended(LATELY)) {
                Some(reason) => format!("the connection broke: {reason}"),
                None => "the connection broke".to_owned(),
            },
        }
    }
}

fn unreachable(host: &str, port: u16, stage: Stage, reason: String) -> Error {
    Error::Unreachable { endpoint: format!("{host}:{port}"), stage, reason }
}

async fn reach(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => Vec::new(),
    };
    if addresses.is_empty() {
        let reason = format!("the name `{host}` does not resolve; check `host`");
        return Err(unreachable(host, port, Stage::Name, reason));
    }
    let connected = TcpStream::connect(&*addresses).await;
    connected.map_err(|error| unreachable(host, port, Stage::Route, route::closed(port, &error)))
}

async fn carry(near: UnixStream, far: Watched) {
    let ((near_read, mut near_write), (far_read, mut far_write)) = (near.into_split(), tokio::io::split(far));
    let (mut from_near, mut from_far) =
        (BufReader::with_capacity(BUFFER_BYTES, near_read), BufReader::with_capacity(BUFFER_BYTES, far_read));
    let up = async {
        copy_buf(&mut from_near, &mut far_write).await?;
        far_write.shutdown().await
    };
    let down = async {
        copy_buf(&mut from_far, &mut near_write).await?;
        near_write.shutdown().await
    };
    tokio::pin!(up, down);
    let ended = tokio::select! {
        ended = &mut down => ended,
        // No driver goes on reading when it has gone: what the server still says is nobody's, and a server that stands still says
        // nothing for ever.
        sent = &mut up => match sent {
            Ok(()) => timeout(LINGER, down).await.unwrap_or(Ok(())),
            Err(error) => Err(error),
        },
    };
    if ended.is_err() {
        tracing::debug!("a connection to a source broke");
    }
}

/// A connection that says how it broke.
#[derive(Debug)]
struct Watched {
    far: TcpStream,
    broke: Broke,
}

impl Watched {
    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            *self.broke.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.kind()));
        }
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.far).poll_read(cx, buffer));
        Poll::Ready(self.note(outcome))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.far).poll_write(cx, bytes));
        Poll::Ready(self.note(outcome))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.far).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.far).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, false)]
    #[case(1, true)]
    #[case(7_200, true)]
    #[case(7_201, false)]
    #[case(u64::MAX, false)]
    fn a_silence_that_no_system_takes_is_refused(#[case] seconds: u64, #[case] taken: bool) {
        assert_eq!(keep_alive("hms", seconds).ok(), taken.then(|| Duration::from_secs(seconds)));
    }
}

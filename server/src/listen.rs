//! Listeners of the doors: plain TCP, or TLS whose handshakes never hold up other callers.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use futures::{Stream, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use crate::{
    refusal::Courteous,
    tls::{Inside, Tls},
};

/// How long a caller may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Address of the caller, in the extensions of each HTTP request (as `ConnectInfo<Peer>`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, PlainListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, PlainListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Connections as they come.
#[derive(Debug)]
pub(crate) struct PlainListener(pub(crate) TcpListener);

impl Listener for PlainListener {
    type Io = Courteous<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = self.connection().await;
        (Courteous::new(stream), peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl PlainListener {
    async fn connection(&mut self) -> (TcpStream, SocketAddr) {
        // The trait's `accept` logs and waits when the system is out of files.
        let (stream, peer) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "small answers may be held back");
        }
        (stream, peer)
    }
}

/// Connections whose TLS handshake is done.
#[derive(Debug)]
pub(crate) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    pub(crate) fn new(tcp: TcpListener, tls: Tls, inside: Inside) -> io::Result<Self> {
        let mut tcp = PlainListener(tcp);
        let address = tcp.0.local_addr()?;
        let (send, ready) = mpsc::channel(64);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, peer) = tcp.connection().await;
                // The certificate may have changed since the last connection.
                let (acceptor, send) = (TlsAcceptor::from(tls.current(inside)), send.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => drop(send.send((stream, peer)).await),
                        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => debug!(%peer, "TLS handshake took too long"),
                    }
                });
            }
        });
        Ok(Self { address, ready, accepting })
    }

    /// The connections as the gRPC server takes them.
    pub(crate) fn into_stream(self) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + Send + 'static {
        stream::unfold(self, async |mut listener| {
            let (stream, _) = listener.ready.recv().await?;
            Some((Ok(stream), listener))
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = Courteous<TlsStream<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some((stream, peer)) => (Courteous::new(stream), peer),
            // The accepting task ends only when the listener is dropped, which ends this call too.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

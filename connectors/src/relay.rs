//! A connection to a server, offered at a loopback port of this machine.
//!
//! For drivers that connect by themselves and block: when the relay is dropped, whoever waits for the far side is let go.

use std::{
    io::Error,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::TcpListener,
    task::JoinHandle,
};

const BUFFER_BYTES: usize = 128 << 10;

/// One connection; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to what is connected already.
    pub(crate) async fn over(far: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            // The first who comes is served, and nobody else.
            let Ok((mut near, _)) = listener.accept().await else { return };
            drop(listener);
            if near.set_nodelay(true).is_err() {
                tracing::debug!("a relayed connection waits for full packets");
            }
            let mut far = far;
            if copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES).await.is_err() {
                tracing::debug!("a relayed connection broke");
            }
        });
        Ok(Self { address, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    #[tokio::test]
    async fn what_is_said_on_one_side_is_heard_on_the_other_until_the_relay_is_dropped() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let relay = Relay::over(far).await.unwrap();
        let mut near = TcpStream::connect(relay.address()).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        near.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
        assert!(TcpStream::connect(relay.address()).await.is_err(), "only one is served");
        drop(relay);
        assert_eq!(near.read(&mut heard).await.unwrap_or(0), 0, "who waits is let go");
    }
}

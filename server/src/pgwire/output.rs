use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes that are gathered before they are sent.
const FULL: usize = 64 << 10;
/// Bytes that are read ahead of a client that does not wait for answers.
const AHEAD: usize = 1 << 20;

/// A byte stream, plain or encrypted.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A socket with what was read of it and what is still to be sent.
pub(super) struct Wire {
    socket: Box<dyn Io>,
    pub(super) read: BytesMut,
    pub(super) out: BytesMut,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl Wire {
    pub(super) fn new(socket: Box<dyn Io>) -> Self {
        Self { socket, read: BytesMut::new(), out: BytesMut::new() }
    }

    pub(super) fn put(&mut self, message: &PgWireBackendMessage) {
        put(&mut self.out, message);
    }

    /// Reads more. `false`: the client is gone.
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        Ok(self.socket.read_buf(&mut self.read).await? > 0)
    }

    /// Waits until the client is gone, keeping what it sends meanwhile.
    pub(super) async fn gone(&mut self) {
        loop {
            if self.read.len() > AHEAD {
                return std::future::pending().await;
            }
            if !self.more().await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Sends what is gathered once it is much.
    pub(super) async fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() < FULL { Ok(()) } else { self.flush().await }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.socket.write_all(&self.out).await?;
            self.out.clear();
        }
        self.socket.flush().await
    }

    /// Sends what is left and closes.
    pub(super) async fn close(mut self) {
        // A client that is gone has nothing to be told.
        drop(self.flush().await);
        drop(self.socket.shutdown().await);
    }
}

/// Writes a message.
pub(super) fn put(out: &mut BytesMut, message: &PgWireBackendMessage) {
    let begin = out.len();
    if message.encode(out).is_err() {
        // Longer than the protocol allows: texts of errors and names of columns are not.
        out.truncate(begin);
    }
}

/// Writes a message of one kind whose body `write` makes; the length is filled in afterwards.
pub(super) fn framed(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    sized(out, true, write);
}

/// Writes a length of four bytes and then what it counts; `whole`: the length counts itself.
pub(super) fn sized(out: &mut BytesMut, whole: bool, write: impl FnOnce(&mut BytesMut)) {
    let begin = out.len();
    out.put_i32(0);
    write(out);
    let length = out.len() - begin - if whole { 0 } else { 4 };
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(begin..begin + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

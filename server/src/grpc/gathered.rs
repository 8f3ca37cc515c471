//! Fewer, larger writes to a connection of HTTP/2.
//!
//! h2 writes each DATA frame by itself and flushes after it, and a client that says nothing else (every one in Go, so ADBC) takes
//! frames of 16 KiB at most: a large answer costs a call of the system, and a wake-up of its reader, for each of them, a small
//! one several. [`Gathered`] stands between h2 and the socket and lets frames wait for the next ones.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Bytes of the smallest full frame with its head (RFC 9113, sections 4.1 and 4.2).
const FULL_FRAME: usize = (16 << 10) + 9;
/// Bytes that are written together, at most.
const TOGETHER: usize = 8 * FULL_FRAME;

/// A connection whose frames are gathered.
///
/// A write of several pieces is a DATA frame whose payload lies apart. h2 flushes after it, looks for the next frame, and flushes
/// once more where there is none: so a flush that follows such a write is put off. What waits is written by the next flush, or when
/// it is [`TOGETHER`] bytes.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    inner: S,
    waiting: Vec<u8>,
    /// How much of what waits is written.
    written: usize,
    /// Whether the last write was of a frame after which another may come.
    goes_on: bool,
}

impl<S> Gathered<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, waiting: Vec::new(), written: 0, goes_on: false }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes what waits.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if this.waiting.len() + length > TOGETHER {
            ready!(this.poll_out(cx))?;
        }
        this.goes_on = bufs.len() > 1;
        if length > TOGETHER {
            return Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        }
        if length >= FULL_FRAME {
            this.waiting.reserve_exact(TOGETHER - this.waiting.len());
        }
        bufs.iter().for_each(|buf| this.waiting.extend_from_slice(buf));
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if std::mem::take(&mut this.goes_on) {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_out(cx))?;
        // An answer has come to its end: a connection that only waits holds no room.
        this.waiting = Vec::new();
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Connected> Connected for Gathered<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use bytes::Bytes;
    use http::HeaderMap;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Takes as much as its plan says at each call: nothing for now where that is 0.
    #[derive(Debug, Default)]
    struct Socket {
        plan: Vec<usize>,
        calls: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let room = self.plan.get(self.calls).copied().unwrap_or(usize::MAX);
            self.calls += 1;
            if room == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = room.min(buf.len());
            self.taken.extend_from_slice(&buf[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn frame(number: u8, length: usize) -> Vec<u8> {
        vec![number; length]
    }

    /// A frame as h2 writes it, and the flush after it.
    async fn put(connection: &mut Gathered<Socket>, head: &[u8], payload: &[u8]) {
        let pieces: Vec<IoSlice<'_>> =
            [head, payload].into_iter().filter(|piece| !piece.is_empty()).map(IoSlice::new).collect();
        let length = poll_fn(|cx| Pin::new(&mut *connection).poll_write_vectored(cx, &pieces)).await.unwrap();
        assert_eq!(length, head.len() + payload.len());
        connection.flush().await.unwrap();
    }

    #[tokio::test]
    async fn frames_are_written_together_and_the_last_at_once() {
        let mut connection = Gathered::new(Socket::default());
        for number in 0..5 {
            put(&mut connection, &[number; 9], &frame(number, 16 << 10)).await;
        }
        assert_eq!(connection.inner.calls, 0);
        put(&mut connection, &[5; 30], &[]).await;
        assert_eq!((connection.inner.calls, connection.inner.taken.len()), (1, 5 * FULL_FRAME + 30));
        put(&mut connection, &[6; 30], &[]).await;
        assert_eq!(connection.inner.calls, 2);
        for number in 7..27 {
            put(&mut connection, &[number; 9], &frame(number, 16 << 10)).await;
        }
        assert_eq!(connection.inner.calls, 4, "8 and 8, and 4 that wait");
    }

    #[tokio::test]
    async fn what_waits_is_written_by_the_next_flush_or_the_end() {
        let mut connection = Gathered::new(Socket::default());
        put(&mut connection, &[0; 9], &frame(0, 300)).await;
        connection.flush().await.unwrap();
        assert_eq!(connection.inner.taken.len(), 309);
        put(&mut connection, &[0; 9], &frame(0, 300)).await;
        connection.shutdown().await.unwrap();
        assert_eq!(connection.inner.taken.len(), 618);
    }

    /// What h2 sends of an answer arrives while both sides stay connected: nothing is left waiting, whatever its frames are.
    #[tokio::test]
    async fn nothing_of_what_h2_sends_is_left_waiting() {
        let (ours, theirs) = tokio::io::duplex(100_000);
        tokio::spawn(async move {
            let mut server = h2::server::handshake(Gathered::new(ours)).await.unwrap();
            while let Some(Ok((request, mut respond))) = server.accept().await {
                let lengths: Vec<usize> =
                    request.uri().path().split('/').filter_map(|length| length.parse().ok()).collect();
                tokio::spawn(async move {
                    let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                    for length in lengths {
                        body.send_data(Bytes::from(frame(7, length)), false).unwrap();
                        tokio::task::yield_now().await;
                    }
                    body.send_trailers(HeaderMap::new()).unwrap();
                });
            }
        });
        let (client, connection) = h2::client::handshake(theirs).await.unwrap();
        tokio::spawn(connection);
        let lengths = [0, 1, 255, 256, 257, 16_383, 16_384, 16_385, 131_000, 1_000_000];
        for pair in lengths.into_iter().flat_map(|one| lengths.map(|other| [one, other])) {
            let uri = format!("http://x/{}/{}", pair[0], pair[1]);
            let (answer, _) = client
                .clone()
                .ready()
                .await
                .unwrap()
                .send_request(http::Request::get(uri).body(()).unwrap(), true)
                .unwrap();
            let read = async {
                let mut body = answer.await.unwrap().into_body();
                let mut length = 0;
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    length += data.len();
                }
                body.trailers().await.unwrap();
                length
            };
            let length = tokio::time::timeout(Duration::from_secs(10), read).await;
            assert_eq!(length, Ok(pair.iter().sum()), "{pair:?}");
        }
    }

    proptest! {
        /// However frames, flushes and a slow socket fall together, every byte comes once and in order.
        #[test]
        fn every_byte_comes_in_order(
            frames in proptest::collection::vec((0usize..40, 0usize..3 * FULL_FRAME, any::<bool>()), 0..40),
            plan in proptest::collection::vec(prop_oneof![Just(0), 1usize..2 * TOGETHER], 0..60),
            huge in proptest::option::of(TOGETHER..2 * TOGETHER),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut connection = Gathered::new(Socket { plan, ..Socket::default() });
                let mut sent = Vec::new();
                let lengths = frames.into_iter().chain(huge.map(|length| (9, length, true)));
                for (number, (head, length, flushed)) in (0u8..).zip(lengths) {
                    let mut bytes = [frame(number, head), frame(number, length)].concat();
                    sent.extend_from_slice(&bytes);
                    while !bytes.is_empty() {
                        let (head, payload) = bytes.split_at(head.min(bytes.len()));
                        let pieces = [IoSlice::new(head), IoSlice::new(payload)];
                        let taken =
                            poll_fn(|cx| Pin::new(&mut connection).poll_write_vectored(cx, &pieces)).await.unwrap();
                        bytes.drain(..taken);
                    }
                    if flushed {
                        connection.flush().await.unwrap();
                    }
                }
                connection.shutdown().await.unwrap();
                assert!(connection.inner.taken == sent);
            });
        }
    }
}

//! What the HTTP parser refuses before any of our code sees it: a request line or headers that are too long.
//!
//! hyper answers those with an empty body and closes, while the caller is still writing: many clients then see a broken
//! connection and no answer. [`Courteous`] stands between hyper and the socket: it puts a body that says what is wrong in the
//! place of the empty one, and reads on for a while, throwing away what comes, so that the caller gets to read it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::fhir;

/// Bytes of the beginning of a request that are kept: enough for its path.
const START_BYTES: usize = 64;

/// hyper refuses no request as too long that is shorter.
const LONG_BYTES: usize = 60_000;

/// What is read and thrown away after a refusal, at most.
const DRAINED_BYTES: usize = 32 << 20;
const DRAINED_TIME: Duration = Duration::from_secs(5);

/// A connection that says why it refuses a request.
#[derive(Debug)]
pub(crate) struct Courteous<S> {
    inner: S,
    /// Of the request that is being read: its first bytes, how many came, and whether its first line goes on.
    start: Vec<u8>,
    read: usize,
    in_line: bool,
    /// Whether the next bytes begin a request.
    fresh: bool,
    refusal: Option<Refusal>,
    draining: Option<Draining>,
}

/// An answer of ours, and how much of it is written.
#[derive(Debug)]
struct Refusal {
    text: Vec<u8>,
    written: usize,
}

#[derive(Debug)]
struct Draining {
    left: usize,
    end: Pin<Box<Sleep>>,
    is_shut: bool,
}

impl<S> Courteous<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, start: Vec::new(), read: 0, in_line: true, fresh: true, refusal: None, draining: None }
    }

    fn note(&mut self, new: &[u8]) {
        if new.is_empty() {
            return;
        }
        if self.fresh {
            self.start.clear();
            (self.read, self.in_line, self.fresh) = (0, true, false);
        }
        self.read += new.len();
        let room = START_BYTES.saturating_sub(self.start.len());
        self.start.extend(new.iter().take(room));
        self.in_line &= !new.contains(&b'\n');
    }

    /// Our own words for an answer that hyper made itself.
    fn reworded(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let is_own = self.read >= LONG_BYTES && answer.len() < 256 && answer.ends_with(b"\r\n\r\n");
        let status = answer.strip_prefix(b"HTTP/1.1 ").filter(|_| is_own)?.get(..3)?;
        let (status, message) = match status {
            b"414" => ("414 URI Too Long", URL),
            b"431" if self.in_line => ("414 URI Too Long", URL),
            b"431" => ("431 Request Header Fields Too Large", "the headers of the request are too long"),
            _ => return None,
        };
        let path = self.start.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let is_fhir = path.strip_prefix(b"/fhir").is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'?')));
        let (kind, body) = if is_fhir {
            fhir::too_long(message)
        } else {
            let body = serde_json::json!({ "error": { "code": "too_long", "message": message } });
            ("application/json", body.to_string())
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        Some([head.into_bytes(), body.into_bytes()].concat())
    }
}

const URL: &str = "the URL is longer than 65,534 bytes; a search may also be posted, as a form to `_search`";

impl<S: AsyncRead + Unpin> AsyncRead for Courteous<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            let new = buf.filled().get(before..).unwrap_or_default();
            self.note(new);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Courteous<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refusal.is_none()
            && let Some(text) = this.reworded(buf)
        {
            this.refusal = Some(Refusal { text, written: 0 });
        }
        let Some(refusal) = &mut this.refusal else {
            this.fresh = true;
            return Pin::new(&mut this.inner).poll_write(cx, buf);
        };
        while let Some(rest) = refusal.text.get(refusal.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut this.inner).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => refusal.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        this.refusal = None;
        this.draining =
            Some(Draining { left: DRAINED_BYTES, end: Box::pin(tokio::time::sleep(DRAINED_TIME)), is_shut: false });
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            // a refusal is one small piece
            [one] if self.refusal.is_some() || self.reworded(one).is_some() => self.poll_write(cx, one),
            _ => {
                self.fresh = true;
                Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(draining) = &mut this.draining else { return Pin::new(&mut this.inner).poll_shutdown(cx) };
        if !draining.is_shut {
            match Pin::new(&mut this.inner).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => draining.is_shut = true,
                other => return other,
            }
        }
        let mut space = [0_u8; 16 * 1024];
        loop {
            if draining.end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut this.inner).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                // the caller has gone, or has said all
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    let count = buf.filled().len();
                    draining.left = draining.left.saturating_sub(count);
                    if count == 0 || draining.left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rstest::rstest;

    use super::*;

    const REFUSED: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    fn after(request: &[u8], more: usize) -> Courteous<()> {
        let mut connection = Courteous::new(());
        connection.note(request);
        connection.note(&vec![b'x'; more]);
        connection
    }

    #[rstest]
    #[case(b"GET /fhir/Patient?name=", "414 URI Too Long", "OperationOutcome")]
    #[case(b"GET /fhir?_id=", "414 URI Too Long", "OperationOutcome")]
    #[case(b"GET /fhir/metadata HTTP/1.1\r\nx-long: ", "431 Request Header Fields", "OperationOutcome")]
    #[case(b"GET /fhirs?x=", "414 URI Too Long", "{\"error\":")]
    #[case(b"GET /api/v1/sources?x=", "414 URI Too Long", "{\"error\":")]
    fn a_long_request_is_refused_with_words(#[case] request: &[u8], #[case] status: &str, #[case] body: &str) {
        let text = String::from_utf8(after(request, 500_000).reworded(REFUSED).unwrap()).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        let (head, said) = text.split_once("\r\n\r\n").unwrap();
        assert!(said.contains(body) && head.contains(&format!("content-length: {}\r\n", said.len())), "{text}");
    }

    #[test]
    fn every_other_answer_stays_as_it_is() {
        let long = after(b"GET /fhir/Patient?name=", 500_000);
        assert!(long.reworded(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_none());
        assert!(long.reworded(b"HTTP/1.1 431 ").is_none(), "a piece of a body");
        assert!(after(b"GET /fhir/Patient HTTP/1.1\r\n\r\n", 0).reworded(REFUSED).is_none());
        let mut next = after(b"GET /fhir/Patient?name=", 500_000);
        next.fresh = true;
        next.note(b"GET / HTTP/1.1\r\n");
        assert!(next.reworded(REFUSED).is_none(), "it is of the request before");
    }
}

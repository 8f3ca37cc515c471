use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use super::message::Message;

/// Pieces from so many bytes on go out as they are; smaller ones are put together.
const APART: usize = 4 << 10;
/// Small pieces wait for more until they are so many bytes.
const TOGETHER: usize = 32 << 10;

/// Messages as the body of an answer of gRPC over HTTP/2: each with its length before it, the status at the end.
pub(in crate::flight) struct Sent {
    messages: BoxStream<'static, Result<Message, Status>>,
    /// Bytes that a message may have.
    longest: usize,
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    /// Messages that have come; the first tells the columns.
    taken: usize,
    end: Option<Status>,
    ended: bool,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Sent {
    pub(in crate::flight) fn new(messages: BoxStream<'static, Result<Message, Status>>, longest: usize) -> Self {
        Self { messages, longest, pieces: VecDeque::new(), small: BytesMut::new(), taken: 0, end: None, ended: false }
    }

    fn put(&mut self, message: Message) -> Result<(), Status> {
        let Message { head, columns, length } = message;
        self.taken += 1;
        let length = u32::try_from(length).ok().filter(|_| length <= self.longest).ok_or_else(|| {
            Status::out_of_range(format!(
                "rows of {length} bytes do not fit into a message of {} (`grpc.max_message_bytes`): ask for fewer columns",
                self.longest
            ))
        })?;
        // Not compressed: what is compressed are the columns, if anything.
        self.small.put_u8(0);
        self.small.put_u32(length);
        self.small.extend_from_slice(&head);
        for piece in columns {
            if piece.len() < APART {
                self.small.extend_from_slice(&piece);
            } else {
                self.part();
                self.pieces.push_back(piece);
            }
        }
        if self.small.len() >= TOGETHER {
            self.part();
        }
        Ok(())
    }

    /// Comes back when all of a small answer, or a first part of another, is ready to go out: with the head of the answer, and
    /// what comes after it, as one.
    pub(in crate::flight) async fn begun(&mut self) {
        poll_fn(|cx| {
            while self.end.is_none() && self.pieces.is_empty() {
                if self.poll_more(cx).is_pending() {
                    // The columns alone wait for the first row; a row waits for nothing.
                    return if self.taken > 1 { Poll::Ready(()) } else { Poll::Pending };
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Takes the next message, or notes the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.messages.poll_next_unpin(cx)) {
            Some(message) => {
                if let Err(status) = message.and_then(|message| self.put(message)) {
                    self.part();
                    self.end = Some(status);
                }
            }
            None => {
                self.part();
                self.end = Some(Status::ok(""));
            }
        }
        Poll::Ready(())
    }

    /// Ends what was put together.
    fn part(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(status) = &this.end {
                let mut trailers = HeaderMap::new();
                status.add_header(&mut trailers)?;
                this.ended = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if this.poll_more(cx).is_pending() {
                if this.small.is_empty() {
                    return Poll::Pending;
                }
                this.part();
            }
        }
    }
}

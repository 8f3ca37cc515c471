//! A call that its client gave up is not one that came to its end.
//!
//! gRPC resets the stream of a cancelled call (`RST_STREAM`). tonic's decoder takes the reset of a request for its regular
//! end, so that a half upload would look like a whole one and be committed. Here, in front of the decoder, only
//! `END_STREAM` ends a request; whatever else ends it is an error of the stream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

/// The request with a body that ends only where the client ended it.
pub(super) fn whole(request: http::Request<Body>) -> http::Request<Body> {
    request.map(|body| Body::new(Whole { body, failed: false }))
}

#[derive(Debug)]
struct Whole {
    body: Body,
    failed: bool,
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let end = match frame {
            Some(Err(status)) if status.code() != Code::Cancelled => Some(Err(status)),
            Some(Err(_)) => Some(Err(given_up())),
            // A reset that says "no error" ends the body without its end.
            None if !self.body.is_end_stream() => Some(Err(given_up())),
            frame => return Poll::Ready(frame),
        };
        self.failed = true;
        Poll::Ready(end)
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Not `Cancelled`: the decoder would take it for the end.
fn given_up() -> Status {
    Status::aborted("the client gave the call up before its end")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt;
    use rstest::rstest;

    use super::*;

    /// Frames, and whether the last of them is followed by the end that a client sends.
    #[derive(Debug)]
    struct Sent {
        frames: VecDeque<Result<Bytes, Status>>,
        ended: bool,
    }

    impl HttpBody for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            Poll::Ready(self.frames.pop_front().map(|frame| frame.map(Frame::data)))
        }

        fn is_end_stream(&self) -> bool {
            self.ended && self.frames.is_empty()
        }
    }

    #[rstest]
    #[case::ended(vec![Ok("a"), Ok("b")], true, Some("ab"))]
    #[case::reset_without_error(vec![Ok("a")], false, None)]
    #[case::cancelled(vec![Ok("a"), Err(Status::cancelled("reset"))], false, None)]
    #[case::broken(vec![Ok("a"), Err(Status::unknown("reset"))], false, None)]
    #[tokio::test]
    async fn only_a_request_that_its_client_ended_ends(
        #[case] frames: Vec<Result<&'static str, Status>>,
        #[case] ended: bool,
        #[case] read: Option<&str>,
    ) {
        let frames = frames.into_iter().map(|frame| frame.map(|text| Bytes::from_static(text.as_bytes()))).collect();
        let request = whole(http::Request::new(Body::new(Sent { frames, ended })));
        match (request.into_body().collect().await, read) {
            (Ok(collected), Some(read)) => assert_eq!(collected.to_bytes(), read),
            (Err(status), None) => assert_ne!(status.code(), Code::Cancelled),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
}

//! Answers of DoGet as they go out.
//!
//! arrow-flight puts the columns of a batch one after the other into one message, and tonic copies the message into what it
//! sends. For a large answer that is most of what the threads of the doors do. Here the columns go to HTTP/2 as they are:
//!
//! - [`answer`]: rows that are not written yet;
//! - [`message`]: a batch as a Flight message, in pieces;
//! - [`body`]: messages as the body of an answer of gRPC.

mod answer;
mod body;
mod message;
#[cfg(test)]
mod tests;

pub(super) use answer::Answer;
pub(super) use body::Sent;
pub(super) use message::Message;

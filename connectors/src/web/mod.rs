//! HTTP as a way to a source: one client with time-outs, retries, credentials that stay where they belong, and answers that
//! are complete before anybody reads them.
//!
//! An answer is taken whole (in memory up to 8 MiB, then in a file without a name) before its first record is used: what
//! breaks off is asked for again, and nothing of it has been handed on. Credentials go to the origin that was declared and
//! to origins declared as trusted, never along a redirect or a link to another one.

mod address;
mod answer;
mod auth;
mod check;
mod client;
mod link;
mod net;
mod token;

pub(crate) use address::{base, names_a_secret, shown};
pub(crate) use answer::Answer;
pub(crate) use auth::Credentials;
pub use auth::{Auth, SigningAlgorithm};
pub(crate) use check::{fail, probe, reach};
pub(crate) use client::{Client, Method, Request, Settings, retry_after};
pub(crate) use link::next_link;
pub(crate) use net::Net;

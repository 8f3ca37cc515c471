//! Claims about the whole server, on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bad_input;
mod fhir;
mod fhir_clients;
mod first_day;
mod flight;
mod killed;
mod postgres;
mod s3;
mod search;
mod synthea;
mod synthea_search;

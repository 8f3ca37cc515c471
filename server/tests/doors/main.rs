//! The server as its clients meet it: real sockets, real binary, one data folder per test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::large_futures, reason = "tests")]

mod access;
mod alerts;
mod audit;
mod boot;
mod closed;
mod command_line;
mod crowd;
mod demo;
mod erasure;
mod fhir_client;
mod fhir_operations;
mod fhir_read;
mod fhir_write;
mod flight;
mod flight_jdbc;
mod flight_keys;
mod flight_long;
mod flight_many;
mod flight_writes;
mod harness;
mod hidden;
mod http_lists;
mod http_queries;
mod http_rows;
mod http_sql;
mod in_place;
mod issuer;
mod oidc;
mod paths;
mod postgres;
mod push;
mod runs;
mod secrets;
mod security;
mod served;
mod smart;
mod smart_hidden;
mod sql_export;
mod sql_on_fhir;
mod ssh;
#[path = "../../../connectors/tests/it/ssh/sshd.rs"]
mod sshd;
mod tls;
mod work;

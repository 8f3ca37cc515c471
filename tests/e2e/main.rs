//! Claims about the whole server, on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bad_input;
mod exports;
mod faults;
mod fhir;
mod fhir_clients;
mod fhir_server;
mod first_day;
mod flight;
mod hostile;
mod killed;
mod plain;
mod postgres;
mod s3;
mod search;
mod search_codes;
mod sql_clients;
#[path = "../../connectors/tests/it/ssh/sshd.rs"]
mod sshd;
#[path = "../../connectors/tests/it/stub.rs"]
#[allow(dead_code, reason = "shared by the tests of several crates")]
mod stub;
mod synthea;
mod synthea_cross;
mod synthea_search;
mod work;

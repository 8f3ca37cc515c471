//! One suite, two backends: every claim is checked on SQLite, and on PostgreSQL where `MAVIS_TEST_POSTGRES` is the URL of
//! a server on which databases may be made. Each test has a database of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    clippy::print_stderr,
    reason = "tests"
)]

mod alerts;
mod audit;
mod backend;
mod cursors;
mod intents;
mod known_hosts;
mod leases;
mod mappings;
mod opening;
mod quarantine;
mod runs;
mod schedules;
mod snapshots;
mod sources;
mod tables;
mod tokens;
mod views;

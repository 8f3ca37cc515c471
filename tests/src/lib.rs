//! The harness of the end-to-end tests: a real `mavis` process on real sockets, real counterparts, real clients.
//!
//! `tests/setup` installs and starts the counterparts and puts their addresses into the environment. A test whose
//! counterpart is not there says so and passes, except where `CI=true`: there it fails.

mod counterpart;
mod fixture;
mod server;

pub use counterpart::{Firebird, MariaDb, Postgres, node_packages, python, s3_endpoint, shared, superset};
pub use fixture::{patients_csv, write};
pub use server::{Answer, Ran, Server, ServerBuilder};

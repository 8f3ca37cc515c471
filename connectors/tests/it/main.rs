//! Connectors against real files and real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::large_futures, reason = "tests")]

mod fhir_files;
mod fhir_server;
mod files;
mod files_s3;
mod firebird;
mod hive;
mod http;
mod mongodb;
mod mysql;
mod postgres;
mod postgres_faults;
mod postgres_replication;
mod push;
mod sqlite;
mod ssh;
mod stub;
mod vault;

//! Runs of the pipeline from a source to the FHIR zone, in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::large_futures, reason = "tests")]

mod disk;
mod every_type;
#[path = "../../../fhir/tests/it/generate.rs"]
mod generate;
mod gone;
mod import;
mod in_place;
mod ingest;
mod interrupted;
mod quarantine;
mod quarantine_fhir;
mod replication;
mod schedules;
#[path = "../../../connectors/tests/it/ssh/sshd.rs"]
mod sshd;
mod support;
mod upkeep;
mod write;

//! The lake over real Delta tables: appends, merges, hops, upkeep, erasure, crashes, stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod append;
mod chaos;
mod erase;
mod gone;
mod hop;
mod keyed;
mod maintain;
mod merge;
mod s3;
mod support;

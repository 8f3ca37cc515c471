//! The SQL door over a real lake: Delta tables written through the lake's own units, a catalog in SQLite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::large_futures, reason = "tests")]

mod answers;
mod closed;
mod copies;
mod fixture;
mod guard;
mod home;
mod keyed;
mod limits;
mod listing;
mod names;
mod parameters;
mod postgres;
mod postgres_values;
mod rights;
mod sideways;
mod slt;
mod system;
mod time_travel;
mod work;
mod work_model;
mod work_types;
mod work_views;

//! Transports and wiring, nothing else: the only place that knows both doors and the crates that do the work.
//!
//! [`boot`] puts an [`App`] together from a [`config::Config`] and opens the doors: [`grpc`] (with [`flight`] on the same
//! port), [`http`] (with [`fhir`] below `/fhir`) and `pgwire`. Every door asks [`auth`] who the caller is before anything else.
//! [`cli`] is a client of the gRPC door; [`demo`] is a server that fills itself with sample data first.
//!
//! [`Results`] holds the answers of long queries until they are fetched.
//!
//! No rule about data lives here: what a request means is decided in `pipeline`, `sql`, `lake` and `catalog`.

pub mod app;
pub mod auth;
pub mod boot;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod demo;
pub mod fhir;
pub mod flight;
pub mod grpc;
pub mod host_keys;
mod http;
pub mod telemetry;

mod alerts;
mod closed;
mod erase;
mod first_token;
mod listen;
mod pgwire;
mod query_log;
mod read_log;
mod refusal;
mod results;
mod tls;

pub use app::App;
pub use boot::Server;
pub use read_log::ReadLog;
pub use results::Results;

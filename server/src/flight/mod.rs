//! Arrow Flight SQL, on the port of the gRPC door.
//!
//! [`door`] is the Flight service itself: what Flight SQL leaves to it (poll, schema, sessions, cancelling, the handshake)
//! it answers, everything else goes to [`commands`], which arrow-flight calls for each command. One file per command has
//! its `info` (the answer's schema and a ticket) and its `get` (the rows); both use one schema, nullability included,
//! because strict clients compare them.
//!
//! A ticket or a prepared statement is a signed [`handle`] that carries the SQL and the bound parameters; it is planned again
//! for whoever brings it, so it gives nobody more than the caller's own token does, and it survives a restart. A [`session`]
//! is such a text, too, kept by the client as a cookie. What the process remembers are the ids of running queries
//! ([`running`]), those that several endpoints hand out ([`spread`]), and the answers of polled queries ([`poll`]).
//!
//! [`written`] has statements that write and come as queries.
//!
//! [`get`] answers DoGet, and [`sent`] is how its rows go out. Dictionaries are sent as their values: the schema is the
//! same in both phases, and every client reads it.

mod cancel;
mod catalogs;
mod commands;
mod described;
mod door;
mod get;
mod handle;
mod handshake;
mod ingest;
mod keys;
mod parameters;
mod poll;
mod prepared;
mod received;
mod references;
mod rows;
mod running;
mod schemas;
mod sent;
mod service;
mod session;
mod spread;
mod sql_info;
mod statement;
mod table_types;
mod tables;
mod types;
mod unwritten;
mod update;
mod written;

use crate::App;

use door::FlightDoor;
pub use get::Flight;

/// The service as it is mounted beside `mavis.v1`. Its requests carry the [`Principal`](mavis_types::Principal) in their
/// extensions, put there by [`crate::auth::AuthLayer`]; only Handshake comes without one.
pub fn service(app: &App) -> Flight {
    Flight::new(FlightDoor::new(app), app.config.grpc.max_message_bytes)
}

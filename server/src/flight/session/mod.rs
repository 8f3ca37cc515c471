//! Sessions (`Flight.proto`, session options): the catalog and schema that names are looked for in first, and how answers
//! are sent.
//!
//! A session is a cookie, `arrow_flight_session_id`: its options, signed, and the token that it belongs to. The client
//! carries it, as it carries tickets, so that it survives a restart and any number of servers. Whoever keeps no cookies has the
//! defaults in each request; headers of the same names (`x-mavis-compression`, `x-mavis-endpoints`) work without one.

mod cookie;
mod options;
mod wire;

pub(super) use cookie::{Kept, Sessions};
pub(super) use options::Compression;

use bytes::Bytes;
use tonic::Status;

use super::service::{Caller, Commands};
use crate::grpc::status;

pub(super) const SET: &str = "SetSessionOptions";
pub(super) const GET: &str = "GetSessionOptions";
pub(super) const CLOSE: &str = "CloseSession";

/// Sets options; answers what could not be set, and the session that it makes.
pub(super) async fn set(commands: &Commands, caller: &Caller, body: &Bytes) -> Result<(Bytes, Kept), Status> {
    let asked = wire::read_options(body)?;
    let engine = commands.app.engine.session(&caller.principal, None).await.map_err(status)?;
    let (kept, errors) = options::apply(&engine, caller.session.clone(), asked).await?;
    Ok((wire::write_errors(errors), kept))
}

/// Every option with its value.
pub(super) fn get(caller: &Caller) -> Bytes {
    wire::write_options(options::told(&caller.session))
}

/// Ends the session: its cookie is not taken any more by this process, and the client is told to forget it.
pub(super) fn close(commands: &Commands, caller: &Caller) -> Bytes {
    commands.sessions.close(&caller.session);
    wire::write_closed()
}

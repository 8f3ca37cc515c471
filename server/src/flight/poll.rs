//! PollFlightInfo: a query that is computed while the client asks now and then, and fetched when it is done.
//!
//! The first call begins it; its rows go to files ([`crate::results`]). Each further call waits a moment for the end, tells how
//! far it is, and keeps it from being given up. Once it is done the info has an endpoint for each file, to be fetched in
//! parallel, more than once, until the time that the endpoints tell. Listings are done at once.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, PollInfo, RenewFlightEndpointRequest, Ticket,
    sql::{Any, Command},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use mavis_sql::Limits;
use prost::Message;
use tonic::{Code, Response, Status};

use super::{
    handle::{Handle, Stored},
    parameters, prepared, rows,
    service::{Caller, Commands},
    statement::{self, Gets},
    unwritten, written,
};
use crate::{
    auth::Door,
    grpc::{short, status},
    http::ApiError,
    query_log::QueryLog,
    results::{Job, Phase, Submit},
};

/// How long the first call, and how long each further one, waits for the end.
const FIRST: Duration = Duration::from_millis(100);
const FURTHER: Duration = Duration::from_secs(2);
/// A query that nobody asks for is ended after this.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) const RENEW: &str = "RenewFlightEndpoint";

/// What a descriptor asks to be polled; `None` where that is done at once.
pub(super) enum Asked {
    Begin(Box<Handle>),
    Again(Stored),
}

/// # Errors
/// INVALID_ARGUMENT for a handle that was not made here.
pub(super) fn read(
    commands: &Commands,
    caller: &Caller,
    descriptor: &FlightDescriptor,
) -> Result<Option<Asked>, Status> {
    let Ok(any) = Any::decode(descriptor.cmd.clone()) else { return Ok(None) };
    Ok(match Command::try_from(any) {
        Ok(Command::CommandStatementQuery(query)) => {
            Some(Asked::Begin(Box::new(Handle::query(query.query, Bytes::new(), &caller.session.home()))))
        }
        Ok(Command::CommandPreparedStatementQuery(query)) => {
            Some(Asked::Begin(Box::new(prepared::begun(commands, &query)?)))
        }
        Ok(Command::TicketStatementQuery(ticket)) => {
            commands.handles.read(&ticket.statement_handle)?.stored.map(Asked::Again)
        }
        _ => None,
    })
}

/// Begins a query. `None`: it is one that must be done at once (`USE`, a statement that writes, or several rows of parameters).
pub(super) async fn begin(
    commands: &Commands,
    caller: &Caller,
    handle: &Handle,
) -> Result<Option<Response<PollInfo>>, Status> {
    if written::is_write(&handle.sql) {
        return Ok(None);
    }
    let session = statement::at(commands, &caller.principal, handle).await?;
    let values = parameters::read(&handle.parameters)?;
    let [values] = values.as_slice() else { return Ok(None) };
    if session.used(&handle.sql).await.map_err(status)?.is_some() {
        return Ok(None);
    }
    let prepared = statement::prepare(commands, caller, handle, true).await?;
    let submit = Submit { owner: caller.principal.clone(), ordered: prepared.ordered, patience: Some(PATIENCE) };
    let (commands_of, principal) = (commands.clone(), caller.principal.clone());
    let (sql, values) = (handle.sql.clone(), values.clone());
    let query = async move {
        let app = &commands_of.app;
        let query = &app.config.query;
        let limits = Limits {
            time: Duration::from_secs(query.long_seconds),
            memory_bytes: query.memory_bytes,
            rows: None,
            result_bytes: None,
        };
        let log = QueryLog::begin(app, &principal, Door::Flight, &sql);
        match session.query(&sql, &values, Some(limits)).await {
            Ok(stream) => Ok(log.follow(stream)),
            Err(error) => {
                log.failed(&error);
                Err(ApiError::of_statement(error, &sql))
            }
        }
    };
    let job = commands.app.results.submit(submit, query).await.map_err(|error| told(&error))?;
    job.promise(&prepared.schema);
    job.wait(FIRST).await;
    answer(commands, &job, &prepared.schema).map(Some)
}

/// Tells of a query that was begun.
pub(super) async fn again(commands: &Commands, caller: &Caller, stored: &Stored) -> Result<Response<PollInfo>, Status> {
    let job = find(commands, caller, stored)?;
    job.wait(FURTHER).await;
    let schema = job.schema().cloned().ok_or_else(|| Status::internal("the query's columns are not known"))?;
    answer(commands, &job, &schema)
}

fn answer(commands: &Commands, job: &Arc<Job>, schema: &SchemaRef) -> Result<Response<PollInfo>, Status> {
    let descriptor = descriptor(commands, job)?;
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| unwritten::unwritable(&error))?;
    // By these the query can be cancelled while it has no endpoint.
    let mut info = info.with_descriptor(descriptor.clone()).with_app_metadata(descriptor.cmd.clone());
    let expiration_time = job.expires_at().map(timestamp);
    let (flight_descriptor, progress) = match job.phase() {
        Phase::Failed { error, .. } => return Err(told(&error)),
        Phase::Cancelled { .. } => return Err(Status::cancelled("the query was cancelled")),
        Phase::Queued => (Some(descriptor), None),
        Phase::Running => (Some(descriptor), job.query().and_then(|query| commands.app.engine.progress(query))),
        Phase::Done { .. } => {
            let parts = u32::try_from(job.parts().max(1)).unwrap_or(u32::MAX);
            for part in 0..parts {
                info = info.with_endpoint(endpoint(commands, job, part)?);
            }
            info = info
                .with_ordered(job.ordered)
                .with_total_records(i64::try_from(job.rows()).unwrap_or(-1))
                .with_total_bytes(i64::try_from(job.bytes()).unwrap_or(-1));
            (None, Some(1.0))
        }
    };
    Ok(Response::new(PollInfo { info: Some(info), flight_descriptor, progress, expiration_time }))
}

fn descriptor(commands: &Commands, job: &Job) -> Result<FlightDescriptor, Status> {
    let handle = Handle::stored(Stored::new(job.id, None));
    Ok(FlightDescriptor::new_cmd(statement::ticket(commands, &handle)?))
}

fn endpoint(commands: &Commands, job: &Job, part: u32) -> Result<FlightEndpoint, Status> {
    let handle = Handle::stored(Stored::new(job.id, Some(part)));
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(statement::ticket(commands, &handle)?));
    Ok(match job.expires_at() {
        Some(at) => endpoint.with_expiration_time(timestamp(at)),
        None => endpoint,
    })
}

/// The rows of one file.
pub(super) fn fetch(commands: &Commands, caller: &Caller, stored: &Stored) -> Gets {
    let job = find(commands, caller, stored)?;
    match job.phase() {
        Phase::Failed { error, .. } => return Err(told(&error)),
        Phase::Done { .. } => {}
        _ => return Err(Status::failed_precondition("the query is not done: poll until its info has endpoints")),
    }
    let results = &commands.app.results;
    let part = usize::try_from(stored.part.unwrap_or_default()).unwrap_or_default();
    let read = if job.parts() == 0 { results.read_nothing(&job) } else { results.read_part(&job, part) };
    let read = read.ok_or_else(over)?;
    let batches = read.batches.map(|batch| batch.map_err(status));
    rows::answer(&read.schema, batches, caller.session.compressed())
}

/// Ends the query of a handle; `None` where there is none of this caller.
pub(super) fn cancel(commands: &Commands, caller: &Caller, stored: &Stored) -> Option<bool> {
    let job = commands.app.results.find(stored.job()?, &caller.principal)?;
    Some(commands.app.results.cancel(&job))
}

/// The action `RenewFlightEndpoint`: the endpoint with a later end.
pub(super) fn renew(commands: &Commands, caller: &Caller, body: &Bytes) -> Result<Bytes, Status> {
    let unreadable = || Status::invalid_argument("the endpoint to renew cannot be read");
    let asked = RenewFlightEndpointRequest::decode(body.clone()).map_err(|_| unreadable())?;
    let ticket = asked.endpoint.and_then(|endpoint| endpoint.ticket).ok_or_else(unreadable)?;
    let handle = commands.handles.of_ticket(&ticket.ticket)?;
    let Some(stored @ Stored { part: Some(part), .. }) = handle.stored else {
        return Err(Status::invalid_argument("only endpoints with an expiration time can be renewed"));
    };
    let job = find(commands, caller, &stored)?;
    Ok(endpoint(commands, &job, part)?.encode_to_vec().into())
}

fn find(commands: &Commands, caller: &Caller, stored: &Stored) -> Result<Arc<Job>, Status> {
    let job = stored.job().and_then(|id| commands.app.results.find(id, &caller.principal));
    job.ok_or_else(over)
}

fn over() -> Status {
    Status::not_found("there is no such query, or its time is over: ask again")
}

fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}

/// What an HTTP caller would have been told.
fn told(error: &ApiError) -> Status {
    let code = match error.status.as_u16() {
        400 => Code::InvalidArgument,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        409 => Code::Aborted,
        429 | 507 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    Status::new(code, short(error.message.clone()))
}

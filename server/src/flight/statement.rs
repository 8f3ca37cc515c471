//! `CommandStatementQuery`, and fetching the rows of any query.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_flight::{
    FlightDescriptor, FlightInfo,
    sql::{ProstMessageExt, TicketStatementQuery},
};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use mavis_sql::{Home, Prepared, QueryStream, Session};
use mavis_types::Principal;
use prost::Message;
use tonic::{Response, Status};
use uuid::Uuid;

use super::{
    handle::Handle,
    parameters, poll, rows,
    running::Entry,
    sent::Answer,
    service::{Caller, Commands},
    session::Compression,
    unwritten, written,
};
use crate::{
    auth::Door,
    grpc::{short, status},
    query_log::QueryLog,
};

/// Endpoints of a large answer, at most, where the client says nothing.
const MOST: u32 = 8;

pub(super) type Gets = Result<Response<Answer>, Status>;

pub(super) async fn info(
    commands: &Commands,
    caller: &Caller,
    sql: String,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let handle = Handle::query(sql, Bytes::new(), &caller.session.home());
    planned(commands, caller, handle, descriptor).await
}

/// Plans a query and answers its schema, with tickets that carry the handle: several where the answer may be large and has
/// no order.
pub(super) async fn planned(
    commands: &Commands,
    caller: &Caller,
    handle: Handle,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    if written::is_write(&handle.sql) {
        return written::info(commands, caller, &handle, descriptor).await;
    }
    let prepared = prepare(commands, caller, &handle, true).await?;
    let one_by_one = parameters::read(&handle.parameters)?.len() != 1;
    let endpoints = match caller.session.wanted_endpoints() {
        _ if prepared.ordered || one_by_one => 1,
        Some(endpoints) => endpoints,
        None if prepared.large => u32::try_from(commands.app.config.query.partitions).unwrap_or(1).clamp(1, MOST),
        None => 1,
    };
    let handles: Vec<Handle> = if endpoints == 1 {
        vec![handle]
    } else {
        commands.spreads.shares(endpoints).map(|share| Handle { share: Some(share), ..handle.clone() }).collect()
    };
    let tickets = handles.iter().map(|handle| ticket(commands, handle)).collect::<Result<Vec<_>, _>>()?;
    let info = rows::info_of(tickets, &prepared.schema, descriptor)?;
    // Where an order was asked for, the endpoints (one) have it.
    Ok(Response::new(info.with_ordered(prepared.ordered)))
}

/// The bytes of a ticket for a handle.
pub(super) fn ticket(commands: &Commands, handle: &Handle) -> Result<Vec<u8>, Status> {
    let ticket = TicketStatementQuery { statement_handle: commands.handles.write(handle)? };
    Ok(ticket.as_any().encode_to_vec())
}

/// The columns and the parameters of a handle's statement, for this caller.
///
/// `bound`: the values of the parameters must be there.
pub(super) async fn prepare(
    commands: &Commands,
    caller: &Caller,
    handle: &Handle,
    bound: bool,
) -> Result<Prepared, Status> {
    let session = at(commands, &caller.principal, handle).await?;
    if session.used(&handle.sql).await.map_err(status)?.is_some() {
        let parameters = Arc::new(Schema::empty());
        return Ok(Prepared { schema: used_schema(), parameters, ordered: true, large: false, command: None });
    }
    // All rows of values have the same types.
    let values =
        if bound { parameters::read(&handle.parameters)?.into_iter().next().unwrap_or_default() } else { vec![] };
    let prepared = session.prepare_with(&handle.sql, &values).await.map_err(|error| placed(error, &handle.sql))?;
    if bound && handle.parameters.is_empty() && !prepared.parameters.fields().is_empty() {
        return Err(Status::invalid_argument(format!(
            "the statement has {} parameters and no values: prepare it and bind them",
            prepared.parameters.fields().len()
        )));
    }
    Ok(prepared)
}

/// A session of the engine where the handle's statement was sent.
pub(super) async fn at(commands: &Commands, principal: &Principal, handle: &Handle) -> Result<Session, Status> {
    let session = commands.app.engine.session(principal, None).await.map_err(status)?;
    Ok(session.at(handle.home()))
}

/// The status of an error in a statement, with the line that it is in and a mark below the place.
pub(super) fn placed(error: mavis_sql::Error, sql: &str) -> Status {
    let pointer = crate::http::pointer(&error, sql);
    let told = status(error);
    match pointer {
        None => told,
        Some(pointer) => Status::new(told.code(), short(format!("{}\n{pointer}", told.message()))),
    }
}

/// One execution of a handle's statement, for each row of its parameters in turn.
pub(super) struct Execution {
    pub(super) commands: Commands,
    pub(super) session: Session,
    pub(super) principal: Principal,
    pub(super) id: Uuid,
    pub(super) sql: String,
}

impl Execution {
    async fn run(&self, values: &[ScalarValue]) -> Result<(QueryStream, Entry), Status> {
        let log = QueryLog::begin(&self.commands.app, &self.principal, Door::Flight, &self.sql);
        match self.session.query(&self.sql, values, None).await {
            Ok(query) => {
                let entry = self.commands.running.enter(self.id, self.principal.token, query.id);
                Ok((log.follow(query), entry))
            }
            Err(error) => {
                log.failed(&error);
                Err(placed(error, &self.sql))
            }
        }
    }
}

/// The rows of a handle, planned again for this principal, for as long as the token stays what it is.
pub(super) async fn get(commands: &Commands, caller: Caller, handle: &[u8]) -> Gets {
    let lasting = caller.lasting.clone();
    let answer = answered(commands, caller, handle).await?;
    Ok(match lasting {
        Some(lasting) => answer.map(|answer| answer.watched(lasting)),
        None => answer,
    })
}

async fn answered(commands: &Commands, caller: Caller, handle: &[u8]) -> Gets {
    let handle = commands.handles.read(handle)?;
    let compression = caller.session.compressed();
    if let Some(stored) = &handle.stored {
        return poll::fetch(commands, &caller, stored);
    }
    if let Some(done) = &handle.done {
        return written::get(done);
    }
    // Tickets are never of one; a prepared statement may be.
    if handle.query.is_empty() && written::is_write(&handle.sql) {
        return Err(Status::invalid_argument(
            "a statement that writes runs when its FlightInfo is asked for, or with DoPut: fetch the ticket of its info",
        ));
    }
    let values = parameters::read(&handle.parameters)?;
    let session = at(commands, &caller.principal, &handle).await?;
    if let Some(home) = session.used(&handle.sql).await.map_err(status)? {
        return use_it(commands, caller, home);
    }
    let (commands, id, share) = (commands.clone(), handle.id(), handle.share);
    let execution = Execution { commands: commands.clone(), session, principal: caller.principal, id, sql: handle.sql };
    if let (Some(share), [values]) = (share, values.as_slice()) {
        let (schema, batches) =
            commands.spreads.fetch(id, &execution.principal, &share, || execution.run(values)).await?;
        return rows::answer(&schema, batches, compression);
    }
    let mut rest = values.into_iter();
    let Some(first) = rest.next() else {
        // Bound to no row at all: an answer without rows.
        let prepared = execution.session.prepare(&execution.sql).await.map_err(status)?;
        return rows::answer(&prepared.schema, futures::stream::empty(), compression);
    };
    let (query, entry) = execution.run(&first).await?;
    let schema = Arc::clone(&query.schema);
    let batches = async_stream::try_stream! {
        let mut running = Some((query, entry));
        loop {
            let Some((mut query, entry)) = running.take() else { break };
            while let Some(batch) = query.batches.next().await {
                yield batch.map_err(status)?;
            }
            drop(entry);
            if let Some(values) = rest.next() {
                running = Some(execution.run(&values).await?);
            }
        }
    };
    rows::answer(&schema, batches, compression)
}

/// What a `USE` answers: where names are looked for from now on.
fn used_schema() -> SchemaRef {
    let field = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![field("catalog"), field("schema")]))
}

/// Carries out a `USE`: the client gets a cookie that says so.
fn use_it(commands: &Commands, caller: Caller, home: Home) -> Gets {
    let text = |text: &Option<String>| -> ArrayRef { Arc::new(StringArray::from(vec![text.clone()])) };
    let columns = vec![text(&home.catalog), text(&home.schema)];
    let batch = RecordBatch::try_new(used_schema(), columns).map_err(|error| unwritten::unwritable(&error))?;
    let mut response = rows::answer(&batch.schema(), futures::stream::iter([Ok(batch)]), Compression::None)?;
    let kept = caller.session.at(home);
    let cookie = commands.sessions.keep(kept, &caller.principal)?;
    response.metadata_mut().insert("set-cookie", cookie);
    Ok(response)
}

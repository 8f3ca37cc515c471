//! `CommandStatementQuery`, and fetching the rows of any query.

use std::sync::Arc;

use arrow_flight::{FlightDescriptor, FlightInfo, flight_service_server::FlightService, sql::TicketStatementQuery};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use mavis_sql::{QueryStream, Session};
use mavis_types::Principal;
use tonic::{Response, Status};
use uuid::Uuid;

use super::{handle::Handle, parameters, rows, running::Entry, service::Commands};
use crate::{auth::Door, grpc::status, query_log::QueryLog};

pub(super) async fn info(
    commands: &Commands,
    principal: &Principal,
    sql: String,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    planned(commands, principal, Handle::query(sql, Bytes::new()), descriptor).await
}

/// Plans a query and answers its schema, with a ticket that carries the handle.
pub(super) async fn planned(
    commands: &Commands,
    principal: &Principal,
    handle: Handle,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let session = commands.app.engine.session(principal, None).await.map_err(status)?;
    let prepared = session.prepare(&handle.sql).await.map_err(status)?;
    if handle.parameters.is_empty() && !prepared.parameters.fields().is_empty() {
        return Err(Status::invalid_argument(format!(
            "the statement has {} parameters and no values: prepare it and bind them",
            prepared.parameters.fields().len()
        )));
    }
    let ticket = TicketStatementQuery { statement_handle: commands.handles.write(&handle)? };
    rows::info(&ticket, &prepared.schema, descriptor)
}

/// One execution of a handle's statement, for each row of its parameters in turn.
struct Execution {
    commands: Commands,
    session: Session,
    principal: Principal,
    id: Uuid,
    sql: String,
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
                Err(status(error))
            }
        }
    }
}

/// The rows of a handle, planned again for this principal.
pub(super) async fn get(
    commands: &Commands,
    principal: Principal,
    handle: &[u8],
) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    let handle = commands.handles.read(handle)?;
    let values = parameters::read(&handle.parameters)?;
    let session = commands.app.engine.session(&principal, None).await.map_err(status)?;
    let (commands, id) = (commands.clone(), handle.id());
    let execution = Execution { commands, session, principal, id, sql: handle.sql };
    let mut rest = values.into_iter();
    let Some(first) = rest.next() else {
        // Bound to no row at all: an answer without rows.
        let prepared = execution.session.prepare(&execution.sql).await.map_err(status)?;
        return Ok(rows::stream(&prepared.schema, futures::stream::empty()));
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
    Ok(rows::stream(&schema, batches))
}

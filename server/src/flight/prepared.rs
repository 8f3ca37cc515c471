//! Prepared statements: a handle holds the SQL, binding makes another handle that holds the values too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::{datatypes::Schema, ipc::writer::IpcWriteOptions};
use arrow_flight::{
    FlightDescriptor, FlightInfo, IpcMessage, SchemaAsIpc,
    sql::{
        ActionCreatePreparedStatementResult, CommandPreparedStatementQuery, DoPutPreparedStatementResult,
        server::PeekableFlightDataStream,
    },
};
use bytes::Bytes;
use tonic::{Response, Status};

use super::{
    handle::Handle,
    parameters,
    service::{Caller, Commands},
    statement, unwritten,
};

/// Plans a statement: a handle, the schema of its answer, and the types of its parameters.
pub(super) async fn create(
    commands: &Commands,
    caller: &Caller,
    sql: String,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let handle = Handle::prepared(sql, &caller.session.home());
    let prepared = statement::prepare(commands, caller, &handle, false).await?;
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: commands.handles.write(&handle)?,
        dataset_schema: ipc(&prepared.schema)?,
        parameter_schema: ipc(&prepared.parameters)?,
    })
}

/// Takes the values of the parameters, a row for each execution, in place of those bound before.
pub(super) async fn bind(
    commands: &Commands,
    query: &CommandPreparedStatementQuery,
    values: PeekableFlightDataStream,
) -> Result<DoPutPreparedStatementResult, Status> {
    let handle = commands.handles.read(&query.prepared_statement_handle)?;
    let parameters = parameters::collect(values).await?;
    commands.bound.keep(&handle.statement, &parameters);
    let bound = commands.handles.write(&Handle { parameters, ..handle })?;
    Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(bound) })
}

pub(super) async fn info(
    commands: &Commands,
    caller: &Caller,
    query: &CommandPreparedStatementQuery,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    statement::planned(commands, caller, begun(commands, query)?, descriptor).await
}

/// A prepared statement about to run, under an id of its own, at the home that it was prepared at.
pub(super) fn begun(commands: &Commands, query: &CommandPreparedStatementQuery) -> Result<Handle, Status> {
    let handle = commands.handles.read(&query.prepared_statement_handle)?;
    let home = handle.home();
    let parameters = match commands.bound.of(&handle.statement) {
        Some(bound) if handle.parameters.is_empty() => bound,
        _ => handle.parameters,
    };
    Ok(Handle::query(handle.sql, parameters, &home))
}

/// Values that were bound last, by statement. The handle that binding answers carries them, and needs none of this; but older
/// clients go on with the handle of before.
#[derive(Debug, Clone, Default)]
pub(super) struct Bound(Arc<Mutex<HashMap<Bytes, (Instant, Bytes)>>>);

/// Statements whose values are remembered, and for how long.
const REMEMBERED: usize = 1_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

impl Bound {
    fn keep(&self, statement: &Bytes, parameters: &Bytes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.retain(|_, (at, _)| at.elapsed() < REMEMBERED_FOR);
            let oldest = all.iter().min_by_key(|(_, (at, _))| *at).map(|(statement, _)| statement.clone());
            if let Some(oldest) = oldest.filter(|_| all.len() >= REMEMBERED) {
                all.remove(&oldest);
            }
        }
        if !statement.is_empty() {
            all.insert(statement.clone(), (Instant::now(), parameters.clone()));
        }
    }

    fn of(&self, statement: &Bytes) -> Option<Bytes> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(statement).filter(|(at, _)| at.elapsed() < REMEMBERED_FOR).map(|(_, parameters)| parameters.clone())
    }

    /// The statement was closed.
    fn forget(&self, statement: &Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(statement);
    }
}

/// Gives a statement up.
pub(super) fn close(commands: &Commands, handle: &[u8]) {
    // What cannot be read was not made here, or by another key: there is nothing to give up.
    if let Ok(handle) = commands.handles.read(handle) {
        commands.bound.forget(&handle.statement);
    }
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage =
        SchemaAsIpc::new(schema, &options).try_into().map_err(|error| unwritten::unwritable(&error))?;
    Ok(message.0)
}

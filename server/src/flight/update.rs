//! `CommandStatementUpdate` and `CommandPreparedStatementUpdate`: what they answer is a number of rows.

use arrow_flight::{
    FlightData,
    sql::{CommandPreparedStatementUpdate, server::PeekableFlightDataStream},
};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use mavis_sql::Executed;
use tonic::Status;

use super::{
    handle::Handle,
    parameters,
    service::{Caller, Commands},
    statement::{at, placed},
    written,
};
use crate::{auth::Door, query_log::QueryLog};

/// Runs a statement once for each row of values; answers the rows that it concerned.
pub(super) async fn execute(commands: &Commands, caller: &Caller, handle: &Handle) -> Result<i64, Status> {
    let values = parameters::read(&handle.parameters)?;
    run(commands, caller, handle, &values).await
}

async fn run(
    commands: &Commands,
    caller: &Caller,
    handle: &Handle,
    values: &[Vec<ScalarValue>],
) -> Result<i64, Status> {
    let session = at(commands, &caller.principal, handle).await?;
    if mavis_sql::changes_rights(&handle.sql) {
        return written::rights(commands, caller, &session, handle).await.map(|_| 0);
    }
    let log = QueryLog::write(&commands.app, &caller.principal, Door::Flight, &handle.sql, String::new());
    let outcome = session.execute_many(&handle.sql, values, None).await;
    log.wrote(&outcome);
    outcome.map(|done| counted(&done)).map_err(|error| placed(error, &handle.sql))
}

pub(super) fn counted(done: &Executed) -> i64 {
    i64::try_from(done.rows).unwrap_or(i64::MAX)
}

/// A prepared statement with the values of this call; without any, those that were bound before.
pub(super) async fn prepared(
    commands: &Commands,
    caller: &Caller,
    query: &CommandPreparedStatementUpdate,
    values: PeekableFlightDataStream,
) -> Result<i64, Status> {
    let handle = commands.handles.read(&query.prepared_statement_handle)?;
    match values_of(values).await? {
        None => execute(commands, caller, &handle).await,
        Some(values) => run(commands, caller, &handle, &values).await,
    }
}

/// The rows of values that a client sends after the command; `None` where it sends no columns.
async fn values_of(mut values: PeekableFlightDataStream) -> Result<Option<Vec<Vec<ScalarValue>>>, Status> {
    // The first message names the command; a client without values sends nothing else in it, and nothing after it.
    let is_bare = |data: &FlightData| data.data_header.is_empty();
    let is_empty = match values.peek().await {
        None => true,
        Some(Ok(data)) => is_bare(data),
        Some(Err(error)) => return Err(error.clone()),
    };
    if !is_empty {
        return parameters::rows(values).await.map(Some);
    }
    match values.next().await.transpose()? {
        Some(_) if values.peek().await.is_some() => parameters::rows(values).await.map(Some),
        _ => Ok(None),
    }
}

//! Prepared statements: a handle holds the SQL, binding makes another handle that holds the values too.

use arrow::{datatypes::Schema, ipc::writer::IpcWriteOptions};
use arrow_flight::{
    FlightDescriptor, FlightInfo, IpcMessage, SchemaAsIpc,
    sql::{
        ActionCreatePreparedStatementResult, CommandPreparedStatementQuery, DoPutPreparedStatementResult,
        server::PeekableFlightDataStream,
    },
};
use bytes::Bytes;
use mavis_types::Principal;
use tonic::{Response, Status};

use super::{handle::Handle, parameters, rows, service::Commands, statement};
use crate::grpc::status;

/// Plans a statement: a handle, the schema of its answer, and the types of its parameters.
pub(super) async fn create(
    commands: &Commands,
    principal: &Principal,
    sql: String,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let session = commands.app.engine.session(principal, None).await.map_err(status)?;
    let prepared = session.prepare(&sql).await.map_err(status)?;
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: commands.handles.write(&Handle::statement(sql, Bytes::new()))?,
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
    let bound = commands.handles.write(&Handle::statement(handle.sql, parameters))?;
    Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(bound) })
}

pub(super) async fn info(
    commands: &Commands,
    principal: &Principal,
    query: &CommandPreparedStatementQuery,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let handle = commands.handles.read(&query.prepared_statement_handle)?;
    statement::planned(commands, principal, Handle::query(handle.sql, handle.parameters), descriptor).await
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage =
        SchemaAsIpc::new(schema, &options).try_into().map_err(|error| rows::unwritable(&error))?;
    Ok(message.0)
}

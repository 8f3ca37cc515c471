//! Statements that write, sent as queries.
//!
//! Such a statement runs when its FlightInfo is asked for, once, and the one ticket of the info carries what was done: who
//! fetches it, however often, has the same row, and who never does has written all the same. To ask for its columns runs nothing.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_flight::{FlightDescriptor, FlightInfo};
use futures::{TryStreamExt, stream};
use mavis_sql::Session;
use tonic::{Response, Status};

use super::{
    handle::{Done, Handle},
    rows,
    service::{Caller, Commands},
    session::Compression,
    statement::{Gets, at, placed, ticket},
    unwritten, update,
};
use crate::{auth::Door, grpc::status, query_log::QueryLog};

/// Whether a statement is one that runs when its info is asked for.
pub(super) fn is_write(sql: &str) -> bool {
    mavis_sql::writes(sql) || mavis_sql::changes_rights(sql)
}

/// Runs the statement. The info's number of records is that of the rows concerned, which clients tell as such.
pub(super) async fn info(
    commands: &Commands,
    caller: &Caller,
    handle: &Handle,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let done = if mavis_sql::changes_rights(&handle.sql) {
        let session = at(commands, &caller.principal, handle).await?;
        Done { count: None, status: Some(rights(commands, caller, &session, handle).await?) }
    } else {
        Done { count: Some(update::execute(commands, caller, handle).await?), status: None }
    };
    let (schema, records) = (schema(&handle.sql), done.count.unwrap_or(1));
    let ticket = ticket(commands, &Handle::done(done))?;
    let info = rows::info_of(vec![ticket], &schema, descriptor)?;
    Ok(Response::new(info.with_ordered(true).with_total_records(records)))
}

/// The columns of what such a statement answers.
pub(super) fn schema(sql: &str) -> SchemaRef {
    let field = if mavis_sql::changes_rights(sql) { status_field() } else { count_field() };
    Arc::new(Schema::new(vec![field]))
}

fn count_field() -> Field {
    Field::new("count", DataType::Int64, false)
}

fn status_field() -> Field {
    Field::new("status", DataType::Utf8, false)
}

/// The row that a ticket carries.
pub(super) fn get(done: &Done) -> Gets {
    let column: ArrayRef = match &done.status {
        Some(status) => Arc::new(StringArray::from(vec![status.as_str()])),
        None => Arc::new(Int64Array::from(vec![done.count.unwrap_or_default()])),
    };
    let field = if done.status.is_some() { status_field() } else { count_field() };
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]);
    let batch = batch.map_err(|error| unwritten::unwritable(&error))?;
    rows::answer(&batch.schema(), stream::iter([Ok(batch)]), Compression::None)
}

/// Runs a statement about rights; answers what was done, in words.
pub(super) async fn rights(
    commands: &Commands,
    caller: &Caller,
    session: &Session,
    handle: &Handle,
) -> Result<String, Status> {
    let log = QueryLog::begin(&commands.app, &caller.principal, Door::Flight, &handle.sql);
    match session.query(&handle.sql, &[], None).await {
        Ok(query) => {
            let told: Vec<RecordBatch> = log.follow(query).batches.try_collect().await.map_err(status)?;
            let text = |batch: &RecordBatch| Some(batch.columns().first()?.as_string_opt::<i32>()?.value(0).to_owned());
            Ok(told.iter().filter(|batch| batch.num_rows() > 0).find_map(text).unwrap_or_default())
        }
        Err(error) => {
            log.failed(&error);
            Err(placed(error, &handle.sql))
        }
    }
}

//! Infos and streams as every command makes them.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::Schema};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket, error::FlightError, sql::ProstMessageExt};
use futures::{Stream, stream};
use prost::Message;
use tonic::{Response, Status};

use super::{sent::Answer, service::Commands, session::Compression, unwritten};

type DoGet = <Commands as arrow_flight::flight_service_server::FlightService>::DoGetStream;
/// What a listing answers.
pub(super) type Listed = Result<Response<DoGet>, Status>;

/// What `get_flight_info` answers: the schema, and one endpoint on this server whose ticket is `command`.
pub(super) fn info(
    command: &impl ProstMessageExt,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    Ok(Response::new(info_of(vec![command.as_any().encode_to_vec()], schema, descriptor)?))
}

/// An info with an endpoint on this server for each ticket.
pub(super) fn info_of(
    tickets: Vec<Vec<u8>>,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| unwritten::unwritable(&error))?;
    let endpoints = tickets.into_iter().map(|ticket| FlightEndpoint::new().with_ticket(Ticket::new(ticket)));
    Ok(info.with_endpoints(endpoints.collect()).with_descriptor(descriptor))
}

/// Rows that are all there.
pub(super) fn whole(batch: RecordBatch) -> Listed {
    let schema = batch.schema();
    stream(&schema, stream::iter([Ok(batch)]))
}

/// Rows of a listing as they come.
pub(super) fn stream(
    schema: &Arc<Schema>,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> Listed {
    Ok(answer(schema, batches, Compression::None)?.map(Answer::encoded))
}

/// Rows of a query as they come. The schema goes out first, also when no row follows; messages are cut to about 2 MiB.
pub(super) fn answer(
    schema: &Arc<Schema>,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
    compression: Compression,
) -> Result<Response<Answer>, Status> {
    Ok(Response::new(Answer::new(schema, batches, compression.options()?)))
}

/// An error of a listing that was built here.
pub(super) fn built<T>(result: Result<T, FlightError>) -> Result<T, Status> {
    result.map_err(unwritten::status)
}

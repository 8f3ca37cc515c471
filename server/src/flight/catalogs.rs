//! `CommandGetCatalogs`: the zones, and `system`.

use arrow_flight::{FlightDescriptor, FlightInfo, flight_service_server::FlightService, sql::CommandGetCatalogs};
use mavis_types::Principal;
use tonic::{Response, Status};

use super::{rows, service::Commands};
use crate::grpc::status;

pub(super) fn info(query: &CommandGetCatalogs, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &query.into_builder().schema(), descriptor)
}

pub(super) async fn get(
    commands: &Commands,
    principal: &Principal,
    query: CommandGetCatalogs,
) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    let mut catalogs: Vec<String> = commands
        .app
        .engine
        .list_schemas(principal, None, None)
        .await
        .map_err(status)?
        .into_iter()
        .map(|(c, _)| c)
        .collect();
    catalogs.sort();
    catalogs.dedup();
    let mut builder = query.into_builder();
    for catalog in catalogs {
        builder.append(catalog);
    }
    rows::whole(rows::built(builder.build())?)
}

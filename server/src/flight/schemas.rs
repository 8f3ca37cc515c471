//! `CommandGetDbSchemas`.

use arrow_flight::{
    FlightDescriptor, FlightInfo,
    flight_service_server::FlightService,
    sql::{CommandGetDbSchemas, metadata::GetDbSchemasBuilder},
};
use mavis_types::Principal;
use tonic::{Response, Status};

use super::{rows, service::Commands, tables::shows};
use crate::grpc::status;

pub(super) fn info(query: &CommandGetDbSchemas, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &unfiltered().schema(), descriptor)
}

pub(super) async fn get(
    commands: &Commands,
    principal: &Principal,
    query: CommandGetDbSchemas,
) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    let pattern = query.db_schema_filter_pattern.as_deref();
    let schemas = commands.app.engine.list_schemas(principal, query.catalog.as_deref(), pattern).await;
    let mut builder = unfiltered();
    for (catalog, schema) in schemas.map_err(status)? {
        if shows(&catalog, &schema, pattern, &[]) {
            builder.append(catalog, schema);
        }
    }
    rows::whole(rows::built(builder.build())?)
}

/// The engine has filtered already, with patterns that know `\`.
fn unfiltered() -> GetDbSchemasBuilder {
    GetDbSchemasBuilder::new(None::<String>, None::<String>)
}

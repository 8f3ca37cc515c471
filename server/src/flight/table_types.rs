//! `CommandGetTableTypes`.

use arrow_flight::{FlightDescriptor, FlightInfo, flight_service_server::FlightService, sql::CommandGetTableTypes};
use tonic::{Response, Status};

use super::{rows, service::Commands};

pub(super) const SYSTEM_TABLE: &str = "SYSTEM TABLE";
const TYPES: [&str; 3] = ["TABLE", "VIEW", SYSTEM_TABLE];

pub(super) fn info(query: &CommandGetTableTypes, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &query.into_builder().schema(), descriptor)
}

pub(super) fn get(query: CommandGetTableTypes) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    let mut builder = query.into_builder();
    for kind in TYPES {
        builder.append(kind);
    }
    rows::whole(rows::built(builder.build())?)
}

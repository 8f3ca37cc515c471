//! `CommandGetCatalogs`: the zones, and `system`.

use arrow_flight::{FlightDescriptor, FlightInfo, sql::CommandGetCatalogs};
use tonic::{Response, Status};

use super::{
    rows::{self, Listed},
    service::Commands,
};

pub(super) fn info(query: &CommandGetCatalogs, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &query.into_builder().schema(), descriptor)
}

pub(super) fn get(commands: &Commands, query: CommandGetCatalogs) -> Listed {
    let mut builder = query.into_builder();
    for catalog in commands.app.engine.catalogs() {
        builder.append(catalog);
    }
    rows::whole(rows::built(builder.build())?)
}

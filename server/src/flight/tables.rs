//! `CommandGetTables`, with or without the tables' own schemas.

use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::{
    FlightDescriptor, FlightInfo,
    flight_service_server::FlightService,
    sql::{CommandGetTables, metadata::GetTablesBuilder},
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_sql::{Error, TableListing};
use mavis_types::Principal;
use tonic::{Response, Status};

use super::{rows, service::Commands, table_types::SYSTEM_TABLE};
use crate::grpc::status;

/// Schemas that are asked of the catalog at once.
const AT_ONCE: usize = 8;

const INFORMATION: &str = "information_schema";

pub(super) fn info(query: &CommandGetTables, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &unfiltered(query).schema(), descriptor)
}

pub(super) async fn get(
    commands: &Commands,
    principal: &Principal,
    query: CommandGetTables,
) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    let (catalog, schemas) = (query.catalog.as_deref(), query.db_schema_filter_pattern.as_deref());
    let pattern = query.table_name_filter_pattern.as_deref();
    let mut tables = commands.app.engine.list_tables(principal, catalog, schemas, pattern).await.map_err(status)?;
    tables.retain(|table| {
        shows(&table.catalog, &table.schema, schemas, &query.table_types)
            && (query.table_types.is_empty() || query.table_types.iter().any(|kind| kind == table.kind))
    });
    let mut builder = unfiltered(&query);
    let mut listed =
        stream::iter(tables).map(|table| described(commands, principal, table, query.include_schema)).buffered(AT_ONCE);
    while let Some((table, schema)) = listed.try_next().await? {
        // A table that went away in the meantime is not listed.
        let Some(schema) = schema else { continue };
        rows::built(builder.append(table.catalog, table.schema, table.table, table.kind, &schema))?;
    }
    rows::whole(rows::built(builder.build())?)
}

async fn described(
    commands: &Commands,
    principal: &Principal,
    table: TableListing,
    wanted: bool,
) -> Result<(TableListing, Option<SchemaRef>), Status> {
    if !wanted {
        return Ok((table, Some(Schema::empty().into())));
    }
    match commands.app.engine.table_schema(principal, &table.catalog, &table.schema, &table.table).await {
        Ok(schema) => Ok((table, Some(schema))),
        Err(Error::NoSuchTable { .. }) => Ok((table, None)),
        Err(error) => Err(status(error)),
    }
}

/// The `information_schema` of each zone is listed only for who asks for it, by name or by the kind of its tables: it
/// would stand between the sources in every client's tree. It is always there for queries.
pub(super) fn shows(catalog: &str, schema: &str, pattern: Option<&str>, kinds: &[String]) -> bool {
    schema != INFORMATION
        || catalog == "system"
        || pattern.is_some_and(|pattern| pattern.replace('\\', "").eq_ignore_ascii_case(INFORMATION))
        || kinds.iter().any(|kind| kind == SYSTEM_TABLE)
}

/// The engine has filtered already, with patterns that know `\`.
fn unfiltered(query: &CommandGetTables) -> GetTablesBuilder {
    GetTablesBuilder::new(None::<String>, None::<String>, None::<String>, Vec::<String>::new(), query.include_schema)
}

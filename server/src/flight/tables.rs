//! `CommandGetTables`, with or without the tables' own schemas.

use arrow::datatypes::Schema;
use arrow_flight::{
    FlightDescriptor, FlightInfo,
    sql::{CommandGetTables, metadata::GetTablesBuilder},
};
use futures::StreamExt;
use mavis_sql::TableFilter;
use mavis_types::Principal;
use tonic::{Response, Status};

use super::{
    described::described,
    rows::{self, Listed},
    service::Commands,
    table_types::SYSTEM_TABLE,
};
use crate::grpc::status;

const INFORMATION: &str = "information_schema";

pub(super) fn info(query: &CommandGetTables, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &unfiltered(query).schema(), descriptor)
}

/// The tables, a batch for each page of the catalog: a million of them hold no memory.
pub(super) fn get(commands: &Commands, principal: &Principal, query: CommandGetTables) -> Listed {
    let filter = TableFilter {
        catalog: query.catalog.clone(),
        schema: query.db_schema_filter_pattern.clone(),
        table: query.table_name_filter_pattern.clone(),
        kinds: query.table_types.clone(),
        columns: query.include_schema,
    };
    let schema = unfiltered(&query).schema();
    let pages = commands.app.engine.stream_tables(principal, filter);
    let batches = pages.map(move |page| {
        let mut builder = unfiltered(&query);
        let pattern = query.db_schema_filter_pattern.as_deref();
        for table in page.map_err(status)? {
            if shows(&table.catalog, &table.schema, pattern, &query.table_types) {
                let columns = table.columns.unwrap_or_else(|| Schema::empty().into());
                let columns = described(&columns, &table.catalog, &table.schema, &table.table);
                rows::built(builder.append(table.catalog, table.schema, table.table, table.kind, &columns))?;
            }
        }
        rows::built(builder.build())
    });
    rows::stream(&schema, batches)
}

/// The `information_schema` of each zone is listed only for who asks for it, by the beginning of its name or by the kind of its
/// tables: it would stand between the sources in every client's tree. It is always there for queries.
pub(super) fn shows(catalog: &str, schema: &str, pattern: Option<&str>, kinds: &[String]) -> bool {
    schema != INFORMATION
        || catalog == "system"
        // The engine has found that the pattern fits.
        || pattern.is_some_and(|pattern| !pattern.starts_with(['%', '_']))
        || kinds.iter().any(|kind| kind == SYSTEM_TABLE)
}

/// The engine has filtered already, with patterns that know `\`.
fn unfiltered(query: &CommandGetTables) -> GetTablesBuilder {
    GetTablesBuilder::new(None::<String>, None::<String>, None::<String>, Vec::<String>::new(), query.include_schema)
}

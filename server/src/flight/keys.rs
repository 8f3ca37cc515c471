//! `CommandGetPrimaryKeys`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_flight::{FlightDescriptor, FlightInfo, sql::CommandGetPrimaryKeys};
use mavis_sql::known_table;
use mavis_types::{Principal, TableName, Zone};
use tonic::{Response, Status};

use super::{
    rows::{self, Listed},
    service::Commands,
    unwritten,
};
use crate::grpc::status;

pub(super) fn primary_info(
    query: &CommandGetPrimaryKeys,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &primary_schema(), descriptor)
}

/// The key of a table. Catalog and schema may be left out; then every table of the name that may be read answers.
pub(super) async fn primary(commands: &Commands, principal: &Principal, query: CommandGetPrimaryKeys) -> Listed {
    let mut keys: Vec<(TableName, String, i32)> = Vec::new();
    for zone in Zone::ALL {
        if query.catalog.as_deref().is_some_and(|wanted| wanted != zone.as_str()) {
            continue;
        }
        let schemas = match &query.db_schema {
            Some(schema) => vec![schema.clone()],
            None => {
                let all = commands.app.catalog.schemas(Some(zone)).await.map_err(status)?;
                all.into_iter().map(|(_, schema)| schema).collect()
            }
        };
        for schema in schemas {
            let name = TableName::new(zone, schema, &query.table);
            let found = commands.app.catalog.find_table(&name).await.map_err(status)?;
            if let Some(table) = found.and_then(|table| known_table(principal, table)) {
                let columns = (1..).zip(table.key);
                keys.extend(columns.map(|(place, column)| (name.clone(), column, place)));
            }
        }
    }
    // By catalog, schema, table and place in the key, as the command's definition says.
    keys.sort_by(|(one, _, a), (other, _, b)| (place_of(one), a).cmp(&(place_of(other), b)));
    let text = |of: fn(&(TableName, String, i32)) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(keys.iter().map(of)))
    };
    let columns = vec![
        text(|(name, ..)| name.zone.as_str()),
        text(|(name, ..)| &name.schema),
        text(|(name, ..)| &name.table),
        text(|(_, column, _)| column),
        Arc::new(Int32Array::from_iter_values(keys.iter().map(|(.., place)| *place))) as ArrayRef,
        Arc::new(StringArray::new_null(keys.len())),
    ];
    rows::whole(RecordBatch::try_new(primary_schema(), columns).map_err(|error| unwritten::unwritable(&error))?)
}

/// What a table stands after in an answer.
pub(super) fn place_of(table: &TableName) -> (&str, &str, &str) {
    (table.zone.as_str(), &table.schema, &table.table)
}

/// As the Flight SQL definition of `CommandGetPrimaryKeys` has it.
fn primary_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("key_name", DataType::Utf8, true),
    ]))
}

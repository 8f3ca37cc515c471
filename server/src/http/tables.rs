use axum::{Extension, Json, extract::State};
use chrono::{DateTime, Utc};
use mavis_catalog::Table as Row;
use mavis_sql::known_table;
use mavis_types::{Principal, TableName, Zone};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ErrorBody, extract::Arguments, page};
use crate::App;

/// A table of the lake.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Table {
    /// `zone.schema.table`, as SQL writes it.
    name: String,
    #[schema(example = "raw")]
    zone: String,
    schema: String,
    table: String,
    comment: Option<String>,
    /// Columns of the key; empty where there is none.
    key: Vec<String>,
    /// What the source calls the table.
    source_table: Option<String>,
    /// Rows of the newest version, where they were counted.
    rows: Option<u64>,
    /// Newest version.
    version: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: DateTime<Utc>,
}

impl From<Row> for Table {
    fn from(row: Row) -> Self {
        Self {
            name: row.name.to_string(),
            zone: row.name.zone.to_string(),
            schema: row.name.schema,
            table: row.name.table,
            comment: row.comment,
            key: row.key,
            source_table: row.source_table,
            rows: row.rows,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tables {
    tables: Vec<Table>,
    /// What to send as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only this zone: raw, processed, fhir or work.
    zone: Option<String>,
    /// Only this schema.
    schema: Option<String>,
    /// Only what comes after this table (`zone.schema.table`): the `next` of the page before.
    after: Option<String>,
    /// Tables of a page, 1 to 1000; 100 when left out.
    limit: Option<u32>,
}

/// Tables by name, page by page
#[utoipa::path(
    get,
    path = "/api/v1/tables",
    tag = "lake",
    params(Filter),
    responses((status = 200, body = Tables), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
pub(super) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Arguments(filter): Arguments<Filter>,
) -> Result<Json<Tables>, ApiError> {
    let wrong = |error: mavis_types::NameError| ApiError::invalid(error.to_string());
    let limit = page::limit(filter.limit)? as usize;
    let zone = filter.zone.as_deref().map(str::parse::<Zone>).transpose().map_err(wrong)?;
    let mut after = filter.after.as_deref().map(str::parse::<TableName>).transpose().map_err(wrong)?;
    let mut tables: Vec<Table> = Vec::new();
    // One more than asked for tells whether there is a next page. Tables that may not be read are passed over.
    while tables.len() <= limit {
        let read = app.catalog.tables(zone, filter.schema.as_deref(), after.as_ref(), Some(page::MOST)).await?;
        let Some(last) = read.last() else { break };
        let is_last_page = read.len() < page::MOST as usize;
        after = Some(last.name.clone());
        tables.extend(read.into_iter().filter_map(|row| known_table(&principal, row)).map(Table::from));
        if is_last_page {
            break;
        }
    }
    let more = tables.len() > limit;
    tables.truncate(limit);
    let next = if more { tables.last().map(|table| table.name.clone()) } else { None };
    Ok(Json(Tables { tables, next }))
}

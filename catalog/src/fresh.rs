use chrono::{DateTime, Utc};
use mavis_types::{SourceId, TableId};

use crate::{Catalog, Error, table::read_name, value::values};
use mavis_types::TableName;

/// How old the rows of a table in the raw zone are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    pub table: TableId,
    pub name: TableName,
    /// As the source calls it.
    pub source_schema: Option<String>,
    pub source_table: String,
    /// When it was first heard of.
    pub known_at: DateTime<Utc>,
    /// When the newest reading that went through began; `None`: none has yet.
    pub fresh_at: Option<DateTime<Utc>>,
}

impl Catalog {
    /// The tables that a source has in the raw zone, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn fresh(&self, source: SourceId) -> Result<Vec<Fresh>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT * FROM lake_tables WHERE source_id = $1 AND zone = 'raw' AND source_table IS NOT NULL
                 ORDER BY schema_name, table_name",
                values![source.to_string()],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Fresh {
                    table: row.parse("lake_tables.id")?,
                    name: read_name(row)?,
                    source_schema: row.opt_text("lake_tables.source_schema")?,
                    source_table: row.text("lake_tables.source_table")?,
                    known_at: row.time("lake_tables.created_at")?,
                    fresh_at: row.opt_time("lake_tables.fresh_at")?,
                })
            })
            .collect()
    }
}

//! Lists of tables and columns. They page by name through indexes, so a page costs the same wherever it begins, among
//! a million tables as among ten.

use std::collections::HashMap;

use mavis_types::{SourceId, TableId, TableName, Zone};

use crate::{
    Catalog, Column, Error, Table,
    page::{Match, Page, after_prefix},
    table::{read_column, read_name, read_table},
    value::{Value, values},
};

impl Catalog {
    /// Tables by zone, schema and table (as text, by bytes), filtered; `limit` and `after` page through a million of
    /// them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tables(
        &self,
        zone: Option<Zone>,
        schema: Option<&str>,
        after: Option<&TableName>,
        limit: Option<u32>,
    ) -> Result<Vec<Table>, Error> {
        let schema = schema.map_or(Match::Any, |schema| Match::Is(schema.to_owned()));
        self.page(Page { zone, schema, table: Match::Any, after, limit }).await
    }

    /// Like [`Catalog::tables`], with `LIKE` patterns for schema and table: `%` is any text, `_` any character, `\`
    /// makes the next character stand for itself. Case counts; names of the lake are lower-case.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tables_like(
        &self,
        zone: Option<Zone>,
        schema: Option<&str>,
        table: Option<&str>,
        after: Option<&TableName>,
        limit: Option<u32>,
    ) -> Result<Vec<Table>, Error> {
        let (schema, table) = (Match::like(schema, &self.engine), Match::like(table, &self.engine));
        self.page(Page { zone, schema, table, after, limit }).await
    }

    /// A page of [`Catalog::tables_like`] with the columns of each table. `limit` counts tables; the next page begins
    /// after the last table of this one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn columns_like(
        &self,
        zone: Option<Zone>,
        schema: Option<&str>,
        table: Option<&str>,
        after: Option<&TableName>,
        limit: Option<u32>,
    ) -> Result<Vec<(Table, Vec<Column>)>, Error> {
        let tables = self.tables_like(zone, schema, table, after, limit).await?;
        let mut columns = self.columns_of(&tables).await?;
        Ok(tables
            .into_iter()
            .map(|table| {
                let columns = columns.remove(&table.id).unwrap_or_default();
                (table, columns)
            })
            .collect())
    }

    /// Tables whose names begin with a text, in any zone and schema, in no order; `None` where there are more than `most`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tables_beginning(&self, text: &str, most: u32) -> Result<Option<Vec<Table>>, Error> {
        let limit = i64::from(most) + 1;
        let rows = match after_prefix(text) {
            Some(end) => {
                let sql =
                    "SELECT * FROM lake_tables WHERE table_name >= $1 AND table_name < $2 ORDER BY table_name LIMIT $3";
                self.engine.all(sql, values![text, end, limit]).await?
            }
            None => {
                let sql = "SELECT * FROM lake_tables WHERE table_name >= $1 ORDER BY table_name LIMIT $2";
                self.engine.all(sql, values![text, limit]).await?
            }
        };
        if rows.len() > most as usize {
            return Ok(None);
        }
        rows.iter().map(read_table).collect::<Result<_, _>>().map(Some)
    }

    /// The columns of each of some tables, by position.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn columns_of(&self, tables: &[Table]) -> Result<HashMap<TableId, Vec<Column>>, Error> {
        let mut columns: HashMap<TableId, Vec<Column>> = HashMap::with_capacity(tables.len());
        for some in tables.chunks(200) {
            let places: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT * FROM lake_columns WHERE table_id IN ({}) ORDER BY table_id, position",
                places.join(", ")
            );
            let ids = some.iter().map(|table| Value::from(table.id.to_string())).collect();
            for row in self.engine.all(sql, ids).await? {
                let column = read_column(&row)?;
                columns.entry(column.table).or_default().push(column);
            }
        }
        Ok(columns)
    }

    async fn page(&self, page: Page<'_>) -> Result<Vec<Table>, Error> {
        let Some((sql, args)) = page.statement() else { return Ok(Vec::new()) };
        let rows = self.engine.all(sql, args).await?;
        rows.iter().map(read_table).collect()
    }

    /// Every table of a source, in all zones.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tables_of_source(&self, source: SourceId) -> Result<Vec<Table>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT * FROM lake_tables WHERE source_id = $1 ORDER BY zone, schema_name, table_name",
                values![source.to_string()],
            )
            .await?;
        rows.iter().map(read_table).collect()
    }

    /// Distinct schemas of a zone (of all zones where none is given), by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn schemas(&self, zone: Option<Zone>) -> Result<Vec<(Zone, String)>, Error> {
        let mut schemas = Vec::new();
        for zone in zone.map_or(Zone::ALL.to_vec(), |zone| vec![zone]) {
            let rows = self.engine.all(SCHEMAS, values![zone.as_str()]).await?;
            for row in rows {
                schemas.push((zone, row.text("lake_tables.schema_name")?));
            }
        }
        schemas.sort_by(|a, b| (a.0.as_str(), &a.1).cmp(&(b.0.as_str(), &b.1)));
        Ok(schemas)
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn columns(&self, table: TableId) -> Result<Vec<Column>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM lake_columns WHERE table_id = $1 ORDER BY position", values![table.to_string()])
            .await?;
        rows.iter().map(read_column).collect()
    }

    /// Columns of every table of a schema in one statement, by table name and position.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn columns_of_schema(&self, zone: Zone, schema: &str) -> Result<Vec<(TableName, Column)>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT t.zone, t.schema_name, t.table_name, c.*
                 FROM lake_tables t JOIN lake_columns c ON c.table_id = t.id
                 WHERE t.zone = $1 AND t.schema_name = $2
                 ORDER BY t.table_name, c.position",
                values![zone.as_str(), schema],
            )
            .await?;
        rows.iter().map(|row| Ok((read_name(row)?, read_column(row)?))).collect()
    }
}

/// Jumps through the index from one schema to the next: `DISTINCT` would walk over every table.
const SCHEMAS: &str = "
    WITH RECURSIVE steps (schema_name) AS (
        SELECT MIN(schema_name) FROM lake_tables WHERE zone = $1
        UNION ALL
        SELECT (SELECT MIN(t.schema_name) FROM lake_tables t WHERE t.zone = $1 AND t.schema_name > steps.schema_name)
        FROM steps WHERE steps.schema_name IS NOT NULL
    )
    SELECT schema_name FROM steps WHERE schema_name IS NOT NULL";

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use mavis_catalog::{Catalog, Column, Table, ViewRow};
use mavis_types::{Principal, SourceId, TableId, TableName, Zone};

use crate::{
    Error,
    guard::{Policy, Seen},
    sight::{known_table, knows_source},
    views, work,
};

/// Tables that are listed at once.
const PAGE: u32 = 1_000;

/// What one scan of a system table asks for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) catalog: Catalog,
    pub(super) principal: Arc<Principal>,
    /// Columns that must equal a text. Rows that differ may be left out; the query filters again.
    pub(super) equals: BTreeMap<String, String>,
    /// Columns that must be like a pattern, in lower case; as above.
    pub(super) likes: BTreeMap<String, String>,
    /// For `<catalog>.information_schema`: only this catalog.
    pub(super) only_catalog: Option<String>,
}

impl Request {
    pub(super) fn equal(&self, column: &str) -> Option<&str> {
        self.equals.get(column).map(String::as_str)
    }

    /// Whether rows of a SQL catalog can be in the answer; `column` is the one that names it.
    pub(super) fn wants_catalog(&self, column: &str, name: &str) -> bool {
        self.equal(column).is_none_or(|wanted| wanted == name)
            && self.only_catalog.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// Schemas of the lake that are asked for and may be read, by name.
    pub(super) async fn schemas(&self, zone_column: &str, schema_column: &str) -> Result<Vec<(Zone, String)>, Error> {
        let mut schemas = match (self.principal.named_schemas(), self.equal(schema_column)) {
            (Some(named), _) => named,
            (None, Some(schema)) => Zone::ALL.into_iter().map(|zone| (zone, schema.to_owned())).collect(),
            (None, None) => self.catalog.schemas(None).await?,
        };
        schemas.retain(|(zone, schema)| {
            self.principal.may_read_schema(*zone, schema)
                && self.wants_catalog(zone_column, zone.as_str())
                && self.equal(schema_column).is_none_or(|wanted| wanted == schema)
        });
        schemas.sort();
        schemas.dedup();
        Ok(schemas)
    }

    /// The next page of tables of a schema, as the principal may know them, and the name after which the next one
    /// begins; `None` after the last.
    pub(super) async fn tables(
        &self,
        place: &(Zone, String),
        table_column: &str,
        after: Option<&TableName>,
    ) -> Result<Option<(Vec<Table>, TableName)>, Error> {
        let Some(page) = self.page(place, table_column, after).await? else { return Ok(None) };
        let Some(last) = page.last().map(|table| table.name.clone()) else { return Ok(None) };
        let known = page.into_iter().filter_map(|table| known_table(&self.principal, table));
        Ok(Some((known.collect(), last)))
    }

    async fn page(
        &self,
        place: &(Zone, String),
        table_column: &str,
        after: Option<&TableName>,
    ) -> Result<Option<Vec<Table>>, Error> {
        if let Some(table) = self.equal(table_column) {
            let name = TableName::new(place.0, &place.1, table);
            let found = if after.is_none() { self.catalog.find_table(&name).await? } else { None };
            return Ok(found.map(|table| vec![table]));
        }
        let page = match self.likes.get(table_column) {
            Some(pattern) => {
                let schema = place.1.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
                self.catalog.tables_like(Some(place.0), Some(&schema), Some(pattern), after, Some(PAGE)).await?
            }
            None => self.catalog.tables(Some(place.0), Some(&place.1), after, Some(PAGE)).await?,
        };
        Ok((!page.is_empty()).then_some(page))
    }

    /// Of columns in the order of their tables those that are there for the principal.
    pub(super) fn known_columns(&self, columns: Vec<(TableName, Column)>) -> Vec<(TableName, Column)> {
        let mut known = Vec::with_capacity(columns.len());
        let mut policy: Option<(TableName, Seen)> = None;
        for (table, column) in columns {
            if policy.as_ref().is_none_or(|(of, _)| *of != table) {
                policy = Some((table.clone(), Policy::of(&self.principal, &table)));
            }
            if let Some((_, Seen::Through(policy))) = &policy
                && policy.has_column(&column.name)
            {
                known.push((table, column));
            }
        }
        known
    }

    /// Columns without those of views whose definitions the principal may not see: they could tell names that are hidden.
    pub(super) async fn unveiled(
        &self,
        place: &(Zone, String),
        table_column: &str,
        mut columns: Vec<(TableName, Column)>,
    ) -> Result<Vec<(TableName, Column)>, Error> {
        if place.0 != Zone::Work || columns.is_empty() {
            return Ok(columns);
        }
        let mut after = None;
        while let Some(page) = self.page(place, table_column, after.as_ref()).await? {
            after = page.last().map(|table| table.name.clone());
            let veiled = |table: &&Table| table.view.is_some() && work::definition(&self.principal, table).is_none();
            for table in page.iter().filter(veiled) {
                columns.retain(|(name, _)| *name != table.name);
            }
        }
        Ok(columns)
    }

    /// Stored views that are asked for and that the principal sees, by name. The columns are those that name the parts.
    pub(super) async fn views(&self, columns: [&str; 3]) -> Result<Vec<(String, ViewRow)>, Error> {
        let [zone, schema, table] = columns;
        let is = |column: &str, name: &str| self.equal(column).is_none_or(|wanted| wanted == name);
        if !self.wants_catalog(zone, Zone::Fhir.as_str()) || !is(schema, views::SCHEMA) {
            return Ok(Vec::new());
        }
        let stored = self.catalog.views().await?.into_iter().filter(|row| views::is_seen(&self.principal, row));
        let mut named: Vec<(String, ViewRow)> = stored.filter_map(|row| Some((row.name.clone()?, row))).collect();
        named.retain(|(name, _)| is(table, name));
        named.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(named)
    }

    /// Names of sources by id, those that the principal may know of.
    pub(super) async fn sources(&self) -> Result<HashMap<SourceId, String>, Error> {
        let sources = self.catalog.sources().await?;
        let known = sources.into_iter().filter(|source| self.knows_source(source.name.as_str()));
        Ok(known.map(|source| (source.id, source.name.as_str().to_owned())).collect())
    }

    pub(super) fn knows_source(&self, source: &str) -> bool {
        knows_source(&self.principal, source)
    }

    pub(super) fn reads_all(&self) -> bool {
        self.principal.knows_all()
    }
}

/// Names of tables by id, looked up once; a table that may not be read, or is gone, has none.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<TableId, Option<TableName>>);

impl Names {
    pub(super) async fn of(&mut self, request: &Request, id: TableId) -> Result<Option<TableName>, Error> {
        if let Some(known) = self.0.get(&id) {
            return Ok(known.clone());
        }
        let name = match request.catalog.table_by_id(id).await {
            Ok(table) => Some(table.name).filter(|name| request.principal.may_read(name)),
            Err(mavis_catalog::Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

//! What there is, for doors that list: from the catalog database, no Delta log opened.
//!
//! Filters go into the catalog's own statements: a schema that is named, or a table of which the beginning is known, is found
//! through an index, among a million tables as among ten. What matches many tables is given a page at a time.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use mavis_catalog::{Catalog, Column, Table};
use mavis_types::{Principal, TableName, Zone};
use regex::Regex;

use crate::{Error, catalogs::schema_of, fault, planner::plain, sight::known_columns, system, views, work};

/// Tables read from the catalog at once.
const PAGE: u32 = 5_000;

/// What `TABLE`, `VIEW` and `SYSTEM TABLE` are called in listings.
pub(crate) const TABLE: &str = "TABLE";
pub(crate) const VIEW: &str = "VIEW";
pub(crate) const SYSTEM_TABLE: &str = "SYSTEM TABLE";

/// A line of a table listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableListing {
    pub catalog: String,
    pub schema: String,
    pub table: String,
    /// `TABLE`, `VIEW` or `SYSTEM TABLE`.
    pub kind: &'static str,
    pub comment: Option<String>,
    /// The columns as a query returns them; only where they were asked for.
    pub columns: Option<SchemaRef>,
}

/// Which tables are listed; patterns are those of SQL LIKE, with `\` before a letter that stands for itself, whatever the
/// case.
#[derive(Debug, Clone, Default)]
pub struct TableFilter {
    /// Exactly this catalog.
    pub catalog: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    /// Kinds as [`TableListing::kind`] has them; empty: all.
    pub kinds: Vec<String>,
    /// Columns are wanted, too.
    pub columns: bool,
}

impl TableFilter {
    fn wants(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }
}

/// Tables that the principal may see, by catalog, schema and name, some at a time.
pub(crate) fn tables(
    store: Catalog,
    principal: Arc<Principal>,
    filter: TableFilter,
) -> BoxStream<'static, Result<Vec<TableListing>, Error>> {
    let lines = async_stream::try_stream! {
        let schemas = like(filter.schema.as_deref())?;
        let names = like(filter.table.as_deref())?;
        let named = by_name(&store, &filter).await?;
        let mut places: Vec<&str> = system::catalogs().collect();
        places.sort_unstable();
        places.retain(|place| filter.catalog.as_deref().is_none_or(|wanted| wanted == *place));
        for place in places {
            // Beside the tables of the lake: by schema, for they stand between those.
            let mut beside = beside(&store, &principal, place, &filter).await?;
            for lines in beside.values_mut() {
                lines.retain(|line| schemas.is_match(&line.schema) && names.is_match(&line.table));
            }
            let has = |zone: &Zone| filter.wants(TABLE) || (*zone == Zone::Work && filter.wants(VIEW));
            let zone = place.parse::<Zone>().ok().filter(has);
            if let Some(zone) = zone {
                let mut pages = match &named {
                    Some(tables) => {
                        let of_zone = tables.iter().filter(|table| table.name.zone == zone).cloned().collect();
                        futures::stream::iter([Ok(of_zone)]).boxed()
                    }
                    None => pages(store.clone(), zone, filter.clone()),
                };
                while let Some(page) = pages.try_next().await? {
                    let seen: Vec<Table> = page
                        .into_iter()
                        .filter(|table: &Table| {
                            schemas.is_match(&table.name.schema)
                                && names.is_match(&table.name.table)
                                && principal.may_read(&table.name)
                                && filter.wants(kind(table))
                                && !(filter.columns && is_veiled(&principal, table))
                        })
                        .collect();
                    let columns = if filter.columns { Some(columns(&store, &principal, &seen).await?) } else { None };
                    let mut lines = Vec::with_capacity(seen.len());
                    for (number, table) in seen.into_iter().enumerate() {
                        while let Some(first) = beside.first_entry().filter(|first| *first.key() < table.name.schema) {
                            lines.extend(first.remove());
                        }
                        let columns = columns.as_ref().and_then(|columns| columns.get(number).cloned());
                        lines.push(TableListing {
                            catalog: place.to_owned(),
                            kind: kind(&table),
                            schema: table.name.schema,
                            table: table.name.table,
                            comment: table.comment,
                            columns,
                        });
                    }
                    if !lines.is_empty() {
                        yield lines;
                    }
                }
            }
            let rest: Vec<TableListing> = beside.into_values().flatten().collect();
            if !rest.is_empty() {
                yield rest;
            }
        }
    };
    lines.boxed()
}

fn kind(table: &Table) -> &'static str {
    if table.view.is_some() { VIEW } else { TABLE }
}

/// Whether it is a view whose columns the principal may not know.
fn is_veiled(principal: &Principal, table: &Table) -> bool {
    table.view.is_some() && work::definition(principal, table).is_none()
}

/// The tables of a pattern whose beginning is known, wherever they are, by zone, schema and name. `None`: too many begin so,
/// or the schema is a better way in.
async fn by_name(store: &Catalog, filter: &TableFilter) -> Result<Option<Vec<Table>>, Error> {
    let Some(pattern) = &filter.table else { return Ok(None) };
    let schema_is_known = filter.schema.as_deref().is_some_and(|schema| fixed(schema).1);
    let (beginning, _) = fixed(pattern);
    if schema_is_known || beginning.is_empty() || !filter.wants(TABLE) {
        return Ok(None);
    }
    let tables = store.tables_beginning(&beginning.to_lowercase(), PAGE).await?;
    Ok(tables.map(|mut tables| {
        tables.sort_by(|one, other| one.name.cmp(&other.name));
        tables
    }))
}

/// Tables of a zone, a page at a time.
///
/// A pattern for the schema is looked up among the schemas first, which are few: names have `_` in them, which is any letter
/// in a pattern, and most clients send names as they are.
fn pages(store: Catalog, zone: Zone, filter: TableFilter) -> BoxStream<'static, Result<Vec<Table>, Error>> {
    let pages = async_stream::try_stream! {
        let wanted = like(filter.schema.as_deref())?;
        // Names of the lake are lower-case.
        let table = filter.table.as_deref().map(str::to_lowercase);
        let schemas: Vec<Option<String>> = match &filter.schema {
            None => vec![None],
            Some(pattern) if fixed(pattern).1 => vec![Some(pattern.to_lowercase())],
            Some(_) => {
                let all = store.schemas(Some(zone)).await?;
                all.into_iter().filter(|(_, name)| wanted.is_match(name)).map(|(_, name)| Some(exactly(&name))).collect()
            }
        };
        for schema in schemas {
            let mut after: Option<TableName> = None;
            loop {
                let page = store
                    .tables_like(Some(zone), schema.as_deref(), table.as_deref(), after.as_ref(), Some(PAGE))
                    .await?;
                let Some(last) = page.last() else { break };
                after = Some(last.name.clone());
                let whole = page.len() == PAGE as usize;
                yield page;
                if !whole {
                    break;
                }
            }
        }
    };
    pages.boxed()
}

/// A pattern that only this name matches.
fn exactly(name: &str) -> String {
    name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// What a catalog has beside the tables of the lake, by schema.
async fn beside(
    store: &Catalog,
    principal: &Principal,
    place: &str,
    filter: &TableFilter,
) -> Result<BTreeMap<String, Vec<TableListing>>, Error> {
    let mut lines: BTreeMap<String, Vec<TableListing>> = BTreeMap::new();
    if filter.wants(SYSTEM_TABLE) {
        let own = system::TABLES.iter().filter(|_| place == system::SYSTEM);
        let seen = own.chain(&system::INFORMATION_TABLES).filter(|definition| definition.is_seen_by(principal));
        for definition in seen {
            lines.entry(definition.schema.to_owned()).or_default().push(TableListing {
                catalog: place.to_owned(),
                schema: definition.schema.to_owned(),
                table: definition.table.to_owned(),
                kind: SYSTEM_TABLE,
                comment: Some(definition.comment.to_owned()),
                columns: filter.columns.then(|| plain(&(definition.columns)())),
            });
        }
    }
    if place == Zone::Fhir.as_str() && filter.wants(VIEW) {
        let stored = store.views().await?;
        let mut names: Vec<String> =
            stored.iter().filter(|row| views::is_seen(principal, row)).filter_map(|row| row.name.clone()).collect();
        names.sort();
        for table in names {
            let columns = if filter.columns { views::schema(store, principal, &table).await? } else { None };
            // One that went away, or cannot be planned any more, has no columns to tell.
            if filter.columns && columns.is_none() {
                continue;
            }
            lines.entry(views::SCHEMA.to_owned()).or_default().push(TableListing {
                catalog: place.to_owned(),
                schema: views::SCHEMA.to_owned(),
                table,
                kind: VIEW,
                comment: None,
                columns,
            });
        }
    }
    Ok(lines)
}

/// The columns of tables, in their order, in a few statements.
async fn columns(store: &Catalog, principal: &Principal, tables: &[Table]) -> Result<Vec<SchemaRef>, Error> {
    let mut columns = store.columns_of(tables).await?;
    let known = |table: &Table, columns: Vec<Column>| schema_of(&known_columns(principal, &table.name, columns));
    tables.iter().map(|table| known(table, columns.remove(&table.id).unwrap_or_default())).collect()
}

pub(crate) async fn schemas(
    store: &Catalog,
    principal: &Principal,
    catalog: Option<&str>,
    schema_pattern: Option<&str>,
) -> Result<Vec<(String, String)>, Error> {
    let wanted = like(schema_pattern)?;
    // A schema that is named is asked for; all of them are listed only where that is wanted.
    let known = schema_pattern.map(fixed).filter(|(_, whole)| *whole).map(|(text, _)| text.to_lowercase());
    let mut lines: Vec<(String, String)> = Vec::new();
    for place in system::catalogs().filter(|place| catalog.is_none_or(|wanted| wanted == *place)) {
        if let Ok(zone) = place.parse::<Zone>() {
            let of_zone = match &known {
                Some(schema) => {
                    let first = store.tables(Some(zone), Some(schema), None, Some(1)).await?;
                    first.into_iter().map(|table| (zone, table.name.schema)).collect()
                }
                None => store.schemas(Some(zone)).await?,
            };
            let seen = of_zone.into_iter().filter(|(zone, schema)| principal.may_read_schema(*zone, schema));
            lines.extend(seen.map(|(zone, schema)| (zone.to_string(), schema)));
            if zone == Zone::Fhir && store.views().await?.iter().any(|row| views::is_seen(principal, row)) {
                lines.push((zone.to_string(), views::SCHEMA.to_owned()));
            }
        } else {
            let mut own: Vec<&str> = system::TABLES.iter().map(|definition| definition.schema).collect();
            own.dedup();
            lines.extend(own.into_iter().map(|schema| (place.to_owned(), schema.to_owned())));
        }
        lines.push((place.to_owned(), system::INFORMATION.to_owned()));
    }
    lines.retain(|(_, schema)| wanted.is_match(schema));
    lines.sort();
    Ok(lines)
}

pub(crate) async fn table_schema(
    store: &Catalog,
    principal: &Principal,
    catalog: &str,
    schema: &str,
    table: &str,
) -> Result<SchemaRef, Error> {
    let absent = || Error::NoSuchTable { table: format!("{catalog}.{schema}.{table}"), hint: String::new() };
    if let Some((_, definition)) = system::locate(&[catalog, schema, table]) {
        return if definition.is_seen_by(principal) { Ok(plain(&(definition.columns)())) } else { Err(absent()) };
    }
    let zone: Zone = catalog.parse().map_err(|_| absent())?;
    if (zone, schema) == (Zone::Fhir, views::SCHEMA) {
        return views::schema(store, principal, table).await?.ok_or_else(absent);
    }
    let name = TableName::new(zone, schema, table);
    if !principal.may_read(&name) {
        return Err(absent());
    }
    let found = store.find_table(&name).await?.ok_or_else(absent)?;
    if found.view.is_some() && work::definition(principal, &found).is_none() {
        return Err(absent());
    }
    schema_of(&known_columns(principal, &name, store.columns(found.id).await?))
}

/// A LIKE pattern: `%` any text, `_` one letter, `\` takes the next letter as it is. `None`: everything.
pub(crate) fn like(pattern: Option<&str>) -> Result<Regex, Error> {
    let mut text = String::from("(?is)^");
    let mut letters = pattern.unwrap_or("%").chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => text.push_str(".*"),
            '_' => text.push('.'),
            '\\' => text.push_str(&regex::escape(&letters.next().unwrap_or('\\').to_string())),
            other => text.push_str(&regex::escape(&other.to_string())),
        }
    }
    text.push('$');
    Regex::new(&text).map_err(|_| fault::invalid("the pattern is too long"))
}

/// The letters that every match of a LIKE pattern begins with, and whether they are all of it.
pub(crate) fn fixed(pattern: &str) -> (String, bool) {
    let mut text = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' | '_' => return (text, false),
            '\\' => text.push(letters.next().unwrap_or('\\')),
            other => text.push(other),
        }
    }
    (text, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, "anything", true)]
    #[case(Some("hms%"), "hms_patient", true)]
    #[case(Some("hms\\_patient"), "hms_patient", true)]
    #[case(Some("hms\\_patient"), "hmsxpatient", false)]
    #[case(Some("hms_patient"), "hmsxpatient", true)]
    #[case(Some("HMS%"), "hms_patient", true)]
    #[case(Some("a.c"), "abc", false)]
    #[case(Some(""), "a", false)]
    fn patterns_are_those_of_like(#[case] pattern: Option<&str>, #[case] name: &str, #[case] matches: bool) {
        assert_eq!(like(pattern).unwrap().is_match(name), matches);
    }

    #[rstest]
    #[case("hms\\_patient", "hms_patient", true)]
    #[case("hms_patient", "hms", false)]
    #[case("%x", "", false)]
    #[case("", "", true)]
    fn the_beginning_of_a_pattern_is_known(#[case] pattern: &str, #[case] text: &str, #[case] whole: bool) {
        assert_eq!(fixed(pattern), (text.to_owned(), whole));
    }
}

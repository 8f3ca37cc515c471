//! What a principal may know of beside tables: sources, runs, and the content of rows that were set aside. Every door and
//! every system table goes by these rules.

use std::collections::HashMap;

use mavis_catalog::{Catalog, Column, Quarantined, Run, Table};
use mavis_types::{Principal, RunId, SourceName, TableId, TableName, Zone};

use crate::{
    Error,
    guard::{Policy, Seen},
};

/// Whether a schema that may be read is the source's: `<source>` or `<source>__<schema>`.
#[must_use]
pub fn knows_source(principal: &Principal, source: &str) -> bool {
    match principal.named_schemas() {
        // all of the lake, or all of a zone
        None => principal.smart.is_none(),
        Some(schemas) => schemas.iter().any(|(zone, schema)| *zone != Zone::Work && is_of_source(schema, source)),
    }
}

/// Whether the principal may know of a run: one of a source that it may know of, or one that it asked for itself.
/// `source`: the name of the run's source, where it has one.
#[must_use]
pub fn knows_run(principal: &Principal, run: &Run, source: Option<&str>) -> bool {
    principal.knows_all()
        || source.is_some_and(|source| knows_source(principal, source))
        || principal.may_engineer() && run.requested_by == principal.name
}

/// Whether the principal may know how many rows runs met: not where rows of some table are hidden from it, for the difference
/// to what it sees would tell of them.
#[must_use]
pub fn knows_counts(principal: &Principal) -> bool {
    principal.smart.is_none() && principal.rights.filters.is_empty()
}

fn is_of_source(schema: &str, source: &str) -> bool {
    schema.strip_prefix(source).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
}

/// A table as the principal may know it: without the key's columns that are not there, and without a number of rows where
/// some are hidden. `None`: for the principal it does not exist.
#[must_use]
pub fn known_table(principal: &Principal, mut table: Table) -> Option<Table> {
    let Seen::Through(policy) = Policy::of(principal, &table.name) else { return None };
    if policy.hides_rows() {
        table.rows = None;
    }
    if !table.key.iter().all(|column| policy.has_column(column)) {
        table.key.clear();
    }
    Some(table)
}

/// Of a table's columns those that are there for the principal.
#[must_use]
pub fn known_columns(principal: &Principal, table: &TableName, mut columns: Vec<Column>) -> Vec<Column> {
    match Policy::of(principal, table) {
        Seen::Hidden => Vec::new(),
        Seen::Through(policy) => {
            columns.retain(|column| policy.has_column(&column.name));
            columns
        }
    }
}

/// Says of rows that were set aside whether their content may be shown; each table and run is looked up once.
///
/// The content is the row as it was *before* the step that refused it, columns that never reach the next zone included.
/// So it takes leave to read the table that the row was on its way to and the raw zone that it came from, with nothing of
/// them filtered or masked.
#[derive(Debug, Default)]
pub struct Payloads(HashMap<(TableId, RunId), bool>);

impl Payloads {
    /// `table`: the name of the table that the row was on its way to.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn are_shown(
        &mut self,
        catalog: &Catalog,
        principal: &Principal,
        row: &Quarantined,
        table: &TableName,
    ) -> Result<bool, Error> {
        if principal.sees_everything() {
            return Ok(true);
        }
        // What is hidden of one table may stand in the rows that another was made from.
        if principal.rights.hides_anything() || !principal.sees_whole(table) {
            return Ok(false);
        }
        match table.zone {
            Zone::Raw => return Ok(true),
            Zone::Processed => return Ok(principal.sees_whole_schema(Zone::Raw, &table.schema)),
            _ => {}
        }
        if let Some(known) = self.0.get(&(row.table, row.run)) {
            return Ok(*known);
        }
        let shown = reads_raw(catalog, principal, row.run).await?;
        self.0.insert((row.table, row.run), shown);
        Ok(shown)
    }
}

/// Where a row that was set aside came from, as far as the principal may know it: the key of a source's row is part of the
/// row's content, and so is the name of its file (`patient_id=4711/a.csv line 3`). `shown`: as [`Payloads::are_shown`] says.
#[must_use]
pub fn origin(row: &Quarantined, shown: bool) -> &str {
    if shown { &row.origin } else { place(&row.origin) }
}

/// What stands before the number of a record in its file, sheet or answer.
const PLACES: [&str; 6] = ["line", "item", "row", "entry", "page", "record"];

/// An origin without a key and without the name of a file.
fn place(origin: &str) -> &str {
    let Some((before, last)) = origin.rsplit_once(' ') else { return origin };
    let word = before.rsplit(' ').next().unwrap_or_default();
    // The name of a mapping has no blank; that of a file may, and ` key ` too.
    if !PLACES.contains(&word)
        && let Some((mapping, _)) = origin.split_once(" key ").filter(|(mapping, _)| !mapping.contains([' ', '/', '.']))
    {
        return mapping;
    }
    // `line 3`, or the number alone.
    let from = if PLACES.contains(&word) { before.len() - word.len() } else { origin.len() - last.len() };
    &origin[from..]
}

/// Whether everything that the run's source brought into the raw and the processed zone may be read.
async fn reads_raw(catalog: &Catalog, principal: &Principal, run: RunId) -> Result<bool, Error> {
    let Some(source) = catalog.run(run).await?.source else { return Ok(false) };
    let sources = catalog.sources().await?;
    let Some(name) = sources.iter().find(|one| one.id == source).map(|one| &one.name) else { return Ok(false) };
    let places = places(catalog, name).await?;
    Ok(!places.is_empty() && places.iter().all(|(zone, schema)| principal.sees_whole_schema(*zone, schema)))
}

async fn places(catalog: &Catalog, source: &SourceName) -> Result<Vec<(Zone, String)>, Error> {
    let mut places = Vec::new();
    for zone in [Zone::Raw, Zone::Processed] {
        places.extend(catalog.schemas(Some(zone)).await?);
    }
    places.retain(|(_, schema)| is_of_source(schema, source.as_str()));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::place;

    #[rstest]
    #[case("year=2024/patient_id=4711/a b.csv line 12", "line 12")]
    #[case("Durand Jeanne.json 3", "3")]
    #[case("durand jeanne 3", "3")]
    #[case("book.xlsx sheet Durand row 5", "row 5")]
    #[case("Durand Jeanne key 2.csv line 3", "line 3")]
    #[case("Durand Jeanne key 2.json 3", "3")]
    #[case("patient key 4711", "patient")]
    #[case("patient key a line 3", "line 3")]
    #[case("row 00ff", "row 00ff")]
    #[case("x ", "")]
    fn an_origin_is_told_without_the_name_of_its_file(#[case] origin: &str, #[case] told: &str) {
        assert_eq!(place(origin), told);
    }
}

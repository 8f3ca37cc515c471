//! What a principal may know of beside tables: sources, runs, and the content of rows that were set aside. Every door and
//! every system table goes by these rules.

use std::collections::HashMap;

use mavis_catalog::{Catalog, Column, Quarantined, Run, Source, Table};
use mavis_types::{Place, Principal, RunId, Scope, SourceName, TableId, TableName, Zone};

use crate::{
    Error,
    catalogs::lineage,
    guard::{Policy, Seen},
};

/// Zones that have schemas of sources.
const OF_SOURCES: [Zone; 2] = [Zone::Raw, Zone::Processed];

/// Whether something of the source may be read: of its schemas `<source>` and `<source>__<schema>` in the raw or the processed
/// zone, or of all of such a zone.
#[must_use]
pub fn knows_source(principal: &Principal, source: &str) -> bool {
    let of_source = |zone: Zone, schema: &str| OF_SOURCES.contains(&zone) && is_of_source(schema, source);
    let by_scope = match &principal.scope {
        Scope::All => true,
        Scope::Schemas(grants) => grants.iter().any(|grant| of_source(grant.zone, &grant.schema)),
    };
    let granted = |place: &Place| match place {
        Place::Everything => true,
        Place::Zone(zone) => OF_SOURCES.contains(zone),
        Place::Schema(zone, schema) => of_source(*zone, schema),
        Place::Table(table) => of_source(table.zone, &table.schema),
    };
    let rights = &principal.rights;
    principal.smart.is_none()
        && (by_scope || rights.reads.iter().map(|(place, _)| place).chain(&rights.opened).any(granted))
}

/// Whether the principal may know of a run: one of a source that it may know of, or one that it asked for itself.
/// `source`: the name of the run's source, where it has one.
#[must_use]
pub fn knows_run(principal: &Principal, run: &Run, source: Option<&str>) -> bool {
    principal.knows_all()
        || source.is_some_and(|source| knows_source(principal, source))
        || principal.may_engineer() && run.requested_by == principal.name
}

/// Whether the principal may know how many rows of a table that it may read runs met: not where rows of some table are hidden
/// from it, for the difference to what it sees would tell of them. Of whole runs: [`Sizes`].
#[must_use]
pub fn knows_counts(principal: &Principal) -> bool {
    principal.smart.is_none() && principal.rights.filters.is_empty()
}

fn is_of_source(schema: &str, source: &str) -> bool {
    schema.strip_prefix(source).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
}

/// Says of sources whether the principal is told what runs say of all their tables together: how many rows they met, why they
/// failed, and their logs, which name tables and numbers of rows. That takes leave to read every table of the source, with all
/// rows. Each source is looked up once.
#[derive(Debug, Default)]
pub struct Sizes {
    schemas: Option<Vec<(Zone, String)>>,
    known: HashMap<String, bool>,
}

impl Sizes {
    /// `source`: the name of the run's source, where it has one.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn are_known(
        &mut self,
        catalog: &Catalog,
        principal: &Principal,
        source: Option<&str>,
    ) -> Result<bool, Error> {
        if !knows_counts(principal) || principal.knows_all() {
            return Ok(knows_counts(principal));
        }
        let Some(source) = source else { return Ok(false) };
        if let Some(known) = self.known.get(source) {
            return Ok(*known);
        }
        let schemas = match &self.schemas {
            Some(schemas) => schemas,
            None => self.schemas.insert(schemas_of_sources(catalog).await?),
        };
        let whole = |(zone, schema): &(Zone, String)| principal.sees_whole_schema(*zone, schema);
        let of_source: Vec<_> = schemas.iter().filter(|(_, schema)| is_of_source(schema, source)).collect();
        let known = match of_source.as_slice() {
            // What the first run will make.
            [] => OF_SOURCES.into_iter().all(|zone| whole(&(zone, source.to_owned()))),
            some => some.iter().copied().all(whole),
        };
        self.known.insert(source.to_owned(), known);
        Ok(known)
    }
}

/// The first of these tables that is not shown to the principal as it is, with all its rows, columns and values.
///
/// Who has Mavis work on a table (a mapping, a suggestion, a profile) is shown what comes of it in another place: what is hidden
/// must not get there. A column that a masked element of a resource is made from is hidden, too.
///
/// # Errors
/// [`Error::Catalog`].
pub async fn not_whole<'a>(
    catalog: &Catalog,
    principal: &Principal,
    tables: &'a [TableName],
) -> Result<Option<&'a TableName>, Error> {
    for table in tables {
        if !is_whole(catalog, principal, table).await? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// What of a source is not shown to the principal as it is, in words that it may read: a table, where it may know its name.
/// `None`: it sees everything of the source, tables that are yet to come included.
///
/// # Errors
/// [`Error::Catalog`].
pub async fn not_whole_of(
    catalog: &Catalog,
    principal: &Principal,
    source: &SourceName,
) -> Result<Option<String>, Error> {
    let mut places = places(catalog, source).await?;
    let own = (Zone::Raw, source.as_str().to_owned());
    if !places.contains(&own) {
        places.push(own);
    }
    for (zone, schema) in places {
        // Where nothing is hidden anywhere, no mapping needs to be read for each of the tables.
        if !principal.rights.hides_anything() && principal.sees_whole_schema(zone, &schema) {
            continue;
        }
        let tables = catalog.tables(Some(zone), Some(&schema), None, None).await?;
        let tables: Vec<TableName> = tables.into_iter().map(|table| table.name).collect();
        if let Some(table) = not_whole(catalog, principal, &tables).await? {
            let told = if principal.may_read(table) { format!("`{table}`") } else { format!("a table of `{source}`") };
            return Ok(Some(told));
        }
        if !principal.sees_whole_schema(zone, &schema) {
            return Ok(Some(format!("the schema `{zone}.{schema}`")));
        }
    }
    Ok(None)
}

/// The first of these tables of a source that the principal may not know, as the source or the lake calls them. One that is not
/// there is such a table, too, but for who is told of everything that happens to the source: their run says what there is.
///
/// # Errors
/// [`Error::Catalog`].
pub async fn unknown_table<'a>(
    catalog: &Catalog,
    principal: &Principal,
    source: &Source,
    wanted: &'a [String],
) -> Result<Option<&'a str>, Error> {
    let named = source.name.as_str();
    if wanted.is_empty() || principal.knows_all() || Sizes::default().are_known(catalog, principal, Some(named)).await?
    {
        return Ok(None);
    }
    let tables = catalog.tables_of_source(source.id).await?;
    let known: Vec<&Table> = tables.iter().filter(|table| principal.may_read(&table.name)).collect();
    let is_known = |wanted: &str| known.iter().any(|table| is_called(table, wanted));
    Ok(wanted.iter().map(String::as_str).find(|wanted| !is_known(wanted)))
}

fn is_called(table: &Table, wanted: &str) -> bool {
    let in_source = table.source_table.as_deref();
    let whole = table.source_schema.as_deref().zip(in_source).map(|(schema, name)| format!("{schema}.{name}"));
    let names = [Some(table.name.table.as_str()), in_source, whole.as_deref()];
    names.into_iter().flatten().any(|name| name.eq_ignore_ascii_case(wanted))
}

async fn is_whole(catalog: &Catalog, principal: &Principal, table: &TableName) -> Result<bool, Error> {
    if !principal.sees_whole(table) {
        return Ok(false);
    }
    let Seen::Through(mut policy) = Policy::of(principal, table) else { return Ok(false) };
    lineage::hide(&mut policy, catalog, principal).await?;
    Ok(policy.is_open())
}

/// A table as the principal may know it: without the key's columns that are not there, and without a number of rows where
/// some are hidden. `None`: for the principal it does not exist.
#[must_use]
pub fn known_table(principal: &Principal, mut table: Table) -> Option<Table> {
    let Seen::Through(policy) = Policy::of(principal, &table.name) else { return None };
    if policy.hides_rows() || lineage::hides_rows(principal, &table) {
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
    let mut places = schemas_of_sources(catalog).await?;
    places.retain(|(_, schema)| is_of_source(schema, source.as_str()));
    Ok(places)
}

async fn schemas_of_sources(catalog: &Catalog) -> Result<Vec<(Zone, String)>, Error> {
    let mut schemas = Vec::new();
    for zone in OF_SOURCES {
        schemas.extend(catalog.schemas(Some(zone)).await?);
    }
    Ok(schemas)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mavis_types::{Rights, Role, SchemaGrant, TokenId};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("raw.hms", true)]
    #[case("processed.hms__lab", true)]
    #[case("raw.hmsx", false)]
    #[case("fhir.hms", false)]
    #[case("work.hms", false)]
    fn who_reads_a_schema_of_a_source_knows_the_source(#[case] schema: &str, #[case] knows: bool) {
        let (zone, schema) = schema.split_once('.').unwrap();
        let (zone, schema): (Zone, String) = (zone.parse().unwrap(), schema.to_owned());
        let scope = Scope::Schemas(vec![SchemaGrant { zone, schema: schema.clone() }]);
        let by_scope = Principal::new(TokenId::new(), "ana", Role::Reader, scope);
        assert_eq!(knows_source(&by_scope, "hms"), knows);
        let mut granted = Principal::new(TokenId::new(), "ana", Role::Reader, Scope::Schemas(Vec::new()));
        assert!(!knows_source(&granted, "hms"));
        granted.rights = Arc::new(Rights { reads: vec![(Place::Schema(zone, schema), None)], ..Rights::default() });
        assert_eq!(knows_source(&granted, "hms"), knows);
        granted.rights = Arc::new(Rights { reads: vec![(Place::Zone(zone), None)], ..Rights::default() });
        assert_eq!(knows_source(&granted, "hms"), matches!(zone, Zone::Raw | Zone::Processed));
    }

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

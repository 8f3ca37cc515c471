//! What there is, for doors that list: from the catalog database, no Delta log opened.

use arrow::datatypes::SchemaRef;
use mavis_catalog::Catalog;
use mavis_types::{Principal, TableName, Zone};
use regex::Regex;

use crate::{Error, catalogs::schema_of, fault, planner::plain, sight::known_columns, system, views, work};

/// Tables read from the catalog at once.
const PAGE: u32 = 5_000;

/// A line of a table listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableListing {
    pub catalog: String,
    pub schema: String,
    pub table: String,
    /// `TABLE`, `VIEW` or `SYSTEM TABLE`.
    pub kind: &'static str,
    pub comment: Option<String>,
}

pub(crate) async fn tables(
    store: &Catalog,
    principal: &Principal,
    catalog: Option<&str>,
    schema_pattern: Option<&str>,
    table_pattern: Option<&str>,
) -> Result<Vec<TableListing>, Error> {
    let wanted = like(table_pattern)?;
    let mut lines = Vec::new();
    for (place, schema) in schemas(store, principal, catalog, schema_pattern).await? {
        if schema == system::INFORMATION || place == system::SYSTEM {
            lines.extend(
                system_lines(principal, &place, &schema).into_iter().filter(|line| wanted.is_match(&line.table)),
            );
            continue;
        }
        let Ok(zone) = place.parse::<Zone>() else { continue };
        if (zone, schema.as_str()) == (Zone::Fhir, views::SCHEMA) {
            let stored = store.views().await?;
            let seen = stored.iter().filter(|row| views::is_seen(principal, row));
            let names = seen.filter_map(|row| row.name.clone()).filter(|name| wanted.is_match(name));
            let mut names: Vec<String> = names.collect();
            names.sort();
            lines.extend(names.into_iter().map(|table| TableListing {
                catalog: place.clone(),
                schema: schema.clone(),
                table,
                kind: "VIEW",
                comment: None,
            }));
            continue;
        }
        let mut after: Option<TableName> = None;
        loop {
            let page = store.tables(Some(zone), Some(&schema), after.as_ref(), Some(PAGE)).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            let known = page.into_iter().filter(|table| principal.may_read(&table.name));
            lines.extend(known.filter(|table| wanted.is_match(&table.name.table)).map(|table| TableListing {
                catalog: place.clone(),
                schema: table.name.schema,
                table: table.name.table,
                kind: if table.view.is_some() { "VIEW" } else { "TABLE" },
                comment: table.comment,
            }));
        }
    }
    Ok(lines)
}

fn system_lines(principal: &Principal, place: &str, schema: &str) -> Vec<TableListing> {
    let tables = system::TABLES.iter().chain(&system::INFORMATION_TABLES);
    let seen = tables.filter(|definition| definition.schema == schema && definition.is_seen_by(principal));
    seen.map(|definition| TableListing {
        catalog: place.to_owned(),
        schema: schema.to_owned(),
        table: definition.table.to_owned(),
        kind: "SYSTEM TABLE",
        comment: Some(definition.comment.to_owned()),
    })
    .collect()
}

pub(crate) async fn schemas(
    store: &Catalog,
    principal: &Principal,
    catalog: Option<&str>,
    schema_pattern: Option<&str>,
) -> Result<Vec<(String, String)>, Error> {
    let wanted = like(schema_pattern)?;
    let mut lines: Vec<(String, String)> = Vec::new();
    for place in system::catalogs().filter(|place| catalog.is_none_or(|wanted| wanted == *place)) {
        if let Ok(zone) = place.parse::<Zone>() {
            let of_zone = store.schemas(Some(zone)).await?;
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
fn like(pattern: Option<&str>) -> Result<Regex, Error> {
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
}

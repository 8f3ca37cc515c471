//! Row filters on the copies of the table that they were set on.

use std::{borrow::Cow, collections::BTreeSet};

use arrow::datatypes::SchemaRef;
use mavis_types::{TableName, Zone};

use super::{View, flow::identifiers};
use crate::{Error, dialect::parse, guard::RowFilter};

/// The schema with resources as they are now.
const CURRENT: &str = "r4";
/// The schema with every version of resources.
const HISTORY: &str = "r4_history";

impl View<'_> {
    /// The condition of a filter, over the columns of a table that it holds on. `old`: of an earlier version of the table.
    ///
    /// # Errors
    /// [`Error::Refused`] where the table lacks a column that the condition is about, or the other table is gone.
    /// [`Error::Catalog`].
    pub(super) async fn held_on<'f>(
        &self,
        table: &TableName,
        filter: &'f RowFilter,
        schema: &SchemaRef,
        old: bool,
    ) -> Result<Cow<'f, str>, Error> {
        if filter.on.zone == table.zone {
            return Ok(of_history(table, &filter.condition, old));
        }
        let catalog = self.lake.catalog();
        let gone = || Error::Refused { reason: format!("the table that a row filter of {table} was set on is gone") };
        let origin = catalog.find_table(&filter.on).await?.ok_or_else(gone)?;
        let known = catalog.columns(origin.id).await?;
        let words = parse(&format!("SELECT 1 WHERE ({}\n)", filter.condition))?;
        let words: BTreeSet<String> = identifiers(&words).into_iter().flatten().collect();
        let about: Vec<&str> = known
            .iter()
            .map(|column| column.name.as_str())
            .filter(|name| words.contains(&name.to_lowercase()))
            .collect();
        if about.iter().any(|name| schema.field_with_name(name).is_err()) {
            return Err(Error::Refused { reason: format!("{table} lacks a column that a row filter is about") });
        }
        Ok(match about.as_slice() {
            [] => Cow::Borrowed(&filter.condition),
            about => Cow::Owned(of_cleaned(table, filter, about)),
        })
    }
}

/// A row is there where some row of the other table says the same in the columns that the condition is about, and the condition
/// holds for all that do. What was cleaned otherwise than by taking blanks away is not known again, and hidden.
fn of_cleaned(table: &TableName, filter: &RowFilter, about: &[&str]) -> String {
    let (here, there) = (told(about, table.zone), told(about, filter.on.zone));
    let RowFilter { on: TableName { zone, schema, table }, condition } = filter;
    let of_all = format!("SELECT {there} AS told, count(*) AS many FROM {zone}.\"{schema}\".\"{table}\"");
    format!(
        "{here} IN (SELECT shown.told FROM ({of_all} WHERE ({condition}\n) GROUP BY 1) shown JOIN ({of_all} GROUP BY 1) known \
         ON shown.told = known.told AND shown.many = known.many)"
    )
}

/// The values of columns as one text, which is another for other values.
fn told(columns: &[&str], zone: Zone) -> String {
    let part = |name: &&str| {
        let text = format!("CAST(\"{}\" AS VARCHAR)", name.replace('"', "\"\""));
        let text = if zone == Zone::Raw { format!("btrim({text})") } else { text };
        format!("coalesce(CAST(character_length({text}) AS VARCHAR) || ':' || {text}, '-')")
    };
    format!("CAST({} AS VARCHAR)", columns.iter().map(part).collect::<Vec<_>>().join(" || "))
}

/// A version of a resource is there where the resource as it is now is, whatever it said then: consent that was withdrawn
/// hides what was before, too. (History holds a resource's text, not its columns.)
fn of_history<'a>(table: &TableName, condition: &'a str, old: bool) -> Cow<'a, str> {
    let is_past = match table.schema.as_str() {
        HISTORY => true,
        CURRENT => old,
        _ => false,
    };
    if table.zone != Zone::Fhir || !is_past {
        return Cow::Borrowed(condition);
    }
    Cow::Owned(format!("id IN (SELECT id FROM fhir.r4.\"{}\" WHERE ({condition}\n))", table.table))
}

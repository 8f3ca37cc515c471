use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::ControlFlow,
};

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Ident, ObjectName, ObjectNamePart, Query, Statement, TableFactor, Value, Visit, VisitMut,
    Visitor, VisitorMut,
};
use mavis_types::{TableName, Zone};

use super::Postgres;
use crate::{Error, Session, names::TableKey, system, views};

/// Puts the database and the schema before names of tables that lack them, where the search path has such a table. What is
/// found nowhere stays as it is: it may be the name of a CTE, or an error of the binder. Tables that a text names which is
/// cast to `regclass` are numbered, so that the cast finds them.
///
/// # Errors
/// [`Error::Catalog`]; [`Error::NoSuchTable`] where a right is asked about on a table that is not there for the principal.
pub(super) async fn complete(session: &Session, own: &Postgres, statement: &mut Statement) -> Result<(), Error> {
    let mut named = Named::default();
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = Visit::visit(&*statement, &mut named);
    let mut whole: HashMap<Vec<String>, Vec<String>> = HashMap::new();
    for parts in named.tables.difference(&named.ctes) {
        if let Some(found) = look_up(session, own, parts).await? {
            whole.insert(parts.clone(), found);
        }
    }
    for text in &named.classes {
        if let Some(parts) = parts_of(text) {
            number(session, own, &parts).await?;
        }
    }
    for text in &named.rights {
        let Some(mut parts) = parts_of(text) else { continue };
        if parts.len() == 3 && parts.first() == Some(&own.database) {
            parts.remove(0);
        }
        if look_up(session, own, &parts).await?.is_none() {
            return Err(Error::NoSuchTable { table: text.clone(), hint: String::new() });
        }
    }
    let _walked: ControlFlow<()> = VisitMut::visit(statement, &mut Completer { whole: &whole });
    Ok(())
}

/// The whole name of a table of the search path that the principal may read.
pub(super) async fn look_up(session: &Session, own: &Postgres, parts: &[String]) -> Result<Option<Vec<String>>, Error> {
    let catalog = own.database.as_str();
    let readings: Vec<Vec<String>> = match parts {
        [table] => {
            let schemas = std::iter::once(system::PG_CATALOG).chain(own.path.iter().map(String::as_str));
            schemas.map(|schema| vec![catalog.to_owned(), schema.to_owned(), table.clone()]).collect()
        }
        [schema, table] => vec![vec![catalog.to_owned(), schema.clone(), table.clone()]],
        [database, schema, _] if database == catalog && is_catalog(schema) => vec![parts.to_vec()],
        _ => return Ok(None),
    };
    for mut reading in readings {
        if let [catalog, schema, table] = reading.as_mut_slice() {
            if let Some(place) = system::of_postgres(schema, table) {
                place.clone_into(schema);
                return Ok(Some(reading));
            }
            if system::locate(&[catalog, schema, table]).is_some() {
                return Ok(Some(reading));
            }
            let Ok(zone) = catalog.parse::<Zone>() else { continue };
            if is_there(session, &TableName::new(zone, schema.as_str(), table.as_str())).await? {
                return Ok(Some(reading));
            }
        }
    }
    Ok(None)
}

fn is_catalog(schema: &str) -> bool {
    schema == system::PG_CATALOG || schema == system::INFORMATION
}

async fn is_there(session: &Session, name: &TableName) -> Result<bool, Error> {
    let store = session.catalog();
    if name.zone == Zone::Fhir && name.schema == views::SCHEMA {
        let row = store.view_by_name(&name.table).await?;
        return Ok(row.is_some_and(|row| views::is_seen(session.principal(), &row)));
    }
    Ok(session.principal().may_read(name) && store.find_table(name).await?.is_some())
}

/// Gives a table its number, if it is there.
async fn number(session: &Session, own: &Postgres, parts: &[String]) -> Result<(), Error> {
    if let Some(found) = look_up(session, own, parts).await?
        && let [catalog, schema, table] = found.as_slice()
        && let Ok(zone) = catalog.parse::<Zone>()
        && !is_catalog(schema)
    {
        // The cast asks for it.
        let _number = session.catalog().number(zone, schema, Some(table));
    }
    Ok(())
}

/// The parts of a name in a text: `a.b`, `"A b".c`. `None` for what is no name.
pub(super) fn parts_of(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        let part = parts.last_mut()?;
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            letter if quoted => part.push(letter),
            letter => part.extend(letter.to_lowercase()),
        }
    }
    (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// The names of a statement's tables and CTEs, and the texts that mean tables.
#[derive(Default)]
struct Named {
    tables: BTreeSet<Vec<String>>,
    ctes: BTreeSet<Vec<String>>,
    classes: HashSet<String>,
    /// Tables that rights are asked about.
    rights: BTreeSet<String>,
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = &cte.alias.name;
            let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
            self.ctes.insert(vec![name]);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if let Ok(key) = TableKey::read(name, None) {
            self.tables.insert(key.parts);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && matches!(super::ast::last(&call.name).as_str(), "has_table_privilege" | "has_any_column_privilege")
        {
            // `[user,] table, right`: a number is one that a catalog told.
            let table = super::ast::arguments(call).and_then(|arguments| arguments.into_iter().rev().nth(1));
            let named = table.as_ref().and_then(text_of).filter(|text| text.parse::<u32>().is_err());
            self.rights.extend(named);
        }
        let text = match expr {
            Expr::Cast { expr, data_type, kind: CastKind::Cast | CastKind::DoubleColon, .. }
                if is_regclass(data_type) =>
            {
                text_of(expr)
            }
            Expr::Function(call)
                if matches!(super::ast::last(&call.name).as_str(), "to_regclass" | "regclass" | "pg_get_viewdef") =>
            {
                let first = super::ast::arguments(call).and_then(|arguments| arguments.into_iter().next());
                first.and_then(|first| text_of(&first))
            }
            _ => None,
        };
        self.classes.extend(text);
        ControlFlow::Continue(())
    }
}

pub(super) fn is_regclass(data_type: &DataType) -> bool {
    data_type.to_string().to_lowercase().trim_start_matches("pg_catalog.") == "regclass"
}

pub(super) fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Nested(inner) => text_of(inner),
        _ => None,
    }
}

struct Completer<'a> {
    whole: &'a HashMap<Vec<String>, Vec<String>>,
}

impl VisitorMut for Completer<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            complete_name(name, self.whole);
        }
        ControlFlow::Continue(())
    }

    /// Statements that change a table name it here.
    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        complete_name(name, self.whole);
        ControlFlow::Continue(())
    }
}

fn complete_name(name: &mut ObjectName, whole: &HashMap<Vec<String>, Vec<String>>) {
    let Ok(key) = TableKey::read(name, None) else { return };
    if let Some(found) = whole.get(&key.parts) {
        put_whole(name, found);
    }
}

/// Puts a whole name in the place of one.
pub(super) fn put_whole(name: &mut ObjectName, found: &[String]) {
    let span = name.0.first().and_then(ObjectNamePart::as_ident).map(|ident| ident.span);
    let ident = |part: &String| {
        let ident = Ident::with_quote('"', part);
        ObjectNamePart::Identifier(span.map_or(ident.clone(), |span| Ident { span, ..ident }))
    };
    *name = ObjectName(found.iter().map(ident).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Patient", Some(&["patient"][..]))]
    #[case("r4.\"A.b\"\"c\"", Some(&["r4", "A.b\"c"][..]))]
    #[case("a..b", None)]
    #[case("\"a", None)]
    fn a_text_that_names_a_table_is_taken_apart(#[case] text: &str, #[case] expected: Option<&[&str]>) {
        let expected = expected.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(parts_of(text), expected);
    }
}

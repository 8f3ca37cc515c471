//! Which columns of a source's tables a masked element of a resource was made from: they are masked the same way.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, ObjectName, SelectItem, SetExpr, Statement, TableFactor, Visit, Visitor,
};
use mavis_catalog::Catalog;
use mavis_fhir::mapping::Mapping;
use mavis_types::{Principal, TableName, Zone, is_copy};

use crate::{Error, dialect::parse, guard::Policy};

/// Masks the columns of a raw or processed table that mappings make masked elements from.
///
/// # Errors
/// [`Error::Catalog`].
pub(super) async fn hide(policy: &mut Policy, catalog: &Catalog, principal: &Principal) -> Result<(), Error> {
    let table = policy.table().clone();
    let masks: Vec<_> = principal.rights.masks.iter().filter(|(on, ..)| on.zone == Zone::Fhir).collect();
    if masks.is_empty() || !matches!(table.zone, Zone::Raw | Zone::Processed) || principal.rights.is_opened(&table) {
        return Ok(());
    }
    for row in catalog.mappings().await? {
        let Ok(mapping) = Mapping::parse(&row.text) else { continue };
        for (on, element, mask) in &masks {
            if on.table != mapping.resource.table() {
                continue;
            }
            let of_element = mapping.set.iter().filter(|(path, _)| {
                path.0.first().is_some_and(|step| step.name == *element || step.name.starts_with(element.as_str()))
            });
            let whole = mapping.resource_json.iter();
            for made_of in of_element.map(|(_, made_of)| made_of).chain(whole) {
                for column in columns(&mapping, made_of, &table) {
                    policy.mask_also(&column, *mask);
                }
            }
        }
    }
    Ok(())
}

/// The columns of a table, or of the copy that the mapping reads, that an expression of the mapping uses.
fn columns(mapping: &Mapping, made_of: &str, table: &TableName) -> BTreeSet<String> {
    // An element of a list stands for the list that it is taken from.
    let each = mapping.for_each.as_deref().and_then(|each| {
        let at = each.to_ascii_lowercase().rfind(" as ")?;
        Some((each[..at].trim().to_owned(), each[at + 4..].trim().to_owned()))
    });
    let mut found = BTreeSet::new();
    let of_each = each.as_ref().filter(|(_, alias)| made_of.contains(alias.as_str())).map(|(list, _)| list.as_str());
    for expression in std::iter::once(made_of).chain(of_each) {
        let Ok(Statement::Query(query)) = parse(&format!("SELECT {expression} FROM {}", mapping.from)) else {
            continue;
        };
        let SetExpr::Select(select) = query.body.as_ref() else { continue };
        let mut relations = Relations::default();
        // A relation that cannot be read names no table; there is nothing to break off for.
        if select.from.visit(&mut relations).is_break() {
            continue;
        }
        let ours: Vec<&String> =
            relations.0.iter().filter(|(name, _)| is_copy(name, table)).map(|(_, alias)| alias).collect();
        for item in &select.projection {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let mut names = Names::default();
            if expr.visit(&mut names).is_break() {
                continue;
            }
            for idents in names.0 {
                match idents.as_slice() {
                    [column] if !ours.is_empty() => {
                        found.insert(column.clone());
                    }
                    [first, column, ..] if ours.contains(&first) => {
                        found.insert(column.clone());
                    }
                    // a field of a column that is named without its table
                    [column, ..] if !ours.is_empty() && !relations.0.iter().any(|(_, alias)| alias == column) => {
                        found.insert(column.clone());
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

/// Tables of a FROM, with the names that columns are qualified by, in lower case.
#[derive(Default)]
struct Relations(Vec<(TableName, String)>);

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor
            && let Some(table) = table(name)
        {
            let alias = alias.as_ref().map_or_else(|| table.table.clone(), |alias| lower(&alias.name));
            self.0.push((table, alias));
        }
        ControlFlow::Continue(())
    }
}

fn table(name: &ObjectName) -> Option<TableName> {
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(lower).collect();
    match parts.as_slice() {
        [zone, schema, table] => Some(TableName::new(zone.parse().ok()?, schema, table)),
        [schema, table] => Some(TableName::new(Zone::Processed, schema, table)),
        _ => None,
    }
}

fn lower(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

/// Every identifier of an expression.
#[derive(Default)]
struct Names(Vec<Vec<String>>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::Identifier(ident) => self.0.push(vec![lower(ident)]),
            SqlExpr::CompoundIdentifier(idents) => self.0.push(idents.iter().map(lower).collect()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

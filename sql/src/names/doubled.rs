//! Columns of an answer that are called alike. The planner wants each name once, an answer does not: inside the plan such a
//! column has a name of its own, and the answer's schema leaves out what tells it apart.

use std::collections::{HashMap, HashSet};

use datafusion::sql::sqlparser::ast::{Expr, Ident, OrderByExpr, OrderByKind, Query, SelectItem};

use crate::{Error, fault};

/// What stands after this in the name of a column only tells it apart from another of its name.
pub(crate) const APART: char = '\0';

/// A column of a select list that is written out, by its name.
#[derive(Debug)]
pub(super) struct Given {
    /// Its place in the select list.
    pub(super) place: usize,
    pub(super) name: String,
    /// Whether it is a column of a table, under its own name.
    pub(super) is_plain: bool,
}

/// Tells columns apart that have a name that another one has, or one of those that a star stands for. Answers which of these
/// names may mean several values.
///
/// `apart`: what stands between the name and a number; `is_one`: whether all columns are of one table.
pub(super) fn tell_apart(
    items: &mut [SelectItem],
    given: &[Given],
    starred: impl Iterator<Item = String>,
    apart: char,
    is_one: bool,
) -> Vec<String> {
    // By names, the tables that columns of two tables are told apart by already.
    let mut seen: HashMap<String, Vec<Option<String>>> = starred.map(|name| (name, vec![None])).collect();
    let mut names: HashSet<String> = seen.keys().cloned().chain(given.iter().map(|one| one.name.clone())).collect();
    let mut several = Vec::new();
    for Given { place, name, is_plain } in given {
        let Some(item) = items.get_mut(*place) else { continue };
        let table = if *is_plain { table_of(item) } else { None };
        let others = seen.entry(name.clone()).or_default();
        let is_told = others.iter().all(|other| other.is_some() && table.is_some() && *other != table);
        others.push(table);
        if is_told {
            continue;
        }
        let mut numbered = (2..).map(|number| format!("{name}{apart}{number}"));
        let Some(free) = numbered.find(|free| names.insert(free.clone())) else { continue };
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', free) };
        }
        let is_same = is_one && given.iter().filter(|one| one.name == *name).all(|one| one.is_plain);
        if !is_same {
            several.push(name.clone());
        }
    }
    several
}

/// What stands before the name of a column.
fn table_of(item: &SelectItem) -> Option<String> {
    let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) = item else { return None };
    let (_, table) = idents.split_last()?;
    Some(table.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join("."))
}

/// # Errors
/// [`Error::Invalid`] where a query is ordered by a name that may mean several values.
pub(super) fn check_order(query: &Query, several: &[String]) -> Result<(), Error> {
    let Some(OrderByKind::Expressions(exprs)) = query.order_by.as_ref().map(|order| &order.kind) else { return Ok(()) };
    for OrderByExpr { expr, .. } in exprs {
        if let Expr::Identifier(ident) = expr
            && several.contains(&ident.value)
        {
            return Err(fault::invalid(format!(
                "ORDER BY `{}` may mean several columns of the SELECT: give them other names with AS",
                ident.value
            )));
        }
    }
    Ok(())
}

/// The name that a column of an answer has for whoever asked.
pub(crate) fn told(name: &str) -> &str {
    name.split(APART).next().unwrap_or_default()
}

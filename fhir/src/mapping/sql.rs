//! The mapping's statement, and the SQL syntax of its parts.

use std::fmt::Write;

use datafusion::sql::sqlparser::{
    ast::{Expr, Ident, TableFactor, TableWithJoins},
    dialect::GenericDialect,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

use super::Mapping;

const DIALECT: GenericDialect = GenericDialect {};

fn whole<T>(
    text: &str,
    what: &str,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, String> {
    let wrong = |error: ParserError| format!("is not {what}: {error}");
    let mut parser = Parser::new(&DIALECT).try_with_sql(text).map_err(wrong)?;
    let parsed = parse(&mut parser).map_err(wrong)?;
    if parser.peek_token().token == Token::EOF { Ok(parsed) } else { Err(format!("is not {what}: more follows it")) }
}

/// One SQL expression and nothing after it, so that the statement stays what it looks like.
pub(super) fn expression(text: &str) -> Result<Expr, String> {
    whole(text, "one SQL expression", |parser| parser.parse_expr())
}

pub(super) fn relations(text: &str) -> Result<Vec<TableWithJoins>, String> {
    whole(text, "the FROM part of a statement", |parser| parser.parse_comma_separated(Parser::parse_table_and_joins))
}

/// `p.contacts AS contact`: the list and the name of its element.
pub(super) fn for_each(text: &str) -> Result<(Expr, Ident), String> {
    whole(text, "`list AS name`", |parser| {
        let list = parser.parse_expr()?;
        parser.expect_keyword(datafusion::sql::sqlparser::keywords::Keyword::AS)?;
        Ok((list, parser.parse_identifier()?))
    })
}

/// Whether an expression is the same for every row: a literal, perhaps cast.
pub(super) fn is_constant(text: &str) -> bool {
    fn constant(expression: &Expr) -> bool {
        match expression {
            Expr::Value(_) | Expr::TypedString(_) => true,
            Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::UnaryOp { expr, .. } => constant(expr),
            _ => false,
        }
    }
    expression(text).is_ok_and(|expression| constant(&expression))
}

/// The name that a relation's columns are qualified with.
fn qualifier(relation: &TableFactor) -> Option<&Ident> {
    match relation {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(&alias.name)
        }
        TableFactor::Table { name, alias: None, .. } => name.0.last().and_then(|part| part.as_ident()),
        _ => None,
    }
}

/// The FROM part with the relation that has the list replaced by one row per element of it. A list cannot be unnested
/// beside its table (there are no lateral joins), so it is unnested inside.
pub(super) fn unnested(from: &str, text: &str) -> Result<String, String> {
    let (list, name) = for_each(text)?;
    let mut relations = relations(from)?;
    let owner = match &list {
        Expr::CompoundIdentifier(parts) => parts.first(),
        Expr::CompoundFieldAccess { root, .. } => match root.as_ref() {
            Expr::Identifier(name) => Some(name),
            _ => None,
        },
        _ => None,
    };
    let same = |relation: &TableFactor| match (qualifier(relation), owner) {
        (Some(name), Some(owner)) => name.value.eq_ignore_ascii_case(&owner.value),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let mut all: Vec<&mut TableFactor> = relations
        .iter_mut()
        .flat_map(|table| {
            std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation))
        })
        .collect();
    if owner.is_none() && all.len() > 1 {
        return Err(format!("write the table in front of the list: `p.{list} AS {name}`"));
    }
    let Some(relation) = all.iter_mut().find(|relation| same(relation)) else {
        return Err(format!("`{list}` is in none of the tables of `from`"));
    };
    let Some(table) = qualifier(relation).cloned() else { return Err("its table has no name".to_owned()) };
    let inner = format!("(SELECT *, unnest({list}) AS {name} FROM {relation}) AS {table}");
    let replaced = super::sql::relations(&inner)?;
    let Some(factor) = replaced.into_iter().next() else { return Err("its table has no name".to_owned()) };
    **relation = factor.relation;
    Ok(relations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

pub(super) fn statement(mapping: &Mapping) -> String {
    let mut columns: Vec<(&str, String)> = Vec::new();
    for (place, part) in mapping.key.iter().enumerate() {
        columns.push((part, format!("key_{place}")));
    }
    match &mapping.resource_json {
        Some(json) => columns.push((json, "resource_json".to_owned())),
        None => {
            for (place, (_, expression)) in mapping.set.iter().enumerate() {
                columns.push((expression, format!("set_{place}")));
            }
        }
    }
    let mut sql = String::from("SELECT");
    for (place, (expression, name)) in columns.iter().enumerate() {
        // each on a line of its own: a comment ends with its line
        write!(sql, "{}\n  ({expression}\n  ) AS {name}", if place > 0 { "," } else { "" }).ok();
    }
    let from = match &mapping.for_each {
        Some(for_each) => unnested(&mapping.from, for_each).unwrap_or_else(|_| mapping.from.clone()),
        None => mapping.from.clone(),
    };
    write!(sql, "\nFROM {from}\n").ok();
    if let Some(filter) = &mapping.filter {
        write!(sql, "WHERE ({filter}\n)\n").ok();
    }
    sql
}

//! Small parts of statements: made, and read.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
        Ident, ObjectName, ObjectNamePart, Statement, Value, visit_relations,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use crate::system;

/// The place of a parameter, from 0.
pub(super) fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

/// An identifier as it is meant: in lower case, but for quotes.
pub(super) fn meant(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The name of the column that an expression is.
pub(super) fn column_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(meant(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(meant),
        _ => None,
    }
}

/// Whether a name is that of a catalog, completed by then: `database.pg_catalog.table`.
pub(super) fn is_catalog(name: &ObjectName, table: &str) -> bool {
    let part = |at: usize| name.0.get(at).and_then(ObjectNamePart::as_ident).map(|ident| ident.value.as_str());
    name.0.len() == 3 && part(1) == Some(system::PG_CATALOG) && part(2) == Some(table)
}

/// Whether a statement asks one of these catalogs.
pub(super) fn asks_catalog(statement: &Statement, tables: &[&str]) -> bool {
    let found = visit_relations(statement, |name| {
        if tables.iter().any(|table| is_catalog(name, table)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    found.is_break()
}

/// The last part of a name, in lower case.
pub(super) fn last(name: &ObjectName) -> String {
    name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.to_lowercase()).unwrap_or_default()
}

pub(super) fn value_of(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    }
}

/// The values that a function is called with.
pub(super) fn arguments(of: &Function) -> Option<Vec<Expr>> {
    match &of.args {
        FunctionArguments::List(list) => list.args.iter().map(value_of).collect(),
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::Subquery(_) => None,
    }
}

pub(super) fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

pub(super) fn number(number: i64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

pub(super) fn truth(truth: bool) -> Expr {
    Expr::value(Value::Boolean(truth))
}

pub(super) fn null() -> Expr {
    Expr::value(Value::Null)
}

pub(super) fn cast(inner: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(inner), data_type, array: false, format: None }
}

pub(super) fn texts() -> DataType {
    parsed("text[]").unwrap_or(DataType::Text)
}

pub(super) fn array(items: Vec<Expr>) -> Expr {
    call("make_array", items)
}

pub(super) fn call(name: &str, values: Vec<Expr>) -> Expr {
    let args = values.into_iter().map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(super) fn parsed(data_type: &str) -> Option<DataType> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(data_type).ok()?.parse_data_type().ok()
}

pub(super) fn quoted(name: &str) -> String {
    Ident::with_quote('"', name).to_string()
}

/// A function that is called without parentheses, and that the parser takes for a name.
pub(super) fn bare_call(ident: &Ident) -> Option<String> {
    const CALLS: [&str; 5] = ["current_schema", "current_role", "current_user", "session_user", "current_catalog"];
    let name = ident.value.to_lowercase();
    (ident.quote_style.is_none() && CALLS.contains(&name.as_str())).then_some(name)
}

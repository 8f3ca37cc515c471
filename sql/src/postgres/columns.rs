use std::collections::HashSet;

use arrow::datatypes::DataType as Arrow;
use datafusion::sql::sqlparser::ast::{DataType, Expr, Ident, SelectItem, SetExpr, Statement, TimezoneInfo, Value};

use super::{Postgres, ast, path::is_regclass, procedures, vectors};
use crate::names::APART;

/// Gives the columns of an answer the names that PostgreSQL gives them, told apart where they are alike: the planner wants
/// each name once. A parameter that is a column by itself has the type that was declared for it.
pub(super) fn name(statement: &mut Statement, own: &Postgres) {
    let asked = Asked {
        own,
        types: ast::asks_catalog(statement, &["pg_type"]),
        vectors: ast::asks_catalog(statement, &vectors::CATALOGS),
    };
    if let Statement::Query(query) = statement {
        of_body(&mut query.body, &asked);
    }
}

/// Of a statement, what its columns are named and shown by.
struct Asked<'a> {
    own: &'a Postgres,
    /// Whether it asks the catalogs whose columns are shown otherwise than the engine has them.
    types: bool,
    vectors: bool,
}

fn of_body(body: &mut SetExpr, asked: &Asked<'_>) {
    match body {
        SetExpr::Select(select) => of_items(&mut select.projection, asked),
        SetExpr::SetOperation { left, right, .. } => {
            of_body(left, asked);
            of_body(right, asked);
        }
        SetExpr::Query(query) => of_body(&mut query.body, asked),
        _ => {}
    }
}

fn of_items(items: &mut [SelectItem], asked: &Asked<'_>) {
    let is_wild = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_wildcard = items.iter().any(is_wild);
    let mut taken: HashSet<String> = HashSet::new();
    for item in items {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
            _ => continue,
        };
        declare(expr, asked.own);
        let told = name_of(expr);
        let is_column = match &*expr {
            Expr::Identifier(ident) => ast::bare_call(ident).is_none(),
            other => matches!(other, Expr::CompoundIdentifier(_)),
        };
        let is_shown = show(expr, asked);
        if alias.is_none() && matches!(expr, Expr::CompoundFieldAccess { .. }) {
            continue;
        }
        let name = alias.clone().or(told).unwrap_or_else(|| "?column?".to_owned());
        // A column beside `*` may be among those that the star stands for.
        let alike = taken.contains(&name) || (has_wildcard && is_column && alias.is_none());
        let mut own_name = name.clone();
        let mut number = 1;
        while alike && (number == 1 || taken.contains(&own_name)) {
            number += 1;
            own_name = format!("{name}{APART}{number}");
        }
        taken.insert(own_name.clone());
        if alike || (alias.is_none() && (is_shown || !is_column)) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', own_name) };
        }
    }
}

/// The name of an unnamed column (`FigureColname` of PostgreSQL's parser).
fn name_of(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ast::column_of(expr),
        Expr::Function(call) => call.name.0.last()?.as_ident().map(ast::meant),
        Expr::Cast { expr, data_type, .. } => name_of(expr).or_else(|| type_name(data_type)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Case { else_result, .. } => {
            else_result.as_ref().and_then(|inner| name_of(inner)).or_else(|| fixed("case"))
        }
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => name_of(expr),
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                _ => None,
            },
            _ => None,
        },
        Expr::Exists { .. } => fixed("exists"),
        Expr::Array(_) => fixed("array"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Trim { .. } => fixed("btrim"),
        Expr::Position { .. } => fixed("position"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::Interval(_) => fixed("interval"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => fixed("bool"),
        _ => None,
    }
}

/// What a cast calls its column: PostgreSQL's own short names.
fn type_name(data_type: &DataType) -> Option<String> {
    let text = data_type.to_string().to_lowercase();
    let text = text.split('(').next().unwrap_or_default().trim();
    let short = match text.strip_prefix("pg_catalog.").unwrap_or(text) {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "double precision" | "double" => "float8",
        "real" => "float4",
        "boolean" => "bool",
        "character varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "decimal" => "numeric",
        other => other,
    };
    Some(short.to_owned())
}

/// `SELECT $1` is what was declared for `$1`.
fn declare(expr: &mut Expr, own: &Postgres) {
    let Some(declared) = ast::placeholder(expr).and_then(|number| own.parameters.get(number)?.clone()) else {
        return;
    };
    if let Some(data_type) = written(&declared) {
        *expr = ast::cast(expr.clone(), data_type);
    }
}

/// A table's number that is a column by itself is shown by the table's name, and a function's by the function's. Whether it
/// became another expression.
fn show(expr: &mut Expr, asked: &Asked<'_>) -> bool {
    let shown = match &*expr {
        Expr::Cast { data_type, .. } if is_regclass(data_type) => ast::cast(expr.clone(), DataType::Text),
        column if asked.types && procedures::is_column(column) => procedures::shown(column),
        column if asked.vectors && vectors::is_column(column) => vectors::shown(column),
        _ => return false,
    };
    *expr = shown;
    true
}

/// A type as SQL writes it.
pub(super) fn written(data_type: &Arrow) -> Option<DataType> {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef;
    Some(match data_type {
        Arrow::Boolean => DataType::Boolean,
        Arrow::Int16 => DataType::SmallInt(None),
        Arrow::Int32 => DataType::Integer(None),
        Arrow::Int64 => DataType::BigInt(None),
        Arrow::UInt32 => DataType::IntUnsigned(None),
        Arrow::Float32 => DataType::Real,
        Arrow::Float64 => DataType::DoublePrecision,
        Arrow::Binary => DataType::Bytea,
        Arrow::Utf8 => DataType::Text,
        Arrow::Date32 => DataType::Date,
        Arrow::Timestamp(_, None) => DataType::Timestamp(None, TimezoneInfo::None),
        Arrow::Timestamp(_, Some(_)) => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        Arrow::List(item) => {
            DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(written(item.data_type())?), None))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case(
        "SELECT count(*), 1, a.b, 'x'::text, x::int FROM a",
        "SELECT count(*) AS \"count\", 1 AS \"?column?\", a.b, 'x'::TEXT AS \"text\", x::INT AS \"x\" FROM a"
    )]
    #[case("SELECT CURRENT_SCHEMA", "SELECT CURRENT_SCHEMA AS \"current_schema\"")]
    #[case("SELECT NULL, NULL", "SELECT NULL AS \"?column?\", NULL AS \"?column?\x002\"")]
    #[case("SELECT c.oid, c.* FROM c", "SELECT c.oid AS \"oid\x002\", c.* FROM c")]
    #[case("SELECT a.id, b.id FROM a, b", "SELECT a.id, b.id AS \"id\x002\" FROM a, b")]
    #[case(
        "SELECT t.typsend AS s, typreceive FROM d.pg_catalog.pg_type AS t",
        "SELECT regproc_out(t.typsend) AS s, regproc_out(typreceive) AS \"typreceive\" FROM d.pg_catalog.pg_type AS t"
    )]
    #[case(
        "SELECT indkey FROM d.pg_catalog.pg_index",
        "SELECT arrow_cast(indkey, 'LargeList(Int16)') AS \"indkey\" FROM d.pg_catalog.pg_index"
    )]
    #[case("SELECT indkey, typsend FROM t", "SELECT indkey, typsend FROM t")]
    #[case("SELECT max(a) AS max, max(b) FROM t", "SELECT max(a) AS max, max(b) AS \"max\x002\" FROM t")]
    fn columns_are_called_as_postgresql_calls_them(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        name(&mut statement, &Postgres::default());
        assert_eq!(statement.to_string(), expected);
    }

    #[test]
    fn a_parameter_by_itself_has_its_declared_type() {
        let mut statement = parse("SELECT $1").unwrap();
        let own = Postgres { parameters: vec![Some(Arrow::Int64)], ..Postgres::default() };
        name(&mut statement, &own);
        assert_eq!(statement.to_string(), "SELECT CAST($1 AS BIGINT) AS \"int8\"");
    }
}

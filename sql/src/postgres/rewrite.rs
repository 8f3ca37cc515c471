//! PostgreSQL's own forms as the planner has them, wherever they stand in a statement.

use super::ast::{
    arguments, array, bare_call, call, cast, last, null, number, placeholder, quoted, text, texts, truth,
};
use super::compare::{cast_of, items, numbered, operator};
use super::from::{one_row, scalar, table_function};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArguments, GroupByExpr, Ident,
        ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query, SelectItem, SetExpr, Statement, Subscript, TableAlias,
        TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use super::{
    Postgres,
    empty::{is_rowless, leave_out},
    like::escaped,
    path::text_of,
};
use crate::system;

/// What `version()` says: the first word and the number are what clients read.
const VERSION: &str = "PostgreSQL 15.8 (Mavis)";
/// Aggregates in which nothing that asks another table can stand.
const COLLECTING: [&str; 3] = ["array_agg", "string_agg", "json_agg"];

/// Rewrites a statement; `false` where its answer tells of the connection that asks.
pub(super) fn rewrite(statement: &mut Statement, own: &Postgres) -> bool {
    leave_out(statement);
    order(statement);
    let mut rewriter = Rewriter { own, is_lasting: true, collecting: 0 };
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = statement.visit(&mut rewriter);
    rewriter.is_lasting
}

/// The planner sorts by columns, not by questions: what ORDER BY asks a subquery becomes a column that is left out again.
fn order(statement: &mut Statement) {
    let Statement::Query(query) = statement else { return };
    let Some(OrderBy { kind: OrderByKind::Expressions(wanted), .. }) = &mut query.order_by else { return };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if select.distinct.is_some() || !wanted.iter().any(|one| asks(&one.expr)) {
        return;
    }
    let Some(names) = select.projection.iter().map(named).collect::<Option<Vec<Ident>>>() else { return };
    for (number, one) in wanted.iter_mut().enumerate().filter(|(_, one)| asks(&one.expr)) {
        let name = Ident::with_quote('"', format!("\0order {number}"));
        let expr = std::mem::replace(&mut one.expr, Expr::Identifier(name.clone()));
        select.projection.push(SelectItem::ExprWithAlias { expr, alias: name });
    }
    let inner = Query {
        with: query.with.take(),
        body: Box::new(SetExpr::Select(select.clone())),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    };
    select.projection = names.into_iter().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name))).collect();
    select.selection = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', "ordered"), columns: Vec::new(), at: None };
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias: Some(alias), sample: None };
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
}

fn asks(expr: &Expr) -> bool {
    expr.to_string().contains("SELECT ")
}

/// The name of a column that is selected.
fn named(item: &SelectItem) -> Option<Ident> {
    let name = match item {
        SelectItem::ExprWithAlias { alias, .. } => alias,
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => idents.last()?,
        _ => return None,
    };
    Some(name.clone())
}

struct Rewriter<'a> {
    own: &'a Postgres,
    is_lasting: bool,
    /// How many aggregates are around.
    collecting: usize,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } = item {
                    counted(value);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(known) = rowless(expr) {
            *expr = known;
        }
        match expr {
            Expr::Function(call) => {
                if let FunctionArguments::Subquery(query) = &call.args
                    && call.name.to_string().eq_ignore_ascii_case("array")
                {
                    let mut query = query.clone();
                    aggregate(&mut query, "array_agg");
                    *expr = Expr::Subquery(query);
                } else if COLLECTING.contains(&last(&call.name).as_str()) {
                    self.collecting += 1;
                }
            }
            // At most one row, or PostgreSQL would fail: the planner wants to see that.
            Expr::Subquery(query) if asks_catalogs(query) => aggregate(query, "max"),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && COLLECTING.contains(&last(&call.name).as_str())
        {
            self.collecting = self.collecting.saturating_sub(1);
        }
        self.expr(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some((mut value, column)) = scalar(factor) {
            self.expr(&mut value);
            one_row(factor, &value, &column);
        }
        table_function(factor);
        ControlFlow::Continue(())
    }
}

/// `EXISTS` as a value, which the planner does not know: whether there are any.
fn counted(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp { left, right, .. } => {
            counted(left);
            counted(right);
        }
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => counted(inner),
        Expr::Exists { subquery, negated } if asks_catalogs(subquery) => {
            let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
            let mut query = subquery.clone();
            if let SetExpr::Select(select) = query.body.as_mut() {
                select.projection = vec![SelectItem::UnnamedExpr(call("count", vec![number(1)]))];
                *expr = Expr::BinaryOp { left: Box::new(Expr::Subquery(query)), op, right: Box::new(number(0)) };
            }
        }
        _ => {}
    }
}

/// What a condition or a value is that asks a query without rows.
fn rowless(expr: &Expr) -> Option<Expr> {
    let truth = |truth| Some(Expr::value(Value::Boolean(truth)));
    match expr {
        Expr::Subquery(query) if is_rowless(query) => Some(null()),
        Expr::Exists { subquery, negated } if is_rowless(subquery) => truth(*negated),
        Expr::InSubquery { subquery, negated, .. } if is_rowless(subquery) => truth(*negated),
        Expr::Function(call) => match &call.args {
            FunctionArguments::Subquery(query) if is_rowless(query) => Some(cast(array(Vec::new()), texts())),
            _ => None,
        },
        _ => None,
    }
}

/// Puts the only column of a select into an aggregate.
fn aggregate(query: &mut Query, name: &str) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_mut_slice()
    else {
        return;
    };
    const KNOWN: [&str; 6] = ["max", "min", "count", "array_agg", "string_agg", "sum"];
    if matches!(value, Expr::Function(call) if KNOWN.contains(&last(&call.name).as_str())) {
        return;
    }
    *value = call(name, vec![value.clone()]);
    query.order_by = None;
    query.limit_clause = None;
}

fn asks_catalogs(query: &Query) -> bool {
    query.to_string().contains(system::PG_CATALOG)
}

impl Rewriter<'_> {
    fn expr(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Collate { expr: inner, .. } => *expr = (**inner).clone(),
            Expr::Identifier(ident) => {
                if let Some(told) = bare_call(ident).and_then(|name| self.of_session(&name, &[])) {
                    self.is_lasting = false;
                    *expr = told;
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } if matches!(root.as_ref(), Expr::Nested(_)) => {
                access_chain.iter_mut().for_each(by_name);
            }
            Expr::BinaryOp { left, op, right } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(plain) = parts.last().and_then(|sign| operator(sign))
                {
                    *op = plain;
                }
                numbered(left, right);
                numbered(right, left);
            }
            Expr::InList { expr: of, list, .. } => list.iter_mut().for_each(|item| numbered(of, item)),
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                if let Some(list) = items(right) {
                    *expr = Expr::InList { expr: left.clone(), list, negated: false };
                } else if let Some(data_type) = self.declared(right) {
                    **right = cast((**right).clone(), data_type);
                }
            }
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
                if let Some(list) = items(right) {
                    *expr = Expr::InList { expr: left.clone(), list, negated: true };
                } else if let Some(data_type) = self.declared(right) {
                    **right = cast((**right).clone(), data_type);
                }
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                escaped(pattern, escape_char)
            }
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
                if let Some(put) = cast_of(inner, data_type) {
                    *expr = put;
                }
            }
            Expr::Function(call) => {
                if let Some(put) = self.function(call) {
                    *expr = put;
                }
            }
            _ => {}
        }
    }

    /// The type that was declared for a parameter.
    fn declared(&self, expr: &Expr) -> Option<DataType> {
        let declared = self.own.parameters.get(placeholder(expr)?)?.as_ref()?;
        super::columns::written(declared)
    }

    /// What a call means; `None` leaves it as it is.
    fn function(&mut self, of: &mut Function) -> Option<Expr> {
        let name = last(&of.name);
        let is_own = match of.name.0.as_slice() {
            [_] => true,
            [schema, _] => schema.as_ident().is_some_and(|schema| {
                schema.value.eq_ignore_ascii_case(system::PG_CATALOG)
                    || schema.value.eq_ignore_ascii_case(system::INFORMATION)
            }),
            _ => false,
        };
        if !is_own {
            return None;
        }
        if of.name.0.len() == 2 {
            of.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(&name))]);
        }
        let arguments = arguments(of).unwrap_or_default();
        let told = self.of_session(&name, &arguments);
        if told.is_some() {
            self.is_lasting = false;
            return told;
        }
        Some(match name.as_str() {
            "version" => text(VERSION),
            "obj_description" => self.description(arguments.first()?, &number(0)),
            "col_description" => self.description(arguments.first()?, arguments.get(1)?),
            "pg_get_constraintdef" => self.definition("pg_constraint", "oid", arguments.first()?),
            "pg_get_indexdef" => self.definition("pg_index", "indexrelid", arguments.first()?),
            "getdatabaseencoding" | "pg_client_encoding" => text("UTF8"),
            "pg_encoding_to_char" => text("UTF8"),
            "pg_char_to_encoding" => number(6),
            "pg_relation_size"
            | "pg_total_relation_size"
            | "pg_table_size"
            | "pg_database_size"
            | "pg_indexes_size"
            | "pg_tablespace_size"
            | "pg_stat_get_numscans" => cast(number(0), DataType::BigInt(None)),
            "pg_is_in_recovery" | "pg_is_other_temp_schema" | "pg_relation_is_publishable" | "row_security_active" => {
                truth(false)
            }
            "pg_my_temp_schema" | "txid_current" | "pg_current_xact_id" | "pg_trigger_depth" => number(0),
            "pg_postmaster_start_time" | "pg_conf_load_time" => call("now", Vec::new()),
            "pg_typeof" => call("arrow_typeof", arguments),
            "to_regclass" => call("regclass_in", arguments),
            "to_regtype" => call("regtype_in", arguments),
            "array_lower" => number(1),
            "array_upper" => cast(call("array_length", vec![arguments.first()?.clone()]), DataType::BigInt(None)),
            "generate_subscripts" => {
                let length = call("array_length", vec![arguments.first()?.clone()]);
                call("unnest", vec![call("generate_series", vec![number(1), cast(length, DataType::BigInt(None))])])
            }
            "_pg_expandarray" => call("unnest", vec![call("pg_expandarray__", arguments)]),
            "pg_table_is_visible" | "pg_get_userbyid" | "format_type" | "pg_size_pretty" => return None,
            name if name.starts_with("has_") && name.ends_with("_privilege") => truth(may(&arguments)),
            name if name.ends_with("_is_visible") => truth(true),
            name if name.starts_with("pg_") && name != "pg_expandarray__" => cast(null(), DataType::Text),
            "inet_client_addr" | "inet_server_addr" | "shobj_description" => cast(null(), DataType::Text),
            _ => return None,
        })
    }

    /// Functions that tell of the connection.
    fn of_session(&self, name: &str, arguments: &[Expr]) -> Option<Expr> {
        let own = self.own;
        Some(match name {
            "current_database" | "current_catalog" => text(&own.database),
            "current_schema" => own.path.first().map_or_else(|| cast(null(), DataType::Text), |schema| text(schema)),
            "current_schemas" => {
                let all = arguments.first().is_some_and(|whole| whole.to_string().eq_ignore_ascii_case("true"));
                let implied = all.then_some(system::PG_CATALOG);
                array(implied.into_iter().chain(own.path.iter().map(String::as_str)).map(text).collect())
            }
            "current_user" | "session_user" | "user" | "current_role" | "system_user" => text(&own.user),
            "pg_backend_pid" => number(i64::from(own.process)),
            "current_setting" => {
                let wanted = arguments.first().and_then(text_of)?;
                let found = own.settings.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
                found.map_or_else(|| cast(null(), DataType::Text), |(_, value)| text(value))
            }
            // What a client sets this way is set by the door where the statement is nothing else.
            "set_config" => arguments.get(1)?.clone(),
            _ => return None,
        })
    }

    /// The comment of an object.
    fn description(&self, object: &Expr, column: &Expr) -> Expr {
        if self.collecting > 0 {
            return cast(null(), DataType::Text);
        }
        self.asked(&format!(
            "(SELECT max(d__) FROM (SELECT objoid AS o__, objsubid AS s__, description AS d__ FROM {}.pg_catalog.pg_description) \
             WHERE o__ = {object} AND s__ = {column})",
            quoted(&self.own.database)
        ))
    }

    /// How a key is defined.
    fn definition(&self, catalog: &str, key: &str, object: &Expr) -> Expr {
        if self.collecting > 0 {
            return cast(null(), DataType::Text);
        }
        self.asked(&format!(
            "(SELECT max(d__) FROM (SELECT {key} AS o__, definition__ AS d__ FROM {}.pg_catalog.{catalog}) WHERE o__ = {object})",
            quoted(&self.own.database)
        ))
    }

    fn asked(&self, sql: &str) -> Expr {
        let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
        parsed.unwrap_or_else(|_| cast(null(), DataType::Text))
    }
}

/// Whether everything that is asked for is to look: nothing of what is shown may be changed here.
fn may(arguments: &[Expr]) -> bool {
    let Some(wanted) = arguments.last().and_then(text_of) else { return true };
    wanted.split(',').all(|one| matches!(one.trim().to_lowercase().as_str(), "select" | "usage" | "connect" | "member"))
}

/// `(row).field`, which the planner knows as `['field']`.
fn by_name(step: &mut AccessExpr) {
    if let AccessExpr::Dot(Expr::Identifier(ident)) = step {
        let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
        *step = AccessExpr::Subscript(Subscript::Index { index: text(&name) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case("SELECT a WHERE b OPERATOR(pg_catalog.~) '^x$' COLLATE pg_catalog.default", "SELECT a WHERE b ~ '^x$'")]
    #[case("SELECT a WHERE c.oid = '16384'", "SELECT a WHERE c.oid = 16384")]
    #[case("SELECT a WHERE b = ANY ('{r,p}')", "SELECT a WHERE b IN ('r', 'p')")]
    #[case("SELECT a WHERE b <> ALL (ARRAY['r', 'p'])", "SELECT a WHERE b NOT IN ('r', 'p')")]
    #[case("SELECT a WHERE b NOT LIKE 'pg/_' || '%' ESCAPE '/'", "SELECT a WHERE b NOT LIKE 'pg\\_%'")]
    #[case("SELECT c.oid::pg_catalog.regclass", "SELECT regclass_out(c.oid)")]
    #[case("SELECT CAST(CAST(c.oid AS REGCLASS) AS OID)", "SELECT CAST(c.oid AS INT UNSIGNED)")]
    #[case("SELECT 'pg_class'::regclass", "SELECT regclass_in('pg_class')")]
    #[case("SELECT 'text'::regtype", "SELECT 25")]
    #[case("SELECT a::pg_catalog.text", "SELECT CAST(a AS TEXT)")]
    #[case("SELECT a::pg_catalog.int2[]", "SELECT CAST(a AS INT2[])")]
    #[case("SELECT current_database(), pg_catalog.current_schema()", "SELECT 'fhir', 'r4'")]
    #[case("SELECT (current_schemas(true))[1]", "SELECT (make_array('pg_catalog', 'r4'))[1]")]
    #[case("SELECT pg_catalog.pg_type_is_visible(t.oid), pg_get_triggerdef(1)", "SELECT true, CAST(NULL AS TEXT)")]
    #[case(
        "SELECT has_table_privilege('x', 'SELECT'), has_table_privilege('x', 'select, insert')",
        "SELECT true, false"
    )]
    #[case("SELECT (SELECT 1 FROM fhir.pg_catalog.pg_attrdef d WHERE d.adrelid = a.b) FROM a", "SELECT NULL FROM a")]
    #[case("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM fhir.pg_catalog.pg_policy)", "SELECT 1 WHERE true")]
    #[case(
        "SELECT (SELECT t.x FROM fhir.pg_catalog.pg_type t WHERE t.oid = a.b)",
        "SELECT (SELECT max(t.x) FROM fhir.pg_catalog.pg_type t WHERE t.oid = a.b)"
    )]
    #[case("SELECT '\\x00 FF'::bytea, CAST('\\x0' AS bytea)", "SELECT X'00FF', CAST('\\x0' AS BYTEA)")]
    #[case("SELECT CURRENT_SCHEMA", "SELECT 'r4'")]
    #[case("SELECT \"current_schema\"", "SELECT \"current_schema\"")]
    #[case("SELECT * FROM current_schema()", "SELECT * FROM (SELECT 'r4' AS \"current_schema\") AS \"current_schema\"")]
    #[case("SELECT * FROM pg_catalog.version() AS v", "SELECT * FROM (SELECT 'PostgreSQL 15.8 (Mavis)' AS \"v\") AS v")]
    #[case("SELECT ARRAY(SELECT x FROM t)", "SELECT (SELECT array_agg(x) FROM t)")]
    #[case("SELECT i FROM generate_series(1, 3) AS i", "SELECT i FROM generate_series(1, 3) AS i (i)")]
    fn a_form_of_postgresql_is_put_as(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        let own = Postgres { database: "fhir".to_owned(), path: vec!["r4".to_owned()], ..Postgres::default() };
        rewrite(&mut statement, &own);
        assert_eq!(statement.to_string(), expected);
    }

    #[rstest]
    #[case("SELECT a FROM t", true)]
    #[case("SELECT current_user", false)]
    fn an_answer_that_tells_of_the_connection_is_not_kept(#[case] sql: &str, #[case] lasting: bool) {
        assert_eq!(rewrite(&mut parse(sql).unwrap(), &Postgres::default()), lasting);
    }
}

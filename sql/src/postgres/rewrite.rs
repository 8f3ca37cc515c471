//! PostgreSQL's own forms as the planner has them, wherever they stand in a statement.

use super::ast::{array, asks_catalog, bare_call, call, cast, last, null, number, placeholder, text, texts};
use super::compare::{Named, Names, Scope, cast_of, items, numbered, operator, tables};
use super::from::{one_row, scalar, table_function};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArgumentClause, FunctionArguments,
    GroupByExpr, Ident, OrderBy, OrderByExpr, OrderByKind, Query, SelectItem, SetExpr, Statement, Subscript,
    TableFactor, Value, VisitMut, VisitorMut,
};

use super::{
    Postgres,
    empty::{has_aggregate, is_rowless, leave_out},
    forms,
    like::escaped,
    lists, merged, order,
    path::{is_regclass, text_of},
    procedures, series as rows, vectors,
};

/// Aggregates in which nothing that asks another table can stand.
const COLLECTING: [&str; 3] = ["array_agg", "string_agg", "json_agg"];

/// Rewrites a statement; `false` where its answer tells of the connection that asks.
pub(super) fn rewrite(statement: &mut Statement, own: &Postgres) -> bool {
    leave_out(statement);
    order::put_beside(statement);
    let of_types = asks_catalog(statement, &["pg_type"]);
    let of_vectors = asks_catalog(statement, &vectors::CATALOGS);
    let names = Names::of(&*statement);
    let mut rewriter =
        Rewriter { own, is_lasting: true, collecting: 0, of_types, of_vectors, names, around: Vec::new() };
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = statement.visit(&mut rewriter);
    rewriter.is_lasting
}

pub(super) struct Rewriter<'a> {
    pub(super) own: &'a Postgres,
    pub(super) is_lasting: bool,
    /// How many aggregates are around.
    pub(super) collecting: usize,
    /// Whether the statement asks catalogs with columns of types that the engine does not have.
    of_types: bool,
    of_vectors: bool,
    names: Names,
    /// The tables of the queries around, the nearest last.
    pub(super) around: Vec<Vec<Named>>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        rows::put(query);
        lists::take_apart(query, &self.around);
        self.around.push(tables(query));
        if let SetExpr::Select(select) = query.body.as_mut() {
            merged::qualify(select);
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } = item {
                    counted(value, self.scope());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.around.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(known) = rowless(expr, self.scope()) {
            *expr = known;
        }
        match expr {
            Expr::Function(call) => {
                if let FunctionArguments::Subquery(query) = &call.args
                    && call.name.to_string().eq_ignore_ascii_case("array")
                {
                    let mut query = query.clone();
                    *expr = series(&query).unwrap_or_else(|| {
                        aggregate(&mut query, "array_agg");
                        Expr::Subquery(query)
                    });
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
        table_function(factor, &self.own.database);
        ControlFlow::Continue(())
    }
}

/// `EXISTS` as a value, which the planner does not know: whether there are any.
fn counted(expr: &mut Expr, scope: Scope<'_>) {
    match expr {
        Expr::BinaryOp { left, right, .. } => {
            counted(left, scope);
            counted(right, scope);
        }
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => counted(inner, scope),
        // What a query without rows says is known without counting.
        Expr::Exists { subquery, .. } if is_rowless(subquery, scope) => {}
        Expr::Exists { subquery, negated } if asks_catalogs(subquery) => {
            let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
            let mut query = subquery.clone();
            query.order_by = None;
            query.limit_clause = None;
            if let SetExpr::Select(select) = query.body.as_mut() {
                select.projection = vec![SelectItem::UnnamedExpr(call("count", vec![number(1)]))];
                *expr = Expr::BinaryOp { left: Box::new(Expr::Subquery(query)), op, right: Box::new(number(0)) };
            }
        }
        _ => {}
    }
}

/// What a condition or a value is that asks a query without rows.
fn rowless(expr: &Expr, scope: Scope<'_>) -> Option<Expr> {
    let truth = |truth| Some(Expr::value(Value::Boolean(truth)));
    match expr {
        Expr::Subquery(query) if is_rowless(query, scope) => Some(null()),
        Expr::Exists { subquery, negated } if is_rowless(subquery, scope) => truth(*negated),
        Expr::InSubquery { subquery, negated, .. } if is_rowless(subquery, scope) => truth(*negated),
        Expr::Function(call) => match &call.args {
            FunctionArguments::Subquery(query) if is_rowless(query, scope) => Some(cast(array(Vec::new()), texts())),
            _ => None,
        },
        _ => None,
    }
}

/// `(SELECT generate_series(1, 3))` as the list that the engine has for the series.
fn series(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let is_plain = select.from.is_empty()
        && select.selection.is_none()
        && select.distinct.is_none()
        && query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none();
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] if is_plain => match value {
            Expr::Function(call) if last(&call.name) == "generate_series" => Some(value.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Puts the only column of a select into an aggregate. One that has an aggregate gives one row anyway.
fn aggregate(query: &mut Query, name: &str) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let is_one = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty())
        && has_aggregate(&select.projection);
    if is_one {
        query.order_by = None;
        query.limit_clause = None;
        return;
    }
    let (value, alias) = match select.projection.as_mut_slice() {
        [SelectItem::UnnamedExpr(value)] => (value, None),
        [SelectItem::ExprWithAlias { expr, alias }] => (expr, Some(&*alias)),
        _ => return,
    };
    const KNOWN: [&str; 6] = ["max", "min", "count", "array_agg", "string_agg", "sum"];
    if matches!(value, Expr::Function(call) if KNOWN.contains(&last(&call.name).as_str())) {
        return;
    }
    let order = if name == "array_agg" { ordered(query.order_by.take(), value, alias) } else { Vec::new() };
    *value = call(name, vec![value.clone()]);
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = value
        && !order.is_empty()
    {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    query.order_by = None;
    query.limit_clause = None;
}

/// The order of a query's rows, for an aggregate of its only column.
fn ordered(order: Option<OrderBy>, value: &Expr, alias: Option<&Ident>) -> Vec<OrderByExpr> {
    let Some(OrderBy { kind: OrderByKind::Expressions(mut wanted), .. }) = order else { return Vec::new() };
    for one in &mut wanted {
        let is_value = match &one.expr {
            Expr::Value(_) => true,
            Expr::Identifier(ident) => alias.is_some_and(|alias| alias.value.eq_ignore_ascii_case(&ident.value)),
            _ => false,
        };
        if is_value {
            one.expr = value.clone();
        }
    }
    wanted
}

fn asks_catalogs(query: &Query) -> bool {
    Names::of(query).catalogs
}

impl Rewriter<'_> {
    fn scope(&self) -> Scope<'_> {
        Scope { names: self.names, around: &self.around }
    }

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
            Expr::CompoundFieldAccess { .. } if self.of_vectors => vectors::subscript(expr),
            Expr::BinaryOp { left, op, right } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(plain) = parts.last().and_then(|sign| operator(sign))
                {
                    *op = plain;
                }
                numbered(left, right, self.scope());
                numbered(right, left, self.scope());
                if self.of_types && matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                    procedures::numbered(left, right);
                    procedures::numbered(right, left);
                }
            }
            Expr::InList { expr: of, list, .. } => {
                list.iter_mut().for_each(|item| numbered(of, item, self.scope()));
                if self.of_types {
                    list.iter_mut().for_each(|item| procedures::numbered(of, item));
                }
            }
            Expr::Substring { expr: of, substring_from: Some(pattern), substring_for: None, .. }
                if text_of(pattern).is_some() =>
            {
                let found = call("regexp_match", vec![(**of).clone(), (**pattern).clone()]);
                *expr = call("array_element", vec![found, number(1)]);
            }
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
                let own = procedures::cast_of(inner, data_type, self.of_types);
                if let Some(put) = own.or_else(|| cast_of(unnested(inner, data_type), data_type)) {
                    *expr = put;
                }
            }
            Expr::Function(call) => {
                if let Some(put) = self.function(call) {
                    *expr = put;
                }
            }
            other => forms::put(other),
        }
    }

    /// The type that was declared for a parameter.
    fn declared(&self, expr: &Expr) -> Option<DataType> {
        let declared = self.own.parameters.get(placeholder(expr)?)?.as_ref()?;
        super::columns::written(declared)
    }
}

/// What is cast to `regclass`, without parentheses around what is put together: it is the text of a name.
fn unnested<'a>(inner: &'a Expr, data_type: &DataType) -> &'a Expr {
    match inner {
        Expr::Nested(within) if is_regclass(data_type) && matches!(within.as_ref(), Expr::BinaryOp { .. }) => {
            within.as_ref()
        }
        other => other,
    }
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
    #[case(
        "SELECT a FROM f.pg_catalog.pg_class c WHERE c.oid = '16384'",
        "SELECT a FROM f.pg_catalog.pg_class c WHERE c.oid = 16384"
    )]
    #[case(
        "SELECT a FROM f.r4.t c WHERE c.oid = '01' AND objoid = '2'",
        "SELECT a FROM f.r4.t c WHERE c.oid = '01' AND objoid = '2'"
    )]
    #[case(
        "SELECT a FROM f.r4.t, f.pg_catalog.pg_class c WHERE c.oid = '1' AND t.oid IN ('01')",
        "SELECT a FROM f.r4.t, f.pg_catalog.pg_class c WHERE c.oid = 1 AND t.oid IN ('01')"
    )]
    #[case(
        "SELECT (SELECT x FROM f.r4.t WHERE y = 'pg_catalog')",
        "SELECT (SELECT x FROM f.r4.t WHERE y = 'pg_catalog')"
    )]
    #[case("SELECT a WHERE b = ANY ('{r,p}')", "SELECT a WHERE b IN ('r', 'p')")]
    #[case("SELECT a WHERE b <> ALL (ARRAY['r', 'p'])", "SELECT a WHERE b NOT IN ('r', 'p')")]
    #[case("SELECT a WHERE b NOT LIKE 'pg/_' || '%' ESCAPE '/'", "SELECT a WHERE b NOT LIKE 'pg\\_%'")]
    #[case("SELECT a WHERE b LIKE c ESCAPE '/'", "SELECT a WHERE b LIKE like_escape(c, '/')")]
    #[case("SELECT a WHERE b LIKE 'a\\' ESCAPE ''", "SELECT a WHERE b LIKE 'a\\\\'")]
    #[case("SELECT a WHERE b NOT SIMILAR TO 'x.%'", "SELECT a WHERE b !~ '(?s)^(?:x\\..*)$'")]
    #[case("SELECT a WHERE b SIMILAR TO c", "SELECT a WHERE b ~ similar_to_escape(c)")]
    #[case("SELECT a AT TIME ZONE 'UTC'", "SELECT timezone('UTC', a)")]
    #[case("SELECT INTERVAL '-1 day 02:00'", "SELECT INTERVAL '0 months -1 days 7200000000 microseconds'")]
    #[case(
        "SELECT 'P1M'::interval, INTERVAL '1' DAY",
        "SELECT INTERVAL '1 months 0 days 0 microseconds', INTERVAL '1' DAY"
    )]
    #[case("SELECT TIMESTAMP '2024-02-29 12:00+02'", "SELECT CAST('2024-02-29 12:00:00.000000' AS TIMESTAMP)")]
    #[case("SELECT '2024-02-29 +00'::date", "SELECT CAST('2024-02-29' AS DATE)")]
    #[case("SELECT '{a,NULL}'::text[]", "SELECT CAST(make_array('a', NULL) AS TEXT[])")]
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
        "SELECT EXISTS(SELECT 1 FROM fhir.pg_catalog.pg_constraint WHERE contype = 'f' AND a.n = ANY(conkey)) FROM a",
        "SELECT false FROM a"
    )]
    #[case(
        "SELECT (SELECT t.x FROM fhir.pg_catalog.pg_type t WHERE t.oid = a.b)",
        "SELECT (SELECT max(t.x) FROM fhir.pg_catalog.pg_type t WHERE t.oid = a.b)"
    )]
    #[case("SELECT '\\x00 FF'::bytea, CAST('\\x0' AS bytea)", "SELECT X'00FF', CAST('\\x0' AS BYTEA)")]
    #[case(
        "SELECT 1 FROM f.pg_catalog.pg_type WHERE typsend != 0 AND typreceive::TEXT != 'x' AND typinput = 'array_in'::regproc",
        "SELECT 1 FROM f.pg_catalog.pg_type WHERE typsend <> 0 AND regproc_out(typreceive) <> 'x' AND typinput = 750"
    )]
    #[case("SELECT 1 WHERE a.t = ANY ('{int,text}'::regtype[])", "SELECT 1 WHERE a.t IN (23, 25)")]
    #[case("SELECT 1 FROM t WHERE typsend = 'int4send'", "SELECT 1 FROM t WHERE typsend = 'int4send'")]
    #[case(
        "SELECT 1 FROM f.pg_catalog.pg_index i WHERE i.indkey[0] = n AND i.x[1] = 2",
        "SELECT 1 FROM f.pg_catalog.pg_index i WHERE i.indkey[CAST((0) + 1 AS BIGINT)] = n AND i.x[1] = 2"
    )]
    #[case(
        "SELECT ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM f.pg_catalog.pg_index i ORDER BY i.n DESC)",
        "SELECT (SELECT array_agg(array_element(i.columns__, n) ORDER BY i.n DESC) FROM f.pg_catalog.pg_index i)"
    )]
    #[case(
        "SELECT (SELECT count(*) FROM fhir.pg_catalog.pg_class LIMIT 1)",
        "SELECT (SELECT count(*) FROM fhir.pg_catalog.pg_class)"
    )]
    #[case("SELECT substring(a FROM 'x=([0-9]*)')", "SELECT array_element(regexp_match(a, 'x=([0-9]*)'), 1)")]
    #[case(
        "SELECT a FROM pg_catalog.pg_show_all_settings() s",
        "SELECT a FROM (SELECT * FROM \"fhir\".pg_catalog.pg_settings) s"
    )]
    #[case("SELECT CURRENT_SCHEMA", "SELECT 'r4'")]
    #[case("SELECT \"current_schema\"", "SELECT \"current_schema\"")]
    #[case("SELECT * FROM current_schema()", "SELECT * FROM (SELECT 'r4' AS \"current_schema\") AS \"current_schema\"")]
    #[case("SELECT * FROM pg_catalog.version() AS v", "SELECT * FROM (SELECT 'PostgreSQL 15.8 (Mavis)' AS \"v\") AS v")]
    #[case("SELECT ARRAY(SELECT pg_catalog.generate_series(1, n) AS i)", "SELECT generate_series(1, n)")]
    #[case("SELECT '2024-02-29 24:00'::timestamp", "SELECT CAST('2024-03-01 00:00:00.000000' AS TIMESTAMP)")]
    #[case("SELECT 'infinity'::date, TIME '24:00'", "SELECT time_out_of_range('infinity'), time_out_of_range('24:00')")]
    #[case(
        "SELECT age(c.xmin) <= age('1'::xid)",
        "SELECT CASE WHEN c.xmin IS NULL THEN NULL ELSE 2147483647 END <= CASE WHEN CAST('1' AS INT UNSIGNED) IS NULL THEN NULL ELSE 2147483647 END"
    )]
    #[case(
        "SELECT pg_indexam_has_property(c.relam, 'can_order'), pg_index_has_property(i, 'x')",
        "SELECT CASE WHEN c.relam = 403 THEN true END, CAST(NULL AS BOOLEAN)"
    )]
    #[case("SELECT $1::regnamespace", "SELECT regnamespace_in($1)")]
    #[case("SELECT ARRAY(SELECT x FROM t)", "SELECT (SELECT array_agg(x) FROM t)")]
    #[case("SELECT i FROM generate_series(1, 3) AS i", "SELECT i FROM generate_series(1, 3) AS i (i)")]
    #[case("SELECT generate_series(1, 3) * 2", "SELECT unnest(generate_series(1, 3)) * 2")]
    #[case("SELECT unnest(generate_series(1, 3))", "SELECT unnest(generate_series(1, 3))")]
    #[case(
        "SELECT d FROM generate_series(a(), '2024-01-03', '1 day') AS d",
        "SELECT d FROM (SELECT unnest(generate_series(a(), '2024-01-03', '1 day')) AS \"d\") AS d (d)"
    )]
    #[case(
        "SELECT e ->> 'a' FROM json_array_elements('[]') AS e",
        "SELECT e ->> 'a' FROM (SELECT unnest(json_array_elements('[]')) AS \"e\") AS e (e)"
    )]
    #[case(
        "SELECT value FROM json_array_elements('[]') AS e",
        "SELECT value FROM (SELECT unnest(json_array_elements('[]')) AS \"value\") AS e (value)"
    )]
    #[case(
        "SELECT t.a, e FROM t, jsonb_array_elements(t.j) AS e",
        "SELECT t.a, e FROM t LATERAL VIEW explode(jsonb_array_elements(t.j)) e AS e"
    )]
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

//! Functions that give rows: `generate_series`, and those that take JSON apart. In the engine each gives a list, which `unnest`
//! makes rows of, in a select list as in a FROM.

use std::{ops::ControlFlow, sync::Arc};

use arrow::datatypes::{DataType, FieldRef, IntervalUnit, TimeUnit};
use datafusion::{
    common::{Result, plan_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature},
    sql::sqlparser::ast::{
        Expr, Ident, Query, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, Visit, VisitMut,
        Visitor, VisitorMut,
    },
};

use super::{
    ast::{arguments, call, last, meant},
    lists::parts,
};

pub(super) const SERIES: &str = "generate_series";

/// Functions of JSON that give rows, which PostgreSQL calls `value`, but for names of members.
const OF_JSON: [&str; 6] = [
    "json_array_elements",
    "jsonb_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements_text",
    "json_object_keys",
    "jsonb_object_keys",
];

/// Whether a function takes JSON apart.
pub(super) fn is_of_json(name: &str) -> bool {
    OF_JSON.contains(&name)
}

/// Puts functions that give rows as the engine has them: in the select lists of a query, and what their columns are called in
/// its FROM.
pub(super) fn put(query: &mut Query) {
    let names_value = names_value(query);
    of_body(&mut query.body, names_value);
}

fn of_body(body: &mut SetExpr, names_value: bool) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } = item {
                    let _walked: ControlFlow<()> = VisitMut::visit(value, &mut Rows { depth: 0 });
                }
            }
            for item in &mut select.from {
                let joined = item.joins.iter_mut().map(|join| &mut join.relation);
                std::iter::once(&mut item.relation).chain(joined).for_each(|factor| name(factor, names_value));
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            of_body(left, names_value);
            of_body(right, names_value);
        }
        _ => {}
    }
}

/// Puts calls of a select list; those of queries within are theirs.
struct Rows {
    depth: usize,
}

impl VisitorMut for Rows {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(of) = &*expr else { return ControlFlow::Continue(()) };
        let name = last(&of.name);
        if self.depth == 0 && (name == SERIES || is_of_json(&name)) {
            *expr = call("unnest", vec![expr.clone()]);
        } else if name == "unnest"
            && let Some([rows @ Expr::Function(of)]) = arguments(of).as_deref()
            && last(&of.name) == "unnest"
        {
            *expr = rows.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Whether a query asks for a column that is called `value`, or for all.
fn names_value(query: &Query) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match parts(expr).last() {
                Some(name) if meant(name) == "value" => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_star = matches!(query.body.as_ref(), SetExpr::Select(select) if select.projection.iter().any(is_star));
    has_star || Visit::visit(query, &mut Finder).is_break()
}

/// Names the column of a function of JSON in a FROM. PostgreSQL knows it as `value` and by the function's alias; here it has the
/// one that the query asks for.
fn name(factor: &mut TableFactor, names_value: bool) {
    let (name, alias) = match factor {
        TableFactor::Table { name, args: Some(_), alias, .. } | TableFactor::Function { name, alias, .. } => {
            (name, alias)
        }
        _ => return,
    };
    let of = last(name);
    if !is_of_json(&of) {
        return;
    }
    let is_called = alias.is_some();
    let alias = alias.get_or_insert_with(|| called(&of));
    if alias.columns.is_empty() {
        let is_value = !of.ends_with("_keys") && (names_value || !is_called);
        let name = if is_value { Ident::new("value") } else { alias.name.clone() };
        alias.columns.push(TableAliasColumnDef { name, data_type: None });
    }
}

/// A function as the name of a table.
pub(super) fn called(of: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(of), columns: Vec::new(), at: None }
}

/// Whether the engine makes the rows of a series by itself, one by one: a series of numbers that ask no table. (One of times has a
/// step.)
pub(super) fn is_table(values: &[Expr]) -> bool {
    let is_number = |value: &Expr| {
        let digits = value.to_string();
        digits.strip_prefix('-').unwrap_or(&digits).bytes().all(|byte| byte.is_ascii_digit())
    };
    let asks = values.iter().any(|value| value.to_string().contains("SELECT "));
    !asks && (values.len() < 3 || values.iter().all(is_number))
}

/// `generate_series` with the types that PostgreSQL has for it: a text beside a time is a time, and the third an interval; days are
/// times with a zone.
pub(super) fn typed(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(inner.signature().volatility);
    Arc::new(ScalarUDF::new_from_impl(Series { inner, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Series {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match wanted(types) {
            Some(types) => Ok(types),
            None => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                plan_err!(
                    "there is no {SERIES}({}): it takes whole numbers, or times and an interval",
                    types.join(", ")
                )
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}

fn wanted(types: &[DataType]) -> Option<Vec<DataType>> {
    let is_open = |of: &DataType| of.is_null() || of.is_string();
    if (1..=3).contains(&types.len()) && types.iter().all(|of| of.is_integer() || of.is_null()) {
        return Some(vec![DataType::Int64; types.len()]);
    }
    let [from, to, step] = types else { return None };
    let is_time = |of: &DataType| matches!(of, DataType::Timestamp(..) | DataType::Date32) || is_open(of);
    if !is_time(from) || !is_time(to) || !(is_open(step) || matches!(step, DataType::Interval(_))) {
        return None;
    }
    // Of a day and a time without a zone both have none; days alone have one.
    let is_zoned = |of: &DataType| matches!(of, DataType::Timestamp(_, Some(_)));
    let is_plain = |of: &DataType| matches!(of, DataType::Timestamp(_, None));
    let zoned = is_zoned(from) || is_zoned(to) || !is_plain(from) && !is_plain(to);
    let time = DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "+00:00".into()));
    Some(vec![time.clone(), time, DataType::Interval(IntervalUnit::MonthDayNano)])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[DataType::Int32, DataType::Int64], Some(DataType::Int64))]
    #[case(&[DataType::Null], Some(DataType::Int64))]
    #[case(&[DataType::Float64, DataType::Float64], None)]
    #[case(&[DataType::Date32, DataType::Date32, DataType::Utf8], Some(time(true)))]
    #[case(&[time(false), DataType::Utf8, DataType::Utf8], Some(time(false)))]
    #[case(&[DataType::Date32, time(false), DataType::Utf8], Some(time(false)))]
    #[case(&[time(true), time(false), DataType::Utf8], Some(time(true)))]
    #[case(&[DataType::Date32, DataType::Date32], None)]
    #[case(&[DataType::Date32, DataType::Date32, DataType::Int64], None)]
    fn a_series_is_of(#[case] types: &[DataType], #[case] expected: Option<DataType>) {
        assert_eq!(wanted(types).map(|types| types[0].clone()), expected);
    }

    fn time(zoned: bool) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "+00:00".into()))
    }
}

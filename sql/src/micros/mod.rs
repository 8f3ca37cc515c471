//! Times are microseconds, as tables keep them.
//!
//! The engine makes nanoseconds of `TIMESTAMP`, of `now()`, and of what a time is compared with. Their years end in 2262, and
//! a stay that has not ended ends in 9999. So whatever is nanoseconds in a plan becomes microseconds, before it is optimised.

mod reach;
mod trunc;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::{
    common::{
        Column, DFSchema, DFSchemaRef, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    functions::math,
    logical_expr::{
        Cast, EmptyRelation, Expr, ExprSchemable, LogicalPlan, Operator, Projection, TryCast, Union, Values,
        binary_expr, expr::ScalarFunction, expr_rewriter::NamePreserver, lit, utils::merge_schema,
    },
    optimizer::{AnalyzerRule, analyzer::type_coercion::TypeCoercion},
};

pub(crate) use trunc::far;

/// The rule; it stands after the engine's own, which has put casts where types differ.
#[derive(Debug, Default)]
pub(crate) struct Microseconds;

impl AnalyzerRule for Microseconds {
    fn name(&self) -> &str {
        "microseconds"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if !concerns_plan(&plan)? {
            return Ok(plan);
        }
        let exact = plan.transform_up_with_subqueries(|node| in_node(node, config))?.data;
        // Durations that were fitted to nanoseconds are fitted again.
        TypeCoercion::new().analyze(exact, config)
    }
}

/// A type with microseconds for its nanoseconds; `None` where it has none.
pub(crate) fn in_micros(data_type: &DataType) -> Option<DataType> {
    let item = |field: &FieldRef| {
        Some(Arc::new(field.as_ref().clone().with_data_type(in_micros(field.data_type())?)) as FieldRef)
    };
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::List(field) => Some(DataType::List(item(field)?)),
        DataType::LargeList(field) => Some(DataType::LargeList(item(field)?)),
        DataType::FixedSizeList(field, size) => Some(DataType::FixedSizeList(item(field)?, *size)),
        DataType::Map(field, sorted) => Some(DataType::Map(item(field)?, *sorted)),
        DataType::Struct(fields) => {
            let has_any = fields.iter().any(|field| in_micros(field.data_type()).is_some());
            let put = || fields.iter().map(|field| item(field).unwrap_or_else(|| Arc::clone(field))).collect();
            has_any.then(|| DataType::Struct(put()))
        }
        _ => None,
    }
}

/// An expression over columns that keep microseconds, by itself.
///
/// # Errors
/// Where its types do not fit together.
pub(crate) fn in_expr(expr: Expr, schema: &DFSchema, config: &ConfigOptions) -> Result<Expr> {
    expr.transform_up(|expr| put(expr, schema, config)).map(|put| put.data)
}

/// Most plans know no times, or only such as tables have: nothing is made anew for them.
fn concerns_plan(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        let inputs = node.inputs();
        let merged;
        let schema: &DFSchema = match inputs.as_slice() {
            [one] => one.schema(),
            several => {
                merged = merge_schema(several);
                &merged
            }
        };
        let begins = inputs.is_empty() && node.schema().fields().iter().any(|own| in_micros(own.data_type()).is_some());
        found |= begins;
        if !found {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    found |= concerns(expr, schema);
                    Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                })
            })?;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn concerns(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Literal(value, _) => in_micros(&value.data_type()).is_some(),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            in_micros(field.data_type()).is_some()
                || is_of_seconds(field.data_type()) && expr.get_type(schema).is_ok_and(|from| from.is_numeric())
        }
        Expr::ScalarFunction(_) => expr.get_type(schema).is_ok_and(|given| in_micros(&given).is_some()),
        _ => false,
    }
}

/// Whether a number that becomes such a time has to be brought to its unit first.
fn is_of_seconds(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(unit, _) if *unit != TimeUnit::Second)
}

/// Changes the expressions of a node, each of which keeps its name. Those of a grouping set one by one: the set itself can have
/// no other name.
pub(crate) fn map_named(
    node: LogicalPlan,
    names: &NamePreserver,
    mut change: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let mut named = |expr: Expr| {
        let name = names.save(&expr);
        Ok(change(expr)?.update_data(|expr| name.restore(expr)))
    };
    node.map_expressions(|expr| match expr {
        set @ Expr::GroupingSet(_) => set.map_children(&mut named),
        expr => named(expr),
    })
}

fn in_node(node: LogicalPlan, config: &ConfigOptions) -> Result<Transformed<LogicalPlan>> {
    let inputs = node.inputs();
    let schema = merge_schema(&inputs);
    let names = NamePreserver::new(&node);
    let node = map_named(node, &names, |expr| expr.transform_up(|expr| put(expr, &schema, config)))?.data;
    let node = match node {
        LogicalPlan::TableScan(scan) => {
            let own = Arc::clone(&scan.projected_schema);
            let node = LogicalPlan::TableScan(scan);
            return Ok(Transformed::yes(if own.fields().iter().any(|field| in_micros(field.data_type()).is_some()) {
                cast_columns(node, &own)?
            } else {
                node
            }));
        }
        LogicalPlan::Union(Union { inputs, schema }) => {
            let now = |at: usize| Ok(inputs[0].schema().field(at).data_type().clone());
            let schema = schema_in_micros(&schema, now)?.unwrap_or(schema);
            LogicalPlan::Union(Union { inputs, schema })
        }
        LogicalPlan::Values(Values { schema, values }) => {
            let now = |at: usize| values[0][at].get_type(&DFSchema::empty());
            let schema = schema_in_micros(&schema, now)?.unwrap_or(schema);
            LogicalPlan::Values(Values { schema, values })
        }
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row, schema }) => {
            let own = Arc::clone(&schema);
            let now = |at: usize| Ok(own.field(at).data_type().clone());
            let schema = schema_in_micros(&schema, now)?.unwrap_or(schema);
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row, schema })
        }
        other => other.recompute_schema()?,
    };
    Ok(Transformed::yes(node))
}

/// What a table function answers with, whose rows come as it likes.
fn cast_columns(node: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    let columns = schema.iter().map(|(relation, field)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        match in_micros(field.data_type()) {
            Some(to) => Expr::Cast(Cast::new(Box::new(column), to)).alias_qualified(relation.cloned(), field.name()),
            None => column,
        }
    });
    let columns = columns.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(node))?))
}

/// For nodes that keep the schema that they were made with. `now`: the type that a column has by now, for what is between two
/// times has their unit, and is told by no type alone.
fn schema_in_micros(schema: &DFSchemaRef, now: impl Fn(usize) -> Result<DataType>) -> Result<Option<DFSchemaRef>> {
    let is_between = |data_type: &DataType| matches!(data_type, DataType::Duration(TimeUnit::Nanosecond));
    let concerns = |data_type: &DataType| is_between(data_type) || in_micros(data_type).is_some();
    if !schema.fields().iter().any(|field| concerns(field.data_type())) {
        return Ok(None);
    }
    let fields = schema.iter().enumerate().map(|(at, (relation, field))| {
        let to = match field.data_type() {
            between if is_between(between) => now(at)?,
            other => in_micros(other).unwrap_or_else(|| other.clone()),
        };
        Ok((relation.cloned(), Arc::new(field.as_ref().clone().with_data_type(to))))
    });
    let exact = DFSchema::new_with_metadata(fields.collect::<Result<_>>()?, schema.metadata().clone())?;
    exact.with_functional_dependencies(schema.functional_dependencies().clone()).map(|exact| Some(Arc::new(exact)))
}

fn put(expr: Expr, schema: &DFSchema, config: &ConfigOptions) -> Result<Transformed<Expr>> {
    let of_field = |field: &Field| in_micros(field.data_type()).map(|to| Arc::new(field.clone().with_data_type(to)));
    match expr {
        Expr::Literal(value, metadata) => match in_micros(&value.data_type()) {
            Some(to) => Ok(Transformed::yes(Expr::Literal(value.cast_to(&to)?, metadata))),
            None => Ok(Transformed::no(Expr::Literal(value, metadata))),
        },
        Expr::Cast(Cast { expr, field }) => cast(*expr, &field, false, schema).map(Transformed::yes),
        Expr::TryCast(TryCast { expr, field }) => cast(*expr, &field, true, schema).map(Transformed::yes),
        Expr::ScalarFunction(mut call) if call.name() == "to_timestamp" && call.args.len() == 1 => {
            let zone = config.execution.time_zone.as_deref().map(Arc::from);
            let field = Field::new("", DataType::Timestamp(TimeUnit::Microsecond, zone), true);
            cast(call.args.remove(0), &Arc::new(field), false, schema).map(Transformed::yes)
        }
        Expr::ScalarFunction(call) => Ok(given(call, schema)),
        // Columns of outside, as they were when this was planned.
        Expr::OuterReferenceColumn(field, column) => Ok(match of_field(&field) {
            Some(field) => Transformed::yes(Expr::OuterReferenceColumn(field, column)),
            None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
        }),
        Expr::LambdaVariable(mut variable) => Ok(match variable.field.as_deref().and_then(of_field) {
            Some(field) => {
                variable.field = Some(field);
                Transformed::yes(Expr::LambdaVariable(variable))
            }
            None => Transformed::no(Expr::LambdaVariable(variable)),
        }),
        other => Ok(Transformed::no(other)),
    }
}

/// What a function gives.
fn given(call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let call = Expr::ScalarFunction(call);
    match call.get_type(schema).ok().and_then(|given| in_micros(&given)) {
        Some(to) => Transformed::yes(Expr::Cast(Cast::new(Box::new(call), to))),
        None => Transformed::no(call),
    }
}

fn cast(expr: Expr, field: &FieldRef, tries: bool, schema: &DFSchema) -> Result<Expr> {
    let as_type = |expr: Expr, to: DataType| match tries {
        true => Expr::TryCast(TryCast::new(Box::new(expr), to)),
        false => Expr::Cast(Cast::new(Box::new(expr), to)),
    };
    let from = expr.get_type(schema)?;
    let to = in_micros(field.data_type()).unwrap_or_else(|| field.data_type().clone());
    if let DataType::Timestamp(_, zone) = &to
        && is_of_seconds(&to)
        && from.is_numeric()
    {
        // A number is seconds since 1970, whatever the unit of the time is.
        let moment = if from.is_integer() {
            as_type(expr, DataType::Timestamp(TimeUnit::Second, zone.clone()))
        } else {
            let micros = binary_expr(as_type(expr, DataType::Float64), Operator::Multiply, lit(1_000_000_f64));
            let whole = as_type(math::round().call(vec![micros]), DataType::Int64);
            as_type(whole, DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        };
        return Ok(as_type(moment, to));
    }
    if to == from && to != *field.data_type() {
        return Ok(expr);
    }
    let field = Arc::new(field.as_ref().clone().with_data_type(to));
    Ok(match tries {
        true => Expr::TryCast(TryCast::new_from_field(Box::new(expr), field)),
        false => Expr::Cast(Cast::new_from_field(Box::new(expr), field)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use rstest::rstest;

    async fn answer(expr: &str) -> std::result::Result<(DataType, String), String> {
        let config = SessionConfig::new().set_str("datafusion.execution.time_zone", "+00:00");
        let context = SessionContext::new_with_config(config);
        context.add_analyzer_rule(Arc::new(Microseconds));
        for function in context.state().scalar_functions().values() {
            context.register_udf(far(Arc::clone(function)).as_ref().clone());
        }
        let told = |error: datafusion::error::DataFusionError| error.to_string();
        let frame = context.sql(&format!("SELECT {expr}")).await.map_err(told)?;
        let batches = frame.collect().await.map_err(told)?;
        // Of several streams, some have a batch without rows.
        let column = batches.iter().find(|batch| batch.num_rows() > 0).unwrap().column(0);
        Ok((column.data_type().clone(), array_value_to_string(column, 0).unwrap()))
    }

    #[rstest]
    #[case("CAST('9999-12-31' AS TIMESTAMP)", "9999-12-31T00:00:00")]
    #[case("TIMESTAMP '9999-12-31'", "9999-12-31T00:00:00")]
    #[case("'0001-01-01'::timestamp", "0001-01-01T00:00:00")]
    #[case("DATE '9999-12-31'::timestamp", "9999-12-31T00:00:00")]
    #[case("TIMESTAMPTZ '9999-12-31 00:00:00+02'", "9999-12-30T22:00:00Z")]
    #[case("to_timestamp('9999-12-31T00:00:00Z')", "9999-12-31T00:00:00Z")]
    #[case("to_timestamp(1.5)", "1970-01-01T00:00:01.500Z")]
    #[case("to_timestamp(253402214400)", "9999-12-31T00:00:00Z")]
    #[case("to_timestamp('31/12/2023 10:00:00', '%d/%m/%Y %H:%M:%S')", "2023-12-31T10:00:00Z")]
    #[case("CAST(1700000000 AS TIMESTAMP)", "2023-11-14T22:13:20")]
    #[case("CAST(1700000000::int AS TIMESTAMP(6))", "2023-11-14T22:13:20")]
    #[case("CAST(1700000000.25::double AS TIMESTAMP)", "2023-11-14T22:13:20.250")]
    #[case("CAST(CAST(1700000000.25 AS DECIMAL(20, 2)) AS TIMESTAMP)", "2023-11-14T22:13:20.250")]
    #[case("TIMESTAMP '9999-12-31' + INTERVAL '1 hour'", "9999-12-31T01:00:00")]
    #[case("date_trunc('month', TIMESTAMP '9999-12-31')", "9999-12-01T00:00:00")]
    #[case("date_trunc('month', DATE '9999-12-31')", "9999-12-01T00:00:00")]
    #[case("coalesce(CAST(NULL AS TIMESTAMP), DATE '9999-12-31')", "9999-12-31T00:00:00")]
    #[case("CASE WHEN 1 = 1 THEN TIMESTAMP '9999-12-31' ELSE now() END", "9999-12-31T00:00:00Z")]
    #[case("greatest(now(), TIMESTAMP '9999-12-31')", "9999-12-31T00:00:00Z")]
    #[case("x FROM (VALUES (TIMESTAMP '9999-12-31'), (DATE '2024-01-01')) AS t(x)", "9999-12-31T00:00:00")]
    #[case(
        "x FROM (SELECT TIMESTAMP '9999-12-31' AS x UNION ALL SELECT now() AT TIME ZONE 'UTC') ORDER BY 1 DESC",
        "9999-12-31T00:00:00Z"
    )]
    #[case("max(x) FROM (SELECT TIMESTAMP '9999-12-31' AS x UNION SELECT DATE '2024-01-01')", "9999-12-31T00:00:00")]
    #[case(
        "value FROM generate_series(TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-01', INTERVAL '1 day')",
        "2024-01-01T00:00:00"
    )]
    #[case(
        "unnest(generate_series(TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-01', INTERVAL '1 day'))",
        "2024-01-01T00:00:00"
    )]
    #[case("(SELECT max(x) FROM (VALUES (TIMESTAMP '9999-12-31')) AS t(x))", "9999-12-31T00:00:00")]
    #[case(
        "to_timestamp(n) FROM (VALUES (1)) t(n) GROUP BY ROLLUP(to_timestamp(n)) ORDER BY 1",
        "1970-01-01T00:00:01Z"
    )]
    #[case("TIMESTAMP '2024-01-01' + d FROM (VALUES (now() - now())) AS t(d)", "2024-01-01T00:00:00")]
    #[case(
        "TIMESTAMP '2024-01-01' + avg(d) FROM (SELECT now() - now() AS d UNION ALL SELECT now() - now())",
        "2024-01-01T00:00:00"
    )]
    #[tokio::test]
    async fn a_time_is_microseconds_and_keeps_its_year(#[case] expr: &str, #[case] expected: &str) {
        let (data_type, text) = answer(expr).await.unwrap();
        assert!(matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)), "{data_type}");
        assert_eq!(text, expected);
    }

    #[rstest]
    #[case("TIMESTAMP '9999-12-31' > now()")]
    #[case("TIMESTAMP '9999-12-31' = DATE '9999-12-31'")]
    #[case("TIMESTAMP '9999-12-31' = '9999-12-31'")]
    #[case("TIMESTAMP '9999-12-31' BETWEEN DATE '9999-01-01' AND '9999-12-31'")]
    #[case("DATE '9999-12-31' IN (now(), TIMESTAMP '9999-12-31')")]
    #[case("true WHERE TIMESTAMP '9999-12-31' IN (SELECT DATE '9999-12-31')")]
    #[case("now() + (TIMESTAMP '9999-12-31' - TIMESTAMP '9999-12-30') > now()")]
    #[case("now() - TIMESTAMP '0001-01-01' > TIMESTAMP '2001-01-01' - TIMESTAMP '2000-01-01'")]
    #[case("true WHERE EXISTS (SELECT 1 FROM (VALUES (DATE '9999-12-31')) AS t(x) WHERE x = TIMESTAMP '9999-12-31')")]
    #[case("extract(year FROM TIMESTAMP '9999-12-31') = 9999")]
    #[case("to_char(TIMESTAMP '9999-12-31', '%Y') = '9999'")]
    #[case("arrow_typeof(now()) IS NOT NULL")]
    #[case("TRY_CAST('nothing' AS TIMESTAMP) IS NULL")]
    #[case("to_timestamp_nanos(5) < TIMESTAMP '9999-12-31'")]
    #[tokio::test]
    async fn times_meet_whatever_else_tells_a_time(#[case] expr: &str) {
        assert_eq!(answer(expr).await, Ok((DataType::Boolean, "true".to_owned())));
    }

    #[rstest]
    #[case("date_bin(INTERVAL '1 day', TIMESTAMP '2500-03-01 10:11:12')")]
    #[case(
        "date_bin(INTERVAL '1 day', x) FROM (VALUES (TIMESTAMP '2024-01-01'), (NULL), (TIMESTAMP '1500-01-01')) t(x)"
    )]
    #[case("date_bin(INTERVAL '1 day', DATE '2500-03-11')")]
    #[case("generate_series(TIMESTAMP '2300-01-01', TIMESTAMP '2300-01-03', INTERVAL '1 day')")]
    #[case("unnest(range(x, x + INTERVAL '2 days', INTERVAL '1 day')) FROM (VALUES (TIMESTAMP '2300-01-01')) t(x)")]
    #[tokio::test]
    async fn what_a_function_does_not_reach_is_no_null(#[case] expr: &str) {
        let told = answer(expr).await.unwrap_err();
        assert!(told.contains("the years 1678 to 2261 only"), "{told}");
    }

    #[rstest]
    #[case("date_bin(INTERVAL '1 day', CAST(NULL AS TIMESTAMP)) IS NULL")]
    #[case("date_bin(INTERVAL '1 day', x) IS NULL FROM (VALUES (CAST(NULL AS TIMESTAMP))) t(x)")]
    #[case("range(1, CAST(NULL AS BIGINT)) IS NULL")]
    #[case("array_length(range(DATE '2300-01-01', DATE '2300-01-03', INTERVAL '1 day')) = 2")]
    #[tokio::test]
    async fn null_stays_null_and_days_reach_further(#[case] expr: &str) {
        assert_eq!(answer(expr).await, Ok((DataType::Boolean, "true".to_owned())));
    }

    #[tokio::test]
    async fn what_nests_has_microseconds_too() {
        let (data_type, _) = answer("named_struct('a', [now()])").await.unwrap();
        assert_eq!(in_micros(&data_type), None, "{data_type}");
    }
}

//! Intervals are compared by how long they are, as PostgreSQL compares them: a day is 24 hours, a month 30 days.
//!
//! The engine compares months, then days, then the rest, so that `now() - t > INTERVAL '100 days'` held for no row: a difference
//! of times has no days, only very many nanoseconds.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit},
};
use datafusion::{
    common::{
        DFSchema, Result, ScalarValue,
        config::ConfigOptions,
        exec_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    functions_aggregate::first_last::first_value_udaf,
    logical_expr::{
        Between, BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Sort, SortExpr, Volatility,
        expr::{AggregateFunction, AggregateFunctionParams, Case, InList},
        expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use crate::micros::map_named;

const NANOS_OF_A_DAY: i128 = 86_400_000_000_000;
const DAYS_OF_A_MONTH: i128 = 30;

/// The rule; it stands where types are settled.
#[derive(Debug, Default)]
pub(crate) struct Lengths;

impl AnalyzerRule for Lengths {
    fn name(&self) -> &str {
        "lengths_of_intervals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !concerns(&plan)? {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(in_node).data()
    }
}

/// Whether there are intervals at all: most plans have none.
fn concerns(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node.schema().fields().iter().any(|field| is_interval(field.data_type()));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= match expr {
                    Expr::Literal(value, _) => is_interval(&value.data_type()),
                    Expr::Cast(Cast { field, .. }) => is_interval(field.data_type()),
                    _ => false,
                };
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(found)
}

fn is_interval(of: &DataType) -> bool {
    matches!(of, DataType::Interval(_))
}

fn in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let node = map_named(node, &names, |expr| expr.transform_up(|expr| measured(expr, &schema)))?;
    if !matches!(&node.data, LogicalPlan::Sort(_)) {
        return Ok(node);
    }
    node.transform_data(|node| match node {
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let keys = expr.into_iter().map(|key| Ok(SortExpr { expr: length(key.expr, &schema)?, ..key }));
            Ok(Transformed::yes(LogicalPlan::Sort(Sort { expr: keys.collect::<Result<_>>()?, input, fetch })))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn measured(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_length = |expr: &Expr| expr.get_type(schema).is_ok_and(|of| is_interval(&of));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) && (is_length(&left) || is_length(&right)) => {
            let (left, right) = (Box::new(length(*left, schema)?), Box::new(length(*right, schema)?));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_length(&expr) => {
            let [expr, low, high] = [expr, low, high].map(|part| length(*part, schema).map(Box::new));
            Ok(Transformed::yes(Expr::Between(Between { expr: expr?, negated, low: low?, high: high? })))
        }
        Expr::InList(InList { expr, list, negated }) if is_length(&expr) => {
            let list = list.into_iter().map(|item| length(item, schema)).collect::<Result<_>>()?;
            Ok(Transformed::yes(Expr::InList(InList { expr: Box::new(length(*expr, schema)?), list, negated })))
        }
        Expr::Case(Case { expr: Some(of), when_then_expr, else_expr }) if is_length(&of) => {
            let of = Box::new(length(*of, schema)?);
            let pairs = when_then_expr.into_iter().map(|(when, then)| Ok((Box::new(length(*when, schema)?), then)));
            let when_then_expr = pairs.collect::<Result<_>>()?;
            Ok(Transformed::yes(Expr::Case(Case { expr: Some(of), when_then_expr, else_expr })))
        }
        // The longest is the first of those in order.
        Expr::AggregateFunction(call)
            if matches!(call.func.name(), "max" | "min") && call.params.args.first().is_some_and(is_length) =>
        {
            let AggregateFunctionParams { args, filter, .. } = call.params;
            let keys = args.iter().map(|arg| {
                Ok(SortExpr { expr: length(arg.clone(), schema)?, asc: call.func.name() == "min", nulls_first: false })
            });
            let keys = keys.collect::<Result<Vec<_>>>()?;
            let first = AggregateFunction::new_udf(first_value_udaf(), args, false, filter, keys, None);
            Ok(Transformed::yes(Expr::AggregateFunction(first)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// The length of an interval; anything else as it is.
fn length(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    static LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(Length { signature: Signature::any(1, Volatility::Immutable) }))
    });
    if !is_interval(&expr.get_type(schema)?) {
        return Ok(expr);
    }
    // A difference of times that was made an interval to be compared: what it was is long enough.
    let expr = match expr {
        Expr::Cast(Cast { expr, .. }) if matches!(expr.get_type(schema)?, DataType::Duration(_)) => *expr,
        other => other,
    };
    Ok(LENGTH.call(vec![expr]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

const NANOS: DataType = DataType::Decimal128(38, 0);

impl ScalarUDFImpl for Length {
    fn name(&self) -> &'static str {
        "length_of_interval__"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(NANOS)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), NANOS, nullable)))
    }

    /// As what is measured.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect())
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(ToString::to_string).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Scalar(value)] => {
                let nanos = nanos(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&nanos, 0)?))
            }
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(nanos(values)?)),
            _ => exec_err!("a length is of one interval"),
        }
    }
}

fn nanos(of: &ArrayRef) -> Result<ArrayRef> {
    let all: Decimal128Array = match of.data_type() {
        DataType::Duration(unit) => {
            let factor: i128 = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            // The numbers themselves, whatever their unit is.
            let plain = arrow::compute::cast(of, &DataType::Int64)?;
            let plain = plain.as_primitive::<arrow::datatypes::Int64Type>();
            plain.iter().map(|number| number.map(|number| i128::from(number) * factor)).collect()
        }
        _ => {
            let whole = cast(of, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            let whole = whole.as_primitive::<IntervalMonthDayNanoType>();
            let length = |IntervalMonthDayNano { months, days, nanoseconds }: IntervalMonthDayNano| {
                (i128::from(months) * DAYS_OF_A_MONTH + i128::from(days)) * NANOS_OF_A_DAY + i128::from(nanoseconds)
            };
            whole.iter().map(|interval| interval.map(length)).collect()
        }
    };
    Ok(Arc::new(all.with_data_type(NANOS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::SessionContext;
    use rstest::rstest;

    const TIMES: &str = "(VALUES (TIMESTAMP '2020-01-05 10:00:00'), (TIMESTAMP '2021-03-04'), (NULL)) t(t)";

    async fn answer(sql: &str) -> String {
        let context = SessionContext::new();
        context.add_analyzer_rule(Arc::new(Lengths));
        let batches =
            context.sql(&sql.replace("FROM TIMES", &format!("FROM {TIMES}"))).await.unwrap().collect().await.unwrap();
        let rows = batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| array_value_to_string(batch.column(0), row).unwrap()));
        rows.collect::<Vec<_>>().join(" | ")
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case("SELECT count(*) FROM TIMES WHERE t - TIMESTAMP '2020-01-01' > INTERVAL '20 days'", "1")]
    #[case("SELECT count(*) FROM TIMES WHERE t - TIMESTAMP '2020-01-01' > INTERVAL '4 days'", "2")]
    #[case("SELECT count(*) FROM TIMES WHERE t - TIMESTAMP '1750-01-01' > INTERVAL '270 years'", "2")]
    #[case(
        "SELECT count(*) FROM TIMES WHERE t - TIMESTAMP '2020-01-01' BETWEEN INTERVAL '1 day' AND INTERVAL '2 years'",
        "2"
    )]
    #[case(
        "SELECT count(*) FROM TIMES WHERE t - TIMESTAMP '2020-01-01' IN (INTERVAL '106 hours', INTERVAL '1 hour')",
        "1"
    )]
    #[case("SELECT INTERVAL '1 month' > INTERVAL '29 days'", "true")]
    #[case("SELECT INTERVAL '24 hours' = INTERVAL '1 day'", "true")]
    #[case("SELECT INTERVAL '25 hours' > INTERVAL '1 day'", "true")]
    #[case("SELECT INTERVAL '1 month' IS DISTINCT FROM INTERVAL '30 days'", "false")]
    #[case("SELECT CASE INTERVAL '24 hours' WHEN INTERVAL '1 day' THEN 'day' ELSE 'other' END", "day")]
    #[case(
        "SELECT n FROM (VALUES ('a', INTERVAL '40 days'), ('b', INTERVAL '1 month'), ('c', INTERVAL '800 hours')) v(n, x) ORDER BY x",
        "b | c | a"
    )]
    #[case("SELECT max(t) - min(t) > INTERVAL '300 days' FROM TIMES", "true")]
    #[case(
        "SELECT (max(x) = INTERVAL '40 days') AND (min(x) = INTERVAL '1 month') \
         FROM (VALUES (INTERVAL '40 days'), (INTERVAL '1 month'), (NULL), (INTERVAL '800 hours')) v(x)",
        "true"
    )]
    #[tokio::test]
    async fn intervals_are_as_long_as_they_are(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(answer(sql).await, expected);
    }
}

//! Arithmetic that does not fit its type is refused, as PostgreSQL refuses it: the engine's own wraps whole numbers around,
//! and makes infinity of what a `REAL` cannot hold.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{
        CastOptions, cast_with_options,
        kernels::numeric::{add, mul, neg, sub},
    },
    datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type},
};
use datafusion::{
    common::{
        DFSchema, DataFusionError, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
    scalar::ScalarValue,
};

use crate::{Error, micros::map_named};

/// The rule; it stands where types are settled.
#[derive(Debug, Default)]
pub(crate) struct Exact;

impl AnalyzerRule for Exact {
    fn name(&self) -> &str {
        "exact_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !concerns(&plan)? {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(in_node).map(|plan| plan.data)
    }
}

fn concerns(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= match expr {
                    Expr::BinaryExpr(BinaryExpr { op, .. }) => Kind::of(*op).is_some(),
                    Expr::Negative(_) => true,
                    Expr::Cast(Cast { field, .. }) => *field.data_type() == DataType::Float32,
                    _ => false,
                };
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(found)
}

fn in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    // How many rows are wanted is looked at before anything is computed.
    if matches!(node, LogicalPlan::Limit(_)) {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    map_named(node, &names, |expr| expr.transform_up(|expr| checked(expr, &schema)))
}

fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (kind, args) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if Kind::of(op).is_some() => {
            let types = left.get_type(schema).ok().zip(right.get_type(schema).ok());
            match Kind::of(op) {
                // Numbers of rows are unsigned, and what is between two of them is not always above 0.
                Some(kind) if types.as_ref().is_some_and(|(one, other)| one.is_signed_integer() && one == other) => {
                    (kind, vec![*left, *right])
                }
                // (The engine's own, pushed to a scan, fails there.)
                Some(Kind::Difference) if types == Some((DataType::Date32, DataType::Date32)) => {
                    (Kind::Days, vec![*left, *right])
                }
                _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Negative(expr) if expr.get_type(schema).is_ok_and(|own| own.is_signed_integer()) => {
            (Kind::Opposite, vec![*expr])
        }
        Expr::Cast(Cast { expr, field }) if *field.data_type() == DataType::Float32 => {
            let from = expr.get_type(schema).ok();
            if !from.is_some_and(|from| from == DataType::Float64 || from.is_string() || from.is_decimal()) {
                return Ok(Transformed::no(Expr::Cast(Cast { expr, field })));
            }
            (Kind::Real, vec![*expr])
        }
        other => return Ok(Transformed::no(other)),
    };
    let literals: Option<Vec<ScalarValue>> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(value, _) => Some(value.clone()),
            _ => None,
        })
        .collect();
    // Keys are looked for before constants are computed.
    if let Some(values) = literals {
        let arrays = values.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
        let value = ScalarValue::try_from_array(&kind.compute(&arrays)?, 0)?;
        return Ok(Transformed::yes(Expr::Literal(value, None)));
    }
    let signature = Signature::any(args.len(), Volatility::Immutable);
    Ok(Transformed::yes(ScalarUDF::new_from_impl(Checked { kind, signature }).call(args)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Difference,
    Product,
    Opposite,
    /// Days between two dates.
    Days,
    /// A number as a `REAL`.
    Real,
}

impl Kind {
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Plus => Some(Self::Sum),
            Operator::Minus => Some(Self::Difference),
            Operator::Multiply => Some(Self::Product),
            _ => None,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Sum => " + ",
            Self::Difference | Self::Days => " - ",
            Self::Product => " * ",
            Self::Opposite | Self::Real => "",
        }
    }

    fn written(self, args: &[String]) -> String {
        match self {
            Self::Opposite => format!("(- {})", args.concat()),
            _ => args.join(self.sign()),
        }
    }

    fn compute(self, args: &[ArrayRef]) -> Result<ArrayRef> {
        match (self, args) {
            (Self::Sum, [one, other]) => Ok(add(one, other)?),
            (Self::Difference, [one, other]) => Ok(sub(one, other)?),
            (Self::Product, [one, other]) => Ok(mul(one, other)?),
            (Self::Days, [one, other]) => {
                let days = |dates: &ArrayRef| strict(&strict(dates, &DataType::Int32)?, &DataType::Int64);
                Ok(sub(&days(one)?, &days(other)?)?)
            }
            (Self::Opposite, [one]) => Ok(neg(one.as_ref())?),
            (Self::Real, [one]) => real(one),
            _ => Err(too_large()),
        }
    }
}

/// # Errors
/// Where a number becomes infinity that was none.
pub(crate) fn real(numbers: &ArrayRef) -> Result<ArrayRef> {
    let wide = strict(numbers, &DataType::Float64)?;
    let narrow = strict(&wide, &DataType::Float32)?;
    let (numbers, reals) = (wide.as_primitive::<Float64Type>(), narrow.as_primitive::<Float32Type>());
    let grew = (0..reals.len())
        .any(|row| reals.is_valid(row) && reals.value(row).is_infinite() && numbers.value(row).is_finite());
    if grew { Err(too_large()) } else { Ok(narrow) }
}

fn strict(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(values, to, &CastOptions { safe: false, ..CastOptions::default() })?)
}

fn too_large() -> DataFusionError {
    DataFusionError::External(Box::new(Error::Value { message: "a number is too large for its type".to_owned() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Sum => "sum__",
            Kind::Difference => "difference__",
            Kind::Product => "product__",
            Kind::Opposite => "opposite__",
            Kind::Days => "days__",
            Kind::Real => "real__",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self.kind, types.first()) {
            (Kind::Real, _) | (_, None) => DataType::Float32,
            (Kind::Days, _) => DataType::Int64,
            (_, Some(own)) => own.clone(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    /// As what it stands for.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(self.kind.written(&names))
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(self.kind.written(&names))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let array = self.kind.compute(&arrays)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::SessionContext;
    use rstest::rstest;

    async fn answer(expr: &str) -> std::result::Result<(String, String), DataFusionError> {
        let context = SessionContext::new();
        context.add_analyzer_rule(Arc::new(Exact));
        let batches = context.sql(&format!("SELECT {expr}")).await?.collect().await?;
        let name = batches[0].schema().field(0).name().clone();
        Ok((name, array_value_to_string(batches[0].column(0), 0).unwrap()))
    }

    #[rstest]
    #[case("9223372036854775807 + 1")]
    #[case("x + 1 FROM (VALUES (9223372036854775807)) AS t(x)")]
    #[case("x - 1 FROM (VALUES (-9223372036854775807 - 1)) AS t(x)")]
    #[case("-x FROM (VALUES (-9223372036854775807 - 1)) AS t(x)")]
    #[case("CAST(x AS INT) * CAST(x AS INT) FROM (VALUES (100000)) AS t(x)")]
    #[case("sum(x * x) FROM (VALUES (9223372036854775807)) AS t(x)")]
    #[case("count(*) FROM (VALUES (9223372036854775807)) AS t(x) WHERE x + 1 > 0")]
    #[case("CAST(1e300 AS REAL)")]
    #[case("CAST(x AS REAL) FROM (VALUES (-1e300)) AS t(x)")]
    #[case("CAST('1e300' AS REAL)")]
    #[tokio::test]
    async fn what_does_not_fit_is_refused(#[case] expr: &str) {
        let error = answer(expr).await.unwrap_err();
        let told = crate::fault::execution(&error).to_string();
        assert!(told.contains("too large for its type"), "{told}");
    }

    #[rstest]
    #[case("1 + 2", "3")]
    #[case("x + 1 FROM (VALUES (1), (2)) AS t(x)", "2")]
    #[case("x * x - 1 FROM (VALUES (3), (NULL)) AS t(x)", "8")]
    #[case("sum(x + 1) OVER () FROM (VALUES (1), (2)) AS t(x)", "5")]
    #[case("x + 1 FROM (VALUES (1)) AS t(x) GROUP BY x + 1 ORDER BY x + 1", "2")]
    #[case("(SELECT max(u.y) FROM (VALUES (2)) AS u(y) WHERE u.y = t.x + 1) FROM (VALUES (1)) AS t(x)", "2")]
    #[case("row_number() OVER () - row_number() OVER ()", "0")]
    #[case("CAST(x AS REAL) FROM (VALUES (1.5)) AS t(x)", "1.5")]
    #[case("CAST('inf' AS REAL)", "inf")]
    #[case("TRY_CAST('many' AS INT) + 1", "")]
    #[case("-x FROM (VALUES (3)) AS t(x)", "-3")]
    #[case("-(-9223372036854775807)", "9223372036854775807")]
    #[case("1 LIMIT 1 + 1", "1")]
    #[case("DATE '2024-03-01' - DATE '2024-02-01'", "29")]
    #[case("sum(d - DATE '2024-02-01') FROM (VALUES (DATE '2024-03-01'), (NULL)) AS t(d)", "29")]
    #[tokio::test]
    async fn what_fits_is_as_it_was(#[case] expr: &str, #[case] expected: &str) {
        assert_eq!(answer(expr).await.unwrap().1, expected);
    }

    #[tokio::test]
    async fn columns_are_called_as_they_were() {
        let plain = SessionContext::new();
        for expr in [
            "x + 1 FROM (VALUES (1)) AS t(x)",
            "sum(x * 2) + 1 FROM (VALUES (1)) AS t(x)",
            "CAST(x AS REAL) FROM (VALUES (1.5)) AS t(x)",
            "-x FROM (VALUES (1)) AS t(x)",
        ] {
            let frame = plain.sql(&format!("SELECT {expr}")).await.unwrap();
            assert_eq!(answer(expr).await.unwrap().0, *frame.schema().field(0).name());
        }
    }
}

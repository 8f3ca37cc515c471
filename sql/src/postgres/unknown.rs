//! Texts and parameters that become what they stand beside.
//!
//! In PostgreSQL `'t'` is no text until it is known what is wanted of it: beside a boolean it is one, and beside a time
//! without a zone the zone that it says is left out. The engine compares types. So such a text is read here, where the type
//! of the other side is known: operators as they are planned ([`Beside`]), lists and ranges afterwards ([`fit`]). Numbers that are
//! looked for in a list are made alike there, too.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use datafusion::{
    common::{
        DFSchema, DataFusionError, Result,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        Between, Expr, ExprSchemable, LogicalPlan,
        expr::{InList, Placeholder, ScalarFunction},
        expr_rewriter::NamePreserver,
        lit,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
        utils::merge_schema,
    },
    scalar::ScalarValue,
    sql::sqlparser::ast::BinaryOperator,
};

use super::moment::{Moment, beyond, farthest, infinity, out_of_range};
use crate::Error;

/// Reads texts beside operators.
#[derive(Debug)]
pub(super) struct Beside;

impl ExprPlanner for Beside {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let (of_left, of_right) = (left.get_type(schema).ok(), right.get_type(schema).ok());
        let (of_left, of_right) = (of_left.as_ref(), of_right.as_ref());
        let (left, right) = match op {
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => (meant(left, of_right)?, meant(right, of_left)?),
            BinaryOperator::StringConcat => (joined(left, of_right), joined(right, of_left)),
            BinaryOperator::Plus => (moved_by(left, of_right), moved_by(right, of_left)),
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// Reads texts of lists and ranges in a plan.
pub(crate) fn fit(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fitted = plan.transform_up_with_subqueries(|node| {
        if !concerns(&node)? {
            return Ok(Transformed::no(node));
        }
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let put = expr.transform_up(|expr| fitted(expr, &schema))?;
            Ok(put.update_data(|expr| name.restore(expr)))
        })
    });
    fitted.map(|fitted| fitted.data)
}

/// Most plans have no such list.
fn concerns(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            found |= match expr {
                Expr::ScalarFunction(ScalarFunction { func, .. }) => func.name() == AMONG,
                Expr::InList(InList { list, .. }) => list.iter().any(is_text),
                Expr::Between(Between { low, high, .. }) => is_text(low) || is_text(high),
                _ => false,
            };
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

fn fitted(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::InList(InList { expr, list, negated }) => {
            let of = expr.get_type(schema).ok();
            let list = list.into_iter().map(|item| meant(item, of.as_ref())).collect::<Result<_>>()?;
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let of = expr.get_type(schema).ok();
            let (low, high) = (Box::new(meant(*low, of.as_ref())?), Box::new(meant(*high, of.as_ref())?));
            Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == AMONG => {
            let args = match <[Expr; 2]>::try_from(args) {
                Ok([list, item]) => numbers(list, item, schema)?.into(),
                Err(args) => args,
            };
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        other => Transformed::no(other),
    })
}

/// What the engine makes of `x = ANY (list)`.
const AMONG: &str = "array_has";
/// What numbers become that are looked for among others: the engine wants them to be alike.
const NUMBER: (u8, i8) = (38, 10);

/// A list of exact numbers and one that is looked for in it, alike. A list that is a parameter has such numbers too.
fn numbers(list: Expr, item: Expr, schema: &DFSchema) -> Result<[Expr; 2]> {
    let of_item = item.get_type(schema).unwrap_or(DataType::Null);
    let is_short = matches!(of_item, DataType::Decimal128(digits, scale)
        if scale <= NUMBER.1 && i16::from(digits) - i16::from(scale) <= i16::from(NUMBER.0) - i16::from(NUMBER.1));
    let alike = DataType::Decimal128(NUMBER.0, NUMBER.1);
    let list =
        if is_short { typed(list, DataType::List(Arc::new(Field::new_list_field(alike.clone(), true)))) } else { list };
    let of_list = match list.get_type(schema) {
        Ok(DataType::List(field)) => field.data_type().clone(),
        _ => DataType::Null,
    };
    let is_written = matches!(item, Expr::Literal(ScalarValue::Float64(_), _));
    // A list that was declared may keep more digits after the point than most.
    let fits = match (&of_list, &of_item) {
        (DataType::Decimal128(38, kept), DataType::Decimal128(digits, scale)) => {
            scale <= kept && i16::from(*digits) - i16::from(*scale) <= i16::from(NUMBER.0) - i16::from(*kept)
        }
        (DataType::Decimal128(38, _), other) => is_written || other.is_integer(),
        _ => false,
    };
    let item = if fits && of_item != of_list { item.cast_to(&of_list, schema)? } else { item };
    Ok([list, item])
}

/// A text as it is meant beside a type.
fn meant(value: Expr, of: Option<&DataType>) -> Result<Expr> {
    let (Expr::Literal(ScalarValue::Utf8(Some(text)), _), Some(of)) = (&value, of) else { return Ok(value) };
    if matches!(of, DataType::Date32 | DataType::Timestamp(..)) {
        if let Some(far) = infinity(text).and_then(|latest| farthest(of, latest)) {
            return Ok(lit(far));
        }
        if Moment::read(text).is_none()
            && let Some(reason) = out_of_range(text)
        {
            return Err(beyond(reason));
        }
    }
    let read = match of {
        DataType::Boolean => Some(lit(truth(text).ok_or_else(no_truth)?)),
        DataType::Date32 => Moment::read(text).map(|moment| lit(moment.date.to_string())),
        DataType::Timestamp(_, zone) => Moment::read(text).and_then(|moment| moment.written(zone.is_some())).map(lit),
        _ => None,
    };
    Ok(read.unwrap_or(value))
}

/// What PostgreSQL takes for a truth: its words, also begun, as long as it is clear which one is meant.
pub(super) fn truth(text: &str) -> Option<bool> {
    let text = text.trim().to_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(text.as_str());
    match () {
        () if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" => Some(true),
        () if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" => Some(false),
        () => None,
    }
}

fn no_truth() -> DataFusionError {
    let message = "the text beside a boolean is none (true, yes, on, 1; false, no, off, 0)".to_owned();
    DataFusionError::External(Box::new(Error::Value { message }))
}

/// A parameter as what it is wanted for; one that is typed already stays.
fn typed(value: Expr, wanted: DataType) -> Expr {
    match value {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            Expr::Placeholder(Placeholder::new_with_field(id, Some(Arc::new(Field::new("", wanted, true)))))
        }
        other => other,
    }
}

/// What is joined to anything but a list is a text.
fn joined(value: Expr, beside: Option<&DataType>) -> Expr {
    match beside {
        Some(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) | None => value,
        Some(_) => typed(value, DataType::Utf8),
    }
}

/// What is added to a time is an interval.
fn moved_by(value: Expr, beside: Option<&DataType>) -> Expr {
    match beside {
        Some(DataType::Timestamp(..)) => typed(value, DataType::Interval(IntervalUnit::MonthDayNano)),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("t", Some(true))]
    #[case(" TRUE ", Some(true))]
    #[case("ye", Some(true))]
    #[case("on", Some(true))]
    #[case("1", Some(true))]
    #[case("f", Some(false))]
    #[case("n", Some(false))]
    #[case("of", Some(false))]
    #[case("0", Some(false))]
    #[case("o", None)]
    #[case("", None)]
    #[case("truest", None)]
    #[case("2", None)]
    fn a_text_is_a_truth(#[case] text: &str, #[case] expected: Option<bool>) {
        assert_eq!(truth(text), expected);
    }

    #[rstest]
    #[case(
        "2024-02-29 12:00+02",
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
        "2024-02-29 12:00:00.000000"
    )]
    #[case(
        "2024-02-29 12:00+02",
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
        "2024-02-29 10:00:00.000000+00:00"
    )]
    #[case("2024-02-29 +00", DataType::Date32, "2024-02-29")]
    #[case("2024", DataType::Date32, "2024")]
    #[case("2024-02-29 24:00", DataType::Date32, "2024-02-29")]
    #[case("2024-02-29 12:00+02", DataType::Utf8, "2024-02-29 12:00+02")]
    fn a_text_is_meant_beside_a_type(#[case] text: &str, #[case] of: DataType, #[case] expected: &str) {
        assert_eq!(meant(lit(text), Some(&of)).unwrap(), lit(expected));
    }

    #[test]
    fn an_infinity_is_farther_than_every_time() {
        let meant = |text: &str| meant(lit(text), Some(&DataType::Date32));
        assert_eq!(meant("-infinity").unwrap(), lit(farthest(&DataType::Date32, false).unwrap()));
        assert!(meant("0044-03-15 BC").is_err());
    }
}

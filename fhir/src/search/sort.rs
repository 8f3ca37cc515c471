use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit},
    error::ArrowError,
};
use datafusion::{
    common::Result,
    functions::core::expr_fn::coalesce,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

use super::{eval, matcher};
use crate::{
    definitions::{ParameterKind, TypeId},
    functions::fold,
    path::{
        Path, Step,
        navigate::{Leaves, text, walk},
    },
};

/// The value that a row is sorted by: of several the first in the order asked for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SortKey {
    steps: Vec<Step>,
    type_id: TypeId,
    order: Order,
    descending: bool,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    Time,
    Number,
    /// Folded.
    Text,
    Code,
}

/// The expression that sorts by a search parameter; `None` where the table has none of its columns.
pub(super) fn key(paths: &[Path], kind: ParameterKind, descending: bool, schema: &Schema) -> Option<Expr> {
    let order = match kind {
        ParameterKind::Date => Order::Time,
        ParameterKind::Number | ParameterKind::Quantity => Order::Number,
        ParameterKind::String => Order::Text,
        _ => Order::Code,
    };
    let fitting = |path: &&Path| eval::supports(kind, path.element.type_id) && matcher::columns(path, schema).is_some();
    let paths: Vec<&Path> = paths.iter().filter(fitting).collect();
    let mut keys: Vec<Expr> = Vec::new();
    for path in paths {
        let plain = path.is_plain();
        let start = format!("{}__start", path.column());
        keys.push(match order {
            Order::Time if plain && path.element.type_id.primitive().is_some() => matcher::column(&start),
            _ => {
                let columns =
                    if order == Order::Time && path.steps.len() == 1 && path.element.type_id.primitive().is_some() {
                        vec![start]
                    } else {
                        vec![path.column().to_owned()]
                    };
                let key = SortKey {
                    steps: path.steps.clone(),
                    type_id: path.element.type_id,
                    order,
                    descending,
                    signature: Signature::any(1, Volatility::Immutable),
                };
                ScalarUDF::new_from_impl(key).call(columns.iter().map(|name| matcher::column(name)).collect())
            }
        });
    }
    match keys.len() {
        0 => None,
        1 => keys.pop(),
        _ => Some(coalesce(keys)),
    }
}

impl Order {
    fn data_type(self) -> DataType {
        match self {
            Order::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Order::Number => DataType::Float64,
            Order::Text | Order::Code => DataType::Utf8,
        }
    }
}

impl ScalarUDFImpl for SortKey {
    fn name(&self) -> &'static str {
        "fhir_sort_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.order.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let column = args.args.first().map(|column| column.to_array(args.number_rows)).transpose()?;
        let keys = match column {
            Some(column) => self.keys(&column, args.number_rows)?,
            None => arrow::array::new_null_array(&self.order.data_type(), args.number_rows),
        };
        Ok(ColumnarValue::Array(keys))
    }
}

impl SortKey {
    fn keys(&self, column: &ArrayRef, rows: usize) -> Result<ArrayRef, ArrowError> {
        let none = || arrow::array::new_null_array(&self.order.data_type(), rows);
        // a column of times stands for its own path, and those beside a nested one are found by name
        let nested_time = self.order == Order::Time && self.type_id.primitive().is_some() && self.steps.len() > 1;
        let leaves = walk(column, &self.steps, nested_time.then_some("start"))?;
        let Some(leaves) = leaves else { return Ok(none()) };
        let Some(leaves) = self.member(leaves)? else { return Ok(none()) };
        Ok(match self.order {
            Order::Time => {
                let values = cast(&leaves.values, &DataType::Int64)?;
                let best = self.best(&leaves, values.as_primitive::<Int64Type>().iter(), rows, i64::cmp);
                Arc::new(TimestampMicrosecondArray::from(best).with_timezone("UTC"))
            }
            Order::Number => {
                let values = cast(&leaves.values, &DataType::Float64)?;
                Arc::new(Float64Array::from(self.best(
                    &leaves,
                    values.as_primitive::<Float64Type>().iter(),
                    rows,
                    f64::total_cmp,
                )))
            }
            Order::Text | Order::Code => {
                let texts = text(&leaves.values)?;
                let folded = texts.iter().map(|text| {
                    text.map(|text| if self.order == Order::Text { fold(text).into_owned() } else { text.to_owned() })
                });
                Arc::new(StringArray::from(self.best(&leaves, folded, rows, String::cmp)))
            }
        })
    }

    /// What of a complex value it is sorted by.
    fn member(&self, leaves: Leaves) -> Result<Option<Leaves>, ArrowError> {
        if self.type_id.primitive().is_some() {
            return Ok(Some(leaves));
        }
        let names: &[&str] = match self.type_id.name() {
            "Period" => &["start__start", "end__end"],
            "Timing" => &["event__start"],
            "HumanName" => &["family", "text", "given"],
            "Address" => &["city", "text", "line"],
            "Coding" => &["code"],
            "CodeableConcept" => match leaves.member("coding")? {
                Some(coding) => return coding.member("code"),
                None => &["text"],
            },
            "Reference" => &["reference"],
            "SampledData" => match leaves.member("origin")? {
                Some(origin) => return origin.member("value"),
                None => &[],
            },
            "Range" => match leaves.member("low")? {
                Some(low) => return low.member("value"),
                None => &[],
            },
            _ => &["value"],
        };
        for name in names {
            if let Some(found) = leaves.member(name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The least value of each row, or the greatest where the order descends.
    fn best<T>(
        &self,
        leaves: &Leaves,
        values: impl Iterator<Item = Option<T>>,
        rows: usize,
        compare: impl Fn(&T, &T) -> std::cmp::Ordering,
    ) -> Vec<Option<T>> {
        let mut best: Vec<Option<T>> = std::iter::repeat_with(|| None).take(rows).collect();
        for (place, value) in values.enumerate() {
            let (Some(value), Some(slot)) = (value, leaves.row(place).and_then(|row| best.get_mut(row))) else {
                continue;
            };
            let better = match slot {
                None => true,
                Some(current) if self.descending => compare(&value, current).is_gt(),
                Some(current) => compare(&value, current).is_lt(),
            };
            if better {
                *slot = Some(value);
            }
        }
        best
    }
}

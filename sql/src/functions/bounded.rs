//! Functions that make much of little: their answers are measured before they are made.
//!
//! What a function writes is not counted against a query's memory until it is there, and `repeat('a', 2000000000)` would be
//! the whole of a server's.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array},
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{
        DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    },
};
use datafusion::{
    common::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use crate::Error;

/// The most that a function makes of the rows of one batch, in bytes.
const MOST: u128 = 1 << 28;

/// Bytes that a row of an answer takes, by the arguments and the row.
type Size = fn(&[Lengths], usize) -> u128;

/// Functions by name, with what their answers take.
const GROWING: [(&str, Size); 10] = [
    ("repeat", |args, row| length(args, 0, row) * count(args, 1, row)),
    ("lpad", |args, row| 4 * count(args, 1, row)),
    ("rpad", |args, row| 4 * count(args, 1, row)),
    ("array_repeat", |args, row| (8 + length(args, 0, row)) * count(args, 1, row)),
    ("array_resize", |args, row| (8 + length(args, 2, row)) * count(args, 1, row)),
    ("range", steps),
    ("generate_series", steps),
    ("replace", |args, row| {
        let (text, from, to) = (length(args, 0, row), length(args, 1, row).max(1), length(args, 2, row));
        // Only where a text grows by much is it worth to refuse what might not occur so often.
        if to > 64 { text / from * to } else { 0 }
    }),
    ("regexp_replace", |args, row| {
        let (text, to) = (length(args, 0, row), length(args, 2, row));
        // Without flags it is the first match.
        if to > 64 && args.len() > 3 { (text + 1) * to } else { 0 }
    }),
    ("array_to_string", |args, row| {
        let between = length(args, 1, row);
        if between > 64 { length(args, 0, row) / 4 * between } else { 0 }
    }),
];

/// `function`, measured if it may make much.
pub(super) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let known = GROWING.iter().find(|(name, _)| function.name() == *name);
    match known {
        Some((_, size)) => Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function, size: Measure(*size) })),
        None => function,
    }
}

/// What is known of an argument: a number, or how long its values are.
enum Lengths {
    Numbers(ArrayRef),
    Values(ArrayRef),
}

impl Lengths {
    fn of(values: &ArrayRef) -> Result<Self> {
        Ok(match values.data_type() {
            data_type if data_type.is_integer() => Self::Numbers(cast(values, &DataType::Int64)?),
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
                let options = CastOptions { safe: true, ..CastOptions::default() };
                let micros = cast_with_options(values, &DataType::Timestamp(TimeUnit::Microsecond, None), &options)?;
                Self::Numbers(cast(&micros, &DataType::Int64)?)
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let micros = values.as_primitive::<IntervalMonthDayNanoType>().iter().map(|step| {
                    let days = |step: IntervalMonthDayNano| i64::from(step.months) * 28 + i64::from(step.days);
                    step.map(|step| days(step).saturating_mul(86_400_000_000).saturating_add(step.nanoseconds / 1_000))
                });
                Self::Numbers(Arc::new(micros.collect::<Int64Array>()))
            }
            _ => Self::Values(Arc::clone(values)),
        })
    }
}

fn number(args: &[Lengths], place: usize, row: usize) -> Option<i64> {
    match args.get(place)? {
        Lengths::Numbers(numbers) => {
            let numbers = numbers.as_primitive::<Int64Type>();
            numbers.is_valid(row).then(|| numbers.value(row))
        }
        Lengths::Values(_) => None,
    }
}

fn count(args: &[Lengths], place: usize, row: usize) -> u128 {
    number(args, place, row).and_then(|number| u128::try_from(number).ok()).unwrap_or_default()
}

fn length(args: &[Lengths], place: usize, row: usize) -> u128 {
    let bytes = match args.get(place) {
        Some(Lengths::Values(values)) if values.is_valid(row) => match values.data_type() {
            DataType::Utf8 => values.as_string::<i32>().value(row).len(),
            DataType::LargeUtf8 => values.as_string::<i64>().value(row).len(),
            DataType::Utf8View => values.as_string_view().value(row).len(),
            _ => values.slice(row, 1).to_data().get_slice_memory_size().unwrap_or_default(),
        },
        Some(Lengths::Values(_)) => 0,
        _ => 8,
    };
    bytes as u128
}

/// Numbers, or times in microseconds, of a series.
fn steps(args: &[Lengths], row: usize) -> u128 {
    let (start, stop) = match (number(args, 0, row), number(args, 1, row)) {
        (Some(stop), None) if args.len() == 1 => (0, stop),
        (Some(start), Some(stop)) => (start, stop),
        _ => return 0,
    };
    let step = if args.len() > 2 { number(args, 2, row).unwrap_or(1) } else { 1 };
    8 * (i128::from(stop) - i128::from(start)).unsigned_abs() / u128::from(step.unsigned_abs().max(1))
}

#[derive(Clone, Copy)]
struct Measure(Size);

/// A function whose answers are measured first.
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Measure,
}

impl std::fmt::Debug for Bounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounded").field("inner", &self.inner.name()).finish_non_exhaustive()
    }
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl std::hash::Hash for Bounded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let lengths = arrays.iter().map(Lengths::of).collect::<Result<Vec<_>>>()?;
        let bytes = (0..rows).fold(0_u128, |sum, row| sum.saturating_add((self.size.0)(&lengths, row)));
        if bytes > MOST {
            let message = format!("{}() would make more than {} MiB at once", self.name(), MOST >> 20);
            return Err(DataFusionError::External(Box::new(Error::Value { message })));
        }
        self.inner.invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;
    use rstest::rstest;

    #[rstest]
    #[case("repeat('a', 2000000000)")]
    #[case("lpad('a', 2000000000)")]
    #[case("rpad('a', 2000000000, 'xy')")]
    #[case("array_repeat('abc', 1000000000)")]
    #[case("range(1000000000)")]
    #[case("generate_series(0, -4000000000, -1)")]
    #[case("replace(repeat('a', 1000000), 'a', repeat('b', 1000))")]
    #[case("regexp_replace(repeat('a', 1000000), 'a', repeat('b', 1000), 'g')")]
    #[case("array_to_string(range(1000000), repeat('b', 1000))")]
    #[case("generate_series(TIMESTAMP '1970-01-01', TIMESTAMP '2200-01-01', INTERVAL '1 microsecond')")]
    #[tokio::test]
    async fn what_would_be_too_large_is_not_made(#[case] expr: &str) {
        let error = answer(expr).await.unwrap_err();
        assert!(error.contains("would make more than 256 MiB"), "{error}");
    }

    #[rstest]
    #[case("repeat('ab', 3)", "ababab")]
    #[case("repeat('ab', -3)", "")]
    #[case("coalesce(repeat(NULL::text, 2000000000), 'nothing')", "nothing")]
    #[case("lpad('a', 3, 'xy')", "xya")]
    #[case("array_repeat(1, 2)", "[1, 1]")]
    #[case("range(0, 5, 2)", "[0, 2, 4]")]
    #[case("replace('aXa', 'a', 'bb')", "bbXbb")]
    #[tokio::test]
    async fn what_is_small_is_as_it_was(#[case] expr: &str, #[case] expected: &str) {
        assert_eq!(answer(expr).await.unwrap(), expected);
    }

    async fn answer(expr: &str) -> Result<String, String> {
        let context = SessionContext::new();
        for function in context.state().scalar_functions().values() {
            context.register_udf(super::bounded(function.clone()).as_ref().clone());
        }
        let frame = context.sql(&format!("SELECT {expr}")).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        Ok(arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap())
    }
}

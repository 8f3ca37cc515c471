//! `date_trunc` of times in microseconds: the engine's own goes by nanoseconds, and knows no year 9999.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, PrimitiveArray},
    datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType},
};
use chrono::{Datelike, NaiveDate};
use datafusion::{
    common::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        sort_properties::{ExprProperties, SortProperties},
    },
    scalar::ScalarValue,
};

use crate::{
    Error,
    calendar::{DAY, EPOCH},
};

/// `function`; for `date_trunc` one that reaches as far as tables do, for others that go by nanoseconds one that says where
/// they do not.
pub(crate) fn far(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "date_trunc" => Arc::new(ScalarUDF::new_from_impl(Far { inner: function })),
        "date_bin" | "generate_series" | "range" => super::reach::honest(function),
        _ => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Far {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Far {
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

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(part), moments] = args.args.as_slice() else {
            return self.inner.invoke_with_args(args);
        };
        let part = part.try_as_str().flatten().and_then(Part::read);
        let (Some(part), true) = (part, is_plain(&moments.data_type())) else {
            return self.inner.invoke_with_args(args);
        };
        match moments {
            ColumnarValue::Array(moments) => Ok(ColumnarValue::Array(truncated(moments, part)?)),
            ColumnarValue::Scalar(moment) => {
                let one = truncated(&moment.to_array()?, part)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?))
            }
        }
    }
}

/// Times whose days are those of UTC.
fn is_plain(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => true,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => matches!(zone.as_ref(), "UTC" | "+00:00" | "Z"),
        _ => false,
    }
}

#[derive(Debug, Clone, Copy)]
enum Part {
    /// Of always the same length.
    Micros(i64),
    Week,
    Months(u32),
}

impl Part {
    fn read(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "microsecond" => Self::Micros(1),
            "millisecond" => Self::Micros(1_000),
            "second" => Self::Micros(1_000_000),
            "minute" => Self::Micros(60_000_000),
            "hour" => Self::Micros(3_600_000_000),
            "day" => Self::Micros(DAY),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    /// The beginning of the part that a time is in; `None` beyond what a calendar knows.
    fn of(self, micros: i64) -> Option<i64> {
        let days = micros.div_euclid(DAY);
        match self {
            Self::Micros(length) => micros.checked_sub(micros.rem_euclid(length)),
            // The first of 1970 was a Thursday.
            Self::Week => (days - (days + 3).rem_euclid(7)).checked_mul(DAY),
            Self::Months(length) => {
                let day = NaiveDate::from_num_days_from_ce_opt(i32::try_from(days.checked_add(EPOCH)?).ok()?)?;
                let month = day.month0() / length * length;
                let first = NaiveDate::from_ymd_opt(day.year(), month + 1, 1)?;
                (i64::from(first.num_days_from_ce()) - EPOCH).checked_mul(DAY)
            }
        }
    }
}

fn truncated(moments: &ArrayRef, part: Part) -> Result<ArrayRef> {
    let moments = moments.as_primitive::<TimestampMicrosecondType>();
    let zone = moments.timezone().map(Arc::from);
    let beyond = || {
        let message = "a time is further away than a calendar reaches".to_owned();
        DataFusionError::External(Box::new(Error::Value { message }))
    };
    let begins: PrimitiveArray<TimestampMicrosecondType> =
        moments.try_unary(|micros| part.of(micros).ok_or_else(beyond))?;
    Ok(Arc::new(begins.with_timezone_opt::<Arc<str>>(zone)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDateTime;
    use rstest::rstest;

    #[rstest]
    #[case("year", "9999-12-31T23:59:59.999999", "9999-01-01T00:00:00")]
    #[case("quarter", "9999-12-31T23:59:59", "9999-10-01T00:00:00")]
    #[case("MONTH", "0001-05-31T12:00:00", "0001-05-01T00:00:00")]
    #[case("week", "2024-02-29T12:00:00", "2024-02-26T00:00:00")]
    #[case("week", "1969-12-31T12:00:00", "1969-12-29T00:00:00")]
    #[case("day", "1969-12-31T12:00:00", "1969-12-31T00:00:00")]
    #[case("hour", "1899-12-31T12:34:56", "1899-12-31T12:00:00")]
    #[case("minute", "2024-02-29T12:34:56.5", "2024-02-29T12:34:00")]
    #[case("millisecond", "2024-02-29T12:34:56.123456", "2024-02-29T12:34:56.123")]
    fn a_time_becomes_the_beginning_of_its_part(#[case] part: &str, #[case] of: &str, #[case] begins: &str) {
        let micros = |text: &str| text.parse::<NaiveDateTime>().unwrap().and_utc().timestamp_micros();
        assert_eq!(Part::read(part).unwrap().of(micros(of)), Some(micros(begins)));
    }

    #[test]
    fn what_no_calendar_knows_is_none() {
        assert_eq!(Part::Months(1).of(i64::MAX), None);
        assert_eq!(Part::Micros(DAY).of(i64::MIN), None);
    }
}

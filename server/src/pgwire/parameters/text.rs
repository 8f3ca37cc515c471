use arrow::datatypes::IntervalMonthDayNanoType;
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::scalar::ScalarValue;
use mavis_sql::{Interval, Moment, array_items};
use pgwire::api::Type;

use super::{item, list, numeric};

/// Reads a text; what is left as one the engine casts to what the statement expects.
pub(super) fn read(of: &Type, text: &str) -> Option<ScalarValue> {
    let known = match *of {
        Type::BOOL => {
            return match text.trim().to_lowercase().as_str() {
                "t" | "true" | "1" | "y" | "yes" | "on" => Some(ScalarValue::Boolean(Some(true))),
                "f" | "false" | "0" | "n" | "no" | "off" => Some(ScalarValue::Boolean(Some(false))),
                _ => None,
            };
        }
        Type::BYTEA => {
            return Some(ScalarValue::Binary(Some(match text.strip_prefix("\\x") {
                Some(digits) => hex::decode(digits).ok()?,
                None => text.as_bytes().to_vec(),
            })));
        }
        Type::NUMERIC => numeric::of_text(text.trim()),
        // A distance from UTC is left out where the type has no zone, as PostgreSQL does: JDBC sends one with every time.
        Type::DATE => Moment::read(text).and_then(|moment| {
            let days = moment.date.signed_duration_since(NaiveDate::default()).num_days();
            Some(ScalarValue::Date32(Some(i32::try_from(days).ok()?)))
        }),
        Type::TIMESTAMP => {
            Moment::read(text).map(|moment| ScalarValue::TimestampMicrosecond(Some(micros(moment.local)), None))
        }
        Type::TIMESTAMPTZ => Moment::read(text)
            .and_then(Moment::utc)
            .map(|time| ScalarValue::TimestampMicrosecond(Some(micros(time)), Some("UTC".into()))),
        Type::INTERVAL => return interval(Interval::read(text)?),
        _ => match item(of) {
            Some(item) => {
                let items = array_items(text)?.into_iter();
                let items = items.map(|text| match text {
                    Some(text) => read(&item, &text).map(Some),
                    None => Some(None),
                });
                return list(&item, items.collect::<Option<_>>()?);
            }
            None => None,
        },
    };
    Some(known.unwrap_or_else(|| ScalarValue::Utf8(Some(text.to_owned()))))
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

pub(super) fn interval(interval: Interval) -> Option<ScalarValue> {
    let Interval { months, days, micros } = interval;
    let value = IntervalMonthDayNanoType::make_value(months, days, micros.checked_mul(1_000)?);
    Some(ScalarValue::IntervalMonthDayNano(Some(value)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MIDNIGHT: i64 = 1_709_164_800_000_000;

    fn texts(items: &[Option<&str>]) -> ScalarValue {
        let items = items.iter().map(|item| item.map(|item| ScalarValue::Utf8(Some(item.to_owned()))));
        list(&Type::TEXT, items.collect()).unwrap()
    }

    #[rstest]
    #[case(Type::INT4, "7", ScalarValue::Utf8(Some("7".to_owned())))]
    #[case(Type::BOOL, " T", ScalarValue::Boolean(Some(true)))]
    #[case(Type::NUMERIC, "-1.50", ScalarValue::Decimal128(Some(-150), 38, 2))]
    #[case(Type::NUMERIC, "1e3", ScalarValue::Decimal128(Some(1_000), 38, 0))]
    #[case(Type::DATE, "2024-02-29 +00", ScalarValue::Date32(Some(19_782)))]
    #[case(Type::DATE, "infinity", ScalarValue::Utf8(Some("infinity".to_owned())))]
    #[case(Type::TIMESTAMP, "2024-02-29 02:00:00+02", ScalarValue::TimestampMicrosecond(Some(MIDNIGHT + 7_200_000_000), None))]
    #[case(Type::TIMESTAMPTZ, "2024-02-29 02:00:00+02", ScalarValue::TimestampMicrosecond(Some(MIDNIGHT), Some("UTC".into())))]
    #[case(Type::UUID_ARRAY, "{a,NULL,\"c d\"}", texts(&[Some("a"), None, Some("c d")]))]
    fn a_text_is_read_by_its_type(#[case] of: Type, #[case] text: &str, #[case] expected: ScalarValue) {
        assert_eq!(read(&of, text), Some(expected));
    }

    #[test]
    fn an_interval_is_read() {
        let expected = IntervalMonthDayNanoType::make_value(1, 2, 3_000_000_000);
        assert_eq!(
            read(&Type::INTERVAL, "1 mon 2 days 00:00:03"),
            Some(ScalarValue::IntervalMonthDayNano(Some(expected)))
        );
    }

    #[rstest]
    #[case(Type::NUMERIC_ARRAY, "{1.5,-2,NULL}", 3)]
    #[case(Type::NUMERIC_ARRAY, "{0.12345678901,1e3}", 2)]
    #[case(Type::INTERVAL_ARRAY, "{\"1 day\",PT1H}", 2)]
    #[case(Type::DATE_ARRAY, "{2024-02-29}", 1)]
    #[case(Type::TIMESTAMPTZ_ARRAY, "{\"2024-02-29 02:00:00+02\",NULL}", 2)]
    #[case(Type::INT8_ARRAY, "{}", 0)]
    fn an_array_is_read(#[case] of: Type, #[case] text: &str, #[case] count: usize) {
        let Some(ScalarValue::List(list)) = read(&of, text) else { panic!("{text}") };
        assert_eq!(list.value(0).len(), count);
    }

    #[rstest]
    #[case(Type::BOOL, "maybe")]
    #[case(Type::BYTEA, "\\xzz")]
    #[case(Type::INTERVAL, "soon")]
    #[case(Type::INT8_ARRAY, "{1,x}")]
    #[case(Type::INT8_ARRAY, "1")]
    #[case(Type::TEXT_ARRAY, "{{a},{b}}")]
    #[case(Type::NUMERIC_ARRAY, "{99999999999999999999999999999,0.12345678901}")]
    fn what_is_of_another_type_is_refused(#[case] of: Type, #[case] text: &str) {
        assert_eq!(read(&of, text), None);
    }
}

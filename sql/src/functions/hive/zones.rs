//! Moments as clocks elsewhere show them, and dates cut off.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray, timezone::Tz},
    datatypes::{DataType, Date32Type, FieldRef, TimeUnit},
};
use chrono::{Datelike, Duration, NaiveDate, NaiveDateTime, Offset, TimeZone};
use datafusion::{
    common::{Result, exec_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        type_coercion::functions::fields_with_udf,
    },
};

use super::{
    call::{Call, Takes, mistake},
    dates::moments,
    steady,
};

pub(super) fn functions() -> Vec<Call> {
    const TAKES: &[Takes] = &[Takes::Moment, Takes::Text];
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    vec![
        steady("from_utc_timestamp").takes(TAKES, 2).gives(moment.clone(), |args, _| moved(args, from_utc)),
        steady("to_utc_timestamp").takes(TAKES, 2).gives(moment, |args, _| moved(args, to_utc)),
    ]
}

fn moved(args: &[ArrayRef], by: fn(NaiveDateTime, Tz) -> Option<NaiveDateTime>) -> Result<ArrayRef> {
    let [column, zones] = args else { return exec_err!("a time and a time zone are needed") };
    let zones = zones.as_string::<i32>();
    let mut last: Option<(&str, Tz)> = None;
    let mut answers = Vec::with_capacity(zones.len());
    for (at, name) in moments(column)?.into_iter().zip(zones.iter()) {
        let (Some(at), Some(name)) = (at, name) else {
            answers.push(None);
            continue;
        };
        let zone = match last {
            Some((known, zone)) if known == name => zone,
            _ => match zone(name) {
                Some(zone) => zone,
                None => return mistake("a time zone is not known; write one like Europe/Paris or +02:00"),
            },
        };
        last = Some((name, zone));
        answers.push(by(at, zone).map(|at| at.and_utc().timestamp_micros()));
    }
    Ok(Arc::new(TimestampMicrosecondArray::from(answers)))
}

/// `Europe/Paris`, `+02:00`, `GMT+2`, and what Java means by names that no list of zones has.
fn zone(name: &str) -> Option<Tz> {
    let name = match name {
        "PST" => "America/Los_Angeles",
        "CST" => "America/Chicago",
        "IST" => "Asia/Kolkata",
        "JST" => "Asia/Tokyo",
        other => other,
    };
    if let Ok(known) = name.parse() {
        return Some(known);
    }
    let offset = name.strip_prefix("GMT").or_else(|| name.strip_prefix("UTC"))?;
    let (sign, rest) = offset.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-"))?;
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    format!("{sign}{hours:0>2}:{minutes}").parse().ok()
}

fn from_utc(at: NaiveDateTime, zone: Tz) -> Option<NaiveDateTime> {
    at.checked_add_offset(zone.offset_from_utc_datetime(&at).fix())
}

/// Of an hour that clocks show twice the first is meant; one that they leave out goes on by the offset before it.
fn to_utc(at: NaiveDateTime, zone: Tz) -> Option<NaiveDateTime> {
    let offset = match zone.offset_from_local_datetime(&at).earliest() {
        Some(offset) => offset,
        None => zone.offset_from_local_datetime(&at.checked_sub_signed(Duration::hours(3))?).earliest()?,
    };
    at.checked_sub_offset(offset.fix())
}

/// `trunc(d, 'MM')`, beside the `trunc(x, digits)` of numbers that there is already.
#[derive(Debug)]
pub(super) struct Trunc {
    numbers: Arc<ScalarUDF>,
    signature: Signature,
}

impl Trunc {
    pub(super) fn beside(numbers: Arc<ScalarUDF>) -> Self {
        Self { numbers, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl PartialEq for Trunc {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Trunc {}

impl Hash for Trunc {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.numbers.hash(state);
    }
}

fn is_of_date(types: &[DataType]) -> bool {
    matches!(types, [_, unit] if unit.is_string())
}

impl ScalarUDFImpl for Trunc {
    fn name(&self) -> &str {
        self.numbers.name()
    }

    fn aliases(&self) -> &[String] {
        self.numbers.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if is_of_date(types) { Ok(DataType::Date32) } else { self.numbers.inner().return_type(types) }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        if is_of_date(&types) {
            return Ok(Arc::new(arrow::datatypes::Field::new(self.name(), DataType::Date32, true)));
        }
        self.numbers.return_field_from_args(args)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if is_of_date(given) {
            return steady("trunc").takes(&[Takes::Moment, Takes::Text], 2).coerce_types(given);
        }
        let fields: Vec<FieldRef> =
            given.iter().map(|given| Arc::new(arrow::datatypes::Field::new("", given.clone(), true))).collect();
        let fields = fields_with_udf(&fields, self.numbers.as_ref())?;
        Ok(fields.into_iter().map(|field| field.data_type().clone()).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        if !is_of_date(&types) {
            return self.numbers.invoke_with_args(args);
        }
        steady("trunc")
            .takes(&[Takes::Moment, Takes::Text], 2)
            .gives(DataType::Date32, |args, _| truncated(args))
            .invoke_with_args(args)
    }
}

fn truncated(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [column, units] = args else { return exec_err!("a date and a unit are needed") };
    let mut answers = Vec::with_capacity(column.len());
    for (at, unit) in moments(column)?.into_iter().zip(units.as_string::<i32>().iter()) {
        let (Some(at), Some(unit)) = (at, unit) else {
            answers.push(None);
            continue;
        };
        let month = match unit.to_uppercase().as_str() {
            "YEAR" | "YYYY" | "YY" => 1,
            "QUARTER" | "Q" => at.month0() / 3 * 3 + 1,
            "MONTH" | "MON" | "MM" => at.month(),
            _ => return mistake("trunc cuts dates off at YEAR, QUARTER or MONTH"),
        };
        answers.push(NaiveDate::from_ymd_opt(at.year(), month, 1).map(Date32Type::from_naive_date));
    }
    Ok(Arc::new(Date32Array::from(answers)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2024-01-01T00:00:00", "Europe/Paris", "2024-01-01T01:00:00")]
    #[case("2024-01-01T00:00:00", "PST", "2023-12-31T16:00:00")]
    #[case("2024-01-01T00:00:00", "GMT+2", "2024-01-01T02:00:00")]
    #[case("2024-07-01T00:00:00", "+02:00", "2024-07-01T02:00:00")]
    fn a_clock_elsewhere_shows(#[case] utc: &str, #[case] name: &str, #[case] there: &str) {
        let at = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        assert_eq!(from_utc(at(utc), zone(name).unwrap()), Some(at(there)));
        assert_eq!(to_utc(at(there), zone(name).unwrap()), Some(at(utc)));
    }

    #[rstest]
    #[case("2024-03-31T02:30:00", "2024-03-31T01:30:00")]
    #[case("2024-10-27T02:30:00", "2024-10-27T00:30:00")]
    fn an_hour_that_is_not_or_is_twice_is_a_moment(#[case] there: &str, #[case] utc: &str) {
        let at = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        assert_eq!(to_utc(at(there), zone("Europe/Paris").unwrap()), Some(at(utc)));
    }

    #[test]
    fn a_zone_that_is_not_known_is_none() {
        assert!(zone("Europe/Nowhere").is_none() && zone("GMT+x").is_none());
    }
}

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, AsArray, StringBuilder},
    compute::cast,
    datatypes::DataType,
};
use chrono::NaiveDate;
use datafusion::{
    common::{Result, exec_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

/// A FHIR date (`YYYY`, `YYYY-MM`, `YYYY-MM-DD`) from the forms that sources write: ISO with or without a time, day first
/// with `/`, `.` or `-` (`31/12/1980`), and `YYYYMMDD`. Text in no known form comes back as it is, so that what checks it
/// later refuses the row; a null in its place would be a silent loss. Empty text is `None`.
#[must_use]
pub fn fhir_date(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(known_form(text).unwrap_or(Cow::Borrowed(text)))
}

fn known_form(text: &str) -> Option<Cow<'_, str>> {
    let day = text.split(['T', ' ']).next()?;
    if !text.is_ascii() {
        return None;
    }
    let parts: Vec<&str> = day.split(['-', '/', '.']).collect();
    let digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    match parts.as_slice() {
        [year] if digits(year, 4..=4) => Some(Cow::Borrowed(day)),
        [all] if digits(all, 8..=8) => written(&all[..4], &all[4..6], &all[6..]),
        [year, month] if digits(year, 4..=4) && digits(month, 1..=2) => {
            let month: u32 = month.parse().ok().filter(|month| (1..=12).contains(month))?;
            Some(Cow::Owned(format!("{year}-{month:02}")))
        }
        [year, month, day] if digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2) => {
            written(year, month, day)
        }
        [day, month, year] if digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2) => {
            written(year, month, day)
        }
        _ => None,
    }
}

fn written<'a>(year: &str, month: &str, day: &str) -> Option<Cow<'a, str>> {
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)?;
    Some(Cow::Owned(date.format("%Y-%m-%d").to_string()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FhirDate {
    signature: Signature,
}

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(FhirDate { signature: Signature::any(1, Volatility::Immutable) })
}

impl ScalarUDFImpl for FhirDate {
    fn name(&self) -> &'static str {
        "fhir_date"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args {
            [data_type] if data_type.is_string() || data_type.is_temporal() || data_type.is_null() => {
                Ok(DataType::Utf8)
            }
            [DataType::Dictionary(_, values)] if values.is_string() => Ok(DataType::Utf8),
            [data_type] => exec_err!("fhir_date takes text, a date or a timestamp, not {data_type}"),
            _ => exec_err!("fhir_date takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [values] = args.args.as_slice() else { return exec_err!("fhir_date takes one value") };
        let values = values.to_array(args.number_rows)?;
        let values = match values.data_type() {
            DataType::Timestamp(..) | DataType::Date64 => cast(&values, &DataType::Date32)?,
            _ => values,
        };
        let texts = cast(&values, &DataType::Utf8)?;
        let mut out = StringBuilder::with_capacity(texts.len(), texts.len() * 10);
        for text in texts.as_string::<i32>() {
            out.append_option(text.and_then(fhir_date));
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray, TimestampMicrosecondArray, new_null_array},
    compute::cast,
    datatypes::{DataType, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion::{
    common::Result,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};
use hmac::{Hmac, KeyInit, Mac};
use mavis_fhir::definitions::TypeId;
use mavis_types::Mask;
use sha2::Sha256;

use super::{
    resource::{Cut, without_untold},
    untold::Untold,
};

/// Bytes of a hash that are shown, in hexadecimal letters twice as many.
const HASH_BYTES: usize = 16;

/// A value in the place of a column's, of the same type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shown {
    Nothing,
    /// A keyed hash of a text, so that nobody without the key can try names.
    Hash(Arc<[u8; 32]>),
    /// The year of a date or a time, or of a text that begins with one; its first moment.
    Year,
    /// The end of the year of a period's end (exclusive).
    YearEnd,
    /// A resource's JSON without what is hidden.
    Resource(Arc<Cut>),
    /// Any value without what references do not tell; of a type that is known where the value is an element's.
    Untold(Untold, Option<TypeId>),
}

impl Shown {
    pub(super) fn of(mask: Mask, column: &str, key: &Arc<[u8; 32]>) -> Self {
        match mask {
            Mask::Null => Shown::Nothing,
            Mask::Hash => Shown::Hash(Arc::clone(key)),
            Mask::Year if column.ends_with("__end") => Shown::YearEnd,
            Mask::Year => Shown::Year,
        }
    }

    /// The value in the place of a column's.
    pub(super) fn over(self, column: Expr) -> Expr {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::new_from_impl(Masked { shown: self, signature }).call(vec![column])
    }

    fn show(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let nothing = || new_null_array(values.data_type(), values.len());
        Ok(match self {
            Shown::Nothing => nothing(),
            Shown::Hash(key) => texts(values, |text| hashed(text, key)).unwrap_or_else(nothing),
            Shown::Year if values.data_type() == &DataType::Utf8 => texts(values, year_of).unwrap_or_else(nothing),
            Shown::Year => moments(values, 0)?.unwrap_or_else(nothing),
            Shown::YearEnd => moments(values, 1)?.unwrap_or_else(nothing),
            Shown::Resource(cut) => texts(values, |text| cut.shown(text)).unwrap_or_else(nothing),
            Shown::Untold(untold, of) => without_untold(values, *untold, *of)?,
        })
    }
}

fn texts(values: &ArrayRef, show: impl Fn(&str) -> Option<String>) -> Option<ArrayRef> {
    let texts = values.as_string_opt::<i32>()?;
    Some(Arc::new(texts.iter().map(|text| text.and_then(&show)).collect::<StringArray>()))
}

/// A keyed hash of a text: the same for the same text in one lake.
pub(super) fn hashed(text: &str, key: &[u8; 32]) -> Option<String> {
    let mut hash = Hmac::<Sha256>::new_from_slice(key).ok()?;
    hash.update(text.as_bytes());
    let bytes = hash.finalize().into_bytes();
    Some(bytes.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect())
}

/// The year at the beginning of a date as FHIR and ISO 8601 write it.
pub(super) fn year_of(text: &str) -> Option<String> {
    let year = text.get(..4).filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()))?;
    matches!(text.as_bytes().get(4), None | Some(b'-')).then(|| year.to_owned())
}

/// The first moment of each value's year, or (`further` 1) of the year after the one that ends before the value.
fn moments(values: &ArrayRef, further: i32) -> Result<Option<ArrayRef>> {
    let target = values.data_type();
    let zone = match target {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None) => None,
        DataType::Timestamp(_, Some(zone)) => Some(Arc::clone(zone)),
        _ => return Ok(None),
    };
    let exact = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
    let exact = exact.as_primitive::<TimestampMicrosecondType>();
    let years: TimestampMicrosecondArray = exact
        .iter()
        .map(|moment| {
            let at = DateTime::from_timestamp_micros(moment? - i64::from(further))?;
            let start = NaiveDate::from_ymd_opt(at.year() + further, 1, 1)?.and_hms_opt(0, 0, 0)?;
            Some(start.and_utc().timestamp_micros())
        })
        .collect();
    let years: ArrayRef = Arc::new(years.with_timezone_opt(zone));
    Ok(Some(cast(&years, target)?))
}

/// [`Shown`] as a function of a plan. It never fails, whatever a row holds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Masked {
    shown: Shown,
    signature: Signature,
}

impl ScalarUDFImpl for Masked {
    fn name(&self) -> &'static str {
        "masked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(values) => Ok(ColumnarValue::Array(self.shown.show(&values.to_array(args.number_rows)?)?)),
            None => datafusion::common::internal_err!("a mask has one argument"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Int64Array};
    use rstest::rstest;

    fn key() -> Arc<[u8; 32]> {
        Arc::new([3; 32])
    }

    #[rstest]
    #[case("1961-03-04", Some("1961"))]
    #[case("1961", Some("1961"))]
    #[case("04/03/1961", None)]
    #[case("19610304", None)]
    #[case("", None)]
    #[case("né en 1961", None)]
    fn a_text_is_shown_as_its_year(#[case] text: &str, #[case] year: Option<&str>) {
        assert_eq!(year_of(text).as_deref(), year);
    }

    #[test]
    fn a_hash_is_the_same_for_the_same_text_and_another_under_another_key() {
        let one = hashed("Durand", &key()).unwrap();
        assert_eq!(one.len(), 32);
        assert_eq!(Some(one.clone()), hashed("Durand", &key()));
        assert_ne!(Some(one.clone()), hashed("Petit", &key()));
        assert_ne!(Some(one), hashed("Durand", &[4; 32]));
    }

    #[test]
    fn dates_and_times_are_shown_as_the_first_moment_of_their_year() {
        let day = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
        let days = |text: &str| (day(text) - day("1970-01-01")).num_days() as i32;
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![Some(days("1961-03-04")), None]));
        let shown = Shown::Year.show(&dates).unwrap();
        assert_eq!(shown.as_ref(), &Date32Array::from(vec![Some(days("1961-01-01")), None]) as &dyn Array);
        let micros = |text: &str| day(text).and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros();
        let ends = TimestampMicrosecondArray::from(vec![micros("1961-03-05"), micros("1962-01-01")]);
        let ends: ArrayRef = Arc::new(ends.with_timezone("UTC"));
        let shown = Shown::YearEnd.show(&ends).unwrap();
        let expected = TimestampMicrosecondArray::from(vec![micros("1962-01-01"); 2]).with_timezone("UTC");
        assert_eq!(shown.as_ref(), &expected as &dyn Array);
    }

    #[rstest]
    #[case(Shown::Hash(key()))]
    #[case(Shown::Year)]
    #[case(Shown::YearEnd)]
    #[case(Shown::Nothing)]
    fn what_a_mask_cannot_show_is_nothing(#[case] shown: Shown) {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![3, 5]));
        let masked = shown.show(&numbers).unwrap();
        assert_eq!((masked.len(), masked.null_count(), masked.data_type()), (2, 2, &DataType::Int64));
    }
}

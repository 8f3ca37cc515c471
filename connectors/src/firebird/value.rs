//! What the driver hands over, as cells.

use std::borrow::Cow;

use chrono::{NaiveDateTime, Timelike};
use rsfbclient::{RawValue, SqlType};

use super::{
    charset::{Charset, bytes_of_latin1, latin1},
    types::{Wire, hex},
};
use crate::{decimal, gather::Cell};

/// A field as it came; text is bytes of the column's own character set.
#[derive(Debug, Clone)]
pub(super) enum Field<'a> {
    Null,
    Int(i64),
    Wide(i128),
    Float(f64),
    Bool(bool),
    Moment(NaiveDateTime),
    Bytes(Cow<'a, [u8]>),
    /// Text that did not come as its bytes: it has a place in no column.
    Foreign,
}

impl Field<'_> {
    /// The same, without taking its bytes.
    pub(super) fn borrowed(&self) -> Field<'_> {
        match self {
            Field::Null => Field::Null,
            Field::Int(value) => Field::Int(*value),
            Field::Wide(value) => Field::Wide(*value),
            Field::Float(value) => Field::Float(*value),
            Field::Bool(value) => Field::Bool(*value),
            Field::Moment(value) => Field::Moment(*value),
            Field::Bytes(bytes) => Field::Bytes(Cow::Borrowed(bytes)),
            Field::Foreign => Field::Foreign,
        }
    }
}

/// A field of a row that was streamed.
pub(super) fn of_raw(value: &RawValue) -> Field<'_> {
    match value {
        RawValue::Null => Field::Null,
        RawValue::Integer(value) => Field::Int(*value),
        RawValue::Int128(value) => Field::Wide(*value),
        RawValue::Floating(value) => Field::Float(*value),
        RawValue::Boolean(value) => Field::Bool(*value),
        RawValue::Timestamp(value) => Field::Moment(*value),
        RawValue::Text(bytes) => Field::Bytes(Cow::Borrowed(bytes)),
    }
}

/// A field of a row with BLOBs: the driver was told that all text is Latin-1, so that its bytes are got back.
pub(super) fn of_sql(value: &SqlType) -> Field<'_> {
    match value {
        SqlType::Null => Field::Null,
        SqlType::Integer(value) => Field::Int(*value),
        SqlType::Int128(value) => Field::Wide(*value),
        SqlType::Floating(value) => Field::Float(*value),
        SqlType::Boolean(value) => Field::Bool(*value),
        SqlType::Timestamp(value) => Field::Moment(*value),
        SqlType::Binary(bytes) => Field::Bytes(Cow::Borrowed(bytes)),
        SqlType::Text(text) => bytes_of_latin1(text).map_or(Field::Foreign, |bytes| Field::Bytes(Cow::Owned(bytes))),
    }
}

/// A field as a cell of its column; the error says what kind of value has no place there, never which.
pub(super) fn decode(wire: Wire, field: Field<'_>) -> Result<Cell<'_>, &'static str> {
    const OTHER: &str = "a value of another type than its column's";
    if matches!(field, Field::Null) {
        return Ok(Cell::Null);
    }
    Ok(match (wire, field) {
        (Wire::Int(bits), Field::Int(value)) => {
            if !(i64::MIN >> (64 - bits)..=i64::MAX >> (64 - bits)).contains(&value) {
                return Err("an integer that its type has no place for");
            }
            Cell::Int(value)
        }
        (Wire::Int128, Field::Wide(value)) => {
            if value.unsigned_abs() >= 10_u128.pow(38) {
                return Err("a number of 39 digits");
            }
            Cell::Wide(value)
        }
        (Wire::Scaled { digits, scale }, Field::Float(value)) => {
            unscaled(value, digits, scale).map(Cell::Wide).ok_or("a number that its digits have no place for")?
        }
        (Wire::Digits { digits, scale }, Field::Bytes(text)) => decimal::scaled(text.trim_ascii(), digits, scale)
            .map(Cell::Wide)
            .ok_or("a number that its digits have no place for")?,
        (Wire::Float32 | Wire::Float64, Field::Float(value)) => Cell::Float(value),
        (Wire::Bool, Field::Bool(value)) => Cell::Bool(value),
        (Wire::Date, Field::Moment(moment)) => Cell::Int(i64::from(moment.date().to_epoch_days())),
        (Wire::Time, Field::Moment(moment)) => Cell::Owned(time_of_day(&moment)),
        (Wire::Timestamp | Wire::TimestampTz, Field::Moment(moment)) => Cell::Int(moment.and_utc().timestamp_micros()),
        (Wire::Text { charset, padded }, Field::Bytes(bytes)) => text(charset, padded, bytes)?,
        (Wire::BlobText(charset), Field::Bytes(bytes)) => text(charset, false, bytes)?,
        (Wire::Bytes | Wire::BlobBytes, Field::Bytes(bytes)) => match bytes {
            Cow::Borrowed(bytes) => Cell::Bytes(bytes),
            Cow::Owned(bytes) => Cell::OwnedBytes(bytes),
        },
        _ => return Err(OTHER),
    })
}

fn text(charset: Charset, padded: bool, bytes: Cow<'_, [u8]>) -> Result<Cell<'_>, &'static str> {
    let bytes = match bytes {
        Cow::Borrowed(bytes) if padded => Cow::Borrowed(trimmed(bytes)),
        Cow::Owned(mut bytes) if padded => {
            bytes.truncate(trimmed(&bytes).len());
            Cow::Owned(bytes)
        }
        bytes => bytes,
    };
    Ok(match charset.decode(bytes)? {
        Cow::Borrowed(text) => Cell::Text(text),
        Cow::Owned(text) => Cell::Owned(text),
    })
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &bytes[..end]
}

/// The integer that the server made the double of.
fn unscaled(value: f64, digits: u8, scale: u8) -> Option<i128> {
    let scaled = (value * 10_f64.powi(i32::from(scale))).round();
    // Beyond 2^53 doubles are not exact; numbers of 32 bits are far from it.
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and small")]
    (scaled.abs() < 9e15 && scaled.abs() < 10_f64.powi(i32::from(digits))).then_some(scaled as i128)
}

fn time_of_day(moment: &NaiveDateTime) -> String {
    let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
    // A time of day has ten-thousandths of a second.
    format!("{hour:02}:{minute:02}:{second:02}.{:04}", moment.nanosecond() / 100_000)
}

/// A field as it is noted in a cursor: what [`super::types::cursor_literal`] makes a literal of. `None` for null.
pub(super) fn note(wire: Wire, field: &Field<'_>) -> Option<String> {
    Some(match field {
        Field::Foreign => return None,
        Field::Null => return None,
        Field::Int(value) => value.to_string(),
        Field::Wide(value) => value.to_string(),
        Field::Bool(value) => value.to_string(),
        Field::Float(value) => match wire {
            Wire::Scaled { scale, .. } => format!("{value:.*}", usize::from(scale)),
            _ => value.to_string(),
        },
        Field::Moment(moment) if wire == Wire::Date => moment.format("%Y-%m-%d").to_string(),
        Field::Moment(moment) => format!("{} {}", moment.format("%Y-%m-%d"), time_of_day(moment)),
        Field::Bytes(bytes) if matches!(wire, Wire::Digits { .. }) => latin1(bytes.trim_ascii()),
        Field::Bytes(bytes) => hex(bytes),
    })
}

/// A field for a person who corrects a rejected row.
pub(super) fn shown(wire: Wire, field: &Field<'_>) -> Option<Vec<u8>> {
    match field {
        Field::Bytes(bytes) => Some(match wire {
            Wire::Text { charset, .. } | Wire::BlobText(charset) => match charset.decode(Cow::Borrowed(&bytes[..])) {
                Ok(text) => text.into_owned().into_bytes(),
                Err(_) => bytes.to_vec(),
            },
            _ => bytes.to_vec(),
        }),
        field => note(wire, field).map(String::into_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_that_did_not_come_as_its_bytes_sets_its_row_aside_and_is_not_empty() {
        let utf8 = Wire::Text { charset: Charset::Utf8, padded: false };
        assert!(decode(utf8, of_sql(&SqlType::Text("\u{20ac}".to_owned()))).is_err());
        assert!(decode(utf8, of_sql(&SqlType::Text("\u{e2}\u{82}\u{ac}".to_owned()))).is_ok());
    }

    #[test]
    fn a_padded_text_loses_its_padding_and_nothing_else() {
        let wire = Wire::Text { charset: Charset::Utf8, padded: true };
        let cell = |text: &'static str| decode(wire, Field::Bytes(Cow::Borrowed(text.as_bytes())));
        assert_eq!(cell(" ab  "), Ok(Cell::Text(" ab")));
        assert_eq!(cell("    "), Ok(Cell::Text("")));
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_never_null() {
        assert!(decode(Wire::Bool, Field::Int(1)).is_err());
        assert!(decode(Wire::Int(16), Field::Int(40_000)).is_err());
        assert!(decode(Wire::Int128, Field::Wide(i128::MAX)).is_err());
    }

    proptest! {
        #[test]
        fn a_decimal_of_32_bits_survives_the_way_as_a_double(stored in any::<i32>(), scale in 0_u8..=9) {
            // As the server computes it.
            let double = f64::from(stored) / 10_f64.powi(i32::from(scale));
            prop_assert_eq!(unscaled(double, 10, scale), Some(i128::from(stored)));
            let noted = note(Wire::Scaled { digits: 10, scale }, &Field::Float(double)).unwrap();
            prop_assert_eq!(decimal::scaled(noted.as_bytes(), 10, scale), Some(i128::from(stored)));
        }
    }
}

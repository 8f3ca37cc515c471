//! One column of a mapping's rows as JSON values.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray, StringBuilder},
    compute::cast,
    datatypes::{DataType, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Datelike};

use super::{primitive, tree::Target, types};
use crate::{definitions::Primitive, functions::canonical_text};

/// JSON values of a column, null where the element is left out, and the rows that have no valid value.
#[derive(Debug)]
pub(super) struct Column {
    json: StringArray,
    invalid: HashMap<usize, String>,
}

impl Column {
    pub(super) fn json(&self, row: usize) -> Option<&str> {
        if self.json.is_null(row) { None } else { Some(self.json.value(row)) }
    }

    pub(super) fn invalid(&self, row: usize) -> Option<&str> {
        self.invalid.get(&row).map(String::as_str)
    }

    /// # Errors
    /// The reason why no row has a value, where the type does not fit.
    pub(super) fn new(target: Target, values: &ArrayRef) -> Result<Self, String> {
        let element = target.element;
        let Some(kind) = element.type_id.primitive() else { return Err("is not a primitive element".to_owned()) };
        if !types::accepts(kind, values.data_type()) {
            return Err(format!("is a {} and cannot be set from {}", kind.name(), values.data_type()));
        }
        let texts = texts(kind, values).map_err(|error| format!("cannot be written as {}: {error}", kind.name()))?;
        let quoted = !kind.is_number() && kind != Primitive::Boolean;
        let mut json = StringBuilder::with_capacity(texts.len(), texts.value_data().len() + 2 * texts.len());
        let mut invalid = HashMap::new();
        let mut buffer = String::new();
        for (row, text) in texts.iter().enumerate() {
            // an empty text is no value in FHIR
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                json.append_null();
                continue;
            };
            if let Some(reason) = reason(target, kind, text) {
                invalid.insert(row, reason);
                json.append_null();
            } else if quoted {
                buffer.clear();
                quote(text, &mut buffer);
                json.append_value(&buffer);
            } else {
                json.append_value(text);
            }
        }
        Ok(Self { json: json.finish(), invalid })
    }
}

/// Why a text is no value of its element; never the text itself.
fn reason(target: Target, kind: Primitive, text: &str) -> Option<String> {
    if !primitive::is_valid(kind, text) {
        return Some(format!("the value is not a FHIR {}", kind.name()));
    }
    if let Some(codes) = target.element.required_codes
        && !codes.contains(&text)
    {
        let codes = if codes.len() <= 12 { format!(": {}", codes.join(", ")) } else { String::new() };
        return Some(format!("the value is not one of the required codes{codes}"));
    }
    if !target.targets.is_empty()
        && let Some((before, _)) = text.rsplit_once('/')
    {
        let name = before.rsplit('/').next().unwrap_or(before);
        let known = name.parse::<crate::ResourceType>().is_ok();
        if known && !target.targets.contains(&name) && !target.targets.contains(&"Resource") {
            return Some(format!("it may not refer to a {name}, only to {}", target.targets.join(", ")));
        }
    }
    None
}

/// The values as FHIR writes them, before quoting.
fn texts(kind: Primitive, values: &ArrayRef) -> Result<StringArray, String> {
    let as_text = |values: &ArrayRef| -> Result<StringArray, String> {
        let texts = cast(values, &DataType::Utf8).map_err(|error| error.to_string())?;
        Ok(texts.as_string::<i32>().clone())
    };
    match (kind, values.data_type()) {
        (_, DataType::Null) => as_text(values),
        (Primitive::Decimal, DataType::Float32) => Ok(values
            .as_primitive::<Float32Type>()
            .iter()
            .map(|value| value.map(|value| float(value.to_string(), f64::from(value))))
            .collect()),
        (Primitive::Decimal, DataType::Float16 | DataType::Float64) => {
            let values = cast(values, &DataType::Float64).map_err(|error| error.to_string())?;
            let values = values.as_primitive::<Float64Type>();
            Ok(values.iter().map(|value| value.map(|value| float(value.to_string(), value))).collect())
        }
        (Primitive::Date, DataType::Date64 | DataType::Timestamp(..)) => {
            let dates = cast(values, &DataType::Date32).map_err(|error| error.to_string())?;
            as_text(&dates)
        }
        (Primitive::DateTime, DataType::Date64) => {
            let dates = cast(values, &DataType::Date32).map_err(|error| error.to_string())?;
            as_text(&dates)
        }
        (Primitive::DateTime | Primitive::Instant, DataType::Timestamp(..)) => instants(values),
        (Primitive::String | Primitive::Code | Primitive::Id | Primitive::Markdown, data_type)
            if !data_type.is_string() =>
        {
            canonical_text(values).map_err(|error| error.to_string())
        }
        // exact: a decimal's scale is kept as it is
        _ => as_text(values),
    }
}

/// JSON has no infinity and no endless rows of zeros.
fn float(plain: String, value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-7..1e15).contains(&size) { format!("{value:e}") } else { plain }
}

/// Timestamps as instants in UTC; one without a zone is read as UTC.
fn instants(values: &ArrayRef) -> Result<StringArray, String> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let values: ArrayRef = match values.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            // dropping the zone from the type keeps the instant; casting would shift it
            let data = values.to_data().into_builder().data_type(DataType::Timestamp(*unit, None));
            arrow::array::make_array(data.build().map_err(|error| error.to_string())?)
        }
        _ => Arc::clone(values),
    };
    let values = cast(&values, &micros).map_err(|error| error.to_string())?;
    let mut out = StringBuilder::with_capacity(values.len(), values.len() * 20);
    for value in values.as_primitive::<TimestampMicrosecondType>() {
        let Some(value) = value else {
            out.append_null();
            continue;
        };
        match DateTime::from_timestamp_micros(value).filter(|time| (1..=9999).contains(&time.year())) {
            Some(time) => out.append_value(time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string()),
            // refused by the check that follows, without telling the value
            None => out.append_value("beyond the calendar"),
        }
    }
    Ok(out.finish())
}

/// Appends a JSON string.
pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(escape);
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

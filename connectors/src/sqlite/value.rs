//! SQLite values on their way into Arrow columns.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Date32Type},
};
use chrono::{NaiveDate, NaiveDateTime};
use serde_json::Value as Json;
use sqlx::{Row, TypeInfo, ValueRef, sqlite::SqliteRow};

use crate::objects::printable;

/// One value with its storage class.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    pub(super) fn get(row: &SqliteRow, place: usize) -> Result<Self, sqlx::Error> {
        let raw = row.try_get_raw(place)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let class = raw.type_info().name().to_owned();
        Ok(match class.as_str() {
            "INTEGER" | "BOOLEAN" | "INT4" | "INT8" => Value::Integer(row.try_get_unchecked(place)?),
            "REAL" => Value::Real(row.try_get_unchecked(place)?),
            "BLOB" => Value::Blob(row.try_get_unchecked(place)?),
            _ => Value::Text(row.try_get_unchecked(place)?),
        })
    }

    /// The value in a reject's payload and in a cursor.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Integer(number) => Json::from(*number),
            Value::Real(number) => Json::from(*number),
            Value::Text(bytes) => Json::from(printable(bytes)),
            Value::Blob(bytes) => Json::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Integer(_) => "an integer",
            Value::Real(_) => "a real number",
            Value::Text(_) => "text",
            Value::Blob(_) => "a blob",
        }
    }
}

/// One column of a batch.
#[derive(Debug)]
pub(super) enum Builder {
    Integer(Int64Builder),
    Real(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Time(TimestampMicrosecondBuilder),
    Blob(BinaryBuilder),
    Text(StringBuilder),
}

/// A value as its column takes it.
#[derive(Debug)]
pub(super) enum Fitted {
    Null,
    Integer(i64),
    Real(f64),
    Boolean(bool),
    Date(i32),
    Time(i64),
    Blob(Vec<u8>),
    Text(String),
}

impl Builder {
    pub(super) fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Integer(Int64Builder::new()),
            DataType::Float64 => Self::Real(Float64Builder::new()),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Timestamp(..) => Self::Time(TimestampMicrosecondBuilder::new()),
            DataType::Binary => Self::Blob(BinaryBuilder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    /// The value as this column takes it, or why it does not.
    pub(super) fn fit(&self, value: &Value) -> Result<Fitted, String> {
        let misfit = |wanted: &str| Err(format!("holds {}, not {wanted}", value.class()));
        Ok(match (self, value) {
            (_, Value::Null) => Fitted::Null,
            (Self::Integer(_), Value::Integer(number)) => Fitted::Integer(*number),
            (Self::Integer(_), _) => return misfit("an integer"),
            (Self::Real(_), Value::Real(number)) => Fitted::Real(*number),
            (Self::Real(_), Value::Integer(number)) if number.unsigned_abs() <= 1 << 53 => Fitted::Real(*number as f64),
            (Self::Real(_), _) => return misfit("a number that a float holds exactly"),
            (Self::Boolean(_), Value::Integer(number @ (0 | 1))) => Fitted::Boolean(*number == 1),
            (Self::Boolean(_), _) => return misfit("0 or 1"),
            (Self::Date(_), Value::Text(bytes)) => match parse(bytes, |text| {
                (text.len() == 10).then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
            }) {
                Some(date) => Fitted::Date(Date32Type::from_naive_date(date)),
                None => return Err("holds text that is not a date (YYYY-MM-DD)".to_owned()),
            },
            (Self::Date(_), _) => return misfit("a date as text"),
            (Self::Time(_), Value::Text(bytes)) => match parse(bytes, |text| {
                NaiveDateTime::parse_from_str(&text.replace('T', " "), "%Y-%m-%d %H:%M:%S").ok()
            }) {
                Some(time) => Fitted::Time(time.and_utc().timestamp_micros()),
                None => return Err("holds text that is not a time (YYYY-MM-DD HH:MM:SS)".to_owned()),
            },
            (Self::Time(_), _) => return misfit("a time as text"),
            (Self::Blob(_), Value::Blob(bytes)) => Fitted::Blob(bytes.clone()),
            (Self::Blob(_), _) => return misfit("a blob"),
            (Self::Text(_), Value::Text(bytes)) => match String::from_utf8(bytes.clone()) {
                Ok(text) => Fitted::Text(text),
                Err(_) => return Err("holds text that is not valid UTF-8".to_owned()),
            },
            (Self::Text(_), Value::Integer(number)) => Fitted::Text(number.to_string()),
            (Self::Text(_), Value::Real(number)) => Fitted::Text(format!("{number:?}")),
            (Self::Text(_), _) => return misfit("text"),
        })
    }

    pub(super) fn append(&mut self, value: Fitted) -> usize {
        match (self, value) {
            (Self::Integer(builder), Fitted::Integer(number)) => builder.append_value(number),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Real(builder), Fitted::Real(number)) => builder.append_value(number),
            (Self::Real(builder), _) => builder.append_null(),
            (Self::Boolean(builder), Fitted::Boolean(flag)) => builder.append_value(flag),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Date(builder), Fitted::Date(days)) => builder.append_value(days),
            (Self::Date(builder), _) => builder.append_null(),
            (Self::Time(builder), Fitted::Time(micros)) => builder.append_value(micros),
            (Self::Time(builder), _) => builder.append_null(),
            (Self::Blob(builder), Fitted::Blob(bytes)) => {
                builder.append_value(&bytes);
                return bytes.len();
            }
            (Self::Blob(builder), _) => builder.append_null(),
            (Self::Text(builder), Fitted::Text(text)) => {
                builder.append_value(&text);
                return text.len();
            }
            (Self::Text(builder), _) => builder.append_null(),
        }
        8
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Real(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Blob(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
        }
    }
}

fn parse<T>(bytes: &[u8], read: impl Fn(&str) -> Option<T>) -> Option<T> {
    std::str::from_utf8(bytes).ok().and_then(read)
}

//! JSON values and the column types that hold all of them.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder},
    datatypes::DataType,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object, their values untouched.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

/// What a column has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Null,
    Boolean,
    /// Whole numbers; `is_exact` while every one is exact as a float, too.
    Integer {
        is_exact: bool,
    },
    Float,
    Text,
    /// Anything else: lists, objects, or several of the above.
    Mixed,
}

impl Shape {
    pub(crate) fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'n') => Shape::Null,
            Some(b't' | b'f') => Shape::Boolean,
            Some(b'"') => Shape::Text,
            Some(b'{' | b'[') => Shape::Mixed,
            _ => match raw.parse::<i64>() {
                Ok(number) => Shape::Integer { is_exact: number.unsigned_abs() <= 1 << 53 },
                Err(_) if raw.contains(['.', 'e', 'E']) && is_float(raw) => Shape::Float,
                Err(_) => Shape::Mixed,
            },
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, Shape::Null) | (Shape::Null, one) => one,
            (Shape::Integer { is_exact: a }, Shape::Integer { is_exact: b }) => Shape::Integer { is_exact: a && b },
            (Shape::Integer { is_exact: true }, Shape::Float) | (Shape::Float, Shape::Integer { is_exact: true }) => {
                Shape::Float
            }
            (one, two) if one == two => one,
            _ => Shape::Mixed,
        }
    }

    pub(crate) fn data_type(self) -> DataType {
        match self {
            Shape::Boolean => DataType::Boolean,
            Shape::Integer { .. } => DataType::Int64,
            Shape::Float => DataType::Float64,
            Shape::Null | Shape::Text | Shape::Mixed => DataType::Utf8,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Null => "null",
            Shape::Boolean => "boolean",
            Shape::Integer { .. } => "integer",
            Shape::Float => "number",
            Shape::Text => "string",
            Shape::Mixed => "json",
        }
    }

    /// The shape of that name, as a cursor keeps it or a declaration says it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer { is_exact: true },
            "number" => Shape::Float,
            "string" | "text" => Shape::Text,
            "json" => Shape::Mixed,
            _ => return None,
        })
    }
}

/// Whether a float says what the number says: all of its digits, not only the first 15 to 17.
fn is_float(raw: &str) -> bool {
    let Ok(float) = raw.parse::<f64>() else { return false };
    let digits = |text: &str| -> String {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').trim_end_matches('0').to_owned()
    };
    let written = digits(raw);
    // Programs write a float's 17 digits, or the fewest that tell it.
    let is_exact = || written.len() <= 17 && written == digits(&format!("{float:.*e}", written.len() - 1));
    float.is_finite() && (float != 0.0 || written.is_empty()) && (written.len() <= 15 || is_exact())
}

/// One column of a batch.
#[derive(Debug)]
pub(crate) enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
}

/// A value as its column takes it.
#[derive(Debug)]
pub(crate) enum Fitted {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Builder {
    pub(crate) fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int64 => Self::Integer(Int64Builder::new()),
            DataType::Float64 => Self::Float(Float64Builder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    /// The value as this column takes it; the error says what the column wants.
    pub(crate) fn fit(&self, raw: &str) -> Result<Fitted, &'static str> {
        let shape = Shape::of(raw);
        Ok(match (self, shape) {
            (_, Shape::Null) => Fitted::Null,
            (Self::Boolean(_), Shape::Boolean) => Fitted::Boolean(raw == "true"),
            (Self::Boolean(_), _) => return Err("true or false"),
            (Self::Integer(_), Shape::Integer { .. }) => Fitted::Integer(raw.parse().map_err(|_| "a whole number")?),
            (Self::Integer(_), _) => return Err("a whole number"),
            (Self::Float(_), Shape::Float | Shape::Integer { is_exact: true }) => {
                Fitted::Float(raw.parse().map_err(|_| "a number")?)
            }
            (Self::Float(_), _) => return Err("a number that a float holds"),
            (Self::Text(_), Shape::Text) => Fitted::Text(serde_json::from_str(raw).map_err(|_| "text")?),
            (Self::Text(_), _) => Fitted::Text(raw.to_owned()),
        })
    }

    pub(crate) fn append(&mut self, value: Fitted) -> usize {
        match (self, value) {
            (Self::Boolean(builder), Fitted::Boolean(flag)) => builder.append_value(flag),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Integer(builder), Fitted::Integer(number)) => builder.append_value(number),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Float(builder), Fitted::Float(number)) => builder.append_value(number),
            (Self::Float(builder), _) => builder.append_null(),
            (Self::Text(builder), Fitted::Text(text)) => {
                builder.append_value(&text);
                return text.len();
            }
            (Self::Text(builder), _) => builder.append_null(),
        }
        8
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["1", "null", "2"], DataType::Int64)]
    #[case(&["1", "2.5"], DataType::Float64)]
    #[case(&["9007199254740993", "2.5"], DataType::Utf8)]
    #[case(&["99999999999999999999"], DataType::Utf8)]
    #[case(&["0.30000000000000004", "0.10000000000000001", "1e-7", "1.50", "-0.0"], DataType::Float64)]
    #[case(&["0.12345678901234567890", "1"], DataType::Utf8)]
    #[case(&["1e-400"], DataType::Utf8)]
    #[case(&["1e400"], DataType::Utf8)]
    #[case(&["true", "false"], DataType::Boolean)]
    #[case(&["true", "1"], DataType::Utf8)]
    #[case(&["\"a\"", "1"], DataType::Utf8)]
    #[case(&["{}", "[1]"], DataType::Utf8)]
    #[case(&["null"], DataType::Utf8)]
    fn a_column_has_the_narrowest_type_that_loses_nothing(#[case] values: &[&str], #[case] data_type: DataType) {
        let shape = values.iter().map(|value| Shape::of(value)).fold(Shape::Null, Shape::and);
        assert_eq!(shape.data_type(), data_type);
    }
}

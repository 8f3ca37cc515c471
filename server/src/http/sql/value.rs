//! Values of parameters, from JSON.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::scalar::ScalarValue;
use serde_json::Value;

use crate::http::ApiError;

/// `name`: how the statement writes the parameter, for messages.
pub(super) fn scalar(name: &str, value: &Value) -> Result<ScalarValue, ApiError> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(Some(*flag)),
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), _, _) => ScalarValue::Int64(Some(n)),
            (_, Some(n), _) => ScalarValue::UInt64(Some(n)),
            (_, _, Some(n)) => ScalarValue::Float64(Some(n)),
            _ => return Err(ApiError::invalid(format!("parameter {name} is a number that cannot be read"))),
        },
        Value::Object(typed) => {
            let (Some(Value::String(kind)), Some(value), 2) = (typed.get("type"), typed.get("value"), typed.len())
            else {
                return Err(refused(name));
            };
            let kind = data_type(kind).ok_or_else(|| {
                ApiError::invalid(format!(
                    "parameter {name} has the type `{kind}`, which is not one of boolean, tinyint, smallint, int, bigint, \
                     real, double, decimal(p, s), text, date, time, timestamp, timestamptz and binary"
                ))
            })?;
            typed_scalar(name, &kind, value)?
        }
        Value::Array(_) => return Err(refused(name)),
    })
}

fn refused(name: &str) -> ApiError {
    ApiError::invalid(format!(
        "parameter {name} is a list or an object: send null, true, false, a number, a text, or \
         {{\"type\": ..., \"value\": ...}} with one of them"
    ))
}

fn typed_scalar(name: &str, kind: &DataType, value: &Value) -> Result<ScalarValue, ApiError> {
    let unfit = || ApiError::invalid(format!("the value of parameter {name} is not a {kind}"));
    let text = match value {
        Value::Null => return ScalarValue::try_from(kind).map_err(|_| unfit()),
        // Exactly as it was written: a long decimal is not a float on its way.
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => return Err(refused(name)),
    };
    if *kind == DataType::Binary {
        return hex::decode(text).map(|bytes| ScalarValue::Binary(Some(bytes))).map_err(|_| unfit());
    }
    let cast = ScalarValue::Utf8(Some(text)).cast_to(kind).map_err(|_| unfit())?;
    if cast.is_null() { Err(unfit()) } else { Ok(cast) }
}

/// A type by its name in SQL.
fn data_type(name: &str) -> Option<DataType> {
    let name = name.trim().to_ascii_lowercase();
    let (word, arguments) = match name.split_once('(') {
        Some((word, rest)) => (word.trim(), Some(rest.strip_suffix(')')?)),
        None => (name.as_str(), None),
    };
    let plain = match word {
        "decimal" | "numeric" => {
            let (precision, scale) = arguments.unwrap_or("38, 10").split_once(',').unwrap_or((arguments?, "0"));
            let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            let fits = (1..=38).contains(&precision) && (0..=38).contains(&scale) && scale.unsigned_abs() <= precision;
            return fits.then_some(DataType::Decimal128(precision, scale));
        }
        "boolean" | "bool" => DataType::Boolean,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "int" | "integer" => DataType::Int32,
        "bigint" | "long" => DataType::Int64,
        "real" | "float" => DataType::Float32,
        "double" | "double precision" => DataType::Float64,
        "text" | "varchar" | "string" | "char" => return Some(DataType::Utf8),
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" | "timestamp with time zone" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "binary" | "varbinary" | "bytea" => DataType::Binary,
        _ => return None,
    };
    arguments.is_none().then_some(plain)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!(null), ScalarValue::Null)]
    #[case(json!(true), ScalarValue::Boolean(Some(true)))]
    #[case(json!(-7), ScalarValue::Int64(Some(-7)))]
    #[case(json!(u64::MAX), ScalarValue::UInt64(Some(u64::MAX)))]
    #[case(json!(0.5), ScalarValue::Float64(Some(0.5)))]
    #[case(json!("1950-01-01"), ScalarValue::Utf8(Some("1950-01-01".to_owned())))]
    #[case(json!({"type": "date", "value": "1970-01-02"}), ScalarValue::Date32(Some(1)))]
    #[case(json!({"type": "INTEGER", "value": 7}), ScalarValue::Int32(Some(7)))]
    #[case(json!({"type": "decimal(10, 2)", "value": "12.34"}), ScalarValue::Decimal128(Some(1234), 10, 2))]
    #[case(json!({"type": "binary", "value": "00ff"}), ScalarValue::Binary(Some(vec![0, 255])))]
    #[case(json!({"type": "text", "value": "7"}), ScalarValue::Utf8(Some("7".to_owned())))]
    #[case(json!({"type": "date", "value": null}), ScalarValue::Date32(None))]
    fn each_json_value_has_its_type(#[case] value: Value, #[case] expected: ScalarValue) {
        assert_eq!(scalar("$1", &value).unwrap(), expected);
    }

    #[rstest]
    #[case(json!([1]))]
    #[case(json!({"a": 1}))]
    #[case(json!({"type": "date", "value": "31/01/1950"}))]
    #[case(json!({"type": "date", "value": [1]}))]
    #[case(json!({"type": "colour", "value": "red"}))]
    #[case(json!({"type": "decimal(99, 2)", "value": 1}))]
    #[case(json!({"type": "int", "value": "3000000000"}))]
    fn what_is_no_value_is_refused_by_its_name_and_not_repeated(#[case] value: Value) {
        let error = scalar(":born", &value).unwrap_err();
        assert!(error.message.contains(":born") && !error.message.contains("1950"), "{error}");
    }
}

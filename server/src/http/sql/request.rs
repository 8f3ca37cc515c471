use datafusion::scalar::ScalarValue;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::ApiError;

/// A statement with the values of its parameters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Statement {
    /// One statement that reads.
    #[schema(example = "SELECT gender, count(*) AS patients FROM patient WHERE birthdate < $1 GROUP BY gender")]
    pub(super) sql: String,
    /// Values of `$1`, `$2`, ... (or `?`), in order: null, true or false, numbers, texts. Texts become dates and times
    /// where the statement compares them with one.
    #[serde(default)]
    #[schema(value_type = Vec<Object>, example = json!(["1950-01-01"]))]
    params: Vec<Value>,
}

impl Statement {
    pub(super) fn values(&self) -> Result<Vec<ScalarValue>, ApiError> {
        (1..).zip(&self.params).map(|(number, value)| scalar(number, value)).collect()
    }
}

fn scalar(number: usize, value: &Value) -> Result<ScalarValue, ApiError> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(Some(*flag)),
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), _, _) => ScalarValue::Int64(Some(n)),
            (_, Some(n), _) => ScalarValue::UInt64(Some(n)),
            (_, _, Some(n)) => ScalarValue::Float64(Some(n)),
            _ => return Err(ApiError::invalid(format!("parameter ${number} is a number that cannot be read"))),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(ApiError::invalid(format!(
                "parameter ${number} is a list or an object: send null, true, false, a number or a text"
            )));
        }
    })
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
    fn each_json_value_has_its_type(#[case] value: Value, #[case] expected: ScalarValue) {
        assert_eq!(scalar(1, &value).unwrap(), expected);
    }

    #[test]
    fn a_nested_value_is_refused_by_its_number() {
        let error = scalar(3, &json!([1])).unwrap_err();
        assert!(error.message.contains("$3"), "{error}");
    }
}

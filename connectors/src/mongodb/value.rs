//! BSON as text that loses nothing: cells of columns, and whole documents as Extended JSON (version 2, relaxed).
//!
//! A 128-bit decimal keeps its digits, a date its millisecond, a number beyond 2^53 every digit. Which of BSON's two integer
//! types a number had is not kept.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use mongodb::bson::{Bson, Decimal128, Document, oid::ObjectId};
use serde_json::{Map, Value, json};

/// A document as Extended JSON.
pub(super) fn document(document: &Document) -> String {
    members(document).to_string()
}

fn members(document: &Document) -> Value {
    Value::Object(document.iter().map(|(name, value)| (name.clone(), extended(value))).collect::<Map<_, _>>())
}

/// A value as Extended JSON.
pub(super) fn extended(value: &Bson) -> Value {
    match value {
        Bson::Double(number) if number.is_finite() => json!(number),
        Bson::Double(number) => json!({ "$numberDouble": name_of(*number) }),
        Bson::String(text) => json!(text),
        Bson::Array(items) => Value::Array(items.iter().map(extended).collect()),
        Bson::Document(document) => members(document),
        Bson::Boolean(flag) => json!(flag),
        Bson::Null => Value::Null,
        Bson::RegularExpression(regex) => {
            json!({ "$regularExpression": { "pattern": regex.pattern.to_string(), "options": regex.options.to_string() } })
        }
        Bson::JavaScriptCode(code) => json!({ "$code": code }),
        Bson::JavaScriptCodeWithScope(code) => json!({ "$code": code.code, "$scope": members(&code.scope) }),
        Bson::Int32(number) => json!(number),
        Bson::Int64(number) => json!(number),
        Bson::Timestamp(stamp) => json!({ "$timestamp": { "t": stamp.time, "i": stamp.increment } }),
        Bson::Binary(binary) => {
            let subtype = format!("{:02x}", u8::from(binary.subtype));
            json!({ "$binary": { "base64": STANDARD.encode(&binary.bytes), "subType": subtype } })
        }
        Bson::ObjectId(id) => json!({ "$oid": id.to_hex() }),
        Bson::DateTime(time) => match written(time.timestamp_millis()) {
            Some(text) => json!({ "$date": text }),
            None => json!({ "$date": { "$numberLong": time.timestamp_millis().to_string() } }),
        },
        Bson::Symbol(text) => json!({ "$symbol": text }),
        Bson::Decimal128(number) => json!({ "$numberDecimal": number.to_string() }),
        Bson::Undefined => json!({ "$undefined": true }),
        Bson::MaxKey => json!({ "$maxKey": 1 }),
        Bson::MinKey => json!({ "$minKey": 1 }),
        other => json!({ "$unknown": format!("{:?}", other.element_type()) }),
    }
}

/// A value as the cell of a column: the JSON that a column's type is told by.
pub(super) fn cell(value: &Bson) -> Value {
    match value {
        Bson::Undefined => Value::Null,
        Bson::Double(number) if !number.is_finite() => json!(name_of(*number)),
        Bson::ObjectId(id) => json!(id.to_hex()),
        Bson::Decimal128(number) => json!(number.to_string()),
        Bson::Symbol(text) => json!(text),
        Bson::DateTime(time) => match written(time.timestamp_millis()) {
            Some(text) => json!(text),
            None => json!(time.timestamp_millis().to_string()),
        },
        other => extended(other),
    }
}

/// The word that MongoDB has for the type.
pub(super) fn type_name(value: &Bson) -> &'static str {
    match value {
        Bson::Double(_) => "double",
        Bson::String(_) => "string",
        Bson::Array(_) => "array",
        Bson::Document(_) => "object",
        Bson::Boolean(_) => "bool",
        Bson::Null | Bson::Undefined => "null",
        Bson::Int32(_) => "int",
        Bson::Int64(_) => "long",
        Bson::ObjectId(_) => "objectId",
        Bson::DateTime(_) => "date",
        Bson::Decimal128(_) => "decimal",
        Bson::Binary(_) => "binData",
        Bson::Timestamp(_) => "timestamp",
        Bson::RegularExpression(_) => "regex",
        _ => "other",
    }
}

/// A value that a cursor kept as Extended JSON; `None` for what no cursor keeps.
pub(super) fn parse(value: &Value) -> Option<Bson> {
    match value {
        Value::String(text) => Some(Bson::String(text.clone())),
        Value::Number(number) => number.as_i64().map(Bson::Int64).or_else(|| number.as_f64().map(Bson::Double)),
        Value::Object(members) => match members.iter().next()? {
            (name, Value::String(text)) if name == "$oid" => ObjectId::parse_str(text).ok().map(Bson::ObjectId),
            (name, Value::String(text)) if name == "$numberDecimal" => {
                text.parse::<Decimal128>().ok().map(Bson::Decimal128)
            }
            (name, Value::String(text)) if name == "$date" => {
                let time = DateTime::parse_from_rfc3339(text).ok()?;
                Some(Bson::DateTime(mongodb::bson::DateTime::from_millis(time.timestamp_millis())))
            }
            (name, Value::Object(inner)) if name == "$date" => {
                let millis = inner.get("$numberLong")?.as_str()?.parse().ok()?;
                Some(Bson::DateTime(mongodb::bson::DateTime::from_millis(millis)))
            }
            (name, Value::Object(inner)) if name == "$timestamp" => {
                let part = |name: &str| u32::try_from(inner.get(name)?.as_u64()?).ok();
                let (time, increment) = (part("t")?, part("i")?);
                Some(Bson::Timestamp(mongodb::bson::Timestamp { time, increment }))
            }
            _ => None,
        },
        _ => None,
    }
}

/// A date as ISO 8601 has it, of the years that it has.
fn written(millis: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(millis)?;
    let year = chrono::Datelike::year(&time);
    (1..=9999).contains(&year).then(|| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn name_of(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;
    use rstest::rstest;

    #[test]
    fn a_document_keeps_what_its_values_are() {
        let id = ObjectId::parse_str("65a000000000000000000001").unwrap();
        let decimal: Decimal128 = "1.10".parse().unwrap();
        let made = doc! {
            "_id": id, "n": 9_007_199_254_740_993_i64, "x": 1.0, "d": decimal, "nan": f64::NAN,
            "at": mongodb::bson::DateTime::from_millis(-1), "long_ago": mongodb::bson::DateTime::from_millis(i64::MIN),
            "list": [1, { "a": Bson::Null }],
        };
        assert_eq!(
            document(&made),
            concat!(
                r#"{"_id":{"$oid":"65a000000000000000000001"},"n":9007199254740993,"x":1.0,"d":{"$numberDecimal":"1.10"},"#,
                r#""nan":{"$numberDouble":"NaN"},"at":{"$date":"1969-12-31T23:59:59.999Z"},"#,
                r#""long_ago":{"$date":{"$numberLong":"-9223372036854775808"}},"list":[1,{"a":null}]}"#
            )
        );
        assert_eq!(cell(&made["d"]), "1.10");
        assert_eq!(cell(&made["_id"]), "65a000000000000000000001");
    }

    #[rstest]
    #[case(Bson::Int64(7))]
    #[case(Bson::String("a".to_owned()))]
    #[case(Bson::DateTime(mongodb::bson::DateTime::from_millis(1_700_000_000_001)))]
    #[case(Bson::DateTime(mongodb::bson::DateTime::from_millis(i64::MAX)))]
    #[case(Bson::ObjectId(ObjectId::parse_str("65a000000000000000000001").unwrap()))]
    #[case(Bson::Decimal128("1.10".parse().unwrap()))]
    fn a_cursor_value_comes_back_as_it_was(#[case] value: Bson) {
        assert_eq!(parse(&extended(&value)), Some(value));
    }
}

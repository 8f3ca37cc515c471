//! Session options (`Flight.proto`). No session is kept: the defaults of a query's names are fixed, and a client that sets
//! one to what it is already gets its way; whatever else it sets is answered as an error for that option.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tonic::Status;

pub(super) const SET: &str = "SetSessionOptions";
pub(super) const GET: &str = "GetSessionOptions";
pub(super) const CLOSE: &str = "CloseSession";

/// Options with their only value.
const OPTIONS: [(&str, &str); 2] = [("catalog", "fhir"), ("schema", "r4")];

/// `SetSessionOptionsResult.ErrorValue`.
const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;
/// `CloseSessionResult.Status`.
const CLOSED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(sfixed64, tag = "3")]
    Integer(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Texts(Texts),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

/// `SetSessionOptionsRequest` and `GetSessionOptionsResult` have one shape.
#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SetResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, SetError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct SetError {
    #[prost(int32, tag = "1")]
    value: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct CloseResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) fn set(body: &Bytes) -> Result<Bytes, Status> {
    let asked =
        Options::decode(body.clone()).map_err(|_| Status::invalid_argument("the session options cannot be read"))?;
    let mut errors = HashMap::new();
    for (name, value) in asked.options {
        let known = OPTIONS.iter().find(|(option, _)| *option == name);
        let value = match (known, value.value) {
            // Unset: back to the default.
            (Some(_), None) => continue,
            (Some((_, only)), Some(Value::Text(text))) if text == *only => continue,
            (Some(_), Some(_)) => INVALID_VALUE,
            (None, _) => INVALID_NAME,
        };
        errors.insert(name, SetError { value });
    }
    Ok(SetResult { errors }.encode_to_vec().into())
}

pub(super) fn get() -> Bytes {
    let options =
        OPTIONS.map(|(name, value)| (name.to_owned(), OptionValue { value: Some(Value::Text(value.to_owned())) }));
    Options { options: options.into() }.encode_to_vec().into()
}

pub(super) fn close() -> Bytes {
    CloseResult { status: CLOSED }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_case_can_be_set() {
        let option = |text: &str| OptionValue { value: Some(Value::Text(text.to_owned())) };
        let asked = Options {
            options: HashMap::from([
                ("catalog".to_owned(), option("raw")),
                ("schema".to_owned(), option("r4")),
                ("colour".to_owned(), option("red")),
            ]),
        };
        let answer = SetResult::decode(set(&asked.encode_to_vec().into()).unwrap()).unwrap();
        let errors: HashMap<_, _> = answer.errors.into_iter().map(|(name, error)| (name, error.value)).collect();
        assert_eq!(errors, HashMap::from([("catalog".to_owned(), INVALID_VALUE), ("colour".to_owned(), INVALID_NAME)]));
        assert!(set(&Bytes::from_static(b"\xff")).is_err());
        assert_eq!(Options::decode(get()).unwrap().options.len(), 2);
    }
}

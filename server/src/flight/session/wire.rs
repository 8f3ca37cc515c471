//! The messages of session options, which arrow-flight does not have.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;
use tonic::Status;

/// Why an option was not set (`SetSessionOptionsResult.ErrorValue`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Name = 1,
    Value = 2,
}

/// `CloseSessionResult.Status`.
const CLOSED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
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

impl Value {
    /// A whole number, also one that came as text.
    pub(super) fn number(&self) -> Option<u32> {
        match self {
            Self::Integer(number) => u32::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Texts {
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

/// Options by name; one without a value is to be unset.
pub(super) fn read_options(body: &Bytes) -> Result<BTreeMap<String, Option<Value>>, Status> {
    let asked =
        Options::decode(body.clone()).map_err(|_| Status::invalid_argument("the session options cannot be read"))?;
    Ok(asked.options.into_iter().map(|(name, option)| (name, option.value)).collect())
}

pub(super) fn write_options(options: BTreeMap<String, Value>) -> Bytes {
    let options = options.into_iter().map(|(name, value)| (name, OptionValue { value: Some(value) }));
    Options { options: options.collect() }.encode_to_vec().into()
}

pub(super) fn write_errors(errors: BTreeMap<String, Refused>) -> Bytes {
    let errors = errors.into_iter().map(|(name, refused)| (name, SetError { value: refused as i32 }));
    SetResult { errors: errors.collect() }.encode_to_vec().into()
}

pub(super) fn write_closed() -> Bytes {
    CloseResult { status: CLOSED }.encode_to_vec().into()
}

//! The versions of a write, as the intent keeps them and as the tables take them.

use std::collections::BTreeMap;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use mavis_fhir::{
    ResourceType, json,
    shape::{self, Meta},
};
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    fhir_zone::versions::{Version, Versions},
};

/// A version that will be written: everything about it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) version: i64,
    /// Microseconds of the Unix epoch.
    pub(crate) at: i64,
    pub(crate) source: String,
    pub(crate) made_by: String,
    /// `None`: with this version the resource is deleted.
    pub(crate) text: Option<String>,
}

/// Versions by type.
pub(crate) type Items = BTreeMap<String, Vec<Item>>;

/// As the intent's payload.
pub(crate) fn pack(items: &Items) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_vec(items).map_err(|error| Failure::permanent(error.to_string()))?;
    Ok(zstd::encode_all(text.as_slice(), 1)?)
}

/// Back from an intent's payload.
pub(crate) fn unpack(payload: &[u8]) -> Result<Items, Failure> {
    let text = zstd::decode_all(payload)?;
    serde_json::from_slice(&text).map_err(|_| Failure::permanent("a recorded write cannot be read"))
}

/// The rows of one type's tables.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) history: Option<RecordBatch>,
    pub(crate) current: Option<RecordBatch>,
    pub(crate) gone: Vec<String>,
}

/// Turns versions into rows. `columns`: those of the current table.
pub(crate) fn rows(resource: ResourceType, items: &[Item], run: &str, columns: SchemaRef) -> Result<Rows, Failure> {
    let mut history = Versions::new();
    let mut current = shape::Encoder::new(resource, Some(columns));
    let mut gone = Vec::new();
    for item in items {
        let last_updated = DateTime::<Utc>::from_timestamp_micros(item.at).unwrap_or_default();
        let mut hash = [0; 16];
        match &item.text {
            Some(text) => {
                let value = json::parse(text.as_bytes()).map_err(|error| Failure::permanent(error.to_string()))?;
                hash = shape::content_hash(&value);
                let (id, version, source) = (item.id.as_str(), item.version, item.source.as_str());
                current.push(&value, text, &Meta { id, version, last_updated, source, run, hash });
            }
            None => gone.push(item.id.clone()),
        }
        history.push(&Version {
            id: &item.id,
            version: item.version,
            last_updated,
            hash,
            source: &item.source,
            run,
            made_by: &item.made_by,
            text: item.text.as_deref(),
        });
    }
    let current = if current.is_empty() { None } else { Some(current.finish()?) };
    Ok(Rows { history: history.finish()?, current, gone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let item = |text: Option<&str>| Item {
            id: "a".into(),
            version: 3,
            at: 17,
            source: "s".into(),
            made_by: "m".into(),
            text: text.map(str::to_owned),
        };
        let items = Items::from([("Patient".to_owned(), vec![item(Some("{\"n\":1.10}")), item(None)])]);
        assert_eq!(unpack(&pack(&items).unwrap()).unwrap(), items);
        assert!(unpack(b"something else").is_err());
    }
}

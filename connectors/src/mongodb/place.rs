//! How far a collection is.

use mavis_types::Cursor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::Column;
use crate::{Error, json::Shape};

/// Documents that share the last value and are remembered; where more do, they are read again.
const REMEMBERED: usize = 10_000;

/// What a cursor of this connector holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// The last value of the cursor column, as Extended JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<Value>,
    /// Hashes of the documents of that value that were read.
    #[serde(default)]
    read: Vec<String>,
    #[serde(default)]
    too_many: bool,
    /// Where the change stream goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<Value>,
    /// Names, types and MongoDB's words for them.
    columns: Vec<(String, String, String)>,
}

impl Place {
    pub(super) fn from_cursor(cursor: Option<&Cursor>, table: &str) -> Result<Option<Self>, Error> {
        cursor
            .map(|cursor| {
                serde_json::from_value(cursor.0.clone()).map_err(|_| Error::Malformed {
                    place: format!("`{table}`"),
                    reason: "its cursor is not one of this connector; ingest the table in full".to_owned(),
                })
            })
            .transpose()
    }

    pub(super) fn to_cursor(&self) -> Result<Cursor, Error> {
        serde_json::to_value(self)
            .map(Cursor)
            .map_err(|error| Error::Malformed { place: "cursor".to_owned(), reason: error.to_string() })
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        self.columns
            .iter()
            .map(|(name, shape, bson_type)| Column {
                name: name.clone(),
                shape: Shape::named(shape).unwrap_or(Shape::Mixed),
                bson_type: bson_type.clone(),
            })
            .collect()
    }

    pub(super) fn set_columns(&mut self, columns: &[Column]) {
        self.columns = columns
            .iter()
            .map(|column| (column.name.clone(), column.shape.name().to_owned(), column.bson_type.clone()))
            .collect();
    }

    /// Takes note of a document that was read; they come in the order of the value.
    pub(super) fn pass(&mut self, value: Value, hash: u128) {
        if self.last.as_ref() != Some(&value) {
            (self.last, self.too_many) = (Some(value), false);
            self.read.clear();
        }
        if self.read.len() < REMEMBERED && !self.too_many {
            self.read.push(format!("{hash:032x}"));
        } else {
            self.too_many = true;
            self.read.clear();
        }
    }

    /// Whether a document of the last value was read.
    pub(super) fn has(&self, hash: u128) -> bool {
        self.read.contains(&format!("{hash:032x}"))
    }
}

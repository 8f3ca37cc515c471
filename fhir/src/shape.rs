//! Resources to Arrow columns.
//!
//! The columns of a current table: `id`, then the flat columns of Mavis (`__version` i64, `__last_updated` timestamp in
//! microseconds UTC, `__hash` binary of 16 bytes, `__source` text, `__run` text, `__patient` text: the id of the patient
//! whose compartment it is in, where it is one), then the populated elements by the definitions, then `resource`: the JSON
//! as received. Types come from the definitions, never from inference.

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use chrono::{DateTime, Utc};

use crate::{ResourceType, json::Value};

/// What Mavis knows of a resource beside its content.
#[derive(Debug, Clone)]
pub struct Meta<'a> {
    pub id: &'a str,
    pub version: i64,
    pub last_updated: DateTime<Utc>,
    pub source: &'a str,
    pub run: &'a str,
    /// [`content_hash`] of the resource.
    pub hash: [u8; 16],
}

/// 128-bit hash of a resource's content: independent of member order and of `meta.versionId` and `meta.lastUpdated`, so
/// that identical content makes no new version.
#[must_use]
pub fn content_hash(resource: &Value<'_>) -> [u8; 16] {
    let _ = resource;
    todo!()
}

/// Gathers resources of one type into a batch of the current table.
#[derive(Debug)]
pub struct Encoder {}

impl Encoder {
    /// `known`: the table's schema so far; its columns are always made, so that batches of one table agree.
    #[must_use]
    pub fn new(resource: ResourceType, known: Option<SchemaRef>) -> Self {
        let _ = (resource, known);
        todo!()
    }

    /// Adds a resource; `text` is its JSON as it shall be read back.
    pub fn push(&mut self, resource: &Value<'_>, text: &str, meta: &Meta<'_>) {
        let _ = (resource, text, meta);
    }

    /// Resources gathered.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch: known columns and those that these resources populate.
    ///
    /// # Errors
    /// When arrow refuses (out of memory, offsets beyond 2 GiB).
    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        todo!()
    }
}

/// The least schema of a type's current table: `id`, the flat columns, `resource`.
#[must_use]
pub fn base_schema(resource: ResourceType) -> SchemaRef {
    let _ = resource;
    todo!()
}

/// The schema of every history table: `id`, `__version`, `__last_updated`, `__deleted`, `__hash`, `__source`, `__run`,
/// `resource` (null in a tombstone).
#[must_use]
pub fn history_schema() -> SchemaRef {
    todo!()
}

/// The union of two schemas of one type's table: nested, by name, the first one's order first.
#[must_use]
pub fn union(known: &SchemaRef, more: &SchemaRef) -> SchemaRef {
    let _ = (known, more);
    todo!()
}

/// The JSON that a door answers with: the stored text with `id`, `meta.versionId` and `meta.lastUpdated` set, everything
/// else byte for byte as it was.
#[must_use]
pub fn with_meta(text: &str, id: &str, version: i64, last_updated: DateTime<Utc>) -> String {
    let _ = (text, id, version, last_updated);
    todo!()
}

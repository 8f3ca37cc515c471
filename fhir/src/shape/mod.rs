//! Resources to Arrow columns.
//!
//! The columns of a current table: `id`, then the flat columns of Mavis (`__version` i64, `__last_updated` timestamp in
//! microseconds UTC, `__hash` binary of 16 bytes, `__source` text, `__run` text, `__patient` text: the id of the patient
//! whose compartment it is in, where it is one), then the populated elements by the definitions, then `resource`: the JSON
//! as received. Types come from the definitions, never from inference; every column may be null.
//!
//! An element becomes a column under its own name, in the order of the definitions, choices flattened (`valueQuantity`):
//!
//! - boolean: Boolean; integer, positiveInt, unsignedInt: Int32; other primitives: Utf8;
//! - decimal: Float64, and the text as written in `<name>__text`, since a float cannot tell `1.10` from `1.1`;
//! - date, dateTime, instant: the text as written, and `<name>__start`, `<name>__end`: timestamps in microseconds UTC of the
//!   half-open period `[start, end)` that the written precision covers ([`crate::temporal`]);
//! - complex types and backbone elements: structs; repeating elements: lists, whose items are named `element`. The
//!   companions of a repeating primitive are lists parallel to it;
//! - Reference: a struct with `__type` and `__id` after `reference`, split from a relative reference `Type/id`, null for any
//!   other.
//!
//! Extensions are columns like any other element, of those types of value that are populated. Only in `resource`: primitive
//! extensions (`_birthDate`), contained and any other resources within,
//! narratives, unknown elements, the element `resource` of CompartmentDefinition (its name is taken), and what lies deeper than [`MAX_DEPTH`] names (recursive types have no end).

mod column;
mod compartment;
mod encoder;
mod hash;
mod node;
mod schema;
mod splice;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

pub(crate) use self::compartment::tells_patient;
pub use self::{
    compartment::{patient_elements, patient_of, patients_of},
    encoder::Encoder,
    hash::content_hash,
    schema::{base_schema, history_schema, union},
    splice::with_meta,
};

/// How many element names a column's path has at most: `item.item.item...` ends somewhere.
pub const MAX_DEPTH: usize = 16;

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

//! FHIR R4 (4.0.1) knowledge, pure: no I/O, no async, nothing that waits.
//!
//! - [`definitions`]: the resource types, elements and search parameters, derived from the official files;
//! - [`json`]: JSON with numbers kept as written;
//! - [`temporal`]: dates and times, partial ones too, as periods;
//! - [`shape`]: resources to Arrow columns and the exact text back;
//! - [`validate`]: structure, cardinality, types, required codes;
//! - [`bundle`]: Bundles taken apart, references resolved;
//! - [`path`]: FHIRPath expressions compiled onto columns;
//! - [`search`]: search requests compiled to DataFusion expressions;
//! - [`view`]: SQL on FHIR's ViewDefinitions compiled and evaluated over columns;
//! - [`mapping`]: the pivot schema: FHIR elements as SQL expressions over processed tables;
//! - [`terminology`]: code systems, value sets and concept maps;
//! - [`functions`]: SQL functions that mappings, search and queries share.
//!
//! It may use arrow and datafusion's expression crates; it never reads a table or a file.

pub mod bundle;
pub mod definitions;
pub mod functions;
pub mod json;
pub mod mapping;
pub mod path;
pub mod search;
pub mod shape;
pub mod smart;
pub mod temporal;
pub mod terminology;
pub mod validate;
pub mod view;

mod id;

pub use definitions::ResourceType;
pub use id::resource_id;

//! SQL functions that mappings, search and queries share.

use std::{collections::HashMap, sync::Arc};

use datafusion::logical_expr::ScalarUDF;
use mavis_types::SourceId;

/// Code maps by name: source code to target.
pub type CodeMaps = HashMap<String, HashMap<String, Code>>;

/// What a source's code means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    pub code: String,
    pub system: Option<String>,
    pub display: Option<String>,
}

/// Functions of a mapping's session: `code_map(name, code)`, `reference(type, key...)` (a `Type/id` text with the id that
/// [`crate::resource_id`] makes for this source) and what [`shared`] has. A code that is not in its map is null, and the
/// row is reported.
#[must_use]
pub fn for_mapping(source: SourceId, maps: Arc<CodeMaps>) -> Vec<ScalarUDF> {
    let _ = (source, maps);
    todo!()
}

/// Functions that every session has.
#[must_use]
pub fn shared() -> Vec<ScalarUDF> {
    Vec::new()
}

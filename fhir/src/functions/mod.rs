//! SQL functions that mappings, search and queries share.
//!
//! | function | in | gives |
//! |---|---|---|
//! | `code_map(map, code)` | mappings | the target code; null for a code that the map does not have |
//! | `code_system(map, code)`, `code_display(map, code)` | mappings | system and display of the target |
//! | `reference(type, key...)` | mappings | `Type/id` of the resource that this source's row of that key becomes |
//! | `fhir_id(type, key...)` | mappings | that id alone |
//! | `fhir_date(value)` | everywhere | a FHIR date from ISO, French or compact text, a date or a timestamp |
//! | `fhir_fold(text)` | everywhere | lower case without accents: what string searches compare |
//!
//! All work on whole columns. A null argument gives null.

mod canonical;
mod code_map;
mod date;
mod fold;
mod reference;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::logical_expr::ScalarUDF;
use mavis_types::SourceId;

pub use canonical::{CanonicalError, canonical_text};
pub use date::fhir_date;
pub use fold::fold;

/// Code maps by name: source code to target.
pub type CodeMaps = HashMap<String, HashMap<String, Code>>;

/// What a source's code means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    pub code: String,
    pub system: Option<String>,
    pub display: Option<String>,
}

/// How many codes of a run were not in their map, by map. The codes themselves are not kept: they are patient data.
#[derive(Debug, Default)]
pub struct UnknownCodes(Mutex<BTreeMap<String, u64>>);

impl UnknownCodes {
    fn add(&self, map: &str, count: u64) {
        if count > 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(map.to_owned()).or_default() += count;
        }
    }

    /// The counts so far, by map name; maps that knew every code are not listed.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Functions of a mapping's session: `code_map(name, code)`, `reference(type, key...)` (a `Type/id` text with the id that
/// [`crate::resource_id`] makes for this source) and what [`shared`] has. A code that is not in its map is null.
///
/// A map or a resource type that does not exist is refused when the statement is planned, naming those there are.
#[must_use]
pub fn for_mapping(source: SourceId, maps: Arc<CodeMaps>) -> Vec<ScalarUDF> {
    for_mapping_counted(source, maps, Arc::new(UnknownCodes::default()))
}

/// As [`for_mapping`]; codes that are not in their map are counted in `unknown`.
#[must_use]
pub fn for_mapping_counted(source: SourceId, maps: Arc<CodeMaps>, unknown: Arc<UnknownCodes>) -> Vec<ScalarUDF> {
    let mut functions = shared();
    functions.extend(code_map::functions(&maps, &unknown));
    functions.extend(reference::functions(source));
    functions
}

/// Functions that every session has.
#[must_use]
pub fn shared() -> Vec<ScalarUDF> {
    vec![date::function(), fold::function()]
}

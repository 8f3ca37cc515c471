use mavis_types::SourceName;
use serde::{Deserialize, Serialize};

/// A source as it is declared, in a request or in `data_sources.json`; never with a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    pub name: SourceName,
    pub kind: String,
    /// The kind's own parameters; checked by the kind against its declared type.
    pub params: serde_json::Value,
    #[serde(default)]
    pub authoritative: bool,
}

impl SourceSpec {
    /// Reads `data_sources.json` as the replaced system wrote it: a list of
    /// `{"name", "type", "ssh": {...}, "db": {"host", "port", "user", "database"}, "tables_to_include": [...]}`.
    ///
    /// # Errors
    /// Which entry is wrong, and why, for each wrong one.
    pub fn from_data_sources(json: &str) -> Result<Vec<SourceSpec>, crate::Error> {
        let _ = json;
        todo!()
    }
}

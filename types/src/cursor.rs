use serde::{Deserialize, Serialize};

/// How far a source table has been read. Only the connector that made it knows what is inside; everyone else stores it.
///
/// A cursor names a place *between* records: reading from it yields exactly the records that were not read before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub serde_json::Value);

impl Cursor {
    /// The cursor as the text that the catalog stores.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// # Errors
    /// When the text is not JSON.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }
}

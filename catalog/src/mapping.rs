use chrono::{DateTime, Utc};
use mavis_types::SourceId;

use crate::{Catalog, Error};

/// A stored mapping; the text is the truth, the other fields are read out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingRow {
    /// Unique name, such as `mavis_test.hms_patient`.
    pub name: String,
    /// Grows by one each time the text changes.
    pub version: u32,
    pub resource: String,
    /// The source whose processed tables it reads, where it is one source's.
    pub source: Option<SourceId>,
    /// The mapping in TOML.
    pub text: String,
    pub applied_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub struct NewMapping {
    pub name: String,
    pub resource: String,
    pub source: Option<SourceId>,
    pub text: String,
}

/// One line of a code map: a source's code and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeMapRow {
    pub source_code: String,
    pub target_code: String,
    pub target_system: Option<String>,
    pub target_display: Option<String>,
}

impl Catalog {
    /// Inserts the mapping, or stores a new version where the text differs; the same text changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn apply_mapping(&self, new: NewMapping) -> Result<MappingRow, Error> {
        let _ = new;
        todo!()
    }

    /// Newest version of each, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn mappings(&self) -> Result<Vec<MappingRow>, Error> {
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn mapping(&self, name: &str) -> Result<MappingRow, Error> {
        let _ = name;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_mapping(&self, name: &str) -> Result<(), Error> {
        let _ = name;
        todo!()
    }

    /// Replaces a code map.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_code_map(&self, name: &str, rows: &[CodeMapRow]) -> Result<(), Error> {
        let _ = (name, rows);
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn code_map(&self, name: &str) -> Result<Vec<CodeMapRow>, Error> {
        let _ = name;
        todo!()
    }

    /// Names of the code maps there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn code_maps(&self) -> Result<Vec<String>, Error> {
        todo!()
    }
}

use chrono::{DateTime, Utc};
use mavis_types::{SourceId, SourceName};

use crate::{Catalog, Error};

/// A registered source.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub id: SourceId,
    pub name: SourceName,
    /// The connector's kind, such as `postgres` or `files`.
    pub kind: String,
    /// The connector's declared parameters, without secrets.
    pub params: serde_json::Value,
    /// Whether resource ids of this source are kept as they are (see the plan's "FHIR consistency").
    pub authoritative: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub struct NewSource {
    pub name: SourceName,
    pub kind: String,
    pub params: serde_json::Value,
    pub authoritative: bool,
}

/// A stored discovery report; `report` is the serialised form that the pipeline defines.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoveryRow {
    pub source: SourceId,
    pub made_at: DateTime<Utc>,
    pub report: serde_json::Value,
}

impl Catalog {
    /// # Errors
    /// [`Error::Exists`] when the name is taken.
    pub async fn add_source(&self, new: NewSource) -> Result<Source, Error> {
        let _ = new;
        todo!()
    }

    /// Replaces kind, parameters and authority; the id stays.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_source(&self, new: NewSource) -> Result<Source, Error> {
        let _ = new;
        todo!()
    }

    /// Takes the source out of the list. Its tables and rows stay, and so does its id, under which it may come back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_source(&self, name: &SourceName) -> Result<(), Error> {
        let _ = name;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn source(&self, name: &SourceName) -> Result<Source, Error> {
        let _ = name;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn source_by_id(&self, id: SourceId) -> Result<Source, Error> {
        let _ = id;
        todo!()
    }

    /// By name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sources(&self) -> Result<Vec<Source>, Error> {
        todo!()
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn save_discovery(&self, source: SourceId, report: &serde_json::Value) -> Result<DiscoveryRow, Error> {
        let _ = (source, report);
        todo!()
    }

    /// The newest report of a source.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn latest_discovery(&self, source: SourceId) -> Result<Option<DiscoveryRow>, Error> {
        let _ = source;
        todo!()
    }
}

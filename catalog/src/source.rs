use chrono::{DateTime, Utc};
use mavis_types::{SourceId, SourceName};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, json, values},
};

/// Reports kept per source; one of a large database is tens of megabytes.
const REPORTS_KEPT: i64 = 10;

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
    /// When it was taken out of the list; only [`Catalog::source_by_id`] answers such a source.
    pub removed_at: Option<DateTime<Utc>>,
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
    /// A source that was removed under the same name comes back with its id.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name is taken.
    pub async fn add_source(&self, new: NewSource) -> Result<Source, Error> {
        let added = self
            .engine
            .write(
                Durability::Disk,
                "INSERT INTO sources (id, name, kind, params, authoritative, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, NOW_MICROS, NOW_MICROS)
                 ON CONFLICT (name) DO UPDATE SET
                    kind = excluded.kind, params = excluded.params, authoritative = excluded.authoritative,
                    updated_at = excluded.updated_at, removed_at = NULL
                 WHERE sources.removed_at IS NOT NULL
                 RETURNING *",
                values![
                    SourceId::new().to_string(),
                    new.name.as_str(),
                    &new.kind,
                    json(&new.params, "sources.params")?,
                    new.authoritative,
                ],
            )
            .await?;
        match added.first() {
            Some(row) => read_source(row),
            None => Err(Error::Exists { what: "source", name: new.name.to_string() }),
        }
    }

    /// Replaces kind, parameters and authority; the id stays.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_source(&self, new: NewSource) -> Result<Source, Error> {
        let updated = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE sources SET kind = $2, params = $3, authoritative = $4, updated_at = NOW_MICROS
                 WHERE name = $1 AND removed_at IS NULL
                 RETURNING *",
                values![new.name.as_str(), &new.kind, json(&new.params, "sources.params")?, new.authoritative],
            )
            .await?;
        updated.first().map_or_else(|| Err(not_found(&new.name)), read_source)
    }

    /// Takes the source out of the list. Its tables and rows stay, and so does its id, under which it may come back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_source(&self, name: &SourceName) -> Result<(), Error> {
        let removed = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE sources SET removed_at = NOW_MICROS, updated_at = NOW_MICROS
                 WHERE name = $1 AND removed_at IS NULL
                 RETURNING id",
                values![name.as_str()],
            )
            .await?;
        if removed.is_empty() { Err(not_found(name)) } else { Ok(()) }
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn source(&self, name: &SourceName) -> Result<Source, Error> {
        let row = self
            .engine
            .one("SELECT * FROM sources WHERE name = $1 AND removed_at IS NULL", values![name.as_str()])
            .await?;
        row.as_ref().map_or_else(|| Err(not_found(name)), read_source)
    }

    /// Finds removed sources too, for their tables and runs still name them: see [`Source::removed_at`].
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn source_by_id(&self, id: SourceId) -> Result<Source, Error> {
        match self.engine.one("SELECT * FROM sources WHERE id = $1", values![id.to_string()]).await? {
            Some(row) => read_source(&row),
            None => Err(Error::NotFound { what: "source", name: id.to_string() }),
        }
    }

    /// By name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sources(&self) -> Result<Vec<Source>, Error> {
        let rows = self.engine.all("SELECT * FROM sources WHERE removed_at IS NULL ORDER BY name", values![]).await?;
        rows.iter().map(read_source).collect()
    }

    /// Keeps the report, and of older ones the nine before it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such source.
    pub async fn save_discovery(&self, source: SourceId, report: &impl Serialize) -> Result<(), Error> {
        let report = json(report, "discoveries.report")?;
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let id = tx.count("discovery", 1).await?;
        tx.one(
            "INSERT INTO discoveries (id, source_id, made_at, report)
             SELECT $1, id, NOW_MICROS, $3 FROM sources WHERE id = $2
             RETURNING id",
            values![id, source.to_string(), report],
        )
        .await?
        .ok_or_else(|| Error::NotFound { what: "source", name: source.to_string() })?;
        tx.all(
            "DELETE FROM discoveries WHERE source_id = $1 AND id NOT IN
                (SELECT id FROM discoveries WHERE source_id = $1 ORDER BY id DESC LIMIT $2)",
            values![source.to_string(), REPORTS_KEPT],
        )
        .await?;
        tx.commit().await
    }

    /// Says that the newest report of a source is still true.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn touch_discovery(&self, source: SourceId) -> Result<(), Error> {
        self.engine
            .write(
                Durability::System,
                "UPDATE discoveries SET made_at = NOW_MICROS
                 WHERE id = (SELECT MAX(id) FROM discoveries WHERE source_id = $1)",
                values![source.to_string()],
            )
            .await?;
        Ok(())
    }

    /// The newest report of a source, read into the form that it was written from, and when it was made. One of a large
    /// database is tens of megabytes: it is read without a copy in between.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it cannot be read so.
    pub async fn latest_report<T: DeserializeOwned>(
        &self,
        source: SourceId,
    ) -> Result<Option<(T, DateTime<Utc>)>, Error> {
        let row = self
            .engine
            .one("SELECT * FROM discoveries WHERE source_id = $1 ORDER BY id DESC LIMIT 1", values![source.to_string()])
            .await?;
        row.map(|row| Ok((row.json("discoveries.report")?, row.time("discoveries.made_at")?))).transpose()
    }

    /// The newest report of a source.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn latest_discovery(&self, source: SourceId) -> Result<Option<DiscoveryRow>, Error> {
        let row = self
            .engine
            .one("SELECT * FROM discoveries WHERE source_id = $1 ORDER BY id DESC LIMIT 1", values![source.to_string()])
            .await?;
        row.as_ref().map(read_discovery).transpose()
    }
}

fn not_found(name: &SourceName) -> Error {
    Error::NotFound { what: "source", name: name.to_string() }
}

fn read_source(row: &Row) -> Result<Source, Error> {
    Ok(Source {
        id: row.parse("sources.id")?,
        name: SourceName::new(&row.text("sources.name")?).map_err(|_| Error::Corrupt { place: "sources.name" })?,
        kind: row.text("sources.kind")?,
        params: row.json("sources.params")?,
        authoritative: row.flag("sources.authoritative")?,
        created_at: row.time("sources.created_at")?,
        updated_at: row.time("sources.updated_at")?,
        removed_at: row.opt_time("sources.removed_at")?,
    })
}

fn read_discovery(row: &Row) -> Result<DiscoveryRow, Error> {
    Ok(DiscoveryRow {
        source: row.parse("discoveries.source_id")?,
        made_at: row.time("discoveries.made_at")?,
        report: row.json("discoveries.report")?,
    })
}

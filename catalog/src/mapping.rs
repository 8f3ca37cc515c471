use chrono::{DateTime, Utc};
use mavis_types::SourceId;

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, values},
};

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
    /// Inserts the mapping, or stores a new version where the text differs; the same text changes nothing. A mapping
    /// that was removed comes back with the version after its last.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn apply_mapping(&self, new: NewMapping) -> Result<MappingRow, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        loop {
            let newest = tx
                .one("SELECT * FROM mappings WHERE name = $1 ORDER BY version DESC LIMIT 1", values![&new.name])
                .await?;
            let mut version = 1;
            if let Some(row) = newest {
                let there = read_mapping(&row)?;
                if there.text == new.text && row.opt_time("mappings.removed_at")?.is_none() {
                    return Ok(there);
                }
                version = there.version + 1;
            }
            let inserted = tx
                .one(
                    "INSERT INTO mappings (name, version, resource, source_id, text, applied_at)
                     VALUES ($1, $2, $3, $4, $5, NOW_MICROS)
                     ON CONFLICT (name, version) DO NOTHING
                     RETURNING *",
                    values![&new.name, version, &new.resource, new.source.map(|id| id.to_string()), &new.text,],
                )
                .await?;
            // None: somebody else applied that version in this moment; look at what they wrote.
            if let Some(row) = inserted {
                let applied = read_mapping(&row)?;
                tx.commit().await?;
                return Ok(applied);
            }
        }
    }

    /// Newest version of each, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn mappings(&self) -> Result<Vec<MappingRow>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT * FROM mappings m
                 WHERE removed_at IS NULL
                   AND version = (SELECT MAX(n.version) FROM mappings n WHERE n.name = m.name)
                 ORDER BY name",
                values![],
            )
            .await?;
        rows.iter().map(read_mapping).collect()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn mapping(&self, name: &str) -> Result<MappingRow, Error> {
        let row = self
            .engine
            .one("SELECT * FROM mappings WHERE name = $1 ORDER BY version DESC LIMIT 1", values![name])
            .await?;
        match row {
            Some(row) if row.opt_time("mappings.removed_at")?.is_none() => read_mapping(&row),
            _ => Err(Error::NotFound { what: "mapping", name: name.to_owned() }),
        }
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_mapping(&self, name: &str) -> Result<(), Error> {
        let removed = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE mappings SET removed_at = NOW_MICROS
                 WHERE name = $1 AND removed_at IS NULL
                   AND version = (SELECT MAX(n.version) FROM mappings n WHERE n.name = $1)
                 RETURNING version",
                values![name],
            )
            .await?;
        if removed.is_empty() {
            return Err(Error::NotFound { what: "mapping", name: name.to_owned() });
        }
        Ok(())
    }

    /// Replaces a code map.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_code_map(&self, name: &str, rows: &[CodeMapRow]) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        // First the map's own row: it locks out whoever replaces the same map.
        tx.all(
            "INSERT INTO code_maps (name, updated_at) VALUES ($1, NOW_MICROS)
             ON CONFLICT (name) DO UPDATE SET updated_at = excluded.updated_at",
            values![name],
        )
        .await?;
        tx.all("DELETE FROM code_map_rows WHERE map_name = $1", values![name]).await?;
        tx.insert_many(
            "INSERT INTO code_map_rows
                (map_name, ordinal, source_code, target_code, target_system, target_display)",
            "",
            rows.iter()
                .zip(0_i64..)
                .map(|(row, ordinal)| {
                    values![name, ordinal, &row.source_code, &row.target_code, &row.target_system, &row.target_display,]
                })
                .collect(),
        )
        .await?;
        tx.commit().await
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn code_map(&self, name: &str) -> Result<Vec<CodeMapRow>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT m.name, r.source_code, r.target_code, r.target_system, r.target_display
                 FROM code_maps m LEFT JOIN code_map_rows r ON r.map_name = m.name
                 WHERE m.name = $1 ORDER BY r.ordinal",
                values![name],
            )
            .await?;
        if rows.is_empty() {
            return Err(Error::NotFound { what: "code map", name: name.to_owned() });
        }
        let mut map = Vec::with_capacity(rows.len());
        for row in &rows {
            // A map without rows is one joined row without a code.
            if let Some(source_code) = row.opt_text("code_map_rows.source_code")? {
                map.push(CodeMapRow {
                    source_code,
                    target_code: row.text("code_map_rows.target_code")?,
                    target_system: row.opt_text("code_map_rows.target_system")?,
                    target_display: row.opt_text("code_map_rows.target_display")?,
                });
            }
        }
        Ok(map)
    }

    /// Names of the code maps there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn code_maps(&self) -> Result<Vec<String>, Error> {
        let rows = self.engine.all("SELECT name FROM code_maps ORDER BY name", values![]).await?;
        rows.iter().map(|row| row.text("code_maps.name")).collect()
    }
}

fn read_mapping(row: &Row) -> Result<MappingRow, Error> {
    Ok(MappingRow {
        name: row.text("mappings.name")?,
        version: row.small("mappings.version")?,
        resource: row.text("mappings.resource")?,
        source: row.opt_parse("mappings.source_id")?,
        text: row.text("mappings.text")?,
        applied_at: row.time("mappings.applied_at")?,
    })
}

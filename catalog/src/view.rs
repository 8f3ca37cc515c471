use chrono::{DateTime, Utc};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, values},
};

/// A stored ViewDefinition or Library with SQL; the text is the truth, the other fields are read out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewRow {
    /// The FHIR type: `ViewDefinition`, `Library`.
    pub kind: String,
    /// Unique within its kind.
    pub id: String,
    /// Grows by one each time the text changes.
    pub version: i64,
    /// Its table in SQL is `fhir.views.<name>`; lower case, unique. `None` for what is no table.
    pub name: Option<String>,
    /// Canonical URL.
    pub url: Option<String>,
    /// The resource type that a ViewDefinition makes rows of.
    pub resource: Option<String>,
    /// JSON.
    pub text: String,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub struct NewView {
    pub kind: String,
    pub id: String,
    pub name: Option<String>,
    pub url: Option<String>,
    pub resource: Option<String>,
    pub text: String,
}

impl Catalog {
    /// Stores a view, a new version where the text differs; the same text changes nothing. Answers whether it is new.
    ///
    /// # Errors
    /// [`Error::Exists`] when another view has its name.
    pub async fn put_view(&self, new: NewView) -> Result<(ViewRow, bool), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        if let Some(name) = &new.name {
            let holder = tx.one("SELECT kind, id FROM views WHERE name = $1", values![name]).await?;
            if let Some(holder) = holder
                && (holder.text("views.kind")? != new.kind || holder.text("views.id")? != new.id)
            {
                return Err(Error::Exists { what: "view", name: name.clone() });
            }
        }
        let there = tx.one("SELECT * FROM views WHERE kind = $1 AND id = $2", values![&new.kind, &new.id]).await?;
        if let Some(row) = &there {
            let row = read(row)?;
            if row.text == new.text {
                return Ok((row, false));
            }
        }
        let stored = tx
            .one(
                "INSERT INTO views (kind, id, version, name, url, resource, text, updated_at)
                 VALUES ($1, $2, 1, $3, $4, $5, $6, NOW_MICROS)
                 ON CONFLICT (kind, id) DO UPDATE SET version = views.version + 1, name = excluded.name,
                     url = excluded.url, resource = excluded.resource, text = excluded.text,
                     updated_at = excluded.updated_at
                 RETURNING *",
                values![&new.kind, &new.id, new.name, new.url, new.resource, &new.text],
            )
            .await?;
        let stored = stored.ok_or(Error::Corrupt { place: "views" })?;
        let stored = read(&stored)?;
        tx.commit().await?;
        Ok((stored, there.is_none()))
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn view(&self, kind: &str, id: &str) -> Result<ViewRow, Error> {
        let row = self.engine.one("SELECT * FROM views WHERE kind = $1 AND id = $2", values![kind, id]).await?;
        row.as_ref().map(read).transpose()?.ok_or_else(|| Error::NotFound { what: "view", name: id.to_owned() })
    }

    /// The view that is the table of this name (in lower case).
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn view_by_name(&self, name: &str) -> Result<Option<ViewRow>, Error> {
        let row = self.engine.one("SELECT * FROM views WHERE name = $1", values![name]).await?;
        row.as_ref().map(read).transpose()
    }

    /// Views of this canonical URL, the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn views_by_url(&self, url: &str) -> Result<Vec<ViewRow>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM views WHERE url = $1 ORDER BY updated_at DESC, kind, id", values![url])
            .await?;
        rows.iter().map(read).collect()
    }

    /// All of them, by kind and id.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn views(&self) -> Result<Vec<ViewRow>, Error> {
        let rows = self.engine.all("SELECT * FROM views ORDER BY kind, id", values![]).await?;
        rows.iter().map(read).collect()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_view(&self, kind: &str, id: &str) -> Result<(), Error> {
        let removed = self
            .engine
            .write(Durability::Disk, "DELETE FROM views WHERE kind = $1 AND id = $2 RETURNING id", values![kind, id])
            .await?;
        if removed.is_empty() {
            return Err(Error::NotFound { what: "view", name: id.to_owned() });
        }
        Ok(())
    }
}

fn read(row: &Row) -> Result<ViewRow, Error> {
    Ok(ViewRow {
        kind: row.text("views.kind")?,
        id: row.text("views.id")?,
        version: row.int("views.version")?,
        name: row.opt_text("views.name")?,
        url: row.opt_text("views.url")?,
        resource: row.opt_text("views.resource")?,
        text: row.text("views.text")?,
        updated_at: row.time("views.updated_at")?,
    })
}

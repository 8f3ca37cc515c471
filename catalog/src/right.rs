use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use mavis_types::{Mask, Place, Principal, Rights, Role, TableName, Zone};
use serde::{Deserialize, Serialize};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, values},
};

/// Whom something is granted to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// A token, or a person who signs in elsewhere, by name.
    User(String),
    /// A built-in role or a group.
    Role(String),
    /// Everybody but administrators.
    Public,
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grantee::User(name) => write!(f, "user {name}"),
            Grantee::Role(name) => write!(f, "role {name}"),
            Grantee::Public => f.write_str("public"),
        }
    }
}

impl Grantee {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Grantee::User(name) => ("user", name),
            Grantee::Role(name) => ("role", name),
            Grantee::Public => ("public", ""),
        }
    }
}

/// The kind of a right, and what only this kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightKind {
    /// Leave to read: all columns, or one.
    Read { column: Option<String> },
    /// Leave to write.
    Write,
    /// Leave to declare an emergency.
    Open,
    /// An emergency that is on.
    Opened { reason: String },
    /// Only rows that meet a condition are there. On a table.
    Filter { name: String, condition: String },
    /// A column is shown differently. On a table.
    Mask { column: String, mask: Mask },
    /// The grantee is in a group; the place means nothing.
    Member { group: String },
}

/// Words of `rights.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Read,
    Write,
    Open,
    Opened,
    Filter,
    Mask,
    Member,
}

impl RightKind {
    /// What it is called in listings and in the audit.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            RightKind::Read { .. } => "read",
            RightKind::Write => "write",
            RightKind::Open => "open",
            RightKind::Opened { .. } => "opened",
            RightKind::Filter { .. } => "filter",
            RightKind::Mask { .. } => "mask",
            RightKind::Member { .. } => "member",
        }
    }

    /// `(column, name, detail)`.
    fn parts(&self) -> (&str, &str, &str) {
        match self {
            RightKind::Read { column } => (column.as_deref().unwrap_or_default(), "", ""),
            RightKind::Write | RightKind::Open => ("", "", ""),
            RightKind::Opened { reason } => ("", "", reason),
            RightKind::Filter { name, condition } => ("", name, condition),
            RightKind::Mask { column, mask } => (column, "", mask.as_str()),
            RightKind::Member { group } => ("", "", group),
        }
    }
}

/// One line of what was granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Right {
    pub id: i64,
    pub kind: RightKind,
    pub to: Grantee,
    pub on: Place,
    pub granted_by: String,
    pub granted_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
pub struct NewRight {
    pub kind: RightKind,
    pub to: Grantee,
    pub on: Place,
    pub granted_by: String,
    pub expires_at: Option<DateTime<Utc>>,
}

impl Catalog {
    /// Grants all of them or none. One that is there already is not made again; a mask or a filter takes the place of the
    /// one that the grantee had under the same column or name. Answers how many are new or changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn grant(&self, rights: &[NewRight]) -> Result<usize, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let mut changed = 0;
        for right in rights {
            let (to_kind, to_name) = right.to.parts();
            let [zone, schema, table] = place(&right.on);
            let (column, name, detail) = right.kind.parts();
            let same = "kind = $1 AND to_kind = $2 AND to_name = $3 AND zone = $4 AND schema_name = $5
                 AND table_name = $6 AND column_name = $7 AND name = $8";
            let keys = || values![right.kind.as_str(), to_kind, to_name, &zone, &schema, &table, column, name];
            let there = tx.all(format!("SELECT * FROM rights WHERE {same}"), keys()).await?;
            let told = there.iter().map(|row| row.text("rights.detail")).collect::<Result<Vec<_>, _>>()?;
            let adds = matches!(right.kind, RightKind::Member { .. } | RightKind::Opened { .. });
            if right.expires_at.is_none() && told.iter().any(|known| known == detail) {
                continue;
            }
            if !adds && !there.is_empty() {
                tx.all(format!("DELETE FROM rights WHERE {same}"), keys()).await?;
            }
            let id = tx.count("right", 1).await?;
            tx.all(
                "INSERT INTO rights (id, kind, to_kind, to_name, zone, schema_name, table_name, column_name, name, detail,
                     granted_by, granted_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NOW_MICROS, $12)",
                values![
                    id,
                    right.kind.as_str(),
                    to_kind,
                    to_name,
                    &zone,
                    &schema,
                    &table,
                    column,
                    name,
                    detail,
                    &right.granted_by,
                    right.expires_at,
                ],
            )
            .await?;
            changed += 1;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// Takes rights back, by their ids, all of them or none. Answers how many were there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn revoke(&self, ids: &[i64]) -> Result<usize, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let mut gone = 0;
        for id in ids {
            gone += tx.all("DELETE FROM rights WHERE id = $1 RETURNING id", values![*id]).await?.len();
        }
        tx.commit().await?;
        Ok(gone)
    }

    /// Everything that was granted and has not expired, in the order of granting.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn rights(&self) -> Result<Vec<Right>, Error> {
        let live = "SELECT * FROM rights WHERE expires_at IS NULL OR expires_at > NOW_MICROS ORDER BY id";
        self.engine.all(live, values![]).await?.iter().map(read).collect()
    }

    /// Puts on a principal what was granted to it. Answers when the first of it expires.
    ///
    /// `principal`: name, role and the groups that its token has.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_rights(&self, principal: &mut Principal) -> Result<Option<DateTime<Utc>>, Error> {
        let rights = self.rights().await?;
        let mut until = None;
        let groups = groups(principal, &rights);
        let mut put = Rights::default();
        for right in rights {
            if !is_for(&right.to, principal, &groups) {
                continue;
            }
            if let Some(at) = right.expires_at {
                until = Some(until.map_or(at, |known: DateTime<Utc>| known.min(at)));
            }
            let Right { kind, on, .. } = right;
            match (kind, on) {
                (RightKind::Read { column }, on) => put.reads.push((on, column)),
                (RightKind::Write, on) => put.writes.push(on),
                (RightKind::Open, on) => put.may_open.push(on),
                (RightKind::Opened { .. }, on) => put.opened.push(on),
                (RightKind::Filter { condition, .. }, Place::Table(table)) => put.filters.push((table, condition)),
                (RightKind::Mask { column, mask }, Place::Table(table)) => put.masks.push((table, column, mask)),
                (RightKind::Filter { .. } | RightKind::Mask { .. }, _) => {
                    return Err(Error::Corrupt { place: "rights" });
                }
                (RightKind::Member { .. }, _) => {}
            }
        }
        // An emergency ends with the leave to declare it.
        let Rights { may_open, opened, .. } = &mut put;
        opened.retain(|on| may_open.iter().any(|leave| leave.covers_place(on)));
        principal.groups = groups;
        principal.rights = std::sync::Arc::new(put);
        Ok(until)
    }
}

/// The groups of a principal: those of its token, and those that it, its role or one of its groups was put into.
fn groups(principal: &Principal, rights: &[Right]) -> Vec<String> {
    let mut groups = principal.groups.clone();
    loop {
        let known = groups.len();
        for right in rights {
            if let RightKind::Member { group } = &right.kind
                && !groups.contains(group)
                && is_for(&right.to, principal, &groups)
            {
                groups.push(group.clone());
            }
        }
        if groups.len() == known {
            return groups;
        }
    }
}

fn is_for(to: &Grantee, principal: &Principal, groups: &[String]) -> bool {
    match to {
        Grantee::User(name) => *name == principal.name,
        Grantee::Role(role) => role == principal.role.as_str() || groups.contains(role),
        Grantee::Public => principal.role != Role::Admin,
    }
}

fn place(place: &Place) -> [String; 3] {
    match place {
        Place::Everything => Default::default(),
        Place::Zone(zone) => [zone.to_string(), String::new(), String::new()],
        Place::Schema(zone, schema) => [zone.to_string(), schema.clone(), String::new()],
        Place::Table(table) => [table.zone.to_string(), table.schema.clone(), table.table.clone()],
    }
}

fn read(row: &Row) -> Result<Right, Error> {
    let corrupt = || Error::Corrupt { place: "rights" };
    let (zone, schema, table) =
        (row.text("rights.zone")?, row.text("rights.schema_name")?, row.text("rights.table_name")?);
    let on = if zone.is_empty() {
        Place::Everything
    } else {
        let zone = Zone::from_str(&zone).map_err(|_| corrupt())?;
        match (schema.is_empty(), table.is_empty()) {
            (true, _) => Place::Zone(zone),
            (false, true) => Place::Schema(zone, schema),
            (false, false) => Place::Table(TableName::new(zone, &schema, &table)),
        }
    };
    let (column, detail) = (row.text("rights.column_name")?, row.text("rights.detail")?);
    let kind = match row.word("rights.kind")? {
        Word::Read => RightKind::Read { column: (!column.is_empty()).then_some(column) },
        Word::Write => RightKind::Write,
        Word::Open => RightKind::Open,
        Word::Opened => RightKind::Opened { reason: detail },
        Word::Filter => RightKind::Filter { name: row.text("rights.name")?, condition: detail },
        Word::Mask => RightKind::Mask { column, mask: detail.parse().map_err(|()| corrupt())? },
        Word::Member => RightKind::Member { group: detail },
    };
    let to_name = row.text("rights.to_name")?;
    let to = match row.text("rights.to_kind")?.as_str() {
        "user" => Grantee::User(to_name),
        "role" => Grantee::Role(to_name),
        "public" => Grantee::Public,
        _ => return Err(corrupt()),
    };
    Ok(Right {
        id: row.int("rights.id")?,
        kind,
        to,
        on,
        granted_by: row.text("rights.granted_by")?,
        granted_at: row.time("rights.granted_at")?,
        expires_at: row.opt_time("rights.expires_at")?,
    })
}

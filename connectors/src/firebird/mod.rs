//! Firebird 2.5 to 5: tables and views of one database, read in one snapshot transaction.
//!
//! The connection's character set is NONE: each column's bytes come as they are stored, and [`charset`] makes text of them,
//! so that a database of WIN1251, UTF8 and NONE columns is read right in one reading. [`types`] decides how each column
//! travels; exact numbers stay exact.
//!
//! Tables are compared whole, or read on by a cursor column; rows that are gone are told of by a declared table of
//! deletions ([`deletions`]), as systems write it with a trigger.
//!
//! The driver blocks. It runs on a thread of its own and reaches the server through a [`crate::relay`], so that a reading
//! that nobody waits for any more, or whose network is cut, lets its thread go.

mod charset;
mod check;
mod deletions;
mod discover;
mod read;
mod session;
mod table;
mod types;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Ambient, Discovery, Error, ReadRequest, ReadStream, Secret, Selection, Source, SourceKind, StageReport, TableRef,
    line::{Line, default_keep_alive},
    ssh::SshParams,
};
use charset::Charset;

/// Parameters of a Firebird source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirebirdParams {
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    /// A path on the server or an alias.
    pub database: String,
    #[serde(default)]
    pub role: Option<String>,
    /// Names; `*` and `?` allowed. Empty: all.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Per table, the column that grows with each insert and update: only rows beyond the last value read are read again.
    #[serde(default)]
    pub cursor_columns: BTreeMap<String, String>,
    /// Per table of `cursor_columns`, the table that tells which of its rows were deleted.
    #[serde(default)]
    pub deletions: BTreeMap<String, Deletions>,
    /// What columns of the character set NONE hold, such as `WIN1251`; without it, UTF-8 is expected there.
    #[serde(default)]
    pub none_charset: Option<String>,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Seconds of silence (1 to 7,200) after which the server is asked for a sign of life; three that stay unanswered end the connection.
    #[serde(default = "default_keep_alive")]
    pub keep_alive_seconds: u64,
    /// The name under which the password is kept (`FIREBIRD_PASSWORD_<THIS>`), so that many databases of one server share
    /// one. The source's own name where nothing is said.
    #[serde(default)]
    pub secret: Option<String>,
    /// The SSH server that `host` is reached through. `host` is a name as that server knows it.
    #[serde(default)]
    pub ssh: Option<SshParams>,
}

/// A table that a row is written to for each row deleted from another.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deletions {
    pub table: String,
    /// The columns that hold the deleted row's key, in the order of that table's key.
    pub key_columns: Vec<String>,
    /// The column that grows with each deletion.
    pub cursor_column: String,
    /// For a log of several tables: only its rows with these values, such as `{"TABLE_NAME": "PATIENT"}`.
    #[serde(default)]
    pub only: BTreeMap<String, serde_json::Value>,
}

fn default_port() -> u16 {
    3050
}

fn default_connect_timeout() -> u64 {
    10
}

/// The kind `firebird`.
#[derive(Debug)]
pub struct Firebird;

impl SourceKind for Firebird {
    const NAME: &'static str = "firebird";
    const SUMMARY: &'static str = "tables and views of a Firebird database";
    type Params = FirebirdParams;

    fn connect(name: &str, params: FirebirdParams, ambient: &Ambient) -> Result<Arc<dyn Source>, Error> {
        let refuse = |reason: String| Error::Params { source_name: name.to_owned(), reason };
        let none_charset = match &params.none_charset {
            None => Charset::Utf8,
            Some(charset) => charset::named(charset).ok_or_else(|| {
                refuse(format!(
                    "`none_charset` is `{charset}`: use a name such as WIN1251, WIN1252, DOS866, KOI8R, UTF8"
                ))
            })?,
        };
        for (table, deletions) in &params.deletions {
            if named(&params.cursor_columns, table).is_none() {
                return Err(refuse(format!("`deletions` names `{table}`, which `cursor_columns` does not")));
            }
            if deletions.key_columns.is_empty() {
                return Err(refuse(format!("`deletions.{table}.key_columns` is empty")));
            }
            if deletions.only.values().any(|value| !(value.is_string() || value.is_i64())) {
                return Err(refuse(format!(
                    "`deletions.{table}.only` has a value that is neither text nor a whole number"
                )));
            }
        }
        let password = ambient.secrets.of(Self::NAME, params.secret.as_deref().unwrap_or(name));
        let line = Line::new(name, params.ssh.as_ref(), params.keep_alive_seconds, ambient)?;
        let inner = Inner { name: name.to_owned(), params, none_charset, password, line };
        Ok(Arc::new(FirebirdSource { inner: Arc::new(inner) }))
    }
}

#[derive(Debug)]
struct FirebirdSource {
    inner: Arc<Inner>,
}

/// What every connection of a source needs.
#[derive(Debug)]
struct Inner {
    name: String,
    params: FirebirdParams,
    none_charset: Charset,
    /// Asked for at each connection.
    password: Secret,
    line: Line,
}

impl Inner {
    fn endpoint(&self) -> String {
        format!("{}:{}/{}", self.params.host, self.params.port, self.params.database)
    }

    fn selection(&self) -> Selection {
        Selection { include: self.params.tables_to_include.clone(), exclude: self.params.tables_to_exclude.clone() }
    }

    fn cursor_column(&self, table: &TableRef) -> Option<&str> {
        named(&self.params.cursor_columns, &table.name).map(String::as_str)
    }

    fn deletions(&self, table: &TableRef) -> Option<&Deletions> {
        named(&self.params.deletions, &table.name)
    }
}

/// What is declared for a name: as it is written, else whatever the case, since Firebird writes names in upper case.
fn named<'a, T>(declared: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    let any_case = || declared.iter().find(|(declared, _)| declared.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    declared.get(name).or_else(any_case)
}

#[async_trait]
impl Source for FirebirdSource {
    async fn check(&self) -> Vec<StageReport> {
        check::check(&self.inner).await
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        discover::discover(&self.inner, selection).await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        read::read(Arc::clone(&self.inner), request).await
    }
}

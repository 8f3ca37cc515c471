//! MongoDB: collections as tables, the fields of their documents as columns, and each document whole beside them.
//!
//! The columns are the fields at the top of the first documents; a later field becomes a column of its own, and a value of
//! another type than its column's makes its document a reject. The column `document` has everything, as Extended JSON.
//!
//! A collection is read whole and compared, or read on: by a field that grows (`cursor_columns`; `_id` finds new documents
//! only, and neither finds deletions), or by its change stream (`changes`), which needs a replica set and tells of deletions.
//! Where a change stream cannot be gone on with (the server has forgotten so far back, the collection was dropped), everything
//! is read anew and compared; nothing is passed over.

mod changes;
mod place;
mod read;
mod reading;
mod rows;
mod session;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Ambient, Discovery, Error, ReadMode, ReadRequest, ReadStream, Secret, Selection, Source, SourceKind, SourceTable,
    StageReport, TableKind, TableRef, source::BoxedSource,
};

/// Parameters of the kind `mongodb`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MongoParams {
    /// The hosts and options as MongoDB writes them, without a password: `mongodb://reader@h1:27017,h2/?replicaSet=rs0`.
    pub uri: String,
    pub database: String,
    /// Names; `*` and `?` allowed. Empty: all but the system's.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Per collection the field that grows with each insert and update.
    #[serde(default)]
    pub cursor_columns: BTreeMap<String, String>,
    /// Read on by change streams, where no cursor column is declared.
    #[serde(default)]
    pub changes: bool,
    /// Documents that columns and types are told from.
    #[serde(default = "default_sample")]
    pub sample: u32,
    /// Seconds until a server that does not answer is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
}

fn default_sample() -> u32 {
    1000
}

fn default_connect_timeout() -> u64 {
    10
}

/// The kind `mongodb`.
#[derive(Debug)]
pub struct MongoDb;

impl SourceKind for MongoDb {
    const NAME: &'static str = "mongodb";
    const SUMMARY: &'static str = "collections of a MongoDB database, documents whole beside their fields";
    type Params = MongoParams;

    fn connect(name: &str, params: MongoParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let refuse = |reason: &str| Error::Params { source_name: name.to_owned(), reason: reason.to_owned() };
        let Some(rest) = params.uri.strip_prefix("mongodb://") else {
            let reason = if params.uri.starts_with("mongodb+srv://") {
                "`uri`: names of the kind `mongodb+srv` are not looked up: write the hosts themselves, with `mongodb://`"
            } else {
                "`uri` does not begin with `mongodb://`"
            };
            return Err(refuse(reason));
        };
        let hosts = rest.split(['/', '?']).next().unwrap_or_default();
        if hosts.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(refuse("`uri` holds a password: take it out"));
        }
        if params.database.is_empty() {
            return Err(refuse("`database` is empty"));
        }
        let inner = Inner { name: name.to_owned(), password: ambient.secrets.of(Self::NAME, name), params };
        Ok(Arc::new(MongoSource { inner: Arc::new(inner) }))
    }
}

/// What every connection of a source needs.
#[derive(Debug)]
struct Inner {
    name: String,
    params: MongoParams,
    /// Asked for at each connection.
    password: Secret,
}

impl Inner {
    fn selection(&self) -> Selection {
        Selection { include: self.params.tables_to_include.clone(), exclude: self.params.tables_to_exclude.clone() }
    }

    fn mode(&self, collection: &str) -> ReadMode {
        if self.params.changes || self.params.cursor_columns.contains_key(collection) {
            ReadMode::Incremental
        } else {
            ReadMode::Snapshot
        }
    }
}

#[derive(Debug)]
struct MongoSource {
    inner: Arc<Inner>,
}

#[async_trait]
impl Source for MongoSource {
    async fn check(&self) -> Vec<StageReport> {
        session::check(&self.inner).await
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let inner = &self.inner;
        let database = session::open(inner).await?;
        let mut discovery = Discovery::default();
        for name in session::collections(inner, &database).await? {
            let table = TableRef { schema: None, name: name.clone() };
            if !inner.selection().takes_with(selection, &table) {
                continue;
            }
            let columns = match read::columns(inner, &database, &name).await {
                Ok(columns) => columns,
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    discovery.failures.push((table, error.to_string()));
                    continue;
                }
            };
            discovery.tables.push(SourceTable {
                table,
                kind: TableKind::Table,
                columns: columns.iter().map(rows::Column::describe).collect(),
                key: vec!["_id".to_owned()],
                foreign_keys: Vec::new(),
                comment: None,
                row_estimate: session::count(&database, &name).await,
                mode: inner.mode(&name),
            });
        }
        Ok(discovery)
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        read::read(Arc::clone(&self.inner), request).await
    }
}

//! Tables and views of a SQLite database file, opened read-only beside whoever writes it (WAL included).
//!
//! SQLite types values, not columns: a column declared INTEGER may hold text. The types of a table come from its
//! declaration and one pass of `typeof()` over its values; a column whose values do not fit its declaration is read as
//! text. A value that does not fit its column when it is read (it came later) makes its row a reject with its rowid,
//! never a NULL or a 0.
//!
//! A reading is one read transaction: what it yields is one state of the database. Tables are snapshots; a table with a
//! declared cursor column is read on from the last (value, rowid), rows without a value by their rowid. A row that is
//! changed without moving its cursor column forward is not seen again.

mod catalog;
mod read;
mod value;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    Ambient, Closed, Discovery, Error, ReadMode, ReadRequest, ReadStream, Selection, Source, SourceColumn, SourceKind,
    SourceTable, Stage, StageOutcome, StageReport, TableRef,
    closed::{REASON, without_dots},
    reading,
    source::BoxedSource,
};

/// Parameters of the kind `sqlite`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteParams {
    /// The database file.
    pub path: PathBuf,
    /// Names or patterns (`*`, `?`) of tables and views; all when empty.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Per table the column that grows with every insert and update; such a table is read incrementally.
    #[serde(default)]
    pub cursor_columns: BTreeMap<String, String>,
}

/// The kind `sqlite`.
#[derive(Debug)]
pub struct Sqlite;

impl SourceKind for Sqlite {
    const NAME: &'static str = "sqlite";
    const SUMMARY: &'static str = "tables and views of a SQLite database file";
    type Params = SqliteParams;

    fn connect(name: &str, params: SqliteParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let selection = Selection { include: params.tables_to_include, exclude: params.tables_to_exclude };
        let refuse = |reason: String| Error::Params { source_name: name.to_owned(), reason };
        let absolute = without_dots(&params.path).map_err(|error| refuse(format!("`path`: {error}")))?;
        if ambient.closed.holds(&absolute) {
            return Err(refuse(format!("`{}`: {REASON}", params.path.display())));
        }
        let database = Database { path: params.path, closed: ambient.closed.clone() };
        Ok(Arc::new(SqliteSource {
            database,
            selection,
            cursor_columns: params.cursor_columns,
            described: Mutex::new(HashMap::new()),
        }))
    }
}

#[derive(Debug, Clone)]
struct Database {
    path: PathBuf,
    closed: Closed,
}

impl Database {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    async fn open(&self) -> Result<SqliteConnection, Error> {
        if !self.path.is_file() {
            return Err(Error::Refused {
                endpoint: self.shown(),
                stage: Stage::Name,
                reason: "there is no such file".to_owned(),
            });
        }
        let (closed, path) = (self.closed.clone(), self.path.clone());
        if reading::aside(&self.shown(), move || Ok(closed.holds_file(&path))).await? {
            return Err(Error::Refused { endpoint: self.shown(), stage: Stage::Name, reason: REASON.to_owned() });
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .create_if_missing(false)
            .busy_timeout(std::time::Duration::from_secs(30))
            .disable_statement_logging();
        options.connect().await.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &sqlx::Error) -> Error {
        let (endpoint, reason) = (self.shown(), error.to_string());
        match error {
            sqlx::Error::Database(inner) if matches!(inner.code().as_deref(), Some("5" | "6" | "261" | "517")) => {
                Error::Unreachable { endpoint, stage: Stage::Database, reason }
            }
            sqlx::Error::Io(_) => Error::Unreachable { endpoint, stage: Stage::Route, reason },
            _ => Error::Refused { endpoint, stage: Stage::Database, reason },
        }
    }
}

#[derive(Debug)]
struct SqliteSource {
    database: Database,
    /// What the declaration takes; a request may take less.
    selection: Selection,
    cursor_columns: BTreeMap<String, String>,
    /// The columns of each table as last discovered, so that a reading keeps to them.
    described: Mutex<HashMap<String, Vec<SourceColumn>>>,
}

#[async_trait]
impl Source for SqliteSource {
    async fn check(&self) -> Vec<StageReport> {
        let started = Instant::now();
        let report = |stage, outcome, message: String| StageReport {
            stage,
            outcome,
            message,
            millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let mut stages = Vec::new();
        let mut connection = match self.database.open().await {
            Ok(connection) => connection,
            Err(error) => {
                let stage = match &error {
                    Error::Refused { stage, .. } | Error::Unreachable { stage, .. } => *stage,
                    _ => Stage::Database,
                };
                if stage > Stage::Name {
                    stages.push(report(Stage::Name, StageOutcome::Passed, "the file is there".to_owned()));
                }
                stages.push(report(stage, StageOutcome::Failed, error.to_string()));
                return stages;
            }
        };
        stages.push(report(Stage::Name, StageOutcome::Passed, "the file is there".to_owned()));
        match catalog::tables(&mut connection).await {
            Ok(tables) => {
                stages.push(report(Stage::Database, StageOutcome::Passed, "it is a SQLite database".to_owned()));
                let count = tables.iter().filter(|table| self.selection.takes(&table.reference())).count();
                stages.push(report(Stage::Read, StageOutcome::Passed, format!("{count} tables and views can be read")));
            }
            Err(error) => {
                stages.push(report(Stage::Database, StageOutcome::Failed, self.database.error(&error).to_string()));
            }
        }
        stages
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let mut connection = self.database.open().await?;
        let found = catalog::tables(&mut connection).await.map_err(|error| self.database.error(&error))?;
        let mut discovery = Discovery::default();
        for table in found {
            let reference = table.reference();
            if !self.selection.takes_with(selection, &reference) {
                continue;
            }
            match self.describe(&mut connection, &table).await {
                Ok(described) => {
                    let mut cache = self.described.lock().unwrap_or_else(PoisonError::into_inner);
                    cache.insert(table.name.clone(), described.columns.clone());
                    discovery.tables.push(described);
                }
                Err(reason) => discovery.failures.push((reference, reason)),
            }
        }
        Ok(discovery)
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let absent = || Error::NoSuchTable { table: request.table.to_string() };
        let mut connection = self.database.open().await?;
        let found = catalog::tables(&mut connection).await.map_err(|error| self.database.error(&error))?;
        let table = found
            .into_iter()
            .find(|table| table.reference() == request.table && self.selection.takes(&request.table))
            .ok_or_else(absent)?;
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).get(&table.name).cloned();
        let described = self.describe_or_keep(&mut connection, &table, known).await?;
        let cursor_column = self.cursor_column(&table.name);
        read::stream(connection, self.database.clone(), table, described, cursor_column, request)
    }
}

impl SqliteSource {
    fn cursor_column(&self, table: &str) -> Option<String> {
        self.cursor_columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(table)).map(|(_, column)| column.clone())
    }

    /// The discovered columns where the table still has exactly those; otherwise the columns as they are now.
    async fn describe_or_keep(
        &self,
        connection: &mut SqliteConnection,
        table: &catalog::Table,
        known: Option<Vec<SourceColumn>>,
    ) -> Result<Vec<SourceColumn>, Error> {
        let declared = catalog::columns(connection, table).await.map_err(|error| self.database.error(&error))?;
        if let Some(known) = known
            && known.iter().map(|column| &column.name).eq(declared.iter().map(|column| &column.name))
        {
            return Ok(known);
        }
        catalog::typed_columns(connection, table, &declared).await.map_err(|error| self.database.error(&error))
    }

    async fn describe(&self, connection: &mut SqliteConnection, table: &catalog::Table) -> Result<SourceTable, String> {
        let text = |error: sqlx::Error| error.to_string();
        let declared = catalog::columns(connection, table).await.map_err(text)?;
        if declared.is_empty() {
            return Err("it has no columns".to_owned());
        }
        let columns = catalog::typed_columns(connection, table, &declared).await.map_err(text)?;
        let cursor_column = self.cursor_column(&table.name);
        if let Some(column) = &cursor_column {
            if !columns.iter().any(|known| known.name.eq_ignore_ascii_case(column)) {
                return Err(format!("its declared cursor column `{column}` is not there"));
            }
            if table.rowid(&columns).is_none() {
                return Err("it has no rowid, so it cannot be read by a cursor column".to_owned());
            }
        }
        Ok(SourceTable {
            table: TableRef { schema: None, name: table.name.clone() },
            kind: table.kind(),
            key: catalog::key(connection, table, &declared).await.map_err(text)?,
            foreign_keys: catalog::foreign_keys(connection, table).await.map_err(text)?,
            comment: None,
            row_estimate: catalog::count(connection, table).await.map_err(text)?,
            mode: if cursor_column.is_some() { ReadMode::Incremental } else { ReadMode::Snapshot },
            columns,
        })
    }
}

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::DataType};
use async_trait::async_trait;
use futures::stream::BoxStream;
use mavis_types::Cursor;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use crate::{Error, InPlace, Stage};

/// A connected source. Cheap to hold: connections are opened when they are needed.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug + 'static {
    /// Tries every stage of the connection in order and says how far it got; stops at the first failure.
    async fn check(&self) -> Vec<StageReport>;

    /// The tables there are, with types, keys and comments. Reads no rows beyond what telling a type needs.
    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error>;

    /// The databases of the server that the source is one of, without the server's own; for declaring many sources.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where a source is not a database of a server.
    async fn databases(&self) -> Result<Vec<String>, Error> {
        Err(Error::Unsupported {
            what: "a list of databases".to_owned(),
            instead: "declare the sources of this kind one by one".to_owned(),
        })
    }

    /// Reads one table. The stream ends with [`ReadItem::End`] or with an error; a stream that just stops was cut.
    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error>;

    /// The table's files, where the declaration says that they become a table of the lake as they lie; `None`: rows are read.
    ///
    /// # Errors
    /// As [`Source::read`], and [`Error::Unsupported`] for a store whose files cannot be named by URL.
    async fn in_place(&self, _table: &TableRef) -> Result<Option<InPlace>, Error> {
        Ok(None)
    }

    /// The store of files that were taken over in place, by the authority of their URLs.
    ///
    /// # Errors
    /// [`Error::Params`], [`Error::Unsupported`].
    fn store_in_place(&self, authority: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        Err(Error::Unsupported {
            what: format!("reading files of `{authority}` in place"),
            instead: "declare the source as it was when they were taken over".to_owned(),
        })
    }

    /// Whether there is anything after the cursor, asked cheaply; `None` where only a reading can tell. What happens after the
    /// question is the next one's.
    ///
    /// # Errors
    /// As [`Source::read`].
    async fn changed(&self, _table: &TableRef, _from: Option<&Cursor>) -> Result<Option<bool>, Error> {
        Ok(None)
    }

    /// Told what the last [`Source::settle`] answered, once it is stored: before the first reading of a run, and again after
    /// each settling. The source may let go of what is before it (advance a replication slot). Answers whether it wants to be
    /// settled at the end of a run.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is not of this source.
    async fn kept(&self, _state: Option<&Cursor>) -> Result<bool, Error> {
        Ok(false)
    }

    /// At the end of a run: where every incremental table stands by its last commit. Answers what is to be kept of the source
    /// as a whole.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Interrupted`]; then everything stays as it was.
    async fn settle(&self, _committed: &[(TableRef, Cursor)]) -> Result<Settled, Error> {
        Ok(Settled::default())
    }

    /// How the log stands that the source keeps for us; `None`: it keeps none. Asked now and then, beside any run.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`].
    async fn log_health(&self) -> Result<Option<LogHealth>, Error> {
        Ok(None)
    }
}

/// How a log stands that a source keeps until it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHealth {
    /// It is there, and has everything from where it was read to.
    pub sound: bool,
    /// Bytes that the source keeps.
    pub kept_bytes: u64,
    /// Bytes that were not let go of: what was written since the place up to which every table was read.
    pub lag_bytes: u64,
    /// Bytes that may still be written before the source throws unread log away; `None`: it never does.
    pub left_bytes: Option<u64>,
}

/// What a source answers at the end of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settled {
    /// To be stored, and told to the source by [`Source::kept`]; `None`: what is stored stays.
    pub keep: Option<Cursor>,
    /// Warnings for the run's log: a replication slot that holds back much of the server's log.
    pub notes: Vec<String>,
}

/// What one table's reading yields, in order.
pub type ReadStream = BoxStream<'static, Result<ReadItem, Error>>;

#[derive(Debug, Clone)]
pub enum ReadItem {
    /// Rows, with the columns of the table's discovery (by name; later batches may add columns, never change a type).
    Batch(RecordBatch),
    /// Keys of rows that the source deleted: the columns of the table's key, by the source's names. Order counts: a row of
    /// such a key in a later batch is there again. Only of [`ReadMode::Incremental`] tables with a key.
    Gone(RecordBatch),
    /// Every row that the table had until here, and every row yielded so far, is gone (TRUNCATE). Where all rows there are
    /// follow, this compares the table whole in the middle of a reading. Only of [`ReadMode::Incremental`] tables.
    Emptied,
    /// A record that cannot be a row.
    Reject { origin: String, reason: String, payload: String },
    /// Everything yielded so far is before this place; a commit may happen here.
    Cursor(Cursor),
    /// The reading is complete. `whole`: every row that the table has was yielded (a snapshot), so that rows which are
    /// in the lake and were not yielded are gone from the source.
    End { cursor: Option<Cursor>, whole: bool },
}

#[derive(Debug, Clone)]
pub struct ReadRequest {
    pub table: TableRef,
    /// Where the last committed reading ended. `None`: from the beginning.
    pub from: Option<Cursor>,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
    /// Bytes of a batch, about.
    pub batch_bytes: usize,
    /// Only some rows are wanted, to look at, and the end will not be waited for: nothing may be prepared in the source
    /// (such as a replication slot) that a reading to the end would need.
    pub sample: bool,
}

impl ReadRequest {
    /// A reading from the beginning with the usual batch size: 65,536 rows or 32 MiB.
    #[must_use]
    pub fn whole(table: TableRef) -> Self {
        Self { table, from: None, batch_rows: 65_536, batch_bytes: 32 << 20, sample: false }
    }
}

/// How a source calls a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableRef {
    /// Where the source has several schemas worth telling apart; `None` for the only or default one.
    pub schema: Option<String>,
    pub name: String,
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Which tables a source is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Names or `schema.name`, `*` and `?` allowed; empty: all.
    #[serde(default)]
    pub include: Vec<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
}

impl Selection {
    /// Whether the table is asked for; patterns match case-insensitively, with or without the schema.
    #[must_use]
    pub fn takes(&self, table: &TableRef) -> bool {
        let matches_any = |patterns: &[String]| {
            patterns.iter().any(|pattern| wildcard(pattern, &table.name) || wildcard(pattern, &table.to_string()))
        };
        (self.include.is_empty() || matches_any(&self.include)) && !matches_any(&self.exclude)
    }

    /// What both selections take: the patterns of a source's declaration and those of one request.
    #[must_use]
    pub fn takes_with(&self, other: &Selection, table: &TableRef) -> bool {
        self.takes(table) && other.takes(table)
    }
}

/// Whether `text` matches a pattern of literal characters, `*` (any run) and `?` (any one character), whatever the case.
fn wildcard(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.trim().chars().flat_map(char::to_lowercase).collect();
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: just after the last star, one character further in the text.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    p = after_star;
                    t = from + 1;
                    retry = Some((after_star, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Discovery {
    pub tables: Vec<SourceTable>,
    /// Tables that could not be described, each with the reason: a broken sheet, a view without rights.
    pub failures: Vec<(TableRef, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceTable {
    pub table: TableRef,
    pub kind: TableKind,
    pub columns: Vec<SourceColumn>,
    /// Columns of the primary key (or of a unique key of NOT NULL columns), in key order; empty where there is none.
    pub key: Vec<String>,
    pub foreign_keys: Vec<ForeignKey>,
    pub comment: Option<String>,
    pub row_estimate: Option<u64>,
    pub mode: ReadMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    Table,
    View,
    File,
    Sheet,
    /// FHIR resources of one type: a column `resource` holds the JSON as received.
    Resources,
}

/// What a second reading yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// Everything again; the lake compares and finds out what changed.
    Snapshot,
    /// Only rows after the cursor; a row with a known key replaces the older one.
    Incremental,
    /// Only rows after the cursor; rows are never changed once read (new files, appended lines).
    Append,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceColumn {
    /// As the source calls it.
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    /// The source's own word for the type.
    pub source_type: String,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForeignKey {
    pub columns: Vec<String>,
    pub table: TableRef,
    pub referenced: Vec<String>,
}

/// One line of a connection test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageReport {
    pub stage: Stage,
    pub outcome: StageOutcome,
    /// What was found, or what is wrong and what to do.
    pub message: String,
    pub millis: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOutcome {
    Passed,
    Failed,
    /// Does not apply to this source.
    Skipped,
}

/// A connected source as it is passed around.
pub(crate) type BoxedSource = Arc<dyn Source>;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], &[], true)]
    #[case(&["hms_patient"], &[], true)]
    #[case(&["HMS_*"], &[], true)]
    #[case(&["public.hms_*"], &[], true)]
    #[case(&["public.*"], &["*_patient"], false)]
    #[case(&["patient"], &[], false)]
    #[case(&["other.hms_patient"], &[], false)]
    #[case(&["hms_patien?"], &[], true)]
    #[case(&["hms_patient?"], &[], false)]
    #[case(&["*a*t*e*t"], &[], true)]
    fn a_selection_takes_what_its_patterns_say(
        #[case] include: &[&str],
        #[case] exclude: &[&str],
        #[case] taken: bool,
    ) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection { include: owned(include), exclude: owned(exclude) };
        let table = TableRef { schema: Some("public".to_owned()), name: "hms_patient".to_owned() };
        assert_eq!(selection.takes(&table), taken);
    }
}

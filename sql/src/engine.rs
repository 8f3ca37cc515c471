use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{dataframe::DataFrame, scalar::ScalarValue};
use futures::stream::BoxStream;
use mavis_lake::Lake;
use mavis_types::{Principal, SnapshotId, TableName};

use crate::{Error, Limits};

/// How much runs at once.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Queries that run at once; the others wait in a fair queue.
    pub concurrent: usize,
    /// Queries that may wait; one more is refused.
    pub queued: usize,
    pub limits: Limits,
}

/// The one door for queries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {}

impl Engine {
    #[must_use]
    pub fn new(lake: Lake, options: EngineOptions) -> Self {
        let _ = (lake, options);
        todo!()
    }

    /// A session of one principal. `snapshot`: the FHIR state to see; `None` pins the newest at each statement.
    pub async fn session(&self, principal: &Principal, snapshot: Option<SnapshotId>) -> Result<Session, Error> {
        let _ = (principal, snapshot);
        todo!()
    }

    /// Tables that the principal may see, from the catalog database, no Delta log opened; patterns are SQL LIKE.
    pub async fn list_tables(
        &self,
        principal: &Principal,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        table_pattern: Option<&str>,
    ) -> Result<Vec<TableListing>, Error> {
        let _ = (principal, catalog, schema_pattern, table_pattern);
        todo!()
    }

    /// `(catalog, schema)` pairs that the principal may see: zones, `system` and `information_schema` among them.
    pub async fn list_schemas(
        &self,
        principal: &Principal,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
    ) -> Result<Vec<(String, String)>, Error> {
        let _ = (principal, catalog, schema_pattern);
        todo!()
    }

    /// The Arrow schema of a table as queries see it, from the catalog database.
    pub async fn table_schema(
        &self,
        principal: &Principal,
        catalog: &str,
        schema: &str,
        table: &str,
    ) -> Result<SchemaRef, Error> {
        let _ = (principal, catalog, schema, table);
        todo!()
    }

    /// Stops a running query by the id that [`QueryStream::id`] told.
    #[must_use]
    pub fn cancel(&self, query: uuid::Uuid) -> bool {
        let _ = query;
        todo!()
    }
}

/// A line of a table listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableListing {
    pub catalog: String,
    pub schema: String,
    pub table: String,
    /// `TABLE`, `VIEW` or `SYSTEM TABLE`.
    pub kind: &'static str,
    pub comment: Option<String>,
}

/// One principal's view of the lake.
#[derive(Debug, Clone)]
pub struct Session {}

impl Session {
    /// Parses and plans without running: the answer's schema and the parameters' types.
    ///
    /// # Errors
    /// [`Error::Invalid`] with line and column, [`Error::NoSuchTable`], [`Error::Refused`].
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, Error> {
        let _ = sql;
        todo!()
    }

    /// Plans again for this principal and runs. `params`: values of `$1`, `$2`, ... (or `?`), in order.
    ///
    /// # Errors
    /// As [`Session::prepare`], and [`Error::Limit`] when the queue is full.
    pub async fn query(&self, sql: &str, params: &[ScalarValue], limits: Option<Limits>) -> Result<QueryStream, Error> {
        let _ = (sql, params, limits);
        todo!()
    }

    /// A guarded frame over one table at this session's snapshot; for doors that build plans themselves (FHIR search).
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] also for what the principal may not see.
    pub async fn table(&self, name: &TableName) -> Result<DataFrame, Error> {
        let _ = name;
        todo!()
    }

    /// Runs a frame made from [`Session::table`] under the same guard, admission and limits as SQL.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub async fn run(&self, frame: DataFrame, limits: Option<Limits>) -> Result<QueryStream, Error> {
        let _ = (frame, limits);
        todo!()
    }

    /// The FHIR snapshot that this session sees; `None` before anything was published.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        todo!()
    }

    #[must_use]
    pub fn principal(&self) -> &Principal {
        todo!()
    }
}

/// A planned statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub schema: SchemaRef,
    /// One field per parameter, in order; a type that could not be told is Utf8.
    pub parameters: SchemaRef,
}

/// A running query. Dropping it stops the work.
pub struct QueryStream {
    pub id: uuid::Uuid,
    pub schema: SchemaRef,
    pub batches: BoxStream<'static, Result<RecordBatch, Error>>,
}

impl std::fmt::Debug for QueryStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryStream").field("id", &self.id).finish_non_exhaustive()
    }
}

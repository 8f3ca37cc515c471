use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::execution::SessionState;
use futures::{TryStreamExt, stream::BoxStream};
use mavis_lake::{Lake, Template};
use mavis_types::{Principal, Role, SnapshotId};

use crate::{
    Error, Limits, RoleLimits, Session,
    admission::Admission,
    answers::Answers,
    catalogs::pin,
    cpu::Cpu,
    functions::template,
    limits::ByRole,
    listing::{self, TableFilter, TableListing},
    stream::Running,
};

/// How much runs at once.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Queries that run at once; the others wait in a queue in which principals take turns.
    pub concurrent: usize,
    /// Queries that may wait; one more is refused.
    pub queued: usize,
    pub limits: Limits,
    /// What differs by role.
    pub roles: HashMap<Role, RoleLimits>,
    /// Room for answers that are kept in memory, in bytes; 0 keeps none. One takes a quarter at most.
    pub answers_bytes: usize,
    /// What hashes of masked values are made with: the same for as long as they shall stay the same.
    pub mask_key: [u8; 32],
}

/// The one door for queries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) lake: Lake,
    pub(crate) limits: ByRole,
    pub(crate) admission: Admission,
    pub(crate) running: Running,
    pub(crate) answers: Answers,
    pub(crate) mask_key: Arc<[u8; 32]>,
    /// Functions and rules, registered once; every query starts from a copy.
    pub(crate) template: Result<Template, String>,
    /// `None` when the system gave no threads: nothing runs then.
    pub(crate) cpu: Option<Cpu>,
}

impl Inner {
    /// A copy of the template for one statement; boxed, for it is some kilobytes large.
    pub(crate) fn state(&self) -> Result<Box<SessionState>, Error> {
        let template = self.template.as_ref().map_err(|message| Error::Execution { message: message.clone() })?;
        let mut state = Box::new(SessionState::clone(&template.state()));
        state.mark_start_execution();
        Ok(state)
    }
}

impl Engine {
    /// An engine over a lake, with threads of its own: as many as a plan has partitions.
    #[must_use]
    pub fn new(lake: Lake, options: EngineOptions) -> Self {
        let template = template(lake.sessions()).map(Template::new).map_err(|error| error.to_string());
        let threads = lake.sessions().config().target_partitions();
        let cpu = Cpu::new(threads).inspect_err(|error| tracing::error!(%error, "no threads for queries")).ok();
        let limits = ByRole::new(options.limits, options.roles);
        let admission = Admission::new(options.concurrent, options.queued, limits.clone());
        let running = Running::default();
        let answers = Answers::new(options.answers_bytes);
        let mask_key = Arc::new(options.mask_key);
        Self { inner: Arc::new(Inner { lake, limits, admission, running, answers, mask_key, template, cpu }) }
    }

    /// A session of one principal. `snapshot`: the FHIR state to see; `None` pins the newest at each statement.
    ///
    /// # Errors
    /// [`Error::SnapshotGone`].
    pub async fn session(&self, principal: &Principal, snapshot: Option<SnapshotId>) -> Result<Session, Error> {
        let seen = pin(self.inner.lake.catalog(), snapshot).await?.map(|snapshot| snapshot.id);
        Ok(Session::new(Arc::clone(&self.inner), principal.clone(), snapshot, seen))
    }

    /// Tables that the principal may see, from the catalog database, no Delta log opened; patterns are SQL LIKE.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn list_tables(
        &self,
        principal: &Principal,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        table_pattern: Option<&str>,
    ) -> Result<Vec<TableListing>, Error> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let filter = TableFilter {
            catalog: text(catalog),
            schema: text(schema_pattern),
            table: text(table_pattern),
            ..TableFilter::default()
        };
        self.stream_tables(principal, filter).try_concat().await
    }

    /// As [`Engine::list_tables`], some at a time, so that a million of them hold no memory; by catalog, schema and name.
    #[must_use]
    pub fn stream_tables(
        &self,
        principal: &Principal,
        filter: TableFilter,
    ) -> BoxStream<'static, Result<Vec<TableListing>, Error>> {
        listing::tables(self.inner.lake.catalog().clone(), Arc::new(principal.clone()), filter)
    }

    /// Every SQL catalog: the zones, and `system`.
    #[must_use]
    pub fn catalogs(&self) -> Vec<&'static str> {
        let mut catalogs: Vec<&str> = crate::system::catalogs().collect();
        catalogs.sort_unstable();
        catalogs
    }

    /// `(catalog, schema)` pairs that the principal may see: zones, `system` and `information_schema` among them.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn list_schemas(
        &self,
        principal: &Principal,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
    ) -> Result<Vec<(String, String)>, Error> {
        listing::schemas(self.inner.lake.catalog(), principal, catalog, schema_pattern).await
    }

    /// The Arrow schema of a table as queries see it, from the catalog database.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] also for what the principal may not see.
    pub async fn table_schema(
        &self,
        principal: &Principal,
        catalog: &str,
        schema: &str,
        table: &str,
    ) -> Result<SchemaRef, Error> {
        listing::table_schema(self.inner.lake.catalog(), principal, catalog, schema, table).await
    }

    /// Forgets every answer that is kept in memory. Answers never go out of date; this is for rows that were erased from
    /// the past of a table.
    pub fn forget_answers(&self) {
        self.inner.answers.forget();
    }

    /// How far a running query is, between 0 and 1, as far as its scans tell; `None` where it does not run, or its tables
    /// do not say how many rows they have.
    #[must_use]
    pub fn progress(&self, query: uuid::Uuid) -> Option<f64> {
        self.inner.running.progress(query)
    }

    /// Stops a running query by the id that [`crate::QueryStream::id`] told.
    #[must_use]
    pub fn cancel(&self, query: uuid::Uuid) -> bool {
        self.inner.running.cancel(query)
    }
}

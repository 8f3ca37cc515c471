mod planning;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    dataframe::DataFrame,
    datasource::provider_as_source,
    execution::SessionState,
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    scalar::ScalarValue,
    sql::sqlparser::ast::Statement,
};
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use mavis_fhir::view::Plan;
use mavis_types::{Principal, SnapshotId, TableName};
use tokio::time::Instant;

use crate::{
    Error, Home, Limits,
    answers::{Answer, Meaning, Question},
    catalogs::{Given, Opened, View},
    dialect::{Admitted, admit, at_home, parse, parse_named},
    engine::Inner,
    fault, guard,
    limits::Allowed,
    names::{TableKey, tables},
    planner,
    postgres::{self, Parsed, Postgres},
    rights, run,
    told::{self, Asked},
    views::Only,
};

/// No snapshot seen yet.
const NONE: i64 = i64::MIN;

/// One principal's view of the lake. Clones share it.
///
/// What it does comes as boxed futures: those that hold plans are proved `Send` once, in this crate, and not again by every
/// door (see [`mavis_lake::Template`]).
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
    principal: Arc<Principal>,
    pinned: Option<SnapshotId>,
    /// The FHIR snapshot of the newest statement.
    seen: Arc<AtomicI64>,
    /// Of a connection of a PostgreSQL client.
    postgres: Option<Arc<Postgres>>,
    pub(crate) home: Home,
}

/// A planned statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub schema: SchemaRef,
    /// One field per parameter, in order; a type that could not be told is Utf8.
    pub parameters: SchemaRef,
    /// Whether the statement asks for an order of its rows.
    pub ordered: bool,
    /// Whether the answer may be large; a guess.
    pub large: bool,
    /// Set where the statement writes (`INSERT`, `CREATE TABLE`, ...): it has no columns, and [`Session::execute`] runs it.
    pub command: Option<&'static str>,
}

/// A running query. Dropping it stops the work.
pub struct QueryStream {
    pub id: uuid::Uuid,
    pub schema: SchemaRef,
    pub batches: BoxStream<'static, Result<RecordBatch, Error>>,
}

impl fmt::Debug for QueryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryStream").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A statement that only reads, and its tables.
struct Put {
    statement: Admitted,
    opened: Opened,
    /// Set where the same text over the same tables may be answered from memory.
    question: Option<Question>,
    /// Parameters that the text has at least: some may stand where nothing is planned.
    parameters: usize,
}

/// A statement that was planned and passed the guard.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) plan: LogicalPlan,
    pub(crate) state: Box<SessionState>,
    pub(crate) parameters: Vec<DataType>,
    /// Places of parameters that may be of any type; they are taken for texts.
    pub(crate) open: Vec<usize>,
    pub(crate) schema: SchemaRef,
    /// Whether the plan was made for the types of certain values.
    pub(crate) typed: bool,
}

impl Session {
    pub(crate) fn new(
        inner: Arc<Inner>,
        principal: Principal,
        pinned: Option<SnapshotId>,
        seen: Option<SnapshotId>,
    ) -> Self {
        let seen = Arc::new(AtomicI64::new(seen.map_or(NONE, |id| id.0)));
        Self { inner, principal: Arc::new(principal), pinned, seen, postgres: None, home: Home::default() }
    }

    /// This session for statements of a PostgreSQL client: names are looked for along its search path first, and its dialect
    /// and its catalogs are understood.
    #[must_use]
    pub fn as_postgres(mut self, own: Arc<Postgres>) -> Self {
        self.postgres = Some(own);
        self
    }

    /// Parses and plans without running: the answer's schema and the parameters' types.
    ///
    /// # Errors
    /// [`Error::Invalid`] with line and column, [`Error::NoSuchTable`], [`Error::Refused`].
    pub fn prepare<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepare_with(sql, &[])
    }

    /// As [`Session::prepare`], for these values of the parameters: the columns are those that [`Session::query`] answers with
    /// for them, where a parameter that may be anything has the type of its value.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub fn prepare_with<'a>(
        &'a self,
        sql: &'a str,
        values: &'a [ScalarValue],
    ) -> BoxFuture<'a, Result<Prepared, Error>> {
        async move {
            if crate::writes(sql) {
                let prepared = async { self.prepare_write(self.parsed(sql).await?.statement).await };
                let mut prepared = self.in_time(&self.allowed(None), Box::pin(prepared)).await?;
                prepared.parameters = self.named(prepared.parameters, sql);
                return Ok(prepared);
            }
            let meaning = self.in_time(&self.allowed(None), Box::pin(self.meant(sql, values))).await?;
            let fields = (1..).zip(&meaning.parameters).map(|(n, t)| Field::new(format!("${n}"), t.clone(), true));
            let parameters = self.named(Arc::new(Schema::new(fields.collect::<Vec<_>>())), sql);
            let Meaning { schema, ordered, large, .. } = meaning;
            Ok(Prepared { schema, parameters, ordered, large, command: None })
        }
        .boxed()
    }

    /// Plans again for this principal and runs. `params`: values of `$1`, `$2`, ... (or `?`), in order.
    ///
    /// # Errors
    /// As [`Session::prepare`], and [`Error::Limit`] when the queue is full.
    pub fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [ScalarValue],
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<QueryStream, Error>> {
        async move {
            let allowed = self.allowed(limits);
            let deadline = Instant::now() + allowed.limits.time;
            let put = match rights::read(sql)? {
                None => self.in_time(&allowed, Box::pin(self.put(sql))).await?,
                Some(rights::Statement::Show { sql }) => self.in_time(&allowed, Box::pin(self.put(&sql))).await?,
                Some(statement) => {
                    let done = self.in_time(&allowed, Box::pin(rights::act(&self.inner, &self.principal, statement)));
                    let answer = Answer::of_text("status", &done.await?)?;
                    return run::again(&self.inner, answer, allowed, deadline);
                }
            };
            if let Some(question) = &put.question
                && let Some(answer) = self.inner.answers.answer(question, params)
            {
                return run::again(&self.inner, answer, allowed, deadline);
            }
            let question = put.question.clone();
            let (planned, lasting) = self.in_time(&allowed, Box::pin(self.planned_once(put, params))).await?;
            let keeper = question
                .filter(|_| lasting)
                .map(|question| self.inner.answers.keeper(question, params, &planned.schema));
            let plan = planner::bind(planned.plan, &planned.parameters, &planned.open, params)?;
            run::start(&self.inner, planned.state, plan, planned.schema, keeper, allowed, deadline).await
        }
        .boxed()
    }

    /// As [`Session::query`], with parameters that are written `:name`.
    ///
    /// # Errors
    /// As [`Session::query`]; [`Error::Invalid`] too for a value whose name the statement does not have.
    pub fn query_named<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [(String, ScalarValue)],
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<QueryStream, Error>> {
        async move {
            let names: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
            let (_, used) = parse_named(sql, &names)?;
            if let Some((_, name)) = names.iter().enumerate().find(|(place, _)| !used.contains(place)) {
                return Err(fault::invalid(format!(
                    "there is a value for `:{name}`, which the statement does not have"
                )));
            }
            self.query_views(sql, &HashMap::new(), &Only::default(), params, limits).await
        }
        .boxed()
    }

    /// A guarded frame over one table at this session's snapshot; for doors that build plans themselves (FHIR search).
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] also for what the principal may not see.
    pub fn table<'a>(&'a self, name: &'a TableName) -> BoxFuture<'a, Result<DataFrame, Error>> {
        async move {
            let view = self.view_of_lake();
            let key = TableKey {
                parts: vec![name.zone.as_str().to_owned(), name.schema.clone(), name.table.clone()],
                as_of: None,
            };
            let (_, provider) = view.bind(&key).await?;
            self.note(&view);
            let reference = datafusion::common::TableReference::bare(name.table.clone());
            let plan = LogicalPlanBuilder::scan(reference, provider_as_source(provider), None)
                .and_then(LogicalPlanBuilder::build)
                .map_err(|error| fault::planning(&error))?;
            Ok(DataFrame::new(*self.state()?, plan))
        }
        .boxed()
    }

    /// A frame over the rows of a planned view (SQL on FHIR) at this session's snapshot.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] where the principal may not read the resources.
    pub fn view<'a>(&'a self, plan: Arc<Plan>, only: &'a Only) -> BoxFuture<'a, Result<DataFrame, Error>> {
        async move {
            let view = self.view_of_lake();
            let provider = view.view(plan, only, None).await?;
            self.note(&view);
            let plan = LogicalPlanBuilder::scan("view", provider_as_source(provider), None)
                .and_then(LogicalPlanBuilder::build)
                .map_err(|error| fault::planning(&error))?;
            Ok(DataFrame::new(*self.state()?, plan))
        }
        .boxed()
    }

    /// Runs a frame made from [`Session::table`] or [`Session::view`] under the same guard, admission and limits as SQL.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn run(&self, frame: DataFrame, limits: Option<Limits>) -> BoxFuture<'_, Result<QueryStream, Error>> {
        async move {
            let allowed = self.allowed(limits);
            let deadline = Instant::now() + allowed.limits.time;
            let (_, plan) = frame.into_parts();
            guard::check(&plan, self.principal.token)?;
            let state = self.state()?;
            let schema = planner::answer(&state, &plan, &[])?;
            run::start(&self.inner, state, plan, schema, None, allowed, deadline).await
        }
        .boxed()
    }

    /// The FHIR snapshot that this session sees; `None` before anything was published. A session that is not pinned sees
    /// the newest at each statement: this is the one of its last statement on `fhir`.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        let seen = self.seen.load(Ordering::Acquire);
        self.pinned.or((seen != NONE).then_some(SnapshotId(seen)))
    }

    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Runs a statement in which some names mean planned views (SQL on FHIR's SQLQuery), and whose parameters are `:name`.
    /// A name of a view hides a table of that name. `only` holds for each of the views.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn query_views<'a>(
        &'a self,
        sql: &'a str,
        views: &'a HashMap<String, Arc<Plan>>,
        only: &'a Only,
        params: &'a [(String, ScalarValue)],
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<QueryStream, Error>> {
        async move {
            let allowed = self.allowed(limits);
            let deadline = Instant::now() + allowed.limits.time;
            let names: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
            let (statement, used) = parse_named(sql, &names)?;
            let put = self.in_time(&allowed, Box::pin(self.put_over(statement, Given { views, only }))).await?;
            let values: Vec<ScalarValue> =
                used.iter().filter_map(|place| params.get(*place)).map(|(_, value)| value.clone()).collect();
            let planned = self.in_time(&allowed, Box::pin(self.planned(put, &values))).await?;
            let plan = planner::bind(planned.plan, &planned.parameters, &planned.open, &values)?;
            run::start(&self.inner, planned.state, plan, planned.schema, None, allowed, deadline).await
        }
        .boxed()
    }

    fn named(&self, parameters: SchemaRef, sql: &str) -> SchemaRef {
        if self.postgres.is_some() { postgres::named(parameters, sql) } else { parameters }
    }

    /// A statement as the engine has it.
    pub(crate) async fn parsed(&self, sql: &str) -> Result<Parsed, Error> {
        match &self.postgres {
            None => Ok(Parsed { statement: parse(sql)?, text: Some(sql.to_owned()), parameters: 0 }),
            Some(own) => postgres::read(self, own, sql).await,
        }
    }

    async fn put(&self, sql: &str) -> Result<Put, Error> {
        let given = Given { views: &HashMap::new(), only: &Only::default() };
        let mut asked = told::read(sql)?;
        if let (Some(own), Some(asked)) = (&self.postgres, &mut asked) {
            postgres::complete_asked(self, own, asked).await?;
        }
        match asked {
            None => {}
            Some(Asked::Told(told)) => {
                let statement = Admitted::Told(told);
                return Ok(Put { statement, opened: Opened::default(), question: None, parameters: 0 });
            }
            Some(Asked::Partitions(table)) => {
                let view = self.view_of_lake();
                let query = told::partitions(&view, &table).await?;
                self.note(&view);
                return self.put_over(parse(&query)?, given).await;
            }
        }
        let Parsed { statement, text, parameters } = self.parsed(sql).await?;
        let mut put = self.put_over(statement, given).await?;
        put.parameters = parameters;
        if let (Admitted::Query(_), Some(text)) = (&put.statement, text) {
            put.question = put.opened.stamps().map(|tables| Question::new(&text, tables));
        }
        Ok(put)
    }

    /// Lets a statement through and opens its tables as the principal sees them.
    async fn put_over(&self, statement: Statement, given: Given<'_>) -> Result<Put, Error> {
        let statement = admit(at_home(statement, &self.home))?;
        let mut opened = Opened::default();
        if let Admitted::Query(query) = &statement {
            let view = self.view_of_lake();
            opened = view.open(&tables(query)?, given).await;
            self.note(&view);
        }
        Ok(Put { statement, opened, question: None, parameters: 0 })
    }

    pub(crate) fn catalog(&self) -> &mavis_catalog::Catalog {
        self.inner.lake.catalog()
    }

    /// A copy of the template for one statement; boxed, for it is some kilobytes large.
    pub(crate) fn state(&self) -> Result<Box<SessionState>, Error> {
        self.inner.state()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn lake(&self) -> &mavis_lake::Lake {
        &self.inner.lake
    }

    /// What this session sees of the lake now.
    pub(crate) fn view_of_lake(&self) -> View<'_> {
        View::new(&self.inner, &self.principal, self.pinned).at(&self.home)
    }

    pub(crate) fn store(&self) -> &mavis_catalog::Catalog {
        self.inner.lake.catalog()
    }

    pub(crate) fn note(&self, view: &View<'_>) {
        if let Some(id) = view.seen() {
            self.seen.store(id.0, Ordering::Release);
        }
    }

    /// What a query of this session may use.
    pub(crate) fn allowed(&self, asked: Option<Limits>) -> Allowed {
        self.inner.limits.of(self.principal.token, self.principal.role, asked)
    }

    pub(crate) async fn in_time<T>(
        &self,
        allowed: &Allowed,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(allowed.limits.time, work).await.unwrap_or_else(|_| Err(allowed.out_of_time()))
    }
}

/// A batch with the columns and types that were promised.
pub(crate) fn as_promised(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            arrow::compute::cast(column, field.data_type())
        }
    });
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = columns
        .collect::<Result<Vec<ArrayRef>, _>>()
        .and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options));
    batch.map_err(|error| {
        tracing::error!(kind = %fault::execution(&error.into()), "an answer is not what was planned");
        Error::Execution { message: "the answer's columns are not what was planned".to_owned() }
    })
}

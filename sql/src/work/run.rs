use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    datasource::provider_as_source,
    scalar::ScalarValue,
    sql::sqlparser::ast::{Ident, Query, Statement},
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use mavis_lake::work::{Doing, Making};
use mavis_types::{RunId, TableName};
use tokio::time::Instant;

use super::{
    Executed,
    define::derived,
    fit::fit,
    rewrite::{self, Act, Over},
    rows::{broken, carry_out, fill, finished, only_parameters, places_of, push_values, typed_values, with_types},
    statement::{Write, column_comment},
    target::{Bound, bound, hollow, sees_all},
};
use crate::{
    Error, Limits, QueryStream, Session,
    catalogs::{Given, Opened},
    dialect::{Admitted, admit, parse, parse_named},
    fault,
    limits::Allowed,
    names::{resolve, tables},
    only_reads, planner, run,
    session::{Planned, Prepared},
    views::Only,
};

/// Columns before the table's own in the query of an act.
pub(super) const PLACES: usize = 1;
pub(super) const PLACES_AND_CLAUSES: usize = 2;
/// Rows of values that become one batch.
pub(super) const VALUES_AT_ONCE: usize = 8_192;

/// A planned reading half.
pub(super) struct Reading {
    planned: Planned,
}

impl Reading {
    fn again(&self) -> Self {
        Self { planned: self.planned.clone() }
    }
}

impl Session {
    /// Runs a statement that writes: `CREATE TABLE` and `VIEW`, `DROP`, `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`,
    /// `ALTER TABLE`, `COMMENT`, in the `work` zone. `params`: values of `$1`, `$2`, ... (or `?`), in order. Of `limits`, the
    /// number of rows does not count.
    ///
    /// It happens as a whole or not at all; dropped before its commit, it did not happen.
    ///
    /// # Errors
    /// As [`Session::query`]; [`Error::Refused`] for what the principal may not write, and for a statement that only reads;
    /// [`Error::Lake`] (`Busy`) where somebody else writes the same table for long.
    pub fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [ScalarValue],
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<Executed, Error>> {
        async move { self.run_all(self.parsed(sql).await?.statement, &[params], limits).await }.boxed()
    }

    /// As [`Session::execute`], with parameters that are written `:name`.
    ///
    /// # Errors
    /// As [`Session::execute`]; [`Error::Invalid`] for a parameter without a value.
    pub fn execute_named<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [(String, ScalarValue)],
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<Executed, Error>> {
        async move {
            let names: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
            let (statement, used) = parse_named(sql, &names)?;
            let values = used.iter().filter_map(|place| params.get(*place)).map(|(_, value)| value.clone());
            let values: Vec<ScalarValue> = values.collect();
            self.run_all(statement, &[values.as_slice()], limits).await
        }
        .boxed()
    }

    /// As [`Session::execute`], once for each row of values, in order. The rows of an `INSERT` come in one commit; other
    /// statements happen one after the other, and where one fails those before it have happened.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub fn execute_many<'a>(
        &'a self,
        sql: &'a str,
        rows: &'a [Vec<ScalarValue>],
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<Executed, Error>> {
        async move {
            let rows: Vec<&[ScalarValue]> = rows.iter().map(Vec::as_slice).collect();
            self.run_all(parse(sql)?, &rows, limits).await
        }
        .boxed()
    }

    async fn run_all(
        &self,
        statement: Statement,
        rows: &[&[ScalarValue]],
        limits: Option<Limits>,
    ) -> Result<Executed, Error> {
        if !super::is_write(&statement) {
            return Err(only_reads(&statement));
        }
        let write = Write::read(statement)?;
        let allowed = self.allowed(limits).to_write();
        if matches!(write, Write::Insert { .. }) {
            let call = Call { rows, allowed, deadline: Instant::now() + allowed.limits.time };
            return Box::pin(self.write(write, &call)).await;
        }
        let mut all: Option<Executed> = None;
        for row in rows {
            let once = [*row];
            let call = Call { rows: &once, allowed, deadline: Instant::now() + allowed.limits.time };
            let done = Box::pin(self.write(write.clone(), &call)).await?;
            all = Some(match all {
                None => done,
                Some(before) => Executed { rows: before.rows + done.rows, ..done },
            });
        }
        all.ok_or_else(|| fault::invalid("the statement was given no values at all, and was not run"))
    }

    /// The parameters of a statement that writes; it answers no rows.
    pub(crate) async fn prepare_write(&self, statement: Statement) -> Result<Prepared, Error> {
        if !super::is_write(&statement) {
            return Err(only_reads(&statement));
        }
        let write = Write::read(statement)?;
        let command = write.command();
        if let Some(name) = write.name() {
            self.written(name)?;
        }
        let parameters = match write {
            Write::CreateTable { query: Some(query), .. } => {
                self.reading(Statement::Query(query), None, &[]).await?.planned.parameters
            }
            Write::Insert { name, columns, query, .. } => {
                let table = self.target(&self.written(&name)?).await?;
                let schema = self.lake().schema(table.id).await?;
                let (query, typed) = typed_values(*query, &schema, &columns)?;
                let reading = self.reading(Statement::Query(Box::new(query)), None, &[]).await?;
                with_types(reading.planned.parameters, &typed)
            }
            write @ (Write::Update(_) | Write::Delete(_) | Write::Merge(_)) => {
                let name = write.name().cloned().ok_or_else(|| fault::invalid("which table?"))?;
                let table = self.target(&self.written(&name)?).await?;
                let schema = self.lake().schema(table.id).await?;
                let (statement, _, typed) = act(write, &table.name, &schema)?;
                let target = bound(self.principal(), &table, hollow(&schema));
                let reading = self.reading(statement, Some(target), &[]).await?;
                with_types(reading.planned.parameters, &typed)
            }
            _ => Vec::new(),
        };
        let fields = (1..).zip(&parameters).map(|(n, t)| Field::new(format!("${n}"), t.clone(), true));
        let parameters = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let schema = Arc::new(Schema::empty());
        Ok(Prepared { schema, parameters, ordered: true, large: false, command: Some(command) })
    }

    async fn write(&self, write: Write, call: &Call<'_>) -> Result<Executed, Error> {
        let command = write.command();
        let name = write.name().cloned().ok_or_else(|| fault::invalid("which table?"))?;
        let target = self.written(&name)?;
        let rows = match write {
            Write::CreateTable { columns, query: None, or_replace, if_not_exists, comment, .. } => {
                call.takes_none()?;
                let mut comments = Vec::new();
                for column in &columns {
                    comments.push((column.name.value.clone(), column_comment(column)?));
                }
                let schema = self.listed(columns)?;
                let made = self.make(&target, schema, None, or_replace, if_not_exists, comment).await?;
                if made.is_some() {
                    self.say(&target, comments).await?;
                }
                0
            }
            Write::CreateTable { query: Some(query), or_replace, if_not_exists, comment, .. } => {
                if if_not_exists && self.find_target(&target).await?.is_some() {
                    0
                } else {
                    let reading = self.reading(Statement::Query(query), None, call.row()).await?;
                    let schema = derived(&reading.planned.schema)?;
                    let stream = self.started(reading, &HashMap::new(), call.row(), call).await?;
                    let made = self.make(&target, schema, Some(stream), or_replace, if_not_exists, comment).await?;
                    made.unwrap_or(0)
                }
            }
            Write::CreateView { columns, query, or_replace, if_not_exists, comment, .. } => {
                call.takes_none()?;
                Box::pin(self.make_view(&target, columns, *query, or_replace, if_not_exists, comment)).await?;
                0
            }
            Write::Drop { view, if_exists, .. } => {
                call.takes_none()?;
                Box::pin(self.drop(&target, view, if_exists)).await?;
                0
            }
            Write::Insert { columns, query, overwrite, .. } => {
                self.insert(&target, &columns, *query, overwrite, call).await?
            }
            Write::Delete(delete) if delete.selection.is_none() && delete.using.is_none() => {
                call.takes_none()?;
                self.clear(&target, Doing::Delete).await?
            }
            Write::Truncate { if_exists, .. } => {
                call.takes_none()?;
                if if_exists && self.find_target(&target).await?.is_none() {
                    0
                } else {
                    self.clear(&target, Doing::Delete).await?
                }
            }
            write @ (Write::Update(_) | Write::Delete(_) | Write::Merge(_)) => self.act(&target, write, call).await?,
            Write::Rename { to, if_exists, .. } => {
                call.takes_none()?;
                Box::pin(self.rename(&target, &to, if_exists)).await?;
                0
            }
            Write::AddColumns { columns, if_exists, .. } => {
                call.takes_none()?;
                self.add_columns(&target, columns, if_exists).await?;
                0
            }
            Write::Comment { column, comment, if_exists, .. } => {
                call.takes_none()?;
                self.comment(&target, column, comment, if_exists).await?;
                0
            }
        };
        Ok(Executed { command, target: target.to_string(), rows })
    }

    /// Plans the reading half. `target`: what is changed, under the name that only a rewritten statement has; `values`: of
    /// parameters, for those that may be of any type.
    pub(super) async fn reading(
        &self,
        statement: Statement,
        target: Option<Bound>,
        values: &[ScalarValue],
    ) -> Result<Reading, Error> {
        // Planning and running end in time; a commit that has begun goes to its end.
        let planned = Box::pin(self.planned_reading(statement, target, values));
        Ok(Reading { planned: self.in_time(&self.allowed(None), planned).await? })
    }

    async fn planned_reading(
        &self,
        statement: Statement,
        target: Option<Bound>,
        values: &[ScalarValue],
    ) -> Result<Planned, Error> {
        let Admitted::Query(mut statement) = admit(statement)? else {
            return Err(fault::invalid("what is read is no query"));
        };
        let mut keys = tables(&statement)?;
        if let Some((key, ..)) = &target {
            keys.remove(key);
        }
        let view = self.view_of_lake();
        let mut opened: Opened = view.open(&keys, Given { views: &HashMap::new(), only: &Only::default() }).await;
        self.note(&view);
        if let Some((key, bound, provider)) = target {
            opened.sources.insert(bound.relation.clone(), provider_as_source(provider));
            opened.bindings.insert(key, Ok(Arc::new(bound)));
        }
        resolve(&mut statement, &mut opened.bindings)?;
        self.typed(&opened.sources, &statement, values)
    }

    async fn started(
        &self,
        reading: Reading,
        typed: &HashMap<String, DataType>,
        row: &[ScalarValue],
        call: &Call<'_>,
    ) -> Result<QueryStream, Error> {
        let Planned { plan, state, parameters, open, schema, .. } = reading.planned;
        let parameters = with_types(parameters, typed);
        let plan = planner::bind(plan, &parameters, &open, row)?;
        run::start(self.inner(), state, plan, schema, None, call.allowed, call.deadline).await
    }

    /// Makes a table, or puts it in the place of one; answers its rows. `None`: it is there and stays.
    pub(super) async fn make(
        &self,
        name: &TableName,
        schema: SchemaRef,
        rows: Option<QueryStream>,
        or_replace: bool,
        if_not_exists: bool,
        comment: Option<String>,
    ) -> Result<Option<u64>, Error> {
        match self.find_target(name).await? {
            Some(table) if or_replace && table.view.is_none() => {
                sees_all(self.principal(), name)?;
                let mut change = self.lake().change(table.id, RunId::new()).await?;
                change.replace(&schema);
                let filled = match rows {
                    None => Ok(0),
                    Some(rows) => fill(&mut change, rows, None).await,
                };
                let filled = finished(change, Doing::Replace, filled).await?;
                if comment.is_some() {
                    self.lake().catalog().comment(table.id, None, comment.as_deref()).await?;
                }
                Ok(Some(filled))
            }
            Some(_) if if_not_exists => Ok(None),
            Some(_) => Err(exists(name)),
            None => {
                let (making, count) = self.written_aside(name, &schema, rows).await?;
                let by = self.principal().name.clone();
                // From here on it goes to its end, whether anybody waits for the answer or not.
                let finishing = tokio::spawn(async move { making.finish(comment, &by).await });
                match finishing.await.map_err(|_| broken())? {
                    Ok(_) => Ok(Some(count)),
                    Err(mavis_lake::Error::Catalog(mavis_catalog::Error::Exists { .. })) if if_not_exists => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Writes the rows of a table that nobody sees yet; answers how many there are.
    pub(super) async fn written_aside(
        &self,
        name: &TableName,
        schema: &SchemaRef,
        rows: Option<QueryStream>,
    ) -> Result<(Making, u64), Error> {
        let mut making = self.lake().make(name, schema).await?;
        let stored = Arc::clone(making.schema());
        let from: Vec<Option<usize>> = (0..stored.fields().len()).map(Some).collect();
        let mut count = 0;
        let Some(mut rows) = rows else { return Ok((making, count)) };
        while let Some(batch) = rows.batches.next().await {
            let pushed = match batch.and_then(|batch| fit(&batch, &stored, &from)) {
                Ok(batch) => making.push(&batch).await.map(|()| batch.num_rows()).map_err(told),
                Err(error) => Err(error),
            };
            match pushed {
                Ok(rows) => count += rows as u64,
                Err(error) => {
                    making.abandon().await;
                    return Err(error);
                }
            }
        }
        Ok((making, count))
    }

    async fn insert(
        &self,
        target: &TableName,
        columns: &[Ident],
        query: Query,
        overwrite: bool,
        call: &Call<'_>,
    ) -> Result<u64, Error> {
        let table = self.target(target).await?;
        let mut change = self.lake().change(table.id, RunId::new()).await?;
        let schema = Arc::clone(change.schema());
        let filled = async {
            if overwrite {
                sees_all(self.principal(), target)?;
                change.replace(&schema);
            }
            if let Some(order) = only_parameters(&query).filter(|_| call.rows.len() > 1) {
                let from = places_of(&schema, columns, order.len())?;
                return push_values(&mut change, &order, call.rows, &from).await;
            }
            let (query, typed) = typed_values(query, &schema, columns)?;
            // A value that stands for a column is cast to the column's type; any other keeps its own.
            let values = if typed.is_empty() { call.row() } else { &[] };
            let reading = self.reading(Statement::Query(Box::new(query)), None, values).await?;
            let from = places_of(&schema, columns, reading.planned.schema.fields().len())?;
            let mut count = 0;
            for row in call.rows {
                let stream = self.started(reading.again(), &typed, row, call).await?;
                count += fill(&mut change, stream, Some(&from)).await?;
            }
            Ok(count)
        };
        let filled = Box::pin(filled).await;
        finished(change, if overwrite { Doing::Replace } else { Doing::Insert }, filled).await
    }

    /// Takes every row out.
    async fn clear(&self, target: &TableName, doing: Doing) -> Result<u64, Error> {
        let table = self.target(target).await?;
        sees_all(self.principal(), target)?;
        let mut change = self.lake().change(table.id, RunId::new()).await?;
        let rows = change.rows().map_err(Error::from).and_then(|rows| {
            rows.ok_or_else(|| Error::Execution { message: "the table's log does not tell its rows".to_owned() })
        });
        let schema = Arc::clone(change.schema());
        change.replace(&schema);
        finished(change, doing, rows).await
    }

    async fn act(&self, target: &TableName, write: Write, call: &Call<'_>) -> Result<u64, Error> {
        let table = self.target(target).await?;
        sees_all(self.principal(), target)?;
        let doing = match &write {
            Write::Update(_) => Doing::Update,
            Write::Merge(_) => Doing::Merge,
            _ => Doing::Delete,
        };
        let mut change = self.lake().change(table.id, RunId::new()).await?;
        let schema = Arc::clone(change.schema());
        let done = async {
            let (statement, act, typed) = act(write, &table.name, &schema)?;
            let places = bound(self.principal(), &table, change.places());
            let reading = self.reading(statement, Some(places), &[]).await?;
            let stream = self.started(reading, &typed, call.row(), call).await?;
            carry_out(&mut change, stream, &act).await
        };
        let done = Box::pin(done).await;
        finished(change, doing, done).await
    }
}

/// What a statement is run with.
struct Call<'a> {
    /// Values of the parameters, for each time that it is run.
    rows: &'a [&'a [ScalarValue]],
    allowed: Allowed,
    deadline: Instant,
}

impl Call<'_> {
    fn takes_none(&self) -> Result<(), Error> {
        if self.rows.iter().all(|row| row.is_empty()) {
            return Ok(());
        }
        Err(fault::invalid("the statement has 0 parameters, values were given"))
    }

    fn row(&self) -> &[ScalarValue] {
        self.rows.first().copied().unwrap_or_default()
    }
}

/// The query, what becomes of its rows, and the types of parameters that stand for columns.
fn act(
    write: Write,
    name: &TableName,
    columns: &SchemaRef,
) -> Result<(Statement, Act, HashMap<String, DataType>), Error> {
    let mut over = Over { name, columns, typed: Vec::new() };
    let (statement, act) = match write {
        Write::Update(update) => rewrite::update(*update, &mut over)?,
        Write::Delete(delete) => rewrite::delete(*delete, &mut over)?,
        Write::Merge(merge) => rewrite::merge(*merge, &mut over)?,
        _ => return Err(fault::invalid("the statement changes no rows")),
    };
    Ok((statement, act, over.typed.into_iter().collect()))
}

/// What the lake says of values that do not fit is about the statement.
pub(super) fn told(error: mavis_lake::Error) -> Error {
    match error {
        mavis_lake::Error::Evolution { column, from, to, .. } => {
            Error::Value { message: format!("a value ({from}) does not fit column `{column}` ({to})") }
        }
        other => other.into(),
    }
}

pub(super) fn exists(name: &TableName) -> Error {
    Error::Catalog(mavis_catalog::Error::Exists { what: "table", name: name.to_string() })
}

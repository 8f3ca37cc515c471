//! `CommandStatementIngest`: batches of a client into a table.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_flight::{
    error::FlightError,
    sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption, server::PeekableFlightDataStream},
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use mavis_sql::{Error, Executed, Existing, Ingest, Missing, knows_source, not_whole};
use mavis_types::{Principal, SourceName, TableName, Zone, normalize_name};
use tonic::Status;

use super::{
    received::Received,
    service::{Caller, Commands},
    update::counted,
};
use crate::{App, auth::Door, grpc::status, query_log::QueryLog};

pub(super) async fn ingest(
    commands: &Commands,
    caller: &Caller,
    command: CommandStatementIngest,
    data: PeekableFlightDataStream,
) -> Result<i64, Status> {
    if command.temporary {
        return Err(Status::unimplemented("there are no temporary tables: ingest into `work` and drop the table"));
    }
    if command.transaction_id.as_ref().is_some_and(|id| !id.is_empty()) {
        return Err(Status::invalid_argument("there are no transactions: an ingest is one commit by itself"));
    }
    let into = read(command)?;
    let mut batches = Received::new(data);
    let first = batches.next().await.transpose().map_err(broken).map_err(status)?;
    let schema = match (&first, batches.schema()) {
        (Some(batch), _) => batch.schema(),
        (None, Some(schema)) => schema.clone(),
        (None, None) => {
            return Err(Status::invalid_argument("an ingest sends the columns of its rows, and there are none"));
        }
    };
    let batches = stream::iter(first.map(Ok::<RecordBatch, Error>)).chain(batches.map_err(broken));
    let batches = match caller.lasting.clone() {
        Some(lasting) => lasting.watch(batches, |denied| Error::Refused { reason: denied.to_string() }).boxed(),
        None => batches.boxed(),
    };
    if into.catalog.as_deref() == Some(Zone::Raw.as_str()) {
        return push(commands, caller, &into, &schema, batches).await;
    }
    let session = commands.app.engine.session(&caller.principal, None).await.map_err(status)?;
    let session = session.at(caller.session.home());
    let target = [into.catalog.as_deref(), into.schema.as_deref(), Some(into.table.as_str())];
    let target = target.into_iter().flatten().collect::<Vec<_>>().join(".");
    let log = QueryLog::write(&commands.app, &caller.principal, Door::Flight, "", target);
    let outcome = session.ingest(into, schema, batches, None).await;
    log.wrote(&outcome);
    outcome.map(|done| counted(&done)).map_err(status)
}

/// Rows for a source that is declared as one that clients send: they take the way of every source, through a run.
async fn push(
    commands: &Commands,
    caller: &Caller,
    into: &Ingest,
    schema: &SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, Error>>,
) -> Result<i64, Status> {
    let (app, principal) = (&commands.app, &caller.principal);
    app.auth.permit(principal, principal.may_engineer(), "run.push", Door::Flight).await?;
    let source = into.schema.as_deref().ok_or_else(|| {
        Status::invalid_argument("an ingest into `raw` names the source as its schema: a source of kind `push`")
    })?;
    let source = SourceName::new(source).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let name = pushed_to(app, principal, &source, &into.table).await?;
    if into.existing == Existing::Replace {
        return Err(Status::invalid_argument(
            "rows are added to a table of `raw`, or replace those of the same key if the source declares one: append",
        ));
    }
    let table = app.catalog.find_table(&name).await.map_err(status)?.filter(|table| table.version.is_some());
    match table {
        Some(_) if into.existing == Existing::Fail => {
            return Err(Status::already_exists(format!("`{name}` exists already: append to it")));
        }
        None if into.missing == Missing::Fail => return Err(Status::not_found(format!("there is no table `{name}`"))),
        _ => {}
    }
    let log = QueryLog::write(app, principal, Door::Flight, "", name.to_string());
    let batches = batches.map_err(Unpushed::Sender).boxed();
    let outcome = app.pipeline.push(principal, &source, &into.table, schema, batches).await;
    let (outcome, refusal) = match outcome {
        Ok(pushed) => (Ok(Executed { command: "INGEST", target: name.to_string(), rows: pushed.rows }), None),
        Err(Unpushed::Sender(error)) => (Err(error), None),
        Err(Unpushed::Pipeline(error)) => {
            (Err(Error::Execution { message: "the run of the upload failed".to_owned() }), Some(status(error)))
        }
    };
    log.wrote(&outcome);
    match refusal {
        Some(refusal) => Err(refusal),
        None => outcome.map(|done| counted(&done)).map_err(status),
    }
}

/// The raw table that rows of a client go to. Who pushes replaces rows by their keys and is told why rows do not fit: so it takes
/// sight of the whole table, or an administrator. For everybody else the source is as if it were not there.
async fn pushed_to(app: &App, by: &Principal, source: &SourceName, table: &str) -> Result<TableName, Status> {
    let registered = match app.catalog.source(source).await {
        Ok(registered) => Some(registered),
        Err(mavis_catalog::Error::NotFound { .. }) => None,
        Err(error) => return Err(status(error)),
    };
    let mut tables = match &registered {
        Some(registered) => app.catalog.tables_of_source(registered.id).await.map_err(status)?,
        None => Vec::new(),
    };
    // The table may have another name in the lake than its own: one like it came first.
    tables.retain(|known| known.name.zone == Zone::Raw && known.source_table.as_deref() == Some(table));
    let name = match tables.pop() {
        Some(known) => known.name,
        None => TableName::new(Zone::Raw, source.as_str(), normalize_name(table)),
    };
    let known = by.knows_all() || registered.is_some() && knows_source(by, source.as_str());
    let whole = known && not_whole(&app.catalog, by, std::slice::from_ref(&name)).await.map_err(status)?.is_none();
    if whole || by.may_administer() {
        return Ok(name);
    }
    app.auth.audit(&by.name, "run.push", &name.to_string(), false, Door::Flight).await;
    Err(status(mavis_catalog::Error::NotFound { what: "source", name: source.to_string() }))
}

/// Why an upload did not get into `raw`.
enum Unpushed {
    Sender(Error),
    Pipeline(mavis_pipeline::Error),
}

impl From<mavis_pipeline::Error> for Unpushed {
    fn from(error: mavis_pipeline::Error) -> Self {
        Self::Pipeline(error)
    }
}

fn read(command: CommandStatementIngest) -> Result<Ingest, Status> {
    let options = command.table_definition_options.unwrap_or_default();
    // What is not said is what loses nothing.
    let missing = match options.if_not_exist() {
        TableNotExistOption::Unspecified | TableNotExistOption::Create => Missing::Create,
        TableNotExistOption::Fail => Missing::Fail,
    };
    let existing = match options.if_exists() {
        TableExistsOption::Unspecified | TableExistsOption::Fail => Existing::Fail,
        TableExistsOption::Append => Existing::Append,
        TableExistsOption::Replace => Existing::Replace,
    };
    let named = |name: Option<String>| name.filter(|name| !name.is_empty());
    Ok(Ingest {
        catalog: named(command.catalog),
        schema: named(command.schema),
        table: named(Some(command.table)).ok_or_else(|| Status::invalid_argument("an ingest names a table"))?,
        missing,
        existing,
    })
}

fn broken(error: FlightError) -> Error {
    match error {
        // The client went away in the middle, or said that it failed.
        FlightError::Tonic(_) => Error::Cancelled,
        error => {
            let what = match error {
                FlightError::ExternalError(torn) => format!(": {torn}"),
                _ => String::new(),
            };
            let message =
                format!("the rows cannot be read, and nothing was written{what}: send Arrow batches of one schema");
            Error::Invalid { message, line: None, column: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::TableDefinitionOptions;
    use rstest::rstest;

    use super::*;

    /// The modes of ADBC: create, append, replace, create_append; and a client that says nothing.
    #[rstest]
    #[case(Some((1, 1)), Missing::Create, Existing::Fail)]
    #[case(Some((2, 2)), Missing::Fail, Existing::Append)]
    #[case(Some((1, 3)), Missing::Create, Existing::Replace)]
    #[case(Some((1, 2)), Missing::Create, Existing::Append)]
    #[case(None, Missing::Create, Existing::Fail)]
    fn the_options_of_the_protocol_are_read(
        #[case] options: Option<(i32, i32)>,
        #[case] missing: Missing,
        #[case] existing: Existing,
    ) {
        let options = options.map(|(if_not_exist, if_exists)| TableDefinitionOptions { if_not_exist, if_exists });
        let command =
            CommandStatementIngest { table_definition_options: options, table: "t".to_owned(), ..Default::default() };
        let read = read(command).unwrap();
        assert_eq!((read.missing, read.existing), (missing, existing));
    }
}

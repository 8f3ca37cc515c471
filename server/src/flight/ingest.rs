//! `CommandStatementIngest`: batches of a client into a table.

use arrow::array::RecordBatch;
use arrow_flight::{
    decode::FlightRecordBatchStream,
    error::FlightError,
    sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption, server::PeekableFlightDataStream},
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_sql::{Error, Existing, Ingest, Missing};
use tonic::Status;

use super::{
    service::{Caller, Commands},
    update::counted,
};
use crate::{auth::Door, grpc::status, query_log::QueryLog};

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
    let mut batches = FlightRecordBatchStream::new_from_flight_data(data.map_err(FlightError::from)).map_err(broken);
    let first = batches.next().await.transpose().map_err(status)?;
    let schema = match (&first, batches.get_ref().schema()) {
        (Some(batch), _) => batch.schema(),
        (None, Some(schema)) => schema.clone(),
        (None, None) => {
            return Err(Status::invalid_argument("an ingest sends the columns of its rows, and there are none"));
        }
    };
    let batches = stream::iter(first.map(Ok::<RecordBatch, Error>)).chain(batches).boxed();
    let session = commands.app.engine.session(&caller.principal, None).await.map_err(status)?;
    let session = session.at(caller.session.home());
    let target = [into.catalog.as_deref(), into.schema.as_deref(), Some(into.table.as_str())];
    let target = target.into_iter().flatten().collect::<Vec<_>>().join(".");
    let log = QueryLog::write(&commands.app, &caller.principal, Door::Flight, "", target);
    let outcome = session.ingest(into, schema, batches, None).await;
    log.wrote(&outcome);
    outcome.map(|done| counted(&done)).map_err(status)
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
        _ => Error::Invalid {
            message: "the rows cannot be read: send Arrow batches of one schema".to_owned(),
            line: None,
            column: None,
        },
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

use arrow_flight::{
    Action, FlightDescriptor, FlightInfo, Ticket,
    flight_service_server::FlightService,
    sql::{
        ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
        ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
        ActionCreatePreparedSubstraitPlanRequest, ActionEndSavepointRequest, ActionEndTransactionRequest, Any, Command,
        CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
        CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
        CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
        CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate, DoPutPreparedStatementResult,
        SqlInfo, TicketStatementQuery,
        server::{DoPutError, FlightSqlService, PeekableFlightDataStream},
    },
};
use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::{
    catalogs,
    handle::Handle,
    ingest, keys, prepared,
    references::{self, Asked},
    schemas,
    sent::Answer,
    service::{Commands, principal},
    sql_info, statement, table_types, tables, types, update,
};

const NO_TRANSACTIONS: &str = "there are no transactions: every query reads one consistent state of the lake, and every \
                               statement that writes is one commit (SqlInfo says so)";
const NO_SUBSTRAIT: &str = "Substrait plans are not taken: send SQL";

type Rows = <Commands as FlightService>::DoGetStream;
type Infos = Result<Response<FlightInfo>, Status>;
type Gets = Result<Response<Rows>, Status>;

#[tonic::async_trait]
impl FlightSqlService for Commands {
    type FlightService = Commands;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        if query.transaction_id.is_some_and(|id| !id.is_empty()) {
            return Err(Status::invalid_argument(NO_TRANSACTIONS));
        }
        statement::info(self, &self.caller(&request)?, query.query, request.into_inner()).await
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Gets {
        Ok(statement::get(self, self.caller(&request)?, &ticket.statement_handle).await?.map(Answer::encoded))
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        prepared::info(self, &self.caller(&request)?, &query, request.into_inner()).await
    }

    async fn do_get_prepared_statement(&self, query: CommandPreparedStatementQuery, request: Request<Ticket>) -> Gets {
        let answer = statement::get(self, self.caller(&request)?, &query.prepared_statement_handle).await?;
        Ok(answer.map(Answer::encoded))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        if query.transaction_id.is_some_and(|id| !id.is_empty()) {
            return Err(Status::invalid_argument(NO_TRANSACTIONS));
        }
        prepared::create(self, &self.caller(&request)?, query.query).await
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        principal(&request)?;
        prepared::bind(self, &query, request.into_inner()).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        principal(&request)?;
        prepared::close(self, &query.prepared_statement_handle);
        Ok(())
    }

    async fn get_flight_info_catalogs(&self, query: CommandGetCatalogs, request: Request<FlightDescriptor>) -> Infos {
        catalogs::info(&query, request.into_inner())
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Gets {
        principal(&request)?;
        catalogs::get(self, query)
    }

    async fn get_flight_info_schemas(&self, query: CommandGetDbSchemas, request: Request<FlightDescriptor>) -> Infos {
        schemas::info(&query, request.into_inner())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Gets {
        schemas::get(self, &principal(&request)?, query).await
    }

    async fn get_flight_info_tables(&self, query: CommandGetTables, request: Request<FlightDescriptor>) -> Infos {
        tables::info(&query, request.into_inner())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Gets {
        tables::get(self, &principal(&request)?, query)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        table_types::info(&query, request.into_inner())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _: Request<Ticket>) -> Gets {
        table_types::get(query)
    }

    async fn get_flight_info_sql_info(&self, query: CommandGetSqlInfo, request: Request<FlightDescriptor>) -> Infos {
        sql_info::info(&query, request.into_inner())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _: Request<Ticket>) -> Gets {
        sql_info::get(self, query)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        types::info(&query, request.into_inner())
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> Gets {
        types::get(query)
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        keys::primary_info(&query, request.into_inner())
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> Gets {
        keys::primary(self, &principal(&request)?, query).await
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        references::info(&query, request.into_inner())
    }

    async fn do_get_exported_keys(&self, query: CommandGetExportedKeys, request: Request<Ticket>) -> Gets {
        let CommandGetExportedKeys { catalog, db_schema, table } = query;
        references::of(self, &principal(&request)?, Some(Asked { catalog, db_schema, table }), None).await
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        references::info(&query, request.into_inner())
    }

    async fn do_get_imported_keys(&self, query: CommandGetImportedKeys, request: Request<Ticket>) -> Gets {
        let CommandGetImportedKeys { catalog, db_schema, table } = query;
        references::of(self, &principal(&request)?, None, Some(Asked { catalog, db_schema, table })).await
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Infos {
        references::info(&query, request.into_inner())
    }

    async fn do_get_cross_reference(&self, query: CommandGetCrossReference, request: Request<Ticket>) -> Gets {
        let pk = Asked { catalog: query.pk_catalog, db_schema: query.pk_db_schema, table: query.pk_table };
        let fk = Asked { catalog: query.fk_catalog, db_schema: query.fk_db_schema, table: query.fk_table };
        references::of(self, &principal(&request)?, Some(pk), Some(fk)).await
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        self.cancel_query(&self.caller(&request)?, &query.info)
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<FlightDescriptor>,
    ) -> Infos {
        Err(Status::unimplemented(NO_SUBSTRAIT))
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _: ActionCreatePreparedSubstraitPlanRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        Err(Status::unimplemented(NO_SUBSTRAIT))
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(NO_SUBSTRAIT))
    }

    async fn do_put_statement_update(
        &self,
        query: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        if query.transaction_id.is_some_and(|id| !id.is_empty()) {
            return Err(Status::invalid_argument(NO_TRANSACTIONS));
        }
        let caller = self.caller(&request)?;
        let handle = Handle::query(query.query, Bytes::new(), &caller.session.home());
        update::execute(self, &caller, &handle).await
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        update::prepared(self, &self.caller(&request)?, &query, request.into_inner()).await
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let caller = self.caller(&request)?;
        Box::pin(ingest::ingest(self, &caller, command, request.into_inner())).await
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        let missing = match error {
            DoPutError::MissingCommand => "DoPut without a message",
            DoPutError::MissingFlightDescriptor => "the first message of a DoPut names no command",
        };
        Err(Status::invalid_argument(missing))
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_end_transaction(
        &self,
        _: ActionEndTransactionRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_end_savepoint(&self, _: ActionEndSavepointRequest, _: Request<Action>) -> Result<(), Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        Err(Status::unimplemented(format!(
            "there is no action `{}`: ListActions tells which there are",
            request.get_ref().r#type
        )))
    }

    async fn get_flight_info_fallback(&self, command: Command, _: Request<FlightDescriptor>) -> Infos {
        Err(Status::unimplemented(format!("there is no command `{}`", command.into_any().type_url)))
    }

    async fn do_get_fallback(&self, _: Request<Ticket>, message: Any) -> Gets {
        Err(Status::unimplemented(format!("there is no command `{}`", message.type_url)))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

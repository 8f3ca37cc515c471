use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as Outcome, SchemaResult, Ticket,
    flight_descriptor::DescriptorType,
    flight_service_server::FlightService,
    sql::{Any, Command},
};
use futures::{StreamExt, stream, stream::BoxStream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::{
    cancel, handshake, poll, rows,
    sent::Answer,
    service::Commands,
    session::{self, Sessions},
    statement, written,
};
use crate::App;

/// The Flight service.
#[derive(Debug, Clone)]
pub(super) struct FlightDoor {
    commands: Commands,
}

impl FlightDoor {
    pub(super) fn new(app: &App) -> Self {
        Self { commands: Commands::new(app) }
    }

    /// What `do_get` answers; the rows of a query not written yet.
    pub(super) async fn rows(&self, request: Request<Ticket>) -> Result<Response<Rows>, Status> {
        let asked = Any::decode(request.get_ref().ticket.clone()).ok().and_then(|any| Command::try_from(any).ok());
        let handle = match asked {
            Some(Command::TicketStatementQuery(query)) => query.statement_handle,
            Some(Command::CommandPreparedStatementQuery(query)) => query.prepared_statement_handle,
            _ => return Ok(self.commands.do_get(request).await?.map(Rows::Listing)),
        };
        let caller = self.commands.caller(&request)?;
        Ok(statement::get(&self.commands, caller, &handle).await?.map(Rows::Query))
    }
}

/// Rows that a ticket stands for.
pub(super) enum Rows {
    Query(Answer),
    Listing(BoxStream<'static, Result<FlightData, Status>>),
}

/// Actions that the door knows, with what each does.
const ACTIONS: [(&str, &str); 10] = [
    ("CreatePreparedStatement", "Plans a statement and answers a handle for it"),
    ("ClosePreparedStatement", "Gives a handle up; the server keeps nothing for it"),
    ("CancelQuery", "Stops a query by its FlightInfo"),
    (cancel::CANCEL, "Stops a query by its FlightInfo"),
    (poll::RENEW, "Tells the time of an endpoint of a polled query anew"),
    (session::SET, "Sets catalog, schema, compression and endpoints of a session, which the client keeps as a cookie"),
    (session::GET, "Tells the options of a session"),
    (session::CLOSE, "Ends a session"),
    ("BeginTransaction", "Refused: every query reads one consistent state, every write is one commit"),
    ("EndTransaction", "Refused, as BeginTransaction"),
];

#[tonic::async_trait]
impl FlightService for FlightDoor {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<Outcome, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        handshake::answer(&self.commands.app, request).await
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented("there are no flights to list: ask with Flight SQL, GetTables tells what there is"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        command(request.get_ref())?;
        self.commands.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        command(request.get_ref())?;
        let caller = self.commands.caller(&request)?;
        match poll::read(&self.commands, &caller, request.get_ref())? {
            Some(poll::Asked::Again(stored)) => return poll::again(&self.commands, &caller, &stored).await,
            Some(poll::Asked::Begin(handle)) => {
                if let Some(begun) = poll::begin(&self.commands, &caller, &handle).await? {
                    return Ok(begun);
                }
            }
            None => {}
        }
        let info = Some(self.get_flight_info(request).await?.into_inner());
        Ok(Response::new(PollInfo { info, flight_descriptor: None, progress: Some(1.0), expiration_time: None }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        command(request.get_ref())?;
        // To ask for the info of a statement that writes is to run it; to ask for its columns is not.
        let caller = self.commands.caller(&request)?;
        if let Some(poll::Asked::Begin(handle)) = poll::read(&self.commands, &caller, request.get_ref())?
            && written::is_write(&handle.sql)
        {
            let info = rows::info_of(Vec::new(), &written::schema(&handle.sql), request.into_inner())?;
            return Ok(Response::new(SchemaResult { schema: info.schema }));
        }
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.commands.do_get(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.commands.do_put(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let name = request.get_ref().r#type.as_str();
        if ![cancel::CANCEL, poll::RENEW, session::SET, session::GET, session::CLOSE].contains(&name) {
            return self.commands.do_action(request).await;
        }
        let (commands, caller, body) = (&self.commands, self.commands.caller(&request)?, &request.get_ref().body);
        let mut cookie = None;
        let answer = match name {
            cancel::CANCEL => commands.cancel_flight(&caller, body)?,
            poll::RENEW => poll::renew(commands, &caller, body)?,
            session::SET => {
                let (answer, kept) = session::set(commands, &caller, body).await?;
                cookie = Some(commands.sessions.keep(kept, &caller.principal)?);
                answer
            }
            session::CLOSE => {
                cookie = Some(Sessions::forget());
                session::close(commands, &caller)
            }
            _ => session::get(&caller),
        };
        let mut response = Response::new(stream::iter([Ok(Outcome::new(answer))]).boxed());
        if let Some(cookie) = cookie {
            response.metadata_mut().insert("set-cookie", cookie);
        }
        Ok(response)
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions =
            ACTIONS.map(|(name, does)| Ok(ActionType { r#type: name.to_owned(), description: does.to_owned() }));
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented(
            "DoExchange is not offered: send a statement with GetFlightInfo and fetch with DoGet",
        ))
    }
}

fn command(descriptor: &FlightDescriptor) -> Result<(), Status> {
    if descriptor.r#type() == DescriptorType::Path {
        return Err(Status::invalid_argument("flights have no paths here: send a Flight SQL command"));
    }
    Ok(())
}

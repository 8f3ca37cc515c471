use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
    encode::FlightDataEncoderBuilder,
    flight_service_server::{FlightService, FlightServiceServer},
    sql::client::FlightSqlServiceClient,
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint, Server},
};

/// A Flight SQL client of a server at `host:port`.
///
/// # Errors
/// When nobody answers there.
pub async fn client(address: &str, token: &str) -> Result<FlightSqlServiceClient<Channel>> {
    let channel = Endpoint::new(format!("http://{address}"))?.connect().await?;
    let mut client = FlightSqlServiceClient::new(channel);
    client.set_token(token.to_owned());
    Ok(client)
}

/// The floor of streaming: arrow-flight alone, answering each ticket with batches that are in memory.
#[derive(Debug, Clone)]
pub struct Memory {
    batches: Arc<Vec<RecordBatch>>,
}

/// Starts the floor on a free port and returns its address.
///
/// # Errors
/// When there is no port.
pub async fn serve_memory(batches: Vec<RecordBatch>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let service = FlightServiceServer::new(Memory { batches: Arc::new(batches) });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("the floor only answers tickets"))
}

#[tonic::async_trait]
impl FlightService for Memory {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let batches = stream::iter(self.batches.as_ref().clone()).map(Ok);
        let data = FlightDataEncoderBuilder::new().build(batches).map_err(|error| Status::internal(error.to_string()));
        Ok(Response::new(data.boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        absent()
    }
    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        absent()
    }
    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        absent()
    }
    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        absent()
    }
    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        absent()
    }
    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        absent()
    }
    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        absent()
    }
    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        absent()
    }
    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        absent()
    }
}

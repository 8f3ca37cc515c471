use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use arrow_flight::{FlightData, Ticket, flight_service_server::FlightServiceServer};
use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use http::header::CONTENT_TYPE;
use tonic::{
    Request, Status, Streaming,
    body::Body,
    codec::Codec,
    metadata::{GRPC_CONTENT_TYPE, MetadataMap},
    server::NamedService,
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{
    door::{FlightDoor, Rows},
    sent::{Message, Sent},
};

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// The Flight service, whose DoGet sends columns without copying them.
#[derive(Debug, Clone)]
pub struct Flight {
    server: FlightServiceServer<FlightDoor>,
    door: FlightDoor,
    /// Bytes of a message, in and out.
    longest: usize,
}

impl Flight {
    pub(super) fn new(door: FlightDoor, longest: usize) -> Self {
        let server = FlightServiceServer::new(door.clone());
        let server = server.max_decoding_message_size(longest).max_encoding_message_size(longest);
        Self { server, door, longest }
    }

    async fn get(self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let codec = ProstCodec::<FlightData, Ticket>::default().decoder();
        let mut asked = Streaming::new_request(codec, body, None, Some(self.longest));
        let ticket = asked.try_next().await?.ok_or_else(|| Status::invalid_argument("the request has no ticket"))?;
        // To its end, which HTTP/2 wants to be read.
        asked.trailers().await?;
        let metadata = MetadataMap::from_headers(parts.headers);
        let rows = self.door.rows(Request::from_parts(metadata, parts.extensions, ticket)).await?;
        let response = rows.map(|rows| match rows {
            Rows::Query(answer) => answer.messages(),
            Rows::Listing(encoded) => encoded.map_ok(Message::from).boxed(),
        });
        let (metadata, messages, extensions) = response.into_parts();
        let mut sent = Sent::new(messages, self.longest);
        sent.begun().await;
        let mut response = http::Response::new(Body::new(sent));
        *response.headers_mut() = metadata.into_headers();
        *response.extensions_mut() = extensions;
        response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
        Ok(response)
    }
}

impl NamedService for Flight {
    const NAME: &'static str = <FlightServiceServer<FlightDoor> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Flight {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // A request that is compressed is refused there, as those of the other methods are.
        if request.uri().path() != DO_GET || request.headers().contains_key("grpc-encoding") {
            return self.server.call(request);
        }
        let service = self.clone();
        Box::pin(async move { Ok(service.get(request).await.unwrap_or_else(Status::into_http)) })
    }
}

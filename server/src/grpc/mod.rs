//! The gRPC door: `mavis.v1`, health, reflection, and Flight SQL beside them.

mod caller;
pub(crate) mod convert;
mod gathered;
mod hidden;
mod import;
mod ingest;
mod maintenance;
mod mapping;
mod quarantine;
mod schedule;
mod status;
mod token;
mod visible;
mod whole;

use std::{any::Any, future::Future, io, time::Duration};

use futures::{Stream, StreamExt};
use mavis_proto::v1::{
    ingest_service_server::IngestServiceServer, maintenance_service_server::MaintenanceServiceServer,
    mapping_service_server::MappingServiceServer, quarantine_service_server::QuarantineServiceServer,
    schedule_service_server::ScheduleServiceServer, token_service_server::TokenServiceServer,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Status,
    body::Body,
    service::Routes,
    transport::{Server, server::Connected},
};
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::error;

use crate::{App, auth::AuthLayer, flight};

pub(crate) use status::short;
pub use status::status;

use gathered::Gathered;

/// The service of the door, ready to be served.
///
/// # Errors
/// When the descriptors cannot be read.
pub(crate) async fn door(app: &App) -> anyhow::Result<Door> {
    // Wider windows than HTTP/2 begins with, for uploads and result streams; a client that is gone is found out.
    let server = Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(256 << 10)
        .http2_keepalive_interval(Some(Duration::from_secs(30)));
    Ok(Door { server, auth: AuthLayer::new(app.auth.clone()), routes: routes(app).await? })
}

/// The door before it is opened.
#[derive(Debug)]
pub(crate) struct Door {
    server: Server,
    auth: AuthLayer,
    routes: Routes,
}

impl Door {
    /// Answers until told to stop, then lets open requests come to their end.
    pub(crate) async fn serve<I, C>(
        self,
        incoming: I,
        until: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error>
    where
        I: Stream<Item = io::Result<C>>,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let guard: fn(Box<dyn Any + Send>) -> ::http::Response<Body> = panicked;
        self.server
            .layer(CatchPanicLayer::custom(guard))
            .layer(MapRequestLayer::new(whole::whole))
            .layer(self.auth)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming.map(|accepted| accepted.map(Gathered::new)), until)
            .await
    }
}

/// A panic is a defect of ours; what it says may hold a value and stays in the process.
fn panicked(_: Box<dyn Any + Send>) -> ::http::Response<Body> {
    error!("a request panicked");
    Status::internal("the server failed").into_http()
}

async fn routes(app: &App) -> anyhow::Result<Routes> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(mavis_proto::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let limit = app.config.grpc.max_message_bytes;
    let app = app.clone();
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(reflection)
        .add_service(flight::service(&app))
        .add_service(IngestServiceServer::new(ingest::Ingest { app: app.clone() }).max_decoding_message_size(limit))
        .add_service(MappingServiceServer::new(mapping::Mappings { app: app.clone() }).max_decoding_message_size(limit))
        .add_service(
            QuarantineServiceServer::new(quarantine::Quarantine { app: app.clone() }).max_decoding_message_size(limit),
        )
        .add_service(ScheduleServiceServer::new(schedule::Schedules { app: app.clone() }))
        .add_service(TokenServiceServer::new(token::Tokens { app: app.clone() }))
        .add_service(MaintenanceServiceServer::new(maintenance::Maintenance { app }));
    Ok(routes.routes())
}

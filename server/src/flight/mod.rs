//! Arrow Flight SQL, on the port of the gRPC door.

use arrow_flight::{
    flight_service_server::{FlightService, FlightServiceServer},
    sql::{SqlInfo, server::FlightSqlService},
};

use crate::App;

/// The service as it is mounted beside `mavis.v1`. Its requests carry the [`Principal`](mavis_types::Principal) in their
/// extensions, put there by [`crate::auth::AuthLayer`]; only Handshake comes without one.
pub fn service(app: &App) -> FlightServiceServer<FlightDoor> {
    FlightServiceServer::new(FlightDoor { app: app.clone() })
        .max_decoding_message_size(app.config.grpc.max_message_bytes)
        .max_encoding_message_size(app.config.grpc.max_message_bytes)
}

/// Answers Flight SQL commands.
#[derive(Debug, Clone)]
pub struct FlightDoor {
    #[allow(dead_code, reason = "the commands that use it come with the door")]
    app: App,
}

#[tonic::async_trait]
impl FlightSqlService for FlightDoor {
    type FlightService = FlightDoor;

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

// `FlightSqlService` answers `FlightService` for whoever implements it; this names the bound that mounting needs.
const _: fn() = || {
    fn mounts<T: FlightService>() {}
    mounts::<FlightDoor>();
};

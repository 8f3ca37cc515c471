use std::{
    borrow::Cow,
    net::IpAddr,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tonic::{
    Status,
    body::Body,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tower::{Layer, Service};

use super::{Auth, Denied, Door, Lasting, token};

/// Layer of the gRPC door: puts the [`Principal`](mavis_types::Principal) into the request's extensions, or answers
/// UNAUTHENTICATED. Health and reflection need no token, and neither does the Flight handshake, which is how a client
/// shows one.
#[derive(Debug, Clone)]
pub struct AuthLayer {
    auth: Auth,
}

impl AuthLayer {
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService { auth: self.auth.clone(), inner }
    }
}

#[derive(Debug, Clone)]
pub struct AuthService<S> {
    auth: Auth,
    inner: S,
}

/// Paths that need no token.
fn is_open(path: &str) -> bool {
    path.starts_with("/grpc.health.")
        || path.starts_with("/grpc.reflection.")
        || path == "/arrow.flight.protocol.FlightService/Handshake"
}

fn peer(request: &::http::Request<Body>) -> Option<IpAddr> {
    let extensions = request.extensions();
    let address = match extensions.get::<TcpConnectInfo>() {
        Some(info) => info.remote_addr(),
        None => extensions.get::<TlsConnectInfo<TcpConnectInfo>>().and_then(|info| info.get_ref().remote_addr()),
    };
    address.map(|address| address.ip())
}

impl<S> Service<::http::Request<Body>> for AuthService<S>
where
    S: Service<::http::Request<Body>, Response = ::http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: ::http::Request<Body>) -> Self::Future {
        // The service that was polled ready is the one to call; its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let auth = self.auth.clone();
        Box::pin(async move {
            if !is_open(request.uri().path()) {
                let door = Door::of_grpc_path(request.uri().path());
                let token = token(request.headers()).map(Cow::into_owned);
                match auth.authenticate(token.as_deref(), peer(&request), door).await {
                    Ok(principal) => {
                        let lasting = token.map(|token| Lasting::new(&auth, &token, &principal));
                        request.extensions_mut().insert(principal);
                        if let Some(lasting) = lasting {
                            request.extensions_mut().insert(lasting);
                        }
                    }
                    Err(denied) => return Ok(Status::from(denied).into_http()),
                }
            }
            inner.call(request).await
        })
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        if denied.is_forbidden() {
            Status::permission_denied(message)
        } else if denied.is_passing() {
            Status::unavailable(message)
        } else {
            Status::unauthenticated(message)
        }
    }
}

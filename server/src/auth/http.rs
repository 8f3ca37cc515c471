use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Auth, Door, token};
use crate::{http::ApiError, listen::Peer};

/// Middleware of every HTTP route that needs a token: puts the [`Principal`](mavis_types::Principal) into the request's
/// extensions, or answers 401.
pub async fn require_token(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
    let door = Door::of_http_path(request.uri().path());
    match auth.authenticate(token(request.headers()).as_deref(), peer, door).await {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(denied) => ApiError::from(denied).into_response(),
    }
}

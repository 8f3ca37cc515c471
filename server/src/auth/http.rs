use std::borrow::Cow;

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Auth, Door, Lasting, token};
use crate::{http::ApiError, listen::Peer};

/// Middleware of every HTTP route that needs a token: puts the [`Principal`](mavis_types::Principal) into the request's
/// extensions, or answers 401.
pub async fn require_token(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
    let door = Door::of_http_path(request.uri().path());
    let token = token(request.headers()).map(Cow::into_owned);
    match auth.authenticate(token.as_deref(), peer, door).await {
        Ok(principal) => {
            let lasting = token.map(|token| Lasting::new(&auth, &token, &principal));
            request.extensions_mut().insert(principal);
            if let Some(lasting) = lasting {
                request.extensions_mut().insert(lasting);
            }
            next.run(request).await
        }
        Err(denied) => ApiError::from(denied).into_response(),
    }
}

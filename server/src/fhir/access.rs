use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::outcome::Outcome;
use crate::{
    auth::{Auth, Door, token},
    listen::Peer,
};

/// As [`crate::auth::require_token`], with an OperationOutcome for who is not let in.
pub(super) async fn require_token(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
    match auth.authenticate(token(request.headers()).as_deref(), peer, Door::Fhir).await {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(denied) => Outcome::from(denied).into_response(),
    }
}

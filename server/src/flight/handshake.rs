use arrow_flight::{BasicAuth, HandshakeRequest, HandshakeResponse};
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

use crate::{
    App,
    auth::{Denied, Door, of_authorization},
};

/// Turns a user name and a password, the password being a token, into the bearer token that the client then sends. Any
/// user name will do. The two come in an `authorization: Basic` header, or in the first message (older clients).
pub(super) async fn answer(
    app: &App,
    mut request: Request<Streaming<HandshakeRequest>>,
) -> Result<Response<BoxStream<'static, Result<HandshakeResponse, Status>>>, Status> {
    let peer = request.remote_addr().map(|address| address.ip());
    let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let token = match header.as_deref().and_then(of_authorization) {
        Some(token) => Some(token.into_owned()),
        None => match request.get_mut().next().await {
            Some(message) => of_message(&message?.payload),
            None => None,
        },
    };
    let token = token.ok_or(Denied::Missing)?;
    app.auth.authenticate(Some(&token), peer, Door::Flight).await?;
    let answer = HandshakeResponse { protocol_version: 0, payload: Bytes::from(token.clone().into_bytes()) };
    let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| Denied::Unknown)?;
    response.metadata_mut().insert("authorization", bearer);
    Ok(response)
}

fn of_message(payload: &Bytes) -> Option<String> {
    BasicAuth::decode(payload.clone()).ok().map(|auth| auth.password).filter(|password| !password.is_empty())
}

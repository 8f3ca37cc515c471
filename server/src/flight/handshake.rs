use arrow_flight::{BasicAuth, HandshakeRequest, HandshakeResponse};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

use crate::{
    App,
    auth::{Denied, Door},
};

/// Base64 with padding or without: arrow's Go client, and so ADBC, leaves it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Turns a user name and a password, the password being a token, into the bearer token that the client then sends. Any
/// user name will do. The two come in an `authorization: Basic` header, or in the first message (older clients).
pub(super) async fn answer(
    app: &App,
    mut request: Request<Streaming<HandshakeRequest>>,
) -> Result<Response<BoxStream<'static, Result<HandshakeResponse, Status>>>, Status> {
    let peer = request.remote_addr().map(|address| address.ip());
    let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let token = match header.as_deref().and_then(of_header) {
        Some(token) => Some(token),
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

/// The password of `Basic BASE64(user:password)` (RFC 7617), or the token of `Bearer TOKEN`.
fn of_header(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(rest.trim()).ok()?).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(password.to_owned())
}

fn of_message(payload: &Bytes) -> Option<String> {
    BasicAuth::decode(payload.clone()).ok().map(|auth| auth.password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Basic YWRtaW46bWF2aXNfeA==", Some("mavis_x"))]
    #[case("basic OmE6Yg==", Some("a:b"))]
    #[case("Basic OmE6Yg", Some("a:b"))]
    #[case("Bearer mavis_x", Some("mavis_x"))]
    #[case("Basic !", None)]
    #[case("Digest x", None)]
    fn the_password_is_the_token(#[case] header: &str, #[case] token: Option<&str>) {
        assert_eq!(of_header(header).as_deref(), token);
    }
}

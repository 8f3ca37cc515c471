//! A request as most handlers of the door take it, in one piece.

use axum::{
    Extension,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use mavis_types::Principal;

use crate::App;

/// Who asks for what. The body of a GET is empty.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) principal: Principal,
    /// The parameters after `?`.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) body: Bytes,
}

impl FromRequest<App> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let principal = Extension::<Principal>::from_request_parts(&mut parts, app).await;
        let Extension(principal) = principal.map_err(IntoResponse::into_response)?;
        let query = Query::<Vec<(String, String)>>::from_request_parts(&mut parts, app).await;
        let Query(query) = query.map_err(IntoResponse::into_response)?;
        let (headers, uri) = (parts.headers.clone(), parts.uri.clone());
        let body = Bytes::from_request(Request::from_parts(parts, body), app).await;
        let body = body.map_err(IntoResponse::into_response)?;
        Ok(Self { app: app.clone(), principal, query, headers, uri, body })
    }
}

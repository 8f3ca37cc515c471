use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, debug, info_span};
use uuid::Uuid;

const ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a caller.
const LONGEST: usize = 64;

/// Gives a request its id, its span and its place in the metrics. The span names the route, never the path or the query:
/// those may hold identifiers of people.
pub(super) async fn trace(request: Request, next: Next) -> Response {
    let id = request.headers().get(&ID).filter(|id| is_plain(id)).cloned();
    let id = id.or_else(|| HeaderValue::try_from(Uuid::now_v7().to_string()).ok());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| family(request.uri().path()), |p| p.as_str().to_owned());
    let method = request.method().clone();
    let text = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = info_span!("request", id = text, %method, route);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, seconds) = (response.status(), began.elapsed().as_secs_f64());
    metrics::counter!("mavis_http_requests_total", "route" => route.clone(), "status" => status.as_u16().to_string())
        .increment(1);
    metrics::histogram!("mavis_http_request_seconds", "route" => route).record(seconds);
    span.in_scope(|| debug!(status = status.as_u16(), seconds, "answered {}", status.as_u16()));
    if let Some(id) = id {
        response.headers_mut().insert(ID, id);
    }
    response
}

fn is_plain(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    !id.is_empty() && id.len() <= LONGEST && id.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

/// The route of a path that the router does not tell: few, whatever callers ask for.
fn family(path: &str) -> String {
    if path == "/fhir" || path.starts_with("/fhir/") { "/fhir".to_owned() } else { "other".to_owned() }
}

use axum::http::HeaderMap;

use crate::App;

/// The URL of this door as the caller sees it, without a slash at its end: as configured, else as the request says, a proxy's
/// word taken for it.
pub(super) fn base(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.config.http.public_url {
        return format!("{}/fhir", url.as_str().trim_end_matches('/'));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = text("x-forwarded-host").or_else(|| text("host")).unwrap_or_else(|| "localhost".to_owned());
    let scheme = text("x-forwarded-proto").filter(|scheme| scheme == "https").unwrap_or_else(|| "http".to_owned());
    format!("{scheme}://{host}/fhir")
}

//! URLs that name resources.

use mavis_fhir::bundle;

/// `http://server/fhir/Patient/7` as its root and `Patient/7`.
pub(super) fn restful(url: &str) -> Option<(&str, &str)> {
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return None;
    }
    let slash = url.rfind('/')?;
    let before = url[..slash].rfind('/')?;
    let relative = &url[before + 1..];
    bundle::relative_reference(relative).map(|_| (&url[..before], relative))
}

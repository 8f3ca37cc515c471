use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};

use super::{Outcome, content_type};

/// The JSON text of a request that carries a resource.
///
/// # Errors
/// 415 for anything that is no JSON by its content type; 400 for an empty body or one that is no UTF-8.
pub(super) fn resource(headers: &HeaderMap, body: Bytes) -> Result<String, Outcome> {
    if let Some(kind) = content_type(headers) {
        let mut parts = kind.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media = parts.next().unwrap_or_default();
        let is_json = matches!(
            media.as_str(),
            "application/fhir+json" | "application/json" | "application/json+fhir" | "text/json"
        );
        let is_utf8 = parts
            .filter_map(|part| part.strip_prefix("charset=").map(|set| set.trim_matches('"').to_owned()))
            .all(|set| matches!(set.as_str(), "utf-8" | "utf8" | "us-ascii"));
        if !is_json || !is_utf8 {
            let message = "resources are taken as `application/fhir+json` in UTF-8";
            return Err(Outcome::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", message));
        }
    }
    if body.is_empty() {
        return Err(Outcome::invalid("the request has no body: a resource is expected"));
    }
    String::from_utf8(body.into()).map_err(|_| Outcome::invalid("the body is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some("application/fhir+json"), "{}", true)]
    #[case(Some("application/fhir+json; fhirVersion=4.0; charset=UTF-8"), "{}", true)]
    #[case(Some("application/json"), "{}", true)]
    #[case(None, "{}", true)]
    #[case(Some("application/fhir+xml"), "{}", false)]
    #[case(Some("application/x-www-form-urlencoded"), "{}", false)]
    #[case(Some("application/json; charset=latin1"), "{}", false)]
    #[case(Some("application/json"), "", false)]
    fn json_is_taken_by_any_of_its_names(#[case] kind: Option<&str>, #[case] body: &'static str, #[case] taken: bool) {
        let headers = kind.map(|kind| (header::CONTENT_TYPE, kind.parse().unwrap())).into_iter().collect();
        assert_eq!(resource(&headers, Bytes::from_static(body.as_bytes())).is_ok(), taken);
    }
}

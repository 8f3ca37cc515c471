//! What a client knows already: `ETag`, `Last-Modified`, and the conditions made of them (R4, "http.html", sections
//! "Conditional read" and "Managing Resource Contention"; RFC 9110, sections 8.8.3 and 13).

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};

/// Says which version an answer is of.
pub(super) fn stamp(headers: &mut HeaderMap, version: i64, last_updated: DateTime<Utc>) {
    if let Ok(etag) = HeaderValue::from_str(&format!("W/\"{version}\"")) {
        headers.insert(header::ETAG, etag);
    }
    let modified = last_updated.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(modified) = HeaderValue::from_str(&modified) {
        headers.insert(header::LAST_MODIFIED, modified);
    }
}

/// Whether the client has this version: then a read answers 304. `If-None-Match` makes `If-Modified-Since` count for
/// nothing; a date that cannot be read does too.
pub(super) fn is_known(headers: &HeaderMap, version: i64, last_updated: DateTime<Utc>) -> bool {
    let mut tags = headers.get_all(header::IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        return tags.filter_map(|value| value.to_str().ok()).any(|tags| names(tags, version));
    }
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    // HTTP's dates know no parts of a second.
    since.and_then(date).is_some_and(|since| last_updated.timestamp() <= since.timestamp())
}

/// Whether one of the entity tags is this version's. Tags of FHIR are weak, and compared so.
fn names(tags: &str, version: i64) -> bool {
    tags.split(',').any(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&version.to_string())
    })
}

/// The version that `If-Match` asks for. Clients are lenient about quotes, so are we.
///
/// # Errors
/// With what is wrong, where the header names no version or several.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<i64>, &'static str> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    version_of(value.to_str().unwrap_or_default()).map(Some)
}

/// The version of an entity tag, as `If-Match` and `Bundle.entry.request.ifMatch` have it.
pub(super) fn version_of(tag: &str) -> Result<i64, &'static str> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    match tag.parse() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err("the entity tag of a version is expected, such as W/\"3\""),
    }
}

fn date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use rstest::rstest;

    use super::*;

    fn known(pairs: &[(header::HeaderName, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let updated = Utc.with_ymd_and_hms(2024, 3, 1, 12, 0, 0).unwrap() + chrono::Duration::milliseconds(345);
        is_known(&headers, 3, updated)
    }

    #[rstest]
    #[case(&[], false)]
    #[case(&[(header::IF_NONE_MATCH, "W/\"3\"")], true)]
    #[case(&[(header::IF_NONE_MATCH, "\"3\"")], true)]
    #[case(&[(header::IF_NONE_MATCH, "W/\"2\", W/\"3\"")], true)]
    #[case(&[(header::IF_NONE_MATCH, "*")], true)]
    #[case(&[(header::IF_NONE_MATCH, "W/\"33\"")], false)]
    #[case(&[(header::IF_MODIFIED_SINCE, "Fri, 01 Mar 2024 12:00:00 GMT")], true)]
    #[case(&[(header::IF_MODIFIED_SINCE, "Fri, 01 Mar 2024 11:59:59 GMT")], false)]
    #[case(&[(header::IF_MODIFIED_SINCE, "not a date")], false)]
    #[case(&[(header::IF_NONE_MATCH, "W/\"2\""), (header::IF_MODIFIED_SINCE, "Fri, 01 Mar 2024 12:00:00 GMT")], false)]
    fn a_client_that_has_the_version_is_told_so(#[case] pairs: &[(header::HeaderName, &str)], #[case] is: bool) {
        assert_eq!(known(pairs), is);
    }

    #[rstest]
    #[case("W/\"12\"", Some(12))]
    #[case("\"12\"", Some(12))]
    #[case("12", Some(12))]
    #[case("*", None)]
    #[case("W/\"0\"", None)]
    #[case("W/\"1\", W/\"2\"", None)]
    fn if_match_names_one_version(#[case] tag: &str, #[case] version: Option<i64>) {
        assert_eq!(version_of(tag).ok(), version);
    }

    #[test]
    fn an_answer_says_its_version_and_its_time() {
        let mut headers = HeaderMap::new();
        stamp(&mut headers, 4, Utc.with_ymd_and_hms(2024, 3, 1, 2, 3, 4).unwrap());
        assert_eq!(headers[header::ETAG], "W/\"4\"");
        assert_eq!(headers[header::LAST_MODIFIED], "Fri, 01 Mar 2024 02:03:04 GMT");
    }
}

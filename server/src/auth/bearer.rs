use ::http::{HeaderMap, header::AUTHORIZATION};

/// The token of an `authorization: Bearer TOKEN` header; the scheme is read case-insensitively (RFC 9110, section 11.1).
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer  abc ", Some("abc"))]
    #[case("Basic YTpi", None)]
    #[case("Bearer ", None)]
    #[case("abc", None)]
    fn only_bearer_tokens_are_read(#[case] value: &str, #[case] token: Option<&str>) {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&headers), token);
    }
}

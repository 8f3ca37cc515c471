use std::borrow::Cow;

use ::http::{HeaderMap, header::AUTHORIZATION};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Base64 with padding or without: arrow's Go client, and so ADBC, leaves it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token of a request ([`of_authorization`]).
#[must_use]
pub fn token(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    of_authorization(headers.get(AUTHORIZATION)?.to_str().ok()?)
}

/// The token of `Bearer TOKEN` (RFC 6750), or the password of `Basic BASE64(user:password)` (RFC 7617), for clients that know
/// nothing else; any user name will do. The scheme is read case-insensitively (RFC 9110, section 11.1).
#[must_use]
pub fn of_authorization(value: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then_some(Cow::Borrowed(rest));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
    let (_, password) = text.split_once(':')?;
    (!password.is_empty()).then(|| Cow::Owned(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer  abc ", Some("abc"))]
    #[case("Basic YTpi", Some("b"))]
    #[case("Basic YWRtaW46bWF2aXNfeA==", Some("mavis_x"))]
    #[case("basic OmE6Yg==", Some("a:b"))]
    #[case("Basic OmE6Yg", Some("a:b"))]
    #[case("Basic YTo=", None)]
    #[case("Basic !", None)]
    #[case("Digest x", None)]
    #[case("Bearer ", None)]
    #[case("abc", None)]
    fn a_token_comes_as_bearer_or_as_a_password(#[case] value: &str, #[case] expected: Option<&str>) {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(token(&headers).as_deref(), expected);
    }
}

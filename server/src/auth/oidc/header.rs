use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, de::DeserializeOwned};

use super::Fault;

/// The first part of a signed token (RFC 7515, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key: Option<String>,
}

#[derive(Deserialize)]
struct Parts {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    enc: Option<serde_json::Value>,
}

impl Header {
    /// Reads it, before anything is verified. `taken`: the algorithms of the issuer.
    pub(super) fn read(token: &str, taken: &[Algorithm]) -> Result<Self, Fault> {
        let parts: Parts = part(token, 0).ok_or(Fault::Malformed)?;
        // Extensions that must be understood (RFC 7515, section 4.1.11), and encryption: neither is known here.
        if parts.crit.is_some() || parts.enc.is_some() {
            return Err(Fault::Malformed);
        }
        // Tokens of other kinds have the same form (logout tokens, for one) and are no access (RFC 8725, section 3.11).
        let kind = parts.typ.as_deref().unwrap_or("JWT");
        let kind = kind.rsplit('/').next().unwrap_or(kind);
        if !["jwt", "at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return Err(Fault::Malformed);
        }
        let algorithm = algorithm(&parts.alg).filter(|algorithm| taken.contains(algorithm));
        Ok(Self { algorithm: algorithm.ok_or(Fault::Algorithm)?, key: parts.kid })
    }
}

/// An algorithm with a public key; there are no others here.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// All that are known.
pub(super) const ALL: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// A part of the token as JSON, not verified.
pub(super) fn part<T: DeserializeOwned>(token: &str, index: usize) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(index)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(header: &str) -> Result<Header, Fault> {
        let all: Vec<Algorithm> = ALL.iter().filter_map(|name| algorithm(name)).collect();
        assert_eq!(all.len(), ALL.len());
        Header::read(&format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header)), &all)
    }

    #[rstest]
    #[case(r#"{"alg":"none"}"#, Fault::Algorithm)]
    #[case(r#"{"alg":"None","typ":"JWT"}"#, Fault::Algorithm)]
    #[case(r#"{"alg":"HS256","typ":"JWT"}"#, Fault::Algorithm)]
    #[case(r#"{"alg":"HS512"}"#, Fault::Algorithm)]
    #[case(r#"{"alg":"rs256"}"#, Fault::Algorithm)]
    #[case(r#"{"alg":"RS256","crit":["exp"]}"#, Fault::Malformed)]
    #[case(r#"{"alg":"RS256","crit":[]}"#, Fault::Malformed)]
    #[case(r#"{"alg":"RS256","enc":"A128GCM"}"#, Fault::Malformed)]
    #[case(r#"{"alg":"RS256","typ":"logout+jwt"}"#, Fault::Malformed)]
    #[case(r#"{"typ":"JWT"}"#, Fault::Malformed)]
    #[case("not json", Fault::Malformed)]
    fn what_is_not_known_is_refused(#[case] header: &str, #[case] fault: Fault) {
        assert_eq!(read(header), Err(fault));
    }

    #[rstest]
    #[case(r#"{"alg":"RS256","kid":"a","typ":"JWT"}"#, Algorithm::RS256, Some("a"))]
    #[case(r#"{"alg":"EdDSA","typ":"at+jwt"}"#, Algorithm::EdDSA, None)]
    #[case(r#"{"alg":"ES256","typ":"application/at+JWT"}"#, Algorithm::ES256, None)]
    fn what_is_known_is_read(#[case] header: &str, #[case] algorithm: Algorithm, #[case] key: Option<&str>) {
        assert_eq!(read(header), Ok(Header { algorithm, key: key.map(str::to_owned) }));
    }
}

//! Addresses: whose they are, what of them may be shown, and what may not stand in them.

use url::Url;

/// A declared address: http or https, without user, password and fragment.
pub(crate) fn base(field: &str, text: &str) -> Result<Url, String> {
    let url: Url = text.trim().parse().map_err(|error| format!("`{field}` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{field}` is not an http or https address"));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err(format!("`{field}` holds a user or a secret: take it out, and declare `auth`"));
    }
    if let Some((name, _)) = url.query_pairs().find(|(name, _)| names_a_secret(name).is_some()) {
        return Err(format!("`{field}` holds a secret in its parameter `{name}`: take it out, and declare `auth`"));
    }
    Ok(url)
}

/// An address without what may be secret or personal in it: user, query and fragment.
pub(crate) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

pub(crate) fn same_origin(one: &Url, two: &Url) -> bool {
    one.scheme() == two.scheme()
        && one.host() == two.host()
        && one.port_or_known_default() == two.port_or_known_default()
}

/// Why a declared header or parameter may not stand in the open.
pub(crate) fn names_a_secret(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let is_secret = ["authorization", "proxy_authorization", "cookie"].contains(&lower.as_str())
        || ["token", "secret", "api_key", "apikey", "password", "access_key"].iter().any(|word| lower.contains(word));
    is_secret.then_some("holds a secret: take it out, and declare `auth` (the secret comes from the environment)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn an_address_is_shown_without_user_and_query() {
        let url: Url = "https://reader:tiger@h:8443/export/p?since=2024&key=lion#x".parse().unwrap();
        assert_eq!(shown(&url), "https://h:8443/export/p");
    }

    #[rstest]
    #[case("https://h/a", "https://h:443/b", true)]
    #[case("https://h/a", "http://h/a", false)]
    #[case("https://h/a", "https://h.evil/a", false)]
    #[case("http://h:8080/", "http://h:8081/", false)]
    fn an_origin_is_scheme_host_and_port(#[case] one: &str, #[case] two: &str, #[case] same: bool) {
        assert_eq!(same_origin(&one.parse().unwrap(), &two.parse().unwrap()), same);
    }

    #[rstest]
    #[case("X-Api-Key", true)]
    #[case("Authorization", true)]
    #[case("access_token", true)]
    #[case("X-Tenant", false)]
    #[case("Accept", false)]
    fn what_is_called_like_a_secret_is_refused(#[case] name: &str, #[case] refused: bool) {
        assert_eq!(names_a_secret(name).is_some(), refused);
    }
}

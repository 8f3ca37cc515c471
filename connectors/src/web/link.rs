//! `Link` headers (RFC 8288), as far as paging uses them.

use reqwest::header::{HeaderMap, LINK};

/// The target of the link whose relation is `next`.
pub(crate) fn next_link(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next_of)
}

fn next_of(value: &str) -> Option<String> {
    let mut rest = value;
    while let Some(start) = rest.find('<') {
        let after = &rest[start + 1..];
        let end = after.find('>')?;
        let (target, params) = (&after[..end], &after[end + 1..]);
        // The parameters end where the next link begins.
        let stop = params.find(",<").or_else(|| params.find(", <")).unwrap_or(params.len());
        let is_next = params[..stop].split(';').any(|param| {
            param.split_once('=').is_some_and(|(name, relations)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && relations
                        .trim()
                        .trim_end_matches(',')
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = &params[stop..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("<https://h/p?page=2>; rel=\"next\", <https://h/p?page=9>; rel=\"last\"", Some("https://h/p?page=2"))]
    #[case(
        "<https://h/p?page=1>; rel=\"prev\",<https://h/p?page=3>; title=\"a\"; rel=\"next\"",
        Some("https://h/p?page=3")
    )]
    #[case("</p?a=1,2>; rel=next", Some("/p?a=1,2"))]
    #[case("<x>; rel=\"last next\"", Some("x"))]
    #[case("<https://h/p?page=1>; rel=\"prev\"", None)]
    #[case("garbage", None)]
    fn the_next_link_is_found(#[case] value: &str, #[case] next: Option<&str>) {
        assert_eq!(next_of(value).as_deref(), next);
    }
}

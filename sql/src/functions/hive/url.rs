//! `parse_url`: parts of an address, cut as Java's URL class cuts them.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, StringBuilder},
    datatypes::DataType,
};
use datafusion::common::{Result, exec_err};

use super::{
    call::{Call, Takes},
    steady,
    text::pairs,
};

/// What Java takes for a protocol.
const PROTOCOLS: [&str; 4] = ["http", "https", "ftp", "file"];

pub(super) fn functions() -> Vec<Call> {
    vec![
        steady("parse_url")
            .takes(&[Takes::Text, Takes::Text, Takes::Text], 2)
            .gives(DataType::Utf8, |args, _| parse_url(args)),
    ]
}

fn parse_url(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [urls, parts, rest @ ..] = args else { return exec_err!("an address and the name of a part are needed") };
    let keys = rest.first().map(|keys| keys.as_string::<i32>());
    let mut answers = StringBuilder::new();
    for (row, (url, part)) in pairs(urls, parts).enumerate() {
        let found = url.and_then(Url::read).zip(part).and_then(|(url, part)| url.part(part));
        answers.append_option(match keys {
            None => found,
            Some(keys) if keys.is_null(row) || part != Some("QUERY") => None,
            Some(keys) => {
                found.and_then(|query| value(&query, keys.value(row)).map(|value| Cow::Owned(value.to_owned())))
            }
        });
    }
    Ok(Arc::new(answers.finish()))
}

/// What `key=` stands before in a query.
fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

struct Url<'a> {
    protocol: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (protocol, rest) = text.trim().split_once(':')?;
        if !PROTOCOLS.iter().any(|known| protocol.eq_ignore_ascii_case(known)) {
            return None;
        }
        let (rest, reference) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
        };
        Some(Self { protocol, authority, path, query, reference })
    }

    /// A part by the name that Hive has for it.
    fn part(&self, name: &str) -> Option<Cow<'a, str>> {
        let authority = self.authority.map(|authority| match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        });
        let found = match name {
            "FILE" => {
                let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
                return Some(Cow::Owned(format!("{}{query}", self.path)));
            }
            "PROTOCOL" => Some(self.protocol),
            "AUTHORITY" => self.authority,
            "USERINFO" => authority?.0,
            "HOST" => {
                let (_, host) = authority?;
                let bracket = host.find(']').map_or(0, |at| at + 1);
                host.get(..host[bracket..].find(':').map_or(host.len(), |at| bracket + at))
            }
            "PATH" => Some(self.path),
            "QUERY" => self.query,
            "REF" => self.reference,
            _ => None,
        };
        found.map(Cow::Borrowed)
    }
}

/// What stands before and after the first such letter.
fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // What Hive's own class answers.
    #[rstest]
    #[case("PROTOCOL", Some("http"))]
    #[case("AUTHORITY", Some("u:p@a.b:80"))]
    #[case("USERINFO", Some("u:p"))]
    #[case("HOST", Some("a.b"))]
    #[case("PATH", Some("/c/d"))]
    #[case("QUERY", Some("x=1&y=2"))]
    #[case("FILE", Some("/c/d?x=1&y=2"))]
    #[case("REF", Some("f"))]
    #[case("host", None)]
    fn an_address_has(#[case] part: &str, #[case] expected: Option<&str>) {
        let url = Url::read("http://u:p@a.b:80/c/d?x=1&y=2#f").unwrap();
        assert_eq!(url.part(part).as_deref(), expected);
    }

    #[rstest]
    #[case("http://a.b", "PATH", Some(""))]
    #[case("http://a.b", "QUERY", None)]
    #[case("http://a.b?x=1", "FILE", Some("?x=1"))]
    #[case("http://[::1]:8/x", "HOST", Some("[::1]"))]
    #[case("abc", "HOST", None)]
    #[case("abc://x/y", "HOST", None)]
    fn an_address_without_has_not(#[case] url: &str, #[case] part: &str, #[case] expected: Option<&str>) {
        assert_eq!(Url::read(url).and_then(|url| url.part(part).map(Cow::into_owned)).as_deref(), expected);
    }

    #[test]
    fn a_query_has_values() {
        assert_eq!((value("x=1&y=2", "y"), value("x=1&y=2", "z")), (Some("2"), None));
    }
}

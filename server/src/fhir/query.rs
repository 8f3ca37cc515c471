//! Queries that are no text.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::outcome::Outcome;

/// Refuses a query whose escapes make no UTF-8: read as they are they would mean something else.
pub(super) async fn is_text(request: Request, next: Next) -> Response {
    match request.uri().query().map(str::as_bytes).map(check) {
        Some(Err(outcome)) => outcome.into_response(),
        _ => next.run(request).await,
    }
}

/// The same of a query or a form that came as a body.
pub(super) fn check(encoded: &[u8]) -> Result<(), Outcome> {
    if !encoded.contains(&b'%') && encoded.is_ascii() {
        return Ok(());
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match digits {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(()),
        Err(_) => Err(Outcome::invalid("the query is not UTF-8: letters are escaped byte by byte, `é` as `%C3%A9`")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("name=x", true)]
    #[case("name=%C3%A9&x=%", true)]
    #[case("name=%zz%2", true)]
    #[case("name=é", true)]
    #[case("name=%00", true)]
    #[case("name=%FF", false)]
    #[case("name=%C3", false)]
    #[case("%E9=1", false)]
    #[case("name=%C3&x=%A9", false)]
    fn escapes_make_text_or_are_refused(#[case] query: &str, #[case] is_text: bool) {
        assert_eq!(check(query.as_bytes()).is_ok(), is_text);
    }
}

//! Which format the caller wants (R4, "http.html", section "Content Types and encodings"): JSON, plain or pretty.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::outcome::{FHIR_JSON, Outcome};

/// How an answer is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    pretty: bool,
}

impl Format {
    /// From `_format` and `_pretty`, which win, and `Accept`.
    ///
    /// # Errors
    /// 406 where the caller takes no JSON.
    pub(super) fn of(headers: &HeaderMap, parameters: &[(String, String)]) -> Result<Self, Outcome> {
        let find = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let wanted = match find("_format") {
            Some(format) => format.to_owned(),
            None => headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*").to_owned(),
        };
        let takes_json = wanted.split(',').any(|part| {
            let media = part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            // A `+` in a query that was not encoded has become a blank.
            matches!(
                media.as_str(),
                "" | "json"
                    | "text/json"
                    | "application/json"
                    | "application/fhir+json"
                    | "application/fhir json"
                    | "application/json+fhir"
                    | "application/*"
                    | "*/*"
                    | "text/html"
            )
        });
        if !takes_json {
            let message = "only JSON is spoken here: ask for `application/fhir+json`";
            return Err(Outcome::new(StatusCode::NOT_ACCEPTABLE, "not-supported", message));
        }
        let pretty = match find("_pretty") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Outcome::invalid("`_pretty` is true or false")),
        };
        Ok(Self { pretty })
    }

    /// A JSON text as an answer.
    pub(super) fn answer(self, status: StatusCode, json: String) -> Response {
        let json = if self.pretty { prettier(&json) } else { json };
        let mut response = (status, Body::from(json)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
        response
    }
}

/// The same JSON with line breaks and indentation; names, texts and numbers stay as they were written.
fn prettier(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut characters = json.chars().peekable();
    while let Some(c) = characters.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = characters.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(accept: Option<&str>, parameters: &[(&str, &str)]) -> Result<Format, Outcome> {
        let headers = accept.map(|accept| (header::ACCEPT, accept.parse().unwrap())).into_iter().collect();
        let parameters: Vec<_> = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Format::of(&headers, &parameters)
    }

    #[rstest]
    #[case(None, &[], true)]
    #[case(Some("application/fhir+json"), &[], true)]
    #[case(Some("application/fhir+xml, application/json;q=0.5"), &[], true)]
    #[case(Some("application/fhir+xml"), &[], false)]
    #[case(Some("application/fhir+xml"), &[("_format", "json")], true)]
    #[case(None, &[("_format", "application/fhir json")], true)]
    #[case(None, &[("_format", "xml")], false)]
    fn json_is_answered_to_whoever_takes_it(
        #[case] accept: Option<&str>,
        #[case] parameters: &[(&str, &str)],
        #[case] taken: bool,
    ) {
        assert_eq!(of(accept, parameters).is_ok(), taken);
    }

    #[test]
    fn pretty_json_keeps_every_number_and_text_as_written() {
        let json = r#"{"a":[1.50,{"b":"x, {y}: \"z\""}],"c":[],"d":{}}"#;
        let pretty = prettier(json);
        assert_eq!(
            pretty,
            "{\n  \"a\": [\n    1.50,\n    {\n      \"b\": \"x, {y}: \\\"z\\\"\"\n    }\n  ],\n  \"c\": [],\n  \"d\": {}\n}"
        );
    }
}

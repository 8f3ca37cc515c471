use axum::http::{HeaderMap, StatusCode, header::ACCEPT};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::ApiError;

pub(in crate::http) const PARQUET: &str = "application/vnd.apache.parquet";

/// What rows are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Asked {
    /// `json`, `ndjson`, `csv`, `arrow` or `parquet`, whatever `Accept` says.
    format: Option<String>,
}

impl Asked {
    /// As a route with parameters of its own reads it.
    pub(in crate::http) fn of(format: Option<String>) -> Self {
        Self { format }
    }
}

/// Word, media types that ask for it (the first is the one answered).
const OFFERED: [(Format, &str, &[&str]); 5] = [
    (Format::Json, "json", &["application/json"]),
    (Format::Ndjson, "ndjson", &["application/x-ndjson", "application/ndjson", "application/jsonl"]),
    (Format::Csv, "csv", &["text/csv"]),
    (Format::Arrow, "arrow", &["application/vnd.apache.arrow.stream"]),
    (Format::Parquet, "parquet", &[PARQUET]),
];

impl Format {
    /// The format that `?format=` names, or the one that `Accept` likes best (RFC 9110, section 12.5.1); JSON where both
    /// say nothing, and where `Accept` likes several the same.
    ///
    /// # Errors
    /// 400 for an unknown word, 406 when nothing that is offered is accepted.
    pub(in crate::http) fn choose(asked: &Asked, headers: &HeaderMap) -> Result<Self, ApiError> {
        if let Some(word) = &asked.format {
            let found = OFFERED.iter().find(|(_, name, _)| word.eq_ignore_ascii_case(name));
            return found.map(|(format, ..)| *format).ok_or_else(|| {
                ApiError::invalid(format!("there is no format `{word}`: use json, ndjson, csv, arrow or parquet"))
            });
        }
        let accepted: Vec<Range<'_>> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Range::read)
            .collect();
        if accepted.is_empty() {
            return Ok(Self::Json);
        }
        let liked = OFFERED.iter().map(|(format, _, types)| {
            let quality = types.iter().map(|media| quality(&accepted, media)).fold(0.0, f32::max);
            (*format, quality)
        });
        // The first of those liked best.
        let best = liked.reduce(|best, other| if other.1 > best.1 { other } else { best });
        match best {
            Some((format, quality)) if quality > 0.0 => Ok(format),
            _ => {
                let offered: Vec<&str> = OFFERED.iter().filter_map(|(_, _, types)| types.first().copied()).collect();
                Err(ApiError::new(
                    StatusCode::NOT_ACCEPTABLE,
                    "not_acceptable",
                    format!("nothing that is offered is accepted: accept one of {}", offered.join(", ")),
                ))
            }
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => PARQUET,
        }
    }
}

/// A media range of an `Accept` header with its quality.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
}

impl<'a> Range<'a> {
    /// `None` for what is no media range; it is passed over.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            if name.trim().eq_ignore_ascii_case("q") { value.trim().parse().ok() } else { None }
        });
        Some(Self { kind, subtype, quality: quality.unwrap_or(1.0) })
    }

    /// How exactly the range names a media type: 3 whole, 2 `type/*`, 1 `*/*`, 0 not at all.
    fn matches(&self, media: &str) -> u8 {
        let Some((kind, subtype)) = media.split_once('/') else { return 0 };
        match (self.kind, self.subtype) {
            ("*", "*") => 1,
            (own, "*") if own.eq_ignore_ascii_case(kind) => 2,
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => 3,
            _ => 0,
        }
    }
}

/// The quality of the range that names a media type most exactly; 0 where none does.
fn quality(accepted: &[Range<'_>], media: &str) -> f32 {
    let matching = accepted.iter().map(|range| (range.matches(media), range.quality)).filter(|(exact, _)| *exact > 0);
    matching.max_by_key(|(exact, _)| *exact).map_or(0.0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn chosen(accept: Option<&str>, word: Option<&str>) -> Result<Format, u16> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        let asked = Asked { format: word.map(str::to_owned) };
        Format::choose(&asked, &headers).map_err(|error| error.status.as_u16())
    }

    #[rstest]
    #[case(None, None, Ok(Format::Json))]
    #[case(Some("*/*"), None, Ok(Format::Json))]
    #[case(Some("text/*"), None, Ok(Format::Csv))]
    #[case(Some("application/x-ndjson"), None, Ok(Format::Ndjson))]
    #[case(Some("text/html, text/csv;q=0.5, */*;q=0.1"), None, Ok(Format::Csv))]
    #[case(Some("application/json;q=0.2, application/vnd.apache.parquet"), None, Ok(Format::Parquet))]
    #[case(Some("application/json;q=0, */*"), None, Ok(Format::Ndjson))]
    #[case(Some("APPLICATION/VND.APACHE.ARROW.STREAM"), None, Ok(Format::Arrow))]
    #[case(Some("text/html"), None, Err(406))]
    #[case(Some("text/html"), Some("csv"), Ok(Format::Csv))]
    #[case(None, Some("xml"), Err(400))]
    fn the_format_that_is_liked_best_is_chosen(
        #[case] accept: Option<&str>,
        #[case] word: Option<&str>,
        #[case] expected: Result<Format, u16>,
    ) {
        assert_eq!(chosen(accept, word), expected);
    }
}

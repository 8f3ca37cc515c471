//! How a table comes in pieces, and which piece is next.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    Error,
    json::Path,
    web::{Client, next_link, shown},
};

/// Where a value goes in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    #[default]
    Query,
    /// A member of the JSON body, by its path.
    Body,
    Header,
}

/// How a table comes in pieces. `size_parameter` and `size` ask for so many records a page; what a server really gives does
/// not matter. Places in the answer are paths (`meta.next`) or headers (`header:X-Total-Count`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Paging {
    /// All records in one answer.
    #[default]
    None,
    /// Pages by number; the first without a record is the end.
    Page {
        #[serde(default = "page")]
        parameter: String,
        #[serde(default = "one")]
        first: u64,
        #[serde(default)]
        carrier: Carrier,
        #[serde(default)]
        size_parameter: Option<String>,
        #[serde(default)]
        size: Option<u64>,
        /// Where the answer says whether there is more (true or false).
        #[serde(default)]
        more: Option<String>,
        /// Where the answer says how many pages there are.
        #[serde(default)]
        pages: Option<String>,
        /// Where the answer says how many records there are; fewer at the end are an error.
        #[serde(default)]
        total: Option<String>,
        /// A page beyond the last is answered with 404.
        #[serde(default)]
        not_found_ends: bool,
    },
    /// Pages by the number of records before them; the first without a record is the end.
    Offset {
        #[serde(default = "offset")]
        parameter: String,
        #[serde(default)]
        first: u64,
        #[serde(default)]
        carrier: Carrier,
        #[serde(default)]
        size_parameter: Option<String>,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        more: Option<String>,
        #[serde(default)]
        total: Option<String>,
        #[serde(default)]
        not_found_ends: bool,
        /// Records of a page that the next one is asked for again. They must be the same: a list that moves while it is
        /// read is told, where it would lose rows in silence.
        #[serde(default)]
        overlap: u64,
    },
    /// Each answer says the word that asks for the next page; none, null or an empty one is the end.
    Cursor {
        parameter: String,
        #[serde(default)]
        carrier: Carrier,
        /// Where the answer says the word.
        next: String,
        #[serde(default)]
        size_parameter: Option<String>,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        total: Option<String>,
    },
    /// The header `Link` names the next page (`rel="next"`).
    Link {
        #[serde(default)]
        size_parameter: Option<String>,
        #[serde(default)]
        size: Option<u64>,
    },
    /// The answer names the address of the next page.
    Next {
        next: String,
        #[serde(default)]
        size_parameter: Option<String>,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        total: Option<String>,
    },
}

fn page() -> String {
    "page".to_owned()
}

fn offset() -> String {
    "offset".to_owned()
}

fn one() -> u64 {
    1
}

/// A place in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    Path(Path),
    Header(String),
}

impl Spot {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim().strip_prefix("header:") {
            Some(name) => Ok(Self::Header(name.trim().to_ascii_lowercase())),
            None => Path::parse(text).map(Self::Path),
        }
    }

    /// The value there as text; none for null and the empty text.
    pub(super) fn text(&self, answer: &Said) -> Option<String> {
        let text = match self {
            Spot::Header(name) => answer.headers.get(name.as_str())?.to_str().ok()?.trim().to_owned(),
            Spot::Path(path) => match answer.values.get(path)? {
                Value::String(text) => text.clone(),
                Value::Null => return None,
                other => other.to_string(),
            },
        };
        (!text.is_empty()).then_some(text)
    }
}

/// What a page says beside its records.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) values: std::collections::BTreeMap<Path, Value>,
    pub(super) headers: HeaderMap,
}

/// Which piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    Number(u64),
    Word(String),
    Address(Url),
}

impl Place {
    /// As messages and the memory of what was asked know it.
    pub(super) fn mark(&self) -> String {
        match self {
            Place::Start => String::new(),
            Place::Number(number) => number.to_string(),
            Place::Word(word) => word.clone(),
            Place::Address(url) => url.to_string(),
        }
    }
}

/// The declared paging, its places parsed.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) paging: Paging,
    next: Option<Spot>,
    more: Option<Spot>,
    pages: Option<Spot>,
    total: Option<Spot>,
}

impl Pager {
    pub(super) fn new(paging: Paging) -> Result<Self, String> {
        let spot = |text: &Option<String>| text.as_deref().map(Spot::parse).transpose();
        let (next, more, pages, total) = match &paging {
            Paging::None | Paging::Link { .. } => (None, None, None, None),
            Paging::Page { more, pages, total, .. } => (None, spot(more)?, spot(pages)?, spot(total)?),
            Paging::Offset { more, total, .. } => (None, spot(more)?, None, spot(total)?),
            Paging::Cursor { next, total, .. } | Paging::Next { next, total, .. } => {
                (Some(Spot::parse(next)?), None, None, spot(total)?)
            }
        };
        Ok(Self { paging, next, more, pages, total })
    }

    /// The paths whose values are needed.
    pub(super) fn paths(&self) -> BTreeSet<Path> {
        [&self.next, &self.more, &self.pages, &self.total]
            .into_iter()
            .filter_map(|spot| match spot {
                Some(Spot::Path(path)) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn is_paged(&self) -> bool {
        !matches!(self.paging, Paging::None)
    }

    pub(super) fn not_found_ends(&self) -> bool {
        matches!(self.paging, Paging::Page { not_found_ends: true, .. } | Paging::Offset { not_found_ends: true, .. })
    }

    /// The records that the next page is asked for again.
    pub(super) fn overlap(&self) -> usize {
        match self.paging {
            Paging::Offset { overlap, .. } => usize::try_from(overlap).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// How pages are told in messages.
    pub(super) fn parameter(&self) -> &str {
        match &self.paging {
            Paging::Page { parameter, .. } | Paging::Offset { parameter, .. } | Paging::Cursor { parameter, .. } => {
                parameter
            }
            _ => "the next page's address",
        }
    }

    /// The parameter that asks for a number of records, and the number.
    pub(super) fn size(&self) -> Option<(&str, u64)> {
        match &self.paging {
            Paging::None => None,
            Paging::Page { size_parameter, size, .. }
            | Paging::Offset { size_parameter, size, .. }
            | Paging::Cursor { size_parameter, size, .. }
            | Paging::Link { size_parameter, size, .. }
            | Paging::Next { size_parameter, size, .. } => Some((size_parameter.as_deref()?, (*size)?)),
        }
    }

    /// The parameter of a place, its carrier and value; none where the place is an address or the beginning.
    pub(super) fn argument(&self, place: &Place) -> Option<(&str, Carrier, String)> {
        match (&self.paging, place) {
            (
                Paging::Page { parameter, carrier, first, .. } | Paging::Offset { parameter, carrier, first, .. },
                place,
            ) => {
                let number = match place {
                    Place::Number(number) => *number,
                    _ => *first,
                };
                Some((parameter, *carrier, number.to_string()))
            }
            (Paging::Cursor { parameter, carrier, .. }, Place::Word(word)) => Some((parameter, *carrier, word.clone())),
            _ => None,
        }
    }

    /// How many records the answer says there are.
    pub(super) fn total(&self, said: &Said) -> Option<u64> {
        self.total.as_ref()?.text(said)?.parse().ok()
    }

    /// The place after a page with `fresh` records that were not on the page before; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Refused`] where the next page is on another host.
    pub(super) fn next(
        &self,
        client: &Client,
        place: &Place,
        fresh: u64,
        said: &Said,
        from: &Url,
    ) -> Result<Option<Place>, Error> {
        let ends = fresh == 0 || self.more.as_ref().is_some_and(|spot| spot.text(said).as_deref() == Some("false"));
        match &self.paging {
            Paging::None => Ok(None),
            Paging::Page { .. } | Paging::Offset { .. } if ends => Ok(None),
            Paging::Page { first, .. } => {
                let number = match place {
                    Place::Number(number) => *number,
                    _ => *first,
                };
                let pages =
                    self.pages.as_ref().and_then(|spot| spot.text(said)).and_then(|text| text.parse::<u64>().ok());
                let is_last = pages.is_some_and(|pages| number + 1 >= pages + first);
                Ok((!is_last).then_some(Place::Number(number + 1)))
            }
            Paging::Offset { first, overlap, .. } => {
                let before = match place {
                    // What was asked for again counts once.
                    Place::Number(number) => number + overlap,
                    _ => *first,
                };
                Ok(Some(Place::Number((before + fresh).saturating_sub(*overlap))))
            }
            Paging::Cursor { .. } => Ok(self.next.as_ref().and_then(|spot| spot.text(said)).map(Place::Word)),
            Paging::Link { .. } => next_link(&said.headers).map(|text| address(client, from, &text)).transpose(),
            Paging::Next { .. } => {
                let text = self.next.as_ref().and_then(|spot| spot.text(said));
                text.map(|text| address(client, from, &text)).transpose()
            }
        }
    }
}

fn address(client: &Client, from: &Url, text: &str) -> Result<Place, Error> {
    let refuse = |reason: String| Error::Refused { endpoint: shown(from), stage: crate::Stage::Read, reason };
    let url = from.join(text).map_err(|_| refuse("the address of the next page is none".to_owned()))?;
    if !client.trusts(&url) {
        let origin = url.origin().ascii_serialization();
        let reason = format!("the next page is on another host: add {origin} to `trusted_origins` if that is right");
        return Err(refuse(reason));
    }
    Ok(Place::Address(url))
}

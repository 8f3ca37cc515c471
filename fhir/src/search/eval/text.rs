use arrow::{array::Array, buffer::BooleanBuffer, error::ArrowError};

use super::At;
use crate::{
    functions::fold,
    path::navigate::{Leaves, text},
    search::test::{How, UriHow},
};

/// Parts of a name or an address that a string search looks at (R4 3.1.1.4.8).
fn parts(name: &str) -> &'static [&'static str] {
    match name {
        "HumanName" => &["family", "given", "prefix", "suffix", "text"],
        "Address" => &["line", "city", "district", "state", "country", "postalCode", "text"],
        _ => &[],
    }
}

pub(super) fn texts(at: &At<'_>, how: How, wanted: &[String]) -> Result<BooleanBuffer, ArrowError> {
    let fits = |text: &str| match how {
        How::Exact => wanted.iter().any(|wanted| text == wanted),
        How::Starts => {
            let text = fold(text);
            wanted.iter().any(|wanted| text.starts_with(wanted.as_str()))
        }
        How::Contains => {
            let text = fold(text);
            wanted.iter().any(|wanted| text.contains(wanted.as_str()))
        }
    };
    if at.type_id().primitive().is_some() {
        return mask(&at.leaves, fits);
    }
    let mut found = at.none();
    for part in parts(at.type_id().name()) {
        if let Some(leaves) = at.leaves.member(part)? {
            found = &found | &mask(&leaves, fits)?;
        }
    }
    Ok(found)
}

fn mask(leaves: &Leaves, fits: impl Fn(&str) -> bool) -> Result<BooleanBuffer, ArrowError> {
    let texts = text(&leaves.values)?;
    let mask = BooleanBuffer::collect_bool(texts.len(), |place| texts.is_valid(place) && fits(texts.value(place)));
    Ok(leaves.any(&mask))
}

pub(super) fn uris(at: &At<'_>, how: UriHow, wanted: &[String]) -> Result<BooleanBuffer, ArrowError> {
    mask(&at.leaves, |uri| {
        wanted.iter().any(|wanted| match how {
            UriHow::Equal => uri == wanted,
            UriHow::Below => is_below(wanted, uri),
            UriHow::Above => is_below(uri, wanted),
        })
    })
}

/// Whether a URL is another one or lies under it, by whole segments of its path. A URN has nothing above or below it.
fn is_below(base: &str, uri: &str) -> bool {
    uri.strip_prefix(base).is_some_and(|rest| {
        rest.is_empty()
            || (!base.starts_with("urn:")
                && (base.ends_with(['/', '#', '?']) || rest.starts_with(['/', '#', '?', '|'])))
    })
}

use std::collections::HashSet;

use arrow::{array::Array, buffer::BooleanBuffer, error::ArrowError};

use super::{
    At,
    coded::{get, pair_mask},
};
use crate::{
    path::navigate::text,
    search::{
        test::{ReferenceTest, Target},
        token::Token,
    },
};

/// So many references are compared one by one; more are looked up.
const FEW: usize = 8;

pub(super) fn references(at: &At<'_>, tests: &[ReferenceTest]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    if at.type_id().primitive().is_some() {
        let texts = text(&leaves.values)?;
        // a canonical may carry a version, which the search may leave out
        let fits = |text: &str| {
            let plain = text.split_once('|').map_or(text, |(plain, _)| plain);
            tests.iter().any(|test| test.text == text || test.text == plain)
        };
        let mask = BooleanBuffer::collect_bool(texts.len(), |place| texts.is_valid(place) && fits(texts.value(place)));
        return Ok(leaves.any(&mask));
    }
    let (types, ids) = (leaves.texts("__type")?, leaves.texts("__id")?);
    let written = leaves.texts("reference")?;
    let targets = at.targets();
    if tests.len() > FEW && tests.iter().all(|test| matches!(test.target, Target::Typed(..))) {
        let wanted: HashSet<(&str, &str)> = tests
            .iter()
            .filter_map(|test| match &test.target {
                Target::Typed(wanted, id) => Some((wanted.name(), id.as_str())),
                _ => None,
            })
            .collect();
        let mask = BooleanBuffer::collect_bool(leaves.len(), |place| match (get(&types, place), get(&ids, place)) {
            (Some(kind), Some(id)) => wanted.contains(&(kind, id)),
            _ => false,
        });
        return Ok(leaves.any(&mask));
    }
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        let (kind, id) = (get(&types, place), get(&ids, place));
        tests.iter().any(|test| match &test.target {
            Target::Typed(wanted, wanted_id) => kind == Some(wanted.name()) && id == Some(wanted_id.as_str()),
            Target::Id(wanted) => {
                let allowed = |kind| targets.is_empty() || targets.contains(&kind) || targets.contains(&"Resource");
                id == Some(wanted.as_str()) && kind.is_some_and(allowed)
            }
            Target::Url => get(&written, place).is_some_and(|written| {
                let plain = written.split_once("/_history/").map_or(written, |(plain, _)| plain);
                written == test.text || plain == test.text
            }),
        })
    });
    Ok(leaves.any(&mask))
}

/// `:identifier`: the identifier that a reference carries beside or in the place of its target.
pub(super) fn identifiers(at: &At<'_>, tokens: &[Token]) -> Result<BooleanBuffer, ArrowError> {
    if at.type_id().primitive().is_some() {
        return Ok(at.none());
    }
    match at.leaves.member("identifier")? {
        Some(identifiers) => Ok(identifiers.any(&pair_mask(&identifiers, "value", tokens)?)),
        None => Ok(at.none()),
    }
}

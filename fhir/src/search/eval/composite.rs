use arrow::{buffer::BooleanBuffer, error::ArrowError};

use super::At;
use crate::{path::navigate::Leaves, search::test::Part};

/// Elements of which every part of an alternative passes: it is one and the same element that has them all.
pub(super) fn composites(at: &At<'_>, alternatives: &[Vec<Part>]) -> Result<BooleanBuffer, ArrowError> {
    let elements = at.leaves.as_rows();
    let mut found = BooleanBuffer::new_unset(elements.len());
    for parts in alternatives {
        let mut whole = BooleanBuffer::new_set(elements.len());
        for part in parts {
            whole = &whole & &passing(&elements, part)?;
        }
        found = &found | &whole;
    }
    Ok(at.leaves.any(&found))
}

fn passing(elements: &Leaves, part: &Part) -> Result<BooleanBuffer, ArrowError> {
    let mut found = BooleanBuffer::new_unset(elements.len());
    for way in &part.ways {
        if let Some(at) = At::below(elements, way, part.targets)? {
            found = &found | &at.passing(&part.test)?;
        }
    }
    Ok(found)
}

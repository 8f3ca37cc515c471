use arrow::{
    array::{Array, AsArray, Float64Array},
    buffer::BooleanBuffer,
    compute::cast,
    datatypes::{DataType, Float64Type},
    error::ArrowError,
};

use super::At;
use crate::{path::navigate::Leaves, search::near::Near};

/// `Location.position` within a distance of any of the places.
pub(super) fn near(at: &At<'_>, places: &[Near]) -> Result<BooleanBuffer, ArrowError> {
    let (Some(latitudes), Some(longitudes)) = (degrees(&at.leaves, "latitude")?, degrees(&at.leaves, "longitude")?)
    else {
        return Ok(at.none());
    };
    let mask = BooleanBuffer::collect_bool(at.leaves.len(), |place| {
        latitudes.is_valid(place)
            && longitudes.is_valid(place)
            && places.iter().any(|near| near.covers(latitudes.value(place), longitudes.value(place)))
    });
    Ok(at.leaves.any(&mask))
}

fn degrees(leaves: &Leaves, name: &str) -> Result<Option<Float64Array>, ArrowError> {
    let Some(values) = leaves.member(name)? else { return Ok(None) };
    Ok(Some(cast(&values.values, &DataType::Float64)?.as_primitive::<Float64Type>().clone()))
}

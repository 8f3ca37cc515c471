use arrow::{
    array::{Array, AsArray, Int64Array},
    buffer::BooleanBuffer,
    compute::cast,
    datatypes::{DataType, Int64Type, TimeUnit},
    error::ArrowError,
};

use super::At;
use crate::{
    path::navigate::Leaves,
    search::{test::DateTest, value::compare},
};

/// Microseconds of a column of timestamps.
fn micros(leaves: &Leaves) -> Result<Int64Array, ArrowError> {
    let values = match leaves.values.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => cast(&leaves.values, &DataType::Int64)?,
        DataType::Timestamp(_, zone) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            cast(&cast(&leaves.values, &micros)?, &DataType::Int64)?
        }
        _ => cast(&leaves.values, &DataType::Int64)?,
    };
    Ok(values.as_primitive::<Int64Type>().clone())
}

fn get(values: Option<&Int64Array>, place: usize) -> Option<i64> {
    values.filter(|values| values.is_valid(place)).map(|values| values.value(place))
}

pub(super) fn dates(at: &At<'_>, tests: &[DateTest]) -> Result<BooleanBuffer, ArrowError> {
    match (at.type_id().primitive(), at.type_id().name()) {
        (Some(_), _) => {
            let (start, end) = (at.beside("start", 1)?, at.beside("end", 2)?);
            match (start, end) {
                (Some(start), Some(end)) => Ok(start.any(&mask(tests, &micros(&start)?, &micros(&end)?))),
                _ => Ok(at.none()),
            }
        }
        (None, "Period") => periods(&at.leaves, tests),
        // the events of a Timing and the bounds of its repetition; its schedule is left aside (R4 3.1.1.4.7)
        (None, _) => {
            let mut found = at.none();
            if let (Some(start), Some(end)) = (at.leaves.member("event__start")?, at.leaves.member("event__end")?) {
                found = &found | &start.any(&mask(tests, &micros(&start)?, &micros(&end)?));
            }
            if let Some(repeat) = at.leaves.member("repeat")?
                && let Some(bounds) = repeat.member("boundsPeriod")?
            {
                found = &found | &periods(&bounds, tests)?;
            }
            Ok(found)
        }
    }
}

/// Points, whole days, months or years.
fn mask(tests: &[DateTest], starts: &Int64Array, ends: &Int64Array) -> BooleanBuffer {
    BooleanBuffer::collect_bool(starts.len(), |place| match (get(Some(starts), place), get(Some(ends), place)) {
        (Some(start), Some(end)) => {
            tests.iter().any(|test| compare(test.prefix, &test.start, &test.end, Some(&start), Some(&end)))
        }
        _ => false,
    })
}

/// Periods; an end that is missing is open.
fn periods(leaves: &Leaves, tests: &[DateTest]) -> Result<BooleanBuffer, ArrowError> {
    let starts = leaves.member("start__start")?.map(|leaves| micros(&leaves)).transpose()?;
    let ends = leaves.member("end__end")?.map(|leaves| micros(&leaves)).transpose()?;
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        let (start, end) = (get(starts.as_ref(), place), get(ends.as_ref(), place));
        (start.is_some() || end.is_some())
            && tests.iter().any(|test| compare(test.prefix, &test.start, &test.end, start.as_ref(), end.as_ref()))
    });
    Ok(leaves.any(&mask))
}

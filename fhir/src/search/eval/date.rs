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
        (None, _) => timings(&at.leaves, tests),
    }
}

/// From the first event to the last, and the bounds of the repetition: only the outer limits matter, the schedule between them
/// does not (R4 3.1.1.4.7).
fn timings(leaves: &Leaves, tests: &[DateTest]) -> Result<BooleanBuffer, ArrowError> {
    let values = leaves.as_rows();
    let mut limits: Vec<Option<(Option<i64>, Option<i64>)>> = vec![None; values.len()];
    let mut add = |place: Option<usize>, start: Option<i64>, end: Option<i64>| {
        let Some(slot) = place.and_then(|place| limits.get_mut(place)) else { return };
        *slot = Some(match *slot {
            None => (start, end),
            // an open side stays open
            Some((from, to)) => (from.zip(start).map(|(a, b)| a.min(b)), to.zip(end).map(|(a, b)| a.max(b))),
        });
    };
    if let (Some(start), Some(end)) = (values.member("event__start")?, values.member("event__end")?) {
        let (starts, ends) = (micros(&start)?, micros(&end)?);
        for place in (0..starts.len()).filter(|place| starts.is_valid(*place) && ends.is_valid(*place)) {
            add(start.row(place), Some(starts.value(place)), Some(ends.value(place)));
        }
    }
    if let Some(repeat) = values.member("repeat")?
        && let Some(bounds) = repeat.member("boundsPeriod")?
    {
        let (starts, ends) = sides(&bounds)?;
        for place in 0..bounds.len() {
            let (start, end) = (get(starts.as_ref(), place), get(ends.as_ref(), place));
            if start.is_some() || end.is_some() {
                add(bounds.row(place), start, end);
            }
        }
    }
    let mask = BooleanBuffer::collect_bool(values.len(), |place| {
        limits.get(place).copied().flatten().is_some_and(|(start, end)| {
            tests.iter().any(|test| compare(test.prefix, &test.start, &test.end, start.as_ref(), end.as_ref()))
        })
    });
    Ok(leaves.any(&mask))
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

/// Where Periods start and end.
fn sides(leaves: &Leaves) -> Result<(Option<Int64Array>, Option<Int64Array>), ArrowError> {
    let side = |name: &str| leaves.member(name)?.map(|leaves| micros(&leaves)).transpose();
    Ok((side("start__start")?, side("end__end")?))
}

/// Periods; an end that is missing is open.
fn periods(leaves: &Leaves, tests: &[DateTest]) -> Result<BooleanBuffer, ArrowError> {
    let (starts, ends) = sides(leaves)?;
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        let (start, end) = (get(starts.as_ref(), place), get(ends.as_ref(), place));
        (start.is_some() || end.is_some())
            && tests.iter().any(|test| compare(test.prefix, &test.start, &test.end, start.as_ref(), end.as_ref()))
    });
    Ok(leaves.any(&mask))
}

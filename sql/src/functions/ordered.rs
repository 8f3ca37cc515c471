//! What is taken of the values of a group that were put in order: `percentile_disc` and `mode`, as the dialect puts them
//! (`dialect::gathered`).

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, UInt32Array},
    compute::take,
    datatypes::{DataType, Float64Type},
};
use datafusion::{common::Result, logical_expr::ScalarUDF, scalar::ScalarValue};

use super::own::{Given, Own, given, mistake};

/// The functions, built once.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        Own::new(
            "percentile_of__",
            |types| match types {
                [list @ DataType::List(_), share] if share.is_numeric() || share.is_null() => {
                    Some(vec![list.clone(), DataType::Float64])
                }
                _ => None,
            },
            item,
            percentile,
        )
        .made(),
        Own::new(
            "mode_of__",
            |types| matches!(types, [DataType::List(_)]).then(|| types.to_vec()),
            item,
            |all, _| {
                let lists = given(all, 0)?.as_list::<i32>();
                chosen(lists, |row| most(&lists.value(row)))
            },
        )
        .made(),
    ]
}

fn item(types: &[DataType]) -> DataType {
    match types.first() {
        Some(DataType::List(item)) => item.data_type().clone(),
        _ => DataType::Null,
    }
}

/// For each list the item at the place that is told; places count NULLs too.
fn chosen(lists: &ListArray, mut place: impl FnMut(usize) -> Result<Option<usize>>) -> Result<ArrayRef> {
    let places = (0..lists.len()).map(|row| {
        let place = if lists.is_null(row) { None } else { place(row)? };
        let start = usize::try_from(lists.value_offsets()[row]).unwrap_or_default();
        Ok(place.and_then(|place| u32::try_from(start + place).ok()))
    });
    let places = places.collect::<Result<UInt32Array>>()?;
    Ok(take(lists.values(), &places, None)?)
}

/// The first value of a list in order at which its share of all of them is reached. NULLs are no values.
fn percentile(all: &[Given], _: usize) -> Result<ArrayRef> {
    let lists = given(all, 0)?.as_list::<i32>();
    let shares = given(all, 1)?.as_primitive::<Float64Type>();
    chosen(lists, |row| {
        let share = shares.is_valid(row).then(|| shares.value(row));
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return mistake("the share of a percentile is between 0 and 1");
        }
        let values = lists.value(row);
        let there: Vec<usize> = (0..values.len()).filter(|place| values.is_valid(*place)).collect();
        let Some(share) = share else { return Ok(None) };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a list has fewer items than a double has whole numbers, and a share is none below nought"
        )]
        let number = (share * there.len() as f64).ceil() as usize;
        Ok(there.get(number.max(1) - 1).copied())
    })
}

/// The place of the first of those values of a list in order that are there most often.
fn most(values: &ArrayRef) -> Result<Option<usize>> {
    let (mut best, mut length) = (None, 0);
    let mut run: Option<(usize, ScalarValue)> = None;
    for place in (0..values.len()).filter(|place| values.is_valid(*place)) {
        let value = ScalarValue::try_from_array(values, place)?;
        let start = match run.take() {
            Some((start, before)) if before == value => start,
            _ => place,
        };
        if place + 1 - start > length {
            (best, length) = (Some(start), place + 1 - start);
        }
        run = Some((start, value));
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use arrow::{array::Int64Array, datatypes::Int64Type};
    use rstest::rstest;

    use super::*;

    fn values(items: &[Option<i64>]) -> ListArray {
        ListArray::from_iter_primitive::<Int64Type, _, _>([Some(items.to_vec())])
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case(0.25, &[Some(1), Some(2), Some(3), Some(4), None], Some(1))]
    #[case(0.26, &[Some(1), Some(2), Some(3), Some(4), None], Some(2))]
    #[case(0.0, &[None, Some(1), Some(2)], Some(1))]
    #[case(1.0, &[Some(4), Some(3), Some(1)], Some(1))]
    #[case(0.5, &[None], None)]
    fn a_percentile_is_a_value_that_there_is(
        #[case] share: f64,
        #[case] items: &[Option<i64>],
        #[case] expected: Option<i64>,
    ) {
        let shares: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![share]));
        let lists: ArrayRef = Arc::new(values(items));
        let all = [lists, shares].map(|array| Given { array, is_json: false });
        let told = percentile(&all, 1).unwrap();
        assert_eq!(told.as_primitive::<Int64Type>(), &Int64Array::from(vec![expected]));
    }

    #[rstest]
    #[case(&[Some(1), Some(1), Some(2), Some(2), None, None, None], Some(0))]
    #[case(&[Some(3), Some(2), Some(2), Some(1)], Some(1))]
    #[case(&[None, Some(2)], Some(1))]
    #[case(&[], None)]
    fn the_mode_is_the_first_of_the_most(#[case] items: &[Option<i64>], #[case] expected: Option<usize>) {
        assert_eq!(most(&values(items).value(0)).unwrap(), expected);
    }
}

//! A path walked over an Arrow column.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, StructArray},
    buffer::BooleanBuffer,
    compute::{cast, filter},
    datatypes::{DataType, Field},
    error::ArrowError,
};

use super::Step;

/// No row: items of a list that is null.
const NOWHERE: u32 = u32::MAX;

/// Values at the end of a path, each with the row that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Leaves {
    pub(crate) values: ArrayRef,
    /// The row of each value; `None`: value and row have the same place.
    rows: Option<Vec<u32>>,
    row_count: usize,
}

impl Leaves {
    /// A column, one value for each row; lists are flattened.
    pub(crate) fn of_column(column: &ArrayRef) -> Result<Self, ArrowError> {
        Self { values: Arc::clone(column), rows: None, row_count: column.len() }.flat()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether value and row have the same place.
    pub(crate) fn is_by_row(&self) -> bool {
        self.rows.is_none()
    }

    /// The same values, each as a row of its own: what is found below them is told by value.
    pub(crate) fn as_rows(&self) -> Self {
        Self { values: Arc::clone(&self.values), rows: None, row_count: self.values.len() }
    }

    pub(crate) fn row_count(&self) -> usize {
        self.row_count
    }

    /// Each row that any of the places of `mask` belongs to.
    pub(crate) fn any(&self, mask: &BooleanBuffer) -> BooleanBuffer {
        let Some(rows) = &self.rows else { return mask.clone() };
        let mut found = vec![false; self.row_count];
        for place in mask.set_indices() {
            if let Some(row) = rows.get(place).and_then(|row| found.get_mut(*row as usize)) {
                *row = true;
            }
        }
        BooleanBuffer::from(found)
    }

    /// Row of a value; `None` where it belongs to none.
    pub(crate) fn row(&self, place: usize) -> Option<usize> {
        match &self.rows {
            None => Some(place),
            Some(rows) => rows.get(place).filter(|row| **row != NOWHERE).map(|row| *row as usize),
        }
    }

    /// A member of struct values, lists flattened; `None` where there is no such column.
    pub(crate) fn member(&self, name: &str) -> Result<Option<Self>, ArrowError> {
        let Some(values) =
            self.values.as_any().downcast_ref::<StructArray>().and_then(|values| values.column_by_name(name))
        else {
            return Ok(None);
        };
        let values = Arc::clone(values);
        Self { values, rows: self.rows.clone(), row_count: self.row_count }.flat().map(Some)
    }

    /// A member that does not repeat, as text; `None` where there is no such column.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<StringArray>, ArrowError> {
        match self.values.as_any().downcast_ref::<StructArray>().and_then(|values| values.column_by_name(name)) {
            Some(values) => text(values).map(Some),
            None => Ok(None),
        }
    }

    /// The values where the mask is true.
    pub(crate) fn keep(&self, mask: &BooleanBuffer) -> Result<Self, ArrowError> {
        let values = filter(&self.values, &BooleanArray::new(mask.clone(), None))?;
        let rows =
            mask.set_indices().filter_map(|place| self.row(place).map_or(Some(NOWHERE), |row| u32::try_from(row).ok()));
        Ok(Self { values, rows: Some(rows.collect()), row_count: self.row_count })
    }

    /// Lists, and lists of lists, opened by their offsets.
    fn flat(self) -> Result<Self, ArrowError> {
        let list = match self.values.data_type() {
            DataType::List(_) => Arc::clone(&self.values),
            DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
                let item = Field::new("element", item.data_type().clone(), true);
                cast(&self.values, &DataType::List(Arc::new(item)))?
            }
            _ => return Ok(self),
        };
        let list = list.as_list::<i32>();
        let offsets = list.value_offsets();
        let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
        let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
        let values = list.values().slice(place(first), place(last - first));
        let mut rows = Vec::with_capacity(values.len());
        for (index, pair) in offsets.windows(2).enumerate() {
            let count = place(pair[1] - pair[0]);
            let row = if list.is_null(index) { None } else { self.row(index).and_then(|row| u32::try_from(row).ok()) };
            rows.extend(std::iter::repeat_n(row.unwrap_or(NOWHERE), count));
        }
        Self { values, rows: Some(rows), row_count: self.row_count }.flat()
    }
}

/// Text columns come as Utf8, as views or as dictionaries.
pub(crate) fn text(values: &ArrayRef) -> Result<StringArray, ArrowError> {
    match values.as_string_opt::<i32>() {
        Some(texts) => Ok(texts.clone()),
        None => Ok(cast(values, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

/// The values that a path selects from its column, which the first step names; `companion` (`start`) asks for the column
/// that Mavis keeps beside the last member. `None` where a member on the way has no column: nothing is there.
pub(crate) fn walk(column: &ArrayRef, steps: &[Step], companion: Option<&str>) -> Result<Option<Leaves>, ArrowError> {
    follow(Leaves::of_column(column)?, steps.get(1..).unwrap_or_default(), companion)
}

/// As [`walk`], from values that are there already: the first step is a member of theirs.
pub(crate) fn follow(
    mut leaves: Leaves,
    steps: &[Step],
    companion: Option<&str>,
) -> Result<Option<Leaves>, ArrowError> {
    let last = steps.iter().rposition(|step| matches!(step, Step::Member(_)));
    for (index, step) in steps.iter().enumerate() {
        let next = match step {
            Step::Member(name) => match companion.filter(|_| Some(index) == last) {
                Some(companion) => leaves.member(&format!("{name}__{companion}"))?,
                None => leaves.member(name)?,
            },
            Step::Where { member, value } => match leaves.texts(member)? {
                Some(texts) => Some(leaves.keep(&texts.iter().map(|text| text == Some(value.as_str())).collect())?),
                None => None,
            },
            Step::Resolves(target) => Some(leaves.keep(&refers_to(&leaves, target.name())?)?),
        };
        match next {
            Some(next) => leaves = next,
            None => return Ok(None),
        }
    }
    Ok(Some(leaves))
}

/// References whose target's type is known to be this: relative ones, and absolute ones that end in `Type/id`.
fn refers_to(leaves: &Leaves, target: &str) -> Result<BooleanBuffer, ArrowError> {
    let types = leaves.texts("__type")?;
    let references = leaves.texts("reference")?;
    let value = |texts: &Option<StringArray>, place: usize| -> Option<String> {
        texts.as_ref().filter(|texts| texts.is_valid(place)).map(|texts| texts.value(place).to_owned())
    };
    Ok(BooleanBuffer::collect_bool(leaves.len(), |place| match &types {
        Some(types) if types.is_valid(place) => types.value(place) == target,
        _ => value(&references, place).is_some_and(|reference| type_of(&reference) == Some(target)),
    }))
}

/// The type in `.../Type/id` or `.../Type/id/_history/n`.
fn type_of(reference: &str) -> Option<&str> {
    let reference = reference.split_once("/_history/").map_or(reference, |(reference, _)| reference);
    reference.rsplit('/').nth(1)
}

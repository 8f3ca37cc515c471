use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, UInt32Array, new_null_array},
    compute::{CastOptions, cast_with_options, interleave, take},
    datatypes::DataType,
    error::ArrowError,
};

use super::EvalError;
use crate::definitions::TypeId;

/// A place where nothing is.
pub(crate) const NOTHING: u32 = u32::MAX;

/// An array that values are taken from.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) type_id: TypeId,
    pub(crate) values: ArrayRef,
    /// Of a decimal: the same as written.
    pub(crate) text: Option<ArrayRef>,
}

/// Values of many foci: value `i` belongs to focus `owners[i]` and stands at `index[i]` of its part. Owners never go down, so
/// that the values of one focus stand together, in their order. No value is null.
#[derive(Debug, Clone, Default)]
pub(crate) struct Items {
    pub(crate) parts: Vec<Part>,
    pub(crate) owners: Vec<u32>,
    /// Part of each value; `None`: the first.
    pub(crate) part: Option<Vec<u16>>,
    pub(crate) index: Vec<u32>,
}

/// A count of values as a place. Batches have far fewer than 2^32 rows.
pub(crate) fn place(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NOTHING)
}

impl Items {
    /// One array, a value for each focus where it is not null.
    pub(crate) fn of_column(type_id: TypeId, values: ArrayRef) -> Self {
        let part = Part { type_id, values, text: None };
        let index: Vec<u32> = match part.values.nulls() {
            None => (0..place(part.values.len())).collect(),
            Some(nulls) => nulls.valid_indices().map(place).collect(),
        };
        Self { parts: vec![part], owners: index.clone(), part: None, index }
    }

    /// One value for every focus.
    pub(crate) fn same(part: Part, count: usize) -> Self {
        Self { parts: vec![part], owners: (0..place(count)).collect(), part: None, index: vec![0; count] }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn part_of(&self, item: usize) -> usize {
        self.part.as_ref().map_or(0, |part| usize::from(part[item]))
    }

    /// Where the values of each focus begin, and where the last ones end.
    pub(crate) fn offsets(&self, count: usize) -> Vec<u32> {
        let mut offsets = Vec::with_capacity(count + 1);
        let mut at = 0;
        for focus in 0..place(count) {
            offsets.push(place(at));
            while self.owners.get(at) == Some(&focus) {
                at += 1;
            }
        }
        offsets.push(place(at));
        offsets
    }

    /// The values at these places, which go up.
    pub(crate) fn keep(&self, places: &[u32]) -> Self {
        let pick = |from: &[u32]| places.iter().map(|place| from[*place as usize]).collect();
        Self {
            parts: self.parts.clone(),
            owners: pick(&self.owners),
            part: self.part.as_ref().map(|part| places.iter().map(|place| part[*place as usize]).collect()),
            index: pick(&self.index),
        }
    }

    /// Only the values of some parts; the others are dropped.
    pub(crate) fn of_parts(&self, wanted: &[bool]) -> Self {
        let mut kept = Self::default();
        let mut moved = Vec::with_capacity(wanted.len());
        for (part, wanted) in self.parts.iter().zip(wanted) {
            moved.push(wanted.then(|| u16::try_from(kept.parts.len()).unwrap_or(u16::MAX)));
            kept.parts.extend(wanted.then(|| part.clone()));
        }
        let mut part = Vec::new();
        for item in 0..self.len() {
            if let Some(to) = moved[self.part_of(item)] {
                kept.owners.push(self.owners[item]);
                kept.index.push(self.index[item]);
                part.push(to);
            }
        }
        kept.part = (kept.parts.len() > 1).then_some(part);
        kept
    }

    /// Each value as a focus of its own.
    pub(crate) fn as_foci(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            owners: (0..place(self.len())).collect(),
            part: self.part.clone(),
            index: self.index.clone(),
        }
    }

    /// The values of both, for each focus those of `self` first.
    pub(crate) fn and(&self, other: &Self, count: usize) -> Self {
        let (mine, theirs) = (self.offsets(count), other.offsets(count));
        let shift = u16::try_from(self.parts.len()).unwrap_or(u16::MAX);
        let mut all = Self { parts: self.parts.clone(), ..Self::default() };
        all.parts.extend(other.parts.iter().cloned());
        let mut part = Vec::with_capacity(self.len() + other.len());
        for focus in 0..count {
            for (items, offsets, shift) in [(self, &mine, 0), (other, &theirs, shift)] {
                for item in offsets[focus] as usize..offsets[focus + 1] as usize {
                    all.owners.push(place(focus));
                    all.index.push(items.index[item]);
                    part.push(shift + items.part.as_ref().map_or(0, |part| part[item]));
                }
            }
        }
        all.part = Some(part);
        all
    }

    /// The truth of each focus, as criteria take it.
    ///
    /// # Errors
    /// [`EvalError::Many`].
    pub(crate) fn truths(&self, count: usize) -> Result<Vec<Option<bool>>, EvalError> {
        super::logic::truths(self, count, "a criterion")
    }

    /// An array of the values at these places, [`NOTHING`] for null.
    ///
    /// # Errors
    /// When a value has no form of that type.
    pub(crate) fn gather(&self, places: &[u32], to: &DataType) -> Result<ArrayRef, ArrowError> {
        let used: Vec<&Part> = self.parts.iter().collect();
        match (used.as_slice(), &self.part) {
            ([], _) => Ok(new_null_array(to, places.len())),
            ([one], _) | ([one, ..], None) => {
                let values = one.of_type(to)?;
                let whole = places.len() == values.len()
                    && places.iter().enumerate().all(|(row, at)| {
                        if *at == NOTHING { values.is_null(row) } else { self.index[*at as usize] as usize == row }
                    });
                if whole {
                    return Ok(values);
                }
                let index = places.iter().map(|at| (*at != NOTHING).then(|| self.index[*at as usize]));
                take(&values, &index.collect::<UInt32Array>(), None)
            }
            (parts, Some(_)) => {
                let mut arrays = parts.iter().map(|part| part.of_type(to)).collect::<Result<Vec<_>, _>>()?;
                arrays.push(new_null_array(to, 1));
                let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                let nothing = (arrays.len() - 1, 0);
                let index = places.iter().map(|at| match *at {
                    NOTHING => nothing,
                    at => (self.part_of(at as usize), self.index[at as usize] as usize),
                });
                interleave(&arrays, &index.collect::<Vec<_>>())
            }
        }
    }
}

impl Part {
    /// Its values as this type; a decimal becomes the text that was written.
    pub(crate) fn of_type(&self, to: &DataType) -> Result<ArrayRef, ArrowError> {
        if self.values.data_type() == to {
            return Ok(Arc::clone(&self.values));
        }
        match (&self.text, to) {
            (Some(text), DataType::Utf8) => Ok(Arc::clone(text)),
            // a number that does not fit is an error, never a null
            _ => cast_with_options(&self.values, to, &CastOptions { safe: false, ..CastOptions::default() }),
        }
    }
}

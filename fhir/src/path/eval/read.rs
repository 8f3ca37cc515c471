use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use arrow::{
    array::{Array, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray},
    datatypes::{DataType, Float64Type, Int32Type, Int64Type},
    error::ArrowError,
    row::{OwnedRow, RowConverter, Rows, SortField},
};

use super::{
    EvalError,
    items::{Items, Part, place},
};
use crate::path::{
    expr::{Kind, kind},
    syntax::Operator,
};

/// One value as it is compared and computed with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(&'a str),
    /// A date, dateTime or instant, as written.
    Moment(&'a str),
    Time(&'a str),
    /// A structure, in a form that is equal for equal ones of one column.
    Structure(OwnedRow),
}

enum Column<'a> {
    Boolean(&'a BooleanArray),
    Small(&'a Int32Array),
    Integer(&'a Int64Array),
    Decimal(&'a Float64Array),
    Text(&'a StringArray),
    Moment(&'a StringArray),
    Time(&'a StringArray),
    Structure(Rows),
    /// A type that no value is made of.
    None,
}

/// [`Items`] made ready for reading value by value.
pub(super) struct Read<'a> {
    pub(super) items: &'a Items,
    columns: Vec<Column<'a>>,
    offsets: Vec<u32>,
}

impl<'a> Read<'a> {
    pub(super) fn new(items: &'a Items, count: usize) -> Result<Self, ArrowError> {
        let columns = items.parts.iter().map(column).collect::<Result<_, _>>()?;
        Ok(Self { items, columns, offsets: items.offsets(count) })
    }

    /// The places of a focus' values.
    pub(super) fn range(&self, focus: usize) -> std::ops::Range<usize> {
        self.offsets[focus] as usize..self.offsets[focus + 1] as usize
    }

    pub(super) fn at(&self, item: usize) -> Option<Value<'a>> {
        let at = self.items.index[item] as usize;
        Some(match self.columns.get(self.items.part_of(item))? {
            Column::Boolean(values) => Value::Boolean(values.value(at)),
            Column::Small(values) => Value::Integer(values.value(at).into()),
            Column::Integer(values) => Value::Integer(values.value(at)),
            Column::Decimal(values) => Value::Decimal(values.value(at)),
            Column::Text(values) => Value::Text(values.value(at)),
            Column::Moment(values) => Value::Moment(values.value(at)),
            Column::Time(values) => Value::Time(values.value(at)),
            Column::Structure(rows) => Value::Structure(rows.row(at).owned()),
            Column::None => return None,
        })
    }

    /// The one value of a focus; `what` names who asks.
    ///
    /// # Errors
    /// [`EvalError::Many`].
    pub(super) fn one(&self, focus: usize, what: &'static str) -> Result<Option<Value<'a>>, EvalError> {
        let range = self.range(focus);
        match range.len() {
            0 => Ok(None),
            1 => Ok(self.at(range.start)),
            _ => Err(EvalError::Many(what)),
        }
    }

    /// As [`Read::one`], of an operand.
    pub(super) fn operand(&self, focus: usize, operator: Operator) -> Result<Option<Value<'a>>, EvalError> {
        self.one(focus, "").map_err(|error| match error {
            EvalError::Many(_) => EvalError::Operands(operator.sign()),
            other => other,
        })
    }

    /// Of a decimal value: as it was written.
    pub(super) fn written(&self, item: usize) -> Option<&'a str> {
        let part: &'a Part = self.items.parts.get(self.items.part_of(item))?;
        let text = part.text.as_ref()?.as_string_opt::<i32>()?;
        let at = self.items.index[item] as usize;
        text.is_valid(at).then(|| text.value(at))
    }
}

fn column<'a>(part: &'a Part) -> Result<Column<'a>, ArrowError> {
    let values = part.values.as_ref();
    let text = |make: fn(&'a StringArray) -> Column<'a>| values.as_string_opt::<i32>().map_or(Column::None, make);
    Ok(match kind(part.type_id) {
        Kind::Boolean => values.as_boolean_opt().map_or(Column::None, Column::Boolean),
        Kind::Integer => match values.data_type() {
            DataType::Int32 => Column::Small(values.as_primitive::<Int32Type>()),
            DataType::Int64 => Column::Integer(values.as_primitive::<Int64Type>()),
            _ => Column::None,
        },
        Kind::Decimal => values.as_primitive_opt::<Float64Type>().map_or(Column::None, Column::Decimal),
        Kind::Text => text(Column::Text),
        Kind::Moment => text(Column::Moment),
        Kind::Time => text(Column::Time),
        Kind::Complex => {
            let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
            Column::Structure(converter.convert_columns(&[std::sync::Arc::clone(&part.values)])?)
        }
    })
}

impl<'a> Value<'a> {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(approximate(*number)),
            Self::Decimal(number) => Some(*number),
            _ => None,
        }
    }

    /// As `toString()` writes it.
    pub(super) fn to_text(&self) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Decimal(number) => Cow::Owned(number.to_string()),
            Self::Text(text) | Self::Moment(text) | Self::Time(text) => Cow::Borrowed(text),
            Self::Structure(_) => return None,
        })
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "FHIR's integers have 32 bits; a decimal has no more digits than a float here"
)]
pub(super) fn approximate(number: i64) -> f64 {
    number as f64
}

/// A value as the key of a set: equal keys are equal values (of temporal ones only those written alike).
pub(super) struct Key<'a>(pub(super) Value<'a>);

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0.number(), other.0.number()) {
            (Some(one), Some(two)) => one == two,
            _ => match (&self.0, &other.0) {
                (Value::Structure(one), Value::Structure(two)) => one == two,
                (one, two) => one.to_text().is_some() && one.to_text() == two.to_text(),
            },
        }
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.0.number(), &self.0) {
            // 0.0 and -0.0 are equal
            (Some(number), _) => (if number == 0.0 { 0 } else { number.to_bits() }).hash(state),
            (None, Value::Structure(row)) => row.hash(state),
            (None, value) => value.to_text().hash(state),
        }
    }
}

/// The places of all values, grouped by focus: those that are the first of their kind.
pub(super) fn first_of_each(read: &Read<'_>, count: usize) -> Vec<u32> {
    let mut kept = Vec::with_capacity(read.items.len());
    let mut seen = std::collections::HashSet::new();
    for focus in 0..count {
        seen.clear();
        let range = read.range(focus);
        let alone = range.len() == 1;
        for item in range {
            if alone || read.at(item).is_none_or(|value| seen.insert(Key(value))) {
                kept.push(place(item));
            }
        }
    }
    kept
}

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{DataType, Field},
    error::ArrowError,
};

use super::items::{Items, Part};
use crate::{
    definitions::Primitive,
    path::expr::{has_no_columns, members},
};

/// A child column of one part: how to come from a place of the part to places of the child.
struct Way {
    target: u16,
    /// Of the column.
    nulls: Option<NullBuffer>,
    /// Of a repeating element: where each list lies, and which of its items are null.
    list: Option<(OffsetBuffer<i32>, Option<NullBuffer>)>,
}

/// The members of this name, of all values: a choice gives that of its types which is there.
///
/// # Errors
/// When a column has a type that cannot be read.
pub(super) fn member(items: &Items, name: &str) -> Result<Items, ArrowError> {
    let mut found = Items::default();
    let mut ways: Vec<Vec<Way>> = Vec::with_capacity(items.parts.len());
    for part in &items.parts {
        let mut of_part = Vec::new();
        if let Some(parent) = part.values.as_struct_opt() {
            for element in members(part.type_id, name) {
                let column = parent.column_by_name(element.name).filter(|_| !has_no_columns(element.type_id));
                let Some(column) = column else { continue };
                let (nulls, list, values) = opened(column)?;
                // Columns of the same element in another part stay apart: their arrays differ.
                let target = u16::try_from(found.parts.len());
                let target = target.map_err(|_| ArrowError::ComputeError("a path over too many columns".to_owned()))?;
                let text = match element.type_id.primitive() {
                    Some(Primitive::Decimal) => match parent.column_by_name(&format!("{}__text", element.name)) {
                        Some(text) => companion(text, list.as_ref().map(|(offsets, _)| offsets))?,
                        None => None,
                    },
                    _ => None,
                };
                found.parts.push(Part { type_id: element.type_id, values, text });
                of_part.push(Way { target, nulls, list });
            }
        }
        ways.push(of_part);
    }
    found.owners.reserve(items.len());
    found.index.reserve(items.len());
    match ways.as_slice() {
        [] => {}
        [one] if one.len() == 1 => {
            for (index, owner) in items.index.iter().zip(&items.owners) {
                one[0].walk(*index, |index| {
                    found.owners.push(*owner);
                    found.index.push(index);
                });
            }
        }
        ways => {
            let mut part = Vec::with_capacity(items.len());
            for item in 0..items.len() {
                for way in &ways[items.part_of(item)] {
                    way.walk(items.index[item], |index| {
                        found.owners.push(items.owners[item]);
                        found.index.push(index);
                        part.push(way.target);
                    });
                }
            }
            found.part = Some(part);
        }
    }
    Ok(found)
}

impl Way {
    #[inline]
    fn walk(&self, index: u32, mut each: impl FnMut(u32)) {
        let at = index as usize;
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
            return;
        }
        match &self.list {
            None => each(index),
            Some((offsets, nulls)) => {
                for item in offsets[at]..offsets[at + 1] {
                    let item = u32::try_from(item).unwrap_or(0);
                    if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(item as usize)) {
                        each(item);
                    }
                }
            }
        }
    }
}

type Opened = (Option<NullBuffer>, Option<(OffsetBuffer<i32>, Option<NullBuffer>)>, ArrayRef);

/// A column's nulls, its lists where it repeats, and its values.
fn opened(column: &ArrayRef) -> Result<Opened, ArrowError> {
    let column = match column.data_type() {
        DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            let item = Field::new("element", item.data_type().clone(), true);
            cast(column, &DataType::List(Arc::new(item)))?
        }
        _ => Arc::clone(column),
    };
    match column.as_list_opt::<i32>() {
        Some(list) => {
            let values = plain(list.values())?;
            Ok((list.nulls().cloned(), Some((list.offsets().clone(), values.nulls().cloned())), values))
        }
        None => {
            let values = plain(&column)?;
            Ok((values.nulls().cloned(), None, values))
        }
    }
}

/// What stands beside a column, with the same places; `None` where its lists lie otherwise.
fn companion(column: &ArrayRef, offsets: Option<&OffsetBuffer<i32>>) -> Result<Option<ArrayRef>, ArrowError> {
    let (_, list, values) = opened(column)?;
    let is_parallel = match (offsets, &list) {
        (None, None) => true,
        (Some(one), Some((other, _))) => one == other,
        _ => false,
    };
    Ok(is_parallel.then_some(values))
}

/// Texts that come as views, large or as dictionaries, as plain ones.
fn plain(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match values.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) => cast(values, &DataType::Utf8),
        _ => Ok(Arc::clone(values)),
    }
}

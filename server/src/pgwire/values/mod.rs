//! Values of Arrow arrays as PostgreSQL writes them, as text and in binary.
//!
//! [`kind`] says which PostgreSQL type a column has; [`text`] and [`binary`] write one value. Structs, maps and lists of them are
//! JSON; what PostgreSQL has no type for (unsigned numbers, half floats) has the next larger one. An `UInt32` is an `oid`:
//! the catalogs' columns are the only ones of that type. Everything that is a time of day or a date counts from 2000-01-01 in
//! binary, as PostgreSQL does, and times with a zone are in UTC.

mod binary;
mod kind;
mod number;
mod text;
mod time;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
    json::writer::{EncoderOptions, NullableEncoder, make_encoder},
};
use bytes::{BufMut, BytesMut};

use super::failure::{Failure, state};

#[cfg(test)]
pub(super) use binary::numeric;
pub(super) use kind::{Kind, describe};

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

impl Format {
    /// The format of a column: none given is text, one is for all, else one for each.
    pub(super) fn of(formats: &[i16], column: usize) -> Self {
        let code = match formats {
            [] => 0,
            [one] => *one,
            many => many.get(column).copied().unwrap_or_default(),
        };
        if code == 1 { Format::Binary } else { Format::Text }
    }

    pub(super) fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// The columns of a batch, ready to be written row by row.
pub(super) struct Rows<'a> {
    columns: Vec<(&'a ArrayRef, Format, Option<NullableEncoder<'a>>)>,
    json: Vec<u8>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

impl<'a> Rows<'a> {
    /// # Errors
    /// 0A000 for a type that JSON cannot hold, inside a struct, and for lists of lists that are no array of PostgreSQL.
    pub(super) fn new(
        batch: &'a RecordBatch,
        formats: &[Format],
        options: &'a EncoderOptions,
    ) -> Result<Self, Failure> {
        let schema = batch.schema_ref();
        let columns = batch.columns().iter().zip(schema.fields()).zip(formats).map(|((column, field), format)| {
            let encoder = if Kind::of(field.data_type()) == Kind::Json {
                Some(make_encoder(field, column, options).map_err(|_| {
                    Failure::error(state::UNSUPPORTED, "a column has a type that cannot be written as JSON")
                })?)
            } else {
                None
            };
            if *format == Format::Binary && !binary::is_even(column) {
                let message = format!(
                    "column \"{}\" has lists of lists of several lengths, or NULL among them, which no array of PostgreSQL is",
                    kind::shown(field)
                );
                let hint = "ask for it as text, or take the lists apart with unnest";
                return Err(Failure::error(state::UNSUPPORTED, message).with_hint(hint));
            }
            Ok((column, *format, encoder))
        });
        Ok(Self { columns: columns.collect::<Result<_, Failure>>()?, json: Vec::new() })
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Writes a value; `false` (and nothing) for NULL.
    pub(super) fn value(&mut self, column: usize, row: usize, out: &mut BytesMut) -> bool {
        let Some((array, format, encoder)) = self.columns.get_mut(column) else { return false };
        if array.is_null(row) || *array.data_type() == DataType::Null {
            return false;
        }
        match (encoder, format) {
            (Some(encoder), _) => {
                self.json.clear();
                encoder.encode(row, &mut self.json);
                out.put_slice(&self.json);
            }
            (None, Format::Text) => text::write(array, row, out),
            (None, Format::Binary) => binary::write(array, row, out),
        }
        true
    }
}

/// The items of a list's value; `None` for another type.
fn items(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

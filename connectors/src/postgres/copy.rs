//! The binary COPY stream taken apart, and its rows put into Arrow builders.
//!
//! The form (PostgreSQL documentation, "COPY", section "Binary Format"): an 11-byte signature, flags, a header extension;
//! then per row a 16-bit field count and per field a 32-bit length (-1: null) and its bytes; -1 as field count ends it.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
        Float64Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::SchemaRef,
};
use bytes::{Buf, Bytes, BytesMut};

use super::{Infinity, numeric, types::Wire};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// 2000-01-01 in days and in microseconds of the Unix epoch.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// 0001-01-01 and 9999-12-31 in days of the Unix epoch.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 2_932_896;
const DAY_MICROS: i64 = 86_400_000_000;

/// Cuts the stream into rows, however it is cut into messages.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rest: BytesMut,
    /// Fields of the last row.
    width: usize,
    started: bool,
    pub(super) ended: bool,
}

/// The stream is not what the documentation says.
#[derive(Debug)]
pub(super) struct Garbled;

impl Rows {
    /// Calls `row` with the fields of each complete row.
    pub(super) fn feed(&mut self, message: &Bytes, mut row: impl FnMut(&[Option<&[u8]>])) -> Result<(), Garbled> {
        // Most messages are one whole row; only what is left of a cut one is copied.
        if self.rest.is_empty() {
            let used = self.cut(message, &mut row)?;
            self.rest.extend_from_slice(&message[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.rest);
            joined.extend_from_slice(message);
            let used = self.cut(&joined, &mut row)?;
            joined.advance(used);
            self.rest = joined;
        }
        Ok(())
    }

    /// How many bytes were used up.
    fn cut(&mut self, bytes: &[u8], row: &mut impl FnMut(&[Option<&[u8]>])) -> Result<usize, Garbled> {
        let mut used = 0;
        if !self.started {
            let Some(length) = header(bytes)? else { return Ok(0) };
            self.started = true;
            used = length;
        }
        let mut fields: Vec<Option<&[u8]>> = Vec::with_capacity(self.width);
        while !self.ended {
            match next_row(&bytes[used..], &mut fields)? {
                Row::Incomplete => break,
                Row::End => {
                    self.ended = true;
                    used = bytes.len();
                }
                Row::Complete(length) => {
                    self.width = fields.len();
                    row(&fields);
                    used += length;
                }
            }
        }
        Ok(used)
    }
}

/// The length of the header, or `None` where it is not all there yet.
fn header(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Garbled);
    }
    let Some(extension) = bytes.get(15..19) else { return Ok(None) };
    let extension = u32::from_be_bytes(extension.try_into().map_err(|_| Garbled)?);
    let length = 19 + usize::try_from(extension).map_err(|_| Garbled)?;
    Ok((bytes.len() >= length).then_some(length))
}

enum Row {
    Incomplete,
    End,
    Complete(usize),
}

fn next_row<'a>(bytes: &'a [u8], fields: &mut Vec<Option<&'a [u8]>>) -> Result<Row, Garbled> {
    fields.clear();
    let Some(count) = bytes.first_chunk::<2>() else { return Ok(Row::Incomplete) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Row::End);
    }
    let mut at = 2;
    for _ in 0..usize::try_from(count).map_err(|_| Garbled)? {
        let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(Row::Incomplete) };
        let length = i32::from_be_bytes(*length);
        at += 4;
        if length == -1 {
            fields.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| Garbled)?;
        let Some(field) = bytes.get(at..at + length) else { return Ok(Row::Incomplete) };
        fields.push(Some(field));
        at += length;
    }
    Ok(Row::Complete(at))
}

/// A value that its column has no place for; the text says what kind of value, never which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) field: usize,
    pub(super) what: &'static str,
}

/// Gathers rows into batches of one schema.
pub(super) struct Batches {
    schema: SchemaRef,
    columns: Vec<Column>,
    infinity: Infinity,
    rows: usize,
    bytes: usize,
}

enum Column {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Uuid(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Numeric(Decimal128Builder, u8),
}

impl Batches {
    pub(super) fn new(schema: SchemaRef, wires: &[Wire], infinity: Infinity) -> Self {
        let columns = wires.iter().map(|wire| Column::new(*wire)).collect();
        Self { schema, columns, infinity, rows: 0, bytes: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a row whole or not at all. Fields beyond the columns are not looked at.
    pub(super) fn push(&mut self, fields: &[Option<&[u8]>]) -> Result<(), Misfit> {
        for (field, (column, value)) in self.columns.iter().zip(fields).enumerate() {
            if let Some(value) = value {
                column.fits(value, self.infinity).map_err(|what| Misfit { field, what })?;
            }
        }
        for (column, value) in self.columns.iter_mut().zip(fields) {
            column.push(*value);
            self.bytes += value.map_or(0, <[u8]>::len);
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows gathered so far as a batch.
    pub(super) fn take(&mut self) -> Result<RecordBatch, arrow::error::ArrowError> {
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .zip(self.schema.fields())
            .map(|(column, field)| match (column, field.data_type()) {
                (Column::Timestamp(builder), arrow::datatypes::DataType::Timestamp(_, Some(zone))) => {
                    Arc::new(builder.finish().with_timezone(Arc::clone(zone))) as ArrayRef
                }
                (Column::Numeric(builder, _), data_type) => {
                    Arc::new(builder.finish().with_data_type(data_type.clone()))
                }
                (column, _) => column.builder().finish(),
            })
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// The bytes as an array of fixed length.
fn fixed<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

impl Column {
    fn new(wire: Wire) -> Self {
        match wire {
            Wire::Bool => Self::Bool(BooleanBuilder::new()),
            Wire::Int16 => Self::Int16(Int16Builder::new()),
            Wire::Int32 => Self::Int32(Int32Builder::new()),
            Wire::Int64 => Self::Int64(Int64Builder::new()),
            Wire::Oid => Self::Oid(Int64Builder::new()),
            Wire::Float32 => Self::Float32(Float32Builder::new()),
            Wire::Float64 => Self::Float64(Float64Builder::new()),
            Wire::Text => Self::Text(StringBuilder::new()),
            Wire::Uuid => Self::Uuid(StringBuilder::new()),
            Wire::Bytes => Self::Bytes(BinaryBuilder::new()),
            Wire::Date => Self::Date(Date32Builder::new()),
            Wire::Timestamp | Wire::TimestampTz => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Wire::Numeric { scale, .. } => Self::Numeric(Decimal128Builder::new(), scale),
        }
    }

    /// Whether the value can be appended.
    fn fits(&self, value: &[u8], infinity: Infinity) -> Result<(), &'static str> {
        let length = |wanted: usize| if value.len() == wanted { Ok(()) } else { Err("a value of another length") };
        let finite = |infinite: bool| {
            if infinite && infinity == Infinity::Reject {
                Err("an infinite date; set `infinity` to `limit` to take it as the year 9999 or 1")
            } else {
                Ok(())
            }
        };
        match self {
            Self::Bool(_) => length(1),
            Self::Int16(_) => length(2),
            Self::Int32(_) | Self::Oid(_) | Self::Float32(_) => length(4),
            Self::Int64(_) | Self::Float64(_) => length(8),
            Self::Uuid(_) => length(16),
            Self::Date(_) => {
                length(4)?;
                let days = fixed(value).map(i32::from_be_bytes);
                finite(matches!(days, Some(i32::MIN | i32::MAX)))
            }
            Self::Timestamp(_) => {
                length(8)?;
                let micros = fixed(value).map(i64::from_be_bytes);
                finite(matches!(micros, Some(i64::MIN | i64::MAX)))
            }
            Self::Text(_) => std::str::from_utf8(value).map(|_| ()).map_err(|_| "text that is not UTF-8"),
            Self::Bytes(_) => Ok(()),
            Self::Numeric(_, scale) => numeric::scaled(value, *scale)
                .map(|_| ())
                .ok_or("a number that is NaN or has no place in its precision"),
        }
    }

    /// Appends a value that fits.
    fn push(&mut self, value: Option<&[u8]>) {
        match self {
            Self::Bool(b) => b.append_option(value.and_then(|v| v.first()).map(|v| *v != 0)),
            Self::Int16(b) => b.append_option(value.and_then(fixed).map(i16::from_be_bytes)),
            Self::Int32(b) => b.append_option(value.and_then(fixed).map(i32::from_be_bytes)),
            Self::Int64(b) => b.append_option(value.and_then(fixed).map(i64::from_be_bytes)),
            Self::Oid(b) => b.append_option(value.and_then(fixed).map(|v| i64::from(u32::from_be_bytes(v)))),
            Self::Float32(b) => b.append_option(value.and_then(fixed).map(f32::from_be_bytes)),
            Self::Float64(b) => b.append_option(value.and_then(fixed).map(f64::from_be_bytes)),
            Self::Text(b) => b.append_option(value.and_then(|v| std::str::from_utf8(v).ok())),
            Self::Uuid(b) => {
                let text = value.and_then(fixed).map(|v| uuid::Uuid::from_bytes(v).to_string());
                b.append_option(text);
            }
            Self::Bytes(b) => b.append_option(value),
            Self::Date(b) => b.append_option(value.and_then(fixed).map(i32::from_be_bytes).map(|days| match days {
                i32::MAX => LAST_DAY,
                i32::MIN => FIRST_DAY,
                days => days + EPOCH_DAYS,
            })),
            Self::Timestamp(b) => {
                b.append_option(value.and_then(fixed).map(i64::from_be_bytes).map(|micros| match micros {
                    i64::MAX => (i64::from(LAST_DAY) + 1) * DAY_MICROS - 1,
                    i64::MIN => i64::from(FIRST_DAY) * DAY_MICROS,
                    micros => micros.saturating_add(EPOCH_MICROS),
                }));
            }
            Self::Numeric(b, scale) => b.append_option(value.and_then(|v| numeric::scaled(v, *scale))),
        }
    }

    fn builder(&mut self) -> &mut dyn ArrayBuilder {
        match self {
            Self::Bool(b) => b,
            Self::Int16(b) => b,
            Self::Int32(b) => b,
            Self::Int64(b) | Self::Oid(b) => b,
            Self::Float32(b) => b,
            Self::Float64(b) => b,
            Self::Text(b) | Self::Uuid(b) => b,
            Self::Bytes(b) => b,
            Self::Date(b) => b,
            Self::Timestamp(b) => b,
            Self::Numeric(b, _) => b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{Array, AsArray},
        datatypes::{DataType, Field, Int32Type, Schema},
    };

    fn stream(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for row in rows {
            bytes.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
            for field in *row {
                match field {
                    None => bytes.extend((-1_i32).to_be_bytes()),
                    Some(value) => {
                        bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                        bytes.extend(*value);
                    }
                }
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_rows() {
        let bytes = stream(&[&[Some(&[0, 0, 0, 7]), Some(b"seven")], &[None, Some(b"")], &[Some(&[0, 0, 1, 0]), None]]);
        for cut in 0..=bytes.len() {
            let schema =
                Schema::new(vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)]);
            let mut batches = Batches::new(Arc::new(schema), &[Wire::Int32, Wire::Text], Infinity::Reject);
            let mut rows = Rows::default();
            for part in [&bytes[..cut], &bytes[cut..]] {
                rows.feed(&Bytes::copy_from_slice(part), |fields| batches.push(fields).unwrap()).unwrap();
            }
            assert!(rows.ended, "cut at {cut}");
            let batch = batches.take().unwrap();
            let numbers = batch.column(0).as_primitive::<Int32Type>();
            assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(7), None, Some(256)], "cut at {cut}");
            let texts: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
            assert_eq!(texts, [Some("seven"), Some(""), None], "cut at {cut}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_left_out_whole() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int32, true), Field::new("d", DataType::Date32, true)]);
        let mut batches = Batches::new(Arc::new(schema), &[Wire::Int32, Wire::Date], Infinity::Reject);
        let infinite = i32::MAX.to_be_bytes();
        let misfit = batches.push(&[Some(&[0, 0, 0, 1]), Some(&infinite)]).unwrap_err();
        assert_eq!(misfit.field, 1);
        batches.push(&[Some(&[0, 0, 0, 2]), None]).unwrap();
        let batch = batches.take().unwrap();
        assert_eq!((batch.num_rows(), batch.column(1).null_count()), (1, 1));
    }

    #[test]
    fn what_is_not_a_copy_stream_is_refused() {
        let garbled = Bytes::from_static(b"PGCOPY but not really");
        assert!(Rows::default().feed(&garbled, |_| ()).is_err());
    }
}

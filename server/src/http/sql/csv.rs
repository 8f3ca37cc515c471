//! Rows as CSV (RFC 4180, with line feeds). A null is empty, an empty text is `""`, so that the two can be told apart.

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
    json::writer::{NullableEncoder, make_encoder},
};

use super::{answer::Encode, floats, rows::text_keys};

#[derive(Debug)]
pub(super) struct Csv {
    schema: SchemaRef,
    /// Whether the first line names the columns.
    header: bool,
}

impl Csv {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, header: true }
    }

    /// Without a line that names the columns.
    pub(super) fn without_header(schema: SchemaRef) -> Self {
        Self { schema, header: false }
    }
}

impl Encode for Csv {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if !self.header {
            return Ok(());
        }
        for (number, field) in self.schema.fields().iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            cell(field.name().as_bytes(), out);
        }
        out.push(b'\n');
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let options = floats::options();
        let batch = &text_keys(batch)?;
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let mut columns = columns
            .map(|(field, column)| {
                let encoder = make_encoder(field, column.as_ref(), &options)?;
                Ok((encoder, field.data_type()))
            })
            .collect::<Result<Vec<_>, ArrowError>>()?;
        let mut json = Vec::new();
        for row in 0..batch.num_rows() {
            for (number, (encoder, kind)) in columns.iter_mut().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                written(encoder, kind, row, &mut json, out)?;
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn tail(&mut self, _: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }
}

/// The JSON text of a value without its quotes; lists and structs stay JSON.
fn written(
    encoder: &mut NullableEncoder<'_>,
    kind: &DataType,
    row: usize,
    json: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    if encoder.is_null(row) {
        return Ok(());
    }
    json.clear();
    encoder.encode(row, json);
    match json.as_slice() {
        [b'"', inner @ .., b'"'] if !kind.is_nested() => {
            if inner.contains(&b'\\') {
                let text: String =
                    serde_json::from_slice(json).map_err(|error| ArrowError::JsonError(error.to_string()))?;
                cell(text.as_bytes(), out);
            } else {
                cell(inner, out);
            }
        }
        plain => cell(plain, out),
    }
    Ok(())
}

/// A cell with quotes where it needs them.
fn cell(text: &[u8], out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty()
        || text.iter().any(|c| matches!(c, b',' | b'"' | b'\n' | b'\r'))
        || text.first() == Some(&b' ')
        || text.last() == Some(&b' ');
    if !needs_quotes {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for c in text {
        if *c == b'"' {
            out.push(b'"');
        }
        out.push(*c);
    }
    out.push(b'"');
}

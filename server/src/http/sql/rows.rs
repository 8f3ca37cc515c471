//! Rows as JSON: one document, or an object per line.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef},
    error::ArrowError,
    json::writer::{EncoderOptions, NullableEncoder, make_encoder},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{answer::Encode, cut::Cut, floats};

/// The answer as `application/json`; here for its description only, it is never held as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Rows {
    columns: Vec<Column>,
    /// A list per row, values in the order of the columns.
    #[schema(value_type = Vec<Vec<Object>>)]
    rows: Vec<Vec<Value>>,
    /// Whether there were more rows than `max_rows`; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Column {
    name: String,
    /// The Arrow type.
    #[serde(rename = "type")]
    #[schema(example = "Int64")]
    kind: String,
}

impl Column {
    pub(in crate::http) fn of(schema: &SchemaRef) -> Vec<Self> {
        let fields = schema.fields().iter();
        fields.map(|field| Self { name: field.name().clone(), kind: field.data_type().to_string() }).collect()
    }
}

/// `{"columns": [...], "rows": [[...], ...]}`.
#[derive(Debug)]
pub(super) struct Json {
    schema: SchemaRef,
    begun: bool,
    cut: Option<Cut>,
}

impl Json {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, begun: false, cut: None }
    }

    /// Says at the end whether rows were left out.
    pub(super) fn telling(self, cut: Cut) -> Self {
        Self { cut: Some(cut), ..self }
    }
}

impl Encode for Json {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = Column::of(&self.schema);
        out.extend_from_slice(b"{\"columns\":");
        serde_json::to_writer(&mut *out, &columns).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        out.extend_from_slice(b",\"rows\":[");
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let options = floats::options();
        let batch = &text_keys(batch)?;
        let schema = batch.schema();
        let mut encoders = encoders(batch, schema.fields(), &options)?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if self.begun { b",\n[" } else { b"[" });
            self.begun = true;
            for (number, encoder) in encoders.iter_mut().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                value(encoder, row, out);
            }
            out.push(b']');
        }
        Ok(())
    }

    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self.cut.as_ref().and_then(Cut::is_cut) {
            Some(cut) => out.extend_from_slice(format!("],\"cut\":{cut}}}\n").as_bytes()),
            None => out.extend_from_slice(b"]}\n"),
        }
        Ok(())
    }
}

/// An object per line; nulls are written.
#[derive(Debug)]
pub(super) struct Lines {
    /// `{"a":`, `,"b":`, ...
    names: Vec<Vec<u8>>,
}

impl Lines {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().enumerate().map(|(number, field)| {
            let before = if number == 0 { "{" } else { "," };
            format!("{before}{}:", Value::from(field.name().as_str())).into_bytes()
        });
        Self { names: names.collect() }
    }

    /// Writes a line per row, each after what `before` writes.
    fn write(
        &self,
        batch: &RecordBatch,
        out: &mut Vec<u8>,
        mut before: impl FnMut(&mut Vec<u8>),
    ) -> Result<(), ArrowError> {
        let options = floats::options();
        let batch = &text_keys(batch)?;
        let schema = batch.schema();
        let mut encoders = encoders(batch, schema.fields(), &options)?;
        for row in 0..batch.num_rows() {
            before(out);
            if encoders.is_empty() {
                out.push(b'{');
            }
            for (name, encoder) in self.names.iter().zip(&mut encoders) {
                out.extend_from_slice(name);
                value(encoder, row, out);
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }
}

impl Encode for Lines {
    fn head(&mut self, _: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.write(batch, out, |_| {})
    }

    fn tail(&mut self, _: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn broken(&mut self, error: &crate::http::ApiError, out: &mut Vec<u8>) -> bool {
        // Writing to memory fails only where a value cannot be JSON, and an error's body is text.
        let line = serde_json::to_string(&error.body()).unwrap_or_default();
        writeln!(out, "{line}").is_ok()
    }
}

/// One list of objects; nulls are written.
#[derive(Debug)]
pub(super) struct Objects {
    lines: Lines,
    begun: bool,
}

impl Objects {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { lines: Lines::new(schema), begun: false }
    }
}

impl Encode for Objects {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.push(b'[');
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let begun = &mut self.begun;
        self.lines.write(batch, out, |out| {
            if std::mem::replace(begun, true) {
                out.push(b',');
            }
        })
    }

    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(b"]\n");
        Ok(())
    }
}

/// The batch with keys of maps as texts: objects of JSON have no others.
pub(crate) fn text_keys(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let fields: Vec<FieldRef> = schema.fields().iter().map(text_keyed).collect();
    if fields.iter().zip(schema.fields()).all(|(one, other)| Arc::ptr_eq(one, other)) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().zip(&fields).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)
}

fn text_keyed(field: &FieldRef) -> FieldRef {
    let with = |data_type| Arc::new(field.as_ref().clone().with_data_type(data_type));
    match field.data_type() {
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let key = match pair[0].data_type() {
                    DataType::Utf8 => Arc::clone(&pair[0]),
                    _ => Arc::new(pair[0].as_ref().clone().with_data_type(DataType::Utf8)),
                };
                let value = text_keyed(&pair[1]);
                if Arc::ptr_eq(&key, &pair[0]) && Arc::ptr_eq(&value, &pair[1]) {
                    return Arc::clone(field);
                }
                let pair = DataType::Struct(Fields::from(vec![key, value]));
                with(DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), *sorted))
            }
            _ => Arc::clone(field),
        },
        DataType::List(item) => {
            let put = text_keyed(item);
            if Arc::ptr_eq(&put, item) { Arc::clone(field) } else { with(DataType::List(put)) }
        }
        DataType::Struct(fields) => {
            let put: Vec<FieldRef> = fields.iter().map(text_keyed).collect();
            let same = put.iter().zip(fields).all(|(one, other)| Arc::ptr_eq(one, other));
            if same { Arc::clone(field) } else { with(DataType::Struct(put.into())) }
        }
        _ => Arc::clone(field),
    }
}

fn encoders<'a>(
    batch: &'a RecordBatch,
    fields: &'a [FieldRef],
    options: &'a EncoderOptions,
) -> Result<Vec<NullableEncoder<'a>>, ArrowError> {
    fields.iter().zip(batch.columns()).map(|(field, column)| make_encoder(field, column.as_ref(), options)).collect()
}

fn value(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        encoder.encode(row, out);
    }
}

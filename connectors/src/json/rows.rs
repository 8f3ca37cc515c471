//! JSON objects as rows of columns whose types are known.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use serde_json::error::Category;

use super::shape::{Builder, Fitted, Members, Shape};
use crate::{Error, ReadRequest};

/// Adds a value's shape to those of its column.
pub(crate) fn merge(shapes: &mut Vec<(String, Shape)>, name: &str, shape: Shape) {
    match shapes.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = known.and(shape),
        None => shapes.push((name.to_owned(), shape)),
    }
}

/// The members of an object; the error says why it is none, without a value of it.
pub(crate) fn members(text: &str) -> Result<Members<'_>, String> {
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => "the JSON ends in the middle".to_owned(),
        Category::Data => "it is not a JSON object".to_owned(),
        _ => format!("it is not valid JSON at column {}", error.column()),
    })?;
    for (place, (name, _)) in members.0.iter().enumerate() {
        if name.is_empty() {
            return Err("a member has an empty name".to_owned());
        }
        if members.0[..place].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("the member `{name}` stands there twice"));
        }
    }
    Ok(members)
}

/// Rows on their way into a batch.
#[derive(Debug)]
pub(crate) struct Rows {
    names: Vec<String>,
    types: Vec<DataType>,
    builders: Vec<Builder>,
    places: HashMap<String, usize>,
    count: usize,
    bytes: usize,
}

impl Rows {
    pub(crate) fn new(shapes: &[(String, Shape)]) -> Self {
        let names: Vec<String> = shapes.iter().map(|(name, _)| name.clone()).collect();
        let types: Vec<DataType> = shapes.iter().map(|(_, shape)| shape.data_type()).collect();
        Self {
            places: names.iter().cloned().zip(0..).collect(),
            builders: types.iter().map(Builder::new).collect(),
            names,
            types,
            count: 0,
            bytes: 0,
        }
    }

    /// Appends one object; the error says why it cannot be a row, without a value of it.
    pub(crate) fn take(&mut self, text: &str) -> Result<(), String> {
        let members = members(text)?;
        let mut row: Vec<Fitted> = self.builders.iter().map(|_| Fitted::Null).collect();
        for (name, value) in members.0 {
            let place = match self.places.get(&name) {
                Some(place) => *place,
                None => {
                    let place = self.add_column(name.clone());
                    row.push(Fitted::Null);
                    place
                }
            };
            row[place] = self.builders[place]
                .fit(value.get())
                .map_err(|wanted| format!("the member `{name}` is not {wanted}"))?;
        }
        for (builder, value) in self.builders.iter_mut().zip(row) {
            self.bytes += builder.append(value);
        }
        self.count += 1;
        Ok(())
    }

    /// A column that the sample did not show: text, NULL in the rows before.
    fn add_column(&mut self, name: String) -> usize {
        let mut builder = Builder::new(&DataType::Utf8);
        for _ in 0..self.count {
            builder.append(Fitted::Null);
        }
        self.places.insert(name.clone(), self.names.len());
        self.names.push(name);
        self.types.push(DataType::Utf8);
        self.builders.push(builder);
        self.names.len() - 1
    }

    pub(crate) fn is_full(&self, request: &ReadRequest) -> bool {
        self.count >= request.batch_rows.max(1) || self.bytes >= request.batch_bytes
    }

    pub(crate) fn finish(&mut self) -> Result<RecordBatch, Error> {
        (self.count, self.bytes) = (0, 0);
        let fields: Vec<Field> = self
            .names
            .iter()
            .zip(&self.types)
            .map(|(name, data_type)| Field::new(name, data_type.clone(), true))
            .collect();
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(0));
        if fields.is_empty() {
            return RecordBatch::try_new_with_options(Arc::new(Schema::empty()), arrays, &options).map_err(unbuildable);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(unbuildable)
    }
}

fn unbuildable(error: arrow::error::ArrowError) -> Error {
    Error::Malformed { place: "JSON rows".to_owned(), reason: error.to_string() }
}

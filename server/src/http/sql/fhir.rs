//! Rows as a FHIR Parameters resource: a parameter `row` for each row, a part for each value; a null has none, a list has a
//! part for each of its items (SQL on FHIR, `_format=fhir`).

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Field, FieldRef},
    error::ArrowError,
    json::writer::{EncoderOptions, make_encoder},
};
use serde_json::Value;

use super::answer::Encode;

#[derive(Debug, Default)]
pub(super) struct Parameters {
    begun: bool,
}

impl Encode for Parameters {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(b"{\"resourceType\":\"Parameters\",\"parameter\":[");
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        // Values column by column, then put together row by row.
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| parts(field, column)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if std::mem::replace(&mut self.begun, true) {
                out.extend_from_slice(b",\n");
            }
            out.extend_from_slice(b"{\"name\":\"row\"");
            let mut before: &[u8] = b",\"part\":[";
            for part in columns.iter().flat_map(|column| &column[row]) {
                out.extend_from_slice(before);
                out.extend_from_slice(part);
                before = b",";
            }
            if before == b"," {
                out.push(b']');
            }
            out.push(b'}');
        }
        Ok(())
    }

    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(b"]}\n");
        Ok(())
    }
}

/// The parts of a column, for each row.
fn parts(field: &FieldRef, column: &ArrayRef) -> Result<Vec<Vec<Vec<u8>>>, ArrowError> {
    let (values, ranges): (ArrayRef, Vec<std::ops::Range<usize>>) = match column.as_list_opt::<i32>() {
        Some(list) => {
            let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
            let ranges = list.value_offsets().windows(2).map(|pair| place(pair[0])..place(pair[1]));
            (list.values().clone(), ranges.collect())
        }
        None => (column.clone(), (0..column.len()).map(|row| row..row + 1).collect()),
    };
    let values = match values.data_type() {
        DataType::Boolean | DataType::Utf8 | DataType::Int32 | DataType::Float64 => values,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
            arrow::compute::cast(&values, &DataType::Int32)?
        }
        DataType::Float32 => arrow::compute::cast(&values, &DataType::Float64)?,
        // what has no type of R4: as text
        _ => arrow::compute::cast(&values, &DataType::Utf8)?,
    };
    let kind = match values.data_type() {
        DataType::Boolean => "valueBoolean",
        DataType::Int32 => "valueInteger",
        DataType::Float64 => "valueDecimal",
        _ => "valueString",
    };
    let begin = format!("{{\"name\":{},\"{kind}\":", Value::from(field.name().as_str())).into_bytes();
    let options = EncoderOptions::default();
    let item: FieldRef = Field::new("element", values.data_type().clone(), true).into();
    let mut encoder = make_encoder(&item, values.as_ref(), &options)?;
    let mut rows = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut row = Vec::with_capacity(range.len());
        for at in range {
            if !encoder.is_null(at) {
                let mut part = begin.clone();
                encoder.encode(at, &mut part);
                part.push(b'}');
                row.push(part);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

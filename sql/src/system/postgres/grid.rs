use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
        ListBuilder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder, UInt32Builder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use crate::Error;

/// A value of a catalog's row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Flag(bool),
    Int(i64),
    Float(f64),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Cell::Flag(flag)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Cell::Int(number)
    }
}

impl From<u32> for Cell {
    fn from(oid: u32) -> Self {
        Cell::Int(i64::from(oid))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Cell::Null, Into::into)
    }
}

/// A column: its name, its type in a short word, and the value of rows that say none.
struct Column<'a> {
    name: &'a str,
    kind: &'a str,
    default: Option<&'a str>,
}

/// The columns of a catalog, written as `name:type` or `name:type=default`, with blanks between them. Types: `oid`, `text`
/// (PostgreSQL's `name`, `"char"` and others that are texts), `bool`, `int2`, `int4`, `int8`, `float4`, `float8`, `time` (with a
/// zone), `oids`, `int2s`, `texts`.
fn columns(spec: &'static str) -> impl Iterator<Item = Column<'static>> {
    spec.split_whitespace().map(|column| {
        let (name, rest) = column.split_once(':').unwrap_or((column, "text"));
        let (kind, default) = rest.split_once('=').map_or((rest, None), |(kind, default)| (kind, Some(default)));
        Column { name, kind, default }
    })
}

fn data_type(kind: &str) -> DataType {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    match kind {
        "oid" => DataType::UInt32,
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "time" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "oids" => list(DataType::UInt32),
        "int2s" => list(DataType::Int16),
        "texts" => list(DataType::Utf8),
        _ => DataType::Utf8,
    }
}

/// The schema of a catalog.
pub(super) fn schema(spec: &'static str) -> SchemaRef {
    Arc::new(Schema::new(
        columns(spec).map(|column| Field::new(column.name, data_type(column.kind), true)).collect::<Vec<_>>(),
    ))
}

fn of_default(text: &str, kind: &str) -> Cell {
    match kind {
        "bool" => Cell::Flag(text == "t"),
        "oid" | "int2" | "int4" | "int8" => text.parse().map_or(Cell::Null, Cell::Int),
        "float4" | "float8" => text.parse().map_or(Cell::Null, Cell::Float),
        _ => Cell::Text(text.to_owned()),
    }
}

/// A row: values of the columns that it names; the others have their defaults.
pub(super) type Row = Vec<(&'static str, Cell)>;

/// Rows as a batch.
///
/// # Errors
/// [`Error::Execution`] when the rows and the columns do not fit, which no input decides.
pub(super) fn batch(spec: &'static str, rows: &[Row]) -> Result<RecordBatch, Error> {
    let arrays = columns(spec).map(|column| {
        let default = column.default.map_or(Cell::Null, |text| of_default(text, column.kind));
        let cells =
            rows.iter().map(|row| row.iter().find(|(name, _)| *name == column.name).map_or(&default, |(_, cell)| cell));
        array(column.kind, cells)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema(spec), arrays.collect(), &options)
        .map_err(|_| Error::Execution { message: "a catalog could not be put together".to_owned() })
}

fn array<'a>(kind: &str, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    macro_rules! numbers {
        ($builder:ty) => {{
            let mut builder = <$builder>::new();
            for cell in cells {
                builder.append_option(int(cell).and_then(|number| number.try_into().ok()));
            }
            Arc::new(builder.finish())
        }};
    }
    macro_rules! lists {
        ($builder:ty) => {{
            let mut builder = ListBuilder::new(<$builder>::new());
            for cell in cells {
                match cell {
                    Cell::Ints(items) => {
                        builder.append_value(items.iter().map(|item| (*item).try_into().ok()));
                    }
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    match kind {
        "oid" => numbers!(UInt32Builder),
        "int2" => numbers!(Int16Builder),
        "int4" => numbers!(Int32Builder),
        "int8" => numbers!(Int64Builder),
        "oids" => lists!(UInt32Builder),
        "int2s" => lists!(Int16Builder),
        "bool" => {
            let mut builder = BooleanBuilder::new();
            cells.for_each(|cell| builder.append_option(if let Cell::Flag(flag) = cell { Some(*flag) } else { None }));
            Arc::new(builder.finish())
        }
        "float4" => {
            let mut builder = Float32Builder::new();
            #[allow(clippy::cast_possible_truncation, reason = "an estimate of rows")]
            cells.for_each(|cell| builder.append_option(float(cell).map(|number| number as f32)));
            Arc::new(builder.finish())
        }
        "float8" => {
            let mut builder = Float64Builder::new();
            cells.for_each(|cell| builder.append_option(float(cell)));
            Arc::new(builder.finish())
        }
        "time" => {
            let mut builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
            cells.for_each(|cell| builder.append_option(int(cell)));
            Arc::new(builder.finish())
        }
        "texts" => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            for cell in cells {
                match cell {
                    Cell::Texts(items) => builder.append_value(items.iter().map(Some)),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = StringBuilder::new();
            cells.for_each(|cell| builder.append_option(if let Cell::Text(text) = cell { Some(text) } else { None }));
            Arc::new(builder.finish())
        }
    }
}

fn int(cell: &Cell) -> Option<i64> {
    if let Cell::Int(number) = cell { Some(*number) } else { None }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate of rows")]
fn float(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Float(number) => Some(*number),
        Cell::Int(number) => Some(*number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;

    #[test]
    fn a_row_has_its_own_values_and_the_defaults_of_the_others() {
        let spec = "oid:oid name:text kind:text=r shared:bool=f keys:int2s rows:float4=-1";
        let rows = [vec![("name", "a".into()), ("oid", 7_u32.into()), ("keys", Cell::Ints(vec![1, 2]))], vec![]];
        let shown = pretty_format_batches(&[batch(spec, &rows).unwrap()]).unwrap().to_string();
        assert!(shown.contains("| 7   | a    | r    | false  | [1, 2] | -1.0 |"), "{shown}");
        assert!(shown.contains("|     |      | r    | false  |        | -1.0 |"), "{shown}");
    }
}

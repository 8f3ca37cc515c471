//! Rows of cells gathered into batches of one schema.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
        Int8Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use crate::{Error, SourceColumn};

/// One value on its way into a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    /// An integer that fits its column; days of a date, microseconds of a timestamp.
    Int(i64),
    /// The scaled integer of a decimal.
    Wide(i128),
    Float(f64),
    Text(&'a str),
    Owned(String),
    Bytes(&'a [u8]),
    OwnedBytes(Vec<u8>),
}

/// Gathers rows into batches. A row is appended whole: its cells have been checked before.
#[derive(Debug)]
pub(crate) struct Gather {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Column {
    Bool(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

impl Gather {
    /// # Errors
    /// [`Error::Unsupported`] for a type that no connector declares.
    pub(crate) fn new(columns: &[SourceColumn]) -> Result<Self, Error> {
        // Databases are not to be trusted with NOT NULL: a view, a zero date.
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
        let columns = columns
            .iter()
            .map(|column| {
                Column::new(&column.data_type).ok_or_else(|| Error::Unsupported {
                    what: format!("column `{}` of type {}", column.name, column.data_type),
                    instead: "exclude its table".to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { schema: Arc::new(Schema::new(fields)), columns, rows: 0, bytes: 0 })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a row of as many cells as there are columns.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a cell that is not of its column's type, which is an error of the decoder.
    pub(crate) fn push(&mut self, cells: &[Cell<'_>]) -> Result<(), Error> {
        for (place, (column, cell)) in self.columns.iter_mut().zip(cells).enumerate() {
            match column.append(cell) {
                Some(bytes) => self.bytes += bytes,
                None => {
                    return Err(Error::Malformed {
                        place: format!("column `{}`", self.schema.field(place).name()),
                        reason: format!("a value is none of {}", self.schema.field(place).data_type()),
                    });
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows gathered so far as a batch.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, Error> {
        (self.rows, self.bytes) = (0, 0);
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::Malformed { place: "rows".to_owned(), reason: error.to_string() })
    }
}

impl Column {
    fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int8 => Self::Int8(Int8Builder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone())),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()))
            }
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            _ => return None,
        })
    }

    /// Appends a cell; how many bytes it takes, or `None` where it is of another type.
    fn append(&mut self, cell: &Cell<'_>) -> Option<usize> {
        macro_rules! int {
            ($builder:expr) => {
                match cell {
                    Cell::Null => $builder.append_null(),
                    Cell::Int(value) => $builder.append_value((*value).try_into().ok()?),
                    _ => return None,
                }
            };
        }
        Some(match self {
            Self::Bool(builder) => {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::Bool(value) => builder.append_value(*value),
                    _ => return None,
                }
                1
            }
            Self::Int8(builder) => {
                int!(builder);
                1
            }
            Self::Int16(builder) => {
                int!(builder);
                2
            }
            Self::Int32(builder) => {
                int!(builder);
                4
            }
            Self::Int64(builder) => {
                int!(builder);
                8
            }
            Self::Date(builder) => {
                int!(builder);
                4
            }
            Self::Timestamp(builder) => {
                int!(builder);
                8
            }
            Self::Float32(builder) => {
                match cell {
                    Cell::Null => builder.append_null(),
                    // The source holds a single; the double is the same number.
                    #[allow(clippy::cast_possible_truncation, reason = "nothing is cut off")]
                    Cell::Float(value) => builder.append_value(*value as f32),
                    _ => return None,
                }
                4
            }
            Self::Float64(builder) => {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::Float(value) => builder.append_value(*value),
                    _ => return None,
                }
                8
            }
            Self::Decimal(builder) => {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::Wide(value) => builder.append_value(*value),
                    _ => return None,
                }
                16
            }
            Self::Text(builder) => match cell {
                Cell::Null => {
                    builder.append_null();
                    4
                }
                Cell::Text(text) => {
                    builder.append_value(text);
                    text.len() + 4
                }
                Cell::Owned(text) => {
                    builder.append_value(text);
                    text.len() + 4
                }
                _ => return None,
            },
            Self::Bytes(builder) => match cell {
                Cell::Null => {
                    builder.append_null();
                    4
                }
                Cell::Bytes(bytes) => {
                    builder.append_value(bytes);
                    bytes.len() + 4
                }
                Cell::OwnedBytes(bytes) => {
                    builder.append_value(bytes);
                    bytes.len() + 4
                }
                _ => return None,
            },
        })
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
        }
    }
}

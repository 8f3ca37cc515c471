//! How a table's schema grows: columns are added, types widen where no value can be lost, everything else is refused.
//!
//! Three steps: [`storable`] turns whatever Arrow types a source has into those that Delta stores; [`unite`] finds the
//! schema that holds both the table's rows and the new ones; [`crate::conform`] brings batches to it, checking values
//! where a type alone does not prove that nothing is lost.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use mavis_types::TableName;

use crate::{Error, columns::is_lake_column};

/// Digits that a 64-bit integer has at most, and that Delta's decimals may have.
const INT64_DIGITS: u8 = 19;
const UINT64_DIGITS: u8 = 20;
const DECIMAL_DIGITS: u8 = 38;

/// A conflict between two types of one column, before it has a table to name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) column: String,
    pub(crate) from: DataType,
    pub(crate) to: DataType,
    pub(crate) instead: String,
}

impl Refused {
    pub(crate) fn on(self, table: &TableName) -> Error {
        Error::Evolution {
            table: table.clone(),
            column: self.column,
            from: self.from.to_string(),
            to: self.to.to_string(),
            instead: self.instead,
        }
    }
}

/// The schema in the types that Delta stores. Every column may be null; field metadata is dropped.
pub(crate) fn storable_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| storable_field(field)).collect::<Vec<_>>()))
}

fn storable_field(field: &Field) -> Field {
    Field::new(field.name(), storable(field.data_type()), true)
}

/// The type in which Delta stores a value of `data_type` without losing any of it. Unsigned integers take the next wider
/// signed type, times of day and intervals become text, nanoseconds microseconds (checked per value), views and
/// dictionaries plain arrays.
pub(crate) fn storable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(UINT64_DIGITS, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => crate::columns::instant(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
            Ok(digits) if *precision <= DECIMAL_DIGITS && digits <= *precision => {
                DataType::Decimal128(*precision, *scale)
            }
            _ => DataType::Utf8,
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, values) => storable(values),
        DataType::RunEndEncoded(_, values) => storable(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => list_of(storable(item.data_type())),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| storable_field(field)).collect()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                map_of(storable(pair[0].data_type()), storable(pair[1].data_type()))
            }
            _ => DataType::Utf8,
        },
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        // Text of every kind, and what Delta has no type for: times of day, durations, intervals, a column of nulls.
        _ => DataType::Utf8,
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

fn map_of(key: DataType, value: DataType) -> DataType {
    let pair = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(pair), false)), false)
}

/// The schema of both: the table's columns in their order, then the new ones, before the trailing columns of the lake.
pub(crate) fn unite(table: &Schema, incoming: &Schema) -> Result<SchemaRef, Refused> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(table.fields().len());
    for field in table.fields() {
        match incoming.field_with_name(field.name()) {
            Ok(new) => {
                let data_type = unite_types(field.name(), field.data_type(), new.data_type())?;
                fields.push(Arc::new(Field::new(field.name(), data_type, true)));
            }
            Err(_) => fields.push(Arc::clone(field)),
        }
    }
    let own = fields.len() - fields.iter().rev().take_while(|field| is_lake_column(field.name())).count();
    let new = incoming.fields().iter().filter(|field| table.field_with_name(field.name()).is_err()).cloned();
    let (lake, new): (Vec<FieldRef>, Vec<FieldRef>) = new.partition(|field| is_lake_column(field.name()));
    fields.splice(own..own, new);
    fields.extend(lake);
    Ok(Arc::new(Schema::new(fields)))
}

fn unite_types(column: &str, from: &DataType, to: &DataType) -> Result<DataType, Refused> {
    if from == to {
        return Ok(from.clone());
    }
    match (from, to) {
        (DataType::Struct(old), DataType::Struct(new)) => {
            let mut fields: Vec<FieldRef> = Vec::with_capacity(old.len());
            for field in old {
                match new.iter().find(|candidate| candidate.name() == field.name()) {
                    Some(candidate) => {
                        let path = format!("{column}.{}", field.name());
                        let data_type = unite_types(&path, field.data_type(), candidate.data_type())?;
                        fields.push(Arc::new(Field::new(field.name(), data_type, true)));
                    }
                    None => fields.push(Arc::clone(field)),
                }
            }
            fields.extend(new.iter().filter(|field| old.iter().all(|known| known.name() != field.name())).cloned());
            Ok(DataType::Struct(fields.into()))
        }
        (DataType::List(old), DataType::List(new)) => {
            Ok(list_of(unite_types(column, old.data_type(), new.data_type())?))
        }
        (DataType::Map(old, _), DataType::Map(new, _)) => match (old.data_type(), new.data_type()) {
            (DataType::Struct(old), DataType::Struct(new)) if old.len() == 2 && new.len() == 2 => Ok(map_of(
                unite_types(column, old[0].data_type(), new[0].data_type())?,
                unite_types(column, old[1].data_type(), new[1].data_type())?,
            )),
            _ => Err(refused(column, from, to)),
        },
        _ => unite_scalars(from, to).ok_or_else(|| refused(column, from, to)),
    }
}

/// The type that holds the values of both, where there is one. Where it depends on the values (64-bit integers in a
/// column of floats), they are checked when they are converted.
fn unite_scalars(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Date32, Decimal128, Float32, Float64, Timestamp, Utf8};
    if let (Some(x), Some(y)) = (integer_rank(a), integer_rank(b)) {
        return Some(if x >= y { a.clone() } else { b.clone() });
    }
    match (a, b) {
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        (Float32 | Float64, other) | (other, Float32 | Float64) if integer_rank(other).is_some() => Some(Float64),
        (Decimal128(p, s), Decimal128(q, t)) => {
            let scale = (*s).max(*t);
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(*q) - i16::from(*t));
            decimal(whole + i16::from(scale), scale)
        }
        (Decimal128(p, s), other) | (other, Decimal128(p, s)) if integer_rank(other).is_some() => {
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(integer_digits(other)));
            decimal(whole + i16::from(*s), *s)
        }
        (Utf8, other) | (other, Utf8) if is_plain(other) => Some(Utf8),
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => Some(Timestamp(*unit, None)),
        _ => None,
    }
}

fn decimal(precision: i16, scale: i8) -> Option<DataType> {
    let precision = u8::try_from(precision).ok().filter(|digits| *digits <= DECIMAL_DIGITS)?;
    Some(DataType::Decimal128(precision, scale))
}

fn integer_rank(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(1),
        DataType::Int16 => Some(2),
        DataType::Int32 => Some(4),
        DataType::Int64 => Some(8),
        _ => None,
    }
}

fn integer_digits(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int8 => 3,
        DataType::Int16 => 5,
        DataType::Int32 => 10,
        _ => INT64_DIGITS,
    }
}

/// Whether the value has a text form that says all of it.
fn is_plain(data_type: &DataType) -> bool {
    integer_rank(data_type).is_some()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Float32
                | DataType::Float64
                | DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}

fn refused(column: &str, from: &DataType, to: &DataType) -> Refused {
    let nested = from.is_nested() || to.is_nested();
    let instead = if nested {
        "give the new form a column of its own, or make a new table".to_owned()
    } else {
        "values could be lost; read the column as text, or give the new form a column of its own".to_owned()
    };
    Refused { column: column.to_owned(), from: from.clone(), to: to.clone(), instead }
}

/// Whether rows of `from` are not yet stored as `to` says: some column that both have got another type. New columns and
/// new fields of structs need no rewriting.
pub(crate) fn retypes(from: &Schema, to: &Schema) -> bool {
    from.fields()
        .iter()
        .any(|field| to.field_with_name(field.name()).is_ok_and(|new| retypes_type(field.data_type(), new.data_type())))
}

fn retypes_type(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Struct(old), DataType::Struct(new)) => old.iter().any(|field| {
            new.iter()
                .find(|candidate| candidate.name() == field.name())
                .is_some_and(|candidate| retypes_type(field.data_type(), candidate.data_type()))
        }),
        (DataType::List(old), DataType::List(new)) | (DataType::Map(old, _), DataType::Map(new, _)) => {
            retypes_type(old.data_type(), new.data_type())
        }
        _ => from != to,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn one(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("x", data_type, true)])
    }

    fn strukt(names: &[&str]) -> DataType {
        DataType::Struct(names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect())
    }

    #[rstest]
    #[case(DataType::Int32, DataType::Int64, DataType::Int64)]
    #[case(DataType::Int64, DataType::Int32, DataType::Int64)]
    #[case(DataType::Float32, DataType::Float64, DataType::Float64)]
    #[case(DataType::Float64, DataType::Float32, DataType::Float64)]
    #[case(DataType::Float64, DataType::Int64, DataType::Float64)]
    #[case(DataType::Int32, DataType::Utf8, DataType::Utf8)]
    #[case(DataType::Utf8, DataType::Date32, DataType::Utf8)]
    #[case(DataType::Decimal128(5, 2), DataType::Decimal128(6, 1), DataType::Decimal128(7, 2))]
    #[case(DataType::Decimal128(5, 2), DataType::Int64, DataType::Decimal128(21, 2))]
    fn a_type_widens_where_every_value_of_both_fits(#[case] a: DataType, #[case] b: DataType, #[case] both: DataType) {
        assert_eq!(unite(&one(a), &one(b)).unwrap().field(0).data_type(), &both);
    }

    #[rstest]
    #[case(DataType::Boolean, DataType::Int32)]
    #[case(DataType::Decimal128(10, 2), DataType::Float64)]
    #[case(DataType::Decimal128(38, 0), DataType::Decimal128(38, 10))]
    #[case(DataType::Timestamp(TimeUnit::Microsecond, None), crate::columns::instant())]
    #[case(DataType::Binary, DataType::Utf8)]
    #[case(strukt(&["a"]), DataType::Utf8)]
    fn a_change_that_could_lose_values_is_refused(#[case] a: DataType, #[case] b: DataType) {
        let refused = unite(&one(a), &one(b)).unwrap_err();
        assert_eq!(refused.column, "x");
        assert!(!refused.instead.is_empty());
    }

    #[test]
    fn nested_fields_grow_inside_structs_and_lists() {
        let both = unite(&one(list_of(strukt(&["a", "b"]))), &one(list_of(strukt(&["b", "c"])))).unwrap();
        assert_eq!(both.field(0).data_type(), &list_of(strukt(&["a", "b", "c"])));
        assert!(!retypes(&one(list_of(strukt(&["a", "b"]))), &both));
    }

    #[test]
    fn new_columns_stand_before_the_lakes_own() {
        let table = crate::columns::with_lake_columns(&one(DataType::Int64), false);
        let incoming = Schema::new(vec![Field::new("y", DataType::Int64, true)]);
        let names: Vec<_> = unite(&table, &incoming).unwrap().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["x", "y", "__run", "__ingested_at", "__hash", "__source"]);
    }

    #[rstest]
    #[case(DataType::UInt64, DataType::Decimal128(20, 0))]
    #[case(DataType::Utf8View, DataType::Utf8)]
    #[case(DataType::Null, DataType::Utf8)]
    #[case(DataType::Time64(TimeUnit::Nanosecond), DataType::Utf8)]
    #[case(DataType::Timestamp(TimeUnit::Second, Some("Europe/Paris".into())), crate::columns::instant())]
    #[case(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8)), DataType::Utf8)]
    #[case(DataType::Decimal128(5, -2), DataType::Utf8)]
    fn every_source_type_has_a_form_that_delta_stores(#[case] source: DataType, #[case] stored: DataType) {
        assert_eq!(storable(&source), stored);
    }
}

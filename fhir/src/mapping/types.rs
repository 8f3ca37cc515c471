use arrow::datatypes::{DataType, Schema};

use super::{Mapping, MappingProblem, tree};
use crate::definitions::Primitive;

pub(super) fn check(mapping: &Mapping, schema: &Schema) -> Vec<MappingProblem> {
    let mut problems = Vec::new();
    for place in 0..mapping.key.len() {
        match schema.field_with_name(&format!("key_{place}")) {
            Err(_) => problems.push(MappingProblem::new("key", format!("the statement has no column key_{place}"))),
            Ok(field) if field.data_type().is_nested() => {
                let message = format!("a value of type {} cannot be a key: cast it to text", field.data_type());
                problems.push(MappingProblem::new("key", message));
            }
            Ok(_) => {}
        }
    }
    if mapping.resource_json.is_some() {
        match schema.field_with_name("resource_json") {
            Ok(field) if is_text(field.data_type()) => {}
            Ok(field) => {
                let message = format!("is {}, not JSON text", field.data_type());
                problems.push(MappingProblem::new("resource_json", message));
            }
            Err(_) => problems.push(MappingProblem::new("resource_json", "the statement has no such column")),
        }
        return problems;
    }
    let (_, targets, _) = tree::build(mapping);
    for (place, ((path, _), target)) in mapping.set.iter().zip(targets).enumerate() {
        let Some(primitive) = target.and_then(|target| target.element.type_id.primitive()) else { continue };
        match schema.field_with_name(&format!("set_{place}")) {
            Err(_) => {
                problems
                    .push(MappingProblem::new(path.to_string(), format!("the statement has no column set_{place}")));
            }
            Ok(field) if accepts(primitive, field.data_type()) => {}
            Ok(field) => {
                let (name, data_type) = (primitive.name(), field.data_type());
                let message = format!("is a {name} and cannot be set from {data_type}: {}", hint(primitive));
                problems.push(MappingProblem::new(path.to_string(), message));
            }
        }
    }
    problems
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        _ => data_type.is_string() || data_type.is_null(),
    }
}

fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

fn is_decimal(data_type: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    matches!(data_type, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..))
}

/// Whether the number is whole by its type.
fn is_whole(data_type: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    match data_type {
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) | Decimal256(_, scale) => *scale <= 0,
        _ => data_type.is_integer(),
    }
}

/// Whether values of an Arrow type can stand in an element of a primitive type. What a type cannot promise (a text that
/// is a date, a number in range) is checked row by row.
pub(super) fn accepts(primitive: Primitive, data_type: &DataType) -> bool {
    if data_type.is_null() {
        return true;
    }
    match primitive {
        Primitive::Boolean => *data_type == DataType::Boolean,
        Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => is_whole(data_type),
        Primitive::Decimal => {
            data_type.is_integer() || data_type.is_floating() || is_decimal(data_type) || is_text(data_type)
        }
        Primitive::Date | Primitive::DateTime => is_text(data_type) || is_date(data_type),
        Primitive::Instant => is_text(data_type) || matches!(data_type, DataType::Timestamp(..)),
        Primitive::Time => is_text(data_type) || matches!(data_type, DataType::Time32(_) | DataType::Time64(_)),
        Primitive::String | Primitive::Code | Primitive::Id | Primitive::Markdown => {
            is_text(data_type) || is_whole(data_type) || is_decimal(data_type)
        }
        Primitive::Base64Binary
        | Primitive::Canonical
        | Primitive::Oid
        | Primitive::Uri
        | Primitive::Url
        | Primitive::Uuid
        | Primitive::Xhtml => is_text(data_type),
    }
}

fn hint(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::Boolean => "give a boolean (`p.flag = 1`)",
        Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => "cast it to an integer",
        Primitive::Decimal => "give a number",
        Primitive::Date | Primitive::DateTime => "give a date, a timestamp or FHIR text",
        Primitive::Instant => "give a timestamp",
        Primitive::Time => "give a time",
        Primitive::Base64Binary => "give text (`encode(x, 'base64')`)",
        _ => "cast it to text",
    }
}

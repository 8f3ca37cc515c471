use arrow::datatypes::DataType;

/// A type as SQL writes it; what SQL has no word for as Arrow does.
pub(super) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "VARBINARY".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::List(item) | DataType::LargeList(item) => format!("ARRAY<{}>", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", name(field.name()), sql_type(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP<{}, {}>", sql_type(fields[0].data_type()), sql_type(fields[1].data_type()))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// The name of a field, in quotes where it would be read as another one without.
fn name(name: &str) -> String {
    let is_plain = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_')
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, TimeUnit};
    use rstest::rstest;
    use std::sync::Arc;

    #[rstest]
    #[case(DataType::Int64, "BIGINT")]
    #[case(DataType::Decimal128(10, 2), "DECIMAL(10, 2)")]
    #[case(DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), "ARRAY<VARCHAR>")]
    #[case(DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into()), "STRUCT<a: INT>")]
    #[case(DataType::Struct(vec![Field::new("Naissance", DataType::Date32, true)].into()), "STRUCT<\"Naissance\": DATE>")]
    #[case(DataType::Timestamp(TimeUnit::Microsecond, None), "TIMESTAMP")]
    fn a_type_is_written_as_sql_does(#[case] data_type: DataType, #[case] text: &str) {
        assert_eq!(sql_type(&data_type), text);
    }
}

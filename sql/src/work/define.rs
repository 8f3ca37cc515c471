//! The columns of tables that are made.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::ColumnDef;
use mavis_types::normalize_name;

use super::statement::column_comment;
use crate::{Error, Session, fault, planner};

/// Letters that Delta keeps out of names of columns.
const FORBIDDEN: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

impl Session {
    /// The columns that a `CREATE TABLE` or `ALTER TABLE` lists.
    pub(super) fn listed(&self, columns: Vec<ColumnDef>) -> Result<SchemaRef, Error> {
        for column in &columns {
            column_comment(column)?;
            if column.name.value.contains(FORBIDDEN) || column.name.value.is_empty() {
                return Err(fault::invalid(format!(
                    "`{}` cannot be the name of a column: leave out spaces and the letters , ; {{ }} ( ) =",
                    column.name.value
                )));
            }
        }
        let names: Vec<String> = columns.iter().map(|column| column.name.value.clone()).collect();
        let schema = planner::columns(self.state()?.as_ref(), columns)?;
        // Unquoted names keep the case that they are written in; they are found in any.
        let fields = schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name));
        unique(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// The columns of an answer as those of a table. A name that Delta cannot hold, such as that of `count(*)`, is spelled as a
/// source's would be.
pub(super) fn derived(schema: &Schema) -> Result<SchemaRef, Error> {
    if schema.fields().is_empty() {
        return Err(fault::invalid("a table has columns, and there are none"));
    }
    let fields = schema.fields().iter().map(|field| {
        // A query says of many columns that they cannot be null; a table that it makes does not promise it.
        Field::new(storable_name(field.name()), field.data_type().clone(), true)
    });
    unique(Schema::new(fields.collect::<Vec<_>>()))
}

/// The name of a column in a table.
pub(super) fn storable_name(name: &str) -> String {
    if name.is_empty() || name.contains(FORBIDDEN) { normalize_name(name) } else { name.to_owned() }
}

fn unique(schema: Schema) -> Result<SchemaRef, Error> {
    let mut names: Vec<String> = schema.fields().iter().map(|field| field.name().to_lowercase()).collect();
    names.sort();
    if let Some([name, _]) = names.windows(2).find(|pair| pair[0] == pair[1]).and_then(<[String]>::first_chunk) {
        return Err(fault::invalid(format!("two columns are called `{name}`: give one of them another name with AS")));
    }
    Ok(Arc::new(schema))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;
    use rstest::rstest;

    fn schema(names: &[&str]) -> Schema {
        Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int64, false)).collect::<Vec<_>>())
    }

    #[rstest]
    #[case("n", "n")]
    #[case("birthDate", "birthDate")]
    #[case("count(*)", "count")]
    #[case("Date of birth", "date_of_birth")]
    fn a_name_that_delta_cannot_hold_is_spelled_anew(#[case] name: &str, #[case] stored: &str) {
        assert_eq!(derived(&schema(&[name])).unwrap().field(0).name(), stored);
    }

    #[test]
    fn two_columns_of_one_name_are_refused_whatever_their_case() {
        assert!(derived(&schema(&["a", "A"])).is_err());
        assert!(derived(&schema(&[])).is_err());
    }
}

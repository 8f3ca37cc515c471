//! Columns that hold numbers of functions (`regproc`): they are compared with numbers or with names, and shown by names. And
//! lists of types by their names.

use datafusion::sql::sqlparser::ast::{Array, DataType, Expr};

use super::{
    ast::{arguments, call, cast, column_of, last, number, placeholder},
    compare::items,
    path::text_of,
};
use crate::system;

/// Whether an expression is such a column.
pub(super) fn is_column(expr: &Expr) -> bool {
    column_of(expr).is_some_and(|name| system::REGPROCS.contains(&name.as_str()))
}

/// A function's number, by its name.
pub(super) fn shown(expr: &Expr) -> Expr {
    call("regproc_out", vec![expr.clone()])
}

/// What a cast from or to `regproc` means; `None` for another one, and for a name that is not known. `of_types`: the statement
/// asks types, so that their columns are meant.
pub(super) fn cast_of(inner: &Expr, data_type: &DataType, of_types: bool) -> Option<Expr> {
    let written = data_type.to_string().to_lowercase().replace('"', "");
    match written.trim_start_matches("pg_catalog.") {
        "regproc" | "regprocedure" => match text_of(inner) {
            Some(name) if of_types => Some(meant(&name)),
            Some(_) => None,
            None if placeholder(inner).is_some() => None,
            None => Some(shown(inner)),
        },
        "text" | "varchar" | "character varying" | "name" if of_types && is_column(inner) => Some(shown(inner)),
        "regtype[]" => {
            let numbers =
                items(inner)?.iter().map(|name| system::by_name(&text_of(name)?)).collect::<Option<Vec<u32>>>()?;
            let elem = numbers.into_iter().map(|found| number(i64::from(found))).collect();
            Some(Expr::Array(Array { elem, named: true }))
        }
        "oid" | "int" | "int4" | "integer" | "int8" | "bigint" => match inner {
            Expr::Function(of) if last(&of.name) == "regproc_out" => {
                Some(cast(arguments(of)?.into_iter().next()?, data_type_of(data_type)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn data_type_of(data_type: &DataType) -> DataType {
    if data_type.to_string().to_lowercase().ends_with("oid") { DataType::IntUnsigned(None) } else { data_type.clone() }
}

/// `'int4recv'` beside such a column is the function's number.
pub(super) fn numbered(column: &Expr, value: &mut Expr) {
    if is_column(column)
        && let Some(name) = text_of(value).filter(|name| name.parse::<u32>().is_err())
    {
        *value = meant(&name);
    }
}

/// The number of a function; of one that no type here has, a number that is nobody's.
fn meant(name: &str) -> Expr {
    number(system::number_of_procedure(name).map_or(-1, i64::from))
}

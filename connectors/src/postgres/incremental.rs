//! Reading only what came after the last value of a cursor column.
//!
//! Rows that share the last value may be written after the reading, so the cursor remembers which of them were read; the
//! next reading asks for `column > last`, and for rows of `last` that are not among those. Where too many rows share one
//! value to be remembered, they are all read again: the lake tells that they are unchanged. A row whose cursor column is
//! null has no place in the order and is read each time.

use super::types::{literal, quote};
use crate::place::Place;

/// A column of the table itself: an expression that is selected may carry the column's name, too.
fn of_table(column: &str) -> String {
    format!("t.{}", quote(column))
}

/// The key as PostgreSQL writes a row.
fn row(key: &[String]) -> String {
    format!("ROW({})::text", key.iter().map(|column| of_table(column)).collect::<Vec<_>>().join(", "))
}

/// The two expressions that an incremental reading selects besides the columns: the cursor's value and the key, as text.
pub(super) fn expressions(column: &str, key: &[String]) -> [String; 2] {
    [format!("{}::text AS __mavis_cursor", of_table(column)), format!("{} AS __mavis_key", row(key))]
}

/// The rest of the statement: which rows, in which order.
pub(super) fn condition(column: &str, cursor_type: &str, key: &[String], from: Option<&Place>) -> String {
    let quoted = of_table(column);
    let order = format!("ORDER BY {quoted} NULLS FIRST");
    let Some(place) = from else { return order };
    let last = format!("{}::{cursor_type}", literal(&place.last));
    let ties = if place.too_many {
        format!(" OR {quoted} = {last}")
    } else {
        let row = row(key);
        let read: Vec<String> = place.read.iter().map(|key| literal(key)).collect();
        format!(" OR ({quoted} = {last} AND {row} <> ALL (ARRAY[{}]::text[]))", read.join(", "))
    };
    format!("WHERE {quoted} IS NULL OR {quoted} > {last}{ties} {order}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_rows_of_one_value_are_read_again() {
        let place = Place { last: "x".to_owned(), too_many: true, ..Place::default() };
        let sql = condition("at", "date", &["id".to_owned()], Some(&place));
        assert_eq!(
            sql,
            "WHERE t.\"at\" IS NULL OR t.\"at\" > E'x'::date OR t.\"at\" = E'x'::date ORDER BY t.\"at\" NULLS FIRST"
        );
    }
}

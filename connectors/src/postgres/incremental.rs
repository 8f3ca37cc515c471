//! Reading only what came after the last value of a cursor column.
//!
//! Rows that share the last value may be written after the reading, so the cursor remembers which of them were read; the
//! next reading asks for `column > last`, and for rows of `last` that are not among those. Where too many rows share one
//! value to be remembered, they are all read again: the lake tells that they are unchanged. A row whose cursor column is
//! null has no place in the order and is read each time.

use mavis_types::Cursor;
use serde::{Deserialize, Serialize};

use super::types::{literal, quote};

/// Most keys that a cursor remembers.
const REMEMBERED: usize = 10_000;

/// What a cursor of this connector holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The last value read, as PostgreSQL writes it.
    last: String,
    /// Keys of the rows of that value that were read, as PostgreSQL writes a row.
    #[serde(default)]
    read: Vec<String>,
    /// More rows share the value than are remembered.
    #[serde(default)]
    too_many: bool,
}

impl Place {
    pub(super) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        serde_json::from_value(cursor.0.clone()).ok()
    }

    pub(super) fn to_cursor(&self) -> Option<Cursor> {
        serde_json::to_value(self).ok().map(Cursor)
    }

    /// Takes note of a row that was read; rows come in the order of the cursor column.
    pub(super) fn pass(place: &mut Option<Self>, value: &str, key: Option<&str>) {
        match place {
            Some(place) if place.last == value => {}
            _ => *place = Some(Self { last: value.to_owned(), ..Self::default() }),
        }
        let Some(place) = place else { return };
        match key {
            Some(key) if place.read.len() < REMEMBERED => place.read.push(key.to_owned()),
            _ => {
                place.too_many = true;
                place.read.clear();
            }
        }
    }
}

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
    fn a_place_remembers_the_keys_of_its_last_value_only() {
        let mut place = None;
        Place::pass(&mut place, "2024-01-01", Some("(1)"));
        Place::pass(&mut place, "2024-01-02", Some("(2)"));
        Place::pass(&mut place, "2024-01-02", Some("(3)"));
        let place = place.unwrap();
        assert_eq!(place, Place { last: "2024-01-02".into(), read: vec!["(2)".into(), "(3)".into()], too_many: false });
        assert_eq!(Place::from_cursor(&place.to_cursor().unwrap()), Some(place));
    }

    #[test]
    fn too_many_rows_of_one_value_are_read_again() {
        let mut place = None;
        for i in 0..=REMEMBERED {
            Place::pass(&mut place, "x", Some(&i.to_string()));
        }
        let sql = condition("at", "date", &["id".to_owned()], place.as_ref());
        assert_eq!(
            sql,
            "WHERE t.\"at\" IS NULL OR t.\"at\" > E'x'::date OR t.\"at\" = E'x'::date ORDER BY t.\"at\" NULLS FIRST"
        );
    }
}

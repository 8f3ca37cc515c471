//! How far a table has been read by a cursor column.
//!
//! Rows that share the last value may be written after the reading, so the place remembers which of them were read; the
//! next reading asks for them again and passes over those. Where too many rows share one value to be remembered, they are
//! all read again: the lake tells that they are unchanged.

use std::collections::HashSet;

use mavis_types::Cursor;
use serde::{Deserialize, Serialize};

/// Most keys that a cursor remembers.
pub(crate) const REMEMBERED: usize = 10_000;

/// What the cursor of a reading by a cursor column holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The last value read, as the source writes it.
    pub(crate) last: String,
    /// Keys of the rows of that value that were read, as the source writes them.
    #[serde(default)]
    pub(crate) read: Vec<String>,
    /// More rows share the value than are remembered.
    #[serde(default)]
    pub(crate) too_many: bool,
}

impl Place {
    pub(crate) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        serde_json::from_value(cursor.0.clone()).ok()
    }

    pub(crate) fn to_cursor(&self) -> Option<Cursor> {
        serde_json::to_value(self).ok().map(Cursor)
    }

    /// Takes note of a row that was read; rows come in the order of the cursor column.
    pub(crate) fn pass(place: &mut Option<Self>, value: &str, key: Option<&str>) {
        match place {
            Some(place) if place.last == value => {}
            _ => *place = Some(Self { last: value.to_owned(), ..Self::default() }),
        }
        let Some(place) = place else { return };
        match key {
            Some(key) if place.read.len() < REMEMBERED && !place.too_many => place.read.push(key.to_owned()),
            _ => {
                place.too_many = true;
                place.read.clear();
            }
        }
    }

    /// What a reading from here passes over.
    pub(crate) fn passed(&self) -> Passed {
        Passed { last: self.last.clone(), read: self.read.iter().cloned().collect() }
    }
}

/// The rows of the last value that a former reading yielded; for sources that are asked for `column >= last`.
#[derive(Debug)]
pub(crate) struct Passed {
    last: String,
    read: HashSet<String>,
}

impl Passed {
    pub(crate) fn has(&self, value: &str, key: &str) -> bool {
        value == self.last && self.read.contains(key)
    }
}

/// A key of one or more columns as one text.
pub(crate) fn key_text<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> String {
    serde_json::Value::from_iter(parts).to_string()
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
        assert_eq!(Place::from_cursor(&place.to_cursor().unwrap()), Some(place.clone()));
        let passed = place.passed();
        assert!(
            passed.has("2024-01-02", "(3)") && !passed.has("2024-01-02", "(4)") && !passed.has("2024-01-03", "(3)")
        );
    }

    #[test]
    fn a_place_gives_up_remembering_when_too_many_rows_share_a_value_and_starts_anew_with_the_next() {
        let mut place = None;
        for i in 0..=REMEMBERED {
            Place::pass(&mut place, "x", Some(&i.to_string()));
        }
        Place::pass(&mut place, "x", Some("more"));
        assert_eq!(place, Some(Place { last: "x".into(), read: vec![], too_many: true }));
        Place::pass(&mut place, "y", Some("1"));
        assert_eq!(place, Some(Place { last: "y".into(), read: vec!["1".into()], too_many: false }));
    }

    #[test]
    fn keys_of_several_columns_are_told_apart() {
        let text = |parts: &[Option<&str>]| key_text(parts.iter().copied());
        assert_ne!(text(&[Some("a,b"), Some("c")]), text(&[Some("a"), Some("b,c")]));
        assert_ne!(text(&[None]), text(&[Some("null")]));
    }
}

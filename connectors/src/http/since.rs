//! Reading only what came after the last reading: the value that is asked for, and which records of it were read.
//!
//! Records that share the last value may be written after the reading, and clocks differ: the next reading asks for the last
//! value (less the declared overlap) again, and the cursor remembers the records from there on, by the hash of their text, so
//! that none of them comes twice. The types that the columns got are in the cursor too: what a later reading brings decides
//! nothing.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};
use mavis_types::Cursor;
use serde::{Deserialize, Serialize};

use super::table::{Incremental, Table};
use crate::{Error, json::Shape};

/// Records that a cursor remembers; where more share the last values, they are read again (and found to be unchanged).
const REMEMBERED: usize = 20_000;

/// A value in the column's order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stamp {
    /// In billionths.
    Number(i128),
    /// Microseconds since 1970.
    Time(i64),
    Text(String),
}

impl Stamp {
    /// The place of a JSON value (as its text) in the order; `None` for null and what has no order.
    pub(crate) fn of(raw: &str) -> Option<(Self, String)> {
        match raw.as_bytes().first()? {
            b'"' => {
                let text: String = serde_json::from_str(raw).ok()?;
                if text.is_empty() {
                    return None;
                }
                let stamp = number(&text).or_else(|| time(&text)).unwrap_or_else(|| Stamp::Text(text.clone()));
                Some((stamp, text))
            }
            b'-' | b'0'..=b'9' => Some((number(raw)?, raw.to_owned())),
            _ => None,
        }
    }

    fn less(&self, seconds: u32) -> Self {
        match self {
            // Milliseconds since 1970 are told from seconds by their size.
            Stamp::Number(number) if *number >= 100_000_000_000 * BILLION => {
                Stamp::Number(number - i128::from(seconds) * 1000 * BILLION)
            }
            Stamp::Number(number) => Stamp::Number(number - i128::from(seconds) * BILLION),
            Stamp::Time(micros) => Stamp::Time(micros - i64::from(seconds) * 1_000_000),
            Stamp::Text(text) => Stamp::Text(text.clone()),
        }
    }

    /// As the server writes such values, going by an example.
    fn write(&self, like: &str) -> String {
        match self {
            Stamp::Number(number) if number % BILLION == 0 => (number / BILLION).to_string(),
            Stamp::Number(number) => {
                let (whole, rest) = (number / BILLION, (number % BILLION).abs());
                let sign = if *number < 0 && whole == 0 { "-" } else { "" };
                format!("{sign}{whole}.{rest:09}").trim_end_matches('0').to_owned()
            }
            Stamp::Time(micros) => {
                let Some(time) = DateTime::from_timestamp_micros(*micros) else { return like.to_owned() };
                if like.len() == 10 {
                    return time.format("%Y-%m-%d").to_string();
                }
                match DateTime::parse_from_rfc3339(like) {
                    Ok(zoned) => time.with_timezone(zoned.offset()).to_rfc3339_opts(SecondsFormat::Millis, true),
                    Err(_) if like.contains('T') => time.format("%Y-%m-%dT%H:%M:%S").to_string(),
                    Err(_) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
                }
            }
            Stamp::Text(text) => text.clone(),
        }
    }
}

const BILLION: i128 = 1_000_000_000;

fn number(text: &str) -> Option<Stamp> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 28 || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let value = whole.parse::<i128>().ok()? * BILLION + fraction.parse::<i128>().ok()?;
    Some(Stamp::Number(sign * value))
}

fn time(text: &str) -> Option<Stamp> {
    let micros = if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        time.timestamp_micros()
    } else if let Ok(time) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
    {
        time.and_utc().timestamp_micros()
    } else {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros()
    };
    Some(Stamp::Time(micros))
}

/// What a cursor of this connector holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The last value, as the server wrote it.
    since: Option<String>,
    /// Hashes of the records from the overlap on.
    #[serde(default)]
    read: Vec<String>,
    /// Names and types of the columns.
    columns: Vec<(String, String)>,
}

/// How far a reading is.
#[derive(Debug)]
pub(crate) struct Since<'a> {
    declared: &'a Incremental,
    last: Option<(Stamp, String)>,
    /// Records that the readings before had.
    before: HashSet<u128>,
    /// What the readings before ended with, as long as nothing greater came.
    window: BTreeMap<Stamp, Vec<u128>>,
    /// The hashes of the window.
    held: HashSet<u128>,
    remembered: usize,
    columns: Vec<(String, String)>,
}

impl<'a> Since<'a> {
    pub(crate) fn new(declared: &'a Incremental, from: Option<&Cursor>, table: &str) -> Result<Self, Error> {
        let wrong = || Error::Malformed {
            place: format!("`{table}`"),
            reason: "its cursor is not one of this connector; ingest the table in full".to_owned(),
        };
        let kept: Kept = match from {
            None => Kept::default(),
            Some(cursor) => serde_json::from_value(cursor.0.clone()).map_err(|_| wrong())?,
        };
        let before: HashSet<u128> = kept
            .read
            .iter()
            .map(|hash| u128::from_str_radix(hash, 16))
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        let last = kept.since.map(|text| {
            let raw = serde_json::Value::String(text.clone()).to_string();
            Stamp::of(&raw).unwrap_or((Stamp::Text(text.clone()), text))
        });
        let mut window = BTreeMap::new();
        if let Some((stamp, _)) = &last {
            window.insert(stamp.clone(), before.iter().copied().collect());
        }
        Ok(Self {
            declared,
            last,
            remembered: before.len(),
            held: before.clone(),
            before,
            window,
            columns: kept.columns,
        })
    }

    /// How far a table is that is read on; `None` for one that is not.
    pub(super) fn maybe(table: &'a Table, from: Option<&Cursor>) -> Result<Option<Self>, Error> {
        table.params.incremental.as_ref().map(|declared| Self::new(declared, from, &table.name)).transpose()
    }

    /// A last value that lies after the reading's own beginning is taken back to it: a clock of the server's was wrong, or
    /// records changed while they were read.
    pub(crate) fn no_later_than(&mut self, limit: DateTime<chrono::Utc>) {
        let limit = Stamp::Time(limit.timestamp_micros());
        if let Some((last, text)) = &mut self.last
            && matches!(last, Stamp::Time(_))
            && *last > limit
        {
            *text = limit.write(text);
            *last = limit;
        }
    }

    /// The types that the first reading gave the columns; empty for the first reading itself.
    pub(crate) fn shapes(&self) -> Vec<(String, Shape)> {
        self.columns.iter().map(|(name, shape)| (name.clone(), Shape::named(shape).unwrap_or(Shape::Mixed))).collect()
    }

    pub(crate) fn set_columns(&mut self, columns: impl Iterator<Item = (String, &'static str)>) {
        self.columns = columns.map(|(name, shape)| (name, shape.to_owned())).collect();
    }

    /// What is asked for.
    pub(crate) fn value(&self) -> Option<String> {
        match &self.last {
            None => self.declared.initial.clone(),
            Some((_, text)) if self.declared.overlap_seconds == 0 => Some(text.clone()),
            Some((stamp, text)) => Some(stamp.less(self.declared.overlap_seconds).write(text)),
        }
    }

    /// Takes note of a record; whether it is new.
    pub(crate) fn pass(&mut self, value: Option<(Stamp, String)>, hash: u128) -> bool {
        let is_new = !self.before.contains(&hash) && !self.held.contains(&hash);
        if let Some((stamp, text)) = value {
            let is_same_kind = self
                .last
                .as_ref()
                .is_none_or(|(last, _)| std::mem::discriminant(last) == std::mem::discriminant(&stamp));
            if is_same_kind {
                if self.last.as_ref().is_none_or(|(last, _)| stamp > *last) {
                    self.last = Some((stamp.clone(), text));
                    self.prune();
                }
                self.note(stamp, hash);
            }
        }
        is_new
    }

    fn note(&mut self, stamp: Stamp, hash: u128) {
        let is_inside = self.floor().is_some_and(|floor| stamp >= floor);
        if !is_inside || self.held.contains(&hash) {
            return;
        }
        self.remembered += 1;
        if self.remembered <= REMEMBERED {
            self.held.insert(hash);
            self.window.entry(stamp).or_default().push(hash);
        }
    }

    fn floor(&self) -> Option<Stamp> {
        self.last.as_ref().map(|(last, _)| last.less(self.declared.overlap_seconds))
    }

    fn prune(&mut self) {
        let Some(floor) = self.floor() else { return };
        while let Some(first) = self.window.first_entry()
            && *first.key() < floor
        {
            let gone = first.remove();
            self.remembered = self.remembered.saturating_sub(gone.len());
            for hash in gone {
                self.held.remove(&hash);
            }
        }
    }

    /// The cursor for what was read; `told`: what the answer said.
    pub(crate) fn cursor(&self, told: Option<&str>) -> Result<Cursor, Error> {
        let read: Vec<String> = if self.remembered > REMEMBERED {
            Vec::new()
        } else {
            self.window.values().flatten().map(|hash| format!("{hash:032x}")).collect()
        };
        let last = self.last.as_ref().map(|(_, text)| text.clone());
        let since = if self.declared.answer.is_some() { told.map(str::to_owned).or(last) } else { last };
        let kept = Kept { since, read, columns: self.columns.clone() };
        serde_json::to_value(kept)
            .map(Cursor)
            .map_err(|error| Error::Malformed { place: "cursor".to_owned(), reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::paging::Carrier;
    use rstest::rstest;

    fn declared(overlap_seconds: u32) -> Incremental {
        Incremental {
            parameter: "since".to_owned(),
            carrier: Carrier::Query,
            column: Some("at".to_owned()),
            answer: None,
            initial: None,
            overlap_seconds,
            sorted: false,
        }
    }

    #[rstest]
    #[case("9", "10")]
    #[case("\"9\"", "\"10\"")]
    #[case("9007199254740992", "9007199254740993")]
    #[case("1700000000", "1700000000.5")]
    #[case("\"2024-01-02T00:30:00+02:00\"", "\"2024-01-01T23:00:00Z\"")]
    #[case("\"2024-01-02\"", "\"2024-01-02 00:00:01\"")]
    #[case("\"a9\"", "\"b1\"")]
    fn values_are_in_the_order_of_what_they_mean(#[case] one: &str, #[case] two: &str) {
        assert!(Stamp::of(one).unwrap().0 < Stamp::of(two).unwrap().0);
    }

    #[rstest]
    #[case("\"2024-01-01T00:00:30Z\"", 60, "2023-12-31T23:59:30.000Z")]
    #[case("\"2024-01-01T02:00:30+02:00\"", 60, "2024-01-01T01:59:30.000+02:00")]
    #[case("\"2024-01-01 00:01:00\"", 60, "2024-01-01 00:00:00")]
    #[case("1700000060", 60, "1700000000")]
    #[case("1700000060000", 60, "1700000000000")]
    fn the_overlap_is_written_as_the_server_writes(#[case] raw: &str, #[case] seconds: u32, #[case] wanted: &str) {
        let (stamp, text) = Stamp::of(raw).unwrap();
        assert_eq!(stamp.less(seconds).write(&text), wanted);
    }

    #[test]
    fn records_of_the_last_value_come_once_and_new_ones_of_it_come() {
        let declared = declared(0);
        let mut first = Since::new(&declared, None, "t").unwrap();
        for (value, hash) in [("1", 1), ("3", 2), ("2", 3), ("3", 4)] {
            assert!(first.pass(Stamp::of(value), hash));
        }
        let cursor = first.cursor(None).unwrap();
        let mut second = Since::new(&declared, Some(&cursor), "t").unwrap();
        assert_eq!(second.value().as_deref(), Some("3"));
        assert!(!second.pass(Stamp::of("3"), 2) && !second.pass(Stamp::of("3"), 4));
        assert!(second.pass(Stamp::of("3"), 5), "a record of the same value that came later");
        let cursor = second.cursor(None).unwrap();
        let mut third = Since::new(&declared, Some(&cursor), "t").unwrap();
        assert!([2, 4, 5].into_iter().all(|hash| !third.pass(Stamp::of("3"), hash)));
    }

    #[test]
    fn a_reading_that_brings_nothing_forgets_nothing() {
        let declared = declared(0);
        let mut first = Since::new(&declared, None, "t").unwrap();
        first.pass(Stamp::of("7"), 1);
        let cursor = first.cursor(None).unwrap();
        let second = Since::new(&declared, Some(&cursor), "t").unwrap();
        assert_eq!(second.cursor(None).unwrap(), cursor);
    }
}

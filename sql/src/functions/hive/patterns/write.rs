use std::fmt::Write;

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, Timelike};

use super::{ERAS, HALVES, Item};
use crate::calendar::{MONTHS, WEEKDAYS};

pub(super) fn write(items: &[Item], at: NaiveDateTime) -> String {
    let mut out = String::with_capacity(items.len() * 3);
    for item in items {
        match item {
            Item::Text(text) => out.push(*text),
            Item::Field(letter, count) => field(*letter, *count, at, &mut out),
        }
    }
    out
}

fn field(letter: char, count: usize, at: NaiveDateTime, out: &mut String) {
    let (is_common_era, year) = at.year_ce();
    let weekday = at.weekday().num_days_from_sunday();
    let (week_year, week) = week(at.date());
    let number = match letter {
        'G' => return out.push_str(ERAS[usize::from(is_common_era)]),
        'M' | 'L' if count > 2 => return out.push_str(name(&MONTHS, at.month0(), count)),
        'E' => return out.push_str(name(&WEEKDAYS, weekday, count)),
        'a' => return out.push_str(HALVES[usize::from(at.hour() >= 12)]),
        'z' if count > 3 => return out.push_str("Coordinated Universal Time"),
        'z' => return out.push_str("UTC"),
        'Z' => return out.push_str("+0000"),
        'X' => return out.push('Z'),
        'y' if count == 2 => year % 100,
        'y' => year,
        'Y' if count == 2 => week_year % 100,
        'Y' => week_year,
        'M' | 'L' => at.month(),
        'w' => week,
        'W' => (at.day0() + first_weekday(at.date())) / 7 + 1,
        'D' => at.ordinal(),
        'd' => at.day(),
        'F' => at.day0() / 7 + 1,
        'u' => at.weekday().number_from_monday(),
        'H' => at.hour(),
        'k' => (at.hour() + 23) % 24 + 1,
        'K' => at.hour() % 12,
        'h' => (at.hour() + 11) % 12 + 1,
        'm' => at.minute(),
        's' => at.second(),
        'S' => at.nanosecond() / 1_000_000,
        _ => return,
    };
    // Writing into a String does not fail.
    write!(out, "{number:0count$}").unwrap_or_default();
}

fn name(names: &[&'static str], place: u32, count: usize) -> &'static str {
    let name = names.get(place as usize).copied().unwrap_or_default();
    if count > 3 { name } else { name.get(..3).unwrap_or(name) }
}

/// The day of the week of the first of the month, from Sunday.
fn first_weekday(date: NaiveDate) -> u32 {
    (date.weekday().num_days_from_sunday() + 35 - date.day0()) % 7
}

/// Year and number of the week that begins on Sunday; the week of the 1st of January is the first.
fn week(date: NaiveDate) -> (u32, u32) {
    let ahead = u64::from(6 - date.weekday().num_days_from_sunday());
    let saturday = date.checked_add_days(Days::new(ahead)).unwrap_or(date);
    (saturday.year_ce().1, saturday.ordinal0() / 7 + 1)
}

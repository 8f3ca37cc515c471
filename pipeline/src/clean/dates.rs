//! Dates written as text: which formats read a text, and what it says.
//!
//! A text is taken apart once (numbers, separator, month's name, time); a format is then a way to understand the parts.
//! That a text such as `03/04/2024` is read by two formats is known, not guessed away: a column decides, from what its
//! other values say.

use std::{fmt, str::FromStr};

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use serde::{Deserialize, Serialize};

/// The order in which year, month and day stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order {
    /// `2024-03-04`
    YearFirst,
    /// `04/03/2024`
    DayFirst,
    /// `03/04/2024`
    MonthFirst,
    /// `20240304`
    Compact,
    /// `4 mars 2024`, `March 4, 2024`
    Named,
}

/// A format of dates, written `yyyy-mm-dd`, `dd/mm/yyyy`, `mm/dd/yy`, `yyyymmdd` or `d month yyyy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DateFormat {
    pub order: Order,
    /// `-`, `/`, `.` or a blank; meaningless for [`Order::Compact`] and [`Order::Named`].
    pub separator: char,
    /// The year has two digits.
    pub short_year: bool,
}

impl DateFormat {
    const COMPACT: Self = Self { order: Order::Compact, separator: '-', short_year: false };
    const NAMED: Self = Self { order: Order::Named, separator: ' ', short_year: false };

    /// The format with day and month the other way round, where it has one.
    #[must_use]
    pub fn twin(self) -> Option<Self> {
        match self.order {
            Order::DayFirst => Some(Self { order: Order::MonthFirst, ..self }),
            Order::MonthFirst => Some(Self { order: Order::DayFirst, ..self }),
            _ => None,
        }
    }
}

impl fmt::Display for DateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, year) = (self.separator, if self.short_year { "yy" } else { "yyyy" });
        match self.order {
            Order::YearFirst => write!(f, "{year}{s}mm{s}dd"),
            Order::DayFirst => write!(f, "dd{s}mm{s}{year}"),
            Order::MonthFirst => write!(f, "mm{s}dd{s}{year}"),
            Order::Compact => f.write_str("yyyymmdd"),
            Order::Named => f.write_str("d month yyyy"),
        }
    }
}

impl From<DateFormat> for String {
    fn from(format: DateFormat) -> Self {
        format.to_string()
    }
}

impl TryFrom<String> for DateFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for DateFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "yyyymmdd" => return Ok(Self::COMPACT),
            "d month yyyy" => return Ok(Self::NAMED),
            _ => {}
        }
        let unknown = || {
            format!(
                "`{text}` is no date format: write it like yyyy-mm-dd, dd/mm/yyyy, mm/dd/yy, yyyymmdd or d month yyyy"
            )
        };
        let separator = text.chars().find(|c| "-/. ".contains(*c)).ok_or_else(unknown)?;
        let parts: Vec<&str> = text.split(separator).collect();
        let (order, year) = match parts.as_slice() {
            [year, "mm", "dd"] => (Order::YearFirst, *year),
            ["dd", "mm", year] => (Order::DayFirst, *year),
            ["mm", "dd", year] => (Order::MonthFirst, *year),
            _ => return Err(unknown()),
        };
        let short_year = match year {
            "yyyy" => false,
            "yy" => true,
            _ => return Err(unknown()),
        };
        Ok(Self { order, separator, short_year })
    }
}

/// A text taken apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    numbers: [u32; 3],
    widths: [u8; 3],
    separator: char,
    shape: Shape,
    time: Option<NaiveTime>,
    offset: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Separated,
    Compact,
    /// Day, month (by its name), year.
    Named,
}

impl Parts {
    /// Takes a text apart; `None` where it cannot be a date in any format.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() < 6 || text.len() > 40 {
            return None;
        }
        if text.as_bytes()[0].is_ascii_digit() { numeric(text).or_else(|| named(text)) } else { named(text) }
    }

    pub(crate) fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// The date as a format reads it. Years of two digits become the latest year not after `pivot` that ends so.
    pub(crate) fn date(&self, format: DateFormat, pivot: i32) -> Option<NaiveDate> {
        let [a, b, c] = self.numbers;
        let (year_at, month, day) = match (format.order, self.shape) {
            (Order::Compact, Shape::Compact) => (0, b, c),
            (Order::Named, Shape::Named) => (2, b, a),
            (Order::YearFirst, Shape::Separated) if self.separator == format.separator => (0, b, c),
            (Order::DayFirst, Shape::Separated) if self.separator == format.separator => (2, b, a),
            (Order::MonthFirst, Shape::Separated) if self.separator == format.separator => (2, a, b),
            _ => return None,
        };
        let year = self.numbers[year_at];
        let year = match (self.widths[year_at], format.short_year) {
            (4, false) => i32::try_from(year).ok()?,
            (2, true) => full_year(year, pivot),
            // A month's name leaves no doubt about which number is the year.
            (2, false) if self.shape == Shape::Named => full_year(year, pivot),
            _ => return None,
        };
        NaiveDate::from_ymd_opt(year, month, day)
    }

    /// The instant as a format reads it: midnight where no time stands there, UTC where no offset does.
    pub(crate) fn instant(&self, format: DateFormat, pivot: i32) -> Option<NaiveDateTime> {
        let local = self.date(format, pivot)?.and_time(self.time.unwrap_or(NaiveTime::MIN));
        local.checked_sub_signed(TimeDelta::seconds(i64::from(self.offset.unwrap_or(0))))
    }

    /// Every format that reads the text.
    pub(crate) fn formats(&self, pivot: i32) -> impl Iterator<Item = DateFormat> + '_ {
        let short_year = match self.shape {
            Shape::Separated => self.widths[0] != 4 && self.widths[2] == 2,
            _ => false,
        };
        let orders: &'static [Order] = match self.shape {
            Shape::Compact => &[Order::Compact],
            Shape::Named => &[Order::Named],
            Shape::Separated if self.widths[0] == 4 => &[Order::YearFirst],
            Shape::Separated => &[Order::DayFirst, Order::MonthFirst],
        };
        let separator = match self.shape {
            Shape::Separated => self.separator,
            Shape::Compact => '-',
            Shape::Named => ' ',
        };
        orders
            .iter()
            .map(move |order| DateFormat { order: *order, separator, short_year })
            .filter(move |format| self.date(*format, pivot).is_some_and(plausible))
    }
}

/// Dates outside of this are numbers that happen to look like one.
fn plausible(date: NaiveDate) -> bool {
    use chrono::Datelike;
    (1850..=2150).contains(&date.year()) || date.year() == 9999
}

fn full_year(two_digits: u32, pivot: i32) -> i32 {
    let two_digits = i32::try_from(two_digits).unwrap_or(0);
    let century = pivot - pivot.rem_euclid(100);
    if century + two_digits > pivot { century - 100 + two_digits } else { century + two_digits }
}

fn leading_number(text: &str) -> Option<(u32, u8, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 8 {
        return None;
    }
    Some((text[..digits].parse().ok()?, u8::try_from(digits).ok()?, &text[digits..]))
}

fn numeric(text: &str) -> Option<Parts> {
    let (a, a_width, rest) = leading_number(text)?;
    if a_width == 8 {
        let (time, offset) = clock(rest)?;
        return Some(Parts {
            numbers: [a / 10_000, a / 100 % 100, a % 100],
            widths: [4, 2, 2],
            separator: '-',
            shape: Shape::Compact,
            time,
            offset,
        });
    }
    let separator = rest.chars().next().filter(|c| "-/. ".contains(*c))?;
    let (b, b_width, rest) = leading_number(&rest[1..])?;
    let rest = rest.strip_prefix(separator)?;
    let (c, c_width, rest) = leading_number(rest)?;
    let fits = match (a_width, b_width, c_width) {
        (4, 1..=2, 1..=2) => separator != ' ',
        (1..=2, 1..=2, 2 | 4) => separator != ' ' || c_width == 4,
        _ => false,
    };
    if !fits {
        return None;
    }
    let (time, offset) = clock(rest)?;
    let numbers = [a, b, c];
    Some(Parts { numbers, widths: [a_width, b_width, c_width], separator, shape: Shape::Separated, time, offset })
}

/// `4 mars 2024`, `4-Mar-2024`, `1er janv. 2024`, `March 4, 2024`, with a time behind.
fn named(text: &str) -> Option<Parts> {
    let blank = |c: char| c == ' ' || c == '-' || c == '.' || c == ',' || c == '/';
    let mut rest = text;
    let mut numbers = [0_u32; 3];
    let mut widths = [0_u8; 3];
    let (mut day, mut month, mut year) = (false, false, false);
    while !(day && month && year) {
        rest = rest.trim_start_matches(blank);
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let (number, width, after) = leading_number(rest)?;
            rest = after;
            if !day {
                if width > 2 {
                    return None;
                }
                (numbers[0], widths[0], day) = (number, width, true);
                rest = ["er", "ER", "st", "nd", "rd", "th"].iter().find_map(|s| rest.strip_prefix(s)).unwrap_or(rest);
            } else {
                if !month || (width != 4 && width != 2) {
                    return None;
                }
                (numbers[2], widths[2], year) = (number, width, true);
            }
        } else {
            let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            if letters == 0 || month {
                return None;
            }
            (numbers[1], month) = (month_number(&rest[..letters])?, true);
            rest = &rest[letters..];
        }
    }
    let (time, offset) = clock(rest)?;
    Some(Parts { numbers, widths, separator: ' ', shape: Shape::Named, time, offset })
}

fn month_number(name: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 26] = [
        ("janvier", 1),
        ("january", 1),
        ("fevrier", 2),
        ("february", 2),
        ("mars", 3),
        ("march", 3),
        ("avril", 4),
        ("april", 4),
        ("mai", 5),
        ("may", 5),
        ("juin", 6),
        ("june", 6),
        ("juillet", 7),
        ("july", 7),
        ("aout", 8),
        ("august", 8),
        ("septembre", 9),
        ("september", 9),
        ("octobre", 10),
        ("october", 10),
        ("novembre", 11),
        ("november", 11),
        ("decembre", 12),
        ("december", 12),
        ("juil", 7),
        ("sept", 9),
    ];
    use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
    let name: String = name.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect();
    if name.len() < 3 {
        return None;
    }
    let mut found = NAMES.iter().filter(|(full, _)| full.starts_with(&name)).map(|(_, number)| *number);
    let first = found.next()?;
    // `jui` is June or July: no month.
    found.all(|number| number == first).then_some(first)
}

/// The time behind a date, and its offset in seconds east; `None` where something else stands there.
fn clock(text: &str) -> Option<(Option<NaiveTime>, Option<i32>)> {
    let text = text.trim_start_matches([' ', 'T', ',']).trim_end();
    if text.is_empty() {
        return Some((None, None));
    }
    let zone_at = text.find(['Z', '+']).or_else(|| text.rfind('-')).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let clock = clock.trim_end().trim_end_matches('h').replace('h', ":");
    let mut parts = clock.split(':');
    let hour: u32 = parts.next()?.parse().ok()?;
    let minute: u32 = parts.next()?.parse().ok()?;
    let (second, nano) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, ""));
            let fraction: String = fraction.chars().take(9).collect();
            let scale = 10_u32.pow(9 - u32::try_from(fraction.len()).ok()?);
            (whole.parse().ok()?, if fraction.is_empty() { 0 } else { fraction.parse::<u32>().ok()? * scale })
        }
    };
    if parts.next().is_some() {
        return None;
    }
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nano)?;
    let offset = match zone {
        "" => None,
        "Z" => Some(0),
        zone => {
            let sample = format!("2000-01-01T00:00:00{}{}", &zone[..1], pad_offset(&zone[1..])?);
            let parsed: DateTime<FixedOffset> = DateTime::parse_from_rfc3339(&sample).ok()?;
            Some(parsed.offset().local_minus_utc())
        }
    };
    Some((Some(time), offset))
}

fn pad_offset(text: &str) -> Option<String> {
    match text.len() {
        2 => Some(format!("{text}:00")),
        4 => Some(format!("{}:{}", text.get(..2)?, text.get(2..)?)),
        5 => Some(text.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn formats(text: &str) -> Vec<String> {
        Parts::of(text).map(|parts| parts.formats(2026).map(|f| f.to_string()).collect()).unwrap_or_default()
    }

    #[rstest]
    #[case("2024-03-14", &["yyyy-mm-dd"])]
    #[case("14/03/2024", &["dd/mm/yyyy"])]
    #[case("03/14/2024", &["mm/dd/yyyy"])]
    #[case("03/04/2024", &["dd/mm/yyyy", "mm/dd/yyyy"])]
    #[case("14.03.24", &["dd.mm.yy"])]
    #[case("20240314", &["yyyymmdd"])]
    #[case("14 mars 2024", &["d month yyyy"])]
    #[case("1er févr. 2024", &["d month yyyy"])]
    #[case("March 14, 2024", &["d month yyyy"])]
    #[case("14-Aug-24", &["d month yyyy"])]
    #[case("2024-03-14T08:30:00Z", &["yyyy-mm-dd"])]
    #[case("14/03/2024 08h30", &["dd/mm/yyyy"])]
    #[case("99999999", &[])]
    #[case("0612345678", &[])]
    #[case("12.5", &[])]
    #[case("31/02/2024", &[])]
    #[case("jui 3 2024", &[])]
    #[case("2024-03-14 and more", &[])]
    fn every_format_that_reads_a_text_is_found(#[case] text: &str, #[case] found: &[&str]) {
        assert_eq!(formats(text), found);
    }

    #[rstest]
    #[case("14/03/2024", "dd/mm/yyyy", "2024-03-14T00:00:00")]
    #[case("03/04/24", "mm/dd/yy", "2024-03-04T00:00:00")]
    #[case("03/04/51", "dd/mm/yy", "1951-04-03T00:00:00")]
    #[case("2024-03-14T08:30:15.250+02:00", "yyyy-mm-dd", "2024-03-14T06:30:15.250")]
    #[case("2024-03-14 08:30-0500", "yyyy-mm-dd", "2024-03-14T13:30:00")]
    #[case("4 décembre 1980", "d month yyyy", "1980-12-04T00:00:00")]
    fn a_format_reads_what_is_written(#[case] text: &str, #[case] format: &str, #[case] instant: &str) {
        let parts = Parts::of(text).unwrap();
        let read = parts.instant(format.parse().unwrap(), 2026).unwrap();
        assert_eq!(read, instant.parse().unwrap());
    }

    #[test]
    fn a_format_does_not_read_what_another_one_wrote() {
        assert_eq!(Parts::of("14/03/2024").unwrap().date("mm/dd/yyyy".parse().unwrap(), 2026), None);
        assert_eq!(Parts::of("14-03-2024").unwrap().date("dd/mm/yyyy".parse().unwrap(), 2026), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,40}") {
            if let Some(parts) = Parts::of(&text) {
                parts.formats(2026).for_each(|format| { parts.instant(format, 2026); });
            }
        }

        #[test]
        fn every_day_written_in_a_format_reads_back(day in 0_i32..100_000, which in 0_usize..4) {
            let date = NaiveDate::from_ymd_opt(1880, 1, 1).unwrap() + TimeDelta::days(i64::from(day % 90_000));
            let (format, pattern) = [("yyyy-mm-dd", "%Y-%m-%d"), ("dd/mm/yyyy", "%d/%m/%Y"), ("mm/dd/yyyy", "%m/%d/%Y"), ("yyyymmdd", "%Y%m%d")][which];
            let text = date.format(pattern).to_string();
            proptest::prop_assert_eq!(Parts::of(&text).unwrap().date(format.parse().unwrap(), 2026), Some(date));
        }
    }
}

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

use super::{
    ERAS, HALVES, Item,
    moment::{Part, Said},
    zones,
};
use crate::calendar::{MONTHS, WEEKDAYS};

/// The seconds since 1970 of what a text says.
pub(super) fn parse(items: &[Item], text: &str, now: NaiveDateTime) -> Option<i64> {
    let mut reader = Reader { text, at: 0, said: Said::default(), now, doubtful: None };
    for (place, item) in items.iter().enumerate() {
        match item {
            Item::Text(expected) => {
                let found = text.get(reader.at..)?.chars().next().filter(|found| found == expected)?;
                reader.at += found.len_utf8();
            }
            // Where digits of two fields touch, each takes what its letters count.
            Item::Field(letter, count) => {
                let touches = matches!(items.get(place + 1), Some(Item::Field(..)));
                reader.field(*letter, *count, touches)?;
            }
        }
    }
    let mut millis = reader.said.millis()?;
    if let Some(year) = reader.doubtful
        && millis < eighty_years_before(now)
    {
        reader.said.say(Part::Year, year + 100);
        millis = reader.said.millis()?;
    }
    Some(millis / 1_000)
}

pub(super) fn by_chrono(pattern: &str, text: &str) -> Option<i64> {
    if pattern.contains("%z") {
        return DateTime::parse_from_str(text, pattern).ok().map(|at| at.timestamp());
    }
    let at = NaiveDateTime::parse_from_str(text, pattern)
        .ok()
        .or_else(|| NaiveDate::parse_from_str(text, pattern).ok()?.and_hms_opt(0, 0, 0))?;
    Some(at.and_utc().timestamp())
}

fn eighty_years_before(now: NaiveDateTime) -> i64 {
    let there = now.with_year(now.year() - 80).unwrap_or(now - chrono::Duration::days(29_220));
    there.and_utc().timestamp_millis()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    said: Said,
    now: NaiveDateTime,
    /// A year of two digits that is the first of the hundred, or the one after its last.
    doubtful: Option<i64>,
}

impl Reader<'_> {
    fn field(&mut self, letter: char, count: usize, touches: bool) -> Option<()> {
        let end = if touches { Some(self.at + count) } else { None };
        let blanks = self.text.get(self.at..)?.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.at += blanks;
        if self.at >= self.text.len() {
            return None;
        }
        match letter {
            'G' => self.name(Part::Era, &ERAS, false),
            'M' | 'L' if count > 2 => self.name(Part::Month, &MONTHS, true),
            'E' => self.name(Part::Weekday, &WEEKDAYS, true),
            'a' => self.name(Part::Half, &HALVES, false),
            'z' | 'Z' => self.zone(),
            'X' => self.iso_zone(count),
            _ => {
                let begin = self.at;
                let number = self.number(end)?;
                self.numbered(letter, count, number, self.at - begin)
            }
        }
    }

    fn numbered(&mut self, letter: char, count: usize, number: i64, digits: usize) -> Option<()> {
        let (part, value) = match letter {
            'y' => (Part::Year, self.year(number, count, digits)),
            'Y' => (Part::WeekYear, self.year(number, count, digits)),
            'M' | 'L' => (Part::Month, number - 1),
            'w' => (Part::WeekOfYear, number),
            'D' => (Part::DayOfYear, number),
            'd' => (Part::Day, number),
            'u' => (Part::Weekday, (1..=7).contains(&number).then_some(number % 7)?),
            'H' => (Part::HourOfDay, number),
            'k' => (Part::HourOfDay, if number == 24 { 0 } else { number }),
            'K' => (Part::HourOfHalf, number),
            'h' => (Part::HourOfHalf, if number == 12 { 0 } else { number }),
            'm' => (Part::Minute, number),
            's' => (Part::Second, number),
            'S' => (Part::Milli, number),
            // (Weeks of a month are written, not read.)
            _ => return None,
        };
        self.said.say(part, value);
        Some(())
    }

    /// Two digits, where no more are asked for, are a year not more than 80 years ago.
    fn year(&mut self, number: i64, count: usize, digits: usize) -> i64 {
        if count > 2 || digits != 2 || number < 0 {
            return number;
        }
        let from = i64::from(self.now.year()) - 80;
        let year = from.div_euclid(100) * 100 + number + if number < from.rem_euclid(100) { 100 } else { 0 };
        if year == from {
            self.doubtful = Some(year);
        }
        year
    }

    /// Digits, with a minus before them if it stands there, up to `end`.
    fn number(&mut self, end: Option<usize>) -> Option<i64> {
        let text = match end {
            Some(end) => self.text.get(self.at..end)?,
            None => self.text.get(self.at..)?,
        };
        let sign = usize::from(text.starts_with('-'));
        let digits = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let number = text.get(..sign + digits)?.parse::<i32>().ok()?;
        self.at += sign + digits;
        Some(i64::from(number))
    }

    /// One of the names, whole or, if it may be, by its first three letters.
    fn name(&mut self, part: Part, names: &[&str], short: bool) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let begins = |name: &str| rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        let whole = names.iter().position(|name| begins(name)).map(|place| (place, names[place].len()));
        let found = whole.or_else(|| {
            let first = |name: &&str| name.get(..3).is_some_and(begins);
            if short { names.iter().position(first).map(|place| (place, 3)) } else { None }
        });
        let (place, length) = found?;
        self.at += length;
        self.said.say(part, i64::try_from(place).ok()?);
        Some(())
    }

    /// `+0200`, `GMT+02:00`, `CET`.
    fn zone(&mut self) -> Option<()> {
        if let Some(sign) = self.sign() {
            return self.offset(sign, false, false, true);
        }
        let (minutes, length) = zones::named(self.text.get(self.at..)?)?;
        let is_gmt = self.text.get(self.at..self.at + length).is_some_and(|name| name.eq_ignore_ascii_case("GMT"));
        self.at += length;
        if is_gmt && let Some(sign) = self.sign() {
            return self.offset(sign, true, false, false);
        }
        self.said.say(Part::Zone, minutes);
        Some(())
    }

    /// `Z`, `+02`, `+0200`, `+02:00`, by the number of letters.
    fn iso_zone(&mut self, count: usize) -> Option<()> {
        if self.text.get(self.at..)?.starts_with('Z') {
            self.at += 1;
            self.said.say(Part::Zone, 0);
            return Some(());
        }
        let sign = self.sign()?;
        self.offset(sign, count == 3, count == 1, true)
    }

    fn sign(&mut self) -> Option<i64> {
        let sign = match self.text.as_bytes().get(self.at)? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.at += 1;
        Some(sign)
    }

    fn offset(&mut self, sign: i64, colon: bool, hours_only: bool, two_digits: bool) -> Option<()> {
        let (minutes, length) = zones::offset(self.text.get(self.at..)?, colon, hours_only, two_digits)?;
        self.at += length;
        self.said.say(Part::Zone, sign * minutes);
        Some(())
    }
}

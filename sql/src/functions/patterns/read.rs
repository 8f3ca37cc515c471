//! Times out of texts, as a pattern says. Rules of PostgreSQL's `to_date` and `to_timestamp` (its manual, 9.8, "usage notes").

use chrono::{Datelike, NaiveDate, Weekday};

use super::{
    template::{Calendar, Field, Item, Sort, sort},
    write::ROMAN,
};
use crate::calendar::{DAY, EPOCH, JULIAN, MONTHS, WEEKDAYS};

/// What is wrong with a text, in words that do not repeat it.
type Wrong = String;

/// A time that was read, in microseconds since 1970, UTC.
///
/// # Errors
/// The field that a text does not fill.
pub(super) fn read(items: &[Item], text: &str) -> Result<i64, Wrong> {
    let mut reading = Reading { rest: text, skipped: 0, before: ' ', exactly: false, found: Found::default() };
    for (at, item) in items.iter().enumerate() {
        if reading.rest.is_empty() {
            break;
        }
        reading.item(item, items.get(at + 1), at == 0)?;
    }
    reading.found.micros()
}

struct Reading<'a> {
    rest: &'a str,
    /// Blanks that were passed over and that the pattern did not ask for.
    skipped: i32,
    /// The character before the rest.
    before: char,
    exactly: bool,
    found: Found,
}

impl Reading<'_> {
    fn item(&mut self, item: &Item, next: Option<&Item>, first: bool) -> Result<(), Wrong> {
        match item {
            Item::Char(_, sort) => {
                if first && !self.exactly {
                    self.blanks();
                }
                self.char(*sort);
                Ok(())
            }
            Item::Field { field: Field::Exactly, .. } => {
                self.exactly = true;
                Ok(())
            }
            Item::Field { field, name, bare, ordinal } => {
                if !self.exactly {
                    self.blanks();
                }
                // As many digits as there are, unless the next one begins with a digit.
                let ends = match next {
                    None => true,
                    Some(Item::Field { field, .. }) => !field.is_digits(),
                    Some(Item::Char(char, _)) => !char.is_ascii_digit(),
                };
                self.field(*field, name, *bare || ordinal.is_some() || ends)?;
                if ordinal.is_some() {
                    self.pass(2);
                }
                if !self.exactly {
                    self.skipped = 0;
                    self.blanks();
                }
                Ok(())
            }
        }
    }

    fn blanks(&mut self) {
        while self.rest.starts_with(|char| sort(char) == Sort::Space) {
            self.pass(1);
            self.skipped += 1;
        }
    }

    /// Passes over so many characters.
    fn pass(&mut self, chars: usize) {
        for _ in 0..chars {
            let mut rest = self.rest.chars();
            self.before = rest.next().unwrap_or(self.before);
            self.rest = rest.as_str();
        }
    }

    /// A character of the pattern stands for any one of the text, and a separator for none if there is none.
    fn char(&mut self, wanted: Sort) {
        if self.exactly {
            self.pass(1);
        } else if wanted != Sort::Text {
            self.skipped -= 1;
            if self.rest.starts_with(|char| sort(char) != Sort::Text) {
                self.pass(1);
                self.skipped += 1;
            }
        } else if self.skipped > 0 {
            self.skipped -= 1;
        } else {
            self.pass(1);
        }
    }

    fn field(&mut self, field: Field, name: &'static str, greedy: bool) -> Result<(), Wrong> {
        self.found.counts_by(field)?;
        let fixed = |length: usize| if greedy { None } else { Some(length) };
        let length = name.len();
        match field {
            Field::Exactly => {}
            Field::Half(_, points) => {
                let at = self.word(if points { &["a.m.", "p.m."] } else { &["am", "pm"] }, name)?;
                set(&mut self.found.late, i64::from(at == 1), name)?;
                self.found.half_days = true;
            }
            Field::Era(_, points) => {
                let at = self.word(if points { &["a.d.", "b.c."] } else { &["ad", "bc"] }, name)?;
                set(&mut self.found.before_christ, i64::from(at == 1), name)?;
            }
            Field::MonthName(_) => {
                let month = self.word(&MONTHS, name)? + 1;
                set(&mut self.found.month, month as i64, name)?;
            }
            Field::MonthShort(_) => {
                let month = self.word(&MONTHS.map(|month| &month[..3]), name)? + 1;
                set(&mut self.found.month, month as i64, name)?;
            }
            Field::Roman(_) => {
                // The longest that fits: VIII, and not V.
                let fits = |month: &&str| begins_with(self.rest, month);
                let longest = ROMAN.iter().filter(|month| fits(month)).max_by_key(|month| month.len());
                let month = longest.ok_or_else(|| unknown(name))?;
                let at = ROMAN.iter().position(|other| other == month).unwrap_or_default();
                self.pass(month.len());
                set(&mut self.found.month, at as i64 + 1, name)?;
            }
            Field::DayName(_) => {
                let day = self.word(&WEEKDAYS, name)? + 1;
                set(&mut self.found.weekday, day as i64, name)?;
            }
            Field::DayShort(_) => {
                let day = self.word(&WEEKDAYS.map(|day| &day[..3]), name)? + 1;
                set(&mut self.found.weekday, day as i64, name)?;
            }
            Field::ZoneName(_) | Field::Offset => return Err(format!("{name} is only written, not read")),
            Field::ZoneHour => {
                let sign = match self.rest.chars().next() {
                    Some('-') => Some(-1),
                    Some('+' | ' ') => Some(1),
                    _ => None,
                };
                // The separator that was passed over may have been the sign.
                self.found.zone_sign = sign.unwrap_or(if self.skipped > 0 && self.before == '-' { -1 } else { 1 });
                self.pass(usize::from(sign.is_some()));
                let hours = self.number(fixed(2), name)?.0;
                set(&mut self.found.zone_hours, hours, name)?;
            }
            Field::ZoneMinute => {
                if self.found.zone_sign == 0 {
                    self.found.zone_sign = 1;
                }
                let minutes = self.number(fixed(2), name)?.0;
                set(&mut self.found.zone_minutes, minutes, name)?;
            }
            Field::Fraction(digits) => {
                let millis = name.eq_ignore_ascii_case("MS");
                let (number, read) = self.number(fixed(digits as usize), name)?;
                // 25 is 0.25, and so is 250. MS counts thousandths: a longer number is more of them.
                let least = if millis { 3 } else { 0 };
                let micros = number * 10_i64.pow(6_u32.saturating_sub(read as u32).max(least));
                set(if millis { &mut self.found.millis } else { &mut self.found.micros }, micros, name)?;
            }
            Field::YearWithComma => {
                let (thousands, _) = self.number(None, name)?;
                if !self.rest.starts_with(',') {
                    return Err(unknown(name));
                }
                self.pass(1);
                let digits = self.rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
                let years: i64 = self.rest[..digits].parse().map_err(|_| unknown(name))?;
                self.pass(digits);
                set(&mut self.found.year, thousands * 1_000 + years, name)?;
                self.found.year_digits = 4;
            }
            Field::Year(digits) | Field::IsoYear(digits) => {
                let (number, read) = self.number(fixed(length), name)?;
                let year = if digits < 4 && read < 4 { nearest_to_2020(number) } else { number };
                set(&mut self.found.year, year, name)?;
                self.found.year_digits = digits;
            }
            Field::Hour12 | Field::Hour24 => {
                let hour = self.number(fixed(2), name)?.0;
                set(&mut self.found.hour, hour, name)?;
                self.found.half_days |= field == Field::Hour12;
            }
            Field::IsoDayOfYear => {
                let day = self.number(fixed(3), name)?.0;
                set(&mut self.found.day_of_year, day, name)?;
            }
            Field::IsoDayOfWeek => {
                let day = self.number(fixed(1), name)?.0;
                set(&mut self.found.weekday, day % 7 + 1, name)?;
            }
            Field::Quarter => {
                // Which of its days is meant is not said.
                self.number(fixed(length), name)?;
            }
            _ => {
                let number = self.number(fixed(length), name)?.0;
                set(self.found.place(field), number, name)?;
            }
        }
        Ok(())
    }

    /// Which of `words` is next, in any case.
    fn word(&mut self, words: &[&str], name: &str) -> Result<usize, Wrong> {
        let at = words.iter().position(|word| begins_with(self.rest, word)).ok_or_else(|| unknown(name))?;
        self.pass(words[at].len());
        Ok(at)
    }

    /// A whole number and how many characters it has: exactly `fixed`, or as many as there are.
    fn number(&mut self, fixed: Option<usize>, name: &str) -> Result<(i64, usize), Wrong> {
        while self.rest.starts_with(|char| sort(char) == Sort::Space) {
            self.pass(1);
        }
        let reach = fixed.map_or(self.rest.len(), |length| length.min(self.rest.len()));
        if fixed.is_some_and(|length| self.rest.chars().count() < length) {
            return Err(format!("a text is too short for {name}"));
        }
        let bytes = &self.rest.as_bytes()[..reach];
        let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
        let digits = bytes[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let read = sign + digits;
        if digits == 0 || fixed.is_some_and(|length| read < length) {
            return Err(match fixed {
                Some(length) if length > 1 => format!("{name} takes {length} digits"),
                _ => unknown(name),
            });
        }
        let number: i32 = self.rest[..read].parse().map_err(|_| format!("a number for {name} is too large"))?;
        self.pass(read);
        Ok((i64::from(number), read))
    }
}

fn begins_with(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn unknown(name: &str) -> Wrong {
    format!("a text has something else where {name} is wanted")
}

/// A year of less than four digits is the one nearest to 2020 that ends so.
fn nearest_to_2020(year: i64) -> i64 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

/// A field may be said twice, if both say the same.
fn set(place: &mut i64, value: i64, name: &str) -> Result<(), Wrong> {
    if *place != 0 && *place != value {
        return Err(format!("{name} is told twice, and differently"));
    }
    *place = value;
    Ok(())
}

/// What a text says; 0 is what it does not say.
#[derive(Debug, Default)]
struct Found {
    calendar: Option<Calendar>,
    year: i64,
    year_digits: u32,
    century: i64,
    before_christ: i64,
    month: i64,
    day: i64,
    /// From Sunday, which is 1.
    weekday: i64,
    day_of_year: i64,
    week: i64,
    week_of_month: i64,
    julian: i64,
    hour: i64,
    half_days: bool,
    late: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    /// Of `MS`, in microseconds.
    millis: i64,
    micros: i64,
    zone_sign: i64,
    zone_hours: i64,
    zone_minutes: i64,
}

impl Found {
    fn counts_by(&mut self, field: Field) -> Result<(), Wrong> {
        match (self.calendar, field.calendar()) {
            (Some(one), Some(other)) if one != other => {
                Err("a pattern that is read has ISO weeks, or months and days, not both".to_owned())
            }
            (_, None) => Ok(()),
            (_, some) => {
                self.calendar = some;
                Ok(())
            }
        }
    }

    fn place(&mut self, field: Field) -> &mut i64 {
        match field {
            Field::Minute => &mut self.minute,
            Field::Second => &mut self.second,
            Field::SecondOfDay => &mut self.second_of_day,
            Field::Century => &mut self.century,
            Field::Month => &mut self.month,
            Field::DayOfYear => &mut self.day_of_year,
            Field::Day => &mut self.day,
            Field::DayOfWeek => &mut self.weekday,
            Field::Week | Field::IsoWeek => &mut self.week,
            Field::WeekOfMonth => &mut self.week_of_month,
            _ => &mut self.julian,
        }
    }

    fn micros(&self) -> Result<i64, Wrong> {
        let out_of_range = || "a text names a day or a time that there is not".to_owned();
        let days = self.days()?;
        let time = self.time()?;
        if !(0..=15).contains(&self.zone_hours) || !(0..60).contains(&self.zone_minutes) {
            return Err(out_of_range());
        }
        let zone = self.zone_sign * (self.zone_hours * 60 + self.zone_minutes) * 60_000_000;
        days.checked_mul(DAY).and_then(|day| day.checked_add(time - zone)).ok_or_else(out_of_range)
    }

    /// Microseconds of the day.
    fn time(&self) -> Result<i64, Wrong> {
        let of_day = self.second_of_day;
        let or = |said: i64, other: i64| if said == 0 { other } else { said };
        let mut hour = or(self.hour, of_day / 3_600);
        let (minute, second) = (or(self.minute, of_day / 60 % 60), or(self.second, of_day % 60));
        if self.half_days {
            if !(1..=12).contains(&hour) {
                return Err("HH and HH12 are hours from 1 to 12; HH24 knows the others".to_owned());
            }
            hour = hour % 12 + if self.late == 1 { 12 } else { 0 };
        }
        let micros = self.millis + self.micros;
        let fits = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..1_000_000).contains(&micros);
        match fits {
            true => Ok(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros),
            false => Err("a text names a time of day that there is not".to_owned()),
        }
    }

    /// As a calendar without a hole between 1 before and 1 after counts.
    fn year(&self) -> i64 {
        let century = if self.before_christ == 1 { -self.century } else { self.century };
        if self.year != 0 {
            if self.century != 0 && self.year_digits <= 2 {
                return match (self.year % 100, century >= 0) {
                    (0, true) => century * 100,
                    (0, false) => century * 100 + 1,
                    (year, true) => year + (century - 1) * 100,
                    (year, false) => (century + 1) * 100 - year + 1,
                };
            }
            let year = if self.before_christ == 1 { -self.year } else { self.year };
            return if year < 0 { year + 1 } else { year };
        }
        match (self.century, century >= 0) {
            (0, _) => 0,
            (_, true) => (century - 1) * 100 + 1,
            (_, false) => century * 100 + 1,
        }
    }

    /// Days since 1970.
    fn days(&self) -> Result<i64, Wrong> {
        let no_such = || "a text names a day that there is not".to_owned();
        let of = |date: NaiveDate| i64::from(date.num_days_from_ce()) - EPOCH;
        let year = i32::try_from(self.year()).map_err(|_| no_such())?;
        let is_iso = self.calendar == Some(Calendar::IsoWeeks);
        let week = u32::try_from(self.week).map_err(|_| no_such())?;
        if week > 0 && is_iso {
            if week > 53 {
                return Err(no_such());
            }
            // A day that is not said is the first of its week, and weeks may count on into the next year.
            let first = NaiveDate::from_isoywd_opt(year, 1, Weekday::Mon).ok_or_else(no_such)?;
            let day = if self.weekday == 0 { 0 } else { (self.weekday + 5) % 7 };
            return Ok(of(first) + i64::from(week - 1) * 7 + day);
        }
        let mut day = if self.week_of_month > 0 { (self.week_of_month - 1) * 7 + 1 } else { self.day };
        let mut month = self.month;
        let of_year = if week > 0 { i64::from(week - 1) * 7 + 1 } else { self.day_of_year };
        if self.julian != 0 && day == 0 && month == 0 && of_year == 0 {
            return Ok(self.julian - JULIAN);
        }
        if of_year > 0 && (month <= 1 || day <= 1) {
            if year == 0 && self.before_christ == 0 {
                return Err("a day of the year needs the year".to_owned());
            }
            if is_iso {
                let first = NaiveDate::from_isoywd_opt(year, 1, Weekday::Mon).ok_or_else(no_such)?;
                return Ok(of(first) + of_year - 1);
            }
            let ordinal = u32::try_from(of_year).map_err(|_| no_such())?;
            let date = NaiveDate::from_yo_opt(year, ordinal).ok_or_else(no_such)?;
            if month <= 1 {
                month = i64::from(date.month());
            }
            if day <= 1 {
                day = i64::from(date.day());
            }
        }
        let part = |number: i64| u32::try_from(if number == 0 { 1 } else { number }).map_err(|_| no_such());
        NaiveDate::from_ymd_opt(year, part(month)?, part(day)?).map(of).ok_or_else(no_such)
    }
}

use datafusion::sql::sqlparser::ast::{DataType, Expr, Interval as Written};

use super::{ast::text, path::text_of};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A length of time as PostgreSQL keeps it: a month has no fixed number of days, a day none of hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl Interval {
    /// Reads what PostgreSQL takes (manual, section 8.5.4): its own form (`1 year 2 mons -3 days 04:05:06 ago`), ISO 8601
    /// with designators (`P1DT2H`) and without (`P0001-02-03T04:05:06`), years and months (`1-2`), seconds (`3600`). `None`
    /// for anything else, and for what is too long.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        // Commas only part: Python writes `1 day, 2:03:04`.
        let text = text.replace(',', " ").trim().to_lowercase();
        let sum = match text.strip_prefix('p') {
            Some(rest) => iso(rest)?,
            None => own(&text)?,
        };
        let (months, days) = (i32::try_from(sum.months).ok()?, i32::try_from(sum.days).ok()?);
        Some(Self { months, days, micros: sum.micros })
    }

    /// As the planner reads it, in whole numbers.
    fn written(self) -> String {
        format!("{} months {} days {} microseconds", self.months, self.days, self.micros)
    }
}

/// `INTERVAL '1 day 02:03:04'` as the planner has it; `None` where it says by itself what its numbers count.
pub(super) fn literal(written: &Written) -> Option<Expr> {
    let says = written.leading_field.is_some() || written.last_field.is_some();
    if says || written.leading_precision.is_some() || written.fractional_seconds_precision.is_some() {
        return None;
    }
    Some(put(Interval::read(&text_of(&written.value)?)?))
}

/// `'1 day 02:03:04'::interval` as the planner has it.
pub(super) fn cast(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    let DataType::Interval { fields: None, .. } = data_type else { return None };
    Some(put(Interval::read(&text_of(inner)?)?))
}

fn put(interval: Interval) -> Expr {
    Expr::Interval(Written {
        value: Box::new(text(&interval.written())),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "millennium" | "millennia" | "mil" | "mils" => Unit::Months(12_000),
        "century" | "centuries" | "cent" | "c" => Unit::Months(1_200),
        "decade" | "decades" | "dec" | "decs" => Unit::Months(120),
        "year" | "years" | "yr" | "yrs" | "y" => Unit::Months(12),
        "month" | "months" | "mon" | "mons" => Unit::Months(1),
        "week" | "weeks" | "w" => Unit::Days(7),
        "day" | "days" | "d" => Unit::Days(1),
        "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Micros(3_600 * SECOND),
        "minute" | "minutes" | "min" | "mins" | "m" => Unit::Micros(60 * SECOND),
        "second" | "seconds" | "sec" | "secs" | "s" => Unit::Micros(SECOND),
        "millisecond" | "milliseconds" | "msec" | "msecs" | "msecond" | "mseconds" | "ms" => Unit::Micros(1_000),
        "microsecond" | "microseconds" | "usec" | "usecs" | "usecond" | "useconds" | "us" => Unit::Micros(1),
        _ => return None,
    })
}

/// A number apart from its sign, so that `-0.5` keeps it.
#[derive(Debug, Clone, Copy)]
struct Number {
    sign: i64,
    whole: i64,
    fraction: f64,
}

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = signed(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    Some(Number { sign, whole, fraction })
}

fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

#[derive(Debug, Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

impl Sum {
    /// A part of a month is days of a month that has thirty, a part of a day is hours; a part of a year is whole months.
    fn add(&mut self, number: Number, unit: Unit) -> Option<()> {
        let whole = number.whole * number.sign;
        let part = number.fraction * number.sign as f64;
        match unit {
            Unit::Months(count) => {
                self.months = self.months.checked_add(whole.checked_mul(count)?)?;
                if count == 1 {
                    self.add_days(part * 30.0)?;
                } else {
                    self.months = self.months.checked_add((part * count as f64).round() as i64)?;
                }
            }
            Unit::Days(count) => {
                self.days = self.days.checked_add(whole.checked_mul(count)?)?;
                self.add_days(part * count as f64)?;
            }
            Unit::Micros(count) => {
                let micros = whole.checked_mul(count)?.checked_add((part * count as f64).round() as i64)?;
                self.micros = self.micros.checked_add(micros)?;
            }
        }
        Some(())
    }

    fn add_days(&mut self, days: f64) -> Option<()> {
        self.days = self.days.checked_add(days.trunc() as i64)?;
        self.micros = self.micros.checked_add((days.fract() * DAY as f64).round() as i64)?;
        Some(())
    }

    /// `02:03:04.5`, `2:03`; `3:04.5` is minutes and seconds.
    fn add_clock(&mut self, text: &str) -> Option<()> {
        let (sign, text) = signed(text);
        let parts = text.split(':').map(number).collect::<Option<Vec<_>>>()?;
        if parts.iter().any(|part| part.sign < 0) || parts.iter().skip(1).any(|part| part.whole > 59) {
            return None;
        }
        let (hours, minutes, seconds) = match parts.as_slice() {
            [hours, minutes] if minutes.fraction == 0.0 && !text.contains('.') => (hours.whole, minutes.whole, None),
            [minutes, seconds] => (0, minutes.whole, Some(seconds)),
            [hours, minutes, seconds] => (hours.whole, minutes.whole, Some(seconds)),
            _ => return None,
        };
        for (whole, count) in [(hours, 3_600 * SECOND), (minutes, 60 * SECOND)] {
            self.add(Number { sign, whole, fraction: 0.0 }, Unit::Micros(count))?;
        }
        seconds.map_or(Some(()), |seconds| self.add(Number { sign, ..*seconds }, Unit::Micros(SECOND)))
    }

    /// `1-2`: years and months.
    fn add_years(&mut self, text: &str) -> Option<()> {
        let (sign, text) = signed(text);
        let (years, months) = text.split_once('-')?;
        let (years, months) = (number(years)?, number(months)?);
        if months.whole > 11 || years.fraction + months.fraction > 0.0 {
            return None;
        }
        self.add(Number { sign, ..years }, Unit::Months(12))?;
        self.add(Number { sign, ..months }, Unit::Months(1))
    }
}

/// The first letters of a text that are such ones, and the rest without blanks before it.
fn span(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn is_of_number(letter: char) -> bool {
    letter.is_ascii_digit() || matches!(letter, '+' | '-' | '.' | ':')
}

fn own(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut rest = text.strip_prefix('@').unwrap_or(text).trim_start();
    let (mut is_back, mut has_any) = (false, false);
    while !rest.is_empty() {
        let (lump, after) = span(rest, is_of_number);
        if lump.is_empty() {
            let (word, after) = span(rest, char::is_alphabetic);
            if word != "ago" || !after.is_empty() {
                return None;
            }
            is_back = true;
            break;
        }
        has_any = true;
        rest = after;
        if lump.contains(':') {
            sum.add_clock(lump)?;
        } else if lump.get(1..).is_some_and(|tail| tail.contains('-')) {
            sum.add_years(lump)?;
        } else {
            let (word, after) = span(rest, char::is_alphabetic);
            let counts = match word {
                "" if rest.is_empty() => Unit::Micros(SECOND),
                // Days before hours and minutes need not be called so.
                "" if span(rest, is_of_number).0.contains(':') => Unit::Days(1),
                word => unit(word)?,
            };
            sum.add(number(lump)?, counts)?;
            rest = after;
        }
    }
    if is_back {
        sum = Sum { months: -sum.months, days: -sum.days, micros: sum.micros.checked_neg()? };
    }
    has_any.then_some(sum)
}

/// What follows the `P`.
fn iso(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (date, clock) = text.split_once('t').map_or((text, None), |(date, clock)| (date, Some(clock)));
    if date.is_empty() && clock.is_none_or(str::is_empty) {
        return None;
    }
    if date.get(1..).is_some_and(|tail| tail.contains('-') && tail.bytes().all(|b| b.is_ascii_digit() || b == b'-')) {
        let (years, days) = date.rsplit_once('-').filter(|(years, _)| years.contains('-'))?;
        sum.add_years(years)?;
        sum.add(number(days)?, Unit::Days(1))?;
    } else {
        designated(&mut sum, date, |letter| {
            Some(match letter {
                'y' => Unit::Months(12),
                'm' => Unit::Months(1),
                'w' => Unit::Days(7),
                'd' => Unit::Days(1),
                _ => return None,
            })
        })?;
    }
    match clock {
        Some(clock) if clock.contains(':') => sum.add_clock(clock)?,
        Some(clock) => designated(&mut sum, clock, |letter| {
            Some(Unit::Micros(match letter {
                'h' => 3_600 * SECOND,
                'm' => 60 * SECOND,
                's' => SECOND,
                _ => return None,
            }))
        })?,
        None => {}
    }
    Some(sum)
}

/// Numbers, each with a letter after it.
fn designated(sum: &mut Sum, text: &str, counts: impl Fn(char) -> Option<Unit>) -> Option<()> {
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = span(rest, is_of_number);
        let letter = after.chars().next()?;
        sum.add(number(digits)?, counts(letter)?)?;
        rest = &after[letter.len_utf8()..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOUR: i64 = 3_600 * SECOND;

    /// As PostgreSQL 15 reads them.
    #[rstest]
    #[case("3600", 0, 0, HOUR)]
    #[case("-1.5", 0, 0, -1_500_000)]
    #[case("PT1H", 0, 0, HOUR)]
    #[case("P1D", 0, 1, 0)]
    #[case("P1Y2M3DT4H5M6.5S", 14, 3, 4 * HOUR + 306_500_000)]
    #[case("P-1DT-1.5H", 0, -1, -HOUR - HOUR / 2)]
    #[case("P1W", 0, 7, 0)]
    #[case("P0001-02-03T04:05:06", 14, 3, 4 * HOUR + 306_000_000)]
    #[case("1 day 02:03:04", 0, 1, 2 * HOUR + 184_000_000)]
    #[case("1 mon", 1, 0, 0)]
    #[case("-1 days +02:03:04", 0, -1, 2 * HOUR + 184_000_000)]
    #[case("1 year 2 mons -3 days ago", -14, 3, 0)]
    #[case("@ 1 minute", 0, 0, HOUR / 60)]
    #[case("1-2", 14, 0, 0)]
    #[case("-1-2", -14, 0, 0)]
    #[case("1 2:03", 0, 1, 2 * HOUR + 180_000_000)]
    #[case("1:30", 0, 0, HOUR + HOUR / 2)]
    #[case("1:30.5", 0, 0, 90_500_000)]
    #[case("-12:34", 0, 0, -12 * HOUR - 34 * 60 * SECOND)]
    #[case("3 days -1:00", 0, 3, -HOUR)]
    #[case("1.5 months", 1, 15, 0)]
    #[case("0.5 year", 6, 0, 0)]
    #[case("1.5 days", 0, 1, 12 * HOUR)]
    #[case("-0.5 h", 0, 0, -HOUR / 2)]
    #[case("1d2h", 0, 1, 2 * HOUR)]
    #[case("1.2345678 s", 0, 0, 1_234_568)]
    #[case("1 day, 2:00:00", 0, 1, 2 * HOUR)]
    #[case("90 min", 0, 0, HOUR + HOUR / 2)]
    fn an_interval_is_read(#[case] text: &str, #[case] months: i32, #[case] days: i32, #[case] micros: i64) {
        assert_eq!(Interval::read(text), Some(Interval { months, days, micros }));
    }

    #[rstest]
    #[case("")]
    #[case("P")]
    #[case("PT")]
    #[case("-P1D")]
    #[case("soon")]
    #[case("1 moon")]
    #[case("1 2")]
    #[case("ago")]
    #[case("1 day ago 2")]
    #[case("1:75")]
    #[case("99999999999 years")]
    fn what_is_none_is_not_read(#[case] text: &str) {
        assert_eq!(Interval::read(text), None);
    }
}

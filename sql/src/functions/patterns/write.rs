//! Times as texts, as a pattern says.

use chrono::{Datelike, NaiveDate};

use super::{
    Case,
    template::{Field, Item},
};
use crate::calendar::{DAY, EPOCH, JULIAN, MONTHS, WEEKDAYS};

pub(super) const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A time or a length of time, in the numbers that patterns write.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    /// None of a length of time.
    date: Option<NaiveDate>,
    /// The year before 1 is 0.
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Whether its zone is known: it is UTC.
    zoned: bool,
}

impl Moment {
    /// A time in microseconds since 1970; none beyond the years that a calendar knows.
    pub(super) fn at(micros: i64, zoned: bool) -> Option<Self> {
        let days = i32::try_from(micros.div_euclid(DAY) + EPOCH).ok()?;
        let date = NaiveDate::from_num_days_from_ce_opt(days)?;
        let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
        Some(Self { date: Some(date), year, month, day, zoned, ..Self::of_day(micros.rem_euclid(DAY)) })
    }

    fn of_day(micros: i64) -> Self {
        let seconds = micros / 1_000_000;
        Self {
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % 1_000_000,
            ..Self::default()
        }
    }

    /// A length of time; hours are as many as there are.
    pub(super) fn length(months: i32, days: i32, micros: i64) -> Self {
        let months = i64::from(months);
        Self { year: months / 12, month: months % 12, day: i64::from(days), ..Self::of_day(micros) }
    }

    fn is_length(&self) -> bool {
        self.date.is_none()
    }

    /// As people count years: there is no year 0.
    fn told(&self, year: i64) -> i64 {
        if self.is_length() || year > 0 { year } else { 1 - year }
    }

    fn day_of_year(&self) -> i64 {
        match self.date {
            Some(date) => i64::from(date.ordinal()),
            None => (self.year * 12 + self.month) * 30 + self.day,
        }
    }

    /// The year that the week is of, and the week.
    fn iso(&self) -> (i64, i64) {
        self.date.map_or((self.year, 0), |date| (i64::from(date.iso_week().year()), i64::from(date.iso_week().week())))
    }

    fn century(&self) -> i64 {
        match (self.is_length(), self.year) {
            (true, year) => year / 100,
            (false, year) if year > 0 => (year - 1) / 100 + 1,
            (false, year) => year / 100 - 1,
        }
    }
}

/// `moment` as `items` say.
///
/// # Errors
/// The field that a length of time does not have.
pub(super) fn write(items: &[Item], moment: &Moment, to: &mut String) -> Result<(), String> {
    for item in items {
        match item {
            Item::Char(char, _) => to.push(*char),
            Item::Field { field, name, bare, ordinal } => {
                let from = to.len();
                if put(*field, *bare, moment, to).is_none() {
                    return Err(format!("a length of time has no {name}"));
                }
                if let Some(case) = ordinal
                    && field.is_digits()
                {
                    to.push_str(&case.of(ending(&to[from..])));
                }
            }
        }
    }
    Ok(())
}

/// What follows a number that is an ordinal.
pub(super) fn ending(number: &str) -> &'static str {
    let digits = number.as_bytes();
    let before_last = digits.len().checked_sub(2).map(|at| digits[at]);
    match (before_last, digits.last()) {
        (Some(b'1'), _) => "th",
        (_, Some(b'1')) => "st",
        (_, Some(b'2')) => "nd",
        (_, Some(b'3')) => "rd",
        _ => "th",
    }
}

fn put(field: Field, bare: bool, moment: &Moment, to: &mut String) -> Option<()> {
    // A sign takes a place of its own.
    let mut number = |digits: usize, number: i64| {
        let width = digits + usize::from(number < 0);
        to.push_str(&if bare { number.to_string() } else { format!("{number:0width$}") });
    };
    let filled = |name: String, width: usize| if bare { name } else { format!("{name:width$}") };
    let date = moment.date;
    match field {
        Field::Hour12 => number(2, if moment.hour % 12 == 0 { 12 } else { moment.hour % 12 }),
        Field::Hour24 => number(2, moment.hour),
        Field::Minute => number(2, moment.minute),
        Field::Second => number(2, moment.second),
        Field::Fraction(digits) => {
            let digits = digits.min(6);
            let fraction = moment.micros / 10_i64.pow(6 - digits);
            let width = digits as usize + usize::from(fraction < 0);
            to.push_str(&format!("{fraction:0width$}"));
        }
        Field::SecondOfDay => to.push_str(&((moment.hour * 60 + moment.minute) * 60 + moment.second).to_string()),
        Field::Half(case, points) => {
            let late = moment.hour.rem_euclid(24) >= 12;
            to.push_str(&case.of(match (late, points) {
                (true, true) => "P.M.",
                (true, false) => "PM",
                (false, true) => "A.M.",
                (false, false) => "AM",
            }));
        }
        Field::Era(case, points) => {
            date?;
            to.push_str(&case.of(match (moment.year <= 0, points) {
                (true, true) => "B.C.",
                (true, false) => "BC",
                (false, true) => "A.D.",
                (false, false) => "AD",
            }));
        }
        Field::Century => number(2, moment.century()),
        Field::YearWithComma => {
            let year = moment.told(moment.year);
            to.push_str(&format!("{},{:03}", year / 1000, year % 1000));
        }
        Field::Year(digits) => number(digits as usize, cut(moment.told(moment.year), digits)),
        Field::IsoYear(digits) => number(digits as usize, cut(moment.told(moment.iso().0), digits)),
        Field::MonthName(case) => to.push_str(&filled(case.of(month_name(moment)?), 9)),
        Field::MonthShort(case) => to.push_str(&case.of(&month_name(moment)?[..3])),
        Field::Month => number(2, moment.month),
        Field::Roman(case) => {
            let month = usize::try_from(moment.month - 1).ok().and_then(|month| ROMAN.get(month));
            to.push_str(&month.map_or_else(String::new, |month| filled(case.of(month), 4)));
        }
        Field::Quarter => {
            if moment.month > 0 {
                to.push_str(&((moment.month - 1) / 3 + 1).to_string());
            }
        }
        Field::DayName(case) => to.push_str(&filled(case.of(day_name(date?)), 9)),
        Field::DayShort(case) => to.push_str(&case.of(&day_name(date?)[..3])),
        Field::DayOfYear => number(3, moment.day_of_year()),
        Field::IsoDayOfYear => number(3, (moment.iso().1 - 1) * 7 + i64::from(date?.weekday().number_from_monday())),
        Field::Day => number(2, moment.day),
        Field::DayOfWeek => to.push_str(&date?.weekday().number_from_sunday().to_string()),
        Field::IsoDayOfWeek => to.push_str(&date?.weekday().number_from_monday().to_string()),
        Field::Week => number(2, (moment.day_of_year() - 1) / 7 + 1),
        Field::IsoWeek => {
            date?;
            number(2, moment.iso().1);
        }
        Field::WeekOfMonth => to.push_str(&((moment.day - 1) / 7 + 1).to_string()),
        Field::Julian => to.push_str(&(i64::from(date?.num_days_from_ce()) - EPOCH + JULIAN).to_string()),
        Field::ZoneName(case) => {
            date?;
            if moment.zoned {
                to.push_str(&case.of("UTC"));
            }
        }
        Field::ZoneHour | Field::Offset => {
            date?;
            to.push_str(if bare && field == Field::Offset { "+0" } else { "+00" });
        }
        Field::ZoneMinute => {
            date?;
            to.push_str("00");
        }
        Field::Exactly => {}
    }
    Some(())
}

/// The last so many digits of a year.
fn cut(year: i64, digits: u32) -> i64 {
    if digits >= 4 { year } else { year % 10_i64.pow(digits) }
}

fn month_name(moment: &Moment) -> Option<&'static str> {
    moment.date.map(|date| MONTHS[date.month0() as usize])
}

fn day_name(date: NaiveDate) -> &'static str {
    WEEKDAYS[date.weekday().num_days_from_sunday() as usize]
}

impl Case {
    /// `name`, which begins with a capital.
    pub(super) fn of(self, name: &str) -> String {
        match self {
            Self::Upper => name.to_ascii_uppercase(),
            Self::Capital => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
        }
    }
}

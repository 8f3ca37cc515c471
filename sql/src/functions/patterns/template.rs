//! The patterns of PostgreSQL's `to_char`, `to_date` and `to_timestamp` (its manual, 9.8): what each part of one stands for.

use super::Case;

/// What a part of a pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Hour12,
    Hour24,
    Minute,
    Second,
    /// Of a second, in so many digits.
    Fraction(u32),
    SecondOfDay,
    /// `AM`; with points in it where true.
    Half(Case, bool),
    /// `AD`; with points in it where true.
    Era(Case, bool),
    Century,
    /// `Y,YYY`.
    YearWithComma,
    /// In so many digits.
    Year(u32),
    IsoYear(u32),
    MonthName(Case),
    MonthShort(Case),
    Month,
    Roman(Case),
    Quarter,
    DayName(Case),
    DayShort(Case),
    DayOfYear,
    IsoDayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    Week,
    IsoWeek,
    WeekOfMonth,
    Julian,
    ZoneName(Case),
    ZoneHour,
    ZoneMinute,
    Offset,
    /// `FX`: what is read follows the pattern to the letter from here on.
    Exactly,
}

/// In which calendar a field counts: the two are not mixed in what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calendar {
    Gregorian,
    IsoWeeks,
}

impl Field {
    /// Whether it begins with a digit, so that the one before it has as many digits as its name and no more.
    pub(super) fn is_digits(self) -> bool {
        !matches!(
            self,
            Self::Half(..)
                | Self::Era(..)
                | Self::MonthName(_)
                | Self::MonthShort(_)
                | Self::Roman(_)
                | Self::DayName(_)
                | Self::DayShort(_)
                | Self::ZoneName(_)
                | Self::ZoneHour
                | Self::Offset
                | Self::Exactly
        )
    }

    pub(super) fn calendar(self) -> Option<Calendar> {
        match self {
            Self::YearWithComma
            | Self::Year(_)
            | Self::MonthName(_)
            | Self::MonthShort(_)
            | Self::Month
            | Self::Roman(_)
            | Self::DayOfYear
            | Self::Day
            | Self::DayOfWeek
            | Self::Week
            | Self::WeekOfMonth => Some(Calendar::Gregorian),
            Self::IsoYear(_) | Self::IsoDayOfYear | Self::IsoDayOfWeek | Self::IsoWeek => Some(Calendar::IsoWeeks),
            _ => None,
        }
    }
}

/// A character that is no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Neither letter nor digit.
    Separator,
    Space,
    /// A letter, a digit, or anything between double quotes.
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Field {
        field: Field,
        /// As the pattern writes it.
        name: &'static str,
        /// `FM`: without the blanks and noughts that fill it up.
        bare: bool,
        /// `TH`: with the ending of an ordinal.
        ordinal: Option<Case>,
    },
    Char(char, Sort),
}

use Case::{Capital, Lower, Upper};

/// Names of fields, in capitals; those whose case says how they are written are in [`CASED`].
const PLAIN: [(&str, Field); 42] = [
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("MI", Field::Minute),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("MS", Field::Fraction(3)),
    ("US", Field::Fraction(6)),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("CC", Field::Century),
    ("Y,YYY", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("I", Field::IsoYear(1)),
    ("MM", Field::Month),
    ("Q", Field::Quarter),
    ("IDDD", Field::IsoDayOfYear),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("ID", Field::IsoDayOfWeek),
    ("D", Field::DayOfWeek),
    ("WW", Field::Week),
    ("IW", Field::IsoWeek),
    ("W", Field::WeekOfMonth),
    ("J", Field::Julian),
    ("TZH", Field::ZoneHour),
    ("TZM", Field::ZoneMinute),
    ("OF", Field::Offset),
    ("FX", Field::Exactly),
    ("TZ", Field::ZoneName(Upper)),
    ("RM", Field::Roman(Upper)),
];

/// Names whose letters are those of what is written.
const CASED: [(&str, Field); 30] = [
    ("tz", Field::ZoneName(Lower)),
    ("rm", Field::Roman(Lower)),
    ("A.M.", Field::Half(Upper, true)),
    ("P.M.", Field::Half(Upper, true)),
    ("AM", Field::Half(Upper, false)),
    ("PM", Field::Half(Upper, false)),
    ("a.m.", Field::Half(Lower, true)),
    ("p.m.", Field::Half(Lower, true)),
    ("am", Field::Half(Lower, false)),
    ("pm", Field::Half(Lower, false)),
    ("A.D.", Field::Era(Upper, true)),
    ("B.C.", Field::Era(Upper, true)),
    ("AD", Field::Era(Upper, false)),
    ("BC", Field::Era(Upper, false)),
    ("a.d.", Field::Era(Lower, true)),
    ("b.c.", Field::Era(Lower, true)),
    ("ad", Field::Era(Lower, false)),
    ("bc", Field::Era(Lower, false)),
    ("MONTH", Field::MonthName(Upper)),
    ("Month", Field::MonthName(Capital)),
    ("month", Field::MonthName(Lower)),
    ("MON", Field::MonthShort(Upper)),
    ("Mon", Field::MonthShort(Capital)),
    ("mon", Field::MonthShort(Lower)),
    ("DAY", Field::DayName(Upper)),
    ("Day", Field::DayName(Capital)),
    ("day", Field::DayName(Lower)),
    ("DY", Field::DayShort(Upper)),
    ("Dy", Field::DayShort(Capital)),
    ("dy", Field::DayShort(Lower)),
];

/// The field that `text` begins with: the longest that there is.
fn field(text: &str) -> Option<(&'static str, Field)> {
    let all_of_a_case = |name: &str| {
        text.get(..name.len()).is_some_and(|written| written == name || written == name.to_ascii_lowercase())
    };
    let plain = PLAIN.iter().filter(|(name, _)| all_of_a_case(name));
    let cased = CASED.iter().filter(|(name, _)| text.starts_with(name));
    // Of `tz` and `TZ` the one that is written so.
    cased.chain(plain).rev().max_by_key(|(name, _)| name.len()).copied()
}

/// A pattern of a time, in its parts.
///
/// # Errors
/// What is wrong with it: minutes that are written as months.
pub(super) fn parts(pattern: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (prefix, after) = match ["FM", "fm", "TM", "tm"].iter().find(|prefix| rest.starts_with(**prefix)) {
            Some(prefix) => (Some(*prefix), &rest[prefix.len()..]),
            None => (None, rest),
        };
        if let Some((name, field)) = field(after) {
            rest = &after[name.len()..];
            let ending = [("TH", Some(Upper)), ("th", Some(Lower)), ("SP", None), ("sp", None)];
            let ending = ending.iter().find(|(ending, _)| rest.starts_with(ending));
            rest = &rest[ending.map_or(0, |(ending, _)| ending.len())..];
            let bare = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case("FM"));
            items.push(Item::Field { field, name, bare, ordinal: ending.and_then(|(_, case)| *case) });
        } else if prefix.is_some() {
            rest = after;
        } else if first == '"' {
            rest = quoted(&rest[1..], &mut items);
        } else {
            let from = if rest.starts_with("\\\"") { 1 } else { 0 };
            let char = rest[from..].chars().next().unwrap_or(first);
            rest = &rest[from + char.len_utf8()..];
            items.push(Item::Char(char, sort(char)));
        }
    }
    match is_confused(&items) {
        true => Err("MM is the month also beside hours and seconds; minutes are MI".to_owned()),
        false => Ok(items),
    }
}

pub(super) fn sort(char: char) -> Sort {
    match char {
        '!'..='~' if !char.is_ascii_alphanumeric() => Sort::Separator,
        char if char.is_ascii_whitespace() || char == '\u{b}' => Sort::Space,
        _ => Sort::Text,
    }
}

/// What stands up to the closing quote stands for itself; returns what is after it.
fn quoted<'a>(text: &'a str, items: &mut Vec<Item>) -> &'a str {
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        let char = match char {
            '"' => return &text[at + 1..],
            '\\' => chars.next().map_or('\\', |(_, next)| next),
            _ => char,
        };
        items.push(Item::Char(char, Sort::Text));
    }
    ""
}

/// Whether months stand where minutes are meant, as in `HH24:MM:SS` or Java's `HH:mm`.
fn is_confused(items: &[Item]) -> bool {
    let of = |item: &Item| match item {
        Item::Field { field, .. } => Some(*field),
        Item::Char(..) => None,
    };
    items.windows(3).any(|three| {
        matches!(three[1], Item::Char(':', _))
            && matches!(
                (of(&three[0]), of(&three[2])),
                (Some(Field::Hour12 | Field::Hour24), Some(Field::Month)) | (Some(Field::Month), Some(Field::Second))
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn fields(pattern: &str) -> Vec<Field> {
        let items = parts(pattern).unwrap();
        items
            .into_iter()
            .filter_map(|item| if let Item::Field { field, .. } = item { Some(field) } else { None })
            .collect()
    }

    #[rstest]
    #[case("YYYYMMDD", &[Field::Year(4), Field::Month, Field::Day])]
    #[case("yyyy-mm-dd", &[Field::Year(4), Field::Month, Field::Day])]
    #[case("HH24MISS", &[Field::Hour24, Field::Minute, Field::Second])]
    #[case("Y,YYY", &[Field::YearWithComma])]
    #[case("tz TZ TZH", &[Field::ZoneName(Lower), Field::ZoneName(Upper), Field::ZoneHour])]
    #[case("FMMonth DDth", &[Field::MonthName(Capital), Field::Day])]
    #[case("\"YYYY\" \\\"MM", &[Field::Month])]
    #[case("", &[])]
    fn the_longest_name_is_taken(#[case] pattern: &str, #[case] expected: &[Field]) {
        assert_eq!(fields(pattern), expected);
    }

    #[rstest]
    #[case("HH24:MM:SS")]
    #[case("dd/MM/yyyy HH:mm:ss")]
    #[case("mm:ss")]
    fn months_are_no_minutes(#[case] pattern: &str) {
        assert!(parts(pattern).unwrap_err().contains("minutes are MI"));
    }

    #[test]
    fn what_is_quoted_stands_for_itself() {
        let written: String = parts(r#""a\"b" \"c é"#)
            .unwrap()
            .iter()
            .map(|item| if let Item::Char(char, _) = item { *char } else { '?' })
            .collect();
        assert_eq!(written, "a\"b \"c é");
    }
}

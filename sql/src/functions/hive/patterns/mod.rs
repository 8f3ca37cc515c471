//! Date patterns of Java's SimpleDateFormat, as Hive takes them; one with `%` is taken to be chrono's.
//!
//! [`write`] and [`parse`] follow that class, its leniency too: the 31st of February counts on into March, what follows the
//! pattern in a text is not looked at. Names are English, weeks begin on Sunday and the first has the 1st of January, as
//! Java has them in the United States. Days are those of the Gregorian calendar at all times.

mod moment;
mod parse;
mod write;
mod zones;

use chrono::NaiveDateTime;

const HALVES: [&str; 2] = ["AM", "PM"];
const ERAS: [&str; 2] = ["BC", "AD"];

/// Letters that stand for something.
const LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";

/// A pattern that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Java(Vec<Item>),
    Chrono(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Text(char),
    Field(char, usize),
}

impl Pattern {
    /// `None`: a letter that is not known, a quote without its end.
    pub(super) fn read(pattern: &str) -> Option<Self> {
        if pattern.contains('%') {
            let mut items = chrono::format::StrftimeItems::new(pattern);
            let is_known = !items.any(|item| matches!(item, chrono::format::Item::Error));
            return is_known.then(|| Self::Chrono(pattern.to_owned()));
        }
        let mut items = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(first) = rest.next() {
            if first == '\'' {
                quoted(&mut rest, &mut items)?;
            } else if first.is_ascii_alphabetic() {
                let mut count = 1;
                while rest.next_if_eq(&first).is_some() {
                    count += 1;
                }
                // (Numbers are filled up with noughts to that many digits.)
                if !LETTERS.contains(first) || count > 64 {
                    return None;
                }
                items.push(Item::Field(first, count));
            } else {
                items.push(Item::Text(first));
            }
        }
        Some(Self::Java(items))
    }

    pub(super) fn write(&self, at: NaiveDateTime) -> String {
        match self {
            Self::Java(items) => write::write(items, at),
            Self::Chrono(pattern) => at.and_utc().format(pattern).to_string(),
        }
    }

    /// The seconds since 1970 of what a text says; `None` where it does not follow the pattern. Years of two digits are those
    /// that are not more than 80 years before `now`, and not 20 after it.
    pub(super) fn parse(&self, text: &str, now: NaiveDateTime) -> Option<i64> {
        match self {
            Self::Java(items) => parse::parse(items, text, now),
            Self::Chrono(pattern) => parse::by_chrono(pattern, text.trim()),
        }
    }
}

/// Text in single quotes stands for itself; two quotes are one.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, items: &mut Vec<Item>) -> Option<()> {
    if rest.next_if_eq(&'\'').is_some() {
        items.push(Item::Text('\''));
        return Some(());
    }
    loop {
        match rest.next()? {
            '\'' if rest.next_if_eq(&'\'').is_some() => items.push(Item::Text('\'')),
            '\'' => return Some(()),
            other => items.push(Item::Text(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use rstest::rstest;

    // What Hive's own classes answer.
    #[rstest]
    #[case("yyyy-MM-dd HH:mm:ss", "2024-01-08 00:00:00")]
    #[case("D DDD DDDD", "8 008 0008")]
    #[case("E EEE EEEE u a z Z X XX XXX", "Mon Mon Monday 1 AM UTC +0000 Z Z Z")]
    #[case("zzzz", "Coordinated Universal Time")]
    #[case("G yy y yyy yyyy yyyyy", "AD 24 2024 2024 2024 02024")]
    #[case("M MM MMM MMMM MMMMM L LLL LLLL", "1 01 Jan January January 1 Jan January")]
    #[case("d dd ddd F w ww W k kk K KK h hh H m s S SS SSS", "8 08 008 2 2 02 2 24 24 0 00 12 12 0 0 0 0 00 000")]
    #[case("YYYY ww", "2024 02")]
    #[case("'o''clock' ''yyyy", "o'clock '2024")]
    #[case("%d/%m/%Y", "08/01/2024")]
    fn a_pattern_writes(#[case] pattern: &str, #[case] expected: &str) {
        let at = NaiveDate::from_ymd_opt(2024, 1, 8).unwrap().and_hms_opt(0, 0, 0).unwrap();
        assert_eq!(Pattern::read(pattern).unwrap().write(at), expected);
    }

    #[rstest]
    #[case("YYYY-MM-dd", "2025-12-30")]
    #[case("H:m:s.S", "17:6:7.89")]
    #[case("ss.SSSSSS", "07.000089")]
    #[case("h:mm a, k K", "5:06 PM, 17 5")]
    fn weeks_and_times_are_written(#[case] pattern: &str, #[case] expected: &str) {
        let at = NaiveDate::from_ymd_opt(2024, 12, 30).unwrap().and_hms_micro_opt(17, 6, 7, 89_345).unwrap();
        assert_eq!(Pattern::read(pattern).unwrap().write(at), expected);
    }

    #[rstest]
    #[case("yyyy-Q")]
    #[case("e")]
    #[case("'")]
    #[case("yyyy-MM-ddTHH")]
    #[case("%Q")]
    fn what_is_no_pattern_is_none(#[case] pattern: &str) {
        assert_eq!(Pattern::read(pattern), None);
    }

    // What Hive's own classes answer.
    #[rstest]
    #[case("2024-01-01 13", "yyyy-MM-dd HH", Some(1_704_114_000))]
    #[case("05/2024", "MM/yyyy", Some(1_714_521_600))]
    #[case("202405", "yyyyMM", Some(1_714_521_600))]
    #[case("2024", "yyyy", Some(1_704_067_200))]
    #[case("12:30:15", "HH:mm:ss", Some(45_015))]
    #[case("01/02/2024 3 PM", "dd/MM/yyyy h a", Some(1_706_799_600))]
    #[case("01/01/55", "dd/MM/yy", Some(-473_385_600))]
    #[case("01/01/30", "dd/MM/yy", Some(1_893_456_000))]
    #[case("01/01/99", "dd/MM/yy", Some(915_148_800))]
    #[case("2024-01-01 12:00:00", "yyyy-MM-dd", Some(1_704_067_200))]
    #[case("2024-01-01 12:00:00 UTC", "yyyy-MM-dd HH:mm:ss z", Some(1_704_110_400))]
    #[case("2024-01-31 10:00:00 CET", "yyyy-MM-dd HH:mm:ss z", Some(1_706_691_600))]
    #[case("2024-01-31 10:00:00 EST", "yyyy-MM-dd HH:mm:ss z", Some(1_706_713_200))]
    #[case("2024-01-31 10:00:00 GMT+2", "yyyy-MM-dd HH:mm:ss z", None)]
    #[case("2024-01-31 10:00:00 GMT+02:00", "yyyy-MM-dd HH:mm:ss z", Some(1_706_688_000))]
    #[case("2024-01-31T10:00:00+0200", "yyyy-MM-dd'T'HH:mm:ssZ", Some(1_706_688_000))]
    #[case("2024-01-31T10:00:00+02:00", "yyyy-MM-dd'T'HH:mm:ssXXX", Some(1_706_688_000))]
    #[case("2024-01-31T10:00:00Z", "yyyy-MM-dd'T'HH:mm:ssX", Some(1_706_695_200))]
    #[case("31/02/2024", "dd/MM/yyyy", Some(1_709_337_600))]
    #[case("2024-13-45", "yyyy-MM-dd", Some(1_739_491_200))]
    #[case("5 jan 2024", "d MMM yyyy", Some(1_704_412_800))]
    #[case("5 January 2024", "d MMM yyyy", Some(1_704_412_800))]
    #[case("5 Jan 2024", "d MMMM yyyy", Some(1_704_412_800))]
    #[case("5 janv. 2024", "d MMM yyyy", None)]
    #[case("Mon 9 Jul 2024", "EEE d MMM yyyy", Some(1_720_483_200))]
    #[case("20240131123015", "yyyyMMddHHmmss", Some(1_706_704_215))]
    #[case("  2024-01-31", "yyyy-MM-dd", Some(1_706_659_200))]
    #[case("2024 100", "yyyy DDD", Some(1_712_620_800))]
    #[case("12:30 PM", "hh:mm a", Some(45_000))]
    #[case("12:30 AM", "hh:mm a", Some(1_800))]
    #[case("24:00", "HH:mm", Some(86_400))]
    #[case("0:15", "kk:mm", Some(900))]
    #[case("2024 3", "yyyy w", Some(1_705_190_400))]
    #[case("2024-01-31 10:00:00.5", "yyyy-MM-dd HH:mm:ss.S", Some(1_706_695_200))]
    #[case("2024-01-31 10:00:00.1234567", "yyyy-MM-dd HH:mm:ss.SSS", Some(1_706_696_434))]
    #[case("abc", "yyyy-MM", None)]
    #[case("2024-01-31 10:00", "yyyy-MM-dd HH:mm:ss", None)]
    #[case("02/01/1970", "%d/%m/%Y", Some(86_400))]
    #[case("", "yyyy", None)]
    #[case("99999999999999999999", "yyyy", None)]
    #[case("2024-01-01 999999999999", "yyyy-MM-dd HH", None)]
    fn a_pattern_reads(#[case] text: &str, #[case] pattern: &str, #[case] expected: Option<i64>) {
        let now = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap().and_hms_opt(6, 0, 0).unwrap();
        assert_eq!(Pattern::read(pattern).unwrap().parse(text, now), expected);
    }
}

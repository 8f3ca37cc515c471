//! Names of time zones that a text may end with.

/// Minutes east of Greenwich, by the names that Java gives zones; the longest of several that fit stands first.
const NAMES: [(&str, i64); 43] = [
    ("Central European Summer Time", 120),
    ("Central European Time", 60),
    ("Coordinated Universal Time", 0),
    ("Greenwich Mean Time", 0),
    ("ACDT", 630),
    ("ACST", 570),
    ("AEDT", 660),
    ("AEST", 600),
    ("AKDT", -480),
    ("AKST", -540),
    ("AWST", 480),
    ("CEST", 120),
    ("EEST", 180),
    ("NZDT", 780),
    ("NZST", 720),
    ("SAST", 120),
    ("WEST", 60),
    ("ADT", -180),
    ("AST", -240),
    ("BST", 60),
    ("CAT", 120),
    ("CDT", -300),
    ("CET", 60),
    ("CST", -360),
    ("EAT", 180),
    ("EDT", -240),
    ("EET", 120),
    ("EST", -300),
    ("GMT", 0),
    ("HKT", 480),
    ("HST", -600),
    ("IST", 330),
    ("JST", 540),
    ("KST", 540),
    ("MDT", -360),
    ("MSK", 180),
    ("MST", -420),
    ("PDT", -420),
    ("PST", -480),
    ("SGT", 480),
    ("UTC", 0),
    ("WAT", 60),
    ("WET", 0),
];

/// The zone that a text begins with: its minutes, and how long its name is.
pub(super) fn named(text: &str) -> Option<(i64, usize)> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(name));
    NAMES.iter().find(|(name, _)| begins(name)).map(|(name, minutes)| (*minutes, name.len()))
}

/// `0200`, `02:00` (with `colon`), or `02` (with `hours_only`) after a sign: the minutes, and how long it is.
pub(super) fn offset(text: &str, colon: bool, hours_only: bool, two_digits: bool) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'));
    let (mut hours, mut at) = (digit(0)?, 1);
    match digit(1) {
        Some(second) => {
            hours = hours * 10 + second;
            at = 2;
        }
        None if two_digits || !colon => return None,
        None => {}
    }
    if hours > 23 {
        return None;
    }
    if hours_only {
        return Some((hours * 60, at));
    }
    if colon {
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        at += 1;
    }
    let minutes = digit(at)? * 10 + digit(at + 1)?;
    (minutes < 60).then_some((hours * 60 + minutes, at + 2))
}

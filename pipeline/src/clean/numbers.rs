//! Numbers written as text, with a decimal comma and blanks between thousands where a column has them.

/// A number's text made plain: `-1234.5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    /// Sign, digits and a decimal point; as `f64` and decimal types parse it.
    pub(crate) plain: String,
    /// No fraction and no exponent.
    pub(crate) whole: bool,
    /// Written with a comma before the fraction.
    pub(crate) comma: bool,
}

/// Reads a number; `None` for whatever is none, and for digits with leading zeros: those are codes.
///
/// A comma is the decimal sign where `comma` is true. Thousands may be set apart by blanks, apostrophes, and the sign that
/// is not the decimal one, in groups of three.
pub(crate) fn parse(text: &str, comma: bool) -> Option<Number> {
    let text = text.trim();
    if text.is_empty() || text.len() > 40 {
        return None;
    }
    let (sign, digits) = match text.as_bytes()[0] {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let decimal = if comma { ',' } else { '.' };
    let (whole, fraction) = match digits.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let (fraction, exponent) = match fraction.unwrap_or(whole).split_once(['e', 'E']) {
        Some((before, after)) => (if fraction.is_some() { Some(before) } else { None }, Some(after)),
        None => (fraction, None),
    };
    let whole = if exponent.is_some() && !digits.contains(decimal) { whole.split(['e', 'E']).next()? } else { whole };
    let whole = join_groups(whole, if comma { '.' } else { ',' })?;
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if fraction.is_some_and(|f| f.is_empty() || !f.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    if exponent.is_some_and(|e| e.trim_start_matches(['-', '+']).parse::<u16>().is_err() || e.len() > 4) {
        return None;
    }
    let mut plain = format!("{sign}{whole}");
    if let Some(fraction) = fraction {
        plain.push('.');
        plain.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        plain.push('e');
        plain.push_str(exponent);
    }
    Some(Number { plain, whole: fraction.is_none() && exponent.is_none(), comma: comma && fraction.is_some() })
}

/// Whether a text is a code of digits that a number would spoil: `007`.
pub(crate) fn is_zero_led(text: &str) -> bool {
    let text = text.trim();
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
}

fn join_groups(text: &str, other: char) -> Option<String> {
    let blank = |c: char| matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\'') || c == other;
    let mut groups = text.split(blank);
    let first = groups.next()?;
    let digits = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) {
        return None;
    }
    let mut joined = first.to_owned();
    for group in groups {
        if first.len() > 3 || group.len() != 3 || !digits(group) {
            return None;
        }
        joined.push_str(group);
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("12", false, Some("12"))]
    #[case("-3.50", false, Some("-3.50"))]
    #[case("3,5", true, Some("3.5"))]
    #[case("1 234,5", true, Some("1234.5"))]
    #[case("1\u{202f}234\u{202f}567", true, Some("1234567"))]
    #[case("1.234,5", true, Some("1234.5"))]
    #[case("1,234.5", false, Some("1234.5"))]
    #[case("1e5", false, Some("1e5"))]
    #[case("1.5E-3", false, Some("1.5e-3"))]
    #[case("0", false, Some("0"))]
    #[case("0.5", false, Some("0.5"))]
    #[case("007", false, None)]
    #[case("06 12 34 56 78", true, None)]
    #[case("3,5", false, None)]
    #[case("12 kg", false, None)]
    #[case("1.2.3", false, None)]
    #[case("", false, None)]
    #[case("-", false, None)]
    #[case("e5", false, None)]
    #[case("5.", false, None)]
    fn numbers_are_read_as_written_and_codes_are_not(
        #[case] text: &str,
        #[case] comma: bool,
        #[case] plain: Option<&str>,
    ) {
        assert_eq!(parse(text, comma).map(|n| n.plain).as_deref(), plain);
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_a_number(text in "\\PC{0,20}", comma: bool) {
            if let Some(number) = parse(&text, comma) {
                proptest::prop_assert!(number.plain.parse::<f64>().is_ok());
            }
        }
    }
}

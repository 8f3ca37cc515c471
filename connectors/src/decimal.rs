//! Numbers written in decimal digits, taken exactly.

/// `text * 10^scale` as an integer of at most `digits` digits; `None` where the text is no number, has more decimals than
/// the scale, or more digits than that. An exponent is refused: databases write exact numbers without one.
pub(crate) fn scaled(text: &[u8], digits: u8, scale: u8) -> Option<i128> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (whole, fraction) = match rest.iter().position(|byte| *byte == b'.') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &rest[rest.len()..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = usize::from(scale);
    // Zeros beyond the scale say nothing.
    let (kept, beyond) = fraction.split_at(fraction.len().min(scale));
    if beyond.iter().any(|byte| *byte != b'0') {
        return None;
    }
    let mut value: i128 = 0;
    for byte in whole.iter().chain(kept) {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let missing = u32::try_from(scale - kept.len()).ok()?;
    value = value.checked_mul(10_i128.checked_pow(missing)?)?;
    let limit = 10_i128.checked_pow(u32::from(digits))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// A decimal value as text.
#[cfg(test)]
fn written(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("12.5", 10, 2, Some(1250))]
    #[case("-0.01", 10, 2, Some(-1))]
    #[case(".5", 10, 2, Some(50))]
    #[case("7.", 10, 0, Some(7))]
    #[case("00042", 5, 0, Some(42))]
    #[case("1.10", 10, 1, Some(11))]
    #[case::more_decimals_than_the_scale("1.11", 10, 1, None)]
    #[case::more_digits_than_there_is_room_for("1000", 3, 0, None)]
    #[case::largest(
        "99999999999999999999999999999999999999",
        38,
        0,
        Some(99_999_999_999_999_999_999_999_999_999_999_999_999)
    )]
    #[case::one_digit_more("100000000000000000000000000000000000000", 38, 0, None)]
    #[case::far_more("9999999999999999999999999999999999999999999999", 38, 0, None)]
    #[case("", 10, 0, None)]
    #[case("-", 10, 0, None)]
    #[case(".", 10, 0, None)]
    #[case("1e5", 10, 0, None)]
    #[case("NaN", 10, 0, None)]
    #[case("1.2.3", 10, 4, None)]
    fn decimal_text_is_taken_exactly_or_not_at_all(
        #[case] text: &str,
        #[case] digits: u8,
        #[case] scale: u8,
        #[case] expected: Option<i128>,
    ) {
        assert_eq!(scaled(text.as_bytes(), digits, scale), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_u8..=38) {
            prop_assert_eq!(scaled(written(value, scale).as_bytes(), 38, scale), Some(value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), digits in 1_u8..=38, scale in 0_u8..=38) {
            let _ = scaled(&bytes, digits, scale);
        }
    }
}

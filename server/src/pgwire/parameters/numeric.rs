use bytes::{Buf, Bytes};
use datafusion::scalar::ScalarValue;

/// Groups of a numeric that are read, so that a few bytes cannot ask for gigabytes of zeros.
const GROUPS: i64 = 2_000;

/// Reads groups of four decimal digits, as `values::numeric` writes them.
pub(super) fn read(mut value: Bytes) -> Option<ScalarValue> {
    if value.len() < 8 {
        return None;
    }
    let (count, weight) = (usize::from(value.get_u16()), i64::from(value.get_i16()));
    let (sign, scale) = (value.get_u16(), usize::from(value.get_u16()));
    if sign == 0xC000 {
        return Some(ScalarValue::Float64(Some(f64::NAN)));
    }
    // Others are infinities, which no decimal is.
    if sign != 0 && sign != 0x4000 {
        return None;
    }
    if value.len() != 2 * count || weight.abs() > GROUPS {
        return None;
    }
    let groups: Vec<u16> = (0..count).map(|_| value.get_u16()).collect();
    let group =
        |place: i64| usize::try_from(weight - place).ok().and_then(|at| groups.get(at)).copied().unwrap_or_default();
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    text.push_str(&(0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect::<String>());
    if scale > 0 {
        let fraction: String = (1..=scale.div_ceil(4) as i64).map(|place| format!("{:04}", group(-place))).collect();
        text.push('.');
        text.push_str(fraction.get(..scale)?);
    }
    Some(of_text(&text).unwrap_or(ScalarValue::Utf8(Some(text))))
}

/// A number with as many digits after the point as are written; `None` for one that is written otherwise, or too long.
pub(super) fn of_text(text: &str) -> Option<ScalarValue> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i16>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let zeros = if digits.is_empty() { 0 } else { usize::try_from(-scale).unwrap_or(0) };
    if digits.len() + zeros > 38 || scale > 38 {
        return None;
    }
    let number: i128 = if digits.is_empty() { 0 } else { format!("{digits}{}", "0".repeat(zeros)).parse().ok()? };
    Some(ScalarValue::Decimal128(Some(sign * number), 38, i8::try_from(scale.max(0)).ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rstest::rstest;

    use super::*;
    use crate::pgwire::values;

    #[rstest]
    #[case("0", 0, 0)]
    #[case("-12345.678", -12_345_678, 3)]
    #[case("0.0001", 1, 4)]
    #[case("1000000", 1_000_000, 0)]
    fn a_numeric_is_read_as_it_was_written(#[case] text: &str, #[case] number: i128, #[case] scale: i8) {
        let mut out = BytesMut::new();
        values::numeric(text, &mut out);
        let expected = Some(ScalarValue::Decimal128(Some(number), 38, scale));
        assert_eq!(read(out.freeze()), expected);
        assert_eq!(of_text(text), expected);
    }

    #[rstest]
    #[case("1e3", 1_000, 0)]
    #[case("-1.25E+1", -125, 1)]
    #[case("5E-7", 5, 7)]
    #[case("0e300", 0, 0)]
    fn a_power_of_ten_is_read(#[case] text: &str, #[case] number: i128, #[case] scale: i8) {
        assert_eq!(of_text(text), Some(ScalarValue::Decimal128(Some(number), 38, scale)));
    }

    #[rstest]
    #[case(0xD000)]
    #[case(0xF000)]
    fn an_infinity_is_refused(#[case] sign: u16) {
        let parts = [0, 0, sign, 0].map(u16::to_be_bytes).concat();
        assert_eq!(read(Bytes::from(parts)), None);
    }

    #[rstest]
    #[case("")]
    #[case("-")]
    #[case("1e")]
    #[case("1e40")]
    #[case("e3")]
    #[case("NaN")]
    #[case("1.2.3")]
    #[case("999999999999999999999999999999999999999")]
    fn what_is_written_otherwise_is_left(#[case] text: &str) {
        assert_eq!(of_text(text), None);
    }
}

//! PostgreSQL's binary NUMERIC to a scaled integer, exactly.
//!
//! The form (PostgreSQL source, `numeric_send`): digit count, weight of the first digit, sign, display scale, all 16 bit;
//! then digits of base 10,000. The value is the sum of `digit[i] * 10000^(weight - i)`.

const NEGATIVE: u16 = 0x4000;

/// `value * 10^scale`, or `None` where it is NaN, infinite, has more decimals than `scale`, or does not fit 38 digits.
pub(super) fn scaled(bytes: &[u8], scale: u8) -> Option<i128> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let count = usize::from(word(0)?);
    let weight = i32::from(i16::from_be_bytes(word(2)?.to_be_bytes()));
    let sign = word(4)?;
    if sign != 0 && sign != NEGATIVE {
        return None;
    }
    let mut value: i128 = 0;
    for i in 0..count {
        let digit = i128::from(word(8 + 2 * i)?);
        // Power of ten of this digit's last place, after scaling.
        let power = 4 * (weight - i32::try_from(i).ok()?) + i32::from(scale);
        let part = if power >= 0 {
            digit.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)?
        } else {
            let divisor = 10_i128.checked_pow(power.unsigned_abs())?;
            if digit % divisor != 0 {
                return None;
            }
            digit / divisor
        };
        value = value.checked_add(part)?;
    }
    let limit = 10_i128.pow(38);
    (value < limit).then_some(if sign == NEGATIVE { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn numeric(weight: i16, sign: u16, dscale: u16, digits: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(digits.len()).unwrap().to_be_bytes());
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(dscale.to_be_bytes());
        for digit in digits {
            bytes.extend(digit.to_be_bytes());
        }
        bytes
    }

    #[rstest]
    #[case::zero(numeric(0, 0, 0, &[]), 2, Some(0))]
    #[case::twelve_and_a_half(numeric(0, 0, 1, &[12, 5000]), 2, Some(1250))]
    #[case::negative_cents(numeric(-1, NEGATIVE, 2, &[100]), 2, Some(-1))]
    #[case::large(numeric(2, 0, 0, &[1, 2345, 6789]), 0, Some(123_456_789))]
    #[case::trailing_zero_digits_left_out(numeric(1, 0, 0, &[3]), 0, Some(30_000))]
    #[case::more_decimals_than_the_scale(numeric(0, 0, 3, &[1, 1230]), 2, None)]
    #[case::not_a_number(numeric(0, 0xC000, 0, &[]), 2, None)]
    #[case::cut(vec![0, 1], 2, None)]
    fn binary_numerics_scale_exactly(#[case] bytes: Vec<u8>, #[case] scale: u8, #[case] expected: Option<i128>) {
        assert_eq!(scaled(&bytes, scale), expected);
    }
}

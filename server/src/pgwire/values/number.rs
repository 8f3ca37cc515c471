use std::fmt::{self, Write};

/// A number as PostgreSQL writes it: the shortest text that reads back as the same, with an exponent below 0.0001 and from
/// `10^limit` on.
pub(super) fn float(value: impl fmt::LowerExp + Into<f64> + Copy, limit: i32, out: &mut impl Write) -> fmt::Result {
    let wide: f64 = value.into();
    if wide.is_nan() {
        return out.write_str("NaN");
    }
    if wide.is_infinite() {
        return out.write_str(if wide > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    out.write_str(sign)?;
    if !(-4..limit).contains(&exponent) {
        let mark = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{digits}e{mark}{:02}", exponent.abs());
    }
    let digits: String = digits.chars().filter(|c| *c != '.').collect();
    match usize::try_from(exponent) {
        Ok(exponent) if digits.len() <= exponent + 1 => {
            write!(out, "{digits}{}", "0".repeat(exponent + 1 - digits.len()))
        }
        Ok(exponent) => {
            let (whole, rest) = digits.split_at(exponent + 1);
            write!(out, "{whole}.{rest}")
        }
        Err(_) => write!(out, "0.{}{digits}", "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0.0, "0")]
    #[case(-0.0, "-0")]
    #[case(1.0, "1")]
    #[case(-1.5, "-1.5")]
    #[case(100.0, "100")]
    #[case(123_456_789.125, "123456789.125")]
    #[case(0.0001, "0.0001")]
    #[case(0.00001, "1e-05")]
    #[case(1e14, "100000000000000")]
    #[case(1e15, "1e+15")]
    #[case(1.25e300, "1.25e+300")]
    #[case(f64::NAN, "NaN")]
    #[case(f64::NEG_INFINITY, "-Infinity")]
    fn a_number_is_written_as_postgresql_writes_it(#[case] value: f64, #[case] expected: &str) {
        let mut text = String::new();
        float(value, 15, &mut text).unwrap();
        assert_eq!(text, expected);
    }
}

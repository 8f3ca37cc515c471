use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, StringArray},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
};
use datafusion::common::{Result, exec_err};

use super::{call::Call, call::Takes, steady};

pub(super) fn functions() -> Vec<Call> {
    vec![
        steady("pmod").takes(&[Takes::Integer, Takes::Integer], 2).gives(DataType::Int64, |args, _| pmod(args)),
        steady("format_number")
            .takes(&[Takes::Number, Takes::Whole], 2)
            .gives(DataType::Utf8, |args, _| format_number(args)),
    ]
}

/// The rest that is never negative; NULL for a divisor of 0.
fn pmod(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [numbers, divisors] = args else { return exec_err!("two numbers are needed") };
    let pairs = numbers.as_primitive::<Int64Type>().iter().zip(divisors.as_primitive::<Int64Type>().iter());
    Ok(Arc::new(pairs.map(|(number, divisor)| number?.checked_rem_euclid(divisor?)).collect::<Int64Array>()))
}

/// `1,234.50`: that many digits after the point, commas between thousands.
fn format_number(args: &[ArrayRef]) -> Result<ArrayRef> {
    const MOST: i64 = 30;
    let [numbers, digits] = args else { return exec_err!("a number and its digits are needed") };
    let digits = digits.as_primitive::<Int64Type>().iter();
    let digits = digits.map(|digits| usize::try_from(digits?.min(MOST)).ok());
    let texts: StringArray = if *numbers.data_type() == DataType::Float64 {
        let pairs = numbers.as_primitive::<Float64Type>().iter().zip(digits);
        pairs.map(|(number, digits)| Some(of_double(number?, digits?))).collect()
    } else {
        let plain = cast(numbers, &DataType::Utf8)?;
        plain.as_string::<i32>().iter().zip(digits).map(|(number, digits)| Some(of_exact(number?, digits?))).collect()
    };
    Ok(Arc::new(texts))
}

/// As Java formats a double: of the digits that tell it from its neighbours, rounded by its exact value; half goes to even.
fn of_double(number: f64, digits: usize) -> String {
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return format!("{sign}∞");
    }
    let shortest = number.abs().to_string();
    let after_point = shortest.split_once('.').map_or(0, |(_, rest)| rest.len());
    let plain = if after_point > digits { format!("{:.digits$}", number.abs()) } else { filled(&shortest, digits) };
    format!("{sign}{}", grouped(&plain))
}

/// Of a number as it is written, rounded half to even.
fn of_exact(number: &str, digits: usize) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (units, rest) = number.split_once('.').unwrap_or((number, ""));
    if rest.len() <= digits {
        return format!("{sign}{}", grouped(&filled(number, digits)));
    }
    let (kept, cut) = rest.split_at(digits);
    let mut all: Vec<u8> = units.bytes().chain(kept.bytes()).collect();
    let half = "5".cmp(cut.get(..1).unwrap_or_default());
    let is_tie = half.is_eq() && cut.bytes().skip(1).all(|digit| digit == b'0');
    let is_odd = all.last().is_some_and(|digit| digit % 2 == 1);
    if half.is_lt() || half.is_eq() && (!is_tie || is_odd) {
        let nines = all.iter().rev().take_while(|digit| **digit == b'9').count();
        let kept = all.len() - nines;
        let (front, back) = all.split_at_mut(kept);
        back.fill(b'0');
        match front.last_mut() {
            Some(digit) => *digit += 1,
            None => all.insert(0, b'1'),
        }
    }
    let text: String = all.into_iter().map(char::from).collect();
    let (units, kept) = text.split_at(text.len() - digits);
    let point = if digits > 0 { "." } else { "" };
    format!("{sign}{}", grouped(&format!("{units}{point}{kept}")))
}

/// With noughts up to that many digits after the point.
fn filled(number: &str, digits: usize) -> String {
    let (units, rest) = number.split_once('.').unwrap_or((number, ""));
    if digits == 0 { units.to_owned() } else { format!("{units}.{rest:0<digits$}") }
}

fn grouped(plain: &str) -> String {
    let (units, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::with_capacity(plain.len() + plain.len() / 3 + 1);
    for (place, digit) in units.chars().enumerate() {
        if place > 0 && (units.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push_str(rest);
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // What Hive's own class answers.
    #[rstest]
    #[case(1234.5678, 2, "1,234.57")]
    #[case(2.5, 0, "2")]
    #[case(1.5, 0, "2")]
    #[case(0.125, 2, "0.12")]
    #[case(0.135, 2, "0.14")]
    #[case(1.005, 2, "1.00")]
    #[case(2.675, 2, "2.67")]
    #[case(-0.001, 2, "-0.00")]
    #[case(0.1, 20, "0.10000000000000000000")]
    #[case(f64::from(0.1_f32), 10, "0.1000000015")]
    #[case(1e20, 2, "100,000,000,000,000,000,000.00")]
    #[case(f64::INFINITY, 1, "∞")]
    #[case(f64::NAN, 1, "NaN")]
    fn a_double_is_written_as_java_writes_it(#[case] number: f64, #[case] digits: usize, #[case] expected: &str) {
        assert_eq!(of_double(number, digits), expected);
    }

    #[test]
    fn digits_that_a_double_does_not_have_are_noughts() {
        let text = of_double(f64::MAX, 0);
        assert!(text.starts_with("179,769,313,486,231,570,000,000"), "{text}");
    }

    #[rstest]
    #[case("9007199254740993", 0, "9,007,199,254,740,993")]
    #[case("-12345678901234567.89", 2, "-12,345,678,901,234,567.89")]
    #[case("12345678901234567890.125", 2, "12,345,678,901,234,567,890.12")]
    #[case("0.135", 2, "0.14")]
    #[case("0.1251", 2, "0.13")]
    #[case("2.5", 0, "2")]
    #[case("999.95", 1, "1,000.0")]
    #[case("999.5", 0, "1,000")]
    #[case("7", 2, "7.00")]
    fn a_decimal_keeps_its_digits(#[case] number: &str, #[case] digits: usize, #[case] expected: &str) {
        assert_eq!(of_exact(number, digits), expected);
    }
}

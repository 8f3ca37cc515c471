use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, StringArray},
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
    let pairs = numbers.as_primitive::<Float64Type>().iter().zip(digits.as_primitive::<Int64Type>().iter());
    let texts = pairs.map(|(number, digits)| {
        let (number, digits) = (number?, usize::try_from(digits?.min(MOST)).ok()?);
        let plain = format!("{:.digits$}", number.abs());
        let (units, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
        let mut grouped = String::with_capacity(plain.len() + plain.len() / 3 + 1);
        for (place, digit) in units.chars().enumerate() {
            if place > 0 && (units.len() - place) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let zero = plain.chars().all(|digit| matches!(digit, '0' | '.'));
        Some(format!("{}{grouped}{rest}", if number < 0.0 && !zero { "-" } else { "" }))
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

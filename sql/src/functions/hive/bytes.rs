//! Digests, and numbers and bytes in other notations.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, BinaryArray, Int64Array, StringArray},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use datafusion::common::{Result, exec_err};
use ring::digest;
use sha2::{Digest, Sha224};

use super::{
    call::{Call, Takes},
    steady,
};

pub(super) fn functions() -> Vec<Call> {
    const BYTES: &[Takes] = &[Takes::Bytes];
    const WHOLE: &[Takes] = &[Takes::Integer];
    vec![
        steady("sha1").alias(&["sha"]).takes(BYTES, 1).gives(DataType::Utf8, |args, _| {
            texts(args, |bytes| {
                Some(hexadecimal(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref(), false))
            })
        }),
        steady("sha2").takes(&[Takes::Bytes, Takes::Whole], 2).gives(DataType::Utf8, |args, _| sha2(args)),
        steady("crc32").takes(BYTES, 1).gives(DataType::Int64, |args, _| {
            let [values] = args else { return exec_err!("a value is needed") };
            Ok(Arc::new(bytes(values)?.iter().map(|value| value.map(crc32)).collect::<Int64Array>()))
        }),
        steady("base64")
            .takes(BYTES, 1)
            .gives(DataType::Utf8, |args, _| texts(args, |bytes| Some(BASE64_STANDARD.encode(bytes)))),
        steady("unbase64")
            .takes(&[Takes::Text], 1)
            .gives(DataType::Binary, |args, _| binaries(args, |text| BASE64_STANDARD.decode(text.trim()).ok())),
        steady("unhex").takes(&[Takes::Text], 1).gives(DataType::Binary, |args, _| binaries(args, unhex)),
        steady("hex").takes(&[Takes::Anything], 1).gives(DataType::Utf8, |args, rows| match args {
            [numbers] if numbers.data_type().is_integer() => numbered(numbers, |number| format!("{number:X}")),
            _ => hex(args, rows),
        }),
        steady("bin").takes(WHOLE, 1).gives(DataType::Utf8, |args, _| match args {
            [numbers] => numbered(numbers, |number| format!("{number:b}")),
            _ => exec_err!("a number is needed"),
        }),
        steady("conv").takes(&[Takes::Text, Takes::Whole, Takes::Whole], 3).gives(DataType::Utf8, |args, _| conv(args)),
    ]
}

/// The bytes of each value; of text those of UTF-8.
fn bytes(values: &ArrayRef) -> Result<BinaryArray> {
    Ok(cast(values, &DataType::Binary)?.as_binary::<i32>().clone())
}

fn texts(args: &[ArrayRef], of: fn(&[u8]) -> Option<String>) -> Result<ArrayRef> {
    let [values, ..] = args else { return exec_err!("a value is needed") };
    Ok(Arc::new(bytes(values)?.iter().map(|value| of(value?)).collect::<StringArray>()))
}

fn binaries(args: &[ArrayRef], of: fn(&str) -> Option<Vec<u8>>) -> Result<ArrayRef> {
    let [values, ..] = args else { return exec_err!("a text is needed") };
    Ok(Arc::new(values.as_string::<i32>().iter().map(|text| of(text?)).collect::<BinaryArray>()))
}

/// Of a number's 64 bits, as Hive counts them.
fn numbered(numbers: &ArrayRef, of: fn(u64) -> String) -> Result<ArrayRef> {
    let numbers = cast(numbers, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    Ok(Arc::new(numbers.map(|number| number.map(|number| of(number.cast_unsigned()))).collect::<StringArray>()))
}

fn hex(args: &[ArrayRef], _: usize) -> Result<ArrayRef> {
    let [values] = args else { return exec_err!("a value is needed") };
    let is_binary = matches!(values.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let values = if is_binary { Arc::clone(values) } else { cast(values, &DataType::Utf8)? };
    texts(&[values], |bytes| Some(hexadecimal(bytes, true)))
}

fn hexadecimal(bytes: &[u8], upper: bool) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String does not fail.
        if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") }.unwrap_or_default();
    }
    out
}

/// An odd number of digits begins with a nought.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let begin = digits.len() % 2;
    let first = digits.get(..begin)?.first().copied();
    let pairs = digits.get(begin..)?.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit));
    first.into_iter().chain(pairs).map(|byte| u8::try_from(byte).ok()).collect()
}

/// The digest of SHA-2 with so many bits; 0 is 256, NULL for others that it does not have.
fn sha2(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [values, lengths] = args else { return exec_err!("a value and a number of bits are needed") };
    let of = |bytes: &[u8], bits: i64| match bits {
        224 => Some(hexadecimal(&Sha224::digest(bytes), false)),
        0 | 256 => Some(hexadecimal(&sha2::Sha256::digest(bytes), false)),
        384 => Some(hexadecimal(&sha2::Sha384::digest(bytes), false)),
        512 => Some(hexadecimal(&sha2::Sha512::digest(bytes), false)),
        _ => None,
    };
    let values = bytes(values)?;
    let pairs = values.iter().zip(lengths.as_primitive::<Int64Type>().iter());
    Ok(Arc::new(pairs.map(|(value, bits)| of(value?, bits?)).collect::<StringArray>()))
}

/// The check sum of zip and PNG.
fn crc32(bytes: &[u8]) -> i64 {
    let rest = bytes.iter().fold(u32::MAX, |rest, byte| {
        (0..8).fold(rest ^ u32::from(*byte), |rest, _| (rest >> 1) ^ if rest & 1 == 1 { 0xEDB8_8320 } else { 0 })
    });
    i64::from(!rest)
}

fn conv(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [numbers, from, to] = args else { return exec_err!("a number and two bases are needed") };
    let bases = from.as_primitive::<Int64Type>().iter().zip(to.as_primitive::<Int64Type>().iter());
    let answers = numbers.as_string::<i32>().iter().zip(bases);
    Ok(Arc::new(answers.map(|(number, (from, to))| converted(number?, from?, to?)).collect::<StringArray>()))
}

/// A number in another base, up to its first letter that is no digit; to a negative base with a sign, else as 64 bits. `None`
/// for no digits, for bases that are not between 2 and 36, and for more than 64 bits.
fn converted(number: &str, from: i64, to: i64) -> Option<String> {
    let base = |base: i64| u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
    let (from, signed, to) = (base(from)?, to < 0, base(to.checked_abs()?)?);
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
    let mut digits = digits.chars().map_while(|digit| digit.to_digit(from)).peekable();
    digits.peek()?;
    let value = digits.try_fold(0_u64, |sum, digit| sum.checked_mul(u64::from(from))?.checked_add(u64::from(digit)))?;
    let value = if negative { value.wrapping_neg() } else { value };
    let (sign, mut rest) = match value.cast_signed() {
        below if signed && below < 0 => ("-", below.unsigned_abs()),
        _ => ("", value),
    };
    let mut reversed = Vec::new();
    loop {
        let digit = u32::try_from(rest % u64::from(to)).ok()?;
        reversed.push(char::from_digit(digit, to)?.to_ascii_uppercase());
        rest /= u64::from(to);
        if rest == 0 {
            break;
        }
    }
    Some(sign.chars().chain(reversed.into_iter().rev()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // What Hive's own class answers.
    #[rstest]
    #[case("ff", 16, 10, Some("255"))]
    #[case("-1", 10, 16, Some("FFFFFFFFFFFFFFFF"))]
    #[case("-1", 10, -16, Some("-1"))]
    #[case("-15", 10, 16, Some("FFFFFFFFFFFFFFF1"))]
    #[case("zz", 36, 10, Some("1295"))]
    #[case("12x", 10, 16, Some("C"))]
    #[case("0", 10, 2, Some("0"))]
    #[case("15", 10, 40, None)]
    #[case("", 10, 16, None)]
    #[case("99999999999999999999", 10, 16, None)]
    fn a_number_is_converted(#[case] number: &str, #[case] from: i64, #[case] to: i64, #[case] expected: Option<&str>) {
        assert_eq!(converted(number, from, to).as_deref(), expected);
    }

    #[rstest]
    #[case("616263", Some(b"abc".as_slice()))]
    #[case("6", Some(b"\x06".as_slice()))]
    #[case("", Some(b"".as_slice()))]
    #[case("zz", None)]
    fn digits_are_bytes(#[case] text: &str, #[case] expected: Option<&[u8]>) {
        assert_eq!(unhex(text).as_deref(), expected);
    }

    #[test]
    fn a_check_sum_is_that_of_zip() {
        assert_eq!(crc32(b"ABC"), 2_743_272_264);
    }
}

//! Numbers that JSON has no word for: texts, as PostgreSQL writes them, so that nobody takes them for nulls.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray},
    datatypes::{DataType, FieldRef, Float32Type, Float64Type},
    error::ArrowError,
    json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder},
};

/// How values are written in JSON and CSV.
pub(super) fn options() -> EncoderOptions {
    EncoderOptions::default().with_encoder_factory(encoder_factory())
}

/// What writes such numbers.
pub(crate) fn encoder_factory() -> Arc<dyn EncoderFactory> {
    Arc::new(Floats)
}

#[derive(Debug)]
struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(match array.data_type() {
            DataType::Float32 => odd(array.as_primitive::<Float32Type>()),
            DataType::Float64 => odd(array.as_primitive::<Float64Type>()),
            _ => None,
        })
    }
}

/// An encoder where there are such numbers; the usual one is faster.
fn odd<T: ArrowPrimitiveType<Native: Into<f64>>>(numbers: &PrimitiveArray<T>) -> Option<NullableEncoder<'_>> {
    let is_plain = |value: &T::Native| {
        let number: f64 = (*value).into();
        number.is_finite()
    };
    if numbers.values().iter().all(is_plain) {
        return None;
    }
    Some(NullableEncoder::new(Box::new(Odd { numbers }), numbers.nulls().cloned()))
}

struct Odd<'a, T: ArrowPrimitiveType> {
    numbers: &'a PrimitiveArray<T>,
}

impl<T: ArrowPrimitiveType<Native: Into<f64>>> Encoder for Odd<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.numbers.value(row);
        let number: f64 = value.into();
        let text = match number {
            number if number.is_nan() => "\"NaN\"".to_owned(),
            f64::INFINITY => "\"Infinity\"".to_owned(),
            f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
            _ => format!("{value:?}"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Float32Array, Float64Array},
        datatypes::Field,
        json::writer::make_encoder,
    };
    use rstest::rstest;

    #[rstest]
    #[case(Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY])), r#"1.5 "NaN" "Infinity""#)]
    #[case(Arc::new(Float64Array::from(vec![1.0, 1e300, f64::NEG_INFINITY])), r#"1.0 1e300 "-Infinity""#)]
    #[case(Arc::new(Float32Array::from(vec![0.1, f32::NAN, 2.0])), r#"0.1 "NaN" 2.0"#)]
    #[case(Arc::new(Float64Array::from(vec![0.5, 0.25, 2.0])), "0.5 0.25 2.0")]
    fn what_json_has_no_number_for_is_a_text(#[case] numbers: ArrayRef, #[case] expected: &str) {
        let (options, field) = (options(), Arc::new(Field::new("x", numbers.data_type().clone(), true)));
        let mut encoder = make_encoder(&field, numbers.as_ref(), &options).unwrap();
        let texts = (0..numbers.len()).map(|row| {
            let mut out = Vec::new();
            encoder.encode(row, &mut out);
            String::from_utf8(out).unwrap()
        });
        assert_eq!(texts.collect::<Vec<_>>().join(" "), expected);
    }
}

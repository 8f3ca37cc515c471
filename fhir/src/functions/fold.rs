use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, AsArray, StringBuilder},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    common::{Result, exec_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Text as string searches compare it (R4 search, 3.1.1.4.8): lower case, accents and other marks left out.
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    let mut out = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase) {
        match c {
            'œ' => out.push_str("oe"),
            'æ' => out.push_str("ae"),
            'ß' => out.push_str("ss"),
            'ø' => out.push('o'),
            'ł' => out.push('l'),
            'đ' => out.push('d'),
            // lower-casing can bring marks back (`İ`)
            c if is_combining_mark(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fold {
    signature: Signature,
}

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(Fold { signature: Signature::string(1, Volatility::Immutable) })
}

impl ScalarUDFImpl for Fold {
    fn name(&self) -> &'static str {
        "fhir_fold"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text] = args.args.as_slice() else { return exec_err!("fhir_fold takes one text") };
        let text = cast(&text.to_array(args.number_rows)?, &DataType::Utf8)?;
        let mut out = StringBuilder::with_capacity(text.len(), text.len() * 8);
        for text in text.as_string::<i32>() {
            out.append_option(text.map(fold));
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

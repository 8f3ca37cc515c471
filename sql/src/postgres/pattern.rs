//! Patterns of LIKE and SIMILAR TO as the engine has them.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    datatypes::DataType,
};
use datafusion::{
    common::{DataFusionError, Result},
    logical_expr::{ScalarUDF, Volatility},
};

use super::functions::{Takes, made};
use crate::Error;

/// Puts the patterns of LIKE and SIMILAR TO that are known only when a query runs, by the names that PostgreSQL has.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    use Takes::Text;
    let steady = Volatility::Immutable;
    vec![
        made(LIKE, &[Text; 2], 2, DataType::Utf8, steady, |arrays, rows| put(arrays, rows, like)),
        made(SIMILAR, &[Text; 2], 1, DataType::Utf8, steady, |arrays, rows| put(arrays, rows, similar)),
    ]
}

pub(super) const LIKE: &str = "like_escape";
pub(super) const SIMILAR: &str = "similar_to_escape";

fn put(arrays: &[ArrayRef], rows: usize, each: impl Fn(&str, Option<char>) -> String) -> Result<ArrayRef> {
    let texts: Vec<&StringArray> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
    let text = |number: usize, row: usize| {
        let array = texts.get(number).filter(|array| array.is_valid(row));
        array.map(|array| array.value(row))
    };
    let patterns = (0..rows).map(|row| {
        let Some(pattern) = text(0, row) else { return Ok(None) };
        if texts.len() == 1 {
            return Ok(Some(each(pattern, Some('\\'))));
        }
        let Some(sign) = text(1, row) else { return Ok(None) };
        let mut signs = sign.chars();
        match (signs.next(), signs.next()) {
            (sign, None) => Ok(Some(each(pattern, sign))),
            _ => Err(DataFusionError::External(Box::new(Error::Value {
                message: "an escape sign is one letter, or none".to_owned(),
            }))),
        }
    });
    Ok(Arc::new(patterns.collect::<Result<StringArray>>()?))
}

/// A pattern whose sign before a letter that means itself is another one, or none, with a backslash, the only one that the
/// engine has.
pub(super) fn like(pattern: &str, sign: Option<char>) -> String {
    let mut put = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if Some(letter) == sign {
            put.push('\\');
            put.extend(letters.next());
        } else if letter == '\\' {
            put.push_str("\\\\");
        } else {
            put.push(letter);
        }
    }
    put
}

/// The regular expression that a pattern of SIMILAR TO means (manual, section 9.7.2): it is about the whole text, `%` and `_`
/// are those of LIKE, and a point, a caret and a dollar mean themselves.
pub(super) fn similar(pattern: &str, sign: Option<char>) -> String {
    let mut put = String::from("(?s)^(?:");
    let mut letters = pattern.chars();
    let mut in_brackets = false;
    // Whether a `-` within brackets means itself: it is the first there, or ends a range.
    let mut is_plain = false;
    while let Some(letter) = letters.next() {
        if Some(letter) == sign {
            is_plain = false;
            match letters.next() {
                // Classes such as `\d`.
                Some(next) if next.is_ascii_alphanumeric() => put.extend(['\\', next]),
                Some(next) => put.push_str(&regex::escape(&next.to_string())),
                None => {}
            }
            continue;
        }
        match letter {
            '\\' => {
                is_plain = false;
                put.push_str("\\\\");
            }
            ']' if in_brackets => {
                in_brackets = false;
                put.push(']');
            }
            '^' if in_brackets && is_plain && put.ends_with('[') => put.push('^'),
            letter if in_brackets => {
                // These, doubled, are operations of sets in the engine.
                if matches!(letter, '&' | '~') || (letter == '-' && is_plain) {
                    put.push('\\');
                }
                put.push(letter);
                is_plain = letter == '-' && !is_plain;
            }
            '[' => {
                in_brackets = true;
                is_plain = true;
                put.push('[');
            }
            '%' => put.push_str(".*"),
            '_' => put.push('.'),
            '(' => put.push_str("(?:"),
            '.' | '^' | '$' => put.extend(['\\', letter]),
            letter => put.push(letter),
        }
    }
    put.push_str(")$");
    put
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a!_b!!%", Some('!'), "a\\_b\\!%")]
    #[case("a\\b", Some('!'), "a\\\\b")]
    #[case("a\\%", None, "a\\\\%")]
    #[case("a\\%", Some('\\'), "a\\%")]
    fn a_pattern_has_a_backslash(#[case] pattern: &str, #[case] sign: Option<char>, #[case] expected: &str) {
        assert_eq!(like(pattern, sign), expected);
    }

    /// As PostgreSQL 15 answers.
    #[rstest]
    #[case("abc", "%(b|d)%", true)]
    #[case("abc", "(b|c)%", false)]
    #[case("abc", "abc", true)]
    #[case("abcd", "abc", false)]
    #[case("a.c", "a.c", true)]
    #[case("abc", "a.c", false)]
    #[case("abc", "a_c", true)]
    #[case("a_c", "a\\_c", true)]
    #[case("abc", "a\\_c", false)]
    #[case("abc", "a[a-c]{1}c", true)]
    #[case("a%c", "a[%]c", true)]
    #[case("a\nb", "a%b", true)]
    #[case("a7", "a\\d", true)]
    #[case("&", "[a&&b]", true)]
    #[case("a", "[a&&b]", true)]
    #[case("~", "[a~~b]", true)]
    #[case(",", "[+--]", true)]
    #[case("/", "[--a]", true)]
    #[case("-", "[^-]", false)]
    fn a_text_is_similar_to(#[case] text: &str, #[case] pattern: &str, #[case] is: bool) {
        assert_eq!(regex::Regex::new(&similar(pattern, Some('\\'))).unwrap().is_match(text), is);
    }
}

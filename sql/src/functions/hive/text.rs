use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringArray, StringBuilder},
    datatypes::{DataType, Int64Type},
};
use datafusion::common::{Result, exec_err};

use super::{
    call::{Call, Takes, mistake},
    json::Path,
    steady,
};

pub(super) fn functions() -> Vec<Call> {
    vec![
        steady("get_json_object")
            .takes(&[Takes::Text, Takes::Text], 2)
            .gives(DataType::Utf8, |args, _| get_json_object(args)),
        steady("locate")
            .takes(&[Takes::Text, Takes::Text, Takes::Whole], 2)
            .gives(DataType::Int32, |args, _| locate(args)),
        steady("lcase").takes(&[Takes::Text], 1).gives(DataType::Utf8, |args, _| changed(args, str::to_lowercase)),
        steady("ucase").takes(&[Takes::Text], 1).gives(DataType::Utf8, |args, _| changed(args, str::to_uppercase)),
        steady("soundex").takes(&[Takes::Text], 1).gives(DataType::Utf8, |args, _| {
            let [texts] = args else { return exec_err!("a text is needed") };
            Ok(Arc::new(texts.as_string::<i32>().iter().map(|text| soundex(text?)).collect::<StringArray>()))
        }),
        steady("space").takes(&[Takes::Whole], 1).gives(DataType::Utf8, |args, _| space(args)),
        steady("isnull").takes(&[Takes::Anything], 1).gives(DataType::Boolean, |args, _| is_null(args, true)),
        steady("isnotnull").takes(&[Takes::Anything], 1).gives(DataType::Boolean, |args, _| is_null(args, false)),
    ]
}

fn get_json_object(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, paths] = args else { return exec_err!("a text and a path are needed") };
    let mut last: Option<(String, Option<Path>)> = None;
    let mut answers = StringBuilder::new();
    for (text, path) in pairs(texts, paths) {
        let (Some(text), Some(path)) = (text, path) else {
            answers.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| known != path) {
            last = Some((path.to_owned(), Path::read(path)));
        }
        let found = last.as_ref().and_then(|(_, path)| path.as_ref()).and_then(|path| path.of(text));
        answers.append_option(found);
    }
    Ok(Arc::new(answers.finish()))
}

/// `locate(part, text, from)`: the place of the first, counted in characters from 1; 0 for none.
fn locate(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [parts, texts, rest @ ..] = args else { return exec_err!("two texts are needed") };
    let starts = rest.first().map(|starts| starts.as_primitive::<Int64Type>());
    let found = pairs(parts, texts).enumerate().map(|(row, (part, text))| {
        let (part, text) = (part?, text?);
        let from = starts.map_or(1, |starts| starts.value(row));
        let Some(skipped) = usize::try_from(from).ok().and_then(|from| from.checked_sub(1)) else { return Some(0) };
        let Some((begin, _)) = text.char_indices().nth(skipped).or((skipped == 0).then_some((0, ' '))) else {
            return Some(0);
        };
        let place = text.get(begin..)?.find(part).map(|at| text[..begin + at].chars().count() + 1);
        Some(place.and_then(|place| i32::try_from(place).ok()).unwrap_or(0))
    });
    Ok(Arc::new(found.collect::<Int32Array>()))
}

fn changed(args: &[ArrayRef], how: fn(&str) -> String) -> Result<ArrayRef> {
    let [texts] = args else { return exec_err!("a text is needed") };
    Ok(Arc::new(texts.as_string::<i32>().iter().map(|text| text.map(how)).collect::<StringArray>()))
}

fn space(args: &[ArrayRef]) -> Result<ArrayRef> {
    const MOST: i64 = 1 << 16;
    const ALL: i64 = 1 << 28;
    let [counts] = args else { return exec_err!("a number is needed") };
    if counts.as_primitive::<Int64Type>().iter().flatten().map(|count| count.clamp(0, MOST)).sum::<i64>() > ALL {
        return mistake("space() makes too long texts");
    }
    let blanks = |count: i64| " ".repeat(usize::try_from(count.clamp(0, MOST)).unwrap_or_default());
    Ok(Arc::new(counts.as_primitive::<Int64Type>().iter().map(|count| count.map(blanks)).collect::<StringArray>()))
}

fn is_null(args: &[ArrayRef], wanted: bool) -> Result<ArrayRef> {
    let [values] = args else { return exec_err!("a value is needed") };
    let nulls = values.logical_nulls();
    let is = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) == wanted;
    Ok(Arc::new((0..values.len()).map(|row| Some(is(row))).collect::<BooleanArray>()))
}

pub(super) fn pairs<'a>(
    one: &'a ArrayRef,
    other: &'a ArrayRef,
) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    one.as_string::<i32>().iter().zip(other.as_string::<i32>().iter())
}

/// A letter and three digits for how an English name sounds; `None` for letters that English does not have.
fn soundex(text: &str) -> Option<String> {
    const DIGITS: &[u8; 26] = b"01230120022455012623010202";
    let mut letters = text.chars().filter(|letter| letter.is_alphabetic()).map(|letter| letter.to_ascii_uppercase());
    let digit = |letter: char| DIGITS.get((letter as usize).checked_sub('A' as usize)?).map(|digit| char::from(*digit));
    let Some(first) = letters.next() else { return Some(String::new()) };
    let (mut last, mut answer) = (digit(first)?, String::from(first));
    for letter in letters {
        let this = digit(letter)?;
        // (H and W do not stand between two letters that sound alike.)
        if matches!(letter, 'H' | 'W') {
            continue;
        }
        if this != '0' && this != last && answer.len() < 4 {
            answer.push(this);
        }
        last = this;
    }
    Some(format!("{answer:0<4}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // What Hive's own class answers.
    #[rstest]
    #[case("Miller", Some("M460"))]
    #[case("Ashcraft", Some("A261"))]
    #[case("Tymczak", Some("T522"))]
    #[case("12", Some(""))]
    #[case("", Some(""))]
    #[case("\u{c9}a", None)]
    fn a_name_sounds(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(soundex(name).as_deref(), expected);
    }
}

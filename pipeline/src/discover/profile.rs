//! Column profiles of a sample: formats and counts, never values.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use mavis_connectors::frame;
use polars::prelude::DataFrame;

use crate::{
    ColumnProfile,
    clean::{
        NULL_TOKENS,
        dates::{DateFormat, Parts},
        numbers,
    },
    failure::Failure,
};

/// Profiles every column of a sample, by name.
///
/// # Errors
/// When a column's type has no counterpart in polars.
pub(crate) fn profiles(sample: &[RecordBatch], year: i32) -> Result<BTreeMap<String, ColumnProfile>, Failure> {
    let mut frame: Option<DataFrame> = None;
    for batch in sample {
        let next = frame::from_batch(&with_counterparts(batch)?)?;
        match &mut frame {
            None => frame = Some(next),
            Some(frame) => {
                frame
                    .vstack_mut(&next)
                    .map_err(|_| Failure::permanent("the batches of a sample differ in their columns"))?;
            }
        }
    }
    let Some(frame) = frame else { return Ok(BTreeMap::new()) };
    let mut profiles = BTreeMap::new();
    for column in frame.columns() {
        let mut profile = match column.str() {
            Ok(texts) => text_profile(texts.iter(), year),
            Err(_) => ColumnProfile::default(),
        };
        profile.sampled = column.len() as u64;
        profile.nulls = profile.nulls.max(column.null_count() as u64);
        // Lists and structs cannot be counted; zero says so.
        profile.distinct = column.n_unique().unwrap_or(0) as u64;
        profiles.insert(column.name().to_string(), profile);
    }
    Ok(profiles)
}

/// The columns that polars has a type for; maps have none, and are described without a profile.
fn with_counterparts(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let mut kept = Vec::with_capacity(batch.num_columns());
    for column in 0..batch.num_columns() {
        if frame::from_batch(&batch.slice(0, 0).project(&[column])?).is_ok() {
            kept.push(column);
        }
    }
    Ok(if kept.len() == batch.num_columns() { batch.clone() } else { batch.project(&kept)? })
}

/// What the texts of a column look like.
pub(crate) fn text_profile<'a>(texts: impl Iterator<Item = Option<&'a str>>, year: i32) -> ColumnProfile {
    let mut profile = ColumnProfile { whole_numbers: true, ..ColumnProfile::default() };
    let mut tokens = BTreeSet::new();
    let mut formats: BTreeMap<DateFormat, u64> = BTreeMap::new();
    let mut values: u64 = 0;
    // Numbers as a decimal point and as a decimal comma reads them.
    let (mut pointed, mut comma, mut commas_seen) = (Numbers::default(), Numbers::default(), 0_u64);
    for text in texts {
        profile.sampled += 1;
        let Some(text) = text else {
            profile.nulls += 1;
            continue;
        };
        let trimmed = text.trim();
        profile.untrimmed += u64::from(trimmed.len() != text.len());
        if trimmed.len() <= 16 && NULL_TOKENS.contains(&trimmed.to_lowercase().as_str()) {
            tokens.insert(trimmed.to_owned());
            profile.nulls += 1;
            continue;
        }
        values += 1;
        profile.zero_led += u64::from(numbers::is_zero_led(trimmed));
        pointed.add(trimmed, false);
        commas_seen += u64::from(comma.add(trimmed, true));
        if let Some(parts) = Parts::of(trimmed) {
            let before = formats.values().sum::<u64>();
            for format in parts.formats(year) {
                *formats.entry(format).or_insert(0) += 1;
            }
            profile.times += u64::from(parts.has_time() && formats.values().sum::<u64>() > before);
        }
    }
    profile.null_tokens = tokens.into_iter().collect();
    if values == 0 {
        profile.whole_numbers = false;
        return profile;
    }
    let share = |count: u64| count as f64 / values as f64;
    let mut found: Vec<(DateFormat, u64)> = formats.into_iter().collect();
    found.sort_by_key(|(format, count)| (std::cmp::Reverse(*count), *format));
    profile.date_formats = found.into_iter().map(|(format, count)| (format.to_string(), share(count))).collect();
    profile.decimal_comma = commas_seen > 0 && comma.read > pointed.read;
    profile.open_comma = commas_seen > 0 && comma.read == pointed.read;
    let best = if profile.decimal_comma { comma } else { pointed };
    profile.numeric = share(best.read);
    profile.whole_numbers = best.read > 0 && best.whole == best.read;
    profile
}

#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    read: u64,
    whole: u64,
}

impl Numbers {
    /// Counts a text; whether a comma stood before its fraction.
    fn add(&mut self, text: &str, comma: bool) -> bool {
        let Some(number) = numbers::parse(text, comma) else { return false };
        // More than 15 digits are a code: no float tells them apart.
        if number.plain.bytes().filter(u8::is_ascii_digit).count() > 15 {
            return false;
        }
        self.read += 1;
        self.whole += u64::from(number.whole);
        number.comma
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[Option<&str>]) -> ColumnProfile {
        text_profile(texts.iter().copied(), 2026)
    }

    #[test]
    fn nulls_tokens_and_blanks_are_counted() {
        let profile = of(&[Some(" a"), Some("N/A"), None, Some("-"), Some("b")]);
        assert_eq!((profile.sampled, profile.nulls, profile.untrimmed), (5, 3, 1));
        assert_eq!(profile.null_tokens, ["-", "N/A"]);
    }

    #[test]
    fn formats_come_most_frequent_first_with_their_share() {
        let profile = of(&[Some("14/03/2024"), Some("03/04/2024"), Some("2024-01-01"), Some("later")]);
        let formats: Vec<(&str, f64)> = profile.date_formats.iter().map(|(f, s)| (f.as_str(), *s)).collect();
        assert_eq!(formats, [("dd/mm/yyyy", 0.5), ("yyyy-mm-dd", 0.25), ("mm/dd/yyyy", 0.25)]);
    }

    #[test]
    fn a_decimal_comma_is_seen() {
        let profile = of(&[Some("1,5"), Some("1 200,25"), Some("3")]);
        assert!(profile.decimal_comma && !profile.whole_numbers);
        assert!((profile.numeric - 1.0).abs() < f64::EPSILON);
        let english = of(&[Some("1,500"), Some("2.5"), Some("3.25")]);
        assert!(!english.decimal_comma);
        assert!((english.numeric - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_comma_that_could_be_either_stays_open() {
        assert!(of(&[Some("1,234"), Some("2,456"), Some("12")]).open_comma);
        assert!(!of(&[Some("1,234"), Some("0,912")]).open_comma);
        assert!(!of(&[Some("1,234"), Some("2.5")]).open_comma);
        assert!(!of(&[Some("1234"), Some("12")]).open_comma);
    }

    #[test]
    fn a_map_has_no_profile_and_takes_none_from_the_others() {
        let mut map =
            arrow::array::MapBuilder::new(None, arrow::array::StringBuilder::new(), arrow::array::Int64Builder::new());
        map.keys().append_value("k");
        map.values().append_value(1);
        map.append(true).unwrap();
        let batch = RecordBatch::try_from_iter([
            ("m", std::sync::Arc::new(map.finish()) as arrow::array::ArrayRef),
            ("v", std::sync::Arc::new(arrow::array::StringArray::from(vec!["1"]))),
        ])
        .unwrap();
        let profiles = profiles(&[batch], 2026).unwrap();
        assert_eq!(profiles.keys().collect::<Vec<_>>(), ["v"]);
    }

    #[test]
    fn telephones_and_long_codes_are_no_numbers() {
        let profile = of(&[Some("0612345678"), Some("12345678901234567890")]);
        assert!(profile.numeric < f64::EPSILON);
        assert_eq!(profile.zero_led, 1);
    }
}

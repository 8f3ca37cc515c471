//! The rules over a batch: one pass per column, rows that do not fit set aside with the reason.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder,
        RecordBatch, StringArray, StringBuilder, TimestampMicrosecondBuilder,
    },
    compute::{cast, is_null, kernels::zip::zip},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use chrono::NaiveDate;

use super::{
    Action, ColumnRule, Convert, TableRules,
    dates::{DateFormat, Parts},
    numbers,
};

/// A row that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) row: usize,
    /// `birth_date: not a date`; never the value.
    pub(crate) reason: String,
}

/// A cleaned batch: as many rows as came in; those in `bad` are to be set aside.
#[derive(Debug)]
pub(crate) struct Cleaned {
    pub(crate) batch: RecordBatch,
    pub(crate) bad: Vec<Bad>,
    /// Broken rules that let the row pass, counted.
    pub(crate) warnings: BTreeMap<String, u64>,
}

/// The rules of a table, made ready for its columns.
#[derive(Debug)]
pub(crate) struct Cleaner {
    columns: Vec<(FieldRef, Column)>,
    schema: SchemaRef,
    key: Vec<usize>,
    pivot: i32,
}

#[derive(Debug)]
struct Column {
    rule: ColumnRule,
    tokens: HashSet<String>,
    /// Tokens are not longer than this, in bytes.
    longest: usize,
    to: DataType,
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn target(from: &DataType, convert: &Convert) -> DataType {
    if !matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return from.clone();
    }
    match convert {
        Convert::Keep => DataType::Utf8,
        Convert::Date { .. } => DataType::Date32,
        Convert::Timestamp { .. } => instant(),
        Convert::Integer { .. } => DataType::Int64,
        Convert::Float { .. } => DataType::Float64,
        Convert::Decimal { scale, .. } => DataType::Decimal128(38, *scale),
    }
}

impl Cleaner {
    /// `input`: the raw table's columns; those that start with `__` are Mavis's own and are left out.
    pub(crate) fn new(rules: &TableRules, input: &Schema) -> Self {
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for field in input.fields().iter().filter(|field| !field.name().starts_with("__")) {
            let rule = rules.column(field.name());
            let to = target(field.data_type(), &rule.convert);
            fields.push(Arc::new(Field::new(field.name(), to.clone(), true)));
            let tokens: HashSet<String> = rule.null_tokens.iter().cloned().collect();
            let longest = tokens.iter().map(String::len).max().unwrap_or(0);
            columns.push((Arc::clone(field), Column { rule, tokens, longest, to }));
        }
        let schema = Arc::new(Schema::new(fields));
        let key = rules.key.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        Self { columns, schema, key, pivot: rules.pivot_year }
    }

    /// Columns of the cleaned batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// # Errors
    /// When a column is not of the type that the cleaner was made for.
    pub(crate) fn clean(&self, batch: &RecordBatch) -> Result<Cleaned, ArrowError> {
        let mut cleaned = Vec::with_capacity(self.columns.len());
        let mut bad = BTreeMap::new();
        let mut warnings = BTreeMap::new();
        for (field, column) in &self.columns {
            let array = match batch.column_by_name(field.name()) {
                Some(array) => Arc::clone(array),
                None => arrow::array::new_null_array(field.data_type(), batch.num_rows()),
            };
            let (array, misfits) = column.clean(&array, self.pivot)?;
            for row in misfits {
                let reason = format!("{}: {}", field.name(), column.complaint());
                match column.rule.misfit {
                    Action::Quarantine => {
                        bad.entry(row).or_insert(reason);
                    }
                    Action::Warn | Action::Null => *warnings.entry(reason).or_insert(0) += 1,
                }
            }
            cleaned.push(array);
        }
        for index in &self.key {
            for row in (0..batch.num_rows()).filter(|row| cleaned[*index].is_null(*row)) {
                bad.entry(row).or_insert_with(|| format!("{}: key without a value", self.schema.field(*index).name()));
            }
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), cleaned, &options)?;
        let bad = bad.into_iter().map(|(row, reason)| Bad { row, reason }).collect();
        Ok(Cleaned { batch, bad, warnings })
    }
}

impl Column {
    fn complaint(&self) -> &'static str {
        match self.rule.convert {
            Convert::Date { .. } => "not a date",
            Convert::Timestamp { .. } => "not a date and time",
            Convert::Integer { .. } => "not a whole number",
            Convert::Float { .. } | Convert::Decimal { .. } => "not a number",
            Convert::Keep => "does not fit",
        }
    }

    fn clean(&self, array: &ArrayRef, pivot: i32) -> Result<(ArrayRef, Vec<usize>), ArrowError> {
        let (array, misfits) = match array.data_type() {
            DataType::Utf8 => self.clean_text(array.as_string::<i32>(), pivot)?,
            DataType::LargeUtf8 | DataType::Utf8View => {
                let plain = cast(array, &DataType::Utf8)?;
                self.clean_text(plain.as_string::<i32>(), pivot)?
            }
            _ => (Arc::clone(array), Vec::new()),
        };
        let filled = match &self.rule.fill {
            Some(fill) if array.null_count() > 0 => self.fill(&array, fill, &misfits)?,
            _ => array,
        };
        Ok((filled, misfits))
    }

    /// The text that is to be understood, or `None` for no value.
    fn value<'a>(&self, text: &'a str) -> Option<&'a str> {
        let trimmed = text.trim();
        if trimmed.len() <= self.longest && self.tokens.contains(trimmed.to_lowercase().as_str()) {
            return None;
        }
        Some(if self.rule.trim { trimmed } else { text })
    }

    fn clean_text(&self, texts: &StringArray, pivot: i32) -> Result<(ArrayRef, Vec<usize>), ArrowError> {
        let mut misfits = Vec::new();
        let rows = texts.len();
        let values = || texts.iter().map(|text| text.and_then(|text| self.value(text))).enumerate();
        // Each arm: the value if it fits, else a null and a misfit.
        macro_rules! build {
            ($builder:expr, $read:expr) => {{
                let mut builder = $builder;
                for (row, value) in values() {
                    match value.map($read) {
                        None => builder.append_null(),
                        Some(Some(value)) => builder.append_value(value),
                        Some(None) => {
                            misfits.push(row);
                            builder.append_null();
                        }
                    }
                }
                Arc::new(builder.finish()) as ArrayRef
            }};
        }
        let array: ArrayRef = match &self.rule.convert {
            Convert::Keep => {
                let mut builder = StringBuilder::with_capacity(rows, texts.value_data().len());
                values().for_each(|(_, value)| builder.append_option(value));
                Arc::new(builder.finish())
            }
            Convert::Date { formats } => build!(Date32Builder::with_capacity(rows), |t| date(t, formats, pivot)),
            Convert::Timestamp { formats } => {
                let builder = TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC");
                build!(builder, |t| micros(t, formats, pivot))
            }
            Convert::Integer { comma } => build!(Int64Builder::with_capacity(rows), |t| {
                numbers::parse(t, *comma).filter(|n| n.whole).and_then(|n| n.plain.parse::<i64>().ok())
            }),
            Convert::Float { comma } => build!(Float64Builder::with_capacity(rows), |t| {
                numbers::parse(t, *comma).and_then(|n| n.plain.parse::<f64>().ok()).filter(|n| n.is_finite())
            }),
            Convert::Decimal { comma, scale } => {
                let builder = Decimal128Builder::with_capacity(rows).with_precision_and_scale(38, *scale)?;
                build!(builder, |t| decimal(t, *comma, *scale))
            }
        };
        Ok((array, misfits))
    }

    fn fill(&self, array: &ArrayRef, fill: &str, misfits: &[usize]) -> Result<ArrayRef, ArrowError> {
        let text: ArrayRef = Arc::new(StringArray::from(vec![fill]));
        let value = cast(&text, &self.to)?;
        if value.is_null(0) {
            return Err(ArrowError::InvalidArgumentError(format!("`fill` does not fit a column of type {}", self.to)));
        }
        // A value that was there and could not be read is not a missing one.
        let nulls = is_null(array)?;
        let misfits: HashSet<usize> = misfits.iter().copied().collect();
        let mask: BooleanArray =
            (0..array.len()).map(|row| Some(nulls.value(row) && !misfits.contains(&row))).collect();
        let value = arrow::array::Scalar::new(value);
        zip(&mask, &value, array)
    }
}

fn date(text: &str, formats: &[DateFormat], pivot: i32) -> Option<i32> {
    let parts = Parts::of(text)?;
    let date = formats.iter().find_map(|format| parts.date(*format, pivot))?;
    i32::try_from(date.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1)?).num_days()).ok()
}

fn micros(text: &str, formats: &[DateFormat], pivot: i32) -> Option<i64> {
    let parts = Parts::of(text)?;
    formats.iter().find_map(|format| parts.instant(*format, pivot)).map(|at| at.and_utc().timestamp_micros())
}

fn decimal(text: &str, comma: bool, scale: i8) -> Option<i128> {
    let number = numbers::parse(text, comma)?;
    if number.plain.contains('e') {
        return None;
    }
    let (whole, fraction) = number.plain.split_once('.').unwrap_or((number.plain.as_str(), ""));
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(missing));
    let value: i128 = digits.parse().ok()?;
    (value.unsigned_abs() < 10_u128.pow(38)).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type};

    use super::*;

    fn rules(convert: Convert, change: impl FnOnce(&mut ColumnRule)) -> TableRules {
        let mut rule = ColumnRule { convert, ..ColumnRule::default() };
        change(&mut rule);
        let columns = BTreeMap::from([("v".to_owned(), rule)]);
        TableRules { version: 1, columns, checks: Vec::new(), key: Vec::new(), pivot_year: 2026 }
    }

    fn clean(rules: &TableRules, texts: &[Option<&str>]) -> Cleaned {
        let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let batch = RecordBatch::try_from_iter([("v", array)]).unwrap();
        Cleaner::new(rules, &batch.schema()).clean(&batch).unwrap()
    }

    #[test]
    fn text_is_trimmed_and_null_tokens_are_no_values() {
        let cleaned = clean(&rules(Convert::Keep, |_| {}), &[Some("  a b "), Some(" N/A"), Some(""), None]);
        let texts: Vec<Option<&str>> = cleaned.batch.column(0).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("a b"), None, None, None]);
        assert!(cleaned.bad.is_empty());
    }

    #[test]
    fn a_text_that_is_no_date_sets_its_row_aside() {
        let convert = Convert::Date { formats: vec!["dd/mm/yyyy".parse().unwrap(), "yyyy-mm-dd".parse().unwrap()] };
        let cleaned =
            clean(&rules(convert, |_| {}), &[Some("02/01/1970"), Some("soon"), Some("-"), Some("1970-01-03")]);
        let days: Vec<Option<i32>> = cleaned.batch.column(0).as_primitive::<Date32Type>().iter().collect();
        assert_eq!(days, [Some(1), None, None, Some(2)]);
        assert_eq!(cleaned.bad, [Bad { row: 1, reason: "v: not a date".to_owned() }]);
    }

    #[test]
    fn a_misfit_may_become_null_with_a_warning_and_is_not_filled() {
        let convert = Convert::Float { comma: true };
        let rules = rules(convert, |rule| {
            rule.misfit = Action::Null;
            rule.fill = Some("0".to_owned());
        });
        let cleaned = clean(&rules, &[Some("1 234,5"), Some("x"), None]);
        let floats: Vec<Option<f64>> = cleaned.batch.column(0).as_primitive::<Float64Type>().iter().collect();
        assert_eq!(floats, [Some(1234.5), None, Some(0.0)]);
        assert!(cleaned.bad.is_empty());
        assert_eq!(cleaned.warnings["v: not a number"], 1);
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let cleaned = clean(
            &rules(Convert::Decimal { comma: false, scale: 2 }, |_| {}),
            &[Some("1.10"), Some("-0.5"), Some("1.234"), Some("7")],
        );
        let values: Vec<Option<i128>> = cleaned.batch.column(0).as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(values, [Some(110), Some(-50), None, Some(700)]);
        assert_eq!(cleaned.bad.len(), 1);
    }

    #[test]
    fn a_key_without_a_value_sets_its_row_aside() {
        let mut rules = rules(Convert::Keep, |_| {});
        rules.key = vec!["v".to_owned()];
        assert_eq!(clean(&rules, &[Some("a"), Some(" ")]).bad[0].reason, "v: key without a value");
    }
}

//! `to_char`, `to_date` and `to_timestamp` with the patterns of PostgreSQL and Oracle: the engine knows those of strftime, and
//! takes `YYYY-MM` for text that stands for itself. A pattern with a `%` is strftime's still.

mod numbers;
mod read;
mod template;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, StringArray, StringBuilder, TimestampMicrosecondArray},
    compute::{cast, kernels::zip::zip},
    datatypes::{
        DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, FieldRef, Float64Type, Int64Type,
        IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    },
};
use datafusion::{
    common::{DataFusionError, Result, plan_err},
    config::ConfigOptions,
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility,
    },
    scalar::ScalarValue,
};

use self::{
    numbers::Numbers,
    template::{Item, parts},
    write::Moment,
};
use crate::{Error, calendar::DAY};

/// How letters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    /// Only the first is a capital.
    Capital,
    Lower,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Job {
    Write,
    ReadDay,
    ReadTime,
}

/// `function`, or where it takes patterns one that knows those of PostgreSQL too.
pub(super) fn with_patterns(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let job = match function.name() {
        "to_char" => Job::Write,
        "to_date" => Job::ReadDay,
        "to_timestamp" => Job::ReadTime,
        _ => return function,
    };
    Arc::new(Patterned::of(job, function))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Patterned {
    job: Job,
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl Patterned {
    fn of(job: Job, inner: Arc<ScalarUDF>) -> ScalarUDF {
        ScalarUDF::new_from_impl(Self { job, inner, signature: Signature::user_defined(Volatility::Immutable) })
    }
}

impl ScalarUDFImpl for Patterned {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = self.inner.inner().with_updated_config(config)?;
        Some(Self::of(self.job, Arc::new(inner)))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        match (self.job, given) {
            (Job::Write, [value, pattern]) => Ok(vec![written(value)?, text(name, pattern)?]),
            (Job::Write, _) => plan_err!("{name} takes what is written and a pattern"),
            (_, []) => plan_err!("{name} takes a text, and how it is to be read"),
            (_, [first, patterns @ ..]) => {
                let first = if first.is_string() { DataType::Utf8 } else { first.clone() };
                let patterns = patterns.iter().map(|pattern| text(name, pattern)).collect::<Result<Vec<_>>>()?;
                Ok([vec![first], patterns].concat())
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let given = self.inner.inner().return_type(types)?;
        Ok(if types.len() > 1 { in_micros(given) } else { given })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if self.job == Job::Write {
            return Ok(Arc::new(Field::new(self.name(), DataType::Utf8, true)));
        }
        let several = args.arg_fields.len() > 1;
        let field = self.inner.return_field_from_args(args)?;
        let data_type = field.data_type().clone();
        Ok(if several { Arc::new(field.as_ref().clone().with_data_type(in_micros(data_type))) } else { field })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, patterns @ ..] = args.args.as_slice() else {
            return self.inner.invoke_with_args(args);
        };
        let is_text = value.data_type() == DataType::Utf8 || value.data_type() == DataType::Null;
        if patterns.is_empty() || self.job != Job::Write && !is_text {
            return self.by_engine(args);
        }
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let patterns = patterns.iter().map(|pattern| Patterns::of(pattern, rows)).collect::<Result<Vec<_>>>()?;
        if patterns.iter().any(Patterns::all_of_strftime) {
            return self.by_engine(args);
        }
        let values = value.to_array(rows)?;
        let answer: ArrayRef = match self.job {
            Job::Write => self.write(&values, &patterns[0])?,
            Job::ReadDay => {
                let micros = read_all(self.name(), &values, &patterns)?;
                Arc::new(micros.iter().map(|at| at.map(|at| (at.div_euclid(DAY)) as i32)).collect::<Date32Array>())
            }
            Job::ReadTime => {
                let micros = TimestampMicrosecondArray::from(read_all(self.name(), &values, &patterns)?);
                Arc::new(micros.with_data_type(args.return_field.data_type().clone()))
            }
        };
        let answer = match &patterns[..] {
            // Of a column of patterns, some may be strftime's.
            [Patterns::Column(own)] if own.iter().flatten().any(is_strftime) => {
                let by_engine = self.by_engine(args)?.to_array(rows)?;
                zip(&own.iter().map(|own| Some(own.is_some_and(is_strftime))).collect(), &by_engine, &answer)?
            }
            _ => answer,
        };
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?)),
            false => Ok(ColumnarValue::Array(answer)),
        }
    }
}

fn is_strftime(pattern: &str) -> bool {
    pattern.contains('%')
}

fn in_micros(data_type: DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone),
        other => other,
    }
}

fn text(name: &str, given: &DataType) -> Result<DataType> {
    match given.is_string() || given.is_null() {
        true => Ok(DataType::Utf8),
        false => plan_err!("{name} takes a pattern as text"),
    }
}

/// What `to_char` makes of a type before it writes it.
fn written(given: &DataType) -> Result<DataType> {
    Ok(match given {
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::UInt64 => DataType::Decimal128(20, 0),
        given if given.is_integer() => DataType::Int64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal256(..) => DataType::Decimal128(38, 10),
        given if given.is_floating() => DataType::Float64,
        given if given.is_string() || given.is_null() => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => return plan_err!("to_char takes a time, a length of time, or a number"),
    })
}

/// Patterns as they are given: one, or one for each row.
enum Patterns {
    One(Option<String>),
    Column(StringArray),
}

impl Patterns {
    fn of(given: &ColumnarValue, rows: usize) -> Result<Self> {
        Ok(match given {
            ColumnarValue::Scalar(one) => Self::One(one.try_as_str().flatten().map(str::to_owned)),
            ColumnarValue::Array(_) => Self::Column(cast(&given.to_array(rows)?, &DataType::Utf8)?.as_string().clone()),
        })
    }

    fn all_of_strftime(&self) -> bool {
        matches!(self, Self::One(Some(pattern)) if is_strftime(pattern))
    }

    fn at(&self, row: usize) -> Option<&str> {
        match self {
            Self::One(one) => one.as_deref(),
            Self::Column(column) => column.is_valid(row).then(|| column.value(row)).filter(|own| !is_strftime(own)),
        }
    }
}

/// The pattern of the row before, read: mostly it is that of the next one.
struct Last<T> {
    read: Option<(String, T)>,
}

impl<T> Last<T> {
    fn of(&mut self, pattern: &str, read: impl FnOnce(&str) -> std::result::Result<T, String>) -> Result<&T> {
        if self.read.as_ref().is_none_or(|(last, _)| last != pattern) {
            self.read = Some((pattern.to_owned(), read(pattern).map_err(mistake)?));
        }
        match &self.read {
            Some((_, read)) => Ok(read),
            None => Err(mistake("a pattern cannot be read".to_owned())),
        }
    }
}

fn mistake(message: String) -> DataFusionError {
    DataFusionError::External(Box::new(Error::Value { message }))
}

/// What each row says, in microseconds since 1970; the first of several patterns that fits is taken.
fn read_all(name: &str, values: &ArrayRef, patterns: &[Patterns]) -> Result<Vec<Option<i64>>> {
    let values = cast(values, &DataType::Utf8)?;
    let mut lasts: Vec<Last<Vec<Item>>> = patterns.iter().map(|_| Last { read: None }).collect();
    let row = |(row, value): (usize, Option<&str>)| {
        // Nothing is no day; PostgreSQL makes the first one of the year 1 before Christ of it.
        let Some(value) = value.filter(|value| !value.trim().is_empty()) else { return Ok(None) };
        let mut wrong = None;
        for (pattern, last) in patterns.iter().zip(&mut lasts) {
            let Some(pattern) = pattern.at(row) else { continue };
            match read::read(last.of(pattern, parts)?, value) {
                Ok(micros) => return Ok(Some(micros)),
                Err(reason) => wrong = Some(reason),
            }
        }
        match wrong {
            Some(reason) => Err(mistake(format!("{name}: {reason}"))),
            None => Ok(None),
        }
    };
    values.as_string::<i32>().iter().enumerate().map(row).collect()
}

impl Patterned {
    /// As the engine does, for a pattern that it knows.
    fn by_engine(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wanted = args.return_field.data_type().clone();
        if self.job == Job::Write {
            let value = args.args.first().map(ColumnarValue::data_type);
            if value.is_some_and(|given| given.is_numeric() || matches!(given, DataType::Interval(_))) {
                return Err(mistake("a pattern with % writes times".to_owned()));
            }
            // (Of one time and a column of patterns the engine writes the first only.)
            if args.args.iter().any(|arg| matches!(arg, ColumnarValue::Array(_))) {
                args.args[0] = ColumnarValue::Array(args.args[0].to_array(args.number_rows)?);
            }
        } else {
            let types: Vec<FieldRef> = args.arg_fields.clone();
            let nothing = vec![None; types.len()];
            args.return_field = self
                .inner
                .return_field_from_args(ReturnFieldArgs { arg_fields: &types, scalar_arguments: &nothing })?;
        }
        self.inner.invoke_with_args(args)?.cast_to(&wanted, None)
    }

    fn write(&self, values: &ArrayRef, patterns: &Patterns) -> Result<ArrayRef> {
        let mut texts = StringBuilder::with_capacity(values.len(), values.len() * 16);
        let is_number = values.data_type().is_numeric();
        let (mut times, mut numbers) = (Last { read: None }, Last { read: None });
        let mut text = String::new();
        for row in 0..values.len() {
            let Some(pattern) = patterns.at(row).filter(|_| values.is_valid(row)) else {
                texts.append_null();
                continue;
            };
            text.clear();
            if is_number {
                let pattern = numbers.of(pattern, Numbers::read)?;
                text.push_str(&number(values, row, pattern));
            } else {
                let items = times.of(pattern, parts)?;
                let far = || mistake("to_char knows times of the years -262143 to 262142".to_owned());
                let moment = moment(values, row).ok_or_else(far)?;
                write::write(items, &moment, &mut text).map_err(mistake)?;
            }
            texts.append_value(&text);
        }
        Ok(Arc::new(texts.finish()))
    }
}

fn moment(values: &ArrayRef, row: usize) -> Option<Moment> {
    match values.data_type() {
        DataType::Date32 => {
            Moment::at(i64::from(values.as_primitive::<Date32Type>().value(row)).checked_mul(DAY)?, false)
        }
        DataType::Timestamp(_, zone) => {
            Moment::at(values.as_primitive::<TimestampMicrosecondType>().value(row), zone.is_some())
        }
        DataType::Time64(_) => Some(Moment::length(0, 0, values.as_primitive::<Time64MicrosecondType>().value(row))),
        DataType::Duration(_) => {
            let micros = values.as_primitive::<DurationMicrosecondType>().value(row);
            Some(Moment::length(0, i32::try_from(micros / DAY).ok()?, micros % DAY))
        }
        _ => {
            let length = values.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Some(Moment::length(length.months, length.days, length.nanoseconds / 1_000))
        }
    }
}

/// A number as `pattern` says, rounded half away from zero.
fn number(values: &ArrayRef, row: usize, pattern: &Numbers) -> String {
    let after = pattern.scale();
    let (negative, digits) = match values.data_type() {
        DataType::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(row);
            if !value.is_finite() {
                return if value.is_nan() { "NaN".to_owned() } else { format!("{value}").replace("inf", "Infinity") };
            }
            // More than 15 digits are not known of it.
            let known = 15_usize.saturating_sub(format!("{:.0}", value.abs()).len()).min(after);
            (value < 0.0, format!("{:.known$}", value.abs()))
        }
        DataType::Decimal128(_, scale) => {
            rounded(values.as_primitive::<Decimal128Type>().value(row), i32::from(*scale), after)
        }
        _ => rounded(i128::from(values.as_primitive::<Int64Type>().value(row)), 0, after),
    };
    let is_nought = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    pattern.write(negative && !is_nought, &digits)
}

/// `value` by ten to the minus `scale`, with so many digits after the point.
fn rounded(value: i128, scale: i32, after: usize) -> (bool, String) {
    let (mut whole, mut left) = (value.unsigned_abs(), scale);
    while left < 0 {
        whole = whole.saturating_mul(10);
        left += 1;
    }
    let mut known = left as usize;
    if known > after {
        let by = 10_u128.checked_pow((known - after) as u32);
        whole = by.map_or(0, |by| whole / by + u128::from(whole % by >= by / 2));
        known = after;
    }
    let mut digits = format!("{whole:0width$}", width = known + 1);
    if known > 0 {
        digits.insert(digits.len() - known, '.');
    } else if after > 0 {
        digits.push('.');
    }
    digits.extend(std::iter::repeat_n('0', after - known));
    (value < 0, digits)
}

use super::{
    EvalError, boundary,
    compute::{decimals_to_items, integers_to_items, texts_to_items, truths_to_items, whole},
    items::{Items, place},
    logic::truths,
    read::{Read, Value, first_of_each},
    text,
};
use crate::{
    definitions::Primitive,
    path::expr::{Function, Kind, kind},
};

/// A function of collections, its arguments already evaluated for each focus.
pub(super) fn call(
    function: Function,
    base: &Items,
    arguments: &[Items],
    count: usize,
    integers: bool,
) -> Result<Items, EvalError> {
    Ok(match function {
        Function::Exists => per_focus(base, count, |length| length > 0),
        Function::Empty => per_focus(base, count, |length| length == 0),
        Function::HasValue => per_focus(base, count, |length| length == 1),
        Function::Count => {
            let offsets = base.offsets(count);
            integers_to_items(offsets.windows(2).map(|pair| Some(i64::from(pair[1] - pair[0]))).collect())
        }
        Function::Not => truths_to_items(
            truths(base, count, "`not()`")?.into_iter().map(|truth| truth.map(|truth| !truth)).collect(),
        ),
        Function::First => slice(base, count, |length| 0..length.min(1)),
        Function::Last => slice(base, count, |length| length.saturating_sub(1)..length),
        Function::Tail => slice(base, count, |length| 1.min(length)..length),
        Function::Single => {
            let offsets = base.offsets(count);
            if offsets.windows(2).any(|pair| pair[1] - pair[0] > 1) {
                return Err(EvalError::Many("`single()`"));
            }
            base.clone()
        }
        Function::Skip | Function::Take => skip_or_take(function, base, arguments, count)?,
        Function::Distinct => base.keep(&first_of_each(&Read::new(base, count)?, count)),
        Function::IsDistinct => {
            let kept = base.keep(&first_of_each(&Read::new(base, count)?, count));
            let (all, kept) = (base.offsets(count), kept.offsets(count));
            let lengths = |offsets: &[u32], focus: usize| offsets[focus + 1] - offsets[focus];
            truths_to_items((0..count).map(|focus| Some(lengths(&all, focus) == lengths(&kept, focus))).collect())
        }
        Function::AllTrue | Function::AnyTrue | Function::AllFalse | Function::AnyFalse => {
            let read = Read::new(base, count)?;
            let is = |item: usize, wanted: bool| read.at(item) == Some(Value::Boolean(wanted));
            let answer = |focus| {
                Some(match function {
                    Function::AllTrue => read.range(focus).all(|item| is(item, true)),
                    Function::AnyTrue => read.range(focus).any(|item| is(item, true)),
                    Function::AllFalse => read.range(focus).all(|item| is(item, false)),
                    _ => read.range(focus).any(|item| is(item, false)),
                })
            };
            truths_to_items((0..count).map(answer).collect())
        }
        Function::Join => text::join(base, arguments.first(), count)?,
        // the resource's id is its key: `evaluate` has replaced the call by the member
        Function::ResourceKey => base.clone(),
        Function::ReferenceKey => {
            let target = arguments.first().map(|items| Read::new(items, count)).transpose()?;
            let target = target.and_then(|read| if count > 0 { read.at(0) } else { None });
            let target = target.and_then(|value| value.to_text());
            text::reference_key(base, target.as_deref())
        }
        Function::LowBoundary | Function::HighBoundary => boundaries(function, base, arguments, count)?,
        Function::StartsWith | Function::EndsWith | Function::Contains | Function::Matches => match arguments {
            [argument] => text::test(function, base, argument, count)?,
            _ => Items::default(),
        },
        Function::Length | Function::IndexOf => text::to_integer(function, base, arguments, count)?,
        Function::Upper
        | Function::Lower
        | Function::Trim
        | Function::Replace
        | Function::Substring
        | Function::ToText => text::to_text(function, base, arguments, count)?,
        Function::ToInteger | Function::ToDecimal | Function::ToBoolean => convert(function, base, count)?,
        Function::Absolute | Function::Ceiling | Function::Floor | Function::Truncate | Function::Round => {
            rounded(function, base, arguments, count, integers)?
        }
    })
}

fn per_focus(base: &Items, count: usize, test: impl Fn(u32) -> bool) -> Items {
    truths_to_items(base.offsets(count).windows(2).map(|pair| Some(test(pair[1] - pair[0]))).collect())
}

/// Part of each focus' values, told by how many there are.
fn slice(base: &Items, count: usize, part: impl Fn(u32) -> std::ops::Range<u32>) -> Items {
    let offsets = base.offsets(count);
    let kept: Vec<u32> = offsets
        .windows(2)
        .flat_map(|pair| {
            let range = part(pair[1] - pair[0]);
            pair[0] + range.start..pair[0] + range.end
        })
        .collect();
    base.keep(&kept)
}

fn skip_or_take(function: Function, base: &Items, arguments: &[Items], count: usize) -> Result<Items, EvalError> {
    let Some(argument) = arguments.first() else { return Ok(Items::default()) };
    let read = Read::new(argument, count)?;
    let offsets = base.offsets(count);
    let mut kept = Vec::new();
    for focus in 0..count {
        let Some(Value::Integer(number)) = read.one(focus, "`skip()` or `take()`")? else { continue };
        let (start, end) = (offsets[focus], offsets[focus + 1]);
        let cut = start + u32::try_from(number.max(0)).unwrap_or(u32::MAX).min(end - start);
        kept.extend(if function == Function::Skip { cut..end } else { start..cut });
    }
    Ok(base.keep(&kept))
}

/// `[index]`: of each focus' values the one at that place, which is counted from 0.
pub(super) fn item(base: &Items, index: &Items, count: usize) -> Result<Items, EvalError> {
    let read = Read::new(index, count)?;
    let offsets = base.offsets(count);
    let mut kept = Vec::new();
    for focus in 0..count {
        if let Some(Value::Integer(number)) = read.one(focus, "`[ ]`")?
            && let Ok(number) = u32::try_from(number)
            && number < offsets[focus + 1] - offsets[focus]
        {
            kept.push(offsets[focus] + number);
        }
    }
    Ok(base.keep(&kept))
}

fn boundaries(function: Function, base: &Items, arguments: &[Items], count: usize) -> Result<Items, EvalError> {
    let high = function == Function::HighBoundary;
    let read = Read::new(base, count)?;
    let digits = arguments.first().map(|items| Read::new(items, count)).transpose()?;
    let what = "`lowBoundary()` or `highBoundary()`";
    let mut numbers: Vec<Option<f64>> = vec![None; count];
    let mut texts: Vec<Option<String>> = vec![None; count];
    let mut of = Primitive::DateTime;
    for focus in 0..count {
        let Some(value) = read.one(focus, what)? else { continue };
        let item = read.range(focus).start;
        let digits = match &digits {
            Some(digits) => match digits.one(focus, what)? {
                Some(Value::Integer(digits)) => Some(digits),
                _ => continue,
            },
            None => None,
        };
        match value {
            Value::Decimal(_) | Value::Integer(_) => {
                let written =
                    read.written(item).map(str::to_owned).or_else(|| value.to_text().map(|text| text.into_owned()));
                numbers[focus] = written.and_then(|text| boundary::decimal(&text, high, digits));
            }
            Value::Time(text) => {
                of = Primitive::Time;
                texts[focus] = boundary::time(text, high);
            }
            Value::Moment(text) => {
                let is_date = base.parts[base.part_of(item)].type_id.primitive() == Some(Primitive::Date);
                if is_date {
                    of = Primitive::Date;
                }
                texts[focus] = if is_date { boundary::date(text, high) } else { boundary::date_time(text, high) };
            }
            _ => {}
        }
    }
    if base.parts.iter().all(|part| matches!(kind(part.type_id), Kind::Decimal | Kind::Integer)) {
        return Ok(decimals_to_items(numbers));
    }
    Ok(texts_to_items(texts, of))
}

fn convert(function: Function, base: &Items, count: usize) -> Result<Items, EvalError> {
    let read = Read::new(base, count)?;
    let one = |focus| read.one(focus, "a conversion");
    Ok(match function {
        Function::ToInteger => {
            let convert = |focus| {
                Ok(one(focus)?.and_then(|value| match value {
                    Value::Integer(number) => Some(number),
                    Value::Boolean(value) => Some(value.into()),
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                }))
            };
            integers_to_items((0..count).map(convert).collect::<Result<_, EvalError>>()?)
        }
        Function::ToDecimal => {
            let convert = |focus| {
                Ok(one(focus)?.and_then(|value| match value {
                    Value::Boolean(value) => Some(if value { 1.0 } else { 0.0 }),
                    Value::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
                    value => value.number(),
                }))
            };
            decimals_to_items((0..count).map(convert).collect::<Result<_, EvalError>>()?)
        }
        _ => {
            let convert = |focus| {
                Ok(one(focus)?.and_then(|value| match value {
                    Value::Boolean(value) => Some(value),
                    Value::Integer(0) => Some(false),
                    Value::Integer(1) => Some(true),
                    Value::Text(text) => match text.to_lowercase().as_str() {
                        "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
                        "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
                        _ => None,
                    },
                    _ => None,
                }))
            };
            truths_to_items((0..count).map(convert).collect::<Result<_, EvalError>>()?)
        }
    })
}

fn rounded(
    function: Function,
    base: &Items,
    arguments: &[Items],
    count: usize,
    integers: bool,
) -> Result<Items, EvalError> {
    let read = Read::new(base, count)?;
    let what = "a function of numbers";
    if function == Function::Absolute && integers {
        let absolute = |focus| {
            Ok(read.one(focus, what)?.and_then(|value| match value {
                Value::Integer(number) => number.checked_abs(),
                _ => None,
            }))
        };
        return Ok(integers_to_items((0..count).map(absolute).collect::<Result<_, EvalError>>()?));
    }
    let digits = arguments.first().map(|items| Read::new(items, count)).transpose()?;
    let mut numbers = Vec::with_capacity(count);
    for focus in 0..count {
        let number = read.one(focus, what)?.and_then(|value| value.number());
        let digits = match &digits {
            Some(digits) => match digits.one(focus, what)? {
                Some(Value::Integer(digits)) => i32::try_from(digits).ok().filter(|digits| (0..=28).contains(digits)),
                _ => None,
            },
            None => Some(0),
        };
        numbers.push(number.and_then(|number| match function {
            Function::Absolute => Some(number.abs()),
            Function::Ceiling => Some(number.ceil()),
            Function::Floor => Some(number.floor()),
            Function::Truncate => Some(number.trunc()),
            _ => digits.map(|digits| (number * 10_f64.powi(digits)).round() / 10_f64.powi(digits)),
        }));
    }
    Ok(match function {
        Function::Absolute | Function::Round => decimals_to_items(numbers),
        _ => integers_to_items(numbers.into_iter().map(|number| number.and_then(whole)).collect()),
    })
}

/// The places of the values whose truth is known and true.
pub(super) fn places(truths: &[Option<bool>]) -> Vec<u32> {
    truths.iter().enumerate().filter(|(_, truth)| **truth == Some(true)).map(|(at, _)| place(at)).collect()
}

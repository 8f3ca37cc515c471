//! JSON in texts, by PostgreSQL's operators and functions: payloads of messages, answers of interfaces.
//!
//! A text that is no JSON has nothing in it, as in Hive: one odd payload does not fail a report. Numbers keep their digits. Structs and
//! lists are read as the JSON that they would be written as.

mod read;
mod write;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, ListBuilder, StringArray, StringBuilder},
    datatypes::{DataType, Int64Type},
    util::display::array_value_to_string,
};
use datafusion::{
    common::{DFSchema, Result, ScalarValue},
    logical_expr::{
        Expr, ScalarUDF,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
    sql::sqlparser::ast::BinaryOperator,
};
use serde_json::value::RawValue;

use super::own::{Given, Own, given, is_text, list_of, mistake, plain};
use crate::postgres::array_items;
use read::Step;

const TEXT: DataType = DataType::Utf8;

/// The functions, built once.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let text = |_: &[DataType]| TEXT;
    let texts = |_: &[DataType]| list_of(TEXT);
    vec![
        get(),
        get_text(),
        path(),
        path_text(),
        Own::new("json_typeof", json, text, |all, rows| {
            texts_of(all, rows, |json, _| read::whole(json).map(|whole| read::kind(whole).to_owned()))
        })
        .alias(&["jsonb_typeof"])
        .made(),
        Own::new(
            "json_array_length",
            json,
            |_| DataType::Int32,
            |all, rows| {
                let texts = documents(all, rows)?;
                let lengths =
                    texts.iter().map(|text| read::items(text?).and_then(|items| i32::try_from(items.len()).ok()));
                Ok(Arc::new(lengths.collect::<Int32Array>()))
            },
        )
        .alias(&["jsonb_array_length"])
        .made(),
        Own::new("json_array_elements", json, texts, |all, rows| {
            lists(all, rows, |json| {
                Some(read::items(json)?.into_iter().map(|item| Some(item.get().to_owned())).collect())
            })
        })
        .alias(&["jsonb_array_elements"])
        .made(),
        Own::new("json_array_elements_text", json, texts, |all, rows| {
            lists(all, rows, |json| Some(read::items(json)?.into_iter().map(read::text_of).collect()))
        })
        .alias(&["jsonb_array_elements_text"])
        .made(),
        Own::new("json_object_keys", json, texts, |all, rows| {
            lists(all, rows, |json| Some(read::names(json)?.into_iter().map(Some).collect()))
        })
        .alias(&["jsonb_object_keys"])
        .made(),
        Own::new("to_json", one, text, |all, rows| {
            each(rows, |out, row| {
                let Some(given) = all.first().filter(|given| !is_nothing(given, row)) else { return Ok(false) };
                write::value(out, given, row).map(|()| true)
            })
        })
        .alias(&["to_jsonb", "row_to_json"])
        .json()
        .made(),
        Own::new("json_build_array", any, text, |all, rows| {
            each(rows, |out, row| joined(out, all, row).map(|()| true))
        })
        .alias(&["jsonb_build_array"])
        .json()
        .made(),
        Own::new("json_build_object", pairs, text, |all, rows| {
            each(rows, |out, row| {
                write::object(out, all.len() / 2, |out, place| {
                    member(out, all.get(2 * place), all.get(2 * place + 1), row)
                })
                .map(|()| true)
            })
        })
        .alias(&["jsonb_build_object"])
        .json()
        .made(),
        // What `json_agg` and `json_object_agg` are made of: values and members, which are collected, and put together.
        Own::new("json_item__", one, text, |all, rows| each(rows, |out, row| joined_one(out, all, row))).json().made(),
        Own::new("json_member__", two, text, |all, rows| {
            each(rows, |out, row| member(out, all.first(), all.get(1), row).map(|()| true))
        })
        .made(),
        Own::new("json_items__", collected, text, |all, rows| together(all, rows, ['[', ']'])).json().made(),
        Own::new("json_members__", collected, text, |all, rows| together(all, rows, ['{', '}'])).json().made(),
    ]
}

fn get() -> Arc<ScalarUDF> {
    Own::new("json_get", step, |_| TEXT, |all, rows| found(all, rows, |value| Some(value.get().to_owned())))
        .json()
        .made()
}

fn get_text() -> Arc<ScalarUDF> {
    Own::new("json_get_text", step, |_| TEXT, |all, rows| found(all, rows, read::text_of)).made()
}

fn path() -> Arc<ScalarUDF> {
    Own::new("json_extract_path", steps, |_| TEXT, |all, rows| led(all, rows, |value| Some(value.get().to_owned())))
        .alias(&["jsonb_extract_path"])
        .json()
        .made()
}

fn path_text() -> Arc<ScalarUDF> {
    Own::new("json_extract_path_text", steps, |_| TEXT, |all, rows| led(all, rows, read::text_of))
        .alias(&["jsonb_extract_path_text"])
        .made()
}

/// Plans `->`, `->>`, `#>` and `#>>`.
#[derive(Debug)]
pub(super) struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (function, is_path) = match expr.op {
            BinaryOperator::Arrow => (get(), false),
            BinaryOperator::LongArrow => (get_text(), false),
            BinaryOperator::HashArrow => (path(), true),
            BinaryOperator::HashLongArrow => (path_text(), true),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let mut args = vec![expr.left];
        match expr.right {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) if is_path => match array_items(&text) {
                Some(items) => args.extend(items.into_iter().map(|item| Expr::Literal(ScalarValue::Utf8(item), None))),
                None => return mistake("the path beside `#>` is no array of texts: write it as '{name,0}'"),
            },
            step => args.push(step),
        }
        Ok(PlannerResult::Planned(function.call(args)))
    }
}

/// What JSON is read of: a text, or what would be written as JSON.
fn document(of: &DataType) -> Option<DataType> {
    let of = plain(of);
    match of {
        DataType::Null => Some(TEXT),
        DataType::Utf8 | DataType::Struct(_) | DataType::Map(..) | DataType::List(_) | DataType::LargeList(_) => {
            Some(of)
        }
        _ => None,
    }
}

fn json(types: &[DataType]) -> Option<Vec<DataType>> {
    let [of] = types else { return None };
    Some(vec![document(of)?])
}

fn step(types: &[DataType]) -> Option<Vec<DataType>> {
    let [of, step] = types else { return None };
    let step = if step.is_integer() { DataType::Int64 } else { Some(TEXT).filter(|_| is_text(&plain(step)))? };
    Some(vec![document(of)?, step])
}

fn steps(types: &[DataType]) -> Option<Vec<DataType>> {
    let (of, steps) = types.split_first()?;
    if let [DataType::List(_)] = steps {
        return Some(vec![document(of)?, list_of(TEXT)]);
    }
    let are_texts = steps.iter().all(|step| is_text(&plain(step)));
    let mut all = vec![document(of)?];
    all.extend(steps.iter().map(|_| TEXT));
    are_texts.then_some(all)
}

fn any(types: &[DataType]) -> Option<Vec<DataType>> {
    Some(types.iter().map(plain).collect())
}

fn one(types: &[DataType]) -> Option<Vec<DataType>> {
    any(types).filter(|types| types.len() == 1)
}

fn two(types: &[DataType]) -> Option<Vec<DataType>> {
    any(types).filter(|types| types.len() == 2)
}

fn pairs(types: &[DataType]) -> Option<Vec<DataType>> {
    any(types).filter(|types| types.len() % 2 == 0)
}

fn collected(types: &[DataType]) -> Option<Vec<DataType>> {
    (types.len() == 1).then(|| vec![list_of(TEXT)])
}

/// The first value as texts.
fn documents(all: &[Given], rows: usize) -> Result<StringArray> {
    let array = given(all, 0)?;
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Ok(texts.clone());
    }
    let given = Given { array: Arc::clone(array), is_json: false };
    let written = (0..rows).map(|row| {
        let mut out = String::new();
        given.array.is_valid(row).then(|| write::value(&mut out, &given, row)).transpose()?;
        Ok(Some(out).filter(|out| !out.is_empty()))
    });
    written.collect()
}

fn texts_of(all: &[Given], rows: usize, tell: impl Fn(&str, usize) -> Option<String>) -> Result<ArrayRef> {
    let documents = documents(all, rows)?;
    let texts = documents.iter().enumerate().map(|(row, json)| tell(json?, row));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn lists(all: &[Given], rows: usize, tell: fn(&str) -> Option<Vec<Option<String>>>) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for json in &documents(all, rows)? {
        match json.and_then(tell) {
            Some(items) => lists.append_value(items),
            None => lists.append_null(),
        }
    }
    Ok(Arc::new(lists.finish()))
}

fn found(all: &[Given], rows: usize, tell: fn(&RawValue) -> Option<String>) -> Result<ArrayRef> {
    let steps = given(all, 1)?;
    texts_of(all, rows, |json, row| {
        if steps.is_null(row) {
            return None;
        }
        let step = match steps.as_string_opt::<i32>() {
            Some(names) => Step::Name(names.value(row)),
            None => Step::Place(steps.as_primitive::<Int64Type>().value(row)),
        };
        tell(read::at(json, [step])?)
    })
}

fn led(all: &[Given], rows: usize, tell: fn(&RawValue) -> Option<String>) -> Result<ArrayRef> {
    let steps = all.get(1..).unwrap_or_default();
    let path = |row: usize| -> Option<Vec<String>> {
        match steps {
            [only] if only.array.as_list_opt::<i32>().is_some() => {
                let list = only.array.as_list_opt::<i32>().filter(|lists| lists.is_valid(row))?.value(row);
                list.as_string_opt::<i32>()?.iter().map(|name| name.map(str::to_owned)).collect()
            }
            steps => steps
                .iter()
                .map(|step| {
                    let names = step.array.as_string_opt::<i32>()?;
                    names.is_valid(row).then(|| names.value(row).to_owned())
                })
                .collect(),
        }
    };
    texts_of(all, rows, |json, row| {
        let path = path(row)?;
        tell(read::at(json, path.iter().map(|name| Step::Either(name)))?)
    })
}

/// A text for each row, or NULL where nothing was written.
fn each(rows: usize, mut write: impl FnMut(&mut String, usize) -> Result<bool>) -> Result<ArrayRef> {
    let texts = (0..rows).map(|row| {
        let mut out = String::new();
        let is_written = write(&mut out, row)?;
        Ok(is_written.then_some(out))
    });
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

fn is_nothing(given: &Given, row: usize) -> bool {
    given.array.data_type().is_null() || given.array.is_null(row)
}

fn joined_one(out: &mut String, all: &[Given], row: usize) -> Result<bool> {
    all.first().map_or(Ok(()), |given| write::value(out, given, row)).map(|()| true)
}

fn joined(out: &mut String, all: &[Given], row: usize) -> Result<()> {
    out.push('[');
    for (place, given) in all.iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        write::value(out, given, row)?;
    }
    out.push(']');
    Ok(())
}

fn member(out: &mut String, name: Option<&Given>, value: Option<&Given>, row: usize) -> Result<()> {
    let (Some(name), Some(value)) = (name, value) else { return Ok(()) };
    if is_nothing(name, row) {
        return mistake("the name of a member of JSON is NULL");
    }
    write::text(out, &array_value_to_string(&name.array, row)?)?;
    out.push_str(": ");
    write::value(out, value, row)
}

/// What was collected, between brackets; nothing where nothing was.
fn together(all: &[Given], rows: usize, [open, close]: [char; 2]) -> Result<ArrayRef> {
    let lists = given(all, 0)?.as_list::<i32>();
    each(rows, |out, row| {
        if lists.is_null(row) {
            return Ok(false);
        }
        let items = lists.value(row);
        out.push(open);
        for (place, item) in items.as_string::<i32>().iter().flatten().enumerate() {
            if place > 0 {
                out.push_str(", ");
            }
            out.push_str(item);
        }
        out.push(close);
        Ok(true)
    })
}

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, StringBuilder},
    compute::cast,
    datatypes::DataType,
};
use datafusion::common::{Result, exec_err};

use super::{call::Call, call::Takes, steady};

pub(super) fn functions() -> Vec<Call> {
    vec![
        steady("size").takes(&[Takes::List], 1).gives(DataType::Int32, |args, _| size(args)),
        steady("concat_ws").takes(&[Takes::Text, Takes::Anything], 1).many().gives(DataType::Utf8, concat_ws),
    ]
}

/// Items of a list, entries of a map; -1 for NULL (Hive).
fn size(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [lists] = args else { return exec_err!("a list is needed") };
    let length = |row: usize| -> Option<usize> {
        match lists.data_type() {
            DataType::List(_) => Some(lists.as_list::<i32>().value_length(row).try_into().unwrap_or_default()),
            DataType::LargeList(_) => Some(lists.as_list::<i64>().value_length(row).try_into().unwrap_or_default()),
            DataType::Map(..) => Some(lists.as_map().value_length(row).try_into().unwrap_or_default()),
            _ => None,
        }
    };
    let sizes = (0..lists.len()).map(|row| {
        let known = if lists.is_null(row) { None } else { length(row) };
        known.and_then(|length| i32::try_from(length).ok()).unwrap_or(-1)
    });
    Ok(Arc::new(Int32Array::from_iter_values(sizes)))
}

/// Texts and lists of texts, joined; NULLs are left out, NULL where the separator is.
fn concat_ws(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [separators, rest @ ..] = args else { return exec_err!("a separator is needed") };
    let parts = rest.iter().map(Part::of).collect::<Result<Vec<_>>>()?;
    let separators = separators.as_string::<i32>();
    let mut answers = StringBuilder::new();
    for row in 0..rows {
        if separators.is_null(row) {
            answers.append_null();
            continue;
        }
        let (separator, mut joined, mut first) = (separators.value(row), String::new(), true);
        for part in &parts {
            part.each(row, |text| {
                if !first {
                    joined.push_str(separator);
                }
                first = false;
                joined.push_str(text);
            });
        }
        answers.append_value(joined);
    }
    Ok(Arc::new(answers.finish()))
}

/// One argument of `concat_ws`.
enum Part {
    Texts(ArrayRef),
    /// A list and its items as text.
    Lists(ArrayRef, ArrayRef),
}

impl Part {
    fn of(column: &ArrayRef) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::List(_) => {
                let items = cast(column.as_list::<i32>().values(), &DataType::Utf8)?;
                Self::Lists(Arc::clone(column), items)
            }
            _ => Self::Texts(cast(column, &DataType::Utf8)?),
        })
    }

    fn each(&self, row: usize, mut take: impl FnMut(&str)) {
        match self {
            Self::Texts(texts) => {
                let texts = texts.as_string::<i32>();
                if texts.is_valid(row) {
                    take(texts.value(row));
                }
            }
            Self::Lists(lists, items) if lists.is_valid(row) => {
                let (offsets, items) = (lists.as_list::<i32>().value_offsets(), items.as_string::<i32>());
                let place = |at: usize| offsets.get(at).and_then(|at| usize::try_from(*at).ok()).unwrap_or_default();
                for item in place(row)..place(row + 1) {
                    if items.is_valid(item) {
                        take(items.value(item));
                    }
                }
            }
            Self::Lists(..) => {}
        }
    }
}

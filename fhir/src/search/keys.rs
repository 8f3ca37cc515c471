use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ListArray, StringArray, StringBuilder},
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, FieldRef, Schema},
    error::ArrowError,
};
use datafusion::{
    common::Result,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

use super::matcher::column;
use crate::{
    ResourceType,
    path::{
        Path, Step,
        navigate::{Leaves, text, walk},
    },
};

/// The resources that a row refers to, told by texts that another table's rows have as well.
///
/// With `only` they are the ids of what is of that type; without it `Type/id`, and canonical URLs as they stand. The
/// arguments are the columns of the ways, in their order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Keys {
    ways: Vec<Way>,
    only: Option<ResourceType>,
    /// A list for each row, else one text or none.
    many: bool,
    signature: Signature,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Way {
    steps: Vec<Step>,
    is_reference: bool,
}

/// An expression over a table, with the shape of its values.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) expression: Expr,
    pub(super) many: bool,
}

/// The keys that the paths of `resource` lead to; `None` where the table has none of their columns.
pub(super) fn references(
    resource: ResourceType,
    paths: &[Path],
    only: Option<ResourceType>,
    always_list: bool,
    schema: &Schema,
) -> Option<Key> {
    let there: Vec<&Path> = paths.iter().filter(|path| schema.field_with_name(path.column()).is_ok()).collect();
    let arguments: Vec<Expr> = there.iter().map(|path| column(path.column())).collect();
    if arguments.is_empty() {
        return None;
    }
    let many = always_list || there.len() > 1 || there.iter().any(|path| path.repeats(resource));
    let way =
        |path: &&Path| Way { steps: path.steps.clone(), is_reference: path.element.type_id.primitive().is_none() };
    let ways = there.iter().map(way).collect();
    let signature = Signature::any(arguments.len(), Volatility::Immutable);
    let expression = ScalarUDF::new_from_impl(Keys { ways, only, many, signature }).call(arguments);
    Some(Key { expression, many })
}

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Utf8, true))
}

impl ScalarUDFImpl for Keys {
    fn name(&self) -> &'static str {
        "fhir_references"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.many { DataType::List(item()) } else { DataType::Utf8 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut found = Vec::with_capacity(self.ways.len());
        for (way, column) in self.ways.iter().zip(&args.args) {
            if let Some(leaves) = walk(&column.to_array(rows)?, &way.steps, None)? {
                let keys = self.keys(way, &leaves)?;
                found.push((leaves, keys));
            }
        }
        let keys: ArrayRef =
            if self.many { Arc::new(lists(&found, rows)?) } else { Arc::new(singles(found.pop(), rows)) };
        Ok(ColumnarValue::Array(keys))
    }
}

impl Keys {
    /// The key of each value at the end of a way.
    fn keys(&self, way: &Way, leaves: &Leaves) -> Result<StringArray, ArrowError> {
        let none = || StringArray::new_null(leaves.len());
        if !way.is_reference {
            return if self.only.is_none() { text(&leaves.values) } else { Ok(none()) };
        }
        let (Some(types), Some(ids)) = (leaves.texts("__type")?, leaves.texts("__id")?) else { return Ok(none()) };
        if let Some(only) = self.only {
            let fits = BooleanBuffer::collect_bool(types.len(), |place| {
                types.is_valid(place) && types.value(place) == only.name()
            });
            let nulls = NullBuffer::union(ids.nulls(), Some(&NullBuffer::new(fits)));
            return Ok(StringArray::new(ids.offsets().clone(), ids.values().clone(), nulls));
        }
        let mut keys = StringBuilder::with_capacity(ids.len(), ids.len() * 48);
        let mut key = String::new();
        for place in 0..ids.len() {
            if types.is_valid(place) && ids.is_valid(place) {
                key.clear();
                key.push_str(types.value(place));
                key.push('/');
                key.push_str(ids.value(place));
                keys.append_value(&key);
            } else {
                keys.append_null();
            }
        }
        Ok(keys.finish())
    }
}

/// One key for each row, from a way that does not repeat.
fn singles(found: Option<(Leaves, StringArray)>, rows: usize) -> StringArray {
    let Some((leaves, keys)) = found else { return StringArray::new_null(rows) };
    if leaves.is_by_row() {
        return keys;
    }
    let mut by_row: Vec<Option<&str>> = vec![None; rows];
    for place in (0..keys.len()).filter(|place| keys.is_valid(*place)) {
        if let Some(slot) = leaves.row(place).and_then(|row| by_row.get_mut(row)) {
            *slot = Some(keys.value(place));
        }
    }
    by_row.into_iter().collect()
}

/// All keys of each row.
fn lists(found: &[(Leaves, StringArray)], rows: usize) -> Result<ListArray, ArrowError> {
    let pairs = || {
        found.iter().flat_map(|(leaves, keys)| {
            let valid = (0..keys.len()).filter(|place| keys.is_valid(*place));
            valid.filter_map(|place| Some((leaves.row(place)?, keys.value(place))))
        })
    };
    let mut counts = vec![0_usize; rows];
    for (row, _) in pairs() {
        if let Some(count) = counts.get_mut(row) {
            *count += 1;
        }
    }
    let offsets = OffsetBuffer::<i32>::from_lengths(counts.iter().copied());
    let mut next: Vec<usize> = counts
        .iter()
        .scan(0, |sum, count| {
            let start = *sum;
            *sum += count;
            Some(start)
        })
        .collect();
    let mut values: Vec<&str> = vec![""; counts.iter().sum()];
    for (row, key) in pairs() {
        if let Some(slot) = next.get_mut(row) {
            if let Some(value) = values.get_mut(*slot) {
                *value = key;
            }
            *slot += 1;
        }
    }
    ListArray::try_new(item(), offsets, Arc::new(StringArray::from(values)), None)
}

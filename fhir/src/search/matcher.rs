use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray},
    datatypes::{DataType, Field, FieldRef, Schema},
};
use datafusion::{
    common::{Column, Result},
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

use super::{
    eval,
    test::{Test, Way},
};
use crate::{definitions::Primitive, path::Path};

/// Whether any value at the end of a path passes a test: true or false for each row, never null.
///
/// Its arguments are the columns that [`columns`] names.
#[derive(PartialEq, Eq, Hash)]
struct Matcher {
    /// From the resource; its first step is the column.
    way: Way,
    /// Types that a reference may point to; empty: any.
    targets: &'static [&'static str],
    test: Test,
    signature: Signature,
}

// What is searched for may be a patient's name: plans are printed, so it is not.
impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").field("type_id", &self.way.type_id).finish_non_exhaustive()
    }
}

/// The columns that a path needs: its own, and for a date or a decimal in a column of its own those that Mavis keeps beside
/// it. `None` where the table has none of it: nothing is there.
pub(super) fn columns(path: &Path, schema: &Schema) -> Option<Vec<String>> {
    let name = path.column().to_owned();
    schema.field_with_name(&name).ok()?;
    let beside: &[&str] = match path.element.type_id.primitive() {
        Some(primitive) if path.steps.len() == 1 && primitive.is_temporal() => &["start", "end"],
        Some(Primitive::Decimal) if path.steps.len() == 1 => &["text"],
        _ => &[],
    };
    let beside = beside.iter().map(|what| format!("{name}__{what}"));
    let columns: Vec<String> = std::iter::once(name.clone()).chain(beside).collect();
    columns.iter().all(|column| schema.field_with_name(column).is_ok()).then_some(columns)
}

pub(super) fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The expression that tests the path; `None` where the table has no such column.
pub(super) fn expression(path: &Path, targets: &'static [&'static str], test: Test, schema: &Schema) -> Option<Expr> {
    let columns = columns(path, schema)?;
    let signature = Signature::any(columns.len(), Volatility::Immutable);
    let (type_id, systems) = (path.element.type_id, path.element.systems);
    let matcher = Matcher { way: Way { steps: path.steps.clone(), type_id, systems }, targets, test, signature };
    let arguments = columns.iter().map(|name| column(name)).collect();
    Some(ScalarUDF::new_from_impl(matcher).call(arguments))
}

impl ScalarUDFImpl for Matcher {
    fn name(&self) -> &'static str {
        "fhir_matches"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Boolean, false)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns: Vec<ArrayRef> =
            args.args.iter().map(|column| column.to_array(args.number_rows)).collect::<Result<_>>()?;
        let rows = eval::rows(&self.way, self.targets, &self.test, &columns, args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::new(rows, None))))
    }
}

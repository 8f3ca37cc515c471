//! Keys in the filters of a query.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    catalog::Session,
    common::{Column, DFSchema, DataFusionError, Result, ScalarValue},
    logical_expr::{
        Expr, Operator,
        utils::{conjunction, split_conjunction},
    },
    physical_plan::ExecutionPlan,
};
use mavis_lake::{Asked, Providers};

/// Keys beyond which a scan is as fast.
const MOST_KEYS: usize = 32;

/// A plan that reads the rows by key, where the filters leave only the rows of few values of one of the columns of `keys` and
/// these are at hand. The filters are all those of the scan. `counts`: as [`Asked::counts`].
///
/// # Errors
/// Of filters that cannot be planned, and of the lake.
pub(super) async fn by_key(
    providers: &Providers,
    keys: &[String],
    state: &dyn Session,
    projection: Option<&Vec<usize>>,
    filters: &[Expr],
    counts: bool,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((lake, table)) = &providers.lake else { return Ok(None) };
    let (Some(filter), Some(keys)) = (conjunction(filters.iter().cloned()), wanted(filters, keys, providers)?) else {
        return Ok(None);
    };
    let whole = providers.whole.schema();
    let shown = match projection {
        Some(places) => Arc::new(whole.project(places)?),
        None => Arc::clone(&whole),
    };
    let mut columns: Vec<String> = shown.fields().iter().map(|field| field.name().clone()).collect();
    for Column { name, .. } in filter.column_refs() {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    let fields = columns.iter().map(|name| Ok(whole.field_with_name(name)?.clone())).collect::<Result<Vec<Field>>>()?;
    let filter = state.create_physical_expr(filter, &DFSchema::try_from(Schema::new(fields))?)?;
    let asked = Asked { table: *table, version: providers.version, keys, counts };
    let scan = lake.scan_by_key(asked, columns, filter, shown).await;
    scan.map_err(|error| DataFusionError::External(Box::new(error)))
}

/// The values that the filters leave of the first column of `keys` of which they leave few, as a batch of one column.
fn wanted(filters: &[Expr], keys: &[String], providers: &Providers) -> Result<Option<RecordBatch>> {
    let mut left: BTreeMap<&str, Vec<&ScalarValue>> = BTreeMap::new();
    for filter in filters.iter().flat_map(split_conjunction) {
        if let Some((column, values)) = values(filter) {
            left.entry(column).or_insert(values);
        }
    }
    let whole = providers.whole.schema();
    for key in keys {
        let (Some(values), Ok(field)) = (left.get(key.as_str()), whole.field_with_name(key)) else { continue };
        let fits = |value: &&ScalarValue| value.data_type() == *field.data_type() && !value.is_null();
        if values.len() > MOST_KEYS || !is_exact(field.data_type()) || !values.iter().all(fits) {
            continue;
        }
        // A row is found once for each time that its key is asked for.
        let each: HashSet<&ScalarValue> = values.iter().copied().collect();
        let column = ScalarValue::iter_to_array(each.into_iter().cloned())?;
        let schema = Schema::new(vec![Field::new(key, field.data_type().clone(), true)]);
        return Ok(Some(RecordBatch::try_new(Arc::new(schema), vec![column])?));
    }
    Ok(None)
}

/// Whether values of a type are equal only where they are the same.
fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::Date32)
}

/// The column of which a condition leaves only some values, and these: `c = v`, `c IN (v, ...)`, `c = v OR c = w`.
fn values(filter: &Expr) -> Option<(&str, Vec<&ScalarValue>)> {
    match filter {
        Expr::BinaryExpr(binary) => match (binary.op, binary.left.as_ref(), binary.right.as_ref()) {
            (Operator::Eq, Expr::Column(column), Expr::Literal(value, _))
            | (Operator::Eq, Expr::Literal(value, _), Expr::Column(column)) => Some((&column.name, vec![value])),
            (Operator::Or, left, right) => {
                let ((column, mut some), (other, more)) = (values(left)?, values(right)?);
                some.extend(more);
                (column == other).then_some((column, some))
            }
            _ => None,
        },
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let literals =
                list.list.iter().map(|expr| if let Expr::Literal(value, _) = expr { Some(value) } else { None });
            Some((&column.name, literals.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};
    use rstest::rstest;

    #[rstest]
    #[case(col("a").eq(lit(1)), Some(("a", vec![1])))]
    #[case(lit(1).eq(col("a")), Some(("a", vec![1])))]
    #[case(col("a").in_list(vec![lit(1), lit(2)], false), Some(("a", vec![1, 2])))]
    #[case(col("a").eq(lit(1)).or(col("a").eq(lit(2)).or(col("a").eq(lit(3)))), Some(("a", vec![1, 2, 3])))]
    #[case(col("a").eq(lit(1)).or(col("b").eq(lit(2))), None)]
    #[case(col("a").in_list(vec![lit(1), col("b")], false), None)]
    #[case(col("a").in_list(vec![lit(1)], true), None)]
    #[case(col("a").not_eq(lit(1)), None)]
    #[case(col("a").gt(lit(1)), None)]
    #[case((col("a") + lit(1)).eq(lit(2)), None)]
    fn a_condition_leaves_some_values_of_a_column(#[case] filter: Expr, #[case] expected: Option<(&str, Vec<i32>)>) {
        let expected = expected.map(|(column, values)| (column, values.into_iter().map(ScalarValue::from).collect()));
        let found: Option<(&str, Vec<ScalarValue>)> =
            values(&filter).map(|(column, values)| (column, values.into_iter().cloned().collect()));
        assert_eq!(found, expected);
    }
}

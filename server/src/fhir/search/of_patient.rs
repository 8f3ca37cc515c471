//! A search within one patient's resources: they are read by the patient's key and tested in memory, without a plan.
//!
//! The filter and the order are the expressions that a plan would have; what differs is only how the rows are found. It is taken
//! where the filter says of whom the resources are (`__patient = '...'` stands in it for itself) and joins nothing.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    compute::{SortColumn, SortOptions, filter_record_batch, lexsort_to_indices, take},
};
use datafusion::{
    common::{DFSchema, ScalarValue},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, Operator, SortExpr, lit, utils::split_conjunction},
    prelude::ident,
};
use mavis_sql::{Error, When};

use super::{matches::Part, tables::Tables};
use crate::fhir::{read::unplanned, rows::current};

/// Resources that are tested in memory; of whom there are more is searched by a plan.
const MOST: usize = 50_000;

/// The ids of what matches, in the order asked for; `after`: only ids above this one. `None`: a plan must find them.
pub(super) async fn ids(tables: &Tables<'_>, part: &Part, after: Option<&str>) -> Result<Option<Vec<String>>, Error> {
    let criteria = &part.search.criteria;
    let Some(filter) = criteria.filter.as_ref().filter(|_| criteria.links.is_empty()) else { return Ok(None) };
    let (Some(patient), Some(frame)) = (patient(filter), tables.frame(part.resource)) else { return Ok(None) };
    let Some(direct) = tables.session.direct(&current(part.resource), When::Seen).await? else { return Ok(None) };
    let mut columns: BTreeSet<&str> = BTreeSet::from(["id"]);
    let sorted = part.search.sort.iter().map(|key| &key.expr);
    columns.extend([filter].into_iter().chain(sorted).flat_map(Expr::column_refs).map(|column| column.name()));
    let columns: Vec<&str> = columns.into_iter().collect();
    let key: ArrayRef = Arc::new(StringArray::from(vec![patient]));
    let key = RecordBatch::try_from_iter([("__patient", key)]).map_err(|error| unplanned(error.into()))?;
    let Ok(Some(found)) = direct.rows(&key, &columns, MOST).await else { return Ok(None) };
    let filter = match after {
        Some(after) => filter.clone().and(ident("id").gt(lit(after))),
        None => filter.clone(),
    };
    let (state, _) = frame.clone().into_parts();
    let sort = part.search.sort.clone();
    // It computes: not on the threads that serve.
    let tested = tokio::task::spawn_blocking(move || test(&state, &found.rows, filter, &sort)).await;
    let broken = |_| Error::Execution { message: "a task broke".to_owned() };
    tested.map_err(broken)?.map(Some).map_err(unplanned)
}

/// The patient of whom every resource is that the filter lets through.
fn patient(filter: &Expr) -> Option<&str> {
    split_conjunction(filter).into_iter().find_map(|part| match part {
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => match (&*binary.left, &*binary.right) {
            (Expr::Column(column), Expr::Literal(ScalarValue::Utf8(Some(id)), _)) if column.name == "__patient" => {
                Some(id.as_str())
            }
            _ => None,
        },
        _ => None,
    })
}

/// The ids of the rows that pass, in order.
fn test(
    state: &SessionState,
    rows: &RecordBatch,
    filter: Expr,
    sort: &[SortExpr],
) -> Result<Vec<String>, DataFusionError> {
    let schema = DFSchema::try_from(rows.schema().as_ref().clone())?;
    let value = |expr: Expr, rows: &RecordBatch| {
        state.create_physical_expr(expr, &schema)?.evaluate(rows)?.into_array(rows.num_rows())
    };
    let passed = value(filter, rows)?;
    // A null is no match.
    let rows = filter_record_batch(rows, passed.as_boolean())?;
    let ids = value(ident("id"), &rows)?;
    let keys = sort.iter().map(|key| {
        let options = SortOptions { descending: !key.asc, nulls_first: key.nulls_first };
        Ok(SortColumn { values: value(key.expr.clone(), &rows)?, options: Some(options) })
    });
    let order = lexsort_to_indices(&keys.collect::<Result<Vec<_>, DataFusionError>>()?, None)?;
    let ids = take(&ids, &order, None)?;
    let ids = ids.as_string_opt::<i32>().ok_or_else(|| DataFusionError::Internal("an id is not text".to_owned()))?;
    Ok((0..ids.len()).map(|row| ids.value(row).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{SessionContext, col};
    use rstest::rstest;

    #[rstest]
    #[case(ident("__patient").eq(lit("p")), Some("p"))]
    #[case(col("a").gt(lit(1)).and(ident("__patient").eq(lit("p"))), Some("p"))]
    #[case(col("a").gt(lit(1)).or(ident("__patient").eq(lit("p"))), None)]
    #[case(ident("__patient").not_eq(lit("p")), None)]
    #[case(ident("__patient").in_list(vec![lit("p"), lit("q")], false), None)]
    #[case(col("a").eq(lit("p")), None)]
    fn a_filter_is_of_a_patient_where_nobody_elses_resources_pass(#[case] filter: Expr, #[case] of: Option<&str>) {
        assert_eq!(patient(&filter), of);
    }

    #[test]
    fn rows_are_tested_and_ordered_as_a_plan_would() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["d", "a", "c", "b"]));
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("y"), None, Some("y")]));
        let rows = RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("v", values, true)]).unwrap();
        let state = SessionContext::new().state();
        let sort = [col("v").sort(false, false), col("id").sort(true, false)];
        assert_eq!(test(&state, &rows, col("id").not_eq(lit("b")), &sort).unwrap(), ["a", "d", "c"]);
        // Neither equal nor unequal: a null passes no test.
        assert_eq!(test(&state, &rows, col("v").not_eq(lit("x")), &sort).unwrap(), ["a", "b"]);
        assert!(test(&state, &rows, col("v").eq(lit("z")), &sort).unwrap().is_empty());
    }
}

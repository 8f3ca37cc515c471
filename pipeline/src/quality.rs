//! Rules over whole rows of a cleaned batch: ranges, and consistency such as `discharge >= admission`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array},
    compute::kernels::zip::zip,
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::DFSchema,
    logical_expr::{Expr, cast},
    physical_expr::PhysicalExpr,
    prelude::SessionContext,
};

use crate::{
    clean::{Action, Bad, Check},
    failure::Failure,
};

/// The rules of one table, planned for its columns.
#[derive(Debug)]
pub(crate) struct Checks {
    checks: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    name: String,
    action: Action,
    columns: Vec<usize>,
    holds: Arc<dyn PhysicalExpr>,
}

impl Checks {
    /// Plans the rules against the columns.
    ///
    /// # Errors
    /// Which rule names a column that is not there, or is no condition.
    pub(crate) fn plan(session: &SessionContext, checks: &[Check], schema: &SchemaRef) -> Result<Self, Failure> {
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        let mut planned = Vec::with_capacity(checks.len());
        for check in checks {
            let at = |failure: Failure| failure.at(&format!("rule `{}`", check.name));
            let expression = session.parse_sql_expr(&check.rule, &columns).map_err(|e| at(e.into()))?;
            let named = named_columns(&expression, schema);
            let wanted: BTreeSet<usize> = if check.columns.is_empty() {
                named
            } else {
                check.columns.iter().filter_map(|name| schema.index_of(name).ok()).collect()
            };
            let holds = session
                .create_physical_expr(cast(expression, DataType::Boolean), &columns)
                .map_err(|e| at(e.into()))?;
            planned.push(Planned {
                name: check.name.clone(),
                action: check.action,
                columns: wanted.into_iter().collect(),
                holds,
            });
        }
        Ok(Self { checks: planned })
    }

    /// Applies the rules in their order: empties columns, adds to `bad`, and counts what passed with a warning. A row
    /// that is set aside already is not judged again.
    pub(crate) fn apply(
        &self,
        mut batch: RecordBatch,
        bad: &mut Vec<Bad>,
        warnings: &mut BTreeMap<String, u64>,
    ) -> Result<RecordBatch, Failure> {
        let mut aside: BTreeSet<usize> = bad.iter().map(|bad| bad.row).collect();
        for check in &self.checks {
            let holds = check.holds.evaluate(&batch)?.into_array(batch.num_rows())?;
            let holds = holds.as_boolean();
            let broken = |row: usize| holds.is_valid(row) && !holds.value(row);
            let rows: Vec<usize> = (0..batch.num_rows()).filter(|row| broken(*row) && !aside.contains(row)).collect();
            if rows.is_empty() {
                continue;
            }
            match check.action {
                Action::Quarantine => {
                    for row in rows {
                        aside.insert(row);
                        bad.push(Bad { row, reason: check.name.clone() });
                    }
                }
                Action::Warn => {
                    *warnings.entry(format!("fail the rule `{}` (kept)", check.name)).or_insert(0) += rows.len() as u64;
                }
                Action::Null => {
                    *warnings.entry(format!("fail the rule `{}` (emptied)", check.name)).or_insert(0) +=
                        rows.len() as u64;
                    batch = emptied(&batch, &check.columns, holds)?;
                }
            }
        }
        bad.sort_by_key(|bad| bad.row);
        Ok(batch)
    }
}

fn named_columns(expression: &Expr, schema: &SchemaRef) -> BTreeSet<usize> {
    expression.column_refs().iter().filter_map(|column| schema.index_of(&column.name).ok()).collect()
}

/// The batch with the columns null where the rule does not hold.
fn emptied(batch: &RecordBatch, columns: &[usize], holds: &BooleanArray) -> Result<RecordBatch, Failure> {
    let broken: BooleanArray = holds.iter().map(|holds| Some(holds == Some(false))).collect();
    let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
    for index in columns {
        let nothing = new_null_array(arrays[*index].data_type(), batch.num_rows());
        arrays[*index] = zip(&broken, &nothing, &arrays[*index])?;
    }
    Ok(RecordBatch::try_new(batch.schema(), arrays)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Int64Array};
    use rstest::rstest;

    use super::*;

    fn stays() -> RecordBatch {
        let entree: ArrayRef = Arc::new(Date32Array::from(vec![Some(10), Some(10), None]));
        let sortie: ArrayRef = Arc::new(Date32Array::from(vec![Some(12), Some(9), Some(1)]));
        let age: ArrayRef = Arc::new(Int64Array::from(vec![40, 200, 30]));
        RecordBatch::try_from_iter_with_nullable([
            ("entree", entree, true),
            ("sortie", sortie, true),
            ("age", age, true),
        ])
        .unwrap()
    }

    fn check(action: Action) -> Check {
        Check {
            name: "discharge after admission".to_owned(),
            rule: "sortie >= entree".to_owned(),
            action,
            columns: Vec::new(),
        }
    }

    fn apply(check: Check) -> (RecordBatch, Vec<Bad>, BTreeMap<String, u64>) {
        let batch = stays();
        let checks = Checks::plan(&SessionContext::new(), &[check], &batch.schema()).unwrap();
        let (mut bad, mut warnings) = (Vec::new(), BTreeMap::new());
        let batch = checks.apply(batch, &mut bad, &mut warnings).unwrap();
        (batch, bad, warnings)
    }

    #[rstest]
    #[case(Action::Quarantine, 1, 0, 0)]
    #[case(Action::Warn, 0, 1, 0)]
    #[case(Action::Null, 0, 1, 1)]
    fn a_broken_rule_does_what_it_says_and_a_null_breaks_none(
        #[case] action: Action,
        #[case] aside: usize,
        #[case] warned: u64,
        #[case] emptied: usize,
    ) {
        let (batch, bad, warnings) = apply(check(action));
        assert_eq!(bad.len(), aside);
        assert_eq!(warnings.values().sum::<u64>(), warned);
        assert_eq!(batch.column(1).null_count(), emptied);
    }

    #[test]
    fn a_rule_on_an_unknown_column_is_refused_by_name() {
        let wrong = Check { rule: "depart >= entree".to_owned(), ..check(Action::Warn) };
        let error = Checks::plan(&SessionContext::new(), &[wrong], &stays().schema()).unwrap_err();
        assert!(error.to_string().contains("discharge after admission"), "{error}");
    }
}

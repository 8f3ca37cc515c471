use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    error::ArrowError,
};

use super::barrier;

/// Leaves out of an explained plan what stands below a guarded scan: files, their statistics, predicates of the policy.
///
/// `batch`: the two text columns (`plan_type`, `plan`) of EXPLAIN or EXPLAIN ANALYZE.
pub(crate) fn cut_explained(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| match column.as_any().downcast_ref::<StringArray>() {
            None => Arc::clone(column),
            Some(texts) => {
                let cut: StringArray = texts.iter().map(|text| text.map(cut)).collect();
                Arc::new(cut) as ArrayRef
            }
        })
        .collect();
    RecordBatch::try_new(batch.schema(), columns)
}

fn cut(plan: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut out = String::with_capacity(plan.len());
    let mut below: Option<usize> = None;
    for line in plan.lines() {
        if below.is_some_and(|depth| indent(line) > depth) {
            continue;
        }
        below = line.trim_start().starts_with(barrier::NAME).then(|| indent(line));
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_guarded_scan_is_not_explained() {
        let plan = "HashJoinExec\n  GuardedScan: table=a\n    DataSourceExec: files=[/secret]\n  FilterExec\n    GuardedScan: \
                    table=b\n      FilterExec\n        DataSourceExec: files=[/secret]\n";
        let text = cut(plan);
        assert_eq!(text, "HashJoinExec\n  GuardedScan: table=a\n  FilterExec\n    GuardedScan: table=b\n");
    }
}

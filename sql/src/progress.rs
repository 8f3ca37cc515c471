//! How far a running query is, told from the rows that its scans have given.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::{
    common::stats::Precision,
    physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext},
};

/// Shared between the work and whoever asks how far it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Option<Arc<dyn ExecutionPlan>>>>);

impl Progress {
    /// From here on this plan runs.
    pub(crate) fn begin(&self, plan: &Arc<dyn ExecutionPlan>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(plan));
    }

    /// Between 0 and 1: rows that the leaves gave, of those that they have; `None` where no leaf says how many that are.
    pub(crate) fn fraction(&self) -> Option<f64> {
        let plan = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (mut given, mut all) = (0, 0);
        leaves(&plan, &mut given, &mut all);
        if all == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "a share needs no exact counts")]
        let share = given as f64 / all as f64;
        // What stands above the scans may still work.
        Some(share.min(0.99))
    }
}

fn leaves(plan: &Arc<dyn ExecutionPlan>, given: &mut usize, all: &mut usize) {
    if !plan.children().is_empty() {
        for child in plan.children() {
            leaves(child, given, all);
        }
        return;
    }
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    let rows = statistics.map(|statistics| statistics.num_rows);
    if let Ok(Precision::Exact(rows) | Precision::Inexact(rows)) = rows {
        *all += rows;
        *given += plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default().min(rows);
    }
}

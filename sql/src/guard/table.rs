use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, plan_err},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use mavis_types::TokenId;

use super::{barrier::Barrier, policy::Policy, predicate::passes};

/// A table as one principal sees it.
#[derive(Debug)]
pub(crate) struct GuardedTable {
    inner: Arc<dyn TableProvider>,
    name: Arc<str>,
    policy: Arc<Policy>,
    /// Whom it was made for: a plan of somebody else must not hold it.
    principal: TokenId,
}

impl GuardedTable {
    pub(crate) fn new(inner: Arc<dyn TableProvider>, name: &str, policy: Policy, principal: TokenId) -> Self {
        Self { inner, name: name.into(), policy: Arc::new(policy), principal }
    }

    pub(super) fn is_of(&self, principal: TokenId) -> bool {
        self.principal == principal
    }
}

#[async_trait]
impl TableProvider for GuardedTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !self.policy.is_open() {
            // No policy with masks or row filters can be granted yet; one that appears is refused until scans apply it.
            return plan_err!("table {} has a policy that this version cannot apply", self.name);
        }
        let filters: Vec<Expr> = filters.iter().filter(|filter| passes(filter, &self.policy)).cloned().collect();
        let scan = self.inner.scan(state, projection, &filters, limit).await?;
        Ok(Arc::new(Barrier::new(scan, Arc::clone(&self.name), Arc::clone(&self.policy))))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let inner = self.inner.supports_filters_pushdown(filters)?;
        let held = inner.into_iter().zip(filters).map(|(support, filter)| {
            if passes(filter, &self.policy) { support } else { TableProviderFilterPushDown::Unsupported }
        });
        Ok(held.collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

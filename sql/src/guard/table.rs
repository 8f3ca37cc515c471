use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, plan_err},
    datasource::empty::EmptyTable,
    logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use mavis_catalog::Table;
use mavis_lake::Providers;
use mavis_types::{TableName, TokenId};

use super::{barrier::Barrier, policy::Policy, predicate::passes};

/// What resources are looked up by beside the key: their own id in history, their patient in any table.
const FHIR_KEYS: [&str; 2] = ["id", "__patient"];

/// A table as one principal sees it.
#[derive(Debug)]
pub(crate) struct GuardedTable {
    providers: Providers,
    name: Arc<str>,
    /// Columns that rows are looked up by.
    keys: Vec<String>,
    policy: Arc<Policy>,
    /// Whom it was made for: a plan of somebody else must not hold it.
    principal: TokenId,
}

impl GuardedTable {
    pub(crate) fn new(providers: Providers, table: &Table, policy: Policy, principal: TokenId) -> Self {
        let keys = table.key.iter().cloned().chain(FHIR_KEYS.map(str::to_owned)).collect();
        Self { providers, name: table.name.to_string().into(), keys, policy: Arc::new(policy), principal }
    }

    /// A table that was never made: it has these columns and no rows.
    pub(crate) fn of_nothing(columns: SchemaRef, name: &TableName, policy: Policy, principal: TokenId) -> Self {
        let empty: Arc<dyn TableProvider> = Arc::new(EmptyTable::new(columns));
        let providers = Providers { version: 0, whole: Arc::clone(&empty), look_up: empty };
        Self { providers, name: name.to_string().into(), keys: Vec::new(), policy: Arc::new(policy), principal }
    }

    pub(crate) fn is_of(&self, principal: TokenId) -> bool {
        self.principal == principal
    }
}

#[async_trait]
impl TableProvider for GuardedTable {
    fn schema(&self) -> SchemaRef {
        self.providers.whole.schema()
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
        let look_up = filters.iter().any(|filter| looks_up(filter, &self.keys));
        let inner = if look_up { &self.providers.look_up } else { &self.providers.whole };
        let scan = inner.scan(state, projection, &filters, limit).await?;
        Ok(Arc::new(Barrier::new(scan, Arc::clone(&self.name), Arc::clone(&self.policy))))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let inner = self.providers.whole.supports_filters_pushdown(filters)?;
        let held = inner.into_iter().zip(filters).map(|(support, filter)| {
            if passes(filter, &self.policy) { support } else { TableProviderFilterPushDown::Unsupported }
        });
        Ok(held.collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        self.providers.whole.statistics()
    }
}

/// Whether a filter leaves only the rows of some keys: `key = literal`, `key IN (...)`, also beside other conditions.
fn looks_up(filter: &Expr, keys: &[String]) -> bool {
    let is_key = |expr: &Expr| matches!(expr, Expr::Column(column) if keys.contains(&column.name));
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Eq => {
                (is_key(&binary.left) && is_literal(&binary.right))
                    || (is_literal(&binary.left) && is_key(&binary.right))
            }
            Operator::And => looks_up(&binary.left, keys) || looks_up(&binary.right, keys),
            Operator::Or => looks_up(&binary.left, keys) && looks_up(&binary.right, keys),
            _ => false,
        },
        Expr::InList(list) => !list.negated && is_key(&list.expr) && list.list.iter().all(is_literal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};
    use rstest::rstest;

    #[rstest]
    #[case(col("id").eq(lit("a")), true)]
    #[case(lit("a").eq(col("id")), true)]
    #[case(col("id").in_list(vec![lit("a"), lit("b")], false), true)]
    #[case(col("id").eq(lit("a")).and(col("n").gt(lit(3))), true)]
    #[case(col("id").eq(lit("a")).or(col("id").eq(lit("b"))), true)]
    #[case(col("id").in_list(vec![lit("a")], true), false)]
    #[case(col("id").eq(lit("a")).or(col("n").gt(lit(3))), false)]
    #[case(col("id").gt(lit("a")), false)]
    #[case(col("sex").eq(lit("f")), false)]
    fn a_filter_on_a_key_is_a_look_up(#[case] filter: Expr, #[case] is: bool) {
        assert_eq!(looks_up(&filter, &["id".to_owned()]), is);
    }
}

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, ToDFSchema},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_plan::{ExecutionPlan, filter::FilterExec},
};
use mavis_fhir::view::Plan;
use mavis_types::TokenId;

use super::exec::ViewExec;
use crate::guard::GuardedTable;

/// A view over the resources that one principal may read.
#[derive(Debug)]
pub(crate) struct ViewTable {
    plan: Arc<Plan>,
    resources: Arc<GuardedTable>,
    /// Conditions on flat columns of the resources' table.
    only: Vec<Expr>,
}

impl ViewTable {
    pub(crate) fn new(plan: Arc<Plan>, resources: Arc<GuardedTable>, only: Vec<Expr>) -> Self {
        Self { plan, resources, only }
    }

    pub(crate) fn is_of(&self, principal: TokenId) -> bool {
        self.resources.is_of(principal)
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let schema = self.resources.schema();
        let support = filters.iter().map(|filter| match self.plan.on_resources(filter, &schema) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        });
        Ok(support.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = match projection {
            None => Arc::clone(&self.plan),
            Some(columns) => {
                let mut wanted = columns.clone();
                wanted.sort_unstable();
                Arc::new(Plan::clone(&self.plan).project(&wanted))
            }
        };
        let schema = self.resources.schema();
        let mut reads = plan.reads();
        // A scan without any column is a special case that not every source counts right.
        reads.insert("id".to_owned());
        let mut only = self.only.clone();
        only.extend(filters.iter().filter_map(|filter| self.plan.on_resources(filter, &schema)));
        for filter in &only {
            reads.extend(filter.column_refs().into_iter().map(|column| column.name.clone()));
        }
        let columns: Vec<usize> =
            (0..schema.fields().len()).filter(|index| reads.contains(schema.field(*index).name())).collect();
        // What the view itself says helps the scan, and is tested by the view.
        let helps: Vec<Expr> = only.iter().cloned().chain(self.plan.implied(&schema)).collect();
        let mut input = self.resources.scan(state, Some(&columns), &helps, None).await?;
        if let Some(filter) = conjunction(only) {
            let predicate = state.create_physical_expr(filter, &input.schema().to_dfschema()?)?;
            input = Arc::new(FilterExec::try_new(predicate, input)?);
        }
        // The answer has the columns in the order that was asked for.
        let order = projection.map(|columns| {
            let place = |column: &usize| columns.iter().filter(|other| *other < column).count();
            columns.iter().map(place).collect()
        });
        Ok(Arc::new(ViewExec::new(input, plan, order)?))
    }
}

//! Rows by key within a plan.

use std::{fmt, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use datafusion::{
    common::{
        Result, Statistics, cast::as_boolean_array, internal_err, stats::Precision, tree_node::TreeNodeRecursion,
    },
    error::DataFusionError,
    execution::TaskContext,
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        ReplaceChildrenOptions, SendableRecordBatchStream, StatisticsArgs,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::stream;
use mavis_types::TableId;

use crate::{Error, Lake};

/// Rows beyond which a scan is as fast: they stand on many pages.
const MOST_ROWS: usize = 32;

/// What a query asks of a version by key.
#[derive(Debug, Clone)]
pub struct Asked {
    pub table: TableId,
    pub version: i64,
    /// A row per key, columns named as the table's ([`Lake::rows_by_key`]).
    pub keys: RecordBatch,
    /// Whether this counts towards an index of the files; a query that asks twice counts once.
    pub counts: bool,
}

impl Lake {
    /// A plan that reads the rows of some keys: those of `columns` that pass `filter` (over `columns`), and of these what
    /// `schema` has. `None` where it is not at hand to do so: the files that may have them are not indexed, or they are not few.
    /// Files that are asked again and again are indexed on the way.
    ///
    /// # Errors
    /// As [`Lake::rows_by_key`].
    pub async fn scan_by_key(
        &self,
        asked: Asked,
        columns: Vec<String>,
        filter: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>, Error> {
        let rows = self.rows_at_hand(&asked).await?;
        let Some(rows) = rows.filter(|rows| *rows <= MOST_ROWS) else { return Ok(None) };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Ok(Some(Arc::new(KeyedScan { lake: self.clone(), asked, columns, filter, rows, properties })))
    }
}

/// See [`Lake::scan_by_key`].
#[derive(Clone)]
struct KeyedScan {
    lake: Lake,
    asked: Asked,
    columns: Vec<String>,
    filter: Arc<dyn PhysicalExpr>,
    /// At most so many.
    rows: usize,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for KeyedScan {
    /// Keys are values of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedScan").field("table", &self.asked.table).finish_non_exhaustive()
    }
}

impl KeyedScan {
    async fn read(self) -> Result<RecordBatch> {
        let (asked, schema) = (&self.asked, self.schema());
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let found = self.lake.rows_by_key(asked.table, asked.version, &asked.keys, &columns, usize::MAX).await;
        let Some(found) = found.map_err(|error| DataFusionError::External(Box::new(error)))? else {
            return internal_err!("a table that was read by key is not any more");
        };
        let passed = self.filter.evaluate(&found.rows)?.into_array(found.rows.num_rows())?;
        let rows = filter_record_batch(&found.rows, as_boolean_array(&passed)?)?;
        let place = |name: &str| rows.schema_ref().index_of(name);
        let columns = schema.fields().iter().map(|field| Ok(Arc::clone(rows.column(place(field.name())?))));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema, columns, &count)?)
    }
}

impl DisplayAs for KeyedScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedScan: keys={}", self.asked.keys.num_rows())
    }
}

impl ExecutionPlan for KeyedScan {
    fn name(&self) -> &'static str {
        "KeyedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a scan by key has no input") }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a scan by key has one partition");
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(self.clone().read()))))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let rows = Precision::Inexact(self.rows);
        Ok(Arc::new(Statistics { num_rows: rows, ..Statistics::new_unknown(&self.schema()) }))
    }
}

//! Rows by key within a plan: a scan that looks into indexes first.

use std::{fmt, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use datafusion::{
    common::{Result, Statistics, cast::as_boolean_array, internal_err, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::TaskContext,
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        ReplaceChildrenOptions, SendableRecordBatchStream, StatisticsArgs,
        coalesce_partitions::CoalescePartitionsExec,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_types::TableId;

use crate::Lake;

/// Rows beyond which a scan is as fast: they stand on many pages.
const MOST_ROWS: usize = 32;

/// What a query asks of a version by key.
#[derive(Debug, Clone)]
pub struct Asked {
    pub table: TableId,
    pub version: i64,
    /// A row per key, columns named as the table's ([`Lake::rows_by_key`]).
    pub keys: RecordBatch,
    /// The columns that `filter` is over.
    pub columns: Vec<String>,
    /// All that is asked of the rows.
    pub filter: Arc<dyn PhysicalExpr>,
}

impl Lake {
    /// `scan`, which gives the rows that are asked for (perhaps more of them), as a plan that reads them by key where that is at
    /// hand: the files that may have them are indexed, and they are few. Files that are asked again and again are indexed on
    /// the way.
    #[must_use]
    pub fn scan_by_key(&self, asked: Asked, scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(KeyedScan::new(self.clone(), asked, scan))
    }
}

/// See [`Lake::scan_by_key`].
#[derive(Clone)]
struct KeyedScan {
    lake: Lake,
    asked: Asked,
    scan: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for KeyedScan {
    /// Keys are values of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedScan").field("table", &self.asked.table).field("scan", &self.scan).finish_non_exhaustive()
    }
}

impl KeyedScan {
    fn new(lake: Lake, asked: Asked, scan: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(scan.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { lake, asked, scan, properties: Arc::new(properties) }
    }
}

/// The rows, where they can be read by key.
async fn rows(lake: &Lake, asked: &Asked, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
    let columns: Vec<&str> = asked.columns.iter().map(String::as_str).collect();
    let found = lake.rows_if_indexed(asked.table, asked.version, &asked.keys, &columns, MOST_ROWS).await;
    let Some(found) = found.map_err(|error| DataFusionError::External(Box::new(error)))? else { return Ok(None) };
    let passed = asked.filter.evaluate(&found.rows)?.into_array(found.rows.num_rows())?;
    let rows = filter_record_batch(&found.rows, as_boolean_array(&passed)?)?;
    let columns =
        schema.fields().iter().map(|field| Ok(Arc::clone(rows.column(rows.schema_ref().index_of(field.name())?))));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &count)?))
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
        vec![&self.scan]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(scan), true) => Ok(Arc::new(Self { scan, ..Self::clone(&self) })),
            _ => internal_err!("a scan by key has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a scan by key has one partition");
        }
        let (lake, asked, scan, schema) =
            (self.lake.clone(), self.asked.clone(), Arc::clone(&self.scan), self.schema());
        let output = Arc::clone(&schema);
        let stream = stream::once(async move {
            match rows(&lake, &asked, &schema).await? {
                Some(rows) => Ok::<_, DataFusionError>(stream::iter([Ok(rows)]).boxed()),
                None => Ok(CoalescePartitionsExec::new(scan).execute(0, context)?.boxed()),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, stream.try_flatten())))
    }

    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None)]
    }

    fn statistics_from_inputs(&self, input: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match input.first() {
            Some(scan) => Ok(Arc::new(Statistics::clone(scan).to_inexact())),
            None => internal_err!("a scan by key has one input"),
        }
    }
}

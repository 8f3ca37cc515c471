use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use deltalake_core::DeltaTable;
use futures::{StreamExt, TryStreamExt};
use mavis_types::TableName;
use object_store::ObjectStore;

use crate::{
    Error,
    compare::FILE_SHIFT,
    scan::{DataFile, read},
};

/// The column that tells where a row stands. No column of a table is called so: names have no spaces.
pub const PLACE: &str = "row place";

/// The rows of one version with their places.
pub(super) struct Places {
    store: Arc<dyn ObjectStore>,
    name: TableName,
    schema: SchemaRef,
    files: Arc<Vec<DataFile>>,
    base: DeltaTable,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "places of {}", self.name)
    }
}

impl Places {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        name: TableName,
        columns: &Schema,
        files: Arc<Vec<DataFile>>,
        base: DeltaTable,
    ) -> Self {
        let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(PLACE, DataType::Int64, false)));
        Self { store, name, schema: Arc::new(Schema::new(fields)), files, base }
    }

    /// Which files can hold rows for which all filters are true, by the log's statistics.
    fn wanted(&self, state: &dyn Session, filters: &[Expr]) -> Vec<bool> {
        let all = vec![true; self.files.len()];
        let Some(filter) = filters.iter().cloned().reduce(Expr::and) else { return all };
        let pruned = DFSchema::try_from(Arc::clone(&self.schema))
            .and_then(|schema| state.create_physical_expr(filter, &schema))
            .and_then(|filter| {
                PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).try_build(filter)
            })
            .ok()
            .and_then(|predicate| predicate.prune(&self.base.snapshot().ok()?.log_data()).ok());
        pruned.filter(|pruned| pruned.len() == all.len()).unwrap_or(all)
    }
}

#[async_trait]
impl TableProvider for Places {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let wanted = self.wanted(state, filters);
        let mut numbers: Vec<usize> = (0..self.files.len()).filter(|number| wanted[*number]).collect();
        // The largest first, each to whoever has least.
        numbers.sort_by_key(|number| std::cmp::Reverse(self.files[*number].bytes));
        let count = state.config().target_partitions().clamp(1, numbers.len().max(1));
        let mut parts: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); count];
        for number in numbers {
            if let Some(part) = parts.iter_mut().min_by_key(|part| part.0) {
                part.0 += self.files[number].bytes;
                part.1.push(number);
            }
        }
        let parts = parts.into_iter().map(|(_, numbers)| {
            Arc::new(Part {
                store: Arc::clone(&self.store),
                name: self.name.clone(),
                schema: Arc::clone(&schema),
                files: Arc::clone(&self.files),
                numbers,
            }) as Arc<dyn PartitionStream>
        });
        let exec = StreamingTableExec::try_new(Arc::clone(&schema), parts.collect(), None, [], false, limit)?;
        Ok(Arc::new(exec))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

struct Part {
    store: Arc<dyn ObjectStore>,
    name: TableName,
    schema: SchemaRef,
    files: Arc<Vec<DataFile>>,
    numbers: Vec<usize>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files of {}", self.numbers.len(), self.name)
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let own = self.schema.fields().iter().filter(|field| field.name() != PLACE).cloned();
        let own: SchemaRef = Arc::new(Schema::new(own.collect::<Vec<_>>()));
        let (store, name, files, schema) =
            (Arc::clone(&self.store), self.name.clone(), Arc::clone(&self.files), Arc::clone(&self.schema));
        let batches = futures::stream::iter(self.numbers.clone()).then(move |number| {
            let (store, name, files, schema, own) =
                (Arc::clone(&store), name.clone(), Arc::clone(&files), Arc::clone(&schema), Arc::clone(&own));
            async move {
                let file = files.get(number).ok_or_else(|| Error::NoSuchTable { table: name.to_string() })?;
                let batches = read(&store, &file.path, file.bytes, &own, &name).await?;
                let mut first = 0_i64;
                Ok::<_, Error>(batches.map(move |batch| {
                    let batch = batch?;
                    let placed = placed(&batch, &schema, number, first);
                    first += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                    placed
                }))
            }
        });
        let batches = batches.try_flatten().map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// The batch in the columns of `schema`; `first` is the number of its first row in the file.
fn placed(batch: &RecordBatch, schema: &SchemaRef, file: usize, first: i64) -> Result<RecordBatch, Error> {
    let from = (i64::try_from(file).unwrap_or(i64::MAX) << FILE_SHIFT) | first;
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        PLACE => Some(Arc::new(Int64Array::from_iter_values((from..).take(batch.num_rows()))) as ArrayRef),
        name => batch.column_by_name(name).cloned(),
    });
    let columns: Vec<ArrayRef> = columns.flatten().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(Error::arrow)
}

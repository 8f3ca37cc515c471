//! Plans over foreign files: who reads one that is not what was taken over is told so, and of which table it is; and values of
//! folders come as text, where Delta's scan makes dictionaries of them: as they would come from a copy.

use std::{fmt, ops::Range, sync::Arc};

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{
        Result, Statistics,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    datasource::{listing::PartitionedFile, physical_plan::ParquetFileReaderFactory},
    logical_expr::{
        Expr, TableProviderFilterPushDown,
        TableProviderFilterPushDown::{Exact, Inexact},
        TableType,
    },
    physical_expr::{
        PhysicalExpr,
        expressions::{Column, cast},
    },
    physical_plan::{ExecutionPlan, metrics::ExecutionPlanMetricsSet, projection::ProjectionExec},
};
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use mavis_types::TableName;
use object_store::{ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{ParquetError, Result as ParquetResult},
    file::metadata::ParquetMetaData,
};

use super::{Foreign, routes::Routed, trouble::change};
use crate::{Error, reader::with_readers};

/// A provider of foreign files.
#[derive(Debug)]
pub(crate) struct ForeignTable {
    inner: Arc<dyn TableProvider>,
    name: TableName,
    routed: Arc<Routed>,
    schema: SchemaRef,
}

impl ForeignTable {
    pub(crate) fn over(inner: Arc<dyn TableProvider>, name: &TableName, foreign: &Foreign) -> Arc<dyn TableProvider> {
        let fields = inner.schema().fields().iter().map(plain).collect::<Vec<_>>();
        Arc::new(Self {
            inner,
            name: name.clone(),
            routed: Arc::clone(&foreign.routed),
            schema: Arc::new(Schema::new(fields)),
        })
    }

    fn told(&self, node: Arc<dyn ExecutionPlan>) -> Transformed<Arc<dyn ExecutionPlan>> {
        let readers = |_: &str, inner: &Arc<dyn ParquetFileReaderFactory>| -> Arc<dyn ParquetFileReaderFactory> {
            Arc::new(Readers { name: self.name.clone(), routed: Arc::clone(&self.routed), inner: Arc::clone(inner) })
        };
        with_readers(node, readers, |source| source)
    }
}

#[async_trait]
impl TableProvider for ForeignTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.inner.scan(state, projection, filters, limit).await?;
        flat(plan.transform_up(|node| Ok(self.told(node))).data()?)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are left out by the values of their folders; that these are all, the plan sees to itself.
        let supported = self.inner.supports_filters_pushdown(filters)?.into_iter();
        Ok(supported.map(|one| if one == Exact { Inexact } else { one }).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

/// A column without its dictionary.
fn plain(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Dictionary(_, values) => Arc::new(field.as_ref().clone().with_data_type(values.as_ref().clone())),
        _ => Arc::clone(field),
    }
}

/// A plan whose columns have no dictionaries.
fn flat(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    if !schema.fields().iter().any(|field| matches!(field.data_type(), DataType::Dictionary(..))) {
        return Ok(plan);
    }
    let columns = schema.fields().iter().enumerate().map(|(place, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), place));
        let column = match field.data_type() {
            DataType::Dictionary(_, values) => cast(column, &schema, values.as_ref().clone())?,
            _ => column,
        };
        Ok((column, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}

#[derive(Debug)]
struct Readers {
    name: TableName,
    routed: Arc<Routed>,
    inner: Arc<dyn ParquetFileReaderFactory>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.clone();
        let inner = self.inner.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(Reader { name: self.name.clone(), routed: Arc::clone(&self.routed), path, inner }))
    }
}

struct Reader {
    name: TableName,
    routed: Arc<Routed>,
    path: Path,
    inner: Box<dyn AsyncFileReader + Send>,
}

impl fmt::Debug for Reader {
    /// The path may tell of rows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).finish_non_exhaustive()
    }
}

fn told(name: &TableName, error: ParquetError) -> ParquetError {
    match change(&error) {
        Some(change) => ParquetError::External(Box::new(Error::Changed { table: name.clone(), change })),
        None => error,
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let name = &self.name;
        self.inner.get_bytes(range).map_err(|error| told(name, error)).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let name = &self.name;
        self.inner.get_byte_ranges(ranges).map_err(|error| told(name, error)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            if let Ok(footer) = self.inner.get_metadata(options).await {
                return Ok(footer);
            }
            // The error is a text, with the file's path: the file itself is asked what is the matter.
            Err(match self.routed.head(&self.path).await {
                Ok(_) => ParquetError::General(format!("the footer of a file of table `{}` cannot be read", self.name)),
                Err(cause) => told(&self.name, ParquetError::External(Box::new(cause))),
            })
        }
        .boxed()
    }
}

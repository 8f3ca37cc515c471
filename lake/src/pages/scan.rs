//! A table whose scans look for chunks in memory.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{
        Result, Statistics,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    datasource::physical_plan::ParquetFileReaderFactory,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};

use super::{Pages, reader::PagedReaders};
use crate::reader::with_readers;

/// A provider of Parquet files, read through [`Pages`].
#[derive(Debug)]
pub(crate) struct PagedTable {
    inner: Arc<dyn TableProvider>,
    pages: Pages,
}

impl PagedTable {
    /// `inner` itself where nothing is kept.
    pub(crate) fn over(inner: Arc<dyn TableProvider>, pages: &Pages) -> Arc<dyn TableProvider> {
        if pages.is_off() { inner } else { Arc::new(Self { inner, pages: pages.clone() }) }
    }

    fn paged(&self, node: Arc<dyn ExecutionPlan>) -> Transformed<Arc<dyn ExecutionPlan>> {
        let readers = |store: &str, inner: &Arc<dyn ParquetFileReaderFactory>| -> Arc<dyn ParquetFileReaderFactory> {
            Arc::new(PagedReaders::new(self.pages.clone(), store, Arc::clone(inner)))
        };
        // Bloom filters are read by a reader that is replaced by another then, which never saw the footer. The lake writes none.
        with_readers(node, readers, |source| source.with_bloom_filter_on_read(false))
    }
}

#[async_trait]
impl TableProvider for PagedTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
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
        plan.transform_up(|node| Ok(self.paged(node))).data()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

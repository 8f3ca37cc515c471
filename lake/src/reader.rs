//! Bytes of data files for Parquet's readers.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::{
    common::tree_node::Transformed,
    datasource::{
        physical_plan::{FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource},
        source::DataSourceExec,
    },
    physical_plan::ExecutionPlan,
};
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

/// A data file of a store, for Parquet's readers.
#[derive(Clone)]
pub(crate) struct FileReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl FileReader {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, path: &Path, bytes: u64) -> Self {
        Self { store: Arc::clone(store), path: path.clone(), bytes }
    }
}

/// A node of a plan that reads Parquet files, with other readers: those that `readers` makes of the store's authority and the
/// node's own, and what else `change` makes of its source. Every other node is left as it is.
pub(crate) fn with_readers(
    node: Arc<dyn ExecutionPlan>,
    readers: impl FnOnce(&str, &Arc<dyn ParquetFileReaderFactory>) -> Arc<dyn ParquetFileReaderFactory>,
    change: impl FnOnce(ParquetSource) -> ParquetSource,
) -> Transformed<Arc<dyn ExecutionPlan>> {
    let Some((config, source)) =
        node.downcast_ref::<DataSourceExec>().and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>)
    else {
        return Transformed::no(node);
    };
    let Some(inner) = source.parquet_file_reader_factory() else { return Transformed::no(node) };
    let readers = readers(config.object_store_url.as_str(), inner);
    let source = change(source.clone().with_parquet_file_reader_factory(readers));
    let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
    Transformed::yes(DataSourceExec::from_data_source(config))
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}

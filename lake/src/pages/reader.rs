//! What Parquet's readers ask of a file, answered from memory where that is there.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::{
    common::Result as PlanResult,
    datasource::{listing::PartitionedFile, physical_plan::ParquetFileReaderFactory},
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures::{FutureExt, future::BoxFuture};
use parquet::{
    arrow::{
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        async_reader::AsyncFileReader,
    },
    errors::{ParquetError, Result},
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};

use crate::reader::FileReader;

use super::{
    Pages,
    file::{File, FileKey, RowView},
    view::{Bytesource, View},
};

/// Makes readers that look into [`Pages`] first.
#[derive(Debug)]
pub(super) struct PagedReaders {
    pages: Pages,
    /// The store's authority: two stores may have files of the same name.
    store: Arc<str>,
    inner: Arc<dyn ParquetFileReaderFactory>,
}

impl PagedReaders {
    pub(super) fn new(pages: Pages, store: &str, inner: Arc<dyn ParquetFileReaderFactory>) -> Self {
        Self { pages, store: store.into(), inner }
    }
}

impl ParquetFileReaderFactory for PagedReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> PlanResult<Box<dyn AsyncFileReader + Send>> {
        let key = FileKey::new(&self.store, &file.object_meta);
        let inner = self.inner.create_reader(partition, file.clone(), footer_bytes, metrics)?;
        let (factory, metrics) = (Arc::clone(&self.inner), metrics.clone());
        let another = move || factory.create_reader(partition, file.clone(), footer_bytes, &metrics).ok();
        let whole = Whole { another: Arc::new(another), often: Often::Scans };
        Ok(Box::new(PagedReader { inner, pages: self.pages.clone(), key, opened: None, whole }))
    }
}

/// A reader of one file. Which chunks are kept is settled when it gives the footer away: addresses are that footer's.
pub(crate) struct PagedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    pages: Pages,
    key: FileKey,
    opened: Option<Opened>,
    whole: Whole,
}

/// What whole chunks are read with, once many of their pages were.
#[derive(Clone)]
pub(super) struct Whole {
    another: Arc<dyn Fn() -> Option<Box<dyn AsyncFileReader + Send>> + Send + Sync>,
    pub(super) often: Often,
}

impl Whole {
    /// Another reader of the file, that goes on when the query has ended.
    pub(super) fn reader(&self) -> Option<Box<dyn AsyncFileReader + Send>> {
        (self.another)()
    }
}

/// How many readings of a chunk's pages are enough to keep all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Often {
    /// As many as two whole readings have: one query may read most of the pages.
    Scans,
    /// A part of the pages: each reading is of one row, and each row of another page.
    Rows,
}

#[derive(Clone)]
struct Opened {
    file: Arc<File>,
    view: Arc<View>,
    /// The file's own footer, which tells where pages are in the file.
    footer: Arc<ParquetMetaData>,
}

impl fmt::Debug for PagedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagedReader").field("key", &self.key).finish_non_exhaustive()
    }
}

impl PagedReader {
    /// A reader of single rows of a file, and the footer that they are read by. `footer`: the file's, with its offset index.
    pub(super) fn of_rows(
        pages: &Pages,
        key: &FileKey,
        footer: &ArrowReaderMetadata,
        reader: FileReader,
    ) -> Result<(Self, ArrowReaderMetadata)> {
        let file = pages.file(key, footer.metadata());
        let own = Arc::clone(footer.metadata());
        let RowView { view, footer } = file.row_view(footer)?;
        let opened = Opened { file, view, footer: own };
        let (pages, key, another) = (pages.clone(), key.clone(), reader.clone());
        let another = move || Some(Box::new(another.clone()) as Box<dyn AsyncFileReader + Send>);
        let whole = Whole { another: Arc::new(another), often: Often::Rows };
        Ok((Self { inner: Box::new(reader), pages, key, opened: Some(opened), whole }, footer))
    }

    async fn open(&mut self, options: Option<&ArrowReaderOptions>) -> Result<Opened> {
        if let Some(opened) = &self.opened {
            return Ok(opened.clone());
        }
        let footer = self.inner.get_metadata(options).await?;
        let file = self.pages.file(&self.key, &footer);
        let (view, footer) = if file.keeps_some() {
            // Whoever wants the index later would read where pages are in the file.
            let with_index = options.cloned().unwrap_or_default().with_page_index_policy(PageIndexPolicy::Optional);
            let footer = match footer.offset_index() {
                Some(_) => footer,
                None => self.inner.get_metadata(Some(&with_index)).await?,
            };
            (file.view(&footer)?, footer)
        } else {
            (Arc::new(View::plain(Arc::clone(&footer))), footer)
        };
        Ok(self.opened.insert(Opened { file, view, footer }).clone())
    }

    fn opened(&self) -> Result<&Opened> {
        // Another footer's addresses may mean other bytes.
        self.opened.as_ref().ok_or_else(|| ParquetError::General("bytes are asked for before the footer".to_owned()))
    }

    async fn ranges(&mut self, asked: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        let Opened { file, view, footer } = self.opened()?.clone();
        let found = asked.iter().map(|range| view.find(range)).collect::<Result<Vec<_>>>()?;
        let lacking: Vec<Range<u64>> = found
            .iter()
            .filter_map(|source| match source {
                Bytesource::File(range) => Some(range.clone()),
                Bytesource::Kept(_) => None,
            })
            .collect();
        self.pages.served((found.len() - lacking.len()) as u64);
        let read = match lacking.is_empty() {
            true => Vec::new(),
            false => self.inner.get_byte_ranges(lacking.clone()).await?,
        };
        for (range, bytes) in lacking.iter().zip(&read) {
            if let Some(place) = file.chunk_at(range.start, range.end - range.start) {
                self.pages.was_read(&self.key, &file, place, bytes);
            } else {
                self.pages.page_was_read(&self.key, (&file, &footer), range, &self.whole);
            }
        }
        let mut read = read.into_iter();
        let all = found.into_iter().map(|source| match source {
            Bytesource::Kept(bytes) => Some(bytes),
            Bytesource::File(_) => read.next(),
        });
        all.collect::<Option<Vec<Bytes>>>()
            .ok_or_else(|| ParquetError::General("the store gave fewer ranges than were asked for".to_owned()))
    }
}

impl AsyncFileReader for PagedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let one = self.ranges(vec![range]).await?.pop();
            one.ok_or_else(|| ParquetError::General("the store gave nothing".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.ranges(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move { Ok(Arc::clone(&self.open(options).await?.view.footer)) }.boxed()
    }
}

use std::{collections::HashMap, sync::Arc};

use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector},
    },
    file::metadata::PageIndexPolicy,
};

use crate::{Error, reader::FileReader};

/// What tells where the pages of a file are.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) metadata: ArrowReaderMetadata,
    /// Number of the first row of each row group, and the number of all rows.
    starts: Vec<u64>,
    /// Place of each top-level column.
    roots: HashMap<String, usize>,
}

impl Footer {
    pub(super) async fn read(store: &Arc<dyn ObjectStore>, path: &Path, bytes: u64) -> Result<Self, Error> {
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let mut reader = FileReader::new(store, path, bytes);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options)
            .await
            .map_err(|error| Error::store("reading a file's footer", &error))?;
        let mut starts = vec![0];
        for group in metadata.metadata().row_groups() {
            starts.push(starts.last().unwrap_or(&0) + u64::try_from(group.num_rows()).unwrap_or_default());
        }
        let fields = metadata.parquet_schema().root_schema().get_fields();
        let roots = fields.iter().enumerate().map(|(place, field)| (field.name().to_owned(), place)).collect();
        Ok(Self { metadata, starts, roots })
    }

    pub(super) fn bytes(&self) -> usize {
        // Arrow's own view of the schema beside Parquet's is about as large again.
        self.metadata.metadata().memory_size() * 5 / 4 + 1024
    }

    /// The columns of these names that the file has.
    pub(super) fn mask<'a>(&self, names: impl Iterator<Item = &'a str>) -> ProjectionMask {
        let roots = names.filter_map(|name| self.roots.get(name).copied());
        ProjectionMask::roots(self.metadata.parquet_schema(), roots)
    }

    /// The row groups of some rows (ascending, each once), and which of their rows they are.
    pub(super) fn select(&self, rows: &[u32]) -> (Vec<usize>, RowSelection) {
        let mut groups: Vec<usize> = Vec::new();
        let mut selectors: Vec<RowSelector> = Vec::new();
        // Rows of the chosen groups that stand before what comes next.
        let mut skipped = 0_u64;
        let mut next = 0_u64;
        for row in rows.iter().map(|row| u64::from(*row)) {
            let group = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
            if groups.last() != Some(&group) {
                if let Some(last) = groups.last() {
                    skipped += self.starts[last + 1].saturating_sub(next);
                }
                groups.push(group);
                next = self.starts[group];
            }
            skipped += row - next;
            if skipped > 0 {
                selectors.push(RowSelector::skip(usize::try_from(skipped).unwrap_or(usize::MAX)));
                skipped = 0;
            }
            selectors.push(RowSelector::select(1));
            next = row + 1;
        }
        (groups, RowSelection::from(selectors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{AsArray, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use futures::TryStreamExt;
    use object_store::{ObjectStoreExt, memory::InMemory};
    use parquet::{
        arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder},
        file::properties::WriterProperties,
    };
    use rstest::rstest;

    /// 100 rows in groups of 30, pages of 7.
    async fn file() -> (Arc<dyn ObjectStore>, Path, u64) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from_iter_values(0..100))]).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(30))
            .set_data_page_row_count_limit(7)
            .set_write_batch_size(7)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        let (store, path, size) = (InMemory::new(), Path::from("file.parquet"), bytes.len() as u64);
        store.put(&path, bytes.into()).await.unwrap();
        (Arc::new(store), path, size)
    }

    #[rstest]
    #[case(&[0])]
    #[case(&[99])]
    #[case(&[29, 30])]
    #[case(&[3, 4, 5, 28, 61, 62, 89, 90])]
    #[case(&[95, 99])]
    #[tokio::test]
    async fn the_rows_that_are_selected_are_read(#[case] rows: &[u32]) {
        let (store, path, bytes) = file().await;
        let footer = Footer::read(&store, &path, bytes).await.unwrap();
        let (groups, selection) = footer.select(rows);
        let reader = FileReader::new(&store, &path, bytes);
        let batches: Vec<RecordBatch> =
            ParquetRecordBatchStreamBuilder::new_with_metadata(reader, footer.metadata.clone())
                .with_projection(footer.mask(["n", "absent"].into_iter()))
                .with_row_groups(groups)
                .with_row_selection(selection)
                .build()
                .unwrap()
                .try_collect()
                .await
                .unwrap();
        let read: Vec<i64> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert_eq!(read, rows.iter().map(|row| i64::from(*row)).collect::<Vec<_>>());
    }
}

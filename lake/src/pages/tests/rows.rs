//! Single rows, read from kept chunks and from the file.

use arrow::compute::concat_batches;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, memory::InMemory};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector},
        async_reader::AsyncFileReader,
    },
    file::metadata::PageIndexPolicy,
};

use super::*;
use crate::{pages::FileKey, reader::FileReader};

struct Stored {
    reader: FileReader,
    footer: ArrowReaderMetadata,
    key: FileKey,
    groups: usize,
}

async fn stored(properties: WriterProperties, first: &str) -> Stored {
    let batch = batch(first);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let (path, size) = (object_store::path::Path::from("t.parquet"), bytes.len() as u64);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&path, bytes.into()).await.unwrap();
    let meta =
        ObjectMeta { location: path.clone(), last_modified: Default::default(), size, e_tag: None, version: None };
    let mut reader = FileReader::new(&store, &path, size);
    let options = ArrowReaderOptions::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    let footer = ArrowReaderMetadata::load_async(&mut reader, options).await.unwrap();
    let groups = footer.metadata().num_row_groups();
    Stored { reader, footer, key: FileKey::new(&"memory:///".into(), &meta), groups }
}

async fn read(reader: impl AsyncFileReader + Unpin + 'static, footer: ArrowReaderMetadata, row: usize) -> RecordBatch {
    let schema = Arc::clone(footer.schema());
    let selection = RowSelection::from(vec![RowSelector::skip(row), RowSelector::select(1)]);
    let stream =
        ParquetRecordBatchStreamBuilder::new_with_metadata(reader, footer).with_row_selection(selection).build();
    let batches: Vec<RecordBatch> = stream.unwrap().try_collect().await.unwrap();
    concat_batches(&schema, &batches).unwrap()
}

#[rstest]
#[case::as_the_lake_writes(small(), "id", true)]
#[case::newer_pages(small().set_writer_version(WriterVersion::PARQUET_2_0), "id", true)]
#[case::snappy(small().set_compression(Compression::SNAPPY), "name", true)]
#[case::no_dictionaries(small().set_dictionary_enabled(false), "code", true)]
#[case::dictionaries_that_end(small().set_dictionary_page_size_limit(2_000), "code", true)]
#[case::dictionaries_that_end_at_once(small().set_dictionary_page_size_limit(8), "parts", true)]
#[case::newer_dictionaries_that_end(
    small().set_dictionary_page_size_limit(8).set_writer_version(WriterVersion::PARQUET_2_0), "name", true
)]
#[case::no_index(small().set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true), "id", false)]
#[case::a_first_column_that_grows(
    small().set_column_dictionary_enabled(ColumnPath::from("few"), false).set_column_encoding(ColumnPath::from("few"), Encoding::PLAIN),
    "few", true
)]
#[case::some_not_compressed(small().set_column_compression(ColumnPath::from("code"), Compression::UNCOMPRESSED), "id", true)]
#[case::lists_first(small(), "parts", true)]
#[tokio::test]
async fn single_rows_are_those_of_the_file_before_and_after_their_chunks_are_kept(
    #[case] properties: WriterPropertiesBuilder,
    #[case] first: &str,
    #[case] indexed: bool,
) {
    let Stored { reader, footer, key, groups } = stored(properties.build(), first).await;
    assert!(groups > 3);
    let pages = Pages::new(64 << 20);
    for round in 0..3 {
        for row in (0..ROWS as usize).step_by(701) {
            let (paged, kept) = pages.rows(&key, &footer, reader.clone()).unwrap();
            let right = read(reader.clone(), footer.clone(), row).await;
            assert_eq!(right.num_rows(), 1);
            assert_eq!(read(paged, kept, row).await, right, "round {round}, row {row}");
        }
        settled(&pages).await;
    }
    assert!(pages.used().bytes > 100_000, "{:?}", pages.used());
    let served = pages.used().served;
    let (paged, kept) = pages.rows(&key, &footer, reader.clone()).unwrap();
    read(paged, kept, 1_234).await;
    // Without an index all of a chunk is one reading.
    assert!(pages.used().served >= served + 5, "{:?} after {served}; indexed: {indexed}", pages.used());
    pages.forget();
    assert_eq!(pages.used().bytes, 0);
}

#[tokio::test]
async fn one_row_does_not_bring_whole_chunks_into_memory() {
    let properties = small().set_max_row_group_row_count(Some(20_000)).set_data_page_row_count_limit(100);
    let Stored { mut reader, footer, key, .. } = stored(properties.build(), "id").await;
    let pages = Pages::new(64 << 20);
    // A scan was there first, whose footer does not tell of pages.
    let plain = reader.get_metadata(None).await.unwrap();
    assert!(plain.offset_index().is_none());
    pages.file(&key, &plain);
    for row in 0..8 {
        let (paged, kept) = pages.rows(&key, &footer, reader.clone()).unwrap();
        read(paged, kept, row * 2_000).await;
        settled(&pages).await;
    }
    assert_eq!(pages.used().bytes, 0);
}

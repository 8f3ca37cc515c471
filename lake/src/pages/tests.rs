#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod rows;

use std::{fs, path::Path, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray},
    datatypes::Int32Type,
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::{
        file_format::parquet::ParquetFormat,
        listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl},
    },
    prelude::{SessionConfig, SessionContext},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::{PageIndexPolicy, ParquetMetaDataReader},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion},
    },
    schema::types::ColumnPath,
};
use rstest::rstest;

use super::{
    PagedTable, Pages,
    chunk::PlainChunk,
    file::{File, Place},
};

const ROWS: i64 = 20_000;

/// Queries that want all pages, some, none; filters on columns that are read and that are not; limits; order.
const QUERIES: &[&str] = &[
    "SELECT count(*), sum(id), min(name), max(code), sum(amount) FROM t",
    "SELECT name, count(*), sum(amount) FROM t GROUP BY name ORDER BY name",
    "SELECT id, code, amount FROM t WHERE id BETWEEN 7777 AND 7790 ORDER BY id",
    "SELECT * FROM t WHERE code = 'code 17' AND id % 1000 = 17 ORDER BY id",
    "SELECT count(*) FROM t WHERE amount IS NULL",
    "SELECT parts FROM t WHERE id IN (1, 9999, 19999) ORDER BY id",
    "SELECT few, count(*) FROM t WHERE few > 2 GROUP BY few ORDER BY few",
    "SELECT count(*) FROM t WHERE id > 100000",
    "SELECT id FROM t WHERE name = 'name 3' ORDER BY id DESC LIMIT 3",
];

/// `first`: the column that row groups begin with.
fn batch(first: &str) -> RecordBatch {
    let ids = || 0..ROWS;
    let names: ArrayRef =
        Arc::new(ids().map(|id| (id % 7 != 0).then(|| format!("name {}", id % 11))).collect::<StringArray>());
    let amounts = ids().map(|id| (id % 5 != 0).then_some(i128::from(id * 7919 % 100_003)));
    let amounts = amounts.collect::<Decimal128Array>().with_precision_and_scale(12, 2).unwrap();
    let parts = ids().map(|id| (id % 3 != 0).then(|| (0..(id % 4) as i32).map(Some).collect::<Vec<_>>()));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids()))),
        ("few", Arc::new(Int32Array::from_iter_values(ids().map(|id| (id / 1_000 % 5) as i32)))),
        ("name", names),
        ("code", Arc::new(StringArray::from_iter_values(ids().map(|id| format!("code {}", id % 1_000))))),
        ("amount", Arc::new(amounts)),
        ("parts", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(parts))),
    ];
    let place = columns.iter().position(|(name, _)| *name == first).unwrap();
    columns.swap(0, place);
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn small() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(3_000))
        .set_data_page_row_count_limit(500)
        .set_write_batch_size(100)
}

fn write(path: &Path, properties: WriterProperties, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// A table of one file, in a session of its own: nothing but `pages` outlasts it.
async fn session(path: &Path, pages: &Pages, partitions: usize, while_decoding: bool) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .set_usize("datafusion.optimizer.repartition_file_min_size", 1)
        .set_bool("datafusion.execution.parquet.pushdown_filters", while_decoding);
    let context = SessionContext::new_with_config(config);
    let url = ListingTableUrl::parse(path.to_str().unwrap()).unwrap();
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
    let config =
        ListingTableConfig::new(url).with_listing_options(options).infer_schema(&context.state()).await.unwrap();
    let table = Arc::new(ListingTable::try_new(config).unwrap());
    context.register_table("t", PagedTable::over(table, pages)).unwrap();
    context
}

async fn answers(context: &SessionContext) -> Vec<String> {
    let mut all = Vec::new();
    for query in QUERIES {
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        all.push(pretty_format_batches(&batches).unwrap().to_string());
    }
    all
}

/// Until what is being decompressed is kept.
async fn settled(pages: &Pages) {
    for _ in 0..1_000 {
        if pages.inner.waiting.available_permits() == super::WAITING_KIB {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("chunks are still being decompressed");
}

#[rstest]
#[case::as_the_lake_writes(small(), "id")]
#[case::newer_pages(small().set_writer_version(WriterVersion::PARQUET_2_0), "id")]
#[case::snappy(small().set_compression(Compression::SNAPPY), "name")]
#[case::no_dictionaries(small().set_dictionary_enabled(false), "code")]
#[case::dictionaries_that_end(small().set_dictionary_page_size_limit(2_000), "code")]
#[case::dictionaries_that_end_at_once(small().set_dictionary_page_size_limit(8), "parts")]
#[case::newer_dictionaries_that_end(
    small().set_dictionary_page_size_limit(8).set_writer_version(WriterVersion::PARQUET_2_0),
    "name"
)]
#[case::no_index(small().set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true), "id")]
#[case::no_statistics(small().set_statistics_enabled(EnabledStatistics::None), "id")]
#[case::a_first_column_that_grows(
    small().set_column_dictionary_enabled(ColumnPath::from("few"), false).set_column_encoding(ColumnPath::from("few"), Encoding::PLAIN),
    "few"
)]
#[case::some_not_compressed(small().set_column_compression(ColumnPath::from("code"), Compression::UNCOMPRESSED), "id")]
#[case::lists_first(small(), "parts")]
#[tokio::test]
async fn what_is_kept_gives_the_same_answers(#[case] properties: WriterPropertiesBuilder, #[case] first: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write(&path, properties.build(), &batch(first));
    for partitions in [1, 3] {
        for while_decoding in [false, true] {
            let off = Pages::new(0);
            let right = answers(&session(&path, &off, partitions, while_decoding).await).await;
            let pages = Pages::new(64 << 20);
            let mut served = 0;
            for round in 0..3 {
                // Plans of before, and new ones.
                let context = session(&path, &pages, partitions, while_decoding).await;
                assert_eq!(answers(&context).await, right, "round {round}, {partitions} partitions, {while_decoding}");
                settled(&pages).await;
                assert_eq!(answers(&context).await, right, "again, {partitions} partitions, {while_decoding}");
                served = pages.used().served;
            }
            assert!(served > 50, "{served} requests were answered from memory");
            assert!(pages.used().bytes > 100_000, "{:?}", pages.used());
        }
    }
}

/// Chunks become kept between the footer and the bytes of a query: its addresses stay what they were.
#[tokio::test]
async fn a_query_that_is_under_way_does_not_mind_what_becomes_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write(&path, small().build(), &batch("id"));
    let right = answers(&session(&path, &Pages::new(0), 2, true).await).await;
    let pages = Pages::new(64 << 20);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (path, pages, right) = (path.clone(), pages.clone(), right.clone());
        running.spawn(async move {
            let context = session(&path, &pages, 2, true).await;
            for _ in 0..4 {
                assert_eq!(answers(&context).await, right);
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_takes_the_name_of_another_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let pages = Pages::new(64 << 20);
    let whole = batch("id");
    for rows in [ROWS as usize, 12_000] {
        write(&path, small().build(), &whole.slice(0, rows));
        for _ in 0..3 {
            let context = session(&path, &pages, 2, false).await;
            let counted =
                context.sql("SELECT count(name) + sum(id) * 0 AS n FROM t").await.unwrap().collect().await.unwrap();
            let text = pretty_format_batches(&counted).unwrap().to_string();
            let named = rows - rows.div_ceil(7);
            assert!(text.contains(&format!("| {named} ")), "{text}");
            settled(&pages).await;
        }
    }
}

#[tokio::test]
async fn what_is_forgotten_is_not_in_memory_and_there_is_no_more_than_the_room() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..6).map(|number| folder.path().join(format!("{number}.parquet"))).collect();
    let room = 1 << 20;
    let pages = Pages::new(room);
    for path in &paths {
        write(path, small().build(), &batch("id"));
    }
    for _ in 0..4 {
        for path in &paths {
            answers(&session(path, &pages, 1, false).await).await;
            settled(&pages).await;
            assert!(pages.used().bytes <= room as u64, "{:?}", pages.used());
        }
    }
    assert!(pages.used().bytes > 0);
    pages.forget();
    assert_eq!(pages.used().bytes, 0);
}

#[test]
fn addresses_outside_of_chunks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write(&path, small().build(), &batch("id"));
    let bytes = bytes::Bytes::from(fs::read(&path).unwrap());
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let footer = Arc::new(reader.parse_and_finish(&bytes).unwrap());
    let file = File::new(&footer);
    let place = Place { group: 1, column: 3 };
    let (start, length) = footer.row_group(1).column(3).byte_range();
    assert_eq!(file.chunk_at(start, length), Some(place));
    assert_eq!(file.chunk_at(start, length - 1), None);
    let chunk = bytes.slice(start as usize..(start + length) as usize);
    assert!(file.wanted(place, 2, false).is_none(), "read once");
    assert!(file.wanted(place, 2, false).is_some(), "read twice");
    assert!(!file.keep(place, &chunk.slice(7..)), "bytes that are no chunk are not kept");
    assert!(file.keep(place, &chunk));
    assert!(file.wanted(place, 2, false).is_none(), "kept already");

    let view = file.view(&footer).unwrap();
    let kept = view.footer.row_group(1).column(3);
    let (at, size) = kept.byte_range();
    assert_eq!(kept.compression(), Compression::UNCOMPRESSED);
    assert!(view.find(&(at..at + size)).is_ok());
    assert!(view.find(&(at..at + size + 1)).is_err());
    assert!(view.find(&(at + size..at + size + 1)).is_err());
    assert!(view.find(&(0..4)).is_ok(), "the file itself");
    let pages = &view.footer.offset_index().unwrap()[1][3];
    let last = pages.page_locations().last().unwrap();
    assert_eq!(last.offset as u64 + last.compressed_page_size as u64, at + size);
    // Nothing else has moved.
    assert_eq!(view.footer.row_group(1).column(2).byte_range(), footer.row_group(1).column(2).byte_range());
    assert_eq!(view.footer.row_group(0).columns(), footer.row_group(0).columns());
}

#[test]
fn a_chunk_keeps_its_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write(&path, small().build(), &batch("id"));
    let bytes = bytes::Bytes::from(fs::read(&path).unwrap());
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let footer = reader.parse_and_finish(&bytes).unwrap();
    for (group, metadata) in footer.row_groups().iter().enumerate() {
        for (column, chunk) in metadata.columns().iter().enumerate() {
            let (start, length) = chunk.byte_range();
            let slice = bytes.slice(start as usize..(start + length) as usize);
            let plain = PlainChunk::of(chunk, metadata.num_rows() as usize, &slice).unwrap();
            assert_eq!(plain.dictionary, chunk.dictionary_page_offset().is_some());
            assert_eq!(plain.pages.len(), footer.offset_index().unwrap()[group][column].page_locations().len());
            assert!(plain.len() <= chunk.uncompressed_size() as u64 + 8 * plain.pages.len() as u64 + 8);
        }
    }
}

#[test]
fn a_dictionary_that_was_given_up_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write(&path, small().set_dictionary_page_size_limit(2_000).build(), &batch("id"));
    let bytes = bytes::Bytes::from(fs::read(&path).unwrap());
    let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let group = footer.row_group(0);
    let dictionary = |column: usize| {
        let chunk = group.column(column);
        let (start, length) = chunk.byte_range();
        assert!(chunk.dictionary_page_offset().is_some());
        let slice = bytes.slice(start as usize..(start + length) as usize);
        PlainChunk::of(chunk, group.num_rows() as usize, &slice).unwrap().dictionary
    };
    // id, few, name, code, amount: only those of few values have one to the end.
    assert_eq!((0..5).map(dictionary).collect::<Vec<_>>(), [false, true, true, false, false]);
}

//! `push`: uploads become readings, once, in their order, whatever breaks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Int32Type, Int64Type},
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_connectors::{
    Error, ReadItem, ReadMode, ReadRequest, Selection, Source, TableRef,
    push::{Inbox, PushParams, PushedTable, Taken},
};
use mavis_types::Cursor;
use rstest::rstest;

fn inbox(folder: &tempfile::TempDir, tables: &[(&str, &[&str])]) -> Inbox {
    let key = |key: &[&str]| key.iter().map(|column| (*column).to_owned()).collect();
    let tables: BTreeMap<String, PushedTable> =
        tables.iter().map(|(name, columns)| ((*name).to_owned(), PushedTable { key: key(columns) })).collect();
    Inbox::new(folder.path().join("s"), PushParams { tables }, Arc::new(Mutex::new(())))
}

fn batch(ids: &[i64], extra: Option<&str>) -> RecordBatch {
    let ids_column: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let words: DictionaryArray<Int32Type> = ids.iter().map(|id| if id % 2 == 0 { "even" } else { "odd" }).collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![("id", ids_column), ("word", Arc::new(words))];
    if let Some(extra) = extra {
        columns.push((extra, Arc::new(StringArray::from(vec!["x"; ids.len()]))));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn send(inbox: &Inbox, table: &str, batches: Vec<Result<RecordBatch, Error>>) -> Result<Taken, Error> {
    let schema = batches.iter().flatten().next().unwrap().schema();
    inbox.take(table, &schema, stream::iter(batches).boxed()).await
}

/// The ids read after a cursor, and where that ended.
async fn read(inbox: &Inbox, table: &str, from: Option<Cursor>) -> (Vec<i64>, Option<Cursor>, usize) {
    let table = TableRef { schema: None, name: table.to_owned() };
    let request = ReadRequest { from, batch_rows: 2, ..ReadRequest::whole(table) };
    let items: Vec<ReadItem> = inbox.read(request).await.unwrap().try_collect().await.unwrap();
    let (mut ids, mut end, mut columns) = (Vec::new(), None, 0);
    for item in items {
        match item {
            ReadItem::Batch(batch) => {
                assert!(batch.num_rows() <= 2);
                columns = batch.num_columns();
                ids.extend(batch.column(0).as_primitive::<Int64Type>().values());
            }
            ReadItem::End { cursor, whole } => {
                assert!(!whole, "what was read before is no longer here");
                end = cursor;
            }
            _ => {}
        }
    }
    (ids, end, columns)
}

#[tokio::test]
async fn uploads_are_read_once_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = inbox(&folder, &[]);
    assert_eq!(send(&inbox, "t", vec![Ok(batch(&[1, 2, 3], None)), Ok(batch(&[4], None))]).await.unwrap().rows, 4);
    send(&inbox, "t", vec![Ok(batch(&[5], Some("more")))]).await.unwrap();
    let (ids, cursor, columns) = read(&inbox, "t", None).await;
    assert_eq!((ids.as_slice(), columns), ([1, 2, 3, 4, 5].as_slice(), 3));
    // Not committed: it is read again. Committed: it is gone.
    assert_eq!(read(&inbox, "t", None).await.0, [1, 2, 3, 4, 5]);
    assert_eq!(read(&inbox, "t", cursor.clone()).await, (vec![], cursor.clone(), 0));
    assert!(read(&inbox, "t", None).await.0.is_empty(), "files that a cursor has passed are deleted");
    send(&inbox, "t", vec![Ok(batch(&[6], None))]).await.unwrap();
    assert_eq!(read(&inbox, "t", cursor).await.0, [6]);
}

#[tokio::test]
async fn an_inbox_that_was_lost_or_is_another_servers_hides_nothing() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (inbox(&first, &[]), inbox(&second, &[]));
    let mut last = None;
    for id in 0..3 {
        last = Some(send(&one, "t", vec![Ok(batch(&[id], None))]).await.unwrap());
    }
    let (_, cursor, _) = read(&one, "t", None).await;
    assert!(one.has_passed(last.unwrap(), cursor.as_ref()).unwrap());
    assert!(!two.has_passed(last.unwrap(), cursor.as_ref()).unwrap());
    send(&two, "t", vec![Ok(batch(&[10], None))]).await.unwrap();
    let (ids, cursor, _) = read(&two, "t", cursor).await;
    assert_eq!(ids, [10]);
    send(&one, "t", vec![Ok(batch(&[3], None))]).await.unwrap();
    assert_eq!(read(&one, "t", cursor).await.0, [3]);
}

#[tokio::test]
async fn an_upload_that_fails_or_is_taken_back_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = inbox(&folder, &[]);
    let cut = Error::Interrupted { place: "t".to_owned(), reason: "gone".to_owned() };
    send(&inbox, "t", vec![Ok(batch(&[1], None)), Err(cut)]).await.unwrap_err();
    let back = send(&inbox, "t", vec![Ok(batch(&[2], None))]).await.unwrap();
    inbox.withdraw("t", back).await.unwrap();
    send(&inbox, "t", vec![Ok(batch(&[3], None))]).await.unwrap();
    assert_eq!(read(&inbox, "t", None).await.0, [3]);
    let left = std::fs::read_dir(folder.path().join("s/t")).unwrap().count();
    assert_eq!(left, 2, "the upload and the table's description");
}

#[tokio::test]
async fn uploads_at_the_same_time_get_numbers_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = inbox(&folder, &[]);
    let sending = (0..20).map(|id| {
        let inbox = inbox.clone();
        tokio::spawn(async move { send(&inbox, "t", vec![Ok(batch(&[id], None))]).await.unwrap().number })
    });
    let mut numbers: Vec<u64> = futures::future::join_all(sending).await.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(read(&inbox, "t", None).await.0.len(), 20);
}

#[rstest]
#[case("../t", "letters")]
#[case("", "letters")]
#[case("undeclared", "declares t")]
#[tokio::test]
async fn a_table_that_cannot_be_taken_is_refused(#[case] table: &str, #[case] word: &str) {
    let folder = tempfile::tempdir().unwrap();
    let inbox = inbox(&folder, &[("t", &["id"])]);
    let error = send(&inbox, table, vec![Ok(batch(&[1], None))]).await.unwrap_err().to_string();
    assert!(error.contains(word), "{error}");
}

#[tokio::test]
async fn a_column_keeps_its_type_and_a_declared_key_makes_it_incremental() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = inbox(&folder, &[("t", &["id"])]);
    send(&inbox, "t", vec![Ok(batch(&[1], None))]).await.unwrap();
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let other = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let error = send(&inbox, "t", vec![Ok(other)]).await.unwrap_err().to_string();
    assert!(error.contains("`id` refused") && error.contains("Int64"), "{error}");
    let found = inbox.discover(&Selection::default()).await.unwrap().tables;
    let [table] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((table.mode, table.key.as_slice()), (ReadMode::Incremental, ["id".to_owned()].as_slice()));
    assert_eq!(table.columns[1].data_type, DataType::Utf8);
}

#[tokio::test]
async fn rows_are_taken_out_of_uploads_that_wait_and_what_has_landed_goes() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = inbox(&folder, &[]);
    send(&inbox, "t", vec![Ok(batch(&[1, 2], None))]).await.unwrap();
    let (_, landed, _) = read(&inbox, "t", None).await;
    send(&inbox, "t", vec![Ok(batch(&[3, 4], None)), Ok(batch(&[5], None))]).await.unwrap();
    send(&inbox, "t", vec![Ok(batch(&[6], Some("more")))]).await.unwrap();
    let waiting = inbox.waiting("t", landed.as_ref()).await.unwrap();
    assert_eq!(waiting, [2, 3], "the first has landed");
    assert_eq!(inbox.take_out("t", 1, |_| unreachable!()).await.unwrap(), None, "and is no longer there");
    let even = |batch: &RecordBatch| {
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        Ok(ids.values().iter().map(|id| Some(id % 2 == 0)).collect())
    };
    let mut taken = Vec::new();
    for number in waiting {
        taken.push(inbox.take_out("t", number, even).await.unwrap());
    }
    assert_eq!(taken, [Some((1, 2)), Some((1, 0))]);
    assert_eq!(read(&inbox, "t", landed).await.0, [3, 5]);
    let files = |folder: &std::path::Path| {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    let table = folder.path().join("s/t");
    assert!(files(&table).iter().all(|name| !name.contains("part-")), "{:?}", files(&table));
    // What a crash left.
    std::fs::write(table.join("part-1"), "x").unwrap();
    std::fs::write(table.join("table.part-2"), "x").unwrap();
    let before = files(&table).len();
    inbox.tidy().await.unwrap();
    assert_eq!(files(&table).len(), before - 2);
    assert_eq!(inbox.discover(&Selection::default()).await.unwrap().tables.len(), 1);
    inbox.delete().await.unwrap();
    assert!(!folder.path().join("s").exists());
    inbox.delete().await.unwrap();
}

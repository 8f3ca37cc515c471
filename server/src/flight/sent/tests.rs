use std::{pin::pin, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, NullArray,
        RecordBatch, RecordBatchOptions, StringArray, StructArray,
    },
    buffer::OffsetBuffer,
    compute::concat_batches,
    datatypes::{DataType, Field, Fields, Int64Type, Schema},
    ipc::{CompressionType, writer::IpcWriteOptions},
};
use arrow_flight::{FlightData, decode::FlightRecordBatchStream, error::FlightError};
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, stream};
use http_body::Body as _;
use http_body_util::BodyExt;
use proptest::prelude::*;
use prost::Message as _;
use rstest::rstest;
use tonic::Status;

use super::{answer::Answer, body::Sent};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Columns of the kinds whose memory is laid out differently, with nulls.
fn sample(rows: i64) -> RecordBatch {
    let numbers = || (0..rows).map(|n| (n % 7 != 3).then_some(n));
    let texts = numbers().map(|n| n.map(|n| "é".repeat(usize::try_from(n % 11).unwrap())));
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        numbers().map(|n| n.map(|n| (0..n % 4).map(Some).collect::<Vec<_>>())),
    );
    let inner = Field::new("x", DataType::Float64, true);
    let values: ArrayRef = Arc::new(Float64Array::from_iter(numbers().map(|n| n.map(|n| n as f64 / 3.0))));
    let of_structs = StructArray::new(Fields::from(vec![inner]), vec![values], None);
    let length = usize::try_from(rows).unwrap();
    let item = Arc::new(Field::new("item", of_structs.data_type().clone(), true));
    let structs = ListArray::new(item, OffsetBuffer::from_lengths(vec![1; length]), Arc::new(of_structs), None);
    batch(vec![
        ("n", Arc::new(Int64Array::from_iter(numbers()))),
        ("dense", Arc::new(Int64Array::from_iter_values(0..rows))),
        ("flag", Arc::new(BooleanArray::from_iter(numbers().map(|n| n.map(|n| n % 2 == 0))))),
        ("text", Arc::new(StringArray::from_iter(texts))),
        (
            "amount",
            Arc::new(
                Decimal128Array::from_iter(numbers().map(|n| n.map(i128::from)))
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
        ),
        ("nothing", Arc::new(NullArray::new(length))),
        ("list", Arc::new(lists)),
        ("structs", Arc::new(structs)),
    ])
}

fn answer(batches: &[RecordBatch], options: &IpcWriteOptions) -> Answer {
    let schema = batches[0].schema();
    Answer::new(&schema, stream::iter(batches.to_vec()).map(Ok), options.clone())
}

fn body(batches: &[RecordBatch], options: &IpcWriteOptions) -> Sent {
    Sent::new(answer(batches, options).messages(), usize::MAX)
}

/// What a client of gRPC makes of a body: the messages, and the status.
async fn received(body: Sent) -> (Vec<FlightData>, String) {
    let collected = body.collect().await.unwrap();
    let status = collected.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned();
    let mut bytes = collected.to_bytes();
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        assert_eq!(bytes.get_u8(), 0, "not compressed");
        let length = usize::try_from(bytes.get_u32()).unwrap();
        messages.push(FlightData::decode(bytes.split_to(length)).unwrap());
    }
    (messages, status)
}

async fn decoded(messages: Vec<FlightData>) -> Vec<RecordBatch> {
    let stream = FlightRecordBatchStream::new_from_flight_data(stream::iter(messages).map(Ok::<_, FlightError>));
    stream.try_collect().await.unwrap()
}

fn compressed(kind: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(kind).unwrap()
}

#[rstest]
#[case(None)]
#[case(Some(CompressionType::LZ4_FRAME))]
#[case(Some(CompressionType::ZSTD))]
#[tokio::test]
async fn a_client_reads_what_was_sent(#[case] kind: Option<CompressionType>) {
    let whole = sample(40_000);
    // Parts of a batch do not begin where its memory does.
    let batches = [whole.slice(0, 1), whole.slice(1, 0), whole.slice(1, 7_003), whole.slice(7_004, 32_996)];
    let (messages, status) = received(body(&batches, &compressed(kind))).await;
    assert_eq!(status, "0");
    assert_eq!(concat_batches(&whole.schema(), &decoded(messages).await).unwrap(), whole);
}

#[tokio::test]
async fn the_messages_are_those_of_arrow_flight() {
    let batches = [sample(900).slice(13, 700), sample(50_000)];
    let options = compressed(None);
    let (ours, _) = received(body(&batches, &options)).await;
    let theirs: Vec<FlightData> = answer(&batches, &options).encoded().try_collect().await.unwrap();
    assert_eq!(ours[0], theirs[0], "the schema");
    assert_eq!(ours[1].data_body, theirs[1].data_body);
    let schema = batches[0].schema();
    let of = |batches: Vec<RecordBatch>| concat_batches(&schema, &batches).unwrap();
    assert_eq!(of(decoded(ours).await), of(decoded(theirs).await));
}

#[rstest]
#[case::texts(Arc::new(StringArray::from(vec!["", ""])))]
#[case::no_texts(Arc::new(StringArray::new_null(2)))]
#[case::nulls(Arc::new(NullArray::new(2)))]
#[case::empty_lists(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(Vec::new()), None])))]
#[case::structs_without_fields(Arc::new(StructArray::new_empty_fields(2, None)))]
#[tokio::test]
async fn columns_without_memory_come_through(#[case] column: ArrayRef) {
    for columns in [vec![("a", Arc::clone(&column))], vec![("a", Arc::clone(&column)), ("b", column)]] {
        let sent = batch(columns);
        let batches = [sent.clone(), sent.slice(1, 1)];
        let (messages, _) = received(body(&batches, &compressed(None))).await;
        assert_eq!(decoded(messages).await, batches);
    }
}

#[tokio::test]
async fn an_answer_without_rows_tells_its_columns() {
    let empty = sample(1).slice(0, 0);
    let (messages, status) = received(body(&[empty], &compressed(None))).await;
    assert_eq!((messages.len(), status.as_str()), (1, "0"));
    assert!(!messages[0].data_header.is_empty());
}

#[tokio::test]
async fn rows_without_columns_are_counted() {
    let options = RecordBatchOptions::new().with_row_count(Some(5));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let (messages, _) = received(body(&[batch], &compressed(None))).await;
    assert_eq!(decoded(messages).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
}

#[tokio::test]
async fn large_batches_are_cut_and_large_columns_not_copied() {
    let numbers = Int64Array::from_iter_values(0..1_000_000);
    let memory = numbers.values().inner().as_ptr_range();
    let mut sent = pin!(body(&[batch(vec![("n", Arc::new(numbers))])], &compressed(None)));
    let (mut shared, mut messages) = (0, 0);
    while let Some(frame) = sent.frame().await {
        let Ok(data) = frame.unwrap().into_data() else { continue };
        if memory.contains(&data.as_ptr()) {
            assert!(data.len() <= 2 << 20);
            (shared, messages) = (shared + data.len(), messages + 1);
        }
    }
    assert_eq!((shared, messages), (8_000_000, 4));
}

#[tokio::test]
async fn an_error_ends_the_answer_after_what_came_before() {
    let batches = [sample(10), sample(20)];
    let rows = stream::iter([Ok(batches[0].clone()), Err(Status::aborted("at 10: no\u{e9}"))]);
    let answer = Answer::new(&batches[0].schema(), rows, compressed(None));
    let sent = Sent::new(answer.messages(), usize::MAX).collect().await.unwrap();
    let trailers = sent.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "10");
    assert_eq!(trailers["grpc-message"], "at%2010:%20no%C3%A9");
    let (messages, _) = {
        let rows = stream::iter([Ok(batches[0].clone()), Err(Status::aborted(""))]);
        received(Sent::new(Answer::new(&batches[0].schema(), rows, compressed(None)).messages(), usize::MAX)).await
    };
    assert_eq!(decoded(messages).await, [batches[0].clone()]);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_an_error_that_says_so() {
    let sent = Sent::new(answer(&[sample(5_000)], &compressed(None)).messages(), 10_000).collect().await.unwrap();
    let trailers = sent.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "11");
    assert!(trailers["grpc-message"].to_str().unwrap().contains("max_message_bytes"));
}

#[tokio::test]
async fn what_is_there_goes_out_while_more_is_computed() {
    let rows = stream::iter([Ok(sample(3))]).chain(stream::pending());
    let answer = Answer::new(&sample(3).schema(), rows, compressed(None));
    let mut sent = Sent::new(answer.messages(), usize::MAX);
    sent.begun().await;
    let mut sent = pin!(sent);
    let first = sent.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() > 100);
    assert!(!sent.is_end_stream());
    assert!(futures::poll!(sent.frame()).is_pending());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// However an answer is cut into batches, the same rows come.
    #[test]
    fn every_row_comes_once(cuts in proptest::collection::vec(0usize..3_000, 0..6)) {
        let whole = sample(3_000);
        let mut places: Vec<usize> = cuts.into_iter().chain([0, 3_000]).collect();
        places.sort_unstable();
        let batches: Vec<RecordBatch> = places.windows(2).map(|ends| whole.slice(ends[0], ends[1] - ends[0])).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (messages, _) = received(body(&batches, &compressed(None))).await;
            assert_eq!(concat_batches(&whole.schema(), &decoded(messages).await).unwrap(), whole);
        });
    }
}

#[test]
fn a_listing_is_sent_as_it_was_encoded() {
    let data = FlightData {
        data_header: Bytes::from_static(b"header"),
        app_metadata: Bytes::from_static(b"more"),
        data_body: Bytes::from_static(b"body"),
        ..FlightData::default()
    };
    let message = super::message::Message::from(data.clone());
    let mut bytes = message.head.to_vec();
    message.columns.iter().for_each(|piece| bytes.extend_from_slice(piece));
    assert_eq!(bytes.len(), message.length);
    assert_eq!(FlightData::decode(bytes.as_slice()).unwrap(), data);
}

//! Files as hospitals send them: no row may get lost, and none may become something that it is not.

use super::*;

/// Column names, rows and reasons of rejects.
type Found = (Vec<String>, Vec<String>, Vec<String>);

async fn found(name: &str, bytes: impl AsRef<[u8]>) -> Found {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, name, bytes);
    let source = connect(&path, json!({}));
    let discovery = discover(source.as_ref()).await;
    assert_eq!(discovery.failures, [], "{name}");
    let table = discovery.tables.first().unwrap();
    let names = table.columns.iter().map(|column| column.name.clone()).collect();
    let reading = read(source.as_ref(), &table.table.name).await;
    (names, reading.rows.clone(), reading.rejects.iter().map(|(_, reason, _)| reason.clone()).collect())
}

#[rstest]
#[case::returns_alone(b"a,b\r1,2\r3,4\r".to_vec(), &["a", "b"], &["a=1|b=2", "a=3|b=4"])]
#[case::utf16_without_a_mark(
    "nom;ville\nJosé;Lyon\n".encode_utf16().flat_map(u16::to_le_bytes).collect(),
    &["nom", "ville"],
    &["nom=José|ville=Lyon"]
)]
#[case::excels_delimiter(b"sep=|\na|b\n1,5|2,5\n".to_vec(), &["a", "b"], &["a=1,5|b=2,5"])]
#[case::titles(
    b"Export, service 3\nle 12/01/2024\n\nid;nom;ville\n1;A;Lyon\n2;B;\n".to_vec(),
    &["id", "nom", "ville"],
    &["id=1|nom=A|ville=Lyon", "id=2|nom=B"]
)]
#[case::filled_up_titles(
    b"Export des patients;;\nid;nom;ville\n1;A;Lyon\n2;B;Nice\n".to_vec(),
    &["id", "nom", "ville"],
    &["id=1|nom=A|ville=Lyon", "id=2|nom=B|ville=Nice"]
)]
#[case::no_names(
    b"1,Durand,1950-01-02\n2,Petit,1961-03-04\n".to_vec(),
    &["column_1", "column_2", "column_3"],
    &["column_1=1|column_2=Durand|column_3=1950-01-02", "column_1=2|column_2=Petit|column_3=1961-03-04"]
)]
#[case::delimiters_at_the_end(b"a,b\n1,2,\n3,4,,\n".to_vec(), &["a", "b"], &["a=1|b=2", "a=3|b=4"])]
#[case::a_delimiter_behind_the_names(b"a,b,\n1,2\n3,4,x\n".to_vec(), &["a", "b", "column_3"], &["a=1|b=2", "a=3|b=4|column_3=x"])]
#[case::row_labels(b",v\n0,a\n1,b\n".to_vec(), &["column_1", "v"], &["column_1=0|v=a", "column_1=1|v=b"])]
#[case::one_column(b"note\nhello, you\n".to_vec(), &["note"], &[])]
#[tokio::test(flavor = "multi_thread")]
async fn csv_is_read_as_it_was_meant(#[case] bytes: Vec<u8>, #[case] names: &[&str], #[case] rows: &[&str]) {
    let (found_names, found_rows, rejects) = found("t.csv", &bytes).await;
    assert_eq!(
        (found_names.as_slice(), found_rows.as_slice()),
        (
            &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()[..],
            &rows.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>()[..]
        )
    );
    assert_eq!(rejects.len(), usize::from(rows.is_empty()));
}

#[rstest]
#[case::one_after_the_other("t.json", b"{\"a\":1}\n{\"a\":2}\n".to_vec(), &["a=1", "a=2"])]
#[case::written_out("t.json", b"{\n \"a\": 1\n}\n{\n \"a\": 2\n}".to_vec(), &["a=1", "a=2"])]
#[case::a_list_inside("t.json", br#"{"data": [{"a": 1}, {"a": 2}]}"#.to_vec(), &["a=1", "a=2"])]
#[case::a_document_with_a_list("t.json", br#"{"a": 1, "b": [{"c": 2}]}"#.to_vec(), &["a=1|b=[{\"c\": 2}]"])]
#[case::utf16("t.json", "\u{feff}[{\"a\":\"é\"}]".encode_utf16().flat_map(u16::to_le_bytes).collect(), &["a=é"])]
#[case::many_digits(
    "t.ndjson",
    b"{\"a\":0.12345678901234567890}\n{\"a\":1.50}\n".to_vec(),
    &["a=0.12345678901234567890", "a=1.50"]
)]
#[tokio::test(flavor = "multi_thread")]
async fn json_is_read_as_it_was_meant(#[case] name: &str, #[case] bytes: Vec<u8>, #[case] rows: &[&str]) {
    assert_eq!(found(name, &bytes).await.1, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_partitions_are_columns() {
    let folder = TempDir::new().unwrap();
    file(&folder, "an=2023/ville=Saint-Denis/a.csv", "id\nA1\n");
    file(&folder, "an=2024/ville=__HIVE_DEFAULT_PARTITION__/a.csv", "id\nA2\n");
    let source = connect(folder.path(), json!({"table": "t"}));
    let table = discover(source.as_ref()).await.tables.remove(0);
    assert_eq!(table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "an", "ville"]);
    assert_eq!(read(source.as_ref(), "t").await.rows, ["an=2023|id=A1|ville=Saint-Denis", "an=2024|id=A2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_of_narrower_numbers_join_those_of_wider_ones() {
    let folder = TempDir::new().unwrap();
    let one = |array: Arc<dyn Array>| RecordBatch::try_from_iter([("n", array)]).unwrap();
    file(&folder, "a.parquet", parquet(&one(Arc::new(arrow::array::Int32Array::from(vec![1]))), 10));
    file(&folder, "b.parquet", parquet(&one(Arc::new(Int64Array::from(vec![1_i64 << 40]))), 10));
    let source = connect(&folder.path().join("*.parquet"), json!({"table": "t"}));
    assert_contract(source.as_ref(), Expectation::default().table("t", 2)).await;
    assert_eq!(read(source.as_ref(), "t").await.batches[0].schema().field(0).data_type(), &DataType::Int64);
    file(&folder, "c.parquet", parquet(&one(Arc::new(StringArray::from(vec!["x"]))), 10));
    let reason =
        discover(connect(&folder.path().join("*.parquet"), json!({"table": "t"})).as_ref()).await.failures.remove(0).1;
    assert!(reason.contains("file `*.parquet#") && reason.contains("leave the file out"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_files_that_is_read_from_the_beginning_is_read_whole() {
    let folder = TempDir::new().unwrap();
    file(&folder, "a.csv", "a\nx\n");
    let source = connect(&folder.path().join("*.csv"), json!({"table": "t"}));
    let first = read(source.as_ref(), "t").await;
    assert!(first.whole, "what is not in it is gone");
    file(&folder, "b.csv", "a\ny\n");
    assert!(!try_read(source.as_ref(), "t", end(&first)).await.unwrap().whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_formula_that_was_never_computed_is_not_an_empty_cell() {
    use Value::{Formula, Number, Text};
    let rows = vec![
        vec![Text("id"), Text("a"), Text("b")],
        vec![Number(1.0), Number(2.0), Formula("B2*2")],
        vec![Number(2.0), Formula("B2+1"), Number(7.0)],
    ];
    let (_, rows, _) = found("t.xlsx", workbook(&[sheet("S", &rows, &[])])).await;
    assert_eq!(rows, ["a=2|b==B2*2|id=1", "a==B2+1|b=7|id=2"]);
}

#[rstest]
#[case(b"a\tb\n1\t2\n".to_vec(), "set the source's `format`")]
#[case(b"<html><table></table></html>".to_vec(), "web page")]
#[case(Vec::new(), "it is empty")]
#[case(b"PK\x03\x04cut".to_vec(), "cut or encrypted")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_workbook_says_what_it_seems_to_be(#[case] bytes: Vec<u8>, #[case] why: &str) {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "t.xls", bytes);
    let reason = discover(connect(&path, json!({})).as_ref()).await.failures.remove(0).1;
    assert!(reason.contains("not an Excel") && reason.contains(why), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_one_below_the_other_on_a_sheet_are_tables_of_their_own() {
    use Value::{Date, Number, Text};
    let rows = vec![
        vec![Text("Patients")],
        vec![Text("id"), Text("nom")],
        vec![Number(1.0), Text("A")],
        vec![],
        vec![Text("Séjours")],
        vec![Text("sid"), Text("entrée")],
        vec![Number(10.0), Date(45_000.0)],
    ];
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "t.xlsx", workbook(&[sheet("S", &rows, &[]), sheet("S 2", &rows[..3], &[])]));
    let source = connect(&path, json!({}));
    let expectation = Expectation::default().table("S", 1).table("S 2", 1).table("S 2 (2)", 1);
    assert_contract(source.as_ref(), expectation).await;
    assert_eq!(read(source.as_ref(), "S").await.rows, ["id=1|nom=A"]);
    assert_eq!(read(source.as_ref(), "S 2").await.rows, ["entrée=2023-03-15|sid=10"]);
    assert_eq!(discover(source.as_ref()).await.tables[1].comment.as_deref(), Some("Séjours"));
}

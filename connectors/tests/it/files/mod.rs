//! `files` on generated files: the contract for each format, and what becomes of bad input.

mod odd;
mod support;

use std::{fs, io::Write, path::Path, sync::Arc};

use self::support::{SheetPart, Value, sheet, workbook};
use arrow::{
    array::{Array, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field},
};
use mavis_connectors::{
    Discovery, Error, ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, TableKind, TableRef,
    testkit::{Expectation, Reading, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use rstest::rstest;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn spec(path: &str, more: Json) -> SourceSpec {
    let mut params = json!({ "path": path });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    SourceSpec { name: SourceName::new("t").unwrap(), kind: "files".to_owned(), params, authoritative: false }
}

fn connect(path: &Path, more: Json) -> Arc<dyn Source> {
    Registry::built_in().connect(&spec(path.to_str().unwrap(), more), &Secrets::from_pairs([])).unwrap()
}

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

async fn discover(source: &dyn Source) -> Discovery {
    source.discover(&Selection::default()).await.unwrap()
}

async fn try_read(source: &dyn Source, table: &str, from: Option<Cursor>) -> Result<Reading, Error> {
    let table = TableRef { schema: None, name: table.to_owned() };
    read_all(source, ReadRequest { from, ..ReadRequest::whole(table) }).await
}

async fn read(source: &dyn Source, table: &str) -> Reading {
    try_read(source, table, None).await.unwrap()
}

fn end(reading: &Reading) -> Option<Cursor> {
    reading.cursors.last().map(|(cursor, _, _)| cursor.clone())
}

fn csv(rows: usize) -> String {
    let mut text = String::from("id,name,note\n");
    for row in 0..rows {
        text += &format!("{row:03},\"Name, {row}\",\"two\nlines\"\n");
    }
    text
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn parquet(batch: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn numbers(rows: i64) -> RecordBatch {
    let amounts = Decimal128Array::from((0..rows).map(|row| i128::from(row) * 125).collect::<Vec<_>>());
    let names = StringArray::from((0..rows).map(|row| (row % 3 != 0).then(|| format!("n{row}"))).collect::<Vec<_>>());
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int64, true)),
        Arc::new(Int64Array::from((0..rows).collect::<Vec<_>>())) as Arc<dyn Array>,
    )]);
    RecordBatch::try_from_iter_with_nullable([
        ("amount", Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()) as Arc<dyn Array>, true),
        ("name", Arc::new(names), true),
        ("nested", Arc::new(nested), true),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_every_format_as_a_table_per_file() {
    let folder = TempDir::new().unwrap();
    file(&folder, "plain.csv", csv(20));
    file(&folder, "zipped.csv.gz", gz(csv(15).as_bytes()));
    file(&folder, "ragged.tsv", "a\tb\n1\t2\n1\n1\t2\t3\n\n3\t4\n");
    file(
        &folder,
        "lines.ndjson",
        (0..18).map(|row| format!("{{\"a\":{row},\"b\":[1]}}\n")).collect::<String>() + "{\n",
    );
    file(
        &folder,
        "list.json",
        format!("[{}, 7]", (0..9).map(|row| format!("{{\"a\":{row}.5}}")).collect::<Vec<_>>().join(",")),
    );
    file(&folder, "one.json.zst", zstd::encode_all(&br#"{"a": {"b": 1}, "c": null}"#[..], 1).unwrap());
    file(&folder, "exact.parquet", parquet(&numbers(30), 10));
    let rows: Vec<Vec<Value<'_>>> = std::iter::once(vec![Value::Text("id"), Value::Text("when")])
        .chain((0..10).map(|row| vec![Value::Number(f64::from(row)), Value::Date(44_000.0 + f64::from(row))]))
        .collect();
    file(&folder, "book.xlsx", workbook(&[sheet("Visits", &rows, &[]), sheet("Empty", &[], &[])]));
    let expectation = Expectation::default()
        .table("plain", 20)
        .table("zipped", 15)
        .table_with_rejects("ragged", 2, 2)
        .table_with_rejects("lines", 18, 1)
        .table_with_rejects("list", 9, 1)
        .table("one", 1)
        .table("exact", 30)
        .table("book Visits", 10);
    assert_contract(connect(folder.path(), json!({})).as_ref(), expectation).await;
}

#[rstest]
#[case::csv("csv", 2)]
#[case::ndjson("ndjson", 1)]
#[case::gz("csv.gz", 2)]
#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_files_declared_one_table(#[case] ending: &str, #[case] rejects: usize) {
    let folder = TempDir::new().unwrap();
    for part in 0..3 {
        let mut text = if ending == "ndjson" { String::new() } else { "id,v\n".to_owned() };
        for row in 0..12 {
            text += &if ending == "ndjson" {
                format!("{{\"id\":{row},\"v\":\"{part}\"}}\n")
            } else {
                format!("{row},{part}\n")
            };
        }
        if part == 1 {
            text += if ending == "ndjson" { "oops\n" } else { "1,2,3\n\"open\n" };
        }
        let bytes = if ending == "csv.gz" { gz(text.as_bytes()) } else { text.into_bytes() };
        file(&folder, &format!("deep/part{part}.{ending}"), bytes);
    }
    let source = connect(&folder.path().join(format!("**/*.{ending}")), json!({"table": "parts"}));
    assert_eq!(discover(source.as_ref()).await.tables[0].mode, ReadMode::Append);
    assert_contract(source.as_ref(), Expectation::default().table_with_rejects("parts", 36, rejects)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_for_parquet_files_declared_one_table() {
    let folder = TempDir::new().unwrap();
    file(&folder, "a.parquet", parquet(&numbers(25), 10));
    file(&folder, "b.parquet", parquet(&numbers(5), 10));
    let source = connect(&folder.path().join("*.parquet"), json!({"table": "all"}));
    assert_contract(source.as_ref(), Expectation::default().table("all", 30)).await;
    let table = discover(source.as_ref()).await.tables.remove(0);
    assert_eq!(table.row_estimate, Some(30));
    assert_eq!(table.columns[0].data_type, DataType::Decimal128(12, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_text_arrives_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "t.csv", "\u{feff}code;\"va\"\"lue\";code;\n007;1,5;N/A;x\n;\"\";\" a \";\n");
    let source = connect(&path, json!({}));
    let table = discover(source.as_ref()).await.tables.remove(0);
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["code", "va\"lue", "code_2", "column_4"]);
    assert_eq!(
        read(source.as_ref(), "t").await.rows,
        ["code=007|code_2=N/A|column_4=x|va\"lue=1,5", "code_2= a |va\"lue="]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_lines_that_cannot_be_rows_are_rejected_with_their_lines() {
    let folder = TempDir::new().unwrap();
    let mut bytes = b"a,b\n1,2\n\"x\ny\",2\n1\nJos\xe9,2\n1,2,3\n\"never closed,2\n5,6\n".to_vec();
    bytes.extend_from_slice(b"7,8");
    let path = file(&folder, "t.csv", bytes);
    let reading = read(connect(&path, json!({})).as_ref(), "t").await;
    assert_eq!(reading.rows, ["a=1|b=2", "a=x\ny|b=2", "a=5|b=6", "a=7|b=8"]);
    let rejects: Vec<(&str, &str, &str)> =
        reading.rejects.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(
        rejects,
        [
            ("t.csv line 5", "the line has 1 fields where the header has 2", "1"),
            (
                "t.csv line 6",
                "the line is not valid UTF-8: set the source's `encoding`, e.g. windows-1252",
                "Jos\\xE9,2"
            ),
            ("t.csv line 7", "the line has 3 fields where the header has 2", "1,2,3"),
            ("t.csv line 8", "a quote opens and does not close", "\"never closed,2"),
        ]
    );
}

#[rstest]
#[case::declared("windows-1252", b"nom\nJos\xe9\n".to_vec())]
#[case::utf16("utf-16le", "nom\nJosé\n".encode_utf16().flat_map(u16::to_le_bytes).collect())]
#[case::marked("utf-8", "\u{feff}nom\nJosé\n".encode_utf16().flat_map(u16::to_be_bytes).collect())]
#[tokio::test(flavor = "multi_thread")]
async fn other_encodings_are_read(#[case] encoding: &str, #[case] bytes: Vec<u8>) {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "t.csv", bytes);
    assert_eq!(read(connect(&path, json!({"encoding": encoding})).as_ref(), "t").await.rows, ["nom=José"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_values_keep_their_types_and_their_text() {
    let folder = TempDir::new().unwrap();
    let path = file(
        &folder,
        "t.ndjson",
        "{\"i\":1,\"f\":1,\"b\":true,\"t\":\"x\",\"m\":1,\"n\":{\"a\":1.10}}\n{\"i\":null,\"f\":2.5,\"m\":\"one\"}\n{\"i\":3,\"i\":4}\n",
    );
    let source = connect(&path, json!({}));
    let table = discover(source.as_ref()).await.tables.remove(0);
    let types: Vec<DataType> = table.columns.iter().map(|column| column.data_type.clone()).collect();
    assert_eq!(
        types,
        [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Utf8, DataType::Utf8, DataType::Utf8]
    );
    let reading = read(source.as_ref(), "t").await;
    assert_eq!(reading.rows, ["b=true|f=1.0|i=1|m=1|n={\"a\":1.10}|t=x", "f=2.5|m=one"]);
    assert_eq!(reading.rejects[0].1, "the member `i` stands there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_file_is_not_read_again_and_a_changed_one_whole() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "t.csv", "a\n1\n");
    let source = connect(&path, json!({}));
    let first = read(source.as_ref(), "t").await;
    assert!(first.whole);
    let second = try_read(source.as_ref(), "t", end(&first)).await.unwrap();
    assert_eq!((second.rows.len(), second.whole, end(&second)), (0, false, end(&first)));
    file(&folder, "t.csv", "a\n1\n2\n");
    let third = try_read(source.as_ref(), "t", end(&second)).await.unwrap();
    assert_eq!((third.rows.len(), third.whole), (2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_of_many_files_takes_new_files_and_appended_lines_only() {
    let folder = TempDir::new().unwrap();
    file(&folder, "a.csv", "a,b\n1,2\n");
    let source = connect(&folder.path().join("*.csv"), json!({"table": "t"}));
    let first = read(source.as_ref(), "t").await;
    file(&folder, "a.csv", "a,b\n1,2\n3,4\n5\n");
    file(&folder, "b.csv", "a,b\n6,7\n");
    let second = try_read(source.as_ref(), "t", end(&first)).await.unwrap();
    assert_eq!(second.rows, ["a=3|b=4", "a=6|b=7"]);
    assert_eq!(second.rejects[0].0, "a.csv line 4");
    file(&folder, "a.csv", "a,b\n9,9\n");
    let error = try_read(source.as_ref(), "t", end(&second)).await.unwrap_err().to_string();
    assert!(error.contains("`*.csv#") && error.contains("ingest the table in full"), "{error}");
}

fn clinic() -> SheetPart {
    use Value::{Date, Error, None, Number, Text};
    sheet(
        "Patients",
        &[
            vec![Text("Clinique du Parc")],
            vec![],
            vec![None, None, Text("Contact"), None, None],
            vec![Text("Dossier"), Text("Nom"), Text("Ville"), Text("Tel"), Text("Né le")],
            vec![Number(12.0), Text("Anne"), Text("Lyon"), Text("007"), Date(30_000.0)],
            vec![Number(13.0), Text("Luc"), Error("#N/A"), None, Text("N/A")],
            vec![],
            vec![Text("Extrait du 1er mars")],
        ],
        &["C3:D3"],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messy_sheet_becomes_a_table_and_its_notes_rejects() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "clinique.xlsx", workbook(&[clinic()]));
    let source = connect(&path, json!({}));
    let table = discover(source.as_ref()).await.tables.remove(0);
    assert_eq!((table.table.name.as_str(), table.kind), ("Patients", TableKind::Sheet));
    assert_eq!(table.comment.as_deref(), Some("Clinique du Parc"));
    let columns: Vec<(&str, &DataType)> =
        table.columns.iter().map(|column| (column.name.as_str(), &column.data_type)).collect();
    assert_eq!(
        columns,
        [
            ("Dossier", &DataType::Int64),
            ("Nom", &DataType::Utf8),
            ("Contact_Ville", &DataType::Utf8),
            ("Contact_Tel", &DataType::Utf8),
            ("Né le", &DataType::Utf8),
        ]
    );
    let reading = read(source.as_ref(), "Patients").await;
    assert_eq!(
        reading.rows,
        [
            "Contact_Tel=007|Contact_Ville=Lyon|Dossier=12|Nom=Anne|Né le=1982-02-18",
            "Contact_Ville=#N/A|Dossier=13|Nom=Luc|Né le=N/A"
        ]
    );
    assert_eq!(reading.rejects[0].0, "clinique.xlsx sheet Patients row 8");
    assert_eq!(reading.rejects[0].2, "Extrait du 1er mars");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_sheet_is_named_while_the_others_are_read() {
    let folder = TempDir::new().unwrap();
    let broken = SheetPart { name: "Broken".to_owned(), xml: "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</".to_owned() };
    let path = file(&folder, "book.xlsx", workbook(&[broken, clinic()]));
    file(&folder, "nothing.xlsx", "this is no workbook");
    let source = connect(&path, json!({}));
    let discovery = discover(source.as_ref()).await;
    assert_eq!(discovery.tables.iter().map(|table| table.table.name.as_str()).collect::<Vec<_>>(), ["Patients"]);
    assert_eq!(discovery.failures[0].0.name, "Broken");
    assert!(discovery.failures[0].1.starts_with("the sheet is broken"), "{:?}", discovery.failures);
    assert_eq!(read(source.as_ref(), "Patients").await.rows.len(), 2);
    let error = try_read(source.as_ref(), "Broken", None).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");

    let whole = discover(connect(folder.path(), json!({})).as_ref()).await;
    assert!(
        whole.failures.iter().any(|(table, reason)| table.name == "nothing" && reason.contains("not an Excel")),
        "{whole:?}"
    );
}

#[rstest]
#[case(json!({"delimiter": ";;"}), "`delimiter` is not one ASCII character")]
#[case(json!({"encoding": "klingon"}), "there is no encoding `klingon`")]
#[case(json!({"colour": 1}), "unknown field `colour`")]
#[case(json!({"storage": {"aws_region": "x"}}), "has no meaning for files on local disk")]
fn wrong_parameters_are_named(#[case] more: Json, #[case] why: &str) {
    let error = Registry::built_in().connect(&spec("x.csv", more), &Secrets::from_pairs([])).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[rstest]
#[case("s3://bucket/a.csv", json!({"storage": {"aws_secret_access_key": "tiger"}}), "FILES_PASSWORD_T")]
#[case("ftp://host/a.csv", json!({}), "there is no store `ftp://`")]
fn stores_take_no_secret_in_their_parameters(#[case] path: &str, #[case] more: Json, #[case] why: &str) {
    let error = Registry::built_in().connect(&spec(path, more), &Secrets::from_pairs([])).unwrap_err().to_string();
    assert!(error.contains(why) && !error.contains("tiger"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_absent_or_cut_is_told_so() {
    let folder = TempDir::new().unwrap();
    let error = connect(&folder.path().join("no.csv"), json!({})).discover(&Selection::default()).await.unwrap_err();
    assert!(error.to_string().contains("no file is there"), "{error}");
    let cut = gz(csv(500).as_bytes());
    let path = file(&folder, "cut.csv.gz", &cut[..cut.len() / 2]);
    let error = try_read(connect(&path, json!({})).as_ref(), "cut", None).await.unwrap_err().to_string();
    assert!(error.contains("`cut.csv.gz`") && error.contains("broken or cut"), "{error}");
    let path = file(&folder, "cut.json", "[{\"a\":1},{\"a\"");
    let discovery = discover(connect(&path, json!({})).as_ref()).await;
    assert!(discovery.failures[0].1.contains("the JSON ends in the middle"), "{discovery:?}");
}

#[rstest]
#[case("messy_bp.xlsx", "Sheet1", 13, 20, "Visit 1_BP")]
#[case("messy_glucose.xlsx", "Sheet1", 6, 24, "glucose PRE")]
#[case("messy_infarct.xlsx", "statin_infarct", 11, 20, "Race")]
#[case("tb_trial.xlsx", "A participants", 11, 107, "radiologic_6m")]
#[case("tb_trial.xlsx", "scurvy_lind", 8, 12, "gum_rot_d6")]
#[tokio::test(flavor = "multi_thread")]
async fn messy_clinical_workbooks_become_tables(
    #[case] name: &str,
    #[case] table: &str,
    #[case] columns: usize,
    #[case] rows: usize,
    #[case] column: &str,
) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/spreadsheets")).join(name);
    if !path.is_file() {
        assert!(std::env::var("CI").is_err(), "{} is absent", path.display());
        println!("skipped: {} is absent", path.display());
        return;
    }
    let source = connect(&path, json!({}));
    let discovery = discover(source.as_ref()).await;
    let found = discovery.tables.iter().find(|found| found.table.name == table).unwrap();
    let names: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
    assert!(names.contains(&column), "{names:?}");
    let reading = read(source.as_ref(), table).await;
    assert_eq!((names.len(), reading.rows.len()), (columns, rows), "{names:?}\n{:?}", reading.rejects);
    let batch = reading.as_one_batch().unwrap();
    assert!(batch.columns().iter().any(|column| column.as_string_opt::<i32>().is_none()), "some columns are typed");
}

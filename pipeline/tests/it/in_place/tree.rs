//! An old lake's tree of Parquet files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use mavis_connectors::SourceSpec;
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use serde_json::{Value, json};

use crate::support::*;

pub(super) const TABLE: &str = "raw.here.hms_patient";
pub(super) const DDL: &str =
    "CREATE EXTERNAL TABLE hms_patient (patient_id bigint COMMENT 'number', weight double, name string,
      born date, seen timestamp, paid decimal(10,2), alive boolean, later string)
      COMMENT 'patients' PARTITIONED BY (year int, site string)
      STORED AS PARQUET LOCATION 'hdfs://nn:8020/datalake/hms_patient';";

pub(super) fn encoded(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    // Several row groups: bounds are those of all of them.
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub(super) fn patients(from: i64, to: i64) -> Vec<u8> {
    let texts =
        |suffix: &str| (from..to).map(|id| (id % 5 != 0).then(|| format!("n{id}{suffix}"))).collect::<StringArray>();
    let rows = usize::try_from(to - from).unwrap();
    let paid = Decimal128Array::from_iter_values((from..to).map(|id| i128::from(id) * 100 + 5));
    encoded(vec![
        ("patient_id", Arc::new(Int64Array::from_iter_values(from..to))),
        ("Weight", Arc::new((from..to).map(|id| (id % 3 != 0).then_some(60.5 + id as f64)).collect::<Float64Array>())),
        ("name", Arc::new(texts(" é"))),
        ("born", Arc::new(Date32Array::from_iter_values((0..rows).map(|day| i32::try_from(day).unwrap() - 3)))),
        ("seen", Arc::new(TimestampMicrosecondArray::from_iter_values((from..to).map(|id| id * 1_000_001)))),
        ("paid", Arc::new(paid.with_precision_and_scale(10, 2).unwrap())),
        ("alive", Arc::new((from..to).map(|id| Some(id % 2 == 0)).collect::<BooleanArray>())),
    ])
}

/// An old lake's folder of patients, by year and site.
pub(super) struct Old {
    pub(super) house: House,
}

impl Old {
    pub(super) fn new() -> Self {
        let old = Self { house: House::new() };
        old.put("year=2023/site=Saint%20Denis/000000_0", &patients(0, 12));
        old.put("year=2024/site=__HIVE_DEFAULT_PARTITION__/part-0.snappy.parquet", &patients(12, 20));
        old.put("_SUCCESS", b"");
        fs::write(old.house.path("tables.hql"), DDL).unwrap();
        old
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.house.path("datalake/hms_patient")
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn params(&self, more: Value) -> Value {
        let mut params = json!({"ddl": self.house.path("tables.hql"), "locations": {"hdfs://nn:8020/datalake": self.house.path("datalake")}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    }

    /// What there is in the tree: names, contents and times of change.
    pub(super) fn state(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, (Vec<u8>, SystemTime)>) {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    walk(&entry, into);
                } else {
                    let at = fs::metadata(&entry).unwrap().modified().unwrap();
                    into.insert(entry.clone(), (fs::read(&entry).unwrap(), at));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.folder(), &mut found);
        found
    }

    pub(super) async fn taken(&self) -> Life {
        let life = self.house.start().await;
        life.add("here", "hive", self.params(json!({"take_over": "in_place"}))).await;
        let run = life.ingest("here").await;
        assert!(completed(&run), "{run:?}");
        life
    }
}

pub(super) async fn declare(life: &Life, params: Value) {
    let spec = SourceSpec { name: name("here"), kind: "hive".to_owned(), params, authoritative: false };
    life.pipeline.update_source(&me(), spec).await.unwrap();
}

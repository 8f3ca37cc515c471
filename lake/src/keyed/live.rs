use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::object_store::ObjectStoreUrl;
use deltalake_core::DeltaTable;
use mavis_types::{TableId, TableName};
use object_store::{ObjectStore, path::Path};
use serde_json::{Map, Value};

use super::{FileId, Keyed};
use crate::{Error, Lake, pages::FileKey, table::Open};

/// One version of a table: its columns and its files.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) name: TableName,
    pub(super) schema: SchemaRef,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) files: Vec<LiveFile>,
}

#[derive(Debug)]
pub(super) struct LiveFile {
    pub(super) id: FileId,
    pub(super) path: Path,
    pub(super) bytes: u64,
    /// What its pages in memory are known by; `None` for a file of somebody else, which is read anew.
    pub(super) pages: Option<FileKey>,
    /// Rows, where the log says how many.
    pub(super) rows: Option<u64>,
    bounds: Bounds,
}

/// Lowest and highest values by column, as the log has them: never narrower than the values.
#[derive(Debug, Default)]
struct Bounds {
    low: Map<String, Value>,
    high: Map<String, Value>,
}

/// A value that bounds can be compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bounded<'a> {
    Text(&'a str),
    Int(i64),
}

impl LiveFile {
    /// Whether a row of the file may have this value in the column.
    pub(super) fn may_hold(&self, column: &str, value: Bounded<'_>) -> bool {
        let below = |bound: Option<&Value>, low: bool| match (bound, value) {
            (Some(Value::String(bound)), Bounded::Text(text)) => {
                if low {
                    text < bound.as_str()
                } else {
                    text > bound.as_str()
                }
            }
            (Some(Value::Number(bound)), Bounded::Int(number)) => {
                bound.as_i64().is_some_and(|bound| if low { number < bound } else { number > bound })
            }
            _ => false,
        };
        !below(self.bounds.low.get(column), true) && !below(self.bounds.high.get(column), false)
    }
}

impl Keyed {
    /// The version's files; `None` where its rows cannot be read from files alone.
    pub(super) async fn live(&self, lake: &Lake, table: TableId, version: i64) -> Result<Option<Arc<Live>>, Error> {
        if let Some(known) = self.versions.get(&(table, version)).await {
            return Ok(known);
        }
        let open = lake.opened(table).await?;
        let delta = lake.at(&open, Some(version)).await?;
        let store = lake.store().table(&open.location)?;
        let live = list(lake, &open, &delta, store)?.map(Arc::new);
        self.versions.insert((table, version), live.clone()).await;
        Ok(live)
    }
}

fn list(lake: &Lake, open: &Open, delta: &DeltaTable, store: Arc<dyn ObjectStore>) -> Result<Option<Live>, Error> {
    let snapshot = delta.snapshot()?;
    let metadata = snapshot.metadata();
    let mapped = metadata.configuration().get("delta.columnMapping.mode").is_some_and(|mode| mode != "none");
    if mapped || !metadata.partition_columns().is_empty() {
        return Ok(None);
    }
    let authority: Arc<str> = ObjectStoreUrl::parse(lake.store().authority())?.as_str().into();
    let paged = open.foreign().is_none() && !lake.pages().is_off();
    let mut files = Vec::new();
    for view in snapshot.log_data().iter() {
        if view.deletion_vector_descriptor().is_some() {
            return Ok(None);
        }
        let path = view.object_store_path();
        let bytes = u64::try_from(view.size()).unwrap_or_default();
        let pages = if paged {
            Some(FileKey::new(&authority, &lake.store().data_file(&open.location, &path, bytes)?))
        } else {
            None
        };
        files.push(LiveFile {
            id: format!("{}/{path}", open.location).into(),
            bytes,
            pages,
            rows: view.num_records().map(|rows| rows as u64),
            bounds: view.stats().as_deref().and_then(bounds).unwrap_or_default(),
            path,
        });
    }
    let schema = snapshot.snapshot().arrow_schema();
    Ok(Some(Live { name: open.name.clone(), schema, store, files }))
}

fn bounds(stats: &str) -> Option<Bounds> {
    let Ok(Value::Object(mut stats)) = serde_json::from_str(stats) else { return None };
    let mut take = |name: &str| match stats.remove(name) {
        Some(Value::Object(values)) => values,
        _ => Map::new(),
    };
    Some(Bounds { low: take("minValues"), high: take("maxValues") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("id", Bounded::Text("b"), true)]
    #[case("id", Bounded::Text("a"), false)]
    #[case("id", Bounded::Text("dz"), false)]
    #[case("id", Bounded::Text("d"), true)]
    #[case("n", Bounded::Int(-3), true)]
    #[case("n", Bounded::Int(-4), false)]
    #[case("n", Bounded::Text("zzz"), true)]
    #[case("open", Bounded::Int(900), true)]
    #[case("other", Bounded::Text("x"), true)]
    fn a_file_is_passed_over_only_where_its_bounds_say_so(
        #[case] column: &str,
        #[case] value: Bounded<'_>,
        #[case] may: bool,
    ) {
        let stats =
            r#"{"numRecords":3,"minValues":{"id":"b","n":-3,"open":1},"maxValues":{"id":"d","n":7},"nullCount":{}}"#;
        let file = LiveFile {
            id: "x".into(),
            path: Path::from("x"),
            bytes: 1,
            pages: None,
            rows: Some(3),
            bounds: bounds(stats).unwrap(),
        };
        assert_eq!(file.may_hold(column, value), may);
    }
}

//! The two tables of a resource type.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use mavis_catalog::{NewTable, Table};
use mavis_fhir::{ResourceType, shape};
use mavis_lake::TableSpec;
use mavis_types::{TableName, Zone};

use crate::{context::Running, failure::Failure};

/// Schema of the current tables.
pub(crate) const CURRENT: &str = "r4";
/// Schema of the history tables.
pub(crate) const HISTORY: &str = "r4_history";
/// Column of history that names the mapping (or the import) that made a version: whole recomputations delete only what
/// the same one made.
pub(crate) const MADE_BY: &str = "__made_by";

/// The tables of one type.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) resource: ResourceType,
    pub(crate) history: Table,
    pub(crate) current: Table,
}

/// Columns of the history tables: those of [`shape::history_schema`], and who made the version.
pub(crate) fn history_schema() -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = shape::history_schema().fields().iter().cloned().collect();
    if !fields.iter().any(|field| field.name() == MADE_BY) {
        fields.push(Arc::new(Field::new(MADE_BY, DataType::Utf8, true)));
    }
    Arc::new(Schema::new(fields))
}

fn table(schema: &str, resource: ResourceType, key: &[&str], comment: String) -> NewTable {
    NewTable {
        name: TableName::new(Zone::Fhir, schema, resource.table()),
        source: None,
        source_schema: None,
        source_table: None,
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        comment: Some(comment),
    }
}

impl Target {
    /// The tables, made empty where they are not there.
    pub(crate) async fn ensure(running: &Running, resource: ResourceType) -> Result<Self, Failure> {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let history = TableSpec {
            table: table(HISTORY, resource, &["id", "__version"], format!("every version of every {resource}")),
            schema: history_schema(),
            columns: Vec::new(),
            change_feed: false,
            statistics: strings(&["id", "__version", "__last_updated", "__source"]),
            sort: Vec::new(),
        };
        let current = TableSpec {
            table: table(CURRENT, resource, &["id"], format!("the current {resource} resources")),
            schema: shape::base_schema(resource),
            columns: Vec::new(),
            change_feed: false,
            statistics: strings(&["id", "__patient", "__last_updated", "__version", "__source"]),
            sort: strings(&["__patient", "id"]),
        };
        Ok(Self {
            resource,
            history: Box::pin(running.lake().ensure(&history)).await?,
            current: Box::pin(running.lake().ensure(&current)).await?,
        })
    }
}

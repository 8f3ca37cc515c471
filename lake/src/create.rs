//! Makes tables empty and lets their schema grow.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{Schema, SchemaRef};
use deltalake_core::{
    DeltaTable,
    kernel::{
        Action, Metadata, MetadataExt, Protocol, StructType,
        engine::arrow_conversion::TryIntoKernel,
        new_metadata,
        transaction::{CommitBuilder, CommitProperties, TableReference},
    },
    protocol::{DeltaOperation, SaveMode},
};
use mavis_catalog::{NewColumn, Table};
use mavis_types::RunId;
use serde_json::json;
use tracing::info;

use crate::{
    Error, Lake, TableSpec,
    columns::{is_lake_column, with_lake_columns},
    evolve::{retypes, storable_schema, unite},
    scan,
    stage::{REPLACED_FILE_BYTES, TARGET_FILE_BYTES},
    table::version_of,
};

/// Columns with statistics where the table does not say which.
const STATISTICS_COLUMNS: usize = 32;
const STATISTICS: &str = "delta.dataSkippingStatsColumns";
const CHANGE_FEED: &str = "delta.enableChangeDataFeed";
/// How long the log remembers files that were removed; VACUUM can keep nothing longer than that.
const REMEMBER_FILES: &str = "delta.deletedFileRetentionDuration";
pub(crate) const REMEMBER_FILES_DAYS: u64 = 30;
/// Where the table's sort order is kept, as names parted by commas.
const SORT: &str = "mavis.sort";
/// Two tries: the second one sees what another creator made.
const TRIES: usize = 3;

/// How every commit of the lake is made: no retry on another version, no checkpoint, no clean-up.
pub(crate) fn plain_commit() -> CommitProperties {
    CommitProperties::default().with_max_retries(0).with_create_checkpoint(false).with_cleanup_expired_logs(Some(false))
}

pub(crate) fn to_kernel(schema: &Schema) -> Result<StructType, Error> {
    schema.try_into_kernel().map_err(Error::arrow)
}

/// What the table's properties say.
#[derive(Debug, Clone)]
pub(crate) struct Properties {
    pub(crate) change_feed: bool,
    pub(crate) statistics: HashSet<String>,
    pub(crate) sort: Vec<String>,
}

impl Properties {
    /// Size of the table's files. A sorted table without a change feed is one that is looked up and written by key.
    pub(crate) fn file_bytes(&self) -> u64 {
        if self.sort.is_empty() || self.change_feed { TARGET_FILE_BYTES } else { REPLACED_FILE_BYTES }
    }

    pub(crate) fn of(table: &DeltaTable) -> Result<Self, Error> {
        let metadata = table.snapshot()?.metadata();
        let listed = |name: &str| -> Vec<String> {
            let text = metadata.configuration().get(name).map_or("", String::as_str);
            text.split(',')
                .map(|part| part.trim().trim_matches('`').to_owned())
                .filter(|part| !part.is_empty())
                .collect()
        };
        let mut statistics: HashSet<String> = listed(STATISTICS).into_iter().collect();
        if statistics.is_empty() {
            let schema = table.snapshot()?.snapshot().arrow_schema();
            statistics = default_statistics(&schema, &[]).into_iter().collect();
        }
        let change_feed = metadata.configuration().get(CHANGE_FEED).is_some_and(|on| on.eq_ignore_ascii_case("true"));
        Ok(Self { change_feed, statistics, sort: listed(SORT) })
    }
}

pub(crate) fn default_statistics(schema: &Schema, key: &[String]) -> Vec<String> {
    let mut names: Vec<String> = key.to_vec();
    let flat =
        schema.fields().iter().filter(|field| !field.data_type().is_nested() && field.name() != crate::columns::HASH);
    names.extend(flat.map(|field| field.name().clone()).filter(|name| !key.contains(name)));
    names.truncate(STATISTICS_COLUMNS);
    names
}

pub(crate) async fn ensure(lake: &Lake, spec: &TableSpec) -> Result<Table, Error> {
    let mut table = lake.catalog().ensure_table(spec.table.clone()).await?;
    if table.key != spec.table.key {
        lake.catalog().set_key(table.id, &spec.table.key).await?;
        table.key.clone_from(&spec.table.key);
    }
    let wanted = with_lake_columns(&storable_schema(&spec.schema), table.key.is_empty());
    for _ in 0..TRIES {
        let open = match lake.opened(table.id).await {
            Ok(open) => open,
            Err(Error::NoSuchTable { .. }) => {
                if create(lake, spec, &table, &wanted).await? {
                    set_columns(lake, &table, &wanted, &spec.columns).await?;
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        open.copied()?;
        let now = open.newest_listed().await?;
        let schema = now.snapshot()?.snapshot().arrow_schema();
        let united = unite(&schema, &wanted).map_err(|refused| refused.on(&table.name))?;
        let grown = added_columns(&schema, &united);
        if grown == *schema || extend(lake, &table, &grown).await? {
            if lake.catalog().columns(table.id).await?.len() != grown.fields().len() {
                set_columns(lake, &table, &grown, &spec.columns).await?;
            }
            return Ok(table);
        }
    }
    Err(Error::Busy { table: table.name, reason: "other writers keep changing its columns; try again".to_owned() })
}

/// The table's schema with the columns of `united` that it lacks; columns and fields that widen stay as they are.
fn added_columns(table: &Schema, united: &SchemaRef) -> Schema {
    let fields = united.fields().iter().map(|field| match table.field_with_name(field.name()) {
        Ok(old) if retypes(&Schema::new(vec![old.clone()]), &Schema::new(vec![field.as_ref().clone()])) => {
            std::sync::Arc::new(old.clone())
        }
        _ => std::sync::Arc::clone(field),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// What the first version of a table says, and the operation that it is.
pub(crate) fn birth(
    delta: &DeltaTable,
    schema: &Schema,
    statistics: &[String],
    change_feed: bool,
    mut properties: HashMap<&str, String>,
) -> Result<(Vec<Action>, DeltaOperation), Error> {
    add_statistics(&mut properties, statistics);
    if change_feed {
        properties.insert(CHANGE_FEED, "true".to_owned());
    }
    let metadata = new_metadata(&to_kernel(schema)?, Vec::<String>::new(), properties)
        .map_err(|error| Error::Delta(error.into()))?;
    let protocol = protocol(&[], change_feed)?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location: delta.table_url().clone(),
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    Ok((vec![Action::Protocol(protocol), Action::Metadata(metadata)], operation))
}

/// The properties that every table has.
pub(crate) fn add_statistics(properties: &mut HashMap<&str, String>, statistics: &[String]) {
    properties.insert(STATISTICS, statistics.join(","));
    properties.insert(REMEMBER_FILES, format!("interval {REMEMBER_FILES_DAYS} days"));
}

/// Commits version 0. `false`: somebody else was first.
async fn create(lake: &Lake, spec: &TableSpec, table: &Table, schema: &Schema) -> Result<bool, Error> {
    let delta = lake.store().delta(&table.location)?;
    let statistics =
        if spec.statistics.is_empty() { default_statistics(schema, &table.key) } else { spec.statistics.clone() };
    let mut properties = HashMap::new();
    if !spec.sort.is_empty() {
        properties.insert(SORT, spec.sort.join(","));
    }
    let (actions, operation) = birth(&delta, schema, &statistics, spec.change_feed, properties)?;
    let commit =
        CommitBuilder::from(plain_commit()).with_actions(actions).build(None, delta.log_store(), operation).await;
    match commit {
        Ok(_) => {
            info!(table = %table.name, "made table `{}`", table.name);
            Ok(true)
        }
        // Whatever went wrong: if the table is there now, it is there.
        Err(error) => match delta.verify_deltatable_existence().await {
            Ok(true) => Ok(false),
            _ => Err(Error::store(&format!("making table `{}`", table.name), &error)),
        },
    }
}

/// Times without a zone need a table feature; with features named, the change feed is one of them. `more`: features that
/// readers need to know, too.
pub(crate) fn protocol(more: &[&str], change_feed: bool) -> Result<Protocol, Error> {
    let reader: Vec<&str> = ["timestampNtz"].iter().chain(more).copied().collect();
    let mut writer = reader.clone();
    if change_feed {
        writer.push("changeDataFeed");
    }
    let text = json!({
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": reader,
        "writerFeatures": writer,
    });
    serde_json::from_value(text).map_err(|error| Error::store("describing a table's protocol", &error))
}

/// The metadata action that gives the table this schema.
pub(crate) fn metadata_with(table: &DeltaTable, schema: &Schema) -> Result<Metadata, Error> {
    let metadata = table.snapshot()?.metadata().clone();
    metadata.with_schema(&to_kernel(schema)?).map_err(|error| Error::Delta(error.into()))
}

/// The metadata with other columns that statistics are kept of.
pub(crate) fn with_statistics(metadata: Metadata, columns: &[String]) -> Result<Metadata, Error> {
    metadata.add_config_key(STATISTICS.to_owned(), columns.join(",")).map_err(|error| Error::Delta(error.into()))
}

/// Adds columns in a commit of its own, under the lease. `false`: the table moved on meanwhile.
async fn extend(lake: &Lake, table: &Table, schema: &Schema) -> Result<bool, Error> {
    let hold = lake.hold(table.id, &table.name, RunId::new()).await?;
    let open = lake.opened(table.id).await?;
    let base = open.newest_listed().await?;
    let metadata = metadata_with(&base, schema)?;
    let united =
        unite(&base.snapshot()?.snapshot().arrow_schema(), schema).map_err(|refused| refused.on(&table.name))?;
    // Somebody may have added others since: then look again.
    let ours = *united == *schema;
    let committed = if ours {
        hold.prove().await?;
        let reference: &dyn TableReference = base.snapshot()?.snapshot();
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        CommitBuilder::from(plain_commit())
            .with_actions(vec![Action::Metadata(metadata)])
            .build(Some(reference), base.log_store(), operation)
            .await
            .map(drop)
    } else {
        Ok(())
    };
    hold.release().await;
    let now = open.reload().await?;
    match committed {
        Ok(()) => Ok(ours),
        Err(_) if *now.snapshot()?.snapshot().arrow_schema() == *schema => Ok(true),
        Err(error) if version_of(&now)? == version_of(&base)? => {
            Err(Error::store(&format!("adding columns to table `{}`", table.name), &error))
        }
        Err(_) => Ok(false),
    }
}

/// Tells the catalog the columns; what it or the caller knows of them is kept.
pub(crate) async fn set_columns(lake: &Lake, table: &Table, schema: &Schema, said: &[NewColumn]) -> Result<(), Error> {
    let known = lake.catalog().columns(table.id).await?;
    let columns: Vec<NewColumn> = schema
        .fields()
        .iter()
        .map(|field| {
            let said = said.iter().find(|column| &column.name == field.name());
            let known = known.iter().find(|column| &column.name == field.name());
            NewColumn {
                name: field.name().clone(),
                source_name: said
                    .and_then(|column| column.source_name.clone())
                    .or_else(|| known.and_then(|column| column.source_name.clone())),
                data_type: field.data_type().to_string(),
                source_type: said
                    .and_then(|column| column.source_type.clone())
                    .or_else(|| known.and_then(|column| column.source_type.clone())),
                nullable: said.is_none_or(|column| column.nullable) || is_lake_column(field.name()),
                comment: said
                    .and_then(|column| column.comment.clone())
                    .or_else(|| known.and_then(|column| column.comment.clone())),
            }
        })
        .collect();
    Ok(lake.catalog().set_columns(table.id, &columns).await?)
}

/// Tells the catalog where the table stands. The log is the truth: a failure is logged, and made good by the next unit.
pub(crate) async fn tell_catalog(lake: &Lake, table: &Table, now: &DeltaTable, schema_changed: bool) {
    let told = async {
        if schema_changed {
            set_columns(lake, table, &now.snapshot()?.snapshot().arrow_schema(), &[]).await?;
        }
        lake.catalog().note_table_state(table.id, version_of(now)?, scan::row_count(now)?).await?;
        Ok::<(), Error>(())
    };
    if let Err(error) = told.await {
        tracing::warn!(table = %table.name, "the catalog was not told of a commit to `{}`: {error}", table.name);
    }
}

//! Exported keys, imported keys and cross references: the foreign keys that discovery found in the sources, between the
//! tables of the raw zone, and those of the processed zone, which are named alike.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_flight::{FlightDescriptor, FlightInfo, sql::ProstMessageExt};
use mavis_pipeline::{DiscoveryReport, ReportTable};
use mavis_types::{Principal, SourceId, TableName, Zone};
use tonic::{Response, Status};

use super::{
    keys::place_of,
    rows::{self, Listed},
    service::Commands,
    unwritten,
};
use crate::grpc::status;

/// `UpdateDeleteRules.NO_ACTION`: the lake takes what the source has.
const NO_ACTION: u8 = 3;
/// Zones whose tables are a source's.
const ZONES: [Zone; 2] = [Zone::Raw, Zone::Processed];

/// A table as a command names it; catalog and schema may be left out.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) catalog: Option<String>,
    pub(super) db_schema: Option<String>,
    pub(super) table: String,
}

impl Asked {
    fn is(&self, name: &TableName) -> bool {
        self.table == name.table
            && self.catalog.as_deref().is_none_or(|catalog| catalog == name.zone.as_str())
            && self.db_schema.as_deref().is_none_or(|schema| schema == name.schema)
    }
}

/// One column of a foreign key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    pk: TableName,
    fk: TableName,
    /// Which key of its table.
    key: usize,
    number: i32,
    pk_column: String,
    fk_column: String,
}

type Place<'a> = (&'a str, &'a str, &'a str);

impl Reference {
    fn place(&self, is_exported: bool) -> (Place<'_>, Place<'_>, usize, i32) {
        let (pk, fk) = (place_of(&self.pk), place_of(&self.fk));
        let (first, then) = if is_exported { (fk, pk) } else { (pk, fk) };
        (first, then, self.key, self.number)
    }
}

/// All three commands have one schema.
pub(super) fn info(query: &impl ProstMessageExt, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &schema(), descriptor)
}

/// Foreign keys that refer to `pk` (where it is given) and stand in `fk` (where it is given). Tables and columns that the
/// principal may not read do not appear.
pub(super) async fn of(commands: &Commands, principal: &Principal, pk: Option<Asked>, fk: Option<Asked>) -> Listed {
    let mut found: BTreeSet<Reference> = BTreeSet::new();
    for (source, zone) in sources(commands, principal, pk.as_ref().or(fk.as_ref())).await? {
        let row = commands.app.catalog.latest_discovery(source).await.map_err(status)?;
        let Some(report) = row.and_then(|row| serde_json::from_value::<DiscoveryReport>(row.report).ok()) else {
            continue;
        };
        found.extend(references(&report, zone).filter(|one| {
            pk.as_ref().is_none_or(|asked| asked.is(&one.pk)) && fk.as_ref().is_none_or(|asked| asked.is(&one.fk))
        }));
    }
    let mut seen = Seen::default();
    let mut lines = Vec::new();
    for one in found {
        if seen.has(commands, principal, &one.pk, &one.pk_column).await?
            && seen.has(commands, principal, &one.fk, &one.fk_column).await?
        {
            lines.push(one);
        }
    }
    // By the table at the other end: exported keys by the one that refers, the others by the one that is referred to. The
    // columns of a key stand together, for keys have no names here.
    let is_exported = fk.is_none();
    lines.sort_by(|one: &Reference, other| one.place(is_exported).cmp(&other.place(is_exported)));
    rows::whole(batch(&lines).map_err(|error| unwritten::unwritable(&error))?)
}

/// Sources of the tables of a name that the principal may read, with the zones that they were found in.
async fn sources(
    commands: &Commands,
    principal: &Principal,
    asked: Option<&Asked>,
) -> Result<HashSet<(SourceId, Zone)>, Status> {
    let mut sources = HashSet::new();
    let Some(asked) = asked else { return Ok(sources) };
    let catalog = &commands.app.catalog;
    for zone in ZONES {
        if asked.catalog.as_deref().is_some_and(|wanted| wanted != zone.as_str()) {
            continue;
        }
        let schemas = match &asked.db_schema {
            Some(schema) => vec![schema.clone()],
            None => {
                let all = catalog.schemas(Some(zone)).await.map_err(status)?;
                all.into_iter().map(|(_, schema)| schema).collect()
            }
        };
        for schema in schemas {
            let name = TableName::new(zone, schema, &asked.table);
            if !principal.may_read(&name) {
                continue;
            }
            let table = catalog.find_table(&name).await.map_err(status)?;
            sources.extend(table.and_then(|table| table.source).map(|source| (source, zone)));
        }
    }
    Ok(sources)
}

/// Every foreign key of a report, between tables of a zone.
fn references(report: &DiscoveryReport, zone: Zone) -> impl Iterator<Item = Reference> {
    let tables: HashMap<_, &ReportTable> = report.tables.iter().map(|table| (&table.table, table)).collect();
    report.tables.iter().flat_map(move |table| {
        let tables = tables.clone();
        table.foreign_keys.iter().enumerate().flat_map(move |(place, key)| {
            let referenced = tables.get(&key.table).copied();
            let pairs = key.columns.iter().zip(&key.referenced).zip(1..);
            pairs.filter_map(move |((fk_column, pk_column), number)| {
                let referenced = referenced?;
                Some(Reference {
                    pk: name(zone, referenced),
                    fk: name(zone, table),
                    key: place,
                    number,
                    pk_column: column(referenced, pk_column)?,
                    fk_column: column(table, fk_column)?,
                })
            })
        })
    })
}

fn name(zone: Zone, table: &ReportTable) -> TableName {
    TableName::new(zone, &table.lake_name.0, &table.lake_name.1)
}

/// What the lake calls a source's column.
fn column(table: &ReportTable, name: &str) -> Option<String> {
    table.columns.iter().find(|column| column.name == name).map(|column| column.lake_name.clone())
}

/// Columns that the principal sees, by table, asked once.
#[derive(Default)]
struct Seen(HashMap<TableName, HashSet<String>>);

impl Seen {
    async fn has(
        &mut self,
        commands: &Commands,
        principal: &Principal,
        table: &TableName,
        column: &str,
    ) -> Result<bool, Status> {
        if !self.0.contains_key(table) {
            let engine = &commands.app.engine;
            let columns = match engine.table_schema(principal, table.zone.as_str(), &table.schema, &table.table).await {
                Ok(schema) => schema.fields().iter().map(|field| field.name().clone()).collect(),
                Err(mavis_sql::Error::NoSuchTable { .. }) => HashSet::new(),
                Err(error) => return Err(status(error)),
            };
            self.0.insert(table.clone(), columns);
        }
        Ok(self.0.get(table).is_some_and(|columns| columns.contains(column)))
    }
}

fn batch(lines: &[Reference]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text =
        |of: fn(&Reference) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(lines.iter().map(of))) };
    let none = || -> ArrayRef { Arc::new(StringArray::new_null(lines.len())) };
    let rule = || -> ArrayRef { Arc::new(UInt8Array::from(vec![NO_ACTION; lines.len()])) };
    let columns = vec![
        text(|line| line.pk.zone.as_str()),
        text(|line| &line.pk.schema),
        text(|line| &line.pk.table),
        text(|line| &line.pk_column),
        text(|line| line.fk.zone.as_str()),
        text(|line| &line.fk.schema),
        text(|line| &line.fk.table),
        text(|line| &line.fk_column),
        Arc::new(Int32Array::from_iter_values(lines.iter().map(|line| line.number))) as ArrayRef,
        none(),
        none(),
        rule(),
        rule(),
    ];
    RecordBatch::try_new(schema(), columns)
}

/// As the Flight SQL definition of `CommandGetExportedKeys` has it.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

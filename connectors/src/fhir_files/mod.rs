//! FHIR resources in files: NDJSON and Bundles, plain or compressed, by folder, pattern or URL.
//!
//! Each resource type is a table (`TableKind::Resources`) whose column `resource` holds the JSON exactly as received. What
//! belongs to no type stands in the table `unreadable`, which never has a row: its rejects are the lines without a
//! resource type, Bundle entries without a resource, and files that are broken as a whole. A malformed line that still
//! names its type is a reject of that type's table.
//!
//! A Bundle that ends in the middle is refused as one file: a transaction is all or nothing, so nothing of it is taken.
//!
//! Tables are read on (`ReadMode::Append`): a new file is read, appended lines of an uncompressed NDJSON file are read from
//! where the last reading ended, and a file whose content has changed is read again as a whole, since a later export of a
//! resource replaces the earlier one. A last line that is still being written is rejected, and read once it is complete.
//!
//! Bundles hold many types and each type is a table: what a scan has parsed is kept in memory, compressed, up to a
//! budget, for as long as the source is held. Keep one source for all tables of a run.

mod read;
pub(crate) mod record;
mod scan;

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::DataType;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::{
    Ambient, Discovery, Error, ReadMode, ReadRequest, ReadStream, Selection, Source, SourceColumn, SourceKind,
    SourceTable, StageReport, TableKind, TableRef, objects::Location, reading, source::BoxedSource,
};

/// The table of what is no resource.
const UNREADABLE: &str = "unreadable";

/// Parameters of the kind `fhir_files`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FhirFilesParams {
    /// A file, a folder (everything below it) or a pattern; a path or a URL (`s3://`, `gs://`, `abfss://`, `http://`).
    pub path: String,
    /// Options of the object store (`aws_endpoint`, `aws_region`, ...), never a secret.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
    /// Per resource type the paths whose values together identify a resource, where its `id` does not:
    /// `{"Observation": ["subject.reference", "code.coding[0].code", "effectiveDateTime"]}`. They become the columns
    /// `key_1`, `key_2`, ...
    #[serde(default)]
    pub keys: BTreeMap<String, Vec<String>>,
}

/// The kind `fhir_files`.
#[derive(Debug)]
pub struct FhirFiles;

impl SourceKind for FhirFiles {
    const NAME: &'static str = "fhir_files";
    const SUMMARY: &'static str =
        "FHIR resources in NDJSON files and Bundles, plain or compressed, on disk or in an object store";
    type Params = FhirFilesParams;

    fn connect(name: &str, params: FhirFilesParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let location = Location::new(name, Self::NAME, &params.path, &params.storage, ambient)?;
        let mut keys = BTreeMap::new();
        for (kind, paths) in params.keys {
            let parsed: Result<Vec<record::KeyPath>, String> =
                paths.iter().map(|path| record::KeyPath::parse(path)).collect();
            let parsed = parsed.map_err(|reason| Error::Params {
                source_name: name.to_owned(),
                reason: format!("`keys.{kind}`: {reason}"),
            })?;
            keys.insert(kind, parsed);
        }
        Ok(Arc::new(FhirSource { shared: Arc::new(Shared { location, keys, scans: scan::Scans::default() }) }))
    }
}

/// What all readings of one source share.
#[derive(Debug)]
struct Shared {
    location: Location,
    keys: BTreeMap<String, Vec<record::KeyPath>>,
    scans: scan::Scans,
}

#[derive(Debug)]
struct FhirSource {
    shared: Arc<Shared>,
}

#[async_trait]
impl Source for FhirSource {
    async fn check(&self) -> Vec<StageReport> {
        self.shared.location.check().await
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let entries = self.shared.location.list().await?;
        let shared = Arc::clone(&self.shared);
        let runtime = Handle::current();
        let counts = reading::aside(self.shared.location.shown(), move || {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for entry in &entries {
                for (kind, count) in &shared.scans.of(&shared, &runtime, entry)?.counts {
                    *counts.entry(kind.clone()).or_default() += count;
                }
            }
            Ok(counts)
        })
        .await?;
        let tables = counts
            .into_iter()
            .map(|(kind, count)| self.describe(kind, count))
            .filter(|table| selection.takes(&table.table))
            .collect();
        Ok(Discovery { tables, failures: Vec::new() })
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let is_type_name = request.table.name == UNREADABLE
            || (request.table.name.starts_with(|c: char| c.is_ascii_uppercase())
                && request.table.name.chars().all(|c| c.is_ascii_alphanumeric()));
        if request.table.schema.is_some() || !is_type_name {
            return Err(Error::NoSuchTable { table: request.table.to_string() });
        }
        let entries = self.shared.location.list().await?;
        let (shared, runtime) = (Arc::clone(&self.shared), Handle::current());
        Ok(reading::spawn(move |output| read::run(&shared, &runtime, &entries, &request, output)))
    }
}

impl FhirSource {
    fn describe(&self, kind: String, count: u64) -> SourceTable {
        let is_unreadable = kind == UNREADABLE;
        let keys = self.shared.keys.get(&kind).map_or(0, Vec::len);
        SourceTable {
            columns: columns(keys),
            key: (1..=keys).map(|number| format!("key_{number}")).collect(),
            foreign_keys: Vec::new(),
            comment: is_unreadable.then(|| "lines, Bundle entries and files that hold no FHIR resource".to_owned()),
            row_estimate: Some(if is_unreadable { 0 } else { count }),
            mode: ReadMode::Append,
            kind: if is_unreadable { TableKind::File } else { TableKind::Resources },
            table: TableRef { schema: None, name: kind },
        }
    }
}

/// The columns of every table, with as many key columns as are declared.
fn columns(keys: usize) -> Vec<SourceColumn> {
    let column = |name: &str, data_type: DataType, nullable: bool, comment: &str| SourceColumn {
        name: name.to_owned(),
        source_type: if data_type == DataType::Int64 { "integer".to_owned() } else { "text".to_owned() },
        data_type,
        nullable,
        comment: Some(comment.to_owned()),
    };
    let mut columns = vec![
        column("resource_type", DataType::Utf8, false, "resourceType of the resource"),
        column("id", DataType::Utf8, true, "the logical id as received"),
        column("resource", DataType::Utf8, false, "the JSON exactly as received"),
        column("bundle_full_url", DataType::Utf8, true, "Bundle.entry.fullUrl"),
        column("bundle_method", DataType::Utf8, true, "Bundle.entry.request.method"),
        column("request_url", DataType::Utf8, true, "Bundle.entry.request.url"),
        column("if_none_exist", DataType::Utf8, true, "Bundle.entry.request.ifNoneExist"),
        column("file", DataType::Utf8, false, "the file that held it"),
        column(
            "position",
            DataType::Int64,
            false,
            "its line, or its entry in the Bundle, counted from 1 (a history: from its end)",
        ),
    ];
    for number in 1..=keys {
        columns.push(column(&format!("key_{number}"), DataType::Utf8, true, "part of the declared key"));
    }
    columns
}

//! What an old lake holds: trees of Parquet files, in the folders that Hive and Spark left.
//!
//! With Hive's own statements (`CREATE TABLE`, as `SHOW CREATE TABLE` prints them) each table has the names, types and
//! comments that it had there, and its files are looked for at its `LOCATION`, or where that has been copied to
//! (`locations`). Without them each folder below `root` is a table. Folders `key=value` are columns.
//!
//! A table is read whole each time and compared: what Hive overwrites or drops is changed or gone here, too. Files are read
//! where they are; nothing of the old lake is written to. Where it is declared (`take_over`), they are not read but named: the
//! table is these files ([`in_place`]).

mod ddl;
mod in_place;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use object_store::{ObjectStore, local::LocalFileSystem};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;

use self::ddl::HiveTable;
use crate::{
    Ambient, Discovery, Error, InPlace, ReadRequest, ReadStream, Selection, Source, SourceKind, StageReport, TableRef,
    files::{self, Declared, DeclaredColumn, Shared},
    objects::{FileEntry, Location, read_whole},
    reading,
    source::BoxedSource,
};

/// Parameters of the kind `hive`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HiveParams {
    /// A file, folder or pattern of HiveQL with the tables' `CREATE TABLE`; a path or a URL.
    #[serde(default)]
    pub ddl: Option<String>,
    /// The folder below which tables are (`s3://bucket/datalake/raw/HMS`, a path). With `ddl`, for tables whose `LOCATION`
    /// is nowhere else: `<root>/<table>` or `<root>/<database>.db/<table>`.
    #[serde(default)]
    pub root: Option<String>,
    /// Where the beginnings of locations are now: `{"hdfs://nn:8020/datalake": "s3://bucket/datalake"}`.
    #[serde(default)]
    pub locations: BTreeMap<String, String>,
    /// Options of the object store (`aws_endpoint`, `aws_region`, ...), never a secret.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
    /// Names or `database.name`; `*` and `?` allowed. Empty: all.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Whether rows are copied into the lake, or its tables name the files where they lie.
    #[serde(default)]
    pub take_over: TakeOver,
    /// Of files taken over in place that are there no more.
    #[serde(default)]
    pub missing_files: MissingFiles,
}

/// How what an old lake holds comes into the lake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakeOver {
    /// Rows are read, converted and written.
    #[default]
    Copy,
    /// Tables of the raw zone name the files where they lie.
    InPlace,
}

/// What becomes of rows whose file is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingFiles {
    /// The run fails and says which files are gone; the table stays as it was.
    #[default]
    Refuse,
    /// They leave the table.
    Remove,
}

/// The kind `hive`.
#[derive(Debug)]
pub struct Hive;

impl SourceKind for Hive {
    const NAME: &'static str = "hive";
    const SUMMARY: &'static str =
        "trees of Parquet files with Hive's partitions, and Hive's statements for names and comments";
    type Params = HiveParams;

    fn connect(name: &str, params: HiveParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let refuse = |reason: &str| Error::Params { source_name: name.to_owned(), reason: reason.to_owned() };
        if params.ddl.is_none() && params.root.is_none() {
            return Err(refuse("declare `ddl`, `root` or both"));
        }
        let source = HiveSource { name: name.to_owned(), params, ambient: ambient.clone() };
        if source.params.take_over == TakeOver::Copy && source.params.missing_files == MissingFiles::Remove {
            return Err(Error::Params {
                source_name: name.to_owned(),
                reason: "`missing_files` is said of files taken over in place; rows that are copied leave the lake with their \
                         files by themselves"
                    .to_owned(),
            });
        }
        for path in [&source.params.ddl, &source.params.root].into_iter().flatten() {
            source.location(path)?;
        }
        // A table's folder is opened when it is read; one that is closed is told now.
        for to in source.params.locations.values().filter(|to| to.starts_with('/') || to.starts_with("file://")) {
            source.location(to)?;
        }
        Ok(Arc::new(source))
    }
}

#[derive(Debug, Clone)]
struct HiveSource {
    name: String,
    params: HiveParams,
    ambient: Ambient,
}

/// A table and where its files should be.
#[derive(Debug, Clone)]
struct Place {
    reference: TableRef,
    declared: Option<HiveTable>,
    /// The folders that may be it, the first that has files is; or why there is none that can be read.
    folders: Result<Vec<String>, String>,
}

impl HiveSource {
    fn location(&self, path: &str) -> Result<Location, Error> {
        let is_local = !path.contains("://") || path.starts_with("file://");
        let none = BTreeMap::new();
        let storage = if is_local { &none } else { &self.params.storage };
        Location::new(&self.name, Hive::NAME, path, storage, &self.ambient)
    }

    fn selection(&self) -> Selection {
        Selection { include: self.params.tables_to_include.clone(), exclude: self.params.tables_to_exclude.clone() }
    }

    /// The tables there should be.
    async fn places(&self) -> Result<Vec<Place>, Error> {
        let mut places = match &self.params.ddl {
            Some(ddl) => self.declared(ddl).await?,
            None => self.found().await?,
        };
        let selection = self.selection();
        places.retain(|place| selection.takes(&place.reference));
        Ok(places)
    }

    async fn place(&self, table: &TableRef) -> Result<Place, Error> {
        let place = self.places().await?.into_iter().find(|place| place.reference == *table);
        place.ok_or_else(|| Error::NoSuchTable { table: table.to_string() })
    }

    /// Those that statements declare.
    async fn declared(&self, ddl: &str) -> Result<Vec<Place>, Error> {
        let location = self.location(ddl)?;
        let entries = location.list().await?;
        let runtime = Handle::current();
        let texts = reading::aside(ddl, move || {
            let read = |entry: &FileEntry| {
                let text =
                    String::from_utf8(read_whole(&location, &runtime, entry)?).map_err(|_| Error::Malformed {
                        place: format!("file `{}`", entry.shown()),
                        reason: "it is not valid UTF-8".to_owned(),
                    })?;
                Ok((entry.shown(), text))
            };
            entries.iter().map(read).collect::<Result<Vec<_>, Error>>()
        })
        .await?;
        let mut tables: Vec<HiveTable> = Vec::new();
        for (file, text) in texts {
            let found =
                ddl::parse(&text).map_err(|reason| Error::Malformed { place: format!("file `{file}`"), reason })?;
            for table in found {
                // A later statement for the same table is the newer one.
                tables.retain(|known| (&known.database, &known.name) != (&table.database, &table.name));
                tables.push(table);
            }
        }
        if tables.is_empty() {
            let reason = "it has no CREATE TABLE; write what SHOW CREATE TABLE prints into it".to_owned();
            return Err(Error::Malformed { place: format!("`{ddl}`"), reason });
        }
        let databases: std::collections::BTreeSet<&Option<String>> =
            tables.iter().map(|table| &table.database).collect();
        let has_several = databases.len() > 1;
        Ok(tables
            .iter()
            .map(|table| Place {
                reference: TableRef {
                    schema: table.database.clone().filter(|_| has_several),
                    name: table.name.clone(),
                },
                folders: self.folders(table),
                declared: Some(table.clone()),
            })
            .collect())
    }

    /// Where a declared table's files are.
    fn folders(&self, table: &HiveTable) -> Result<Vec<String>, String> {
        match table.format.as_deref() {
            Some("parquet") | None => {}
            Some(other) => {
                return Err(format!(
                    "its files are {other}, which is not read: only Parquet is; make a Parquet table of it in Hive first"
                ));
            }
        }
        // Hive writes `file:/x`.
        let local = table.location.as_ref().and_then(|location| location.strip_prefix("file:/"));
        let location = match local {
            Some(path) => Some(format!("file:///{}", path.trim_start_matches('/'))),
            None => table.location.clone(),
        };
        if let Some(location) = &location {
            let moved = self
                .params
                .locations
                .iter()
                .filter_map(|(from, to)| {
                    let rest = location.strip_prefix(from.trim_end_matches('/'))?;
                    (rest.is_empty() || rest.starts_with('/')).then_some((from.len(), to, rest))
                })
                .max_by_key(|(length, _, _)| *length);
            if let Some((_, to, rest)) = moved {
                return Ok(vec![format!("{}{rest}", to.trim_end_matches('/'))]);
            }
            if !["hdfs:", "viewfs:", "maprfs:"].iter().any(|scheme| location.starts_with(scheme)) {
                return Ok(vec![location.clone()]);
            }
        }
        match (&self.params.root, &location) {
            (Some(root), _) => {
                let root = root.trim_end_matches('/');
                let in_warehouse = table.database.iter().map(|database| format!("{root}/{database}.db/{}", table.name));
                Ok([format!("{root}/{}", table.name)].into_iter().chain(in_warehouse).collect())
            }
            (None, Some(_)) => Err(
                "its files are on HDFS: say in `locations` where they are read from, as `webhdfs://<name node>:9870/...`, or where \
                 they were copied to (`hadoop distcp`)"
                    .to_owned(),
            ),
            (None, None) => Err("it declares no LOCATION: set `root` to the folder that its folder is in".to_owned()),
        }
    }

    /// Each folder below the root that holds Parquet files.
    async fn found(&self) -> Result<Vec<Place>, Error> {
        let root = self.params.root.clone().unwrap_or_default();
        let entries = self.location(&root)?.list().await?;
        let mut folders: BTreeMap<String, ()> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| is_parquet(entry)) {
            let parts: Vec<&str> = entry.name.split('/').collect();
            let above = &parts[..parts.len() - 1];
            let length = above.iter().position(|part| part.contains('=')).unwrap_or(above.len());
            // Spark writes a table as a folder that is called like a file.
            folders.insert(above[..length].join("/"), ());
        }
        let whole = folders.contains_key("");
        let names: Vec<String> = if whole { vec![String::new()] } else { folders.into_keys().collect() };
        if names.is_empty() {
            let reason = "no Parquet file is below it".to_owned();
            return Err(Error::Refused { endpoint: root, stage: crate::Stage::Read, reason });
        }
        Ok(names
            .into_iter()
            .map(|name| {
                let base = root.trim_end_matches('/');
                let folder = if name.is_empty() { base.to_owned() } else { format!("{base}/{name}") };
                let last = folder.rsplit('/').next().unwrap_or(&folder);
                let table = last.strip_suffix(".parquet").unwrap_or(last).to_owned();
                let schema = name.rsplit_once('/').map(|(above, _)| above.replace('/', "_"));
                Place { reference: TableRef { schema, name: table }, declared: None, folders: Ok(vec![folder]) }
            })
            .collect())
    }

    /// A table's files, and where they are.
    async fn files(&self, place: &Place) -> Result<(String, Location, Vec<FileEntry>), Error> {
        let malformed =
            |reason: &str| Error::Malformed { place: format!("`{}`", place.reference), reason: reason.to_owned() };
        let folders = place.folders.as_ref().map_err(|reason| malformed(reason))?;
        let mut opened = Err(malformed("it has no folder"));
        for folder in folders {
            let location = self.location(folder)?;
            opened = location.list().await.map(|entries| (folder.clone(), location, entries));
            if !matches!(opened, Err(Error::Refused { .. })) {
                break;
            }
        }
        let (folder, location, mut entries) = opened?;
        // Files are called as Hive calls them (`000000_0`); what says another ending is something else.
        entries.retain(|entry| {
            entry.size > 0 && (is_parquet(entry) || !entry.name.rsplit('/').next().unwrap_or_default().contains('.'))
        });
        Ok((folder, location, entries))
    }

    /// A table's files, and how they are read.
    async fn open(&self, place: &Place) -> Result<(Shared, Vec<FileEntry>), Error> {
        let (_, location, entries) = self.files(place).await?;
        let declared = place.declared.as_ref().map(|table| Declared {
            columns: table
                .columns
                .iter()
                .map(|column| DeclaredColumn {
                    name: column.name.clone(),
                    data_type: column.data_type(),
                    source_type: column.hive_type.clone(),
                    comment: column.comment.clone(),
                })
                .collect(),
        });
        Ok((Shared::of_parquet(location, declared), entries))
    }
}

fn is_parquet(entry: &FileEntry) -> bool {
    let lower = entry.name.to_ascii_lowercase();
    lower.ends_with(".parquet") || lower.ends_with(".parq") || lower.ends_with(".pq")
}

#[async_trait]
impl Source for HiveSource {
    async fn check(&self) -> Vec<StageReport> {
        let path = self.params.ddl.as_ref().or(self.params.root.as_ref()).map_or("", String::as_str);
        match self.location(path) {
            Ok(location) => location.check().await,
            Err(_) => Vec::new(),
        }
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let mut discovery = Discovery::default();
        for place in self.places().await? {
            if !selection.takes(&place.reference) {
                continue;
            }
            let described = match self.open(&place).await {
                Ok((shared, entries)) => {
                    let (name, runtime) = (place.reference.name.clone(), Handle::current());
                    reading::aside(&name.clone(), move || files::describe_parquet(&shared, &runtime, &name, entries))
                        .await
                }
                Err(error) => Err(error),
            };
            match described {
                Ok(mut table) => {
                    table.table = place.reference;
                    table.comment = place.declared.and_then(|declared| declared.comment);
                    discovery.tables.push(table);
                }
                Err(error @ (Error::Unreachable { .. } | Error::Interrupted { .. })) => return Err(error),
                Err(error) => discovery.failures.push((place.reference, error.to_string())),
            }
        }
        Ok(discovery)
    }

    async fn in_place(&self, table: &TableRef) -> Result<Option<InPlace>, Error> {
        match self.params.take_over {
            TakeOver::Copy => Ok(None),
            TakeOver::InPlace => self.tree(table).await.map(Some),
        }
    }

    fn store_in_place(&self, authority: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        if authority == "file://" {
            // The log names files one by one, each of them looked at when it was found.
            return Ok(Arc::new(LocalFileSystem::new()));
        }
        Ok(Arc::clone(self.location(&format!("{authority}/"))?.store()))
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let place = self.place(&request.table).await?;
        let (shared, entries) = self.open(&place).await?;
        let runtime = Handle::current();
        Ok(reading::spawn(move |output| {
            files::read_parquet(&shared, &runtime, &place.reference.name, entries, &request, output)
        }))
    }
}

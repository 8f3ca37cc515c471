use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    util::display::array_value_to_string,
};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use mavis_catalog::{Catalog, NewAudit, NewQuarantined, NewRun, NewSource, NewTable, NewToken, RunKind, Step, Table};
use mavis_lake::{AppId, End, Lake, LakeOptions, TableSpec, WriteMode};
use mavis_sql::{Engine, EngineOptions, Error, Limits, QueryStream};
use mavis_types::{
    Principal, Role, RunId, SchemaGrant, Scope, SnapshotId, SourceId, SourceName, TableName, TokenId, Zone,
};
use tempfile::TempDir;

/// A lake with a few tables, and who asks.
pub(crate) struct Fixture {
    pub(crate) lake: Lake,
    pub(crate) engine: Engine,
    /// Reads everything.
    pub(crate) admin: Principal,
    /// Reads `processed.hms` and `fhir.r4` only.
    pub(crate) reader: Principal,
    pub(crate) source: SourceId,
    pub(crate) run: RunId,
    dir: TempDir,
}

pub(crate) fn principal(role: Role, scope: Scope) -> Principal {
    Principal::new(TokenId::new(), role.as_str(), role, scope)
}

pub(crate) fn grant(zone: Zone, schema: &str) -> SchemaGrant {
    SchemaGrant { zone, schema: schema.to_owned() }
}

pub(crate) fn options() -> EngineOptions {
    let limits = Limits { time: Duration::from_secs(60), memory_bytes: 256 << 20, rows: None, result_bytes: None };
    let (roles, answers_bytes, mask_key) = (HashMap::new(), 64 << 20, [7; 32]);
    EngineOptions { concurrent: 4, queued: 8, limits, roles, answers_bytes, mask_key }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    /// - `raw.hms.hms_patient`, `processed.hms.hms_patient`: 3 rows, `birthdate` in lower case
    /// - `processed.secret.staff`: a text column that is no number
    /// - `fhir.r4.patient`: version with 2 rows published, then 1 more row that no snapshot has
    /// - `fhir.r4.observation`: never published
    pub(crate) async fn with(options: EngineOptions) -> Self {
        let dir = TempDir::new().unwrap();
        let url = format!("sqlite://{}", dir.path().join("catalog.sqlite").display());
        let catalog = Catalog::open(&url).await.unwrap();
        let root = dir.path().join("lake");
        let spill_dir = dir.path().join("spill");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&spill_dir).unwrap();
        let lake_options = LakeOptions {
            url: format!("file://{}/", root.display()).parse().unwrap(),
            storage: HashMap::new(),
            memory_bytes: 512 << 20,
            // Tests take files away to see who still reads them.
            pages_bytes: 0,
            spill_dir,
            partitions: 2,
            server: "test".to_owned(),
        };
        let lake = Lake::open(lake_options, catalog.clone()).await.unwrap();
        let new = NewSource {
            name: SourceName::new("hms").unwrap(),
            kind: "files".to_owned(),
            params: serde_json::json!({"path": "/data"}),
            authoritative: false,
        };
        let source = catalog.add_source(new).await.unwrap().id;
        let run = RunId::new();
        let new = NewRun {
            id: run,
            kind: RunKind::Ingest,
            source: Some(source),
            request: serde_json::json!({}),
            requested_by: "admin".to_owned(),
            parent: None,
            attempt: 1,
        };
        catalog.add_run(new).await.unwrap();
        let admin = principal(Role::Admin, Scope::All);
        let grants = vec![grant(Zone::Processed, "hms"), grant(Zone::Fhir, "r4")];
        let reader = principal(Role::Reader, Scope::Schemas(grants));
        let engine = Engine::new(lake.clone(), options);
        let fixture = Self { lake, engine, admin, reader, source, run, dir };
        fixture.fill().await;
        fixture
    }

    async fn fill(&self) {
        for zone in [Zone::Raw, Zone::Processed] {
            let table = self.table(zone, "hms", "hms_patient", &patients(&[]).schema()).await;
            self.append(&table, &patients(&[(1, "Durand", "1950-01-02"), (2, "Petit", "1961-03-04")])).await;
            self.append(&table, &patients(&[(3, "Moreau", "2001-05-06")])).await;
        }
        let staff = self.table(Zone::Processed, "secret", "staff", &patients(&[]).schema()).await;
        self.append(&staff, &patients(&[(7, "Lefevre-secret", "1970-01-01")])).await;
        let patient = self.table(Zone::Fhir, "r4", "patient", &resources(&[]).schema()).await;
        self.append(&patient, &resources(&[("a", "1950-01-02", "Durand"), ("b", "1961-03-04", "Petit")])).await;
        self.publish(&patient).await;
        self.append(&patient, &resources(&[("c", "2001-05-06", "Moreau")])).await;
        let observation = self.table(Zone::Fhir, "r4", "observation", &resources(&[]).schema()).await;
        self.append(&observation, &resources(&[("o", "2020-01-01", "none")])).await;
        for (ordinal, table) in [&patient, &staff].into_iter().enumerate() {
            let row = NewQuarantined {
                app_id: format!("in:{}:{}", self.source, table.id),
                sequence: 1,
                ordinal: ordinal as i64,
                run: self.run,
                table: table.id,
                step: Step::ToProcessed,
                reason: "birth_date: not a date".to_owned(),
                origin: "line 1".to_owned(),
                payload: format!("payload of {}", table.name),
            };
            self.lake.catalog().quarantine(&[row]).await.unwrap();
        }
        let entry = NewAudit {
            actor: "admin".to_owned(),
            action: "source.add".to_owned(),
            object: "hms".to_owned(),
            allowed: true,
            door: "http".to_owned(),
            rows: None,
        };
        self.lake.catalog().audit(&entry).await.unwrap();
        let token = NewToken::new("bi", Role::Reader, Scope::All);
        self.lake.catalog().create_token(token).await.unwrap();
    }

    pub(crate) async fn table(&self, zone: Zone, schema: &str, table: &str, columns: &SchemaRef) -> Table {
        let new = NewTable {
            name: TableName::new(zone, schema, table),
            source: Some(self.source),
            source_schema: None,
            source_table: Some(table.to_uppercase()),
            key: vec!["id".to_owned()],
            comment: Some(format!("{table} of {schema}")),
        };
        let spec = TableSpec {
            table: new,
            schema: Arc::clone(columns),
            columns: Vec::new(),
            change_feed: zone != Zone::Fhir,
            statistics: vec!["id".to_owned()],
            sort: Vec::new(),
        };
        self.lake.ensure(&spec).await.unwrap()
    }

    /// Appends rows in one commit and tells the version.
    pub(crate) async fn append(&self, table: &Table, rows: &RecordBatch) -> i64 {
        let app = AppId::ingest(self.source, table.id);
        let unit = self.lake.begin(table.id, app, self.run).await.unwrap();
        let mut writer = unit.write(WriteMode::Append, rows.schema()).await.unwrap();
        writer.push(rows).await.unwrap();
        writer.finish(End::default()).await.unwrap().version
    }

    pub(crate) async fn publish(&self, table: &Table) -> SnapshotId {
        let version = self.lake.version(table.id).await.unwrap();
        let changed = BTreeMap::from([(table.id, version)]);
        self.lake.catalog().publish_snapshot(Some(self.run), &changed).await.unwrap().id
    }

    pub(crate) async fn find(&self, name: &str) -> Table {
        self.lake.catalog().table(&name.parse().unwrap()).await.unwrap()
    }

    /// The folder of the lake.
    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("lake")
    }

    /// Takes all data files away; logs stay.
    pub(crate) fn lose_files(&self) {
        let mut folders = vec![self.dir.path().join("lake")];
        let mut lost = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() && entry.file_name() != "_delta_log" {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "parquet") {
                    std::fs::remove_file(path).unwrap();
                    lost += 1;
                }
            }
        }
        assert!(lost > 0, "there were no files");
    }

    pub(crate) async fn ask(&self, who: &Principal, sql: &str) -> Result<Vec<String>, Error> {
        self.ask_with(who, sql, &[]).await
    }

    pub(crate) async fn ask_with(
        &self,
        who: &Principal,
        sql: &str,
        params: &[ScalarValue],
    ) -> Result<Vec<String>, Error> {
        let session = self.engine.session(who, None).await?;
        lines(session.query(sql, params, None).await?).await
    }

    /// The answer for the administrator, a line per row, cells apart by `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        self.ask(&self.admin, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) async fn error(&self, who: &Principal, sql: &str) -> Error {
        match self.ask(who, sql).await {
            Ok(rows) => panic!("{sql} gave {rows:?}"),
            Err(error) => error,
        }
    }
}

pub(crate) async fn batches(stream: QueryStream) -> Result<Vec<RecordBatch>, Error> {
    let schema = Arc::clone(&stream.schema);
    let batches: Vec<RecordBatch> = stream.batches.try_collect().await?;
    for batch in &batches {
        assert_eq!(batch.schema(), schema, "a batch has the schema that was told");
    }
    Ok(batches)
}

pub(crate) async fn lines(stream: QueryStream) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for batch in batches(stream).await? {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| {
                if column.is_null(row) { "NULL".to_owned() } else { array_value_to_string(column, row).unwrap() }
            };
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines)
}

pub(crate) fn patients(rows: &[(i64, &str, &str)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("nom", DataType::Utf8, true),
        Field::new("birthdate", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// `id`, `birthDate`, `name` (a list of one name), `resource`.
pub(crate) fn resources(rows: &[(&str, &str, &str)]) -> RecordBatch {
    let fields: Fields =
        vec![Field::new("family", DataType::Utf8, true), Field::new("givenName", DataType::Utf8, true)].into();
    let item = Arc::new(Field::new("element", DataType::Struct(fields.clone()), true));
    let family: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)));
    let given: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; rows.len()]));
    let names = StructArray::new(fields, vec![family, given], None);
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows.len()));
    let names = ListArray::new(Arc::clone(&item), offsets, Arc::new(names), None);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("birthDate", DataType::Utf8, true),
        Field::new("name", DataType::List(item), true),
        Field::new("resource", DataType::Utf8, true),
    ]);
    let text = |of: fn(&(&str, &str, &str)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let columns = vec![
        text(|row| row.0.to_owned()),
        text(|row| row.1.to_owned()),
        Arc::new(names) as ArrayRef,
        text(|row| format!("{{\"id\":\"{}\"}}", row.0)),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// The one number of an answer of one row and one column.
pub(crate) async fn number(stream: QueryStream) -> i64 {
    let batches = batches(stream).await.unwrap();
    batches[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0)
}

//! Makes a fresh database of each kind, and runs a claim on it.

use std::{future::Future, str::FromStr, sync::Arc};

use mavis_catalog::{Catalog, NewRun, NewTable, RunKind, Table};
use mavis_types::{RunId, TableName};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

pub(crate) const VARIABLE: &str = "MAVIS_TEST_POSTGRES";

#[derive(Debug, Clone)]
pub(crate) struct Db {
    pub(crate) catalog: Catalog,
    pub(crate) url: String,
    pub(crate) folder: Option<Arc<tempfile::TempDir>>,
}

impl Db {
    /// A second handle, as another process would have.
    pub(crate) async fn open_again(&self) -> Catalog {
        Catalog::open(&self.url).await.expect("opens again")
    }

    /// Runs a statement past the catalog.
    pub(crate) async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap();
    }

    /// The same, for a statement that the database may refuse.
    pub(crate) async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        if !self.url.starts_with("sqlite") {
            return postgres_execute(&self.url, sql).await;
        }
        let mut connection = SqliteConnectOptions::from_str(&self.url).unwrap().connect().await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        connection.close().await.unwrap();
        done.map(drop)
    }

    pub(crate) async fn table(&self, name: &str) -> Table {
        self.catalog.ensure_table(new_table(name)).await.unwrap()
    }

    pub(crate) async fn run(&self) -> RunId {
        self.catalog.add_run(new_run()).await.unwrap().id
    }
}

pub(crate) fn new_table(name: &str) -> NewTable {
    NewTable {
        name: TableName::from_str(name).unwrap(),
        source: None,
        source_schema: None,
        source_table: None,
        key: Vec::new(),
        comment: None,
    }
}

pub(crate) fn new_run() -> NewRun {
    NewRun {
        id: RunId::new(),
        kind: RunKind::Ingest,
        source: None,
        request: serde_json::json!({"tables": ["hms_patient"]}),
        requested_by: "admin".to_owned(),
        parent: None,
        attempt: 1,
    }
}

pub(crate) async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(claim: fn(Db) -> F) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let url = format!("sqlite://{}", folder.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url).await.unwrap();
    claim(Db { catalog, url, folder: Some(folder) }).await;
}

pub(crate) async fn on_postgres<F: Future<Output = ()> + Send + 'static>(claim: fn(Db) -> F) {
    let Ok(server) = std::env::var(VARIABLE) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{VARIABLE} is not set: in CI the PostgreSQL half must run"
        );
        eprintln!("skipped on PostgreSQL: {VARIABLE} is not set");
        return;
    };
    let name = format!("mavis_catalog_{}", uuid::Uuid::now_v7().simple());
    // A collation that is not by bytes shows whether names page in the same order as on SQLite.
    let by_language = format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US' \
         LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    if postgres_execute(&server, &by_language).await.is_err() {
        postgres_execute(&server, &format!("CREATE DATABASE {name}")).await.unwrap();
    }
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let url = url.to_string();
    let outcome = tokio::spawn(async move {
        let catalog = Catalog::open(&url).await.unwrap();
        claim(Db { catalog: catalog.clone(), url, folder: None }).await;
        catalog.close().await;
    })
    .await;
    postgres_execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure.into_panic());
    }
}

async fn postgres_execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map(|_| ());
    connection.close().await?;
    done
}

/// Each claim becomes a test on each backend.
macro_rules! on_both {
    ($($claim:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                crate::backend::on_sqlite(super::$claim).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                crate::backend::on_postgres(super::$claim).await;
            })*
        }
    };
}
pub(crate) use on_both;

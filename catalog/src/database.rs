use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection, SqliteConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;
use url::Url;

use crate::{
    Error,
    engine::{BUSY_TIMEOUT, Engine, SqliteEngine},
    kept::Kept,
    migrate::{MigrateError, migrate},
    number::Numbers,
    stamp::LogIndex,
};

/// Connections that read at once; writes have their own.
const SQLITE_READERS: u32 = 8;
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(60);

/// A handle on the catalog database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(crate) engine: Engine,
    /// Of a SQLite catalog.
    pub(crate) index: Option<Arc<LogIndex>>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) numbers: Arc<Numbers>,
}

impl Catalog {
    /// Opens the database, makes it where the URL is a SQLite file that does not exist yet (for its owner's eyes only,
    /// mode 0600), and applies migrations.
    ///
    /// `url`: `sqlite:///path/to/catalog.sqlite` or `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// [`Error::Open`] with the URL (password left out) when the database cannot be reached or migrated.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let failed = |reason: String| Error::Open { url: without_password(url), reason: redact(url, reason) };
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let (engine, index) = match scheme {
            "sqlite" => open_sqlite(url).await,
            "postgres" | "postgresql" => open_postgres(url).await.map(|engine| (engine, None)),
            _ => Err("write sqlite:///path/to/file or postgres://user:password@host:port/database".to_owned()),
        }
        .map_err(failed)?;
        Ok(Self { engine, index: index.map(Arc::new), kept: Arc::default(), numbers: Arc::default() })
    }

    /// Whether the database answers: one read that touches no table.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.engine.ping().await
    }

    /// Waits for work that has begun and gives every connection back. Other handles on the same database are closed too.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

async fn open_sqlite(url: &str) -> Result<(Engine, Option<LogIndex>), String> {
    let options = SqliteConnectOptions::from_str(url).map_err(|error| error.to_string())?;
    let path = options.get_filename().to_path_buf();
    if path.as_os_str().is_empty() || url.contains(":memory:") || url.contains("mode=memory") {
        return Err("a catalog is a file: write sqlite:///path/to/file".to_owned());
    }
    create_private(&path)
        .await
        .map_err(|error| format!("cannot make the file: {error}; check that its folder exists and may be written"))?;
    let options = options
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = |size| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    let writer = || pool(1).after_release(|connection, _| Box::pin(is_outside(connection)));
    let engine = Engine::Sqlite(SqliteEngine {
        disk: writer().connect_lazy_with(options.clone()),
        system: writer().connect_lazy_with(options.clone().synchronous(SqliteSynchronous::Normal)),
        readers: pool(SQLITE_READERS).connect_lazy_with(options.pragma("query_only", "1")),
        turn: Arc::new(Mutex::new(())),
    });
    // Two openers of a new file may meet while one of them turns it to write-ahead logging, where SQLite does not wait.
    let mut tries = 0;
    loop {
        match migrate(&engine).await {
            Ok(()) => return Ok((engine, Some(LogIndex::of(&path)))),
            Err(error) if tries < 50 && is_busy(&error) => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(20 * tries)).await;
            }
            Err(error) => {
                engine.close().await;
                return Err(error.to_string());
            }
        }
    }
}

/// Whether a connection may be used again. SQLite ends a transaction by itself where the disk has no room for it; the driver
/// goes on believing in it, and would refuse every later one.
async fn is_outside(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // Behind the roll-back that may be on its way.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn is_busy(error: &MigrateError) -> bool {
    let MigrateError::Database(Error::Database(error)) = error else { return false };
    let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    // SQLITE_BUSY and SQLITE_LOCKED, with their extended codes in the upper bytes.
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

async fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    match options.open(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

async fn open_postgres(url: &str) -> Result<Engine, String> {
    let options = PgConnectOptions::from_str(url).map_err(|error| error.to_string())?;
    let options = options.application_name("mavis");
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // A cursor row must be on disk before the Delta commit that follows it.
                sqlx::query("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
                    .execute(connection)
                    .await
                    .map(|_| ())
            })
        })
        .connect_lazy_with(options.clone());
    // The pool would try again until its time is out: ask once, so that a wrong password is told at once.
    let connection = sqlx::ConnectOptions::connect(&options).await.map_err(|error| error.to_string())?;
    sqlx::Connection::close(connection).await.map_err(|error| error.to_string())?;
    let engine = Engine::Postgres(pool);
    match migrate(&engine).await {
        Ok(()) => Ok(engine),
        Err(error) => {
            engine.close().await;
            Err(error.to_string())
        }
    }
}

/// The URL with neither the password of its user part nor a parameter that holds one.
fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        return if scheme.chars().all(|c| c.is_ascii_alphanumeric()) {
            format!("{scheme}:...")
        } else {
            "...".to_owned()
        };
    };
    if parsed.password().is_some() && parsed.set_password(None).is_err() {
        return format!("{}:...", parsed.scheme());
    }
    let shown: Vec<(String, String)> = parsed
        .query_pairs()
        .filter(|(key, _)| !key.to_ascii_lowercase().contains("password"))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    if parsed.query().is_some() {
        parsed.set_query(None);
        if !shown.is_empty() {
            parsed.query_pairs_mut().extend_pairs(shown);
        }
    }
    parsed.to_string()
}

/// A reason given by a library, in case that it quotes the URL.
fn redact(url: &str, reason: String) -> String {
    let mut reason = reason.replace(url, &without_password(url));
    if let Ok(parsed) = Url::parse(url) {
        let secrets = parsed.password().map(str::to_owned).into_iter().chain(
            parsed.query_pairs().filter(|(key, _)| key.contains("password")).map(|(_, value)| value.into_owned()),
        );
        for secret in secrets.filter(|secret| secret.len() > 3) {
            reason = reason.replace(&secret, "...");
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("postgres://mavis:s3cret@db:5432/mavis", "postgres://mavis@db:5432/mavis")]
    #[case("postgres://mavis@db/mavis?password=s3cret&sslmode=require", "postgres://mavis@db/mavis?sslmode=require")]
    #[case("postgres://db/mavis?PASSWORD=s3cret", "postgres://db/mavis")]
    #[case("postgres://mavis:s3cret@[broken/mavis", "postgres:...")]
    #[case("sqlite:///data/catalog.sqlite", "sqlite:///data/catalog.sqlite")]
    fn a_url_is_shown_without_its_password(#[case] url: &str, #[case] shown: &str) {
        assert_eq!(without_password(url), shown);
    }

    #[test]
    fn a_reason_that_quotes_the_url_is_shown_without_its_password() {
        let url = "postgres://mavis:s3cret@db/mavis";
        assert!(!redact(url, format!("cannot parse {url} (s3cret)")).contains("s3cret"));
    }
}

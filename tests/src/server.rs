use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Once,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The `mavis` binary that cargo built beside this test (which lies in `deps`) or this benchmark (which does not).
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("mavis")).find(|path| path.is_file());
    found.context("the `mavis` binary is not built: run `cargo build -p mavis-server` with the same profile")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How a server is started.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    environment: Vec<(String, String)>,
    config: Option<String>,
    data: Option<PathBuf>,
}

impl ServerBuilder {
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// TOML for `--config`.
    #[must_use]
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// A data folder that stays; without it, one that goes with the server.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// # Errors
    /// When the server does not become ready; with the end of its log.
    pub async fn start(self) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        let data = self.data.unwrap_or_else(|| folder.path().join("data"));
        if let Some(config) = &self.config {
            fs::write(folder.path().join("mavis.toml"), config)?;
        }
        let mut server = Server {
            http: format!("127.0.0.1:{}", free_port()?),
            grpc: format!("127.0.0.1:{}", free_port()?),
            postgres: format!("127.0.0.1:{}", free_port()?),
            has_config: self.config.is_some(),
            environment: self.environment,
            data,
            folder,
            child: None,
            client: client(),
        };
        // Between the choice of a port and its use another test may have taken it.
        for _ in 0..3 {
            server.spawn()?;
            match server.ready().await {
                Err(error) if error.to_string().contains("Address already in use") => {
                    for address in [&mut server.http, &mut server.grpc, &mut server.postgres] {
                        *address = format!("127.0.0.1:{}", free_port()?);
                    }
                    fs::remove_file(server.folder.path().join("log"))?;
                }
                ended => return ended.map(|()| server),
            }
        }
        bail!("no ports are free")
    }
}

fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            eprintln!("a TLS provider was installed before");
        }
    });
    reqwest::Client::new()
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    pub data: PathBuf,
    /// `host:port` of the HTTP door.
    pub http: String,
    /// `host:port` of the gRPC and Flight SQL door.
    pub grpc: String,
    /// `host:port` of the PostgreSQL door.
    pub postgres: String,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    has_config: bool,
    child: Option<Child>,
    client: reqwest::Client,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Errors
    /// When the body is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// What a command of the CLI did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// # Errors
    /// When the command failed; with what it said.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

impl Server {
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// A server with defaults on an empty data folder.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`].
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A folder for this test's files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that the server has logged so far, over restarts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts the process; returns before it is ready.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = Command::new(binary()?);
        command.arg("serve").arg("--data").arg(&self.data).args([
            "--http",
            &self.http,
            "--grpc",
            &self.grpc,
            "--postgres",
            &self.postgres,
        ]);
        if self.has_config {
            command.arg("--config").arg(self.folder.path().join("mavis.toml"));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// Waits until `/health/ready` says so.
    ///
    /// # Errors
    /// When it has ended, or is not ready after a minute.
    pub async fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.as_mut().context("not started")?.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log());
            }
            let answer = self.client.get(format!("http://{}/health/ready", self.http)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the server is not ready after a minute:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the exit status.
    ///
    /// # Errors
    /// When it does not stop within a minute.
    pub async fn stop(&mut self) -> Result<i32> {
        let mut child = self.child.take().context("not running")?;
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        ensure!(sent.success(), "cannot send SIGTERM");
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            ensure!(Instant::now() < end, "the server did not stop within a minute:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The administrator's token, as the first start wrote it.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn token(&self) -> Result<String> {
        Ok(fs::read_to_string(self.data.join("admin.token"))?.trim().to_owned())
    }

    /// Runs `mavis ARGS` against this server.
    ///
    /// # Errors
    /// When it cannot be started; what it did is in the value.
    pub fn mavis(&self, args: &[&str]) -> Result<Ran> {
        let output = Command::new(binary()?)
            .args(args)
            .args(["--server", &self.grpc])
            .env("MAVIS_TOKEN", self.token()?)
            .stdin(Stdio::null())
            .output()?;
        Ok(output.into())
    }

    /// Any HTTP request with the administrator's token; `path` begins with a slash.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Answer> {
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        let mut request = self.client.request(method, format!("http://{}{path}", self.http));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            request = request.bearer_auth(self.token()?);
        }
        for (name, value) in headers {
            if !value.is_empty() {
                request = request.header(*name, *value);
            }
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let headers = answer.headers().clone();
        Ok(Answer {
            status: answer.status().as_u16(),
            content_type: headers
                .get("content-type")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            headers,
            body: answer.bytes().await?.to_vec(),
        })
    }

    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, &[], None).await
    }

    /// Rows of a query over HTTP, as JSON objects.
    ///
    /// # Errors
    /// When the answer is not 200; with its body.
    pub async fn sql(&self, sql: &str) -> Result<Vec<Value>> {
        let headers = [("accept", "application/x-ndjson")];
        let answer = self.request("POST", "/api/v1/sql", &headers, Some(json!({ "sql": sql }))).await?;
        ensure!(answer.status == 200, "{sql}: {} {}", answer.status, answer.text());
        answer.text().lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The only value of a query's only row.
    ///
    /// # Errors
    /// When the answer has another shape.
    pub async fn value(&self, sql: &str) -> Result<Value> {
        let rows = self.sql(sql).await?;
        ensure!(rows.len() == 1, "{sql}: {} rows", rows.len());
        let row = rows.first().and_then(Value::as_object).context("not an object")?;
        ensure!(row.len() == 1, "{sql}: {} columns", row.len());
        Ok(row.values().next().cloned().unwrap_or(Value::Null))
    }

    /// An integer answer, such as a count.
    ///
    /// # Errors
    /// When it is none.
    pub async fn count(&self, sql: &str) -> Result<i64> {
        let value = self.value(sql).await?;
        value.as_i64().with_context(|| format!("{sql}: {value} is no integer"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take()
            && (child.kill().is_err() || child.wait().is_err())
        {
            eprintln!("the server of this test may still run");
        }
    }
}

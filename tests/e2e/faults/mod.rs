//! What goes wrong between a server and its sources, and within it: killed, out of room, links that go down, clocks that jump, and
//! sources that change under its hands.

mod apart;
mod clock;
mod full;
mod gate;
mod host_key;
mod killed;
mod killed_firebird;
mod killed_replicating;
mod link;
mod link_cut;
mod link_cut_others;
mod slots;
mod sources;
mod standby;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mavis_tests::{Postgres, Server};
use serde_json::{Value, json};

pub(crate) use gate::Gate;

use crate::sshd::Place;

/// Registers a source and looks at its tables.
pub(crate) fn declare(server: &Server, name: &str, kind: &str, params: &Value) {
    let text = params.to_string();
    server.mavis(&["source", "add", name, "--kind", kind, "--params-json", &text]).unwrap().ok().unwrap();
    server.mavis(&["source", "discover", name]).unwrap().ok().unwrap();
}

/// Begins a run and answers its id.
pub(crate) fn begin(server: &Server, source: &str) -> String {
    server.mavis(&["ingest", source, "--no-wait"]).unwrap().ok().unwrap().trim().to_owned()
}

/// How a run stands: its state and its error.
pub(crate) async fn stands(server: &Server, run: &str) -> (String, String) {
    let rows = server.sql(&format!("SELECT state, error FROM system.ops.runs WHERE id = '{run}'")).await.unwrap();
    let text = |name: &str| rows[0][name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("error"))
}

/// Waits for the end of a run.
pub(crate) async fn ended(server: &Server, run: &str) -> (String, String) {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let (state, error) = stands(server, run).await;
        if !matches!(state.as_str(), "pending" | "running") {
            return (state, error);
        }
        assert!(Instant::now() < end, "run {run} does not end:\n{}", log(server, run).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a run's log holds words.
pub(crate) async fn told(server: &Server, run: &str, words: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while !log(server, run).await.contains(words) {
        assert!(Instant::now() < end, "`{words}` is not told:\n{}", log(server, run).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The log of a run, a line each.
pub(crate) async fn log(server: &Server, run: &str) -> String {
    let text = format!("SELECT message FROM system.ops.run_log WHERE run_id = '{run}' ORDER BY sequence");
    let rows = server.sql(&text).await.unwrap();
    rows.iter().map(|row| format!("{}\n", row["message"].as_str().unwrap_or_default())).collect()
}

/// What an ingest that has to go well did.
pub(crate) fn ingest(server: &Server, source: &str) {
    server.mavis(&["ingest", source]).unwrap().ok().unwrap();
}

/// The table's rows in numbers that change with every row that lacks, is there twice, or is another one.
pub(crate) async fn totals(server: &Server, table: &str) -> Value {
    let sums = "SELECT count(*) AS n, count(DISTINCT id) AS d, coalesce(sum(id), 0) AS i, coalesce(sum(v), 0) AS v,
                       coalesce(sum(length(words)), 0) AS w";
    server.sql(&format!("{sums} FROM {table}")).await.unwrap().remove(0)
}

/// The same asked of a database, whose function makes an object of names and values.
pub(crate) fn totals_of(object: &str, table: &str) -> String {
    format!(
        "SELECT {object}('n', count(*), 'd', count(DISTINCT id), 'i', coalesce(sum(id), 0), 'v', coalesce(sum(v), 0),
                         'w', coalesce(sum(length(words)), 0)) FROM {table}"
    )
}

/// Parameters of a database behind a port.
pub(crate) fn params_of(database: &Postgres, port: u16) -> Value {
    json!({ "host": "127.0.0.1", "port": port, "user": database.user, "database": database.database })
}

/// A PostgreSQL server of a test's own, with passwords; the administrator is `mavis` with the password `admin`.
pub(crate) struct OwnPostgres {
    bin: PathBuf,
    folder: PathBuf,
    place: Place,
    pub(crate) port: u16,
}

impl OwnPostgres {
    /// `settings`: as `postgres -c` takes them.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        Self::start_at(Place::default(), settings)
    }

    /// The same at another place, where everybody who knows a password is let in.
    pub(crate) fn start_at(place: Place, settings: &[&str]) -> Option<Self> {
        let Some(bin) = std::env::var_os("MAVIS_TEST_PG_BIN").map(PathBuf::from) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_PG_BIN is not set");
            eprintln!("skipped: MAVIS_TEST_PG_BIN is not set; run `make test`");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("mavis-pg-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        // Another user makes the server's files.
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let password = folder.join("password");
        std::fs::write(&password, "admin\n").unwrap();
        let server = Self { bin, folder, place, port };
        let password = format!("--pwfile={}", password.display());
        server.run(
            "initdb",
            &["-A", "scram-sha-256", "-U", "mavis", &password, "-E", "UTF8", "--no-locale", "--wal-segsize=1"],
        );
        if server.place.address != "127.0.0.1" {
            let rules = server.folder.join("data/pg_hba.conf");
            let known = std::fs::read_to_string(&rules).unwrap();
            std::fs::write(&rules, format!("{known}\nhost all all samenet scram-sha-256\n")).unwrap();
        }
        server.launch(settings);
        Some(server)
    }

    fn launch(&self, settings: &[&str]) {
        let (port, address, folder) = (self.port, &self.place.address, self.folder.display());
        let mut options = format!("-p {port} -h {address} -k {folder} -c fsync=off -c wal_level=logical");
        for setting in settings {
            options.push_str(&format!(" -c {setting}"));
        }
        let log = self.folder.join("log");
        self.run("pg_ctl", &["-w", "-o", &options, "-l", log.to_str().unwrap(), "start"]);
    }

    /// The server as its primary goes on without it: a copy of its data on a port of its own, which follows it.
    pub(crate) fn standby(&self, settings: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("mavis-pg-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let standby = Self { bin: self.bin.clone(), folder, place: self.place.clone(), port };
        let url = format!("postgres://mavis:admin@127.0.0.1:{}/postgres", self.port);
        standby.run("pg_basebackup", &["-d", &url, "-R", "-X", "stream", "-c", "fast"]);
        standby.launch(settings);
        standby
    }

    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["-w", "promote"]);
    }

    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }

    /// Runs it on another port.
    pub(crate) fn move_to(&mut self, port: u16, settings: &[&str]) {
        self.run("pg_ctl", &["-w", "-m", "fast", "stop"]);
        self.port = port;
        self.launch(settings);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.bin.join(program);
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut words: Vec<std::ffi::OsString> = self.place.within.iter().map(Into::into).collect();
        if is_root {
            words.extend(["runuser", "-u", "postgres", "--"].map(Into::into));
        }
        words.push(program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("-D").arg(self.folder.join("data")).args(arguments);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "{program:?} {arguments:?}");
    }

    /// Runs statements as the administrator.
    pub(crate) fn execute(&self, sql: &str) -> String {
        let url = format!("postgres://mavis:admin@/postgres?host={}&port={}", self.folder.display(), self.port);
        let output =
            Command::new("psql").args([&url, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if self.folder.join("data/postmaster.pid").exists() {
            self.stop();
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

//! The same of drivers that open their connections themselves and block, or know no signs of life, and of an HTTP export: over a link that
//! goes down in the middle of a table.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mavis_tests::{Server, ServerBuilder};
use serde_json::{Value, json};

use super::{begin, declare, ended, link::Link, log, stands, told, totals};

/// The way to run a server, which `tests/setup` gives.
fn counterpart(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set");
        eprintln!("skipped: {variable} is not set; run `make test`");
    }
    found
}

fn server() -> ServerBuilder {
    Server::builder().config("[pipeline]\nworkers = 1\ntables_per_run = 1\nattempts = 1\n")
}

/// A run whose link goes down, is told of, and comes back.
async fn cut(link: &Link, kind: &str, params: &Value, variable: &str, password: &str, truth: &Value) {
    let server = server().env(variable, password).start().await.unwrap();
    declare(&server, "src", kind, params);
    let run = link.cut_after(3 << 20, || begin(&server, "src")).await;
    let began = Instant::now();
    told(&server, &run, "was interrupted: the connection broke: ").await;
    // Four times the keep-alive of one second; what is more is this machine's.
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    let words = log(&server, &run).await;
    assert!(words.contains("is the network cut?") || words.contains("there is no route to the server"), "{words}");
    assert_eq!(stands(&server, &run).await.0, "running");
    link.mend();
    let (state, error) = ended(&server, &run).await;
    assert!(state.starts_with("completed"), "{state} {error}\n{}", log(&server, &run).await);
    for zone in ["raw", "processed"] {
        assert_eq!(&totals(&server, &format!("{zone}.src.event")).await, truth, "{zone}");
    }
}

/// Runs a client again and again until the server answers.
fn client(program: &str, arguments: &[&str], sql: &str) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdin.take().unwrap().write_all(sql.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && said.is_empty() {
            return String::from_utf8(output.stdout).unwrap().trim().to_owned();
        }
        assert!(Instant::now() < end, "{program}: {said}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// `[count, distinct, sum of ids, sum of v, letters]` as the totals of a table.
fn totals_from(text: &str) -> Value {
    let n: Vec<i64> = serde_json::from_str(text).unwrap();
    json!({ "n": n[0], "d": n[1], "i": n[2], "v": n[3], "w": n[4] })
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    // Another user runs the server.
    let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    folder
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_mariadb_may_go_down_in_the_middle_of_a_table() {
    let Some(start) = counterpart("MAVIS_TEST_MARIADB_SERVER") else { return };
    let Some(program) = counterpart("MAVIS_TEST_MARIADB_CLIENT") else { return };
    let Some(mut link) = Link::of("link_cut_others::a_link_to_mariadb_may_go_down_in_the_middle_of_a_table") else {
        return;
    };
    let folder = folder();
    let (host, port) = link.start(&start, folder.path());
    let socket = path(folder.path(), "data/s");
    let run = |sql: &str| client(&program, &["--no-defaults", "-S", &socket, "-u", "root", "-N", "-B"], sql);
    run("CREATE DATABASE IF NOT EXISTS lis; USE lis; CREATE OR REPLACE TABLE lis.event (id bigint PRIMARY KEY, v bigint, words text);
         INSERT INTO lis.event SELECT seq, seq % 1000, repeat(md5(seq), 16) FROM seq_1_to_50000;");
    let truth = totals_from(&run(
        "SELECT concat('[', count(*), ',', count(DISTINCT id), ',', sum(id), ',', sum(v), ',', sum(length(words)), ']') FROM lis.event",
    ));
    let params = json!({ "host": host, "port": port, "user": "mavis", "database": "lis", "connect_timeout_seconds": 2,
                         "keep_alive_seconds": 1, "cursor_columns": { "event": "id" } });
    cut(&link, "mysql", &params, "MYSQL_PASSWORD_SRC", "mavis", &truth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_firebird_may_go_down_in_the_middle_of_a_table() {
    let Some(start) = counterpart("MAVIS_TEST_FIREBIRD_SERVER") else { return };
    let Some(program) = counterpart("MAVIS_TEST_FIREBIRD_ISQL") else { return };
    let Some(mut link) = Link::of("link_cut_others::a_link_to_firebird_may_go_down_in_the_middle_of_a_table") else {
        return;
    };
    let folder = folder();
    let (host, port) = link.start(&start, folder.path());
    let database = path(folder.path(), "data/mis.fdb");
    let words = ["-q", "-bail", "-ch", "UTF8", "-user", "SYSDBA", "-password", "masterkey"];
    client(&program, &words, &format!("CREATE DATABASE '{host}/{port}:{database}' DEFAULT CHARACTER SET UTF8;"));
    let place = format!("{host}/{port}:{database}");
    let mut there = words.to_vec();
    there.push(&place);
    client(
        &program,
        &there,
        "CREATE TABLE EVENT (ID BIGINT NOT NULL PRIMARY KEY, V BIGINT, WORDS VARCHAR(600));
         SET TERM ^;
         EXECUTE BLOCK AS DECLARE I BIGINT = 1; BEGIN
             WHILE (I <= 30000) DO BEGIN
                 INSERT INTO EVENT VALUES (:I, MOD(:I, 1000), LPAD(:I, 500, 'event'));
                 I = I + 1;
             END
         END^
         COMMIT^",
    );
    let truth = totals_from(&client(
        &program,
        &there,
        "SET HEADING OFF; SELECT '[' || count(*) || ',' || count(DISTINCT ID) || ',' || sum(ID) || ',' || sum(V) || ','
                                 || sum(char_length(WORDS)) || ']' FROM EVENT;",
    ));
    let params = json!({ "host": host, "port": port, "user": "SYSDBA", "database": database, "connect_timeout_seconds": 4,
                         "keep_alive_seconds": 1, "cursor_columns": { "EVENT": "ID" } });
    cut(&link, "firebird", &params, "FIREBIRD_PASSWORD_SRC", "masterkey", &truth).await;
}

/// An export of 40,000 rows of half a kilobyte, in pages of 500.
const EXPORT: &str = r#"#!/usr/bin/env python3
import http.server, json, sys, urllib.parse
class Export(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        asked = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        first = (int(asked.get("page", ["1"])[0]) - 1) * 500 + 1
        rows = [{"id": i, "v": i % 1000, "words": "%032x" % i * 16} for i in range(first, min(first + 500, 40001))]
        body = json.dumps({"items": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Export).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_an_http_export_may_go_down_in_the_middle_of_a_table() {
    let test = "link_cut_others::a_link_to_an_http_export_may_go_down_in_the_middle_of_a_table";
    let Some(mut link) = Link::of(test) else { return };
    let folder = folder();
    let start = folder.path().join("export");
    mavis_tests::write(&start, EXPORT).unwrap();
    std::fs::set_permissions(&start, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (host, port) = link.start(start.to_str().unwrap(), folder.path());
    let end = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect((host.as_str(), port)).is_err() {
        assert!(Instant::now() < end, "the export does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    let params = json!({ "api_url": format!("http://{host}:{port}/"), "timeout": 3, "connect_timeout": 2, "max_retries": 1,
        "tables": { "event": { "path": "event", "records": "items", "key": ["id"],
                               "paging": { "type": "page", "parameter": "page" } } } });
    let server = server().start().await.unwrap();
    declare(&server, "src", "http", &params);
    let run = link.cut_after(6 << 20, || begin(&server, "src")).await;
    let began = Instant::now();
    told(&server, &run, "trying again in").await;
    // Three seconds of silence, half a second's pause, and two seconds for another connection.
    assert!(began.elapsed() < Duration::from_secs(3 + 1 + 2 + 12), "{:?}", began.elapsed());
    let words = log(&server, &run).await;
    assert!(words.contains(&host) && words.contains("(route)"), "what was silent: {words}");
    assert_eq!(stands(&server, &run).await.0, "running");
    link.mend();
    let (state, error) = ended(&server, &run).await;
    assert!(state.starts_with("completed"), "{state} {error}\n{}", log(&server, &run).await);
    let ids: i64 = (1..=40_000).sum();
    let v: i64 = (1..=40_000).map(|id| id % 1000).sum();
    let truth = json!({ "n": 40_000, "d": 40_000, "i": ids, "v": v, "w": 40_000 * 512 });
    for zone in ["raw", "processed"] {
        assert_eq!(totals(&server, &format!("{zone}.src.event")).await, truth, "{zone}");
    }
}

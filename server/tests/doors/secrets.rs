//! Secrets that are set as canaries, and looked for in everything that leaves a server.

use std::path::Path;

use reqwest::Client;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    harness::{client, run, stderr, stdout},
    served::{Served, assert_untold, serve},
};

const IN_ENVIRONMENT: &str = "canary-of-the-environment-4711";
const IN_FILE: &str = "canary-of-a-file-4712";
const IN_VAULT: &str = "canary-of-the-store-4713";
const CATALOG_TOKEN: &str = "canary-of-the-token-4714";

/// Further secrets, by variable: of sources that fail in other ways.
const OTHERS: [(&str, &str); 7] = [
    ("POSTGRES_PASSWORD_OF_DATABASE", "canary-of-a-database-4716"),
    ("POSTGRES_PASSWORD_OF_CLOSED", "canary-of-a-closed-port-4717"),
    ("POSTGRES_PASSWORD_OF_NOWHERE", "canary-of-no-host-4718"),
    ("SSH_PASSWORD_OF_TUNNEL", "canary-of-a-tunnel-4719"),
    ("MYSQL_PASSWORD_OF_MYSQL", "canary-of-mysql-4720"),
    ("FIREBIRD_PASSWORD_OF_FIREBIRD", "canary-of-firebird-4721"),
    ("HTTP_PASSWORD_OF_EXPORT", "canary-of-an-export-4722"),
];

/// An export that says what it was sent and refuses it.
async fn echoing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(socket.read_u8().await?);
                }
                let said = String::from_utf8_lossy(&request).into_owned();
                let word =
                    said.lines().find(|line| line.to_lowercase().starts_with("authorization")).unwrap_or_default();
                let answer = format!(
                    "HTTP/1.1 401 {word}\r\nwww-authenticate: {word}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
                    said.len()
                );
                socket.write_all(answer.as_bytes()).await
            });
        }
    });
    port
}

/// Something that asks for a password in clear text, as PostgreSQL does, and refuses whatever comes.
async fn refusing(code: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let length = socket.read_u32().await?;
                let mut startup = vec![0; length as usize - 4];
                socket.read_exact(&mut startup).await?;
                socket.write_all(b"R\0\0\0\x08\0\0\0\x03").await?;
                let _kind = socket.read_u8().await?;
                let length = socket.read_u32().await?;
                let mut given = vec![0; length as usize - 4];
                socket.read_exact(&mut given).await?;
                // A server that says more than it should.
                let mut fields = format!("SFATAL\0VFATAL\0C{code}\0Mwrong password ").into_bytes();
                fields.extend(given.strip_suffix(b"\0").unwrap_or(&given));
                fields.extend(b"\0\0");
                let mut error = vec![b'E'];
                error.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
                error.extend(fields);
                socket.write_all(&error).await
            });
        }
    });
    port
}

/// What a store puts around its answers.
fn enveloped(data: serde_json::Value) -> serde_json::Value {
    json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data})
}

/// A store of secrets with one entry, as far as a token and one read.
async fn store() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(socket.read_u8().await?);
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let (status, body) = if request.contains("/v1/auth/token/lookup-self") {
                    let data = json!({"accessor": "a", "creation_time": 0, "creation_ttl": 0, "display_name": "d",
                        "entity_id": "", "expire_time": null, "explicit_max_ttl": 0, "id": CATALOG_TOKEN, "num_uses": 0,
                        "orphan": true, "path": "p", "policies": [], "renewable": false, "ttl": 0});
                    ("200 OK", enveloped(data))
                } else if request.contains("/v1/secret/data/datalake/OF_STORE") {
                    let metadata = json!({"created_time": "", "deletion_time": "", "destroyed": false, "version": 1,
                        "custom_metadata": null});
                    ("200 OK", enveloped(json!({"data": {"password": IN_VAULT}, "metadata": metadata})))
                } else {
                    ("404 Not Found", json!({"errors": []}))
                };
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                socket.write_all(answer.as_bytes()).await
            });
        }
    });
    port
}

async fn start(folder: &Path, vault: u16) -> Served {
    std::fs::create_dir_all(folder.join("mounted")).unwrap();
    std::fs::write(folder.join("mounted/POSTGRES_PASSWORD_OF_FILE"), IN_FILE).unwrap();
    let mounted = folder.join("mounted").display().to_string();
    let vault = format!("http://127.0.0.1:{vault}");
    let mut set = vec![
        ("RUST_LOG", "trace"),
        ("POSTGRES_PASSWORD_OF_ENVIRONMENT", IN_ENVIRONMENT),
        ("RUST_BACKTRACE", "full"),
        ("MAVIS_SECRETS__FOLDER", mounted.as_str()),
        ("MAVIS_SECRETS__VAULT__ADDRESS", vault.as_str()),
        ("MAVIS_SECRETS__VAULT__TOKEN", CATALOG_TOKEN),
    ];
    set.extend(OTHERS);
    serve(folder, &set).await
}

/// Every file below a folder, whole.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_leaves_the_server_or_is_kept_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let (port, vault) = (refusing("28P01").await, store().await);
    let (elsewhere, export) = (refusing("3D000").await, echoing().await);
    let served = start(folder.path(), vault).await;
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    let mut mavis = async |args: &[&str]| {
        let output = run(client(&served.grpc, &served.token, args)).await;
        let text = format!("{}{}", stdout(&output), stderr(&output));
        told.push((args.join(" "), text.clone().into_bytes()));
        text
    };
    let port = format!("port={port}");
    for name in ["of_environment", "of_file", "of_store"] {
        let params = ["host=127.0.0.1", &port, "user=reader", "database=d", "sslmode=disable"];
        let mut add = vec!["source", "add", name, "--kind", "postgres"];
        for param in params {
            add.extend(["--param", param]);
        }
        mavis(&add).await;
        let tested = mavis(&["source", "test", name]).await;
        assert!(tested.contains("login") && tested.contains("was not let in"), "{name}: {tested}");
        mavis(&["source", "discover", name]).await;
        mavis(&["ingest", name]).await;
        mavis(&["schedule", "set", name, "--every", "1h"]).await;
    }
    let database = |host: &str, port: u16| json!({"host": host, "port": port, "user": "reader", "database": "d"});
    let mut tunnel = database("10.0.0.1", 5432);
    tunnel["ssh"] = json!({"host": "127.0.0.1", "port": elsewhere, "user": "u", "trust_on_first_use": true});
    for (name, kind, params, stage) in [
        ("of_database", "postgres", database("127.0.0.1", elsewhere), "database"),
        ("of_closed", "postgres", database("127.0.0.1", 1), "route"),
        ("of_nowhere", "postgres", database("no-such-host.invalid", 5432), "name"),
        ("of_tunnel", "postgres", tunnel, "ssh"),
        ("of_mysql", "mysql", database("127.0.0.1", 1), "route"),
        ("of_firebird", "firebird", database("127.0.0.1", 1), "route"),
        (
            "of_export",
            "http",
            json!({"api_url": format!("http://127.0.0.1:{export}/x"), "auth": {"type": "bearer"}, "max_retries": 0}),
            "login",
        ),
    ] {
        mavis(&["source", "add", name, "--kind", kind, "--params-json", &params.to_string()]).await;
        let tested = mavis(&["source", "test", name]).await;
        assert!(tested.contains(stage), "{name} fails at {stage}: {tested}");
        mavis(&["source", "discover", name]).await;
        mavis(&["ingest", name]).await;
    }
    // One who writes a secret where none belongs is told so without it.
    let refused =
        mavis(&["source", "add", "x", "--kind", "postgres", "--param", "password=canary-of-a-parameter-4715"]).await;
    assert!(refused.contains("POSTGRES_PASSWORD_X"), "{refused}");
    mavis(&["source", "discover-many"]).await;
    mavis(&["source", "list"]).await;
    mavis(&["schedule", "list"]).await;
    mavis(&["run", "list"]).await;
    for table in [
        "catalog.sources",
        "catalog.tables",
        "catalog.files",
        "ops.runs",
        "ops.run_log",
        "ops.run_units",
        "ops.audit",
        "ops.schedules",
        "ops.freshness",
        "ops.alerts",
        "ops.drift",
        "ops.discoveries",
        "ops.quarantine",
        "ops.grants",
    ] {
        let answer = mavis(&["sql", &format!("SELECT * FROM system.{table}"), "--format", "json"]).await;
        assert!(!answer.contains("error:"), "{table}: {answer}");
    }
    for path in ["/api/v1/sources", "/api/v1/runs", "/api/v1/tables", "/metrics", "/openapi.json", "/fhir/metadata"] {
        let answer =
            Client::new().get(format!("{}{path}", served.http)).bearer_auth(&served.token).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        told.push((path.to_owned(), answer.bytes().await.unwrap().to_vec()));
    }
    if cfg!(target_os = "linux") {
        let line = format!("/proc/{}/cmdline", served.child.id());
        told.push((line.clone(), std::fs::read(line).unwrap()));
    }
    drop(served);
    files(&folder.path().join("data"), &mut told);
    told.push(("the log".to_owned(), std::fs::read(folder.path().join("log")).unwrap()));
    assert!(told.iter().any(|(name, _)| name.contains("catalog.sqlite")), "the catalog is looked at");
    let log = told.last().unwrap();
    assert!(log.1.windows(5).any(|word| word == b"TRACE"), "the log says everything");
    let named = [IN_ENVIRONMENT, IN_FILE, IN_VAULT, CATALOG_TOKEN, "canary-of-a-parameter-4715"];
    let canaries: Vec<&str> = named.into_iter().chain(OTHERS.map(|(_, canary)| canary)).collect();
    assert_untold(&told, &canaries);
}

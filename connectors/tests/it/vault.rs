//! Secrets in a real store of Vault's interface; where `MAVIS_TEST_VAULT` is not set, nothing is tried.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use mavis_connectors::{
    AppRoleSecret, Error, Registry, Secrets, SourceSpec, Stage, StageOutcome, VaultLogin, VaultOptions,
};
use mavis_types::SourceName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A store and the right to write to it.
struct Store {
    address: String,
    root: String,
    http: reqwest::Client,
}

impl Store {
    fn new() -> Option<Self> {
        let Ok(address) = std::env::var("MAVIS_TEST_VAULT") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_VAULT is not set: in CI it must run");
            println!("skipped: MAVIS_TEST_VAULT is not set");
            return None;
        };
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().tls_certs_only(Vec::new()).build().unwrap();
        Some(Self { address, root: std::env::var("MAVIS_TEST_VAULT_TOKEN").unwrap(), http })
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}/v1/{path}", self.address));
        let answer = request.header("X-Vault-Token", &self.root).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn put(&self, path: &str, fields: Value) {
        self.call(reqwest::Method::POST, &format!("secret/data/{path}"), json!({"data": fields})).await;
    }

    fn options(&self, path: &str, login: VaultLogin) -> VaultOptions {
        VaultOptions {
            address: self.address.clone(),
            mount: "secret".to_owned(),
            path: path.to_owned(),
            namespace: None,
            ca_cert: None,
            login,
            cache: Duration::from_secs(3600),
            timeout: Duration::from_secs(5),
        }
    }

    fn secrets(&self, path: &str) -> Secrets {
        let login = VaultLogin::Token(SecretString::from(self.root.clone()));
        Secrets::from_pairs([]).with_vault(self.options(path, login)).unwrap()
    }

    /// A role that may read below a path, whose tokens live for so many seconds.
    async fn role(&self, name: &str, path: &str, seconds: u32) -> (String, String) {
        let methods = self.call(reqwest::Method::GET, "sys/auth", Value::Null).await;
        if methods.get("approle/").is_none() {
            // Another test may have been first.
            let enabled = self.http.post(format!("{}/v1/sys/auth/approle", self.address));
            enabled.header("X-Vault-Token", &self.root).json(&json!({"type": "approle"})).send().await.unwrap();
        }
        let policy = format!("path \"secret/data/{path}/*\" {{ capabilities = [\"read\"] }}");
        self.call(reqwest::Method::PUT, &format!("sys/policies/acl/{name}"), json!({"policy": policy})).await;
        let role = json!({"token_policies": [name], "token_ttl": format!("{seconds}s"), "token_max_ttl": "1h"});
        self.call(reqwest::Method::POST, &format!("auth/approle/role/{name}"), role).await;
        let id = self.call(reqwest::Method::GET, &format!("auth/approle/role/{name}/role-id"), Value::Null).await;
        let secret = self.call(reqwest::Method::POST, &format!("auth/approle/role/{name}/secret-id"), json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]))
    }
}

async fn text(secrets: &Secrets, kind: &str, name: &str) -> Option<String> {
    secrets.of(kind, name).get().await.unwrap().map(|secret| secret.expose_secret().to_owned())
}

#[tokio::test]
async fn an_entry_has_a_field_per_kind_and_the_tunnel_has_its_own() {
    let Some(store) = Store::new() else { return };
    store.put("fields/CLINIC_1", json!({"password": "of the database", "ssh_password": "of the tunnel"})).await;
    store.put("fields/CLINIC_2", json!({"postgres-password": "exact", "password": "general", "port": 5432})).await;
    store.put("fields/clinic_3", json!({"password": "small letters"})).await;
    store.put("fields/CLINIC_4", json!({"password": "of the database only"})).await;
    let secrets = store.secrets("fields");
    assert_eq!(text(&secrets, "postgres", "clinic_1").await.as_deref(), Some("of the database"));
    assert_eq!(text(&secrets, "ssh", "clinic_1").await.as_deref(), Some("of the tunnel"));
    assert_eq!(text(&secrets, "postgres", "clinic_2").await.as_deref(), Some("exact"));
    assert_eq!(text(&secrets, "mysql", "clinic_2").await.as_deref(), Some("general"));
    assert_eq!(text(&secrets, "postgres", "clinic_3").await.as_deref(), Some("small letters"));
    assert_eq!(text(&secrets, "ssh", "clinic_4").await, None);
    assert_eq!(text(&secrets, "postgres", "clinic_5").await, None);
    let missing = secrets.of("postgres", "clinic_5").require().await.unwrap_err().to_string();
    for part in ["POSTGRES_PASSWORD_CLINIC_5", "`postgres_password` of `secret/fields/CLINIC_5`", &store.address] {
        assert!(missing.contains(part), "`{part}` is not in `{missing}`");
    }
    let over = Secrets::from_pairs([("POSTGRES_PASSWORD_CLINIC_1", "of the environment")]);
    let login = VaultLogin::Token(SecretString::from(store.root.clone()));
    let over = over.with_vault(store.options("fields", login)).unwrap();
    assert_eq!(text(&over, "postgres", "clinic_1").await.as_deref(), Some("of the environment"));
}

#[tokio::test]
async fn what_is_remembered_is_asked_for_anew_after_a_refusal_and_after_its_time() {
    let Some(store) = Store::new() else { return };
    store.put("rotated/A", json!({"password": "old"})).await;
    let secrets = store.secrets("rotated");
    let secret = secrets.of("postgres", "a");
    let old = secret.get().await.unwrap();
    assert!(secret.renewed(old.as_ref()).await.unwrap().is_none(), "nothing changed, so that trying again is no use");
    store.put("rotated/A", json!({"password": "new"})).await;
    assert_eq!(text(&secrets, "postgres", "a").await.as_deref(), Some("old"), "remembered");
    let new = secret.renewed(old.as_ref()).await.unwrap().unwrap();
    assert_eq!(new.expose_secret(), "new");
    assert_eq!(text(&secrets, "postgres", "a").await.as_deref(), Some("new"));
    let login = VaultLogin::Token(SecretString::from(store.root.clone()));
    let short = VaultOptions { cache: Duration::from_millis(50), ..store.options("rotated", login) };
    let short = Secrets::from_pairs([]).with_vault(short).unwrap();
    assert_eq!(text(&short, "postgres", "a").await.as_deref(), Some("new"));
    store.put("rotated/A", json!({"password": "newer"})).await;
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(text(&short, "postgres", "a").await.as_deref(), Some("newer"));
}

#[tokio::test]
async fn an_app_role_logs_in_renews_and_logs_in_again() {
    let Some(store) = Store::new() else { return };
    store.put("roles/A", json!({"password": "p"})).await;
    let (role_id, secret_id) = store.role("roles-reader", "roles", 2).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{secret_id}\n")).unwrap();
    let login = VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id: role_id.clone(),
        secret_id: AppRoleSecret::File(file.path().to_owned()),
    };
    let options = VaultOptions { cache: Duration::ZERO, ..store.options("roles", login) };
    let secrets = Secrets::from_pairs([]).with_vault(options).unwrap();
    let began = std::time::Instant::now();
    // Longer than the life of a token, which is renewed at its half; the pause in between outlives it.
    for pause in [0, 1200, 1200, 2600] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(text(&secrets, "postgres", "a").await.as_deref(), Some("p"), "after {:?}", began.elapsed());
    }
    let wrong = VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id,
        secret_id: AppRoleSecret::Given(SecretString::from("no-such-secret-id".to_owned())),
    };
    let refused = Secrets::from_pairs([]).with_vault(store.options("roles", wrong)).unwrap();
    let error = refused.of("postgres", "a").get().await.unwrap_err();
    assert!(matches!(error, Error::Refused { stage: Stage::Secret, .. }), "{error}");
    assert!(error.to_string().contains("AppRole") && !error.to_string().contains("no-such-secret-id"), "{error}");
}

#[tokio::test]
async fn a_policy_that_lacks_the_right_is_told_apart_from_a_token_that_is_none() {
    let Some(store) = Store::new() else { return };
    let (role_id, secret_id) = store.role("narrow-reader", "narrow", 600).await;
    let login = VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id,
        secret_id: AppRoleSecret::Given(SecretString::from(secret_id)),
    };
    let secrets = Secrets::from_pairs([]).with_vault(store.options("elsewhere", login)).unwrap();
    let error = secrets.of("postgres", "a").get().await.unwrap_err().to_string();
    assert!(error.contains("`read` on `secret/data/elsewhere/A`"), "{error}");
    let token = VaultLogin::Token(SecretString::from("s.canary-token".to_owned()));
    let secrets = Secrets::from_pairs([]).with_vault(store.options("narrow", token)).unwrap();
    let error = secrets.of("postgres", "a").get().await.unwrap_err().to_string();
    assert!(error.contains("token is not accepted") && !error.contains("canary"), "{error}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_said_to_be_one() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let login = VaultLogin::Token(SecretString::from("t".to_owned()));
    let options = VaultOptions {
        address: format!("http://127.0.0.1:{port}"),
        mount: "secret".to_owned(),
        path: "datalake".to_owned(),
        namespace: None,
        ca_cert: None,
        login,
        cache: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    };
    let secrets = Secrets::from_pairs([]).with_vault(options).unwrap();
    let error = secrets.of("postgres", "a").get().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("store of secrets"), "{error}");
    assert!(matches!(error, Error::Unreachable { stage: Stage::Secret, .. }), "{error:?}");
}

/// A PostgreSQL server as far as the login: it takes one password, which may be changed.
async fn login_only(password: Arc<Mutex<String>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let password = Arc::clone(&password);
            tokio::spawn(async move {
                let length = socket.read_u32().await?;
                let mut startup = vec![0; length as usize - 4];
                socket.read_exact(&mut startup).await?;
                // Authentication: clear text.
                socket.write_all(b"R\0\0\0\x08\0\0\0\x03").await?;
                let _kind = socket.read_u8().await?;
                let length = socket.read_u32().await?;
                let mut given = vec![0; length as usize - 4];
                socket.read_exact(&mut given).await?;
                let wanted = password.lock().unwrap().clone();
                if given.strip_suffix(b"\0") == Some(wanted.as_bytes()) {
                    socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
                    // Whatever is asked then is asked in vain.
                    let _message = socket.read_u8().await?;
                } else {
                    let fields = b"SFATAL\0VFATAL\0C28P01\0Mno\0\0";
                    let mut error = vec![b'E'];
                    error.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
                    error.extend(fields);
                    socket.write_all(&error).await?;
                }
                io::Result::Ok(())
            });
        }
    });
    port
}

#[tokio::test]
async fn a_password_that_was_rotated_is_taken_up_at_the_next_connection() {
    let Some(store) = Store::new() else { return };
    store.put("pg/HOSPITAL", json!({"password": "first"})).await;
    let accepted = Arc::new(Mutex::new("first".to_owned()));
    let port = login_only(Arc::clone(&accepted)).await;
    let spec = SourceSpec {
        name: SourceName::new("hospital").unwrap(),
        kind: "postgres".to_owned(),
        params: json!({"host": "127.0.0.1", "port": port, "user": "u", "database": "d", "sslmode": "disable"}),
        authoritative: false,
    };
    let source = Registry::built_in().connect(&spec, &store.secrets("pg")).unwrap();
    let logs_in = async || {
        let stages = source.check().await;
        stages.iter().any(|stage| stage.stage == Stage::Login && stage.outcome == StageOutcome::Passed)
    };
    assert!(logs_in().await);
    store.put("pg/HOSPITAL", json!({"password": "second"})).await;
    *accepted.lock().unwrap() = "second".to_owned();
    assert!(logs_in().await, "the same source, whose entry was remembered");
    *accepted.lock().unwrap() = "third".to_owned();
    assert!(!logs_in().await, "a password that the store does not have either");
}

/// What was logged.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_logged_of_a_secret_however_much_is_logged() {
    let Some(store) = Store::new() else { return };
    let canary = "Canary-7f3a-secret";
    store.put("logged/A", json!({"password": canary})).await;
    let (role_id, secret_id) = store.role("logged-reader", "logged", 1).await;
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let login = VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id,
        secret_id: AppRoleSecret::Given(SecretString::from(secret_id.clone())),
    };
    let options = VaultOptions { cache: Duration::ZERO, ..store.options("logged", login) };
    let secrets = Secrets::from_pairs([]).with_vault(options).unwrap();
    let secret = secrets.of("postgres", "a");
    let value = secret.get().await.unwrap().unwrap();
    assert_eq!(value.expose_secret(), canary);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    secret.get().await.unwrap().unwrap();
    drop(secrets.of("postgres", "nobody").require().await);
    tracing::info!(?secret, ?value, ?secrets, "as a careless line would log them");
    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("careless") && log.contains("rustify"), "the log is not what it should be");
    for hidden in [canary, &secret_id, &store.root] {
        assert!(!log.contains(hidden), "a secret is in the log");
    }
}

/// The answer of an S3 server to a listing.
const LISTED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>lab</Name><Prefix>in</Prefix>\
    <KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>in/a.csv</Key>\
    <LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>\"e1\"</ETag><Size>8</Size></Contents></ListBucketResult>";

/// An answer that has no body where there must be none.
fn refused(asked: &crate::stub::Asked, status: u16) -> crate::stub::Reply {
    if asked.method == "HEAD" {
        let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return crate::stub::Reply::Raw(head.into_bytes());
    }
    crate::stub::Reply::of(status, "application/xml", "<Error><Code>No</Code></Error>")
}

/// An S3 server that lets in who shows this key's id (and this session's token), and nobody else.
async fn s3(let_in: Arc<Mutex<(String, Option<String>)>>) -> crate::stub::Stub {
    use crate::stub::{Reply, Stub};
    Stub::start(move |asked, _| {
        let (id, token) = let_in.lock().unwrap().clone();
        let signed = asked.headers.get("authorization").cloned().unwrap_or_default();
        let shown = asked.headers.get("x-amz-security-token").cloned();
        if !signed.contains(&format!("Credential={id}/")) || shown != token {
            return refused(asked, 403);
        }
        match asked.path.as_str() {
            path if path.ends_with("/a.csv") => {
                let whole = b"n,x\n1,2\n";
                let range = asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
                let (status, part) = match range {
                    Some((from, to)) => {
                        let from: usize = from.parse().unwrap();
                        let to = to.parse().map_or(whole.len(), |to: usize| (to + 1).min(whole.len()));
                        (206, from..to)
                    }
                    None => (200, 0..whole.len()),
                };
                let said = format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), whole.len());
                Reply::of(status, "text/csv", &whole[part])
                    .with("Content-Range", &said)
                    .with("ETag", "\"e1\"")
                    .with("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            }
            path if path.ends_with("/in") => refused(asked, 404),
            _ => Reply::of(200, "application/xml", LISTED),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_object_store_come_from_the_store_and_are_asked_anew_when_they_were_rotated() {
    let Some(store) = Store::new() else { return };
    let fields = |id: &str, token: Option<&str>| json!({"s3_access_key_id": id, "s3_secret_access_key": "canary-secret", "s3_session_token": token});
    store.put("objects/LAB", fields("FIRST", None)).await;
    let let_in = Arc::new(Mutex::new(("FIRST".to_owned(), None)));
    let server = s3(Arc::clone(&let_in)).await;
    let connect = |name: &str, secrets: &Secrets| {
        let storage = json!({"aws_endpoint": server.url, "aws_region": "us-east-1", "aws_allow_http": "true"});
        let params = json!({"path": "s3://lab/in", "storage": storage});
        let spec =
            SourceSpec { name: SourceName::new(name).unwrap(), kind: "files".to_owned(), params, authoritative: false };
        Registry::built_in().connect(&spec, secrets).unwrap()
    };
    let secrets = store.secrets("objects");
    let source = connect("lab", &secrets);
    let discovered = source.discover(&mavis_connectors::Selection::default()).await.unwrap();
    assert_eq!(discovered.tables.len(), 1, "{discovered:?}");
    // Rotated: what is remembered (for an hour here) is refused, and the entry asked anew.
    store.put("objects/LAB", fields("SECOND", Some("of-the-session"))).await;
    *let_in.lock().unwrap() = ("SECOND".to_owned(), Some("of-the-session".to_owned()));
    let discovered = source.discover(&mavis_connectors::Selection::default()).await.unwrap();
    assert_eq!(discovered.tables.len(), 1, "{discovered:?}");
    // Still refused: told as such, without the key.
    *let_in.lock().unwrap() = ("THIRD".to_owned(), None);
    let error = source.discover(&mavis_connectors::Selection::default()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { stage: Stage::Login, .. }), "{error:?}");
    assert!(!format!("{error} {error:?} {source:?}").contains("canary"), "{error:?}");
    // A secret without an id is told with what is missing.
    store.put("objects/HALF", json!({"secret_access_key": "canary-secret"})).await;
    let error =
        connect("half", &secrets).discover(&mavis_connectors::Selection::default()).await.unwrap_err().to_string();
    assert!(error.contains("s3_access_key_id") && !error.contains("canary"), "{error}");
    // A store of secrets that does not answer is told as that.
    let options = store.options("objects", VaultLogin::Token(SecretString::from("x".to_owned())));
    let away = Secrets::from_pairs([])
        .with_vault(VaultOptions { address: "http://127.0.0.1:9".to_owned(), ..options })
        .unwrap();
    let error = connect("lab", &away).discover(&mavis_connectors::Selection::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { stage: Stage::Secret, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_object_store_come_from_files_that_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("S3_ACCESS_KEY_ID_LAB", "FIRST\n");
    put("S3_SECRET_ACCESS_KEY_LAB", "canary-secret\n");
    let let_in = Arc::new(Mutex::new(("FIRST".to_owned(), None)));
    let server = s3(Arc::clone(&let_in)).await;
    let secrets = Secrets::from_pairs([]).with_folder(folder.path());
    let storage = json!({"aws_endpoint": server.url, "aws_region": "us-east-1", "aws_allow_http": "true"});
    let params = json!({"path": "s3://lab/in", "storage": storage});
    let spec =
        SourceSpec { name: SourceName::new("lab").unwrap(), kind: "files".to_owned(), params, authoritative: false };
    let source = Registry::built_in().connect(&spec, &secrets).unwrap();
    assert_eq!(source.discover(&mavis_connectors::Selection::default()).await.unwrap().tables.len(), 1);
    put("S3_ACCESS_KEY_ID_LAB", "SECOND");
    *let_in.lock().unwrap() = ("SECOND".to_owned(), None);
    assert_eq!(source.discover(&mavis_connectors::Selection::default()).await.unwrap().tables.len(), 1);
    assert!(server.asked().iter().all(|asked| !format!("{asked:?}").contains("canary")));
}

//! Certificates: read again when they change, and asked for from clients.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mavis_connectors::Secrets;
use mavis_proto::v1::{self as pb, ingest_service_client::IngestServiceClient};
use mavis_server::{
    Server,
    config::{ClientCertificates, Config, TlsConfig},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::harness::{client, config, run, stderr, with};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this machine and its key, as PEM.
fn signed_by(authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn http(trusted: &Authority, identity: Option<&(String, String)>) -> reqwest::Client {
    let trusted = reqwest::Certificate::from_pem(trusted.pem().as_bytes()).unwrap();
    let mut client = reqwest::Client::builder().tls_certs_only([trusted]).pool_max_idle_per_host(0);
    if let Some((cert, key)) = identity {
        client = client.identity(reqwest::Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap());
    }
    client.build().unwrap()
}

async fn grpc(
    server: &Server,
    trusted: &Authority,
    identity: Option<&(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem())).domain_name("localhost");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Channel::from_shared(format!("https://localhost:{}", server.grpc_address().port())).unwrap();
    endpoint.tls_config(tls)?.connect().await
}

async fn start(folder: &Path, tls: TlsConfig) -> Server {
    let config = Config { tls, ..config(&folder.join("data")) };
    Box::pin(Server::start_with(config, Secrets::from_pairs([]))).await.unwrap()
}

fn token(server: &Server) -> String {
    std::fs::read_to_string(server.data().token_file()).unwrap().trim().to_owned()
}

fn ready(server: &Server) -> String {
    format!("https://localhost:{}/health/ready", server.http_address().port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_a_restart_and_open_connections_stay() {
    mavis_server::boot::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (authority(), authority());
    let (cert, key) = signed_by(&old);
    let (cert, key) = (write(folder.path(), "cert.pem", &cert), write(folder.path(), "key.pem", &key));
    let tls = TlsConfig { cert: Some(cert.clone()), key: Some(key.clone()), ..TlsConfig::default() };
    let server = start(folder.path(), tls).await;
    let secret = token(&server);
    let mut open = IngestServiceClient::new(grpc(&server, &old, None).await.unwrap());
    open.list_sources(with(&secret, pb::ListSourcesRequest {})).await.unwrap();
    assert_eq!(http(&old, None).get(ready(&server)).send().await.unwrap().status(), 200);

    // The certificate first, without its key: the old pair stays in use.
    let (new_cert, new_key) = signed_by(&new);
    std::fs::write(&cert, &new_cert).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(http(&old, None).get(ready(&server)).send().await.unwrap().status(), 200);
    std::fs::write(&key, &new_key).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while http(&new, None).get(ready(&server)).send().await.is_err() {
        assert!(Instant::now() < until, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(http(&old, None).get(ready(&server)).send().await.is_err(), "the old one still is");
    assert!(grpc(&server, &old, None).await.is_err());
    let mut next = IngestServiceClient::new(grpc(&server, &new, None).await.unwrap());
    next.list_sources(with(&secret, pb::ListSourcesRequest {})).await.unwrap();
    open.list_sources(with(&secret, pb::ListSourcesRequest {})).await.expect("a connection of before goes on");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_it_is_required_and_a_token_all_the_same() {
    mavis_server::boot::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients, others) = (authority(), authority(), authority());
    let (cert, key) = signed_by(&ours);
    let (good, bad) = (signed_by(&clients), signed_by(&others));
    let tls = TlsConfig {
        cert: Some(write(folder.path(), "cert.pem", &cert)),
        key: Some(write(folder.path(), "key.pem", &key)),
        client_ca: Some(write(folder.path(), "clients.pem", &clients.pem())),
        client_certificates: ClientCertificates::Required,
    };
    let server = start(folder.path(), tls).await;
    let secret = token(&server);
    let sources = format!("https://localhost:{}/api/v1/sources", server.http_address().port());
    for identity in [None, Some(&bad)] {
        assert!(http(&ours, identity).get(ready(&server)).send().await.is_err());
        // In TLS 1.3 the client learns of the refusal with its first request.
        if let Ok(channel) = grpc(&server, &ours, identity).await {
            let mut ingest = IngestServiceClient::new(channel);
            ingest.list_sources(with(&secret, pb::ListSourcesRequest {})).await.unwrap_err();
        }
    }
    let known = http(&ours, Some(&good));
    assert_eq!(known.get(ready(&server)).send().await.unwrap().status(), 200);
    assert_eq!(known.get(&sources).send().await.unwrap().status(), 401, "a certificate is no token");
    assert_eq!(known.get(&sources).bearer_auth(&secret).send().await.unwrap().status(), 200);
    let mut ingest = IngestServiceClient::new(grpc(&server, &ours, Some(&good)).await.unwrap());
    ingest.list_sources(with(&secret, pb::ListSourcesRequest {})).await.unwrap();
    assert_eq!(ingest.list_sources(pb::ListSourcesRequest {}).await.unwrap_err().code(), tonic::Code::Unauthenticated);

    let address = format!("localhost:{}", server.grpc_address().port());
    let file = |name: &str, text: &str| write(folder.path(), name, text).display().to_string();
    let ca = file("ca.pem", &ours.pem());
    let (cert, key) = (file("client.pem", &good.0), file("client.key", &good.1));
    let with_certificate = ["token", "list", "--ca-cert", &ca, "--client-cert", &cert, "--client-key", &key];
    let listed = run(client(&address, &secret, &with_certificate)).await;
    assert!(listed.status.success(), "{}", stderr(&listed));
    let without = run(client(&address, &secret, &["token", "list", "--ca-cert", &ca])).await;
    assert!(!without.status.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_only_asked_for_those_of_strangers_are_refused() {
    mavis_server::boot::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients, others) = (authority(), authority(), authority());
    let (cert, key) = signed_by(&ours);
    let (good, bad) = (signed_by(&clients), signed_by(&others));
    let tls = TlsConfig {
        cert: Some(write(folder.path(), "cert.pem", &cert)),
        key: Some(write(folder.path(), "key.pem", &key)),
        client_ca: Some(write(folder.path(), "clients.pem", &clients.pem())),
        client_certificates: ClientCertificates::Asked,
    };
    let server = start(folder.path(), tls).await;
    for identity in [None, Some(&good)] {
        assert_eq!(http(&ours, identity).get(ready(&server)).send().await.unwrap().status(), 200);
    }
    assert!(http(&ours, Some(&bad)).get(ready(&server)).send().await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgresql_door_speaks_tls_with_the_certificate_of_now_and_asks_for_the_clients() {
    mavis_server::boot::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (old, new, clients, others) = (authority(), authority(), authority(), authority());
    let (cert, key) = signed_by(&old);
    let (good, bad) = (signed_by(&clients), signed_by(&others));
    let tls = TlsConfig {
        cert: Some(write(folder.path(), "cert.pem", &cert)),
        key: Some(write(folder.path(), "key.pem", &key)),
        client_ca: Some(write(folder.path(), "clients.pem", &clients.pem())),
        client_certificates: ClientCertificates::Required,
    };
    let server = start(folder.path(), tls).await;
    let secret = token(&server);
    let connect = async |mode: PgSslMode, trusted: &Authority, identity: Option<&(String, String)>, password: &str| {
        let port = server.postgres_address().unwrap().port();
        let mut options = PgConnectOptions::new_without_pgpass().host("localhost").port(port).username("anybody");
        options = options.database("fhir").password(password).ssl_mode(mode);
        options = options.ssl_root_cert_from_pem(trusted.pem().into_bytes());
        if let Some((cert, key)) = identity {
            options = options.ssl_client_cert_from_pem(cert).ssl_client_key_from_pem(key);
        }
        let mut connection = options.connect().await?;
        sqlx::query_scalar::<_, i64>("SELECT 1").fetch_one(&mut connection).await
    };
    let full = PgSslMode::VerifyFull;
    assert_eq!(connect(full, &old, Some(&good), &secret).await.unwrap(), 1);
    assert!(connect(full, &old, Some(&good), "wrong").await.is_err(), "a certificate is no token");
    assert!(connect(full, &old, Some(&bad), &secret).await.is_err(), "a stranger's certificate");
    assert!(connect(full, &old, None, &secret).await.is_err(), "no certificate");
    assert!(connect(full, &new, Some(&good), &secret).await.is_err(), "not the authority that the client trusts");
    let plain = connect(PgSslMode::Disable, &old, None, &secret).await.unwrap_err();
    let code = plain.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    assert_eq!(code.as_deref(), Some("28000"), "plain text where there is a certificate: {plain}");

    let (cert, key) = signed_by(&new);
    write(folder.path(), "key.pem", &key);
    write(folder.path(), "cert.pem", &cert);
    let begun = Instant::now();
    while connect(full, &new, Some(&good), &secret).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;
}

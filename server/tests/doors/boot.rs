use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use mavis_connectors::Secrets;
use mavis_server::{
    Server,
    app::Phase,
    config::{Config, TlsConfig},
};

use crate::harness::{TestServer, client, config, run, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_token_and_follows_the_servers_life() {
    let test = TestServer::start().await;
    let live = reqwest::get(test.http("/health/live")).await.unwrap();
    assert_eq!(live.status(), 200);
    let ready = reqwest::get(test.http("/health/ready")).await.unwrap();
    assert_eq!(ready.status(), 200);
    test.server.app().readiness.set(Phase::Stopping);
    let ready = reqwest::get(test.http("/health/ready")).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("stopping"));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_writes_a_private_admin_token_and_later_ones_keep_it() {
    let test = TestServer::start().await;
    let (token, file) = (test.admin_token(), test.server.data().token_file());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let folder = test.stop().await;
    let again = TestServer::start_in(folder).await;
    assert_eq!(again.admin_token(), token);
    let folder = again.stop().await;
    // A lost file is made again, with a token that works.
    std::fs::remove_file(file).unwrap();
    let third = TestServer::start_in(folder).await;
    assert_ne!(third.admin_token(), token);
    assert!(third.mavis(&["token", "list"]).await.status.success());
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_share_a_data_folder() {
    let test = TestServer::start().await;
    let config = config(&test.folder.path().join("data"));
    let refused = Box::pin(Server::start_with(config, Secrets::from_pairs([]))).await.unwrap_err();
    assert!(format!("{refused:#}").contains("another server uses the data folder"), "{refused:#}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_other_machines_reach_is_refused_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let mut open = config(folder.path());
    open.http.listen = "0.0.0.0:0".parse().unwrap();
    let refused = Box::pin(Server::start_with(open, Secrets::from_pairs([]))).await.unwrap_err().to_string();
    assert!(refused.contains("--insecure") && refused.contains("tls.cert"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_doors_speak_tls_when_they_have_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let pem = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doors/tls").join(name);
    let tls = TlsConfig { cert: Some(pem("cert.pem")), key: Some(pem("key.pem")), ..TlsConfig::default() };
    let mut secure = Config { tls, ..config(folder.path()) };
    secure.http.listen = "0.0.0.0:0".parse().unwrap();
    let server = Box::pin(Server::start_with(secure, Secrets::from_pairs([]))).await.unwrap();

    let authority = reqwest::Certificate::from_pem(&std::fs::read(pem("ca.pem")).unwrap()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let url = format!("https://localhost:{}/health/ready", server.http_address().port());
    assert_eq!(http.get(url).send().await.unwrap().status(), 200);

    let token = std::fs::read_to_string(server.data().token_file()).unwrap();
    let address = format!("localhost:{}", server.grpc_address().port());
    let authority = pem("ca.pem").display().to_string();
    let listed = run(client(&address, token.trim(), &["token", "list", "--ca-cert", &authority])).await;
    assert!(listed.status.success(), "{}", stderr(&listed));
    // In clear text nobody is answered.
    let clear = run(client(&address, token.trim(), &["token", "list"])).await;
    assert_eq!(clear.status.code(), Some(3), "{}", stderr(&clear));
    server.stop().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_server_ends_in_order_and_with_exit_code_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mavis"))
        .args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        for line in lines.map_while(Result::ok) {
            let ready = line.contains("ready: http on");
            told.push(line);
            if ready {
                let pid = child.id().to_string();
                assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            }
        }
        (told.join("\n"), child.wait().unwrap())
    });
    let (told, status) = tokio::time::timeout(Duration::from_secs(60), told).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.contains("stopped"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_is_told_wrongly_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mavis.toml");
    std::fs::write(&file, "[query]\nconcurent = 3\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mavis"));
    command.args(["serve", "--config"]).arg(&file).arg("--data").arg(folder.path().join("data"));
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("concurent") && stdout(&output).is_empty(), "{}", stderr(&output));
}

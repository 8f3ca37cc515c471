//! How Mavis gets into SSH servers: passwords, questions, agents, encrypted keys.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mavis_connectors::{ReadRequest, Registry, Secrets};
use rstest::rstest;
use russh::{
    Channel, MethodKind, MethodSet,
    keys::{PrivateKey, load_secret_key},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{assert_failed, assert_passed, source, sshd::Sshd, table};
use crate::postgres::Database;

/// An SSH server that asks for a password in its own way; OpenSSH would ask the machine's accounts.
#[derive(Clone)]
struct Doorman {
    asks: bool,
    tried: Arc<AtomicUsize>,
}

impl Handler for Doorman {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        Ok(if !self.asks && user == "tunnel" && password == "open sesame" { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(mut response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let right = response.next().is_some_and(|answer| &answer[..] == b"open sesame");
        Ok(if self.asks && user == "tunnel" && right { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let mut far = TcpStream::connect((host, u16::try_from(port).unwrap())).await?;
        reply.accept().await;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut far).await });
        Ok(())
    }
}

/// The port, and how many passwords were tried there.
async fn doorman(asks: bool) -> (u16, Arc<AtomicUsize>) {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let methods = [MethodKind::Password, MethodKind::KeyboardInteractive];
    let config = Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(&methods[usize::from(asks)..][..1]),
        auth_rejection_time: std::time::Duration::from_millis(50),
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tried = Arc::new(AtomicUsize::new(0));
    let doorman = Doorman { asks, tried: Arc::clone(&tried) };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, doorman) = (Arc::clone(&config), doorman.clone());
            tokio::spawn(async move {
                if let Ok(running) = russh::server::run_stream(config, stream, doorman).await {
                    drop(running.await);
                }
            });
        }
    });
    (port, tried)
}

fn block(port: u16) -> Value {
    json!({ "host": "127.0.0.1", "port": port, "user": "tunnel", "connect_timeout_seconds": 5 })
}

#[rstest]
#[case::password(false)]
#[case::questions(true)]
#[tokio::test]
async fn a_password_opens_servers_that_take_it_and_those_that_ask_for_it(#[case] asks: bool) {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let (port, _) = doorman(asks).await;
    for (variable, more) in [("SSH_PASSWORD_FAR", json!({})), ("SSH_PASSWORD_GATE", json!({ "secret": "gate" }))] {
        let mut ssh = block(port);
        ssh.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let secrets = Secrets::from_pairs([(variable, "open sesame")]);
        let source = source(&Registry::built_in(), &database, &ssh, json!({}), &secrets);
        assert_passed(&source.check().await);
    }
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_tried_again_by_itself_and_never_shown() {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let (port, tried) = doorman(false).await;
    let secrets = Secrets::from_pairs([("SSH_PASSWORD_FAR", "open barley")]);
    let registry = Registry::built_in();
    for attempt in 0..5 {
        // Each run connects the source anew.
        let source = source(&registry, &database, &block(port), json!({}), &secrets);
        let error = source.read(ReadRequest::whole(table("t"))).await.err().unwrap();
        let told = format!("{error} {error:?} {source:?}");
        assert!(told.contains("login: user `tunnel`") && told.contains("SSH_PASSWORD_FAR"), "{told}");
        assert!(!told.contains("barley") && !error.is_transient(), "{told}");
        assert_eq!(tried.load(Ordering::SeqCst), 1, "attempt {attempt}");
    }
    // Who asks for a test wants to know now.
    let wrong = source(&registry, &database, &block(port), json!({}), &secrets);
    assert_failed(&wrong.check().await, "ssh", &["login", "SSH_PASSWORD_FAR"]);
    assert_eq!(tried.load(Ordering::SeqCst), 2);
    // Another password is another attempt.
    let right = Secrets::from_pairs([("SSH_PASSWORD_FAR", "open sesame")]);
    let source = source(&registry, &database, &block(port), json!({}), &right);
    drop(source.read(ReadRequest::whole(table("t"))).await.unwrap());
}

#[tokio::test]
async fn a_source_without_anything_to_log_in_with_says_what_to_set() {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let (port, _) = doorman(false).await;
    let source = source(&Registry::built_in(), &database, &block(port), json!({}), &Secrets::from_pairs([]));
    assert_failed(&source.check().await, "ssh", &["SSH_PASSWORD_FAR", "key_file", "agent"]);
}

#[tokio::test]
async fn a_password_that_was_changed_is_taken_up_without_a_restart() {
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let (port, _) = doorman(false).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("SSH_PASSWORD_FAR");
    std::fs::write(&file, "open barley\n").unwrap();
    let secrets = Secrets::from_pairs([]).with_folder(folder.path());
    let source = source(&Registry::built_in(), &database, &block(port), json!({}), &secrets);
    source.read(ReadRequest::whole(table("t"))).await.err().unwrap();
    std::fs::write(&file, "open sesame\n").unwrap();
    drop(source.read(ReadRequest::whole(table("t"))).await.unwrap());
}

#[tokio::test]
async fn an_encrypted_key_needs_its_passphrase() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let path = gate.file("user_key");
    let encrypt = Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", "open sesame", "-f"])
        .arg(&path)
        .stdin(Stdio::null())
        .status();
    assert!(encrypt.unwrap().success());
    assert!(load_secret_key(&path, None).is_err());
    let check = async |secrets: &[(&str, &str)]| {
        let secrets = Secrets::from_pairs(secrets.iter().copied());
        source(&Registry::built_in(), &database, &gate.block(), json!({}), &secrets).check().await
    };
    assert_passed(&check(&[("SSH_PASSPHRASE_FAR", "open sesame")]).await);
    assert_failed(&check(&[]).await, "ssh", &["is encrypted", "SSH_PASSPHRASE_FAR", "user_key"]);
    assert_failed(
        &check(&[("SSH_PASSPHRASE_FAR", "barley")]).await,
        "ssh",
        &["cannot be opened", "SSH_PASSPHRASE_FAR"],
    );

    // The key itself as a secret.
    let key = std::fs::read_to_string(&path).unwrap();
    let mut block = gate.block();
    block.as_object_mut().unwrap().remove("key_file");
    let secrets = Secrets::from_pairs([("SSH_PRIVATE_KEY_FAR", key.as_str()), ("SSH_PASSPHRASE_FAR", "open sesame")]);
    assert_passed(&source(&Registry::built_in(), &database, &block, json!({}), &secrets).check().await);
}

#[tokio::test]
async fn an_agent_signs_with_the_key_that_it_holds() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let socket = gate.file("agent");
    let mut agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let add = |key: &str| {
        let key = gate.file(key);
        let add =
            Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null()).output();
        add.unwrap().status.success()
    };
    // Another key before: one that the server does not take is no end.
    while !add("host_key") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut block = gate.block_with(json!({ "agent_socket": socket }));
    block.as_object_mut().unwrap().remove("key_file");
    let far = source(&Registry::built_in(), &database, &block, json!({}), &Secrets::from_pairs([]));
    assert_failed(&far.check().await, "ssh", &["login", "the 1 keys of the agent"]);
    assert!(add("user_key"));
    assert_passed(&far.check().await);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let far = source(&Registry::built_in(), &database, &block, json!({}), &Secrets::from_pairs([]));
    assert_failed(&far.check().await, "ssh", &["no SSH agent answers"]);
}

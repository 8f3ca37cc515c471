//! Sources behind SSH, through a real sshd (`MAVIS_TEST_SSHD`, see `tests/counterparts/sshd.sh`).

mod inside;
mod login;
pub(crate) mod sshd;

use std::{sync::Arc, time::Duration};

use mavis_connectors::{
    ReadRequest, Registry, Secrets, Source, SourceSpec, StageOutcome, StageReport, TableRef,
    ssh::{HostKeys, Remembered},
    testkit::{Expectation, assert_contract, read_all},
};
use mavis_types::SourceName;
use rstest::rstest;
use serde_json::{Value, json};
use sshd::{Proxy, Sshd};

use crate::postgres::Database;

/// A source of the kind `postgres` with an `ssh` block.
fn source(registry: &Registry, database: &Database, ssh: &Value, more: Value, secrets: &Secrets) -> Arc<dyn Source> {
    let mut params = database.params.clone();
    let fields = params.as_object_mut().unwrap();
    fields.insert("ssh".to_owned(), ssh.clone());
    fields.extend(more.as_object().unwrap().clone());
    let name = SourceName::new("far").unwrap();
    let spec = SourceSpec { name, kind: "postgres".into(), params, authoritative: false };
    registry.connect(&spec, secrets).unwrap()
}

fn plain(registry: &Registry, database: &Database, ssh: &Value) -> Arc<dyn Source> {
    source(registry, database, ssh, json!({}), &Secrets::from_pairs([]))
}

fn table(name: &str) -> TableRef {
    TableRef { schema: None, name: name.to_owned() }
}

/// The last stage of a test, which failed where any did.
fn last(reports: &[StageReport]) -> (String, StageOutcome, String) {
    let last = reports.last().unwrap();
    (last.stage.to_string(), last.outcome, last.message.clone())
}

#[track_caller]
fn assert_passed(reports: &[StageReport]) {
    assert!(reports.iter().all(|report| report.outcome != StageOutcome::Failed), "{reports:?}");
    assert!(reports.iter().any(|report| report.stage.to_string() == "read"), "{reports:?}");
}

#[track_caller]
fn assert_failed(reports: &[StageReport], stage: &str, words: &[&str]) {
    let (failed, outcome, message) = last(reports);
    assert_eq!((failed.as_str(), outcome), (stage, StageOutcome::Failed), "{reports:?}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in `{message}`");
    }
}

#[tokio::test]
async fn postgres_through_ssh_keeps_the_contract() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with(
        "CREATE SCHEMA lab;
         CREATE TABLE patient (id int PRIMARY KEY, name text);
         CREATE TABLE lab.result (id int PRIMARY KEY, at timestamptz);
         INSERT INTO patient SELECT i, 'n' || i FROM generate_series(1, 2500) i;
         INSERT INTO lab.result SELECT i, now() FROM generate_series(1, 10) i;",
    )
    .await
    else {
        return;
    };
    let registry = Registry::built_in();
    assert_passed(&plain(&registry, &database, &gate.block()).check().await);
    let expected = || Expectation::default().table("patient", 2500).table("lab.result", 10);
    assert_contract(&*plain(&registry, &database, &gate.block()), expected()).await;
    let cursors = json!({ "cursor_columns": { "patient": "id", "lab.result": "at" } });
    let incremental = source(&registry, &database, &gate.block(), cursors, &Secrets::from_pairs([]));
    assert_contract(&*incremental, expected()).await;
}

#[rstest]
#[case::name(json!({ "ssh": { "host": "no-such-host.invalid" } }), "name", &["no-such-host.invalid", "ssh.host"])]
#[case::closed(json!({ "ssh": { "port": 1 } }), "route", &["port 1 is closed"])]
#[case::login(json!({ "ssh": { "user": "nobody-at-all" } }), "ssh", &["login: user `nobody-at-all` was not let in", "user_key"])]
#[case::no_key_there(json!({ "ssh": { "key_file": "/no/such/key" } }), "ssh", &["/no/such/key", "cannot be read"])]
#[case::pin(json!({ "ssh": { "host_keys": ["SHA256:AAAA"] } }), "ssh", &["host key", "SHA256:AAAA", "pinned"])]
#[case::unknown_host(json!({ "ssh": { "trust_on_first_use": false } }), "ssh", &["host key", "not known", "host_keys"])]
#[case::database_down(json!({ "port": 1 }), "database", &["refused there", "is the database up"])]
#[case::database_name(json!({ "database": "no_such_database" }), "database", &["no_such_database"])]
#[case::database_login(json!({ "user": "nobody_at_all" }), "login", &["POSTGRES_PASSWORD_FAR"])]
#[case::read(json!({ "tables_to_include": ["nothing"] }), "read", &["GRANT SELECT"])]
#[case::tls(json!({ "sslmode": "require" }), "database", &["sslmode"])]
#[tokio::test]
async fn a_connection_test_says_which_stage_fails(#[case] other: Value, #[case] stage: &str, #[case] words: &[&str]) {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let mut other = other;
    let ssh = other.as_object_mut().unwrap().remove("ssh").unwrap_or_else(|| json!({}));
    let source =
        source(&Registry::built_in(), &database, &gate.block_with(ssh), other.clone(), &Secrets::from_pairs([]));
    let reports = source.check().await;
    assert_failed(&reports, stage, words);
    let before = &reports[..reports.len() - 1];
    assert!(before.iter().all(|report| report.outcome == StageOutcome::Passed), "{other}: {reports:?}");
    // The same words for who only reads.
    let error = source.read(ReadRequest::whole(table("t"))).await.err().map(|error| error.to_string());
    if let Some(error) = error.filter(|_| stage != "read") {
        assert!(error.contains(&format!("({stage})")), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_gives_no_answer_at_all_is_behind_a_vpn_that_is_down() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    // A queue of connections that is full: further ones get no answer, as on a route that leads nowhere.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = socket.listen(1).unwrap();
    let address = silent.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        queue.push(stream.unwrap());
    }
    let block = gate.block_with(json!({ "port": address.port(), "connect_timeout_seconds": 1 }));
    let reports = plain(&Registry::built_in(), &database, &block).check().await;
    assert_failed(&reports, "route", &["no answer within 1 s", "VPN"]);
}

#[tokio::test]
async fn a_key_of_the_server_that_is_not_the_agreed_one_may_be_pinned_too() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    for key in ["host_key", "host_rsa"] {
        let pinned = gate.block_with(json!({ "host_keys": [gate.fingerprint(key)] }));
        assert_passed(&plain(&Registry::built_in(), &database, &pinned).check().await);
    }
}

#[tokio::test]
async fn a_server_is_trusted_on_first_use_and_refused_with_both_fingerprints_when_its_key_changed() {
    let Some(mut gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let keys: Arc<dyn HostKeys> = Arc::new(Remembered::default());
    let registry = || Registry::built_in().with_host_keys(Arc::clone(&keys));
    assert_passed(&plain(&registry(), &database, &gate.block()).check().await);
    let before = gate.fingerprint("host_key");
    assert_eq!(keys.known("127.0.0.1", gate.port).await.unwrap().unwrap().fingerprint, before);

    gate.set_up_anew();
    let after = gate.fingerprint("host_key");
    let reports = plain(&registry(), &database, &gate.block()).check().await;
    assert_failed(&reports, "ssh", &["changed", &before, &after, "forget-host-key"]);
    assert_eq!(
        keys.known("127.0.0.1", gate.port).await.unwrap().unwrap().fingerprint,
        before,
        "nothing is overwritten"
    );

    let file = gate.file("known_hosts");
    let line = std::fs::read_to_string(gate.file("host_rsa.pub")).unwrap();
    std::fs::write(&file, format!("[127.0.0.1]:{} {line}", gate.port)).unwrap();
    let by_file = gate.block_with(json!({ "known_hosts": file }));
    assert_passed(&plain(&registry(), &database, &by_file).check().await);
}

#[tokio::test]
async fn a_server_that_does_not_forward_says_so() {
    let Some(gate) = Sshd::start("AllowTcpForwarding no") else { return };
    let Some(database) = Database::with("CREATE TABLE t (id int)").await else { return };
    let reports = plain(&Registry::built_in(), &database, &gate.block()).check().await;
    assert_failed(&reports, "database", &["does not let its users go on", "AllowTcpForwarding"]);
}

#[tokio::test]
async fn two_hops_lead_to_a_database_that_the_first_one_does_not_reach() {
    let Some(inside) = Sshd::start("") else { return };
    let Some(gate) = Sshd::start(&format!("PermitOpen 127.0.0.1:{}", inside.port)) else { return };
    let Some(database) = Database::with("CREATE TABLE t AS SELECT i FROM generate_series(1, 9) i").await else {
        return;
    };
    let registry = Registry::built_in();
    let reports = plain(&registry, &database, &gate.block()).check().await;
    assert_failed(&reports, "database", &["does not let its users go on"]);
    let mut hop = gate.block();
    hop.as_object_mut().unwrap().remove("connect_timeout_seconds");
    let both = inside.block_with(json!({ "via": [hop] }));
    let source = plain(&registry, &database, &both);
    assert_passed(&source.check().await);
    assert_eq!(read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap().rows.len(), 9);

    // What fails at the second one is told of the second one.
    let mut wrong = both;
    wrong["user"] = json!("nobody-at-all");
    let reports = plain(&registry, &database, &wrong).check().await;
    assert_failed(&reports, "ssh", &[&format!("nobody-at-all@127.0.0.1:{}", inside.port), "login"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_connections_of_many_sources_share_one_session() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t AS SELECT i FROM generate_series(1, 5000) i").await else {
        return;
    };
    let proxy = Proxy::to(gate.port).await;
    let registry = Registry::built_in();
    let block = gate.block_with(json!({ "port": proxy.port }));
    let mut readings = Vec::new();
    for _ in 0..50 {
        let source = plain(&registry, &database, &block);
        readings.push(tokio::spawn(async move {
            let request = ReadRequest { batch_rows: 100, ..ReadRequest::whole(table("t")) };
            read_all(&*source, request).await.unwrap().rows.len()
        }));
    }
    for reading in readings {
        assert_eq!(reading.await.unwrap(), 5000);
    }
    assert_eq!(proxy.accepted(), 1);

    // It is opened anew when it broke, once for all who need it.
    proxy.cut();
    let mut readings = Vec::new();
    for _ in 0..10 {
        let source = plain(&registry, &database, &block);
        readings.push(tokio::spawn(async move { read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap() }));
    }
    for reading in readings {
        assert_eq!(reading.await.unwrap().rows.len(), 5000);
    }
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_waits_does_not_stop_others_of_its_session() {
    use futures::StreamExt;
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with(
        "CREATE TABLE big AS SELECT i, repeat('x', 1000) AS t FROM generate_series(1, 60000) i;
         CREATE TABLE small AS SELECT i FROM generate_series(1, 10) i;",
    )
    .await
    else {
        return;
    };
    let registry = Registry::built_in();
    let source = plain(&registry, &database, &gate.block());
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let request = ReadRequest { batch_rows: 100, ..ReadRequest::whole(table("big")) };
        let mut stream = source.read(request).await.unwrap();
        stream.next().await.unwrap().unwrap();
        waiting.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let small = read_all(&*source, ReadRequest::whole(table("small")));
    let small = tokio::time::timeout(Duration::from_secs(20), small).await.expect("others are not stopped").unwrap();
    assert_eq!(small.rows.len(), 10);
    // Nothing of the others is lost.
    for mut stream in waiting {
        let mut rows = 100;
        while let Some(item) = stream.next().await {
            if let mavis_connectors::ReadItem::Batch(batch) = item.unwrap() {
                rows += batch.num_rows();
            }
        }
        assert_eq!(rows, 60_000);
    }
}

#[tokio::test]
async fn a_tunnel_that_is_cut_ends_a_reading_as_interrupted() {
    use futures::StreamExt;
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) =
        Database::with("CREATE TABLE t AS SELECT i, repeat('x', 1000) AS t FROM generate_series(1, 50000) i").await
    else {
        return;
    };
    let proxy = Proxy::to(gate.port).await;
    let source = plain(&Registry::built_in(), &database, &gate.block_with(json!({ "port": proxy.port })));
    let mut stream = source.read(ReadRequest { batch_rows: 1000, ..ReadRequest::whole(table("t")) }).await.unwrap();
    stream.next().await.unwrap().unwrap();
    proxy.cut();
    let error = loop {
        match stream.next().await.expect("a cut reading does not end well") {
            Ok(mavis_connectors::ReadItem::End { .. }) => panic!("a cut reading does not end well"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_transient() && error.to_string().contains("interrupted"), "{error}");

    proxy.refuse(true);
    let error = source.read(ReadRequest::whole(table("t"))).await.err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("(ssh)"), "{error}");
    proxy.refuse(false);
    assert_eq!(read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap().rows.len(), 50_000);
}

#[tokio::test]
async fn a_network_that_is_gone_without_a_word_is_noticed_by_what_keeps_the_session_alive() {
    use futures::StreamExt;
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) =
        Database::with("CREATE TABLE t AS SELECT i, repeat('x', 1000) AS t FROM generate_series(1, 50000) i").await
    else {
        return;
    };
    let proxy = Proxy::to(gate.port).await;
    let block = gate.block_with(json!({ "port": proxy.port, "keep_alive_seconds": 1 }));
    let source = plain(&Registry::built_in(), &database, &block);
    let mut stream = source.read(ReadRequest { batch_rows: 1000, ..ReadRequest::whole(table("t")) }).await.unwrap();
    stream.next().await.unwrap().unwrap();
    proxy.freeze(true);
    let end = async {
        loop {
            if let Err(error) = stream.next().await.expect("a cut reading does not end well") {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(15), end).await.expect("it is noticed");
    assert!(error.is_transient(), "{error}");
    proxy.freeze(false);
    assert_eq!(read_all(&*source, ReadRequest::whole(table("t"))).await.unwrap().rows.len(), 50_000);
}

//! Sources behind SSH as their engineers meet them: host keys are shown and forgotten, entries are generated.

use serde_json::{Value, json};

use crate::{
    harness::{TestServer, stderr, stdout},
    sshd::Sshd,
};

/// Parameters of the test's PostgreSQL, without a database.
fn postgres() -> Option<Value> {
    let Some(url) = std::env::var("MAVIS_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_POSTGRES is not set");
        println!("skipped: MAVIS_TEST_POSTGRES is not set; run `make test`");
        return None;
    };
    let (user, address) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
    let (host, port) = address.split_once('/').unwrap().0.rsplit_once(':').unwrap();
    Some(json!({ "host": host, "port": port.parse::<u16>().unwrap(), "user": user, "database": "postgres" }))
}

#[tokio::test]
async fn a_host_key_is_recorded_shown_to_engineers_refused_when_it_changed_and_forgotten_on_request() {
    let (Some(mut gate), Some(mut params)) = (Sshd::start(""), postgres()) else { return };
    let test = TestServer::start().await;
    params["ssh"] = gate.block();
    params["schemas"] = json!(["information_schema"]);
    let added = test.mavis(&["source", "add", "far", "--kind", "postgres", "--params-json", &params.to_string()]).await;
    assert!(added.status.success(), "{}", stderr(&added));
    let check = async || test.mavis(&["source", "test", "far"]).await;
    let passed = check().await;
    assert!(passed.status.success(), "{}{}", stdout(&passed), stderr(&passed));

    let before = gate.fingerprint("host_key");
    let shown = "SELECT host, port, algorithm, fingerprint FROM system.catalog.known_hosts";
    let row = test.mavis(&["sql", shown]).await;
    let row = stdout(&row);
    for part in ["127.0.0.1", &gate.port.to_string(), "ssh-ed25519", &before] {
        assert!(row.contains(part), "`{part}` is not in {row}");
    }
    let reader = test.token("reader", mavis_proto::v1::Role::Reader, &["fhir.r4"]).await;
    let row = stdout(&test.mavis_as(&reader, &["sql", shown]).await);
    assert!(!row.contains(&before), "{row}");

    gate.set_up_anew();
    let refused = check().await;
    let told = stderr(&refused);
    assert!(!refused.status.success(), "{told}");
    for part in ["stage ssh", "changed", &before, &gate.fingerprint("host_key"), "forget-host-key"] {
        assert!(told.contains(part), "`{part}` is not in {told}");
    }
    let server = format!("127.0.0.1:{}", gate.port);
    let refused = test.mavis_as(&reader, &["source", "forget-host-key", &server]).await;
    assert!(!refused.status.success(), "{}", stderr(&refused));
    let forgotten = test.mavis(&["source", "forget-host-key", &server]).await;
    assert!(forgotten.status.success(), "{}", stderr(&forgotten));
    let passed = check().await;
    assert!(passed.status.success(), "{}{}", stdout(&passed), stderr(&passed));
    let again = test.mavis(&["source", "forget-host-key", "gate:2222"]).await;
    assert!(stderr(&again).contains("there is no host key `gate:2222`"), "{}", stderr(&again));
    let audit =
        test.mavis(&["sql", "SELECT action, object FROM system.ops.audit WHERE action = 'host_key.forget'"]).await;
    assert!(stdout(&audit).contains(&server), "{}", stdout(&audit));
    test.stop().await;
}

#[tokio::test]
async fn entries_are_generated_from_a_servers_databases_behind_ssh_and_taken_as_they_are() {
    let (Some(gate), Some(params)) = (Sshd::start(""), postgres()) else { return };
    let test = TestServer::start().await;
    let file = test.folder.path().join("data_sources.json");
    let file = file.to_str().unwrap();
    let mut args: Vec<String> =
        ["source", "generate", "HIS", "--kind", "postgres", "--output", file].map(str::to_owned).into();
    for field in ["host", "port", "user"] {
        args.extend(["--param".to_owned(), format!("{field}={}", params[field].to_string().trim_matches('"'))]);
    }
    for (field, value) in gate.block().as_object().unwrap() {
        args.extend(["--param".to_owned(), format!("ssh.{field}={}", value.to_string().trim_matches('"'))]);
    }
    let url = std::env::var("MAVIS_TEST_POSTGRES").unwrap();
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let name = format!("Generate_{}", uuid::Uuid::new_v4().simple());
    for suffix in ["a", "b_test"] {
        let make = format!("CREATE DATABASE \"{name}_{suffix}\"");
        sqlx::query(sqlx::AssertSqlSafe(make)).execute(&mut admin).await.unwrap();
    }
    args.extend(["--include".to_owned(), format!("{name}*"), "--exclude".to_owned(), "*_test".to_owned()]);
    let arguments: Vec<&str> = args.iter().map(String::as_str).collect();
    let made = test.mavis(&arguments).await;
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(stderr(&made).contains(&gate.fingerprint("host_key")), "the host key is shown: {}", stderr(&made));
    let entries: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    assert_eq!(entries[0]["db"]["database"], json!(format!("{name}_a")));
    assert_eq!(entries[0]["ssh"]["port"], json!(gate.port));
    assert_eq!(entries[0]["secret"], json!("HIS"));

    let added = test.mavis(&["source", "add", "--from", file]).await;
    assert!(added.status.success(), "{}", stderr(&added));
    let source = format!("his_{}_a", name.to_lowercase());
    let tested = stdout(&test.mavis(&["source", "test", &source]).await);
    assert!(tested.contains("can read no table"), "it is reached, and empty: {tested}");
    let again = test.mavis(&arguments).await;
    assert!(stderr(&again).contains("cannot write"), "nothing is overwritten: {}", stderr(&again));
    test.stop().await;
}

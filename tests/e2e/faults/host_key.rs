//! An SSH server that is another one after it broke in the middle of a table.

use mavis_tests::{Postgres, Server};
use serde_json::{Value, json};

use super::{begin, declare, ended, ingest, log, params_of, stands, told, totals, totals_of};
use crate::sshd::Sshd;

/// A source behind an SSH server that is replaced by one with other keys while a table is read; `repair` does what the error says.
async fn changes(trust: impl Fn(&Sshd) -> Value, advice: &str, repair: impl Fn(&Server, &Sshd, &mut Value)) {
    let Some(mut gate) = Sshd::start("") else { return };
    let Some(database) = Postgres::create().unwrap() else { return };
    database
        .execute(
            "CREATE TABLE event (id bigint PRIMARY KEY, v bigint, words text);
             CREATE TABLE patient (id bigint PRIMARY KEY, v bigint, words text);
             INSERT INTO event SELECT i, i % 1000, repeat(md5(i::text), 16) FROM generate_series(1, 30000) i;
             INSERT INTO patient SELECT * FROM event WHERE id <= 2000",
        )
        .unwrap();
    let config = "[pipeline]\nworkers = 1\ntables_per_run = 1\nattempts = 1\n";
    let server = Server::builder().config(config).start().await.unwrap();
    let mut params = params_of(&database, database.port);
    params["cursor_columns"] = json!({ "event": "id" });
    params["ssh"] = gate.block_with(trust(&gate));
    // Slow enough to be met in the middle.
    params["max_megabytes_per_second"] = json!(3);
    declare(&server, "his", "postgres", &params);
    let before = gate.fingerprint("host_key");

    let run = begin(&server, "his");
    told(&server, &run, "ingesting").await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    gate.set_up_anew();
    assert_eq!(stands(&server, &run).await.0, "running", "it was not met in the middle");
    let (state, error) = ended(&server, &run).await;
    let words = log(&server, &run).await;
    assert_eq!(state, "failed", "{words}");
    for part in ["(ssh)", "host key", &before, &gate.fingerprint("host_key"), advice] {
        assert!(error.contains(part), "`{part}` is not in `{error}`");
    }
    assert!(words.contains("was interrupted: the connection broke"), "it was cut in the middle:\n{words}");
    // Nothing went to whoever shows another key.
    let accepted = std::fs::read_to_string(gate.file("log")).unwrap().matches("Accepted publickey").count();
    let again = server.mavis(&["ingest", "his"]).unwrap();
    assert!(again.code != 0 && again.stderr.contains("host key"), "{again:?}");
    let now = std::fs::read_to_string(gate.file("log")).unwrap().matches("Accepted publickey").count();
    assert_eq!(accepted, now, "somebody else was let in");

    repair(&server, &gate, &mut params);
    ingest(&server, "his");
    for table in ["event", "patient"] {
        let text = database.execute(&totals_of("json_build_object", table)).unwrap();
        let truth: Value = serde_json::from_str(&text).unwrap();
        for zone in ["raw", "processed"] {
            assert_eq!(totals(&server, &format!("{zone}.his.{table}")).await, truth, "{zone} {table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_host_key_that_changes_during_an_ingest_is_refused_until_it_is_forgotten() {
    changes(
        |_| json!({}),
        "forget-host-key",
        |server, gate, _| {
            let name = format!("127.0.0.1:{}", gate.port);
            server.mavis(&["source", "forget-host-key", &name]).unwrap().ok().unwrap();
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_host_key_that_changes_during_an_ingest_is_refused_until_the_pin_is_mended() {
    changes(
        |gate| json!({ "host_keys": [gate.fingerprint("host_key")] }),
        "put the new fingerprint into `host_keys`",
        |server, gate, params| {
            params["ssh"]["host_keys"] = json!([gate.fingerprint("host_key")]);
            let text = params.to_string();
            let words = ["source", "update", "his", "--kind", "postgres", "--params-json", &text];
            server.mavis(&words).unwrap().ok().unwrap();
        },
    )
    .await;
}

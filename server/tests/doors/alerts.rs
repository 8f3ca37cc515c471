//! Alerts that reach a webhook, whatever it does.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mavis_connectors::Secrets;
use mavis_server::{
    Server,
    config::{AlertsConfig, Config, Secret},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{TestServer, config, stderr};

const TOKEN: &str = "canary-of-the-webhook-4715";
const PATH: &str = "/hooks/canary-of-its-path-4716";

/// What a receiver got: the head and the body of each request.
type Got = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// A receiver that keeps the first request waiting for ever, answers the second with 503, and takes the others.
async fn receiver() -> (u16, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got = Got::default();
    let all = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let length = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0;
                let mut body = vec![0; length.parse().unwrap()];
                socket.read_exact(&mut body).await?;
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push((head, serde_json::from_slice(&body).unwrap()));
                    all.len()
                };
                let status = match number {
                    1 => {
                        tokio::time::sleep(Duration::from_secs(3600)).await;
                        return Ok(());
                    }
                    2 => "503 Service Unavailable",
                    _ => "200 OK",
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await
            });
        }
    });
    (port, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_disabled_and_tables_that_are_late_are_told_to_the_webhook() {
    let (port, got) = receiver().await;
    let folder = tempfile::tempdir().unwrap();
    let alerts = AlertsConfig {
        webhook: Some(Secret::new(format!("http://127.0.0.1:{port}{PATH}"))),
        timeout_seconds: 1,
        pause_seconds: 1,
        ..AlertsConfig::default()
    };
    let config = Config { alerts, ..config(&folder.path().join("data")) };
    let secrets = Secrets::from_pairs([("WEBHOOK_TOKEN_ALERTS", TOKEN)]);
    let server = TestServer { server: Box::pin(Server::start_with(config, secrets)).await.unwrap(), folder };
    let csv = server.folder.path().join("visits.csv");
    std::fs::write(&csv, "id,day\n1,2024-01-01\n").unwrap();
    let path = csv.display().to_string();
    for args in [
        &["source", "add", "visits", "--kind", "files", "--param", &format!("path={path}")][..],
        &["source", "discover", "visits"],
        &["schedule", "set", "visits", "--every", "1s", "--disable-after", "1", "--fresh", "1s"],
    ] {
        if args[0] == "schedule" {
            std::fs::remove_file(&csv).unwrap();
        }
        let out = server.mavis(args).await;
        assert!(out.status.success(), "{args:?}: {}", stderr(&out));
    }
    let told = async {
        loop {
            let all = got.lock().unwrap().clone();
            let kinds: Vec<&str> = all.iter().skip(2).map(|(_, body)| body["kind"].as_str().unwrap()).collect();
            if kinds.contains(&"schedule_disabled") && kinds.contains(&"tables_late") {
                return all;
            }
            // The scheduler is not kept waiting by a receiver that is.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(150), told).await.expect("the webhook is told");
    let of =
        |kind: &str| all.iter().skip(2).map(|(_, body)| body).filter(|body| body["kind"] == kind).collect::<Vec<_>>();
    let (disabled, late) = (of("schedule_disabled"), of("tables_late"));
    assert_eq!((disabled.len(), late.len()), (1, 1), "{all:?}");
    let disabled = disabled[0];
    assert_eq!((disabled["source"].as_str(), disabled["failures"].as_u64()), (Some("visits"), Some(1)));
    assert!(disabled["error"].as_str().unwrap().contains("visits.csv"), "{disabled}");
    assert!(disabled["text"].as_str().unwrap().contains("source visits is disabled"), "{disabled}");
    assert_eq!(late[0]["tables"][0]["table"], "raw.visits.visits", "{late:?}");
    for (head, body) in &all {
        assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
        assert!(!body.to_string().contains("canary"), "{body}");
    }
    // The same alert, tried again.
    assert!(all.iter().skip(2).any(|(_, body)| body["id"] == all[0].1["id"]), "{all:?}");
    let schedules = server.mavis(&["schedule", "list"]).await;
    assert!(schedules.status.success() && !String::from_utf8_lossy(&schedules.stdout).contains("canary"));
    server.stop().await;
}

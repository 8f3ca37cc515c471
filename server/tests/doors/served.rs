//! A server as a process of its own, whose log is kept, and what left it looked through.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Client;

pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) grpc: String,
    pub(crate) http: String,
    pub(crate) token: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server with variables of its own; its data are in `data` of the folder, and what it says in `log`.
pub(crate) async fn serve(folder: &Path, set: &[(&str, &str)]) -> Served {
    let (http, grpc) = (free_port(), free_port());
    let log = File::create(folder.join("log")).unwrap();
    let data = folder.join("data");
    let child = Command::new(env!("CARGO_BIN_EXE_mavis"))
        .args(["serve", "--data"])
        .arg(&data)
        .env("MAVIS_HTTP__LISTEN", format!("127.0.0.1:{http}"))
        .env("MAVIS_GRPC__LISTEN", format!("127.0.0.1:{grpc}"))
        .env("MAVIS_POSTGRES__ENABLED", "false")
        .envs(set.iter().copied())
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let mut served = Served {
        child,
        grpc: format!("127.0.0.1:{grpc}"),
        http: format!("http://127.0.0.1:{http}"),
        token: String::new(),
    };
    let began = Instant::now();
    let asked = Client::new();
    loop {
        let answer = asked.get(format!("{}/health/ready", served.http)).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{}", std::fs::read_to_string(folder.join("log")).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    served.token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    served
}

/// Looks for canaries in what left a server: what was asked or read, and what it said.
pub(crate) fn assert_untold(told: &[(String, Vec<u8>)], canaries: &[&str]) {
    for canary in canaries {
        for (place, bytes) in told {
            let found = bytes.windows(canary.len()).position(|word| word == canary.as_bytes());
            if let Some(at) = found {
                let around = String::from_utf8_lossy(&bytes[at.saturating_sub(300)..at]).into_owned();
                panic!("a canary is in {place}, after: {around}");
            }
        }
    }
}

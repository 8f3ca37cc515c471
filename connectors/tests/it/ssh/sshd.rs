//! A real sshd with keys of its own, and a proxy that can be cut.
#![allow(dead_code, reason = "shared by the tests of several crates")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// A server that is started by the test and ends with it.
#[derive(Debug)]
pub(crate) struct Sshd {
    program: PathBuf,
    folder: TempDir,
    child: Child,
    more: String,
    place: Place,
    pub(crate) port: u16,
}

/// Where a server runs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) address: String,
    /// A command that runs another one there.
    pub(crate) within: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { address: "127.0.0.1".to_owned(), within: Vec::new() }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Sshd {
    /// Starts a server with further lines of configuration; `None` where there is no sshd and the test is left out.
    pub(crate) fn start(more: &str) -> Option<Self> {
        Self::start_at(Place::default(), more)
    }

    /// The same at another place.
    pub(crate) fn start_at(place: Place, more: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("MAVIS_TEST_SSHD").filter(|path| !path.is_empty()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_SSHD is not set");
            eprintln!("skipped: MAVIS_TEST_SSHD is not set; run `make test`");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &path("host_key")]);
        run("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "", "-f", &path("host_rsa")]);
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &path("user_key")]);
        fs::copy(path("user_key.pub"), path("authorized_keys")).unwrap();
        let (program, port) = (PathBuf::from(program), free_port());
        let child = launch(&program, &folder, port, more, &place);
        Some(Self { program, folder, child, more: more.to_owned(), place, port })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn user() -> String {
        let output = Command::new("id").arg("-un").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The `ssh` block that gets in.
    pub(crate) fn block(&self) -> Value {
        json!({ "host": self.place.address, "port": self.port, "user": Self::user(), "key_file": self.file("user_key"),
                "connect_timeout_seconds": 5 })
    }

    /// The block with other fields.
    pub(crate) fn block_with(&self, more: Value) -> Value {
        let mut block = self.block();
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        block
    }

    /// `SHA256:...` of one of its host keys.
    pub(crate) fn fingerprint(&self, key: &str) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.file(key)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Ends the server and every connection to it.
    pub(crate) fn stop(&mut self) {
        // Its connections are processes of their own; they are the server's children.
        let pid = self.child.id().to_string();
        drop(Command::new("pkill").args(["-KILL", "-P", &pid]).status());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        self.child = launch(&self.program, &self.folder, self.port, &self.more, &self.place);
    }

    /// Gives it other host keys, as when it is set up anew.
    pub(crate) fn set_up_anew(&mut self) {
        self.stop();
        for (key, kind) in [("host_key", "ed25519"), ("host_rsa", "rsa")] {
            fs::remove_file(self.file(key)).unwrap();
            let path = self.file(key).display().to_string();
            run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", "", "-f", &path]);
        }
        self.start_again();
    }
}

fn launch(program: &Path, folder: &TempDir, port: u16, more: &str, place: &Place) -> Child {
    let address = &place.address;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "Port {port}\nListenAddress {address}\nHostKey {}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         AuthorizedKeysFile {}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         LogLevel VERBOSE\nMaxStartups 100\n{more}\n",
        path("host_key"),
        path("host_rsa"),
        path("authorized_keys"),
    );
    fs::write(path("config"), config).unwrap();
    let log = fs::OpenOptions::new().create(true).append(true).open(path("log")).unwrap();
    let mut command = Command::new(place.within.first().map_or(program, Path::new));
    if let [_, rest @ ..] = &place.within[..] {
        command.args(rest).arg(program);
    }
    let mut child = command
        .args(["-D", "-e", "-f", &path("config")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if std::net::TcpStream::connect((address.as_str(), port)).is_ok() {
            return child;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(child.kill());
    drop(child.wait());
    panic!("sshd does not answer: {}", fs::read_to_string(path("log")).unwrap_or_default());
}

/// What stands between Mavis and a server: it counts connections, and can cut them.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
    refusing: Arc<AtomicBool>,
    cuts: watch::Sender<u64>,
    /// Bytes from the server after which everything is cut, once.
    after: Arc<AtomicUsize>,
    frozen: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            accepted: Arc::default(),
            refusing: Arc::default(),
            cuts: watch::channel(0).0,
            after: Arc::new(AtomicUsize::new(usize::MAX)),
            frozen: Arc::default(),
        };
        let (accepted, refusing) = (Arc::clone(&proxy.accepted), Arc::clone(&proxy.refusing));
        let (after, frozen) = (Arc::clone(&proxy.after), Arc::clone(&proxy.frozen));
        let cuts = proxy.cuts.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                accepted.fetch_add(1, Ordering::SeqCst);
                let (mut cuts, after, frozen) = (cuts.clone(), Arc::clone(&after), Arc::clone(&frozen));
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        () = carry(near, far, &after, &frozen) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        proxy
    }

    /// How many connections were made.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends the connection that carries these bytes from the server, counted from now on.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.after.store(bytes, Ordering::SeqCst);
    }

    /// Whether the bytes of [`cut_after`](Self::cut_after) have come.
    pub(crate) fn has_cut(&self) -> bool {
        self.after.load(Ordering::SeqCst) == usize::MAX
    }

    /// Whether nothing comes through any more, without anybody being told: a cable that is pulled.
    pub(crate) fn freeze(&self, freeze: bool) {
        self.frozen.store(freeze, Ordering::SeqCst);
    }

    /// Whether new connections end at once.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }
}

async fn carry(near: TcpStream, far: TcpStream, after: &AtomicUsize, frozen: &AtomicBool) {
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let up = one_way(near_in, far_out, frozen, |_| false);
    let down = one_way(far_in, near_out, frozen, |length| {
        let left = after.load(Ordering::SeqCst);
        let cut = left != usize::MAX && left <= length;
        after.store(if cut || left == usize::MAX { usize::MAX } else { left - length }, Ordering::SeqCst);
        cut
    });
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

/// Carries bytes until the end, or until `is_enough` says so of a length.
async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    frozen: &AtomicBool,
    is_enough: impl Fn(usize) -> bool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        while frozen.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if length == 0 || is_enough(length) {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}

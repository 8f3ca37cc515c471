//! Two networks with one link between them, which a test may cut: packets vanish, and nobody is told.

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::apart;
use crate::sshd::Place;

/// Set in the process that has a network to itself.
const INSIDE: &str = "MAVIS_TEST_NETWORK";
/// Carries connections from an address and port to a port of the loopback.
const FORWARDER: &str = "
import socket, sys, threading
def carry(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
    except OSError: pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    near, _ = listener.accept()
    try: far = socket.create_connection(('127.0.0.1', int(sys.argv[3])))
    except OSError:
        near.close()
        continue
    for pair in ((near, far), (far, near)): threading.Thread(target=carry, args=pair, daemon=True).start()
";
const NEAR: &str = "10.213.7.1";
const FAR: &str = "10.213.7.2";

/// The test's own network, and another one.
#[derive(Debug)]
pub(crate) struct Link {
    forwarders: Vec<Child>,
    /// As long as it lives, the other network is there.
    holder: Child,
}

impl Drop for Link {
    fn drop(&mut self) {
        for child in self.forwarders.iter_mut().chain([&mut self.holder]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn ran(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ip(words: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    command
}

/// The network namespace of a process.
fn network(process: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

impl Link {
    /// The link, in a process that may make one. Elsewhere the test of that name is run in such a process, and `None` is
    /// answered: it has passed there, or the machine lets nobody make networks.
    pub(crate) fn of(test: &str) -> Option<Self> {
        if std::env::var_os(INSIDE).is_none() {
            if Command::new("ip").arg("-V").output().is_err() {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "`ip` (iproute2) is not there");
                eprintln!("skipped: `ip` (iproute2) is not there; run `make test`");
                return None;
            }
            // PostgreSQL does not run as root, so that who is nobody special stays who he is.
            let ways: apart::Ways<'_> = &[&["-n"], &["-c", "--keep-caps", "-n"]];
            let probe = "ip link set lo up && ip link add near type veth peer name far && unshare -n true";
            match apart::way(ways, probe, OsStr::new("")) {
                Some(way) => apart::run(way, &format!("faults::{test}"), INSIDE, OsStr::new("1")),
                None => {
                    eprintln!("skipped: this machine's kernel lets nobody make networks of his own (unshare -n, veth)")
                }
            }
            return None;
        }
        let holder = Command::new("unshare").args(["-n", "sleep", "3600"]).spawn().unwrap();
        let link = Self { forwarders: Vec::new(), holder };
        let (own, pid) = (network("self").unwrap(), link.holder.id().to_string());
        let end = Instant::now() + Duration::from_secs(10);
        while network(&pid).is_none_or(|other| other == own) {
            assert!(Instant::now() < end, "no other network");
            std::thread::sleep(Duration::from_millis(10));
        }
        ran(&mut ip("link set lo up"));
        ran(ip("link add near type veth peer name far netns").arg(&pid));
        ran(&mut ip(&format!("addr add {NEAR}/24 dev near")));
        ran(&mut ip("link set near up"));
        link.there("ip link set lo up");
        link.there(&format!("ip addr add {FAR}/24 dev far"));
        link.mend();
        Some(link)
    }

    /// Starts a server of the other network that only knows its loopback: a command `start FOLDER PORT`. The answer is its address
    /// and port on the link. It is killed with the link.
    pub(crate) fn start(&mut self, start: &str, folder: &std::path::Path) -> (String, u16) {
        let place = self.place();
        let mut run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(&place.within[0]);
            command.args(&place.within[1..]).arg(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            self.forwarders.push(command.spawn().unwrap());
        };
        let (inside, port) = ("4401", "4402");
        run(start, &[folder.to_str().unwrap(), inside]);
        run("python3", &["-c", FORWARDER, FAR, port, inside]);
        (FAR.to_owned(), port.parse().unwrap())
    }

    /// Where servers of the other network run.
    pub(crate) fn place(&self) -> Place {
        let within = ["nsenter", "-t", &self.holder.id().to_string(), "-n", "--"].map(str::to_owned);
        Place { address: FAR.to_owned(), within: within.to_vec() }
    }

    fn there(&self, words: &str) {
        let place = self.place();
        ran(Command::new(&place.within[0]).args(&place.within[1..]).args(words.split(' ')));
    }

    /// From now on nothing arrives.
    pub(crate) fn cut(&self) {
        self.there("ip link set far down");
    }

    pub(crate) fn mend(&self) {
        self.there("ip link set far up");
    }

    /// Bytes that came from the other network so far.
    fn came() -> u64 {
        let devices = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let line = devices.lines().find_map(|line| line.trim().strip_prefix("near:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Cuts the link when so many bytes have come from now on; `meanwhile` is done after the count began.
    pub(crate) async fn cut_after(&self, bytes: u64, meanwhile: impl FnOnce() -> String) -> String {
        let until = Self::came() + bytes;
        let answer = meanwhile();
        let end = Instant::now() + Duration::from_secs(60);
        while Self::came() < until {
            assert!(Instant::now() < end, "so many bytes never came");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.cut();
        answer
    }
}

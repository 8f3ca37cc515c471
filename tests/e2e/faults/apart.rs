//! Tests that need something of the machine to themselves: a file system, a network.

use std::{ffi::OsStr, process::Command};

/// Ways in which `unshare` may be called: as root no user namespace is needed, and where those are not allowed it would fail.
pub(crate) type Ways<'a> = &'a [&'a [&'a str]];

/// The way in which a command succeeds.
pub(crate) fn way<'a>(ways: Ways<'a>, probe: &str, argument: &OsStr) -> Option<&'a [&'a str]> {
    let may = |way: &&&[&str]| {
        let tried = Command::new("unshare").args(**way).args(["sh", "-c", probe]).arg(argument).output();
        tried.is_ok_and(|output| output.status.success())
    };
    ways.iter().find(may).copied()
}

/// Runs the test of that name again in a process for which something was unshared; `variable` tells it so. Nothing of this
/// machine is changed, and a process that dies leaves nothing behind.
pub(crate) fn run(way: &[&str], test: &str, variable: &str, value: &OsStr) {
    let status = Command::new("unshare")
        .args(way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, value)
        .status()
        .unwrap();
    assert!(status.success(), "it failed in the process of its own");
}

//! Whether an SSH server is the one that it was.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use russh::{
    Preferred,
    keys::{Algorithm, HashAlg, PublicKey, known_hosts::known_host_keys_path},
};

use super::params::SshHop;

/// A server's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519`, `ssh-rsa`, ...
    pub algorithm: String,
    /// `SHA256:...`, as `ssh-keygen -l` writes it.
    pub fingerprint: String,
    /// The key as a `known_hosts` file has it, without the host.
    pub line: String,
}

impl HostKey {
    pub(super) fn of(key: &PublicKey) -> Self {
        let algorithm = key.algorithm().as_str().to_owned();
        let mut bare = key.clone();
        bare.set_comment("");
        let line = bare.to_openssh().unwrap_or_default();
        Self { algorithm, fingerprint: key.fingerprint(HashAlg::Sha256).to_string(), line }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.fingerprint)
    }
}

/// Where keys of servers that were trusted on first use are kept.
#[async_trait]
pub trait HostKeys: Send + Sync + fmt::Debug + 'static {
    /// The key that was recorded for a server; hosts are compared as they are declared, in lower case.
    ///
    /// # Errors
    /// Why it cannot be told; nobody is trusted then.
    async fn known(&self, host: &str, port: u16) -> Result<Option<HostKey>, String>;

    /// Records the key of a server that has none yet, and answers the key that stands there now: somebody else may have
    /// been first.
    ///
    /// # Errors
    /// Why it cannot be recorded; the server is not trusted then.
    async fn record(&self, host: &str, port: u16, key: &HostKey) -> Result<HostKey, String>;
}

/// Keys kept for as long as the process runs: for tests and for commands without a server.
#[derive(Debug, Default)]
pub struct Remembered {
    keys: Mutex<HashMap<(String, u16), HostKey>>,
}

#[async_trait]
impl HostKeys for Remembered {
    async fn known(&self, host: &str, port: u16) -> Result<Option<HostKey>, String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keys.get(&(host.to_ascii_lowercase(), port)).cloned())
    }

    async fn record(&self, host: &str, port: u16, key: &HostKey) -> Result<HostKey, String> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keys.entry((host.to_ascii_lowercase(), port)).or_insert_with(|| key.clone()).clone())
    }
}

/// What is asked of a server's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// One of these fingerprints.
    Pinned(Vec<String>),
    /// One that the file has; where it has none, whether the key is trusted and recorded.
    File { path: PathBuf, first_use: bool },
    /// The recorded one; where there is none, it is recorded.
    FirstUse,
    /// The recorded one; others are refused.
    Recorded,
}

impl Trust {
    /// # Errors
    /// Text that says which field is wrong.
    pub(super) fn of(hop: &SshHop) -> Result<Self, String> {
        if !hop.host_keys.is_empty() {
            if let Some(wrong) = hop.host_keys.iter().find(|pin| !pin.starts_with("SHA256:")) {
                return Err(format!(
                    "`{wrong}` of `ssh.host_keys` is no fingerprint: write it as `ssh-keygen -l` does, `SHA256:...`"
                ));
            }
            if hop.known_hosts.is_some() {
                return Err("`ssh.host_keys` and `ssh.known_hosts` exclude each other".to_owned());
            }
            // Some tools write the padding, OpenSSH does not.
            return Ok(Self::Pinned(hop.host_keys.iter().map(|pin| pin.trim_end_matches('=').to_owned()).collect()));
        }
        Ok(match (&hop.known_hosts, hop.trust_on_first_use) {
            (Some(path), first_use) => Self::File { path: path.clone(), first_use: first_use.unwrap_or(false) },
            (None, Some(false)) => Self::Recorded,
            (None, _) => Self::FirstUse,
        })
    }

    /// The keys that are known, for the order in which algorithms are asked for: a server has several keys, and shows the
    /// one that its client asks for first.
    async fn known(&self, keys: &dyn HostKeys, host: &str, port: u16) -> Result<Vec<PublicKey>, String> {
        let mut known = Vec::new();
        if let Self::File { path, .. } = self {
            known = in_file(path, host, port)?;
        }
        if known.is_empty() && !matches!(self, Self::Pinned(_)) {
            let recorded = keys.known(host, port).await?;
            known.extend(recorded.and_then(|key| PublicKey::from_openssh(&key.line).ok()));
        }
        Ok(known)
    }

    /// Algorithms of host keys to ask for, those of known keys first, without those of `refused`.
    pub(super) async fn algorithms(
        &self,
        keys: &dyn HostKeys,
        host: &str,
        port: u16,
        refused: &[Algorithm],
    ) -> Result<Vec<Algorithm>, String> {
        let known: Vec<Algorithm> = self.known(keys, host, port).await?.iter().map(PublicKey::algorithm).collect();
        let mut algorithms: Vec<Algorithm> = Preferred::DEFAULT.key.to_vec();
        algorithms.retain(|algorithm| !refused.iter().any(|refused| alike(refused, algorithm)));
        algorithms.sort_by_key(|algorithm| !known.iter().any(|known| alike(known, algorithm)));
        Ok(algorithms)
    }

    /// Whether the key is the server's.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) async fn check(
        &self,
        keys: &dyn HostKeys,
        host: &str,
        port: u16,
        shown: &PublicKey,
    ) -> Result<(), String> {
        let key = HostKey::of(shown);
        if let Self::Pinned(pins) = self {
            return if pins.contains(&key.fingerprint) {
                Ok(())
            } else {
                Err(format!(
                    "its host key is {key}, and none of those pinned ({}); {ADVICE}, put the new fingerprint into \
                     `host_keys`",
                    pins.join(", ")
                ))
            };
        }
        if let Self::File { path, first_use } = self {
            let known = in_file(path, host, port)?;
            if known.iter().any(|known| known.key_data() == shown.key_data()) {
                return Ok(());
            }
            if !known.is_empty() {
                let known: Vec<String> = known.iter().map(|known| HostKey::of(known).to_string()).collect();
                return Err(format!(
                    "its host key changed: it is {key}, and `{}` has {}; {ADVICE}, replace its line there",
                    path.display(),
                    known.join(", ")
                ));
            }
            if !first_use {
                return Err(format!(
                    "its host key {key} is not in `{}`; compare the fingerprint with the administrator's and add it \
                     (`ssh-keyscan -p {port} {host}`), or set `trust_on_first_use`",
                    path.display()
                ));
            }
        }
        let recorded = match keys.known(host, port).await? {
            Some(recorded) => recorded,
            None if *self == Self::Recorded => {
                return Err(format!(
                    "its host key {key} is not known; compare the fingerprint with the administrator's and put it into \
                     `host_keys`"
                ));
            }
            None => {
                let recorded = keys.record(host, port, &key).await?;
                tracing::info!(host, port, fingerprint = %recorded.fingerprint,
                    "the host key {recorded} of `{host}:{port}` is trusted on first use and recorded");
                recorded
            }
        };
        if recorded.line == key.line && !key.line.is_empty() {
            return Ok(());
        }
        Err(format!(
            "its host key changed: it is {key}, and {recorded} was recorded when it was first seen; {ADVICE}, run \
             `mavis source forget-host-key {host}:{port}`"
        ))
    }
}

const ADVICE: &str = "somebody may be in between. If the server was set up anew and its administrator confirms the \
                      fingerprint";

/// Keys of a host in a file of OpenSSH's form.
fn in_file(path: &Path, host: &str, port: u16) -> Result<Vec<PublicKey>, String> {
    let why = |reason: String| format!("`known_hosts` file `{}`: {reason}", path.display());
    // The library takes a file that is not there for an empty one.
    if let Err(error) = std::fs::File::open(path) {
        return Err(why(error.kind().to_string()));
    }
    let keys = known_host_keys_path(host, port, path).map_err(|error| why(format!("a line is no key ({error})")))?;
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Whether a key of the one is a key of the other: RSA keys are the same whatever hash they sign with.
fn alike(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCoOR35jPoaPndZpJ0gSDxo1jc/fxoyorH+7xQP+3GRFO2Qv6nQmt89DstQJq8h\
        LVzIPd+ZqwZ05PUFoABwtt6BMslsYgLB+kJFKw+/MW03s79xFByhv94IXFw55B5OJkMzZLfmIjzYMorCX9brT+sb9zEBdXl2zfWR\
        xqF4DV30O9AK3G+sJfg3j02eLCeE7GD1Egh7Ld8RNWqdeNS/jfU1opBhI3JKPqFmYyUftpAv7a8gjtByY/Zhif09Dz5Cqrn6XgQG\
        vnM+7qk0lBImQPQpFcfIcpXYZXPmREtzFEPs8KvSqxmcnh9W6ZMU0KnKgnqig5zvJuTFH69QEmoLHKoD";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn hop() -> SshHop {
        serde_json::from_value(serde_json::json!({ "host": "gate", "user": "u" })).unwrap()
    }

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    #[tokio::test]
    async fn the_first_key_is_recorded_and_another_one_refused_with_both_fingerprints() {
        let keys = Remembered::default();
        let trust = Trust::of(&hop()).unwrap();
        trust.check(&keys, "Gate", 22, &key(ONE)).await.unwrap();
        trust.check(&keys, "gate", 22, &key(ONE)).await.unwrap();
        trust.check(&keys, "gate", 2222, &key(OTHER)).await.unwrap();
        let reason = trust.check(&keys, "gate", 22, &key(OTHER)).await.unwrap_err();
        for part in [&HostKey::of(&key(ONE)).fingerprint, &HostKey::of(&key(OTHER)).fingerprint] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(reason.contains("changed") && reason.contains("mavis source forget-host-key gate:22"), "{reason}");
    }

    #[rstest]
    #[case(&["SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"], ONE, true)]
    #[case(&["SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ="], ONE, true)]
    #[case(&["SHA256:x", "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"], ONE, true)]
    #[case(&["SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"], OTHER, false)]
    #[tokio::test]
    async fn a_pinned_server_must_show_one_of_its_pins(#[case] pins: &[&str], #[case] shown: &str, #[case] fits: bool) {
        let host_keys = pins.iter().map(|pin| (*pin).to_owned()).collect();
        let trust = Trust::of(&SshHop { host_keys, ..hop() }).unwrap();
        assert_eq!(trust.check(&Remembered::default(), "gate", 22, &key(shown)).await.is_ok(), fits);
    }

    #[test]
    fn a_pin_that_is_no_fingerprint_is_told() {
        let wrong = SshHop { host_keys: vec!["aa:bb".to_owned()], ..hop() };
        assert!(Trust::of(&wrong).unwrap_err().contains("ssh-keygen -l"));
    }

    #[tokio::test]
    async fn a_known_hosts_file_decides_and_what_it_does_not_know_is_refused_unless_asked_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::fs::write(&path, format!("# gates\ngate,10.0.0.1 {ONE}\n[far]:2222 {OTHER} a comment\n")).unwrap();
        let file = SshHop { known_hosts: Some(path.clone()), ..hop() };
        let trust = Trust::of(&file).unwrap();
        let keys = Remembered::default();
        trust.check(&keys, "10.0.0.1", 22, &key(ONE)).await.unwrap();
        trust.check(&keys, "far", 2222, &key(OTHER)).await.unwrap();
        assert!(trust.check(&keys, "gate", 22, &key(OTHER)).await.unwrap_err().contains("changed"));
        assert!(trust.check(&keys, "new", 22, &key(ONE)).await.unwrap_err().contains("is not in"));
        let lenient = Trust::of(&SshHop { trust_on_first_use: Some(true), ..file }).unwrap();
        lenient.check(&keys, "new", 22, &key(ONE)).await.unwrap();
        assert!(lenient.check(&keys, "new", 22, &key(OTHER)).await.unwrap_err().contains("changed"));
        assert!(lenient.check(&keys, "gate", 22, &key(OTHER)).await.is_err(), "the file's word stands");
        let missing = Trust::File { path: folder.path().join("none"), first_use: true };
        assert!(missing.check(&keys, "gate", 22, &key(ONE)).await.is_err());
    }

    #[tokio::test]
    async fn known_algorithms_are_asked_for_first() {
        let keys = Remembered::default();
        let order = Trust::FirstUse.algorithms(&keys, "gate", 22, &[Algorithm::Ed25519]).await.unwrap();
        assert!(!order.contains(&Algorithm::Ed25519) && !order.is_empty());
        let rsa = HostKey { algorithm: "ssh-rsa".into(), fingerprint: "SHA256:x".into(), line: RSA.into() };
        keys.record("gate", 22, &rsa).await.unwrap();
        let order = Trust::FirstUse.algorithms(&keys, "gate", 22, &[]).await.unwrap();
        assert!(matches!(order[0], Algorithm::Rsa { hash: Some(_) }), "{order:?}");
    }
}

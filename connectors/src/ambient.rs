use crate::{
    Closed, Error, Secrets,
    ssh::{SshParams, Tunnel, Tunnels},
};

/// What a source is given to connect with besides its parameters.
#[derive(Debug, Clone)]
pub struct Ambient {
    pub secrets: Secrets,
    pub tunnels: Tunnels,
    /// What of this machine is not read.
    pub closed: Closed,
}

impl Ambient {
    /// The way that a source's `ssh` block declares, where it has one. Opens nothing.
    ///
    /// # Errors
    /// [`Error::Params`], [`Error::MissingSecret`].
    pub fn tunnel(&self, source: &str, ssh: Option<&SshParams>) -> Result<Option<Tunnel>, Error> {
        ssh.map(|ssh| self.tunnels.tunnel(source, ssh, &self.secrets)).transpose()
    }
}

use crate::{Error, Stage};

/// Why a way could not be opened; several who waited for it are told the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    endpoint: String,
    stage: Stage,
    reason: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unreachable,
    Refused,
    Denied,
}

impl Trouble {
    /// Nothing answers for now.
    pub(super) fn unreachable(endpoint: &str, stage: Stage, reason: impl Into<String>) -> Self {
        Self { endpoint: endpoint.to_owned(), stage, reason: reason.into(), kind: Kind::Unreachable }
    }

    /// The other side, or we, said no; somebody has to change something.
    pub(super) fn refused(endpoint: &str, stage: Stage, reason: impl Into<String>) -> Self {
        Self { endpoint: endpoint.to_owned(), stage, reason: reason.into(), kind: Kind::Refused }
    }

    /// A login was tried and not granted.
    pub(super) fn denied(endpoint: &str, reason: impl Into<String>) -> Self {
        Self { endpoint: endpoint.to_owned(), stage: Stage::Ssh, reason: reason.into(), kind: Kind::Denied }
    }

    /// Whether trying again soon may do harm: servers lock out who fails too often.
    pub(super) fn is_denied(&self) -> bool {
        self.kind == Kind::Denied
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// For a connection test: which server, and what is wrong.
    pub(super) fn message(&self) -> String {
        format!("{}: {}", self.endpoint, self.reason)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let Trouble { endpoint, stage, reason, kind } = trouble;
        match kind {
            Kind::Unreachable => Error::Unreachable { endpoint, stage, reason },
            Kind::Refused | Kind::Denied => Error::Refused { endpoint, stage, reason },
        }
    }
}

use std::fmt;

use tonic::{Code, Status};

/// Why a command did not do what it was asked, and the exit code that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: u8,
    /// One sentence that says what to do; empty where everything was said already.
    pub(super) message: String,
}

impl Failure {
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const UNAUTHORISED: u8 = 4;

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Self::FAILED, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Self::USAGE, message: message.into() }
    }

    /// A failure that was told in full before.
    pub(super) fn told() -> Self {
        Self { exit: Self::FAILED, message: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that has enough (`| head`) is not a failure worth a word.
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::told() } else { Self::failed(error.to_string()) }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // A status that carries a cause was made on this side, when the connection broke.
        if matches!(status.code(), Code::Unknown | Code::Internal) && std::error::Error::source(&status).is_some() {
            let message = "the connection to the server broke: is it running, and does it speak TLS (--ca-cert)?";
            return Self { exit: Self::UNREACHABLE, message: message.to_owned() };
        }
        if status.message().contains("compression flag") {
            // What a reader of gRPC frames makes of an answer in HTTP/1 or HTML.
            let message = "what answers there does not speak gRPC: is this the server's HTTP door? \
                           --server wants the gRPC door (50051 where nothing else was said)";
            return Self { exit: Self::UNREACHABLE, message: message.to_owned() };
        }
        let exit = match status.code() {
            // A statement that nobody may run is the statement's fault, not the token's.
            Code::PermissionDenied if status.message().starts_with(mavis_sql::REFUSED) => Self::FAILED,
            Code::Unavailable => Self::UNREACHABLE,
            Code::Unauthenticated | Code::PermissionDenied => Self::UNAUTHORISED,
            _ => Self::FAILED,
        };
        let message = match status.code() {
            Code::Unimplemented => "the server does not know this command: it is another version".to_owned(),
            _ if status.message().is_empty() => format!("the server answered: {}", status.code()),
            _ => status.message().to_owned(),
        };
        Self { exit, message }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Status::unavailable("gone"), 3)]
    #[case(Status::unauthenticated("who"), 4)]
    #[case(Status::permission_denied("no"), 4)]
    #[case(Status::not_found("what"), 1)]
    #[case(crate::grpc::status(mavis_sql::Error::Refused { reason: "one statement at a time".to_owned() }), 1)]
    #[case(Status::from(crate::auth::Denied::Forbidden), 4)]
    #[case(Status::internal("protocol error: received message with invalid compression flag: 72"), 3)]
    fn each_kind_of_failure_has_its_exit_code(#[case] status: Status, #[case] exit: u8) {
        assert_eq!(Failure::from(status).exit, exit);
    }
}

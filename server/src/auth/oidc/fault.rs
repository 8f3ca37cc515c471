/// Why a signed token is not taken. None of the words repeats what the token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be read")]
    Malformed,
    #[error("its signature is of a kind that is not taken here")]
    Algorithm,
    #[error("its issuer is not configured here")]
    Issuer,
    #[error("its issuer has no such key")]
    Key,
    #[error("its signature is not its issuer's")]
    Signature,
    #[error("it is for another audience")]
    Audience,
    #[error("it has expired: get a new one")]
    Expired,
    #[error("it is not good yet: its time begins later")]
    Early,
    #[error("it lacks a claim that is needed, or has one of another kind")]
    Claims,
    /// Good, but nobody here.
    #[error("none of its groups has a role here: ask an administrator")]
    NoRole,
    /// Not the token's fault.
    #[error("its issuer cannot be asked for its keys, and those that were known are too old: try again later")]
    Unreachable,
}

use chrono::{DateTime, Utc};
use mavis_fhir::ResourceType;

/// Which resource an update or a deletion is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Id(String),
    /// The query of a conditional interaction, as it stands in the URL, without `?`.
    Query(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// `body`: the resource's JSON; an id in it does not count. `if_none_exist`: a query.
    Create {
        body: String,
        if_none_exist: Option<String>,
    },
    /// `if_match`: the version that must be the newest one.
    Update {
        which: Which,
        body: String,
        if_match: Option<i64>,
    },
    Delete {
        which: Which,
        if_match: Option<i64>,
    },
}

/// One interaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub resource: ResourceType,
    pub operation: Operation,
    /// What others of the same write call this one: `urn:uuid:...`, or a URL.
    pub full_url: Option<String>,
}

/// How several interactions belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// All or none (a transaction): references between them are resolved.
    All,
    /// Each for itself (a batch).
    Each,
}

/// What an interaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Created,
    Updated,
    /// The content was there already: no new version.
    Unchanged,
    /// A conditional create met the resource that it would have made.
    Existing,
    Deleted,
    /// There was nothing to delete.
    Nothing,
}

/// A resource after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub resource: ResourceType,
    pub id: String,
    /// The newest version; 0 where there never was one.
    pub version: i64,
    pub last_updated: DateTime<Utc>,
    pub effect: Effect,
    /// The text that is stored, where a version was made; `id` and `meta` are put in when it is read.
    pub text: Option<String>,
    /// What is unusual about it, and was kept: path and message.
    pub warnings: Vec<(String, String)>,
}

/// Why an interaction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request does not hold together.
    Invalid,
    /// The resource is not valid R4.
    Unprocessable,
    /// A version, or the number of matches, is not what the request demands.
    Precondition,
    /// It contradicts what is there.
    Conflict,
    /// Something that this server does not do.
    Unsupported,
    /// The caller may not do it.
    Forbidden,
    /// For the caller there is no such resource.
    Missing,
}

/// A refused interaction; nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Path of an element, where it is about one, and what is wrong; never a value.
    pub issues: Vec<(Option<String>, String)>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, issues: vec![(None, message.into())] }
    }
}

/// Why a write was not answered.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An interaction of a transaction was refused, and with it all of them.
    #[error("entry {index} is refused")]
    Refused { index: usize, refusal: Refusal },
    /// Nothing was written; the same request may be taken later.
    #[error("{reason}")]
    Busy { reason: String },
    /// The write was promised, and could not be completed yet. It will be.
    #[error("the write is recorded and will be completed; read the resource before writing it again")]
    Recorded,
    /// Nothing was written.
    #[error("{reason}")]
    Failed { reason: String },
}

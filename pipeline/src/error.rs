use mavis_types::RunId;

/// Why the pipeline refused a request. What goes wrong inside a run is in the run's log and state, not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {what} `{name}`{hint}")]
    NotFound { what: &'static str, name: String, hint: String },
    #[error("{what} `{name}` exists already")]
    Exists { what: &'static str, name: String },
    #[error("{reason}")]
    Invalid { reason: String },
    #[error("run {run} is {state} and cannot be {wanted}")]
    WrongState { run: RunId, state: String, wanted: &'static str },
    #[error("`{name}` is busy: {reason}")]
    Busy { name: String, reason: String },
    #[error(transparent)]
    Source(#[from] mavis_connectors::Error),
    #[error(transparent)]
    Lake(#[from] mavis_lake::Error),
    #[error(transparent)]
    Catalog(mavis_catalog::Error),
}

use mavis_types::Principal;
use tonic::{Request, Status};

use super::{handle::Handles, running::Running};
use crate::{App, auth::Denied};

/// Answers Flight SQL commands.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub(super) app: App,
    pub(super) handles: Handles,
    pub(super) running: Running,
}

impl Commands {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone(), handles: Handles::new(*app.signing_key), running: Running::default() }
    }
}

/// Who sent a request; the layer before the service put it there.
pub(super) fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(|| Denied::Missing.into())
}

use mavis_types::Principal;
use tonic::{Request, Status};

use super::{
    handle::Handles,
    prepared::Bound,
    running::Running,
    session::{Kept, Sessions},
    spread::Spreads,
};
use crate::{
    App,
    auth::{Denied, Lasting},
};

/// Answers Flight SQL commands.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub(super) app: App,
    pub(super) handles: Handles,
    pub(super) running: Running,
    pub(super) bound: Bound,
    pub(super) spreads: Spreads,
    pub(super) sessions: Sessions,
}

/// Who asks, in which session, with the wishes of this request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) session: Kept,
    /// For answers that take long.
    pub(super) lasting: Option<Lasting>,
}

impl Commands {
    pub(super) fn new(app: &App) -> Self {
        let handles = Handles::new(*app.signing_key);
        Self {
            app: app.clone(),
            sessions: Sessions::new(handles.clone()),
            handles,
            running: Running::default(),
            bound: Bound::default(),
            spreads: Spreads::default(),
        }
    }

    /// # Errors
    /// UNAUTHENTICATED for a session that is over or somebody else's; INVALID_ARGUMENT for a header that cannot be read.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let principal = principal(request)?;
        let session = self.sessions.of(request.metadata(), &principal)?;
        let lasting = request.extensions().get::<Lasting>().cloned();
        Ok(Caller { principal, session, lasting })
    }
}

/// Who sent a request; the layer before the service put it there.
pub(super) fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(|| Denied::Missing.into())
}

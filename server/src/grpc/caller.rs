use mavis_types::Principal;
use tonic::{Request, Status};

use crate::{
    App,
    auth::{Denied, Door},
};

/// Who sent a request. The layer before every service put it there; a request without one never got past it.
pub(super) fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(|| Denied::Missing.into())
}

/// The caller, if its role may engineer: change sources, runs, mappings, quarantine and tables.
pub(super) async fn engineer<T>(app: &App, request: &Request<T>, action: &str) -> Result<Principal, Status> {
    let principal = principal(request)?;
    app.auth.permit(&principal, principal.may_engineer(), action, Door::Grpc).await?;
    Ok(principal)
}

/// The caller, if its role may administer tokens.
pub(super) async fn admin<T>(app: &App, request: &Request<T>, action: &str) -> Result<Principal, Status> {
    let principal = principal(request)?;
    app.auth.permit(&principal, principal.may_administer(), action, Door::Grpc).await?;
    Ok(principal)
}

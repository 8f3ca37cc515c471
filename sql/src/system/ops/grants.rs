use async_stream::try_stream;
use chrono::Utc;
use futures::StreamExt;
use mavis_types::{Role, Scope};

use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, word},
};

pub(in crate::system) const GRANTS: Definition = Definition {
    schema: "ops",
    table: "grants",
    comment: "Who may read what: one line per token and schema, no schema for everything. Others than administrators see \
              their own.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

/// A token's leave to read one schema, or everything.
struct Grant {
    principal: String,
    role: Role,
    zone: Option<String>,
    schema: Option<String>,
}

fn sheet(grants: &[Grant]) -> Sheet {
    Sheet::default()
        .text("principal", grants.iter().map(|grant| grant.principal.as_str()))
        .text("role", grants.iter().map(|grant| word(&grant.role)))
        .maybe_text("zone", grants.iter().map(|grant| grant.zone.as_deref()))
        .maybe_text("schema_name", grants.iter().map(|grant| grant.schema.as_deref()))
}

fn grants(principal: &str, role: Role, scope: &Scope) -> Vec<Grant> {
    let principal = principal.to_owned();
    match scope {
        Scope::All => vec![Grant { principal, role, zone: None, schema: None }],
        Scope::Schemas(list) => list
            .iter()
            .map(|grant| Grant {
                principal: principal.clone(),
                role,
                zone: Some(grant.zone.to_string()),
                schema: Some(grant.schema.clone()),
            })
            .collect(),
    }
}

fn read(request: Request) -> Lines {
    try_stream! {
        let principal = &request.principal;
        let lines: Vec<Grant> = if principal.may_administer() {
            let now = Utc::now();
            let mut tokens = request.catalog.tokens().await?;
            tokens.retain(|token| token.revoked_at.is_none() && token.expires_at.is_none_or(|at| at > now));
            tokens.iter().flat_map(|token| grants(&token.name, token.role, &token.scope)).collect()
        } else {
            grants(&principal.name, principal.role, &principal.scope)
        };
        yield sheet(&lines).batch()?;
    }
    .boxed()
}

use async_stream::try_stream;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use mavis_catalog::{Grantee, Right, RightKind};
use mavis_types::{Place, Role, Scope};

use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const GRANTS: Definition = Definition {
    schema: "ops",
    table: "grants",
    comment: "Who may see what: leaves, row filters, masks, emergencies and groups, and what tokens may read by themselves. \
              No zone is everything, no schema a whole zone, no table a whole schema. Others than administrators see what \
              holds for them.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

/// Something that was granted, or that a token has by itself.
struct Grant {
    grantee_kind: &'static str,
    grantee: String,
    privilege: String,
    on: [Option<String>; 3],
    column: Option<String>,
    detail: Option<String>,
    by: Option<String>,
    at: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

fn sheet(grants: &[Grant]) -> Sheet {
    Sheet::default()
        .text("grantee_kind", grants.iter().map(|grant| grant.grantee_kind))
        .text("grantee", grants.iter().map(|grant| grant.grantee.as_str()))
        .text("privilege", grants.iter().map(|grant| grant.privilege.as_str()))
        .maybe_text("zone", grants.iter().map(|grant| grant.on[0].as_deref()))
        .maybe_text("schema_name", grants.iter().map(|grant| grant.on[1].as_deref()))
        .maybe_text("table_name", grants.iter().map(|grant| grant.on[2].as_deref()))
        .maybe_text("column_name", grants.iter().map(|grant| grant.column.as_deref()))
        .maybe_text("detail", grants.iter().map(|grant| grant.detail.as_deref()))
        .maybe_text("granted_by", grants.iter().map(|grant| grant.by.as_deref()))
        .maybe_time("granted_at", grants.iter().map(|grant| grant.at))
        .maybe_time("expires_at", grants.iter().map(|grant| grant.until))
}

fn parts(place: &Place) -> [Option<String>; 3] {
    match place {
        Place::Everything => [None, None, None],
        Place::Zone(zone) => [Some(zone.to_string()), None, None],
        Place::Schema(zone, schema) => [Some(zone.to_string()), Some(schema.clone()), None],
        Place::Table(table) => [Some(table.zone.to_string()), Some(table.schema.clone()), Some(table.table.clone())],
    }
}

/// `told`: whether the condition of a filter is shown; it may hold values.
fn of_right(right: Right, told: bool) -> Grant {
    let (privilege, column, detail) = match right.kind {
        RightKind::Read { column } => ("select", column, None),
        RightKind::Write => ("modify", None, None),
        RightKind::Open => ("break glass", None, None),
        RightKind::Opened { reason } => ("open emergency", None, Some(reason)),
        RightKind::Filter { name, condition } => {
            ("row filter", None, Some(if told { format!("{name}: {condition}") } else { name }))
        }
        RightKind::Mask { column, mask } => ("mask", Some(column), Some(mask.as_str().to_owned())),
        RightKind::Member { group } => ("role", None, Some(group)),
    };
    let (grantee_kind, grantee) = match right.to {
        Grantee::User(name) => ("user", name),
        Grantee::Role(name) => ("role", name),
        Grantee::Public => ("public", "public".to_owned()),
    };
    Grant {
        grantee_kind,
        grantee,
        privilege: privilege.to_owned(),
        on: parts(&right.on),
        column,
        detail,
        by: Some(right.granted_by),
        at: Some(right.granted_at),
        until: right.expires_at,
    }
}

/// What a token may read by itself.
fn of_token(name: &str, role: Role, scope: &Scope, until: Option<DateTime<Utc>>) -> Vec<Grant> {
    let grant = |on: Place| Grant {
        grantee_kind: "user",
        grantee: name.to_owned(),
        privilege: "select".to_owned(),
        on: parts(&on),
        column: None,
        detail: Some(format!("token of role {}", role.as_str())),
        by: None,
        at: None,
        until,
    };
    match scope {
        Scope::All => vec![grant(Place::Everything)],
        Scope::Schemas(list) => list.iter().map(|one| grant(Place::Schema(one.zone, one.schema.clone()))).collect(),
    }
}

fn read(request: Request) -> Lines {
    try_stream! {
        let principal = &request.principal;
        let is_admin = principal.may_administer();
        let mut lines: Vec<Grant> = Vec::new();
        if is_admin {
            let now = Utc::now();
            let mut tokens = request.catalog.tokens().await?;
            tokens.retain(|token| token.revoked_at.is_none() && token.expires_at.is_none_or(|at| at > now));
            for token in &tokens {
                lines.extend(of_token(&token.name, token.role, &token.scope, token.expires_at));
            }
        } else {
            lines.extend(of_token(&principal.name, principal.role, &principal.scope, None));
        }
        let holds = |to: &Grantee| match to {
            Grantee::User(name) => *name == principal.name,
            Grantee::Role(role) => role == principal.role.as_str() || principal.groups.contains(role),
            Grantee::Public => true,
        };
        let rights = request.catalog.rights().await?.into_iter().filter(|right| is_admin || holds(&right.to));
        lines.extend(rights.map(|right| of_right(right, is_admin)));
        yield sheet(&lines).batch()?;
    }
    .boxed()
}

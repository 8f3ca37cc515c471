use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use mavis_catalog::{Catalog, Column, Grantee, NewAudit, NewRight, Right, RightKind};
use mavis_fhir::{
    ResourceType,
    definitions::{self, root},
};
use mavis_types::{Mask, Place, Principal, TableName, Zone};

use super::statement::{Leave, Statement};
use crate::{
    Error,
    catalogs::{View, schema_of},
    dialect::with_user,
    engine::Inner,
    fault,
};

/// Columns of a resource that other columns follow: they are not masked by themselves.
const FOLLOW: [&str; 4] = ["id", "resource", "__version", "__last_updated"];

/// Does what a statement about rights says, and audits it. Answers what was done, in words.
///
/// # Errors
/// [`Error::Refused`] for who may not, [`Error::Invalid`] and [`Error::NoSuchTable`] for what is not there.
pub(crate) async fn act(inner: &Arc<Inner>, principal: &Arc<Principal>, statement: Statement) -> Result<String, Error> {
    let (action, object) = told(&statement);
    let done = match allowed(principal, &statement) {
        Ok(()) => perform(inner, principal, statement).await,
        Err(error) => Err(error),
    };
    let entry = NewAudit {
        actor: principal.name.clone(),
        action: action.to_owned(),
        object,
        allowed: !matches!(done, Err(Error::Refused { .. })),
        door: "sql".to_owned(),
        rows: None,
    };
    match &done {
        Ok(_) | Err(Error::Refused { .. }) => inner.lake.catalog().audit(&entry).await?,
        Err(_) => {}
    }
    done
}

fn allowed(principal: &Principal, statement: &Statement) -> Result<(), Error> {
    let reason = match statement {
        Statement::Show { .. } | Statement::CloseGlass => return Ok(()),
        Statement::BreakGlass { on, .. } => {
            if principal.smart.is_none() && principal.rights.may_open.iter().any(|place| place.covers_place(on)) {
                return Ok(());
            }
            format!("you may not break the glass on {on}: an administrator grants it (GRANT BREAK GLASS ON ... TO ...)")
        }
        _ if principal.may_administer() => return Ok(()),
        _ => "only an administrator grants and revokes".to_owned(),
    };
    Err(Error::Refused { reason })
}

/// The action and its object as the audit has them: without conditions, for they hold values.
fn told(statement: &Statement) -> (&'static str, String) {
    let list = |grantees: &[Grantee]| grantees.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let words = |leaves: &[Leave]| {
        let words = leaves.iter().map(|leave| match leave {
            Leave::Read(columns) if columns.is_empty() => "select".to_owned(),
            Leave::Read(columns) => format!("select ({})", columns.join(", ")),
            Leave::Write => "modify".to_owned(),
            Leave::Open => "break glass".to_owned(),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    match statement {
        Statement::Grant { leaves, on, to } => ("grant", format!("{} on {on} to {}", words(leaves), list(to))),
        Statement::Revoke { leaves, on, from } => ("revoke", format!("{} on {on} from {}", words(leaves), list(from))),
        Statement::Join { groups, to } => ("grant", format!("role {} to {}", groups.join(", "), list(to))),
        Statement::Leave { groups, from } => ("revoke", format!("role {} from {}", groups.join(", "), list(from))),
        Statement::Filter { name, on, to, .. } => ("policy.create", format!("{name} on {on} to {}", list(to))),
        Statement::Unfilter { name, on, from } => ("policy.drop", format!("{name} on {on} {}", list(from))),
        Statement::Mask { on, columns, to, mask } => {
            ("mask.create", format!("{on} ({}) to {} using {}", columns.join(", "), list(to), mask.as_str()))
        }
        Statement::Unmask { on, columns, from } => {
            ("mask.drop", format!("{on} ({}) from {}", columns.join(", "), list(from)))
        }
        Statement::BreakGlass { on, minutes, reason } => {
            ("glass.break", format!("{on} for {minutes} minutes: {reason}"))
        }
        Statement::CloseGlass => ("glass.close", String::new()),
        Statement::Show { .. } => ("grants.show", String::new()),
    }
}

async fn perform(inner: &Arc<Inner>, principal: &Arc<Principal>, statement: Statement) -> Result<String, Error> {
    let catalog = inner.lake.catalog();
    let grant = |kinds: Vec<RightKind>, on: &Place, to: &[Grantee]| -> Vec<NewRight> {
        let each = to.iter().flat_map(|to| kinds.iter().map(move |kind| (kind.clone(), to.clone())));
        each.map(|(kind, to)| NewRight {
            kind,
            to,
            on: on.clone(),
            granted_by: principal.name.clone(),
            expires_at: None,
        })
        .collect()
    };
    let rights = match statement {
        Statement::Grant { leaves, on, to } => {
            let mut kinds = Vec::new();
            for leave in leaves {
                kinds.extend(kinds_of(inner, leave, &on).await?);
            }
            grant(kinds, &on, &to)
        }
        Statement::Join { groups, to } => {
            let kinds = groups.into_iter().map(|group| RightKind::Member { group }).collect();
            grant(kinds, &Place::Everything, &to)
        }
        Statement::Filter { name, on, to, condition } => {
            is_current(&on)?;
            let columns = columns(inner, &on).await?;
            let view = View::new(inner, principal, None);
            let asked = with_user(&condition, &principal.name);
            view.condition(&on, &schema_of(&columns)?, &asked).await?;
            grant(vec![RightKind::Filter { name, condition }], &Place::Table(on), &to)
        }
        Statement::Mask { on, columns: names, to, mask } => {
            is_current(&on)?;
            let known = columns(inner, &on).await?;
            let mut kinds = Vec::new();
            for name in names {
                let column = spelled(&on, &known, &name)?;
                fits(&on, &known, &column, mask)?;
                kinds.push(RightKind::Mask { column, mask });
            }
            grant(kinds, &Place::Table(on), &to)
        }
        Statement::BreakGlass { on, minutes, reason } => {
            let until = Utc::now() + TimeDelta::minutes(minutes.into());
            let right = NewRight {
                kind: RightKind::Opened { reason },
                to: Grantee::User(principal.name.clone()),
                on: on.clone(),
                granted_by: principal.name.clone(),
                expires_at: Some(until),
            };
            catalog.grant(&[right]).await?;
            tracing::warn!(principal = principal.name, place = %on, "`{}` broke the glass on {on}", principal.name);
            return Ok(format!("everything of {on} is open to you until {}", until.format("%H:%M UTC")));
        }
        Statement::CloseGlass => {
            let mine = Grantee::User(principal.name.clone());
            return revoke(inner, |right| right.to == mine && matches!(right.kind, RightKind::Opened { .. })).await;
        }
        Statement::Revoke { leaves, on, from } => {
            let done = revoke(inner, |right| {
                right.on == on && from.contains(&right.to) && leaves.iter().any(|leave| is_of(leave, &right.kind))
            })
            .await?;
            end_emergencies(catalog).await?;
            return Ok(done);
        }
        Statement::Leave { groups, from } => {
            let done = revoke(inner, |right| {
                let in_one = matches!(&right.kind, RightKind::Member { group } if groups.contains(group));
                in_one && from.contains(&right.to)
            })
            .await?;
            end_emergencies(catalog).await?;
            return Ok(done);
        }
        Statement::Unfilter { name, on, from } => {
            let on = Place::Table(on);
            return revoke(inner, |right| {
                let is_it = matches!(&right.kind, RightKind::Filter { name: known, .. } if *known == name);
                is_it && right.on == on && (from.is_empty() || from.contains(&right.to))
            })
            .await;
        }
        Statement::Unmask { on, columns: names, from } => {
            let known = columns(inner, &on).await?;
            let names = names.iter().map(|name| spelled(&on, &known, name)).collect::<Result<Vec<_>, _>>()?;
            let on = Place::Table(on);
            return revoke(inner, |right| {
                let is_it = matches!(&right.kind, RightKind::Mask { column, .. } if names.contains(column));
                is_it && right.on == on && from.contains(&right.to)
            })
            .await;
        }
        Statement::Show { .. } => return Ok(String::new()),
    };
    match catalog.grant(&rights).await? {
        0 => Ok("nothing changed: it was so already".to_owned()),
        _ => Ok("granted".to_owned()),
    }
}

async fn revoke(inner: &Arc<Inner>, is_meant: impl Fn(&Right) -> bool) -> Result<String, Error> {
    let catalog = inner.lake.catalog();
    let meant: Vec<i64> =
        catalog.rights().await?.iter().filter(|right| is_meant(right)).map(|right| right.id).collect();
    if meant.is_empty() {
        return Err(fault::invalid("nothing of that kind was granted: see SHOW GRANTS"));
    }
    catalog.revoke(&meant).await?;
    Ok("revoked".to_owned())
}

/// Takes emergencies away whose leave was taken back, so that they do not go on where it is given once more.
async fn end_emergencies(catalog: &Catalog) -> Result<(), Error> {
    let rights = catalog.rights().await?;
    let mut over = Vec::new();
    for right in &rights {
        if let (RightKind::Opened { .. }, Grantee::User(name)) = (&right.kind, &right.to)
            && !may_open(catalog, &rights, name, &right.on).await?
        {
            over.push(right.id);
        }
    }
    if !over.is_empty() {
        catalog.revoke(&over).await?;
    }
    Ok(())
}

/// Whether somebody has leave to open a place. Which roles an issuer's person has is known only when it asks: it may be any.
async fn may_open(catalog: &Catalog, rights: &[Right], name: &str, on: &Place) -> Result<bool, Error> {
    let tokens = catalog.tokens().await?;
    if let Some(token) = tokens.into_iter().find(|token| token.name == name && token.revoked_at.is_none()) {
        let mut holder = Principal::new(token.id, token.name, token.role, token.scope);
        holder.groups = token.groups;
        catalog.put_rights(&mut holder).await?;
        return Ok(holder.rights.may_open.iter().any(|place| place.covers_place(on)));
    }
    let may_be = |to: &Grantee| match to {
        Grantee::User(user) => user == name,
        Grantee::Role(_) | Grantee::Public => true,
    };
    let mut leaves = rights.iter().filter(|right| matches!(right.kind, RightKind::Open));
    Ok(leaves.any(|leave| may_be(&leave.to) && leave.on.covers_place(on)))
}

fn is_of(leave: &Leave, kind: &RightKind) -> bool {
    match (leave, kind) {
        (Leave::Read(columns), RightKind::Read { column }) => {
            columns.is_empty()
                || column.as_ref().is_some_and(|column| columns.iter().any(|one| one.eq_ignore_ascii_case(column)))
        }
        (Leave::Write, RightKind::Write) | (Leave::Open, RightKind::Open) => true,
        _ => false,
    }
}

async fn kinds_of(inner: &Arc<Inner>, leave: Leave, on: &Place) -> Result<Vec<RightKind>, Error> {
    match leave {
        Leave::Write
            if !matches!(on, Place::Everything | Place::Zone(Zone::Work) | Place::Schema(Zone::Work, _))
                && !matches!(on, Place::Table(table) if table.zone == Zone::Work) =>
        {
            Err(fault::invalid(format!("nobody writes to {on} in SQL: only `work` can be granted for writing")))
        }
        Leave::Write => Ok(vec![RightKind::Write]),
        Leave::Open => Ok(vec![RightKind::Open]),
        Leave::Read(names) => {
            if let Place::Table(table) = on {
                let known = columns(inner, table).await?;
                if names.is_empty() {
                    return Ok(vec![RightKind::Read { column: None }]);
                }
                let names = names.iter().map(|name| spelled(table, &known, name));
                let kinds = names.map(|name| Ok(RightKind::Read { column: Some(name?) }));
                return kinds.collect();
            }
            if names.is_empty() {
                Ok(vec![RightKind::Read { column: None }])
            } else {
                Err(fault::invalid("columns are granted on a table: write zone.schema.table"))
            }
        }
    }
}

/// Filters and masks of resources are set on the current ones.
fn is_current(table: &TableName) -> Result<(), Error> {
    if (table.zone, table.schema.as_str()) == (Zone::Fhir, "r4_history") {
        let advice = format!("set it on fhir.r4.{}: it holds for every version", table.table);
        return Err(fault::invalid(advice));
    }
    Ok(())
}

async fn columns(inner: &Arc<Inner>, table: &TableName) -> Result<Vec<Column>, Error> {
    let catalog = inner.lake.catalog();
    let absent = || Error::NoSuchTable { table: table.to_string(), hint: String::new() };
    let found = catalog.find_table(table).await?.ok_or_else(absent)?;
    Ok(catalog.columns(found.id).await?)
}

/// The column as the table spells it; of a resource also an element that no resource has yet.
fn spelled(table: &TableName, known: &[Column], name: &str) -> Result<String, Error> {
    let mut names = known.iter().map(|column| column.name.as_str());
    if let Some(found) = names.find(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(found.to_owned());
    }
    let elements = ResourceType::from_table(&table.table)
        .filter(|_| table.zone == Zone::Fhir)
        .map(|resource| definitions::elements(root(resource)))
        .unwrap_or_default();
    let mut elements = elements.iter().flat_map(|element| [Some(element.name), element.choice]).flatten();
    match elements.find(|element| element.eq_ignore_ascii_case(name)) {
        Some(element) => Ok(element.to_owned()),
        None => Err(fault::invalid(format!("there is no column `{name}` in {table}"))),
    }
}

/// Whether a mask can show anything of a column.
fn fits(table: &TableName, known: &[Column], name: &str, mask: Mask) -> Result<(), Error> {
    if table.zone == Zone::Fhir && FOLLOW.contains(&name) {
        return Err(fault::invalid(format!(
            "`{name}` of a resource is not masked by itself: mask its elements, and the resource's text follows"
        )));
    }
    let Some(column) = known.iter().find(|column| column.name == name) else { return Ok(()) };
    let is_text = column.data_type == "Utf8";
    let is_time = column.data_type.starts_with("Date") || column.data_type.starts_with("Timestamp");
    let possible = match mask {
        Mask::Null => true,
        Mask::Hash => is_text,
        Mask::Year => is_text || is_time,
    };
    if possible {
        return Ok(());
    }
    Err(fault::invalid(format!(
        "{} cannot show `{name}` of {table}, which is {}: use NULL",
        mask.as_str().to_uppercase(),
        column.data_type
    )))
}

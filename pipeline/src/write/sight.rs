//! Which conditions a caller may have looked up whose token is limited by SMART scopes.
//!
//! Conditions are looked up in the newest state, which is stored without masks and filters: whether one matches tells of the
//! values that it compares. So every table that a condition leads to, through chains and `_has` too, must be one that is shown
//! to the caller as it is; and where it compares the identifier in a reference, which repeats that of what is referred to, all
//! types that the caller knows. Which of the rows the scopes are about is looked after where it is read.

use chrono::Utc;
use mavis_fhir::{
    ResourceType,
    bundle::Condition,
    search::{self, Handling, Request},
};
use mavis_types::{Principal, Sight, TableName, Zone};

use super::{
    check::{Action, Checked, Target},
    request::{Reason, Refusal},
};
use crate::fhir_zone::target::CURRENT;

/// Ends a parameter that compares the identifier which a reference carries.
const IDENTIFIER: &str = ":identifier";

/// The interaction again, where nothing that its conditions compare is hidden from the caller.
pub(super) fn seen(by: &Principal, checked: Checked) -> Result<Checked, Refusal> {
    // Who has no scopes and may write administers.
    if by.smart.is_none() {
        return Ok(checked);
    }
    let unlimited = Principal { smart: None, ..by.clone() };
    let own = match &checked.action {
        Action::Create { unless } => unless.clone(),
        Action::Update { target: Target::Where(condition, _), .. }
        | Action::Delete { target: Target::Where(condition, _), .. } => Some(condition.clone()),
        Action::Update { .. } | Action::Delete { .. } => None,
    };
    let of_references = checked.conditions.iter().filter_map(|text| Condition::parse(text));
    if let Some(hidden) = own.into_iter().chain(of_references).find_map(|condition| hidden(&unlimited, &condition)) {
        let message = format!(
            "a condition may only lead to what the caller sees all of: something of {hidden} is not granted here, or hidden"
        );
        return Err(Refusal::new(Reason::Forbidden, message));
    }
    Ok(checked)
}

/// A type that the condition reads and of which something is hidden. A condition that makes no sense reads nothing; it is
/// refused where it is looked up.
fn hidden(unlimited: &Principal, condition: &Condition) -> Option<ResourceType> {
    let parameters = condition.criteria.as_slice();
    let request =
        Request { parameters, handling: Handling::Strict, now: Utc::now(), base: None, types: &[], codes: None };
    let types = search::tables(condition.resource, request).ok()?;
    let table = |resource: &ResourceType| TableName::new(Zone::Fhir, CURRENT, resource.table());
    let of_tables = types.into_iter().find(|resource| !unlimited.sees_whole(&table(resource)));
    // A reference may be to any type.
    let is_partly_seen = |resource: &ResourceType| {
        let table = table(resource);
        unlimited.sight(&table) != Sight::Nothing && !unlimited.sees_whole(&table)
    };
    let by_identifier = || condition.criteria.iter().any(|(name, _)| name.ends_with(IDENTIFIER));
    of_tables.or_else(|| ResourceType::all().find(is_partly_seen).filter(|_| by_identifier()))
}

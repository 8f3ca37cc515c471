//! What each interaction comes to: conditions, identities, versions and references resolved against the newest state.
//!
//! The caller holds the leases of every history that is written, so that nothing found here changes before the commit.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Timelike, Utc};
use mavis_fhir::{
    ResourceType,
    bundle::{self, Condition},
    json, shape,
};
use mavis_types::Smart;
use uuid::Uuid;

use super::{
    check::{Action, Checked, Target as Wanted},
    gate::{Answer, Gate, Wants},
    item::Item,
    matching::{Beside, Known, bring_up, known, matching},
    naming::restful,
    request::{Effect, Reason, Refusal, Together, Written},
};
use crate::{context::Running, failure::Failure, fhir_zone::Target};

/// What makes a version, in history's column of this name.
pub(crate) const MADE_BY: &str = "rest";

/// How a round ended for an interaction; `None`: it has to wait for the next round.
pub(crate) type Outcome = Option<Result<Written, Refusal>>;

/// A round of interactions, decided.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) items: BTreeMap<ResourceType, Vec<Item>>,
    /// In the order of the interactions.
    pub(crate) outcomes: Vec<Outcome>,
}

/// What is going to be done to one resource.
#[derive(Debug, Clone)]
struct Plan {
    id: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Put {
        if_match: Option<i64>,
        /// The id was made just now.
        fresh: bool,
        /// Nothing may be there under the id.
        only_new: bool,
    },
    Delete {
        if_match: Option<i64>,
    },
    /// A conditional create that met this resource.
    Existing,
    Nothing,
}

enum Step {
    Plan(Plan),
    Refuse(Refusal),
    Wait,
}

/// Everything that the last, waitless part needs.
struct Facts {
    checked: Vec<Checked>,
    steps: Vec<Step>,
    known: HashMap<(ResourceType, String), Known>,
    /// References as written to `Type/id`.
    references: HashMap<String, String>,
    /// By the root of `fullUrl`: relative references that mean an entry which has another id here.
    by_root: HashMap<String, HashMap<String, String>>,
    source: String,
    now: DateTime<Utc>,
    gate: Gate,
}

/// Decides a round.
pub(crate) async fn decide(
    running: &Running,
    targets: &BTreeMap<ResourceType, Target>,
    checked: Vec<Checked>,
    together: Together,
    source: &str,
    smart: Option<Arc<Smart>>,
) -> Result<Decided, Failure> {
    let steps = plan(running, targets, &checked, together, smart.as_deref()).await?;
    let mut wanted: BTreeMap<ResourceType, BTreeSet<&str>> = BTreeMap::new();
    for (entry, step) in checked.iter().zip(&steps) {
        if let Step::Plan(Plan { id, what }) = step
            && !matches!(what, What::Put { fresh: true, .. } | What::Nothing)
        {
            wanted.entry(entry.resource).or_default().insert(id);
        }
    }
    let mut found = HashMap::new();
    for (resource, ids) in &wanted {
        if let Some(target) = targets.get(resource) {
            let of_type = known(running, target, ids, smart.is_some()).await?;
            found.extend(of_type.into_iter().map(|(id, known)| ((*resource, id), known)));
        }
    }
    let mut steps = steps;
    let (mut references, mut by_root) = (HashMap::new(), HashMap::new());
    if together == Together::All {
        (references, by_root) = names(&checked, &steps);
        resolve(running, &checked, &mut steps, &mut references, smart.as_deref()).await?;
    }
    let now = Utc::now();
    let now = now.with_nanosecond(now.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(now);
    let facts =
        Facts { checked, steps, known: found, references, by_root, source: source.to_owned(), now, gate: Gate(smart) };
    tokio::task::spawn_blocking(move || facts.settle()).await?
}

/// Finds out which resource each interaction is about.
async fn plan(
    running: &Running,
    targets: &BTreeMap<ResourceType, Target>,
    checked: &[Checked],
    together: Together,
    smart: Option<&Smart>,
) -> Result<Vec<Step>, Failure> {
    // Deletions come first in a transaction (R4, "transaction", processing rules): conditions do not see what they delete.
    let mut order: Vec<usize> = (0..checked.len()).collect();
    if together == Together::All {
        order.sort_by_key(|index| match checked.get(*index).map(|entry| &entry.action) {
            Some(Action::Delete { .. }) => 0,
            Some(Action::Create { .. }) => 1,
            _ => 2,
        });
    }
    let mut steps: Vec<Step> = (0..checked.len()).map(|_| Step::Wait).collect();
    let mut touched: HashSet<(ResourceType, String)> = HashSet::new();
    let mut written: HashSet<ResourceType> = HashSet::new();
    let mut made: HashMap<Condition, String> = HashMap::new();
    let mut deleted: HashMap<ResourceType, Beside> = HashMap::new();
    let mut up_to_date: HashSet<ResourceType> = HashSet::new();
    for index in order {
        let Some(entry) = checked.get(index) else { continue };
        let resource = entry.resource;
        let condition = match &entry.action {
            Action::Create { unless } => unless.as_ref(),
            Action::Update { target: Wanted::Where(condition, _), .. }
            | Action::Delete { target: Wanted::Where(condition, _), .. } => Some(condition),
            _ => None,
        };
        let mut matches = BTreeSet::new();
        if let Some(condition) = condition {
            if together == Together::Each && written.contains(&resource) {
                continue;
            }
            if let (Action::Create { .. }, Some(id)) = (&entry.action, made.get(condition)) {
                // The same condition as an earlier entry's: the same resource.
                if let Some(step) = steps.get_mut(index) {
                    *step = Step::Plan(Plan { id: id.clone(), what: What::Existing });
                }
                continue;
            }
            if let Some(target) = targets.get(&resource)
                && up_to_date.insert(resource)
            {
                bring_up(running, target).await?;
            }
            match matching(running, condition, deleted.get(&resource), smart).await? {
                Ok(found) => matches = found,
                Err(refusal) => {
                    if let Some(step) = steps.get_mut(index) {
                        *step = Step::Refuse(refusal);
                    }
                    continue;
                }
            }
        }
        let mut step = match choose(entry, &matches) {
            Ok(plan) => Step::Plan(plan),
            Err(refusal) => Step::Refuse(refusal),
        };
        if let Step::Plan(Plan { id, what }) = &step
            && matches!(what, What::Put { .. } | What::Delete { .. })
        {
            if touched.insert((resource, id.clone())) {
                written.insert(resource);
                if matches!(what, What::Delete { .. }) {
                    deleted.entry(resource).or_default().replaced.insert(id.clone());
                }
                if let (Action::Create { unless: Some(condition) }, What::Put { .. }) = (&entry.action, what)
                    && together == Together::All
                {
                    made.insert(condition.clone(), id.clone());
                }
            } else if together == Together::All {
                let message = format!("another entry is about the same {resource}");
                step = Step::Refuse(Refusal::new(Reason::Invalid, message));
            } else {
                step = Step::Wait;
            }
        }
        if let Some(place) = steps.get_mut(index) {
            *place = step;
        }
    }
    Ok(steps)
}

fn fresh_id() -> String {
    Uuid::now_v7().hyphenated().to_string()
}

/// Which resource an interaction is about, by the number of matches of its condition (R4, sections "conditional create",
/// "conditional update", "conditional delete").
fn choose(entry: &Checked, matches: &BTreeSet<String>) -> Result<Plan, Refusal> {
    let resource = entry.resource;
    let several = || Refusal::new(Reason::Precondition, format!("the condition matches more than one {resource}"));
    let new = || Plan { id: fresh_id(), what: What::Put { if_match: None, fresh: true, only_new: false } };
    let one = match (matches.len(), matches.first()) {
        (0, _) | (_, None) => None,
        (1, Some(id)) => Some(id.clone()),
        _ => return Err(several()),
    };
    match &entry.action {
        Action::Create { unless: None } => Ok(new()),
        Action::Create { unless: Some(_) } => Ok(match one {
            None => new(),
            Some(id) => Plan { id, what: What::Existing },
        }),
        Action::Update { target: Wanted::Id(id), if_match } => {
            let what = What::Put { if_match: *if_match, fresh: false, only_new: false };
            Ok(Plan { id: id.clone(), what })
        }
        Action::Update { target: Wanted::Where(_, own), if_match } => match (one, own) {
            (None, None) if if_match.is_some() => {
                Err(Refusal::new(Reason::Precondition, format!("no {resource} matches, so that none has this version")))
            }
            (None, None) => Ok(new()),
            (None, Some(own)) => {
                let what = What::Put { if_match: *if_match, fresh: false, only_new: true };
                Ok(Plan { id: own.clone(), what })
            }
            (Some(id), own) if own.as_ref().is_none_or(|own| *own == id) => {
                Ok(Plan { id, what: What::Put { if_match: *if_match, fresh: false, only_new: false } })
            }
            _ => Err(Refusal::new(
                Reason::Invalid,
                format!("{resource}.id differs from that of the {resource} that matches"),
            )),
        },
        Action::Delete { target: Wanted::Id(id), if_match } => {
            Ok(Plan { id: id.clone(), what: What::Delete { if_match: *if_match } })
        }
        Action::Delete { target: Wanted::Where(..), if_match } => Ok(match one {
            None => Plan { id: String::new(), what: What::Nothing },
            Some(id) => Plan { id, what: What::Delete { if_match: *if_match } },
        }),
    }
}

type Names = (HashMap<String, String>, HashMap<String, HashMap<String, String>>);

/// What the entries of a transaction call each other.
fn names(checked: &[Checked], steps: &[Step]) -> Names {
    let (mut references, mut by_root) = (HashMap::new(), HashMap::<String, HashMap<String, String>>::new());
    for (entry, step) in checked.iter().zip(steps) {
        let (Some(full_url), Step::Plan(Plan { id, what })) = (&entry.full_url, step) else { continue };
        if !matches!(what, What::Put { .. } | What::Existing) {
            continue;
        }
        let here = format!("{}/{id}", entry.resource);
        if let Some((root, there)) = restful(full_url)
            && there != here
        {
            by_root.entry(root.to_owned()).or_default().insert(there.to_owned(), here.clone());
        }
        references.insert(full_url.clone(), here);
    }
    (references, by_root)
}

/// Resolves conditional references, also against what the transaction writes; an entry whose reference does not meet
/// exactly one resource is refused (R4, "transaction", "Conditional References").
async fn resolve(
    running: &Running,
    checked: &[Checked],
    steps: &mut [Step],
    references: &mut HashMap<String, String>,
    smart: Option<&Smart>,
) -> Result<(), Failure> {
    let mut beside: HashMap<ResourceType, Beside> = HashMap::new();
    let mut failed: HashMap<String, Refusal> = HashMap::new();
    let texts: BTreeSet<&String> = checked.iter().flat_map(|entry| &entry.conditions).collect();
    for text in texts {
        let Some(condition) = Condition::parse(text) else { continue };
        let resource = condition.resource;
        if let std::collections::hash_map::Entry::Vacant(place) = beside.entry(resource) {
            place.insert(writing(resource, checked, steps)?);
        }
        match matching(running, &condition, beside.get(&resource), smart).await? {
            Ok(ids) => match (ids.len(), ids.first()) {
                (1, Some(id)) => {
                    references.insert(text.clone(), format!("{resource}/{id}"));
                }
                (0, _) => {
                    let message = format!("a conditional reference matches no {resource}");
                    failed.insert(text.clone(), Refusal::new(Reason::Precondition, message));
                }
                _ => {
                    let message = format!("a conditional reference matches more than one {resource}");
                    failed.insert(text.clone(), Refusal::new(Reason::Precondition, message));
                }
            },
            Err(refusal) => {
                failed.insert(text.clone(), refusal);
            }
        }
    }
    for (entry, step) in checked.iter().zip(steps) {
        if let Some(refusal) = entry.conditions.iter().find_map(|text| failed.get(text))
            && matches!(step, Step::Plan(Plan { what: What::Put { .. }, .. }))
        {
            *step = Step::Refuse(refusal.clone());
        }
    }
    Ok(())
}

/// What the transaction writes of a type, as rows.
fn writing(resource: ResourceType, checked: &[Checked], steps: &[Step]) -> Result<Beside, Failure> {
    let mut beside = Beside::default();
    let mut encoder = shape::Encoder::new(resource, None);
    for (entry, step) in checked.iter().zip(steps) {
        let Step::Plan(Plan { id, what }) = step else { continue };
        if entry.resource != resource || !matches!(what, What::Put { .. } | What::Delete { .. }) {
            continue;
        }
        beside.replaced.insert(id.clone());
        if matches!(what, What::Put { .. })
            && let Ok(value) = json::parse(entry.body.as_bytes())
        {
            let meta = shape::Meta { id, version: 1, last_updated: Utc::now(), source: "", run: "", hash: [0; 16] };
            encoder.push(&value, "", &meta);
        }
    }
    if !encoder.is_empty() {
        beside.rows = Some(encoder.finish()?);
    }
    Ok(beside)
}

impl Facts {
    fn settle(self) -> Result<Decided, Failure> {
        let mut decided = Decided::default();
        for (entry, step) in self.checked.iter().zip(&self.steps) {
            let outcome = match step {
                Step::Wait => None,
                Step::Refuse(refusal) => Some(Err(refusal.clone())),
                Step::Plan(plan) => Some(self.outcome(entry, plan, &mut decided.items)?),
            };
            decided.outcomes.push(outcome);
        }
        // Several entries may name one that is made here.
        let made: HashMap<(ResourceType, String), (i64, DateTime<Utc>)> = decided
            .outcomes
            .iter()
            .flatten()
            .flatten()
            .filter(|written| written.effect != Effect::Existing)
            .map(|written| ((written.resource, written.id.clone()), (written.version, written.last_updated)))
            .collect();
        for written in decided.outcomes.iter_mut().flatten().flatten() {
            if let Some((version, at)) = made.get(&(written.resource, written.id.clone())) {
                (written.version, written.last_updated) = (*version, *at);
            }
        }
        Ok(decided)
    }

    fn outcome(
        &self,
        entry: &Checked,
        plan: &Plan,
        items: &mut BTreeMap<ResourceType, Vec<Item>>,
    ) -> Result<Result<Written, Refusal>, Failure> {
        let resource = entry.resource;
        let known = self.known.get(&(resource, plan.id.clone()));
        let live = known.filter(|known| !known.deleted);
        let written = |version: i64, at: DateTime<Utc>, effect: Effect, text: Option<String>| Written {
            resource,
            id: plan.id.clone(),
            version,
            last_updated: at,
            effect,
            text,
            warnings: entry.warnings.clone(),
        };
        let as_known = |effect: Effect| match known {
            Some(known) => written(known.version, known.last_updated, effect, None),
            None => written(0, self.now, effect, None),
        };
        let stale = |if_match: Option<i64>| {
            if_match.is_some_and(|wanted| live.is_none_or(|live| live.version != wanted)).then(|| {
                let message = match live {
                    Some(live) => format!("the newest version of this {resource} is {}", live.version),
                    None => format!("there is no such {resource}"),
                };
                Refusal::new(Reason::Precondition, message)
            })
        };
        let wants = match plan.what {
            What::Put { fresh, .. } => Some(Wants::Put { fresh }),
            What::Delete { if_match } => Some(Wants::Delete { blindly: if_match.is_none() }),
            What::Existing | What::Nothing => None,
        };
        match wants.map_or(Ok(Answer::GoOn), |wants| self.gate.before(resource, &plan.id, wants, live))? {
            Answer::GoOn => {}
            Answer::Refuse(refusal) => return Ok(Err(refusal)),
            Answer::AsIfNothing => return Ok(Ok(written(0, self.now, Effect::Nothing, None))),
        }
        match &plan.what {
            What::Nothing => Ok(Ok(as_known(Effect::Nothing))),
            What::Existing => Ok(Ok(as_known(Effect::Existing))),
            What::Delete { if_match } => {
                if let Some(refusal) = stale(*if_match) {
                    return Ok(Err(refusal));
                }
                let Some(live) = live else { return Ok(Ok(as_known(Effect::Nothing))) };
                let version = live.version + 1;
                items.entry(resource).or_default().push(self.item(&plan.id, version, Some(live), None));
                Ok(Ok(written(version, self.now, Effect::Deleted, None)))
            }
            What::Put { if_match, only_new, .. } => {
                if let Some(refusal) = stale(*if_match) {
                    return Ok(Err(refusal));
                }
                if *only_new && live.is_some() {
                    let message = format!("the condition matches nothing, but a {resource} of this id is there");
                    return Ok(Err(Refusal::new(Reason::Conflict, message)));
                }
                let version = known.map_or(1, |known| known.version + 1);
                let mut text = self.text(entry, &plan.id, version)?;
                if let Some(refusal) = self.gate.after(resource, &plan.id, live.is_none(), &text)? {
                    return Ok(Err(refusal));
                }
                let value = json::parse(text.as_bytes()).map_err(|error| Failure::permanent(error.to_string()))?;
                if live.is_some_and(|live| live.hash == shape::content_hash(&value)) {
                    return Ok(Ok(as_known(Effect::Unchanged)));
                }
                text.shrink_to_fit();
                items.entry(resource).or_default().push(self.item(&plan.id, version, live, Some(text.clone())));
                let effect = if live.is_some() { Effect::Updated } else { Effect::Created };
                Ok(Ok(written(version, self.now, effect, Some(text))))
            }
        }
    }

    /// A resource keeps whose it is: the source that brought it can go on bringing it.
    fn item(&self, id: &str, version: i64, live: Option<&Known>, text: Option<String>) -> Item {
        let (source, made_by) = match live {
            Some(live) => (live.source.clone(), live.made_by.clone()),
            None => (self.source.clone(), MADE_BY.to_owned()),
        };
        Item { id: id.to_owned(), version, at: self.now.timestamp_micros(), source, made_by, text }
    }

    /// The text to store: as it came, with its id in it and its references resolved.
    fn text(&self, entry: &Checked, id: &str, version: i64) -> Result<String, Failure> {
        let mut body = entry.body.clone();
        let root = entry.full_url.as_deref().and_then(restful).and_then(|(root, _)| self.by_root.get(root));
        if !self.references.is_empty() || root.is_some() {
            let mut value =
                json::parse(entry.body.as_bytes()).map_err(|error| Failure::permanent(error.to_string()))?;
            let mut changed = bundle::rewrite_references(&mut value, &self.references);
            if let Some(root) = root {
                changed |= bundle::rewrite_references(&mut value, root);
            }
            if changed {
                let mut text = Vec::with_capacity(entry.body.len() + 256);
                value.write(&mut text);
                body = String::from_utf8(text).map_err(|error| Failure::permanent(error.to_string()))?;
            }
        }
        let value = json::parse(body.as_bytes()).map_err(|error| Failure::permanent(error.to_string()))?;
        if value.get_str("id") == Some(id) {
            return Ok(body);
        }
        // Content is compared with its id: what is read and written again unchanged must make no version.
        Ok(shape::with_meta(&body, id, version, self.now))
    }
}

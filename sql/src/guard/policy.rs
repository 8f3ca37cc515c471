use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mavis_fhir::{
    ResourceType,
    definitions::{self, root},
    shape::patient_elements,
};
use mavis_types::{Mask, Principal, Sight, Smart, TableName, Zone, is_copy};

use super::{
    kept::{self, Brought, Kept},
    untold::Untold,
};

/// Elements of a resource that are there for everybody who sees anything of it: without them it is not one.
const IDENTITY: [&str; 5] = ["id", "__version", "__last_updated", "__deleted", "resource"];
/// Columns that are made of all that a row says.
const OF_ALL: [&str; 2] = ["__hash", "__row"];
/// The column with the patient whose compartment a resource is in.
const PATIENT: &str = "__patient";

/// A condition that rows meet, and the table that it was set on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowFilter {
    pub(crate) on: TableName,
    pub(crate) condition: String,
}

/// What a principal sees of one table, by names: see [`super::Lens`] for the same over the columns that are there.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    table: TableName,
    /// Columns that were granted; `None`: all.
    columns: Option<BTreeSet<String>>,
    masks: BTreeMap<String, Mask>,
    /// Every column is masked: any of them may have become what is hidden elsewhere.
    all_masked: bool,
    /// SQL conditions that every row meets.
    conditions: Vec<RowFilter>,
    /// No row is there: nothing tells which of them are hidden.
    shut: bool,
    /// Scopes that let only some resources through.
    smart: Option<Arc<Smart>>,
    /// Values of some resource are hidden from the principal: what resources repeat of each other is left out.
    cuts: bool,
    /// What is hidden from the principal that references repeat.
    untold: Untold,
    /// What is shown of resources within the table's own; `None`: all.
    within: Option<Arc<BTreeMap<ResourceType, Kept>>>,
    /// The table is a source's, and holds resources of which something is hidden.
    brought: Option<Arc<Brought>>,
}

/// The answer to "may this principal read that table".
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// For the principal the table does not exist.
    Hidden,
    Through(Policy),
}

impl Policy {
    /// The policy of a table for a principal: what its token, its grants, its filters and masks and its SMART scopes say.
    pub(crate) fn of(principal: &Principal, table: &TableName) -> Seen {
        let mut seen = Self::of_rows(principal, table);
        if let Seen::Through(policy) = &mut seen
            && table.zone == Zone::Fhir
            && kept::holds_others(&table.table)
            && !principal.rights.is_opened(table)
        {
            policy.within = kept::within(principal).map(Arc::new);
            policy.cuts |= policy.within.is_some();
        }
        seen
    }

    /// As [`Policy::of`], but for resources that stand within others.
    pub(super) fn of_rows(principal: &Principal, table: &TableName) -> Seen {
        let columns = match principal.sight(table) {
            Sight::Nothing => return Seen::Hidden,
            Sight::Columns(columns) => Some(columns),
            Sight::All => None,
        };
        let rights = &principal.rights;
        let mut masks: BTreeMap<String, Mask> = BTreeMap::new();
        for (column, mask) in rights.masks(table) {
            let known = masks.entry(column.to_owned()).or_insert(mask);
            *known = mask.min(*known);
        }
        let is_fhir = table.zone == Zone::Fhir;
        let opened = rights.is_opened(table);
        let filters = rights.filters.iter().filter(|(on, _)| !opened && is_copy(on, table));
        let filter =
            |(on, text): &(TableName, String)| RowFilter { on: on.clone(), condition: for_user(text, principal) };
        let conditions = filters.map(filter).collect();
        let limits = |smart: &Arc<Smart>| !smart.about(&table.table, "rs").any(|scope| is_whole(scope, smart));
        let smart = principal.smart.as_ref().filter(|smart| is_fhir && limits(smart)).map(Arc::clone);
        let hides = |on: &TableName| on.zone == Zone::Fhir && !opened;
        let partly = |place: &mavis_types::Place, column: &Option<String>| match place {
            mavis_types::Place::Table(on) if column.is_some() => hides(on) && principal.sight(on) != Sight::All,
            _ => false,
        };
        let cuts = is_fhir
            && (rights.masks.iter().any(|(on, ..)| hides(on))
                || rights.reads.iter().any(|(place, column)| partly(place, column)));
        let untold = Untold::of(|element| {
            cuts && (rights.masks.iter().any(|(on, column, _)| hides(on) && column == element)
                || rights.reads.iter().any(|(place, column)| {
                    partly(place, column)
                        && matches!(place, mavis_types::Place::Table(on) if !principal.sight(on).shows(element))
                }))
        });
        Seen::Through(Self {
            table: table.clone(),
            columns,
            masks,
            all_masked: false,
            conditions,
            shut: false,
            smart,
            cuts,
            untold,
            within: None,
            brought: None,
        })
    }

    /// Hides in a table of a source, which holds resources as they came, what is hidden of them in the FHIR zone.
    /// `resource`: their type, where R4 knows it.
    pub(crate) fn brings(&mut self, principal: &Principal, resource: Option<ResourceType>) {
        let rights = &principal.rights;
        let current = resource.map(kept::current);
        let is_of_type = |on: &TableName| current.as_ref().is_some_and(|current| is_copy(on, current));
        // A row is what a resource was once, or will be: whether the one that is current meets a condition says nothing of it.
        self.shut |= rights.filters.iter().any(|(on, _)| is_of_type(on));
        let mut kept = Kept::default();
        for (on, element, mask) in rights.masks.iter().filter(|(on, ..)| on.zone == Zone::Fhir) {
            self.cuts = true;
            self.untold = self.untold.and(Untold::of(|repeated| repeated == element));
            if is_of_type(on) {
                kept.mask(element, *mask);
            }
        }
        if self.cuts {
            let holds_others = resource.is_some_and(|resource| kept::holds_others(resource.table()));
            let within = if holds_others { kept::within(principal) } else { Some(BTreeMap::new()) };
            self.within = within.map(Arc::new);
            self.brought = Some(Arc::new(Brought { resource, kept }));
        }
    }

    /// Hides a column beside those that were named for the table: one that a hidden element was made from.
    pub(crate) fn mask_also(&mut self, column: &str, mask: Mask) {
        let known = self.masks.entry(column.to_owned()).or_insert(mask);
        *known = mask.min(*known);
    }

    /// Hides every column: any of them may have become what is hidden elsewhere.
    pub(crate) fn mask_all(&mut self) {
        self.all_masked = true;
    }

    pub(crate) fn table(&self) -> &TableName {
        &self.table
    }

    pub(crate) fn conditions(&self) -> &[RowFilter] {
        &self.conditions
    }

    pub(crate) fn smart(&self) -> Option<&Arc<Smart>> {
        self.smart.as_ref()
    }

    pub(crate) fn untold(&self) -> Untold {
        self.untold
    }

    /// Whether the table has no rows for the principal.
    pub(super) fn shut(&self) -> bool {
        self.shut
    }

    /// What is left of the resources that are the table's rows.
    pub(super) fn kept(&self) -> Kept {
        match &self.brought {
            Some(brought) => brought.kept.clone(),
            None => Kept { elements: self.columns.clone(), masks: self.masks.clone() },
        }
    }

    /// The type of the resources that are the table's rows.
    pub(super) fn resource(&self) -> Option<ResourceType> {
        match &self.brought {
            Some(brought) => brought.resource,
            None if self.table.zone == Zone::Fhir => ResourceType::from_table(&self.table.table),
            None => None,
        }
    }

    /// Whether the table's rows are resources whose text is cut.
    pub(super) fn cuts_text(&self) -> bool {
        self.cuts && (self.table.zone == Zone::Fhir || self.brought.is_some())
    }

    pub(super) fn within(&self) -> Option<&Arc<BTreeMap<ResourceType, Kept>>> {
        self.within.as_ref()
    }

    /// Whether the column is there for the principal, masked or not.
    pub(crate) fn has_column(&self, column: &str) -> bool {
        let Some(granted) = &self.columns else { return true };
        let is_resource = self.table.zone == Zone::Fhir;
        is_resource && IDENTITY.contains(&column) || granted.iter().any(|known| covers(&self.table, known, column))
    }

    /// How the column is shown, where it is not shown as it is.
    pub(crate) fn mask(&self, column: &str) -> Option<Mask> {
        let of_names = self.masks.iter().filter(|(known, _)| covers(&self.table, known, column));
        of_names.map(|(_, mask)| *mask).chain(self.tells_hidden(column).then_some(Mask::Null)).min()
    }

    /// Whether a column tells of what other columns hide.
    fn tells_hidden(&self, column: &str) -> bool {
        // A hash of the row's values, or the number of a row that is made of it, tells whether a guess is right.
        let of_all = OF_ALL.contains(&column) && (!self.masks.is_empty() || self.columns.is_some() || self.cuts);
        let of_patient = column == PATIENT && self.table.zone == Zone::Fhir && !self.masks.is_empty() && {
            let elements = self.resource().into_iter().flat_map(patient_elements);
            elements.into_iter().any(|element| self.masks.keys().any(|known| covers(&self.table, known, element)))
        };
        let of_resource = self.brought.is_some() && !kept::is_identity(column);
        self.all_masked || of_all || of_patient || of_resource
    }

    /// What is hidden or changed, as text: the same for two policies that show the same; empty for an open one.
    pub(crate) fn told(&self) -> String {
        if self.is_open() {
            return String::new();
        }
        let Self { columns, masks, all_masked, conditions, shut, smart, cuts, untold, within, brought, .. } = self;
        format!(
            "{columns:?} {masks:?} {all_masked} {conditions:?} {shut} {smart:?} {cuts} {untold:?} {within:?} {brought:?}"
        )
    }

    /// Whether nothing of the table is hidden or changed.
    pub(crate) fn is_open(&self) -> bool {
        self.columns.is_none()
            && self.masks.is_empty()
            && !self.all_masked
            && self.conditions.is_empty()
            && !self.shut
            && self.smart.is_none()
            && !self.cuts
    }

    /// Whether rows of the table are hidden, so that their number is.
    pub(crate) fn hides_rows(&self) -> bool {
        !self.conditions.is_empty() || self.shut || self.smart.is_some()
    }
}

/// Whether a scope lets every resource of its types through.
fn is_whole(scope: &mavis_types::SmartScope, _: &Smart) -> bool {
    scope.context != mavis_types::SmartContext::Patient && scope.query.is_none()
}

/// Whether what was said of one column holds for another: the columns of an element of a resource go together
/// (`birthDate`, `birthDate__start`), and so do those of a choice (`deceased`: `deceasedBoolean`, `deceasedDateTime`).
fn covers(table: &TableName, known: &str, column: &str) -> bool {
    if known == column {
        return true;
    }
    if table.zone != Zone::Fhir {
        return false;
    }
    let element = match column.find("__") {
        Some(at) if at > 0 => &column[..at],
        _ => column,
    };
    known == element || choice(table, element) == Some(known)
}

fn choice(table: &TableName, element: &str) -> Option<&'static str> {
    let resource = ResourceType::from_table(&table.table)?;
    definitions::element(root(resource), element)?.choice
}

/// `current_user` in a condition is the principal's name.
fn for_user(condition: &str, principal: &Principal) -> String {
    if !condition.to_ascii_lowercase().contains("current_user") {
        return condition.to_owned();
    }
    crate::dialect::with_user(condition, &principal.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mavis_types::{Place, Rights, Role, Scope, TokenId};
    use rstest::rstest;

    fn policy(rights: Rights, table: &str) -> Policy {
        let mut principal = Principal::new(TokenId::new(), "ana", Role::Analyst, Scope::Schemas(Vec::new()));
        principal.rights = Arc::new(rights);
        match Policy::of(&principal, &table.parse().unwrap()) {
            Seen::Through(policy) => policy,
            Seen::Hidden => panic!("{table} is hidden"),
        }
    }

    fn all() -> Vec<(Place, Option<String>)> {
        vec![(Place::Everything, None)]
    }

    #[rstest]
    #[case("birthDate", "birthDate", true)]
    #[case("birthDate", "birthDate__start", true)]
    #[case("deceased", "deceasedDateTime__end", true)]
    #[case("name", "name", true)]
    #[case("name", "gender", false)]
    #[case("name", "__hash", true)]
    #[case("name", "__row", true)]
    #[case("name", "__patient", false)]
    fn a_mask_holds_for_all_columns_of_an_element(#[case] masked: &str, #[case] column: &str, #[case] holds: bool) {
        let masks = vec![("fhir.r4.patient".parse().unwrap(), masked.to_owned(), Mask::Null)];
        let policy = policy(Rights { reads: all(), masks, ..Rights::default() }, "fhir.r4_history.patient");
        assert_eq!(policy.mask(column).is_some(), holds);
    }

    #[test]
    fn who_sees_some_elements_sees_the_identity_of_a_resource_too() {
        let place = Place::Table("fhir.r4.patient".parse().unwrap());
        let policy =
            policy(Rights { reads: vec![(place, Some("gender".to_owned()))], ..Rights::default() }, "fhir.r4.patient");
        for (column, there) in
            [("gender", true), ("id", true), ("resource", true), ("name", false), ("__source", false)]
        {
            assert_eq!(policy.has_column(column), there, "{column}");
        }
        assert!(policy.cuts_text() && policy.untold().has("display") && policy.untold().has("identifier"));
    }

    #[test]
    fn a_mask_on_patients_cuts_what_other_resources_repeat_of_them() {
        let masks = vec![("fhir.r4.patient".parse().unwrap(), "name".to_owned(), Mask::Null)];
        let rights = Rights { reads: all(), masks, ..Rights::default() };
        let other = policy(rights.clone(), "fhir.r4.observation");
        assert!(other.cuts_text() && other.untold().has("display") && !other.is_open());
        assert!(!other.untold().has("identifier"));
        assert!(policy(rights, "raw.hms.visit").is_open());
        let other = policy(masked("fhir.r4.person identifier"), "fhir.r4_history.observation");
        assert!(other.untold().has("identifier") && !other.untold().has("display"));
    }

    fn masked(element: &str) -> Rights {
        let (table, element) = element.split_once(' ').unwrap();
        let masks = vec![(table.parse().unwrap(), element.to_owned(), Mask::Null)];
        Rights { reads: all(), masks, ..Rights::default() }
    }

    #[rstest]
    #[case("fhir.r4.observation subject", "fhir.r4.observation", "__patient", true)]
    #[case("fhir.r4.observation performer", "fhir.r4.observation", "__patient", true)]
    #[case("fhir.r4.observation value", "fhir.r4.observation", "__patient", false)]
    #[case("fhir.r4.allergyintolerance patient", "fhir.r4.allergyintolerance", "__patient", true)]
    #[case("fhir.r4.observation subject", "fhir.r4.condition", "__patient", false)]
    #[case("fhir.r4.patient name", "fhir.r4.observation", "__hash", true)]
    #[case("fhir.r4.patient name", "fhir.r4_history.observation", "__hash", true)]
    #[case("raw.hms.visit nom", "fhir.r4.observation", "__hash", false)]
    fn what_tells_of_a_hidden_element_is_hidden(
        #[case] hidden: &str,
        #[case] table: &str,
        #[case] column: &str,
        #[case] is: bool,
    ) {
        assert_eq!(policy(masked(hidden), table).mask(column), is.then_some(Mask::Null));
    }

    #[test]
    fn a_bundle_is_cut_where_something_of_any_type_is_hidden() {
        let bundle = |rights: Rights| policy(rights, "fhir.r4.bundle");
        assert!(bundle(Rights { reads: all(), ..Rights::default() }).is_open());
        let patient: ResourceType = "Patient".parse().unwrap();
        let within = |rights: Rights| bundle(rights).within().and_then(|within| within.get(&patient).cloned());
        assert!(within(masked("fhir.r4.patient name")).unwrap().masks.contains_key("name"));
        let filters = vec![("fhir.r4.patient".parse().unwrap(), "active".to_owned())];
        let filtered = Rights { reads: all(), filters, ..Rights::default() };
        assert!(bundle(filtered.clone()).cuts_text() && within(filtered).is_none());
        let alone = vec![(Place::Table("fhir.r4.bundle".parse().unwrap()), None)];
        assert_eq!(within(Rights { reads: alone, ..Rights::default() }), None);
    }

    #[rstest]
    #[case("fhir.r4.patient name", "Patient", true, false)]
    #[case("fhir.r4.practitioner name", "Patient", true, false)]
    #[case("raw.hms.visit nom", "Patient", false, false)]
    #[case("fhir.r4.patient name", "", true, false)]
    #[case("", "Patient", false, true)]
    #[case("", "Observation", false, false)]
    fn what_is_hidden_of_resources_is_hidden_where_they_came_from(
        #[case] hidden: &str,
        #[case] resource: &str,
        #[case] cuts: bool,
        #[case] shut: bool,
    ) {
        let filters = vec![("fhir.r4.patient".parse().unwrap(), "active".to_owned())];
        let filtered = Rights { reads: all(), filters, ..Rights::default() };
        let rights = if hidden.is_empty() { filtered } else { masked(hidden) };
        let mut principal = Principal::new(TokenId::new(), "ana", Role::Analyst, Scope::All);
        let mut policy = policy(rights.clone(), "raw.north.patient");
        principal.rights = Arc::new(rights);
        policy.brings(&principal, resource.parse().ok());
        assert_eq!((policy.cuts_text(), policy.shut(), policy.hides_rows()), (cuts, shut, shut));
        for (column, shown) in [("id", true), ("resource", true), ("file", !cuts), ("key_1", !cuts), ("__hash", !cuts)]
        {
            assert_eq!(policy.mask(column).is_none(), shown, "{column}");
        }
        assert_eq!(policy.is_open(), !cuts && !shut);
    }
}

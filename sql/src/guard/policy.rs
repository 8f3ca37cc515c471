use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mavis_fhir::{
    ResourceType,
    definitions::{self, root},
};
use mavis_types::{Mask, Principal, Sight, Smart, TableName, Zone};

/// Elements of a resource that are there for everybody who sees anything of it: without them it is not one.
const IDENTITY: [&str; 5] = ["id", "__version", "__last_updated", "__deleted", "resource"];
/// The element that says what a person is called, which references repeat.
const NAME: &str = "name";

/// What a principal sees of one table, by names: see [`super::Lens`] for the same over the columns that are there.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    table: TableName,
    /// Columns that were granted; `None`: all.
    columns: Option<BTreeSet<String>>,
    masks: BTreeMap<String, Mask>,
    /// SQL conditions that every row meets.
    conditions: Vec<String>,
    /// Scopes that let only some resources through.
    smart: Option<Arc<Smart>>,
    /// Values of some resource are hidden from the principal: what resources repeat of each other is left out.
    cuts: bool,
    /// Names of people are hidden from the principal: references do not tell them.
    nameless: bool,
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
        let conditions = rights.filters(table).map(|condition| for_user(condition, principal)).collect();
        let is_fhir = table.zone == Zone::Fhir;
        let limits = |smart: &Arc<Smart>| !smart.about(&table.table, "rs").any(|scope| is_whole(scope, smart));
        let smart = principal.smart.as_ref().filter(|smart| is_fhir && limits(smart)).map(Arc::clone);
        let opened = rights.is_opened(table);
        let hides = |on: &TableName| on.zone == Zone::Fhir && !opened;
        let partly = |place: &mavis_types::Place, column: &Option<String>| match place {
            mavis_types::Place::Table(on) if column.is_some() => hides(on) && principal.sight(on) != Sight::All,
            _ => false,
        };
        let cuts = is_fhir
            && (rights.masks.iter().any(|(on, ..)| hides(on))
                || rights.reads.iter().any(|(place, column)| partly(place, column)));
        let nameless = cuts
            && (rights.masks.iter().any(|(on, column, _)| hides(on) && column == NAME)
                || rights.reads.iter().any(|(place, column)| {
                    partly(place, column)
                        && matches!(place, mavis_types::Place::Table(on) if !principal.sight(on).shows(NAME))
                }));
        Seen::Through(Self { table: table.clone(), columns, masks, conditions, smart, cuts, nameless })
    }

    /// Hides a column beside those that were named for the table: one that a hidden element was made from.
    pub(crate) fn mask_also(&mut self, column: &str, mask: Mask) {
        let known = self.masks.entry(column.to_owned()).or_insert(mask);
        *known = mask.min(*known);
    }

    pub(crate) fn table(&self) -> &TableName {
        &self.table
    }

    pub(crate) fn conditions(&self) -> &[String] {
        &self.conditions
    }

    pub(crate) fn smart(&self) -> Option<&Arc<Smart>> {
        self.smart.as_ref()
    }

    pub(crate) fn cuts(&self) -> bool {
        self.cuts
    }

    pub(crate) fn nameless(&self) -> bool {
        self.nameless
    }

    /// Elements that a cut resource keeps; `None`: all but those that are masked.
    pub(super) fn columns(&self) -> Option<&BTreeSet<String>> {
        self.columns.as_ref()
    }

    pub(super) fn masks(&self) -> &BTreeMap<String, Mask> {
        &self.masks
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
        let mask = of_names.map(|(_, mask)| *mask).min();
        // A hash of the row's values, or the number of a row that is made of it, tells whether a guess is right.
        let told_by_hash = matches!(column, "__hash" | "__row") && (!self.masks.is_empty() || self.columns.is_some());
        mask.or_else(|| told_by_hash.then_some(Mask::Null))
    }

    /// What is hidden or changed, as text: the same for two policies that show the same; empty for an open one.
    pub(crate) fn told(&self) -> String {
        if self.is_open() {
            return String::new();
        }
        let Self { columns, masks, conditions, smart, cuts, nameless, .. } = self;
        format!("{columns:?} {masks:?} {conditions:?} {smart:?} {cuts} {nameless}")
    }

    /// Whether nothing of the table is hidden or changed.
    pub(crate) fn is_open(&self) -> bool {
        self.columns.is_none()
            && self.masks.is_empty()
            && self.conditions.is_empty()
            && self.smart.is_none()
            && !self.cuts
    }

    /// Whether rows of the table are hidden, so that their number is.
    pub(crate) fn hides_rows(&self) -> bool {
        !self.conditions.is_empty() || self.smart.is_some()
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
        assert!(policy.cuts() && policy.nameless());
    }

    #[test]
    fn a_mask_on_patients_cuts_what_other_resources_repeat_of_them() {
        let masks = vec![("fhir.r4.patient".parse().unwrap(), "name".to_owned(), Mask::Null)];
        let rights = Rights { reads: all(), masks, ..Rights::default() };
        let other = policy(rights.clone(), "fhir.r4.observation");
        assert!(other.cuts() && other.nameless() && !other.is_open());
        assert!(policy(rights, "raw.hms.visit").is_open());
    }
}

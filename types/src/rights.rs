//! What was granted, and what is hidden. Leaves to read add up; row filters and masks subtract, each of them, whatever
//! else was granted; an open emergency lifts both on what it was declared for.
//!
//! A filter or a mask holds for every copy of a table: what is set on `raw.s.t` or `processed.s.t` holds on both, what is set
//! on `fhir.r4.t` or `fhir.r4_history.t` on both.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{TableName, Zone};

/// A part of the lake that something was granted on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    Everything,
    Zone(Zone),
    Schema(Zone, String),
    Table(TableName),
}

impl Place {
    #[must_use]
    pub fn covers(&self, table: &TableName) -> bool {
        match self {
            Place::Table(name) => name == table,
            other => other.covers_schema(table.zone, &table.schema),
        }
    }

    /// Whether all tables of a schema are in it.
    #[must_use]
    pub fn covers_schema(&self, zone: Zone, schema: &str) -> bool {
        match self {
            Place::Everything => true,
            Place::Zone(known) => *known == zone,
            Place::Schema(known, name) => *known == zone && name == schema,
            Place::Table(_) => false,
        }
    }

    /// Whether all tables of another place are in it.
    #[must_use]
    pub fn covers_place(&self, other: &Self) -> bool {
        match other {
            Place::Everything => *self == Place::Everything,
            Place::Zone(zone) => *self == Place::Everything || *self == Place::Zone(*zone),
            Place::Schema(zone, schema) => self.covers_schema(*zone, schema),
            Place::Table(table) => self.covers(table),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Everything => f.write_str("everything"),
            Place::Zone(zone) => write!(f, "{zone}"),
            Place::Schema(zone, schema) => write!(f, "{zone}.{schema}"),
            Place::Table(table) => write!(f, "{table}"),
        }
    }
}

/// How a column's values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// Nothing.
    Null,
    /// A text as a keyed hash of it, the same for the same text; anything else as nothing.
    Hash,
    /// A date as its year; what is no date as nothing.
    Year,
}

impl Mask {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mask::Null => "null",
            Mask::Hash => "hash",
            Mask::Year => "year",
        }
    }
}

impl FromStr for Mask {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Mask::Null, Mask::Hash, Mask::Year].into_iter().find(|mask| mask.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// Which columns of a table are there for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    Nothing,
    Columns(BTreeSet<String>),
    All,
}

impl Sight {
    /// Whether a column is there. Mavis's own identity columns of resources (`id`, `__version`, `__last_updated`) come with
    /// any other column of a FHIR table: see the guard.
    #[must_use]
    pub fn shows(&self, column: &str) -> bool {
        match self {
            Sight::Nothing => false,
            Sight::Columns(columns) => columns.contains(column),
            Sight::All => true,
        }
    }
}

/// What was granted to one principal, by name, role and groups together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Leave to read: all columns, or one.
    pub reads: Vec<(Place, Option<String>)>,
    /// Leave to write, within `work`.
    pub writes: Vec<Place>,
    /// Only rows for which the SQL condition holds are there.
    pub filters: Vec<(TableName, String)>,
    /// How the values of a column are shown.
    pub masks: Vec<(TableName, String, Mask)>,
    /// Where the principal may declare an emergency.
    pub may_open: Vec<Place>,
    /// Where an emergency of the principal is on: all is readable there, no filter or mask holds.
    pub opened: Vec<Place>,
}

impl Rights {
    /// The columns that leaves to read and open emergencies show.
    #[must_use]
    pub fn sight(&self, table: &TableName) -> Sight {
        if self.is_opened(table) {
            return Sight::All;
        }
        let mut columns = BTreeSet::new();
        for (place, column) in &self.reads {
            match column {
                None if place.covers(table) => return Sight::All,
                Some(column) if place.covers(table) => {
                    columns.insert(column.clone());
                }
                _ => {}
            }
        }
        if columns.is_empty() { Sight::Nothing } else { Sight::Columns(columns) }
    }

    #[must_use]
    pub fn knows_schema(&self, zone: Zone, schema: &str) -> bool {
        let knows = |place: &Place| match place {
            Place::Table(table) => table.zone == zone && table.schema == schema,
            other => other.covers_schema(zone, schema),
        };
        self.reads.iter().any(|(place, _)| knows(place)) || self.opened.iter().any(knows)
    }

    /// Whether all columns of all tables of a schema may be read, masked or not.
    #[must_use]
    pub fn reads_schema(&self, zone: Zone, schema: &str) -> bool {
        self.reads.iter().any(|(place, column)| column.is_none() && place.covers_schema(zone, schema))
            || self.opened.iter().any(|place| place.covers_schema(zone, schema))
    }

    #[must_use]
    pub fn reads_all(&self) -> bool {
        self.reads.iter().any(|(place, column)| column.is_none() && *place == Place::Everything)
    }

    #[must_use]
    pub fn may_write(&self, table: &TableName) -> bool {
        self.writes.iter().any(|place| place.covers(table))
    }

    /// Conditions that hold on a table, all of them at once.
    pub fn filters<'a>(&'a self, table: &'a TableName) -> impl Iterator<Item = &'a str> {
        let opened = self.is_opened(table);
        let filters = self.filters.iter().filter(move |(on, _)| !opened && is_copy(on, table));
        filters.map(|(_, condition)| condition.as_str())
    }

    /// How the values of a column are shown, where they are not shown as they are. Of several masks the strictest holds:
    /// nothing before a hash, a hash before a year.
    #[must_use]
    pub fn mask(&self, table: &TableName, column: &str) -> Option<Mask> {
        self.masks(table).filter(|(masked, _)| *masked == column).map(|(_, mask)| mask).min()
    }

    /// Masked columns of a table; a column may come more than once.
    pub fn masks<'a>(&'a self, table: &'a TableName) -> impl Iterator<Item = (&'a str, Mask)> {
        let opened = self.is_opened(table);
        let masks = self.masks.iter().filter(move |(on, ..)| !opened && is_copy(on, table));
        masks.map(|(_, column, mask)| (column.as_str(), *mask))
    }

    #[must_use]
    pub fn is_opened(&self, table: &TableName) -> bool {
        self.opened.iter().any(|place| place.covers(table))
    }

    /// Whether a filter or a mask holds on a table.
    #[must_use]
    pub fn hides(&self, table: &TableName) -> bool {
        self.filters(table).next().is_some() || self.masks(table).next().is_some()
    }

    #[must_use]
    pub fn hides_in_schema(&self, zone: Zone, schema: &str) -> bool {
        let tables = self.filters.iter().map(|(on, _)| on).chain(self.masks.iter().map(|(on, ..)| on));
        tables.into_iter().any(|on| {
            let here = TableName::new(zone, schema, &on.table);
            is_copy(on, &here) && !self.is_opened(&here)
        })
    }

    #[must_use]
    pub fn hides_anything(&self) -> bool {
        !self.filters.is_empty() || !self.masks.is_empty()
    }
}

/// The schemas that hold resources: the current ones and every version.
const RESOURCES: [&str; 2] = ["r4", "r4_history"];

/// Whether two tables hold the same rows: a table itself, raw and processed, current and history.
#[must_use]
pub fn is_copy(one: &TableName, other: &TableName) -> bool {
    if one.table != other.table {
        return false;
    }
    match (one.zone, other.zone) {
        (Zone::Raw | Zone::Processed, Zone::Raw | Zone::Processed) => one.schema == other.schema,
        (Zone::Fhir, Zone::Fhir) => {
            one.schema == other.schema
                || (RESOURCES.contains(&one.schema.as_str()) && RESOURCES.contains(&other.schema.as_str()))
        }
        (one_zone, other_zone) => one_zone == other_zone && one.schema == other.schema,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn table(text: &str) -> TableName {
        text.parse().unwrap()
    }

    #[test]
    fn leaves_add_up_and_columns_are_only_those_granted() {
        let place = Place::Table(table("raw.hms.patient"));
        let rights = Rights {
            reads: vec![(place.clone(), Some("id".to_owned())), (place, Some("sex".to_owned()))],
            ..Rights::default()
        };
        let columns = BTreeSet::from(["id".to_owned(), "sex".to_owned()]);
        assert_eq!(rights.sight(&table("raw.hms.patient")), Sight::Columns(columns));
        assert_eq!(rights.sight(&table("raw.hms.visit")), Sight::Nothing);
        assert!(rights.knows_schema(Zone::Raw, "hms"));
        assert!(!rights.reads_schema(Zone::Raw, "hms"));
    }

    #[rstest]
    #[case("raw.hms.t", "processed.hms.t", true)]
    #[case("fhir.r4.patient", "fhir.r4_history.patient", true)]
    #[case("fhir.r4.patient", "fhir.views.patient", false)]
    #[case("raw.hms.t", "raw.his.t", false)]
    #[case("raw.r4.t", "fhir.r4.t", false)]
    #[case("work.a.t", "work.a.t", true)]
    fn what_hides_holds_for_every_copy(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        let (one, other) = (table(one), table(other));
        let rights = Rights { masks: vec![(one, "name".to_owned(), Mask::Hash)], ..Rights::default() };
        assert_eq!(rights.mask(&other, "name").is_some(), same);
        assert_eq!(rights.hides_in_schema(other.zone, &other.schema), same);
    }

    #[test]
    fn of_two_masks_the_stricter_holds_and_an_emergency_lifts_both() {
        let on = table("processed.hms.patient");
        let masks = vec![(on.clone(), "born".to_owned(), Mask::Year), (on.clone(), "born".to_owned(), Mask::Null)];
        let mut rights = Rights { masks, ..Rights::default() };
        assert_eq!(rights.mask(&on, "born"), Some(Mask::Null));
        rights.opened = vec![Place::Schema(Zone::Processed, "hms".to_owned())];
        assert_eq!(rights.mask(&on, "born"), None);
        assert_eq!(rights.mask(&table("raw.hms.patient"), "born"), Some(Mask::Null));
    }
}

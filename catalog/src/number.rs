use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use mavis_types::{TableName, Zone};

use crate::Catalog;

/// The first number that is given; those below belong to what every PostgreSQL has (`FirstNormalObjectId`).
const FIRST: u32 = 16_384;
/// Numbers of one object: of a table also its key's index, its key's constraint and its row type.
const STEP: u32 = 4;

/// Whole numbers for schemas and tables, for clients that know things by such. They are given when they are first asked for
/// and last as long as the process.
#[derive(Debug, Default)]
pub(crate) struct Numbers(RwLock<Given>);

#[derive(Debug, Default)]
struct Given {
    by_name: HashMap<Arc<Numbered>, u32>,
    names: Vec<Arc<Numbered>>,
}

/// What has a number: a schema of a zone, or a table of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Numbered {
    pub zone: Zone,
    pub schema: String,
    /// `None`: the schema itself.
    pub table: Option<String>,
}

impl Numbered {
    #[must_use]
    pub fn table_name(&self) -> Option<TableName> {
        Some(TableName::new(self.zone, &self.schema, self.table.as_ref()?))
    }
}

impl Catalog {
    /// The number of a schema, or of a table of it; the three that follow belong to it too.
    #[must_use]
    pub fn number(&self, zone: Zone, schema: &str, table: Option<&str>) -> u32 {
        let name = Numbered { zone, schema: schema.to_owned(), table: table.map(str::to_owned) };
        if let Some(number) = self.numbers.0.read().unwrap_or_else(PoisonError::into_inner).by_name.get(&name) {
            return *number;
        }
        let mut given = self.numbers.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = given.by_name.get(&name) {
            return *number;
        }
        let place = u32::try_from(given.names.len()).unwrap_or(u32::MAX);
        let number = FIRST.saturating_add(place.saturating_mul(STEP));
        let name = Arc::new(name);
        given.names.push(Arc::clone(&name));
        given.by_name.insert(name, number);
        number
    }

    /// The number that a schema or a table has, if it was asked for before.
    #[must_use]
    pub fn number_of(&self, name: &Numbered) -> Option<u32> {
        self.numbers.0.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).copied()
    }

    /// What has this number, and how far behind its own first one it is.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<(Arc<Numbered>, u32)> {
        let place = number.checked_sub(FIRST)?;
        let given = self.numbers.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = given.names.get(usize::try_from(place / STEP).ok()?)?;
        Some((Arc::clone(name), place % STEP))
    }
}

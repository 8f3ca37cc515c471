use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{catalog::TableProvider, datasource::empty::EmptyTable};
use mavis_catalog::Table;
use mavis_lake::{Providers, work::PLACE};
use mavis_types::{Mask, Principal, TableName, Zone};

use datafusion::sql::sqlparser::ast::ObjectName;

use super::{rewrite::TARGET, statement::refused};
use crate::{
    Error, Session, fault,
    guard::{GuardedTable, Lens},
    names::{BoundName, TableKey},
    system,
};

/// Longest name of a schema or table, in bytes.
const LONGEST: usize = 128;

impl Session {
    /// The table that a statement is to write: `t` stands in the caller's own schema, `s.t` in `work`.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name outside of `work`, or one that the caller may not write.
    pub(super) fn written(&self, name: &ObjectName) -> Result<TableName, Error> {
        let key = TableKey::read(name, None)?;
        let principal = self.principal();
        let parts: Vec<String> = key.parts.iter().map(|part| part.to_lowercase()).collect();
        let name = match parts.as_slice() {
            [table] => TableName::new(Zone::Work, self.own_place(), table),
            [zone, _] if is_elsewhere(zone) => return Err(not_there(zone)),
            [schema, table] => TableName::new(Zone::Work, schema, table),
            [zone, schema, table] if zone == Zone::Work.as_str() => TableName::new(Zone::Work, schema, table),
            [zone, ..] => return Err(not_there(zone)),
            [] => return Err(fault::invalid("which table?")),
        };
        may_write(principal, &name)?;
        Ok(name)
    }

    /// The schema of a table that is named alone: that of `USE work.s`, else the caller's own.
    pub(super) fn own_place(&self) -> String {
        let home = &self.home;
        let used = home.schema.clone().filter(|_| home.catalog.as_deref() == Some(Zone::Work.as_str()));
        used.unwrap_or_else(|| self.principal().own_schema())
    }

    /// The table of that name, which must be there.
    pub(super) async fn target(&self, name: &TableName) -> Result<Table, Error> {
        match self.find_target(name).await? {
            Some(table) if table.view.is_some() => {
                Err(refused(format!("`{name}` is a view: it has no rows of its own that could be written")))
            }
            Some(table) => Ok(table),
            None => Err(self.missing(name).await?),
        }
    }

    /// Says of a name that is not in `work` whether the caller may have meant a table that is only read.
    async fn missing(&self, name: &TableName) -> Result<Error, Error> {
        let mut meant = vec![TableName::new(Zone::Fhir, "r4", &name.table)];
        meant.extend(
            [Zone::Processed, Zone::Raw, Zone::Fhir].map(|zone| TableName::new(zone, &name.schema, &name.table)),
        );
        for other in meant {
            let is_own = name.schema == self.principal().own_schema();
            let fits = other.schema == name.schema || is_own;
            if fits && self.principal().may_read(&other) && self.find_target(&other).await?.is_some() {
                return Ok(refused(format!("`{other}` is read-only, and there is no `{name}`")));
            }
        }
        Ok(Error::NoSuchTable { table: name.to_string(), hint: String::new() })
    }

    pub(super) async fn find_target(&self, name: &TableName) -> Result<Option<Table>, Error> {
        Ok(self.lake().catalog().find_table(name).await?)
    }
}

fn is_elsewhere(zone: &str) -> bool {
    system::catalogs().any(|known| known == zone && known != Zone::Work.as_str()) || zone == system::INFORMATION
}

fn not_there(zone: &str) -> Error {
    refused(format!("`{zone}` is read-only: statements write only in `work`, as `work.<your schema>.<table>`"))
}

/// # Errors
/// [`Error::Refused`], which says where the principal may write.
pub(super) fn may_write(principal: &Principal, name: &TableName) -> Result<(), Error> {
    if name.zone != Zone::Work {
        return Err(not_there(name.zone.as_str()));
    }
    for part in [&name.schema, &name.table] {
        let letters = part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if part.is_empty() || part.len() > LONGEST || !letters || part == system::INFORMATION {
            return Err(fault::invalid(
                "names of schemas and tables in `work` have letters, digits, `_` and `-`, and no more than 128 bytes",
            ));
        }
    }
    if principal.may_write(name) {
        return tells_no_hashes(principal, name);
    }
    let own = TableName::new(Zone::Work, principal.own_schema(), &name.table);
    Err(if principal.may_write(&own) {
        refused(format!("you may not write in `work.{}`: your own schema is `work.{}`", name.schema, own.schema))
    } else {
        refused("this token only reads: an analyst's token writes in a schema of `work`")
    })
}

/// # Errors
/// [`Error::Refused`] where something of the table is hidden from the caller, who could not know what is changed.
pub(super) fn sees_all(principal: &Principal, name: &TableName) -> Result<(), Error> {
    if principal.sees_whole(name) {
        return Ok(());
    }
    Err(refused(format!("rows or values of `{name}` are hidden from you, so that you may add to it but not change it")))
}

/// Equal texts have equal hashes in the whole lake, so that they can be joined: who could write a guess where it is shown as its
/// hash could look for that hash in every other table.
///
/// # Errors
/// [`Error::Refused`] where a column of that name's table is shown to the caller as a hash.
fn tells_no_hashes(principal: &Principal, name: &TableName) -> Result<(), Error> {
    if principal.rights.masks(name).all(|(_, mask)| mask != Mask::Hash) {
        return Ok(());
    }
    Err(refused(format!("a column of `{name}` is shown to you as a hash, so that you may not write there")))
}

/// What a name means in a query, and the provider behind it.
pub(super) type Bound = (TableKey, BoundName, Arc<dyn TableProvider>);

/// What the name [`TARGET`] means.
pub(super) fn bound(principal: &Principal, table: &Table, rows: Arc<dyn TableProvider>) -> Bound {
    let columns = rows.schema();
    let providers = Providers {
        version: 0,
        lake: None,
        whole: Arc::clone(&rows),
        look_up: rows,
        columns: Arc::default(),
        rows: None,
    };
    let guarded = GuardedTable::new(providers, table, Lens::default(), principal.token);
    let name = [table.name.zone.as_str().to_owned(), table.name.schema.clone(), table.name.table.clone()];
    let relation = [name[0].clone(), name[1].clone(), format!("{}{TARGET}", name[2])];
    let key = TableKey { parts: vec![TARGET.to_owned()], as_of: None };
    (key, BoundName { relation, name, columns, stamp: None }, Arc::new(guarded))
}

/// The columns of a target with those that tell places, and no rows: enough to plan.
pub(super) fn hollow(columns: &SchemaRef) -> Arc<dyn TableProvider> {
    use arrow::datatypes::{DataType, Field, Schema};
    let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(PLACE, DataType::Int64, false)));
    Arc::new(EmptyTable::new(Arc::new(Schema::new(fields))))
}

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Statement, TableFactor, Visit, Visitor};

use crate::{Error, fault, time_travel::AsOf};

/// A table as a statement writes it: its parts as they are compared, and the state asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableKey {
    /// Unquoted parts in lower case, quoted ones as they are.
    pub(crate) parts: Vec<String>,
    pub(crate) as_of: Option<AsOf>,
}

impl TableKey {
    /// # Errors
    /// [`Error::Invalid`] for a name with other things than identifiers in it, or a clause that is not a literal.
    pub(crate) fn read(
        name: &ObjectName,
        version: Option<&datafusion::sql::sqlparser::ast::TableVersion>,
    ) -> Result<Self, Error> {
        let parts = name.0.iter().map(|part| part.as_ident().map(compared)).collect::<Option<Vec<_>>>();
        let parts = parts.ok_or_else(|| fault::invalid(format!("`{name}` is not a table name")))?;
        Ok(Self { parts, as_of: version.map(AsOf::read).transpose()? })
    }
}

impl std::fmt::Display for TableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

/// An identifier as names are compared.
pub(crate) fn compared(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Every table that a statement names, in subqueries and CTEs too. Names of CTEs are among them: which is which only the
/// walk with scopes can tell.
///
/// # Errors
/// As [`TableKey::read`].
pub(crate) fn tables(statement: &Statement) -> Result<BTreeSet<TableKey>, Error> {
    let mut collector = Collector::default();
    match statement.visit(&mut collector) {
        ControlFlow::Continue(()) => Ok(collector.found),
        ControlFlow::Break(error) => Err(*error),
    }
}

#[derive(Default)]
struct Collector {
    found: BTreeSet<TableKey>,
}

impl Visitor for Collector {
    type Break = Box<Error>;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Table { name, version, args: None, .. } = factor {
            match TableKey::read(name, version.as_ref()) {
                Ok(key) => {
                    self.found.insert(key);
                }
                Err(error) => return ControlFlow::Break(Box::new(error)),
            }
        }
        ControlFlow::Continue(())
    }
}

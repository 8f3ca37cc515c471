use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Expr, Ident};

use crate::{Error, fault};

/// A column that can be named.
#[derive(Debug, Clone)]
pub(super) struct Col {
    pub(super) name: String,
    /// Known where the column is a table's own; tells the names of nested fields.
    pub(super) data_type: Option<DataType>,
}

impl Col {
    pub(super) fn new(name: impl Into<String>, data_type: Option<DataType>) -> Self {
        Self { name: name.into(), data_type }
    }
}

/// One item of a FROM.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// The qualifier that the plan knows it by.
    pub(super) qualifier: Option<String>,
    /// What its columns may be qualified with: `[alias]`, or a table's `[catalog, schema, table]` or a tail of it.
    pub(super) parts: Vec<String>,
    /// `None` where the columns are not known before planning.
    pub(super) columns: Option<Vec<Col>>,
}

/// A column of a FROM as `*` has it.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) name: String,
    pub(super) expr: Expr,
    pub(super) data_type: Option<DataType>,
    /// Whether it is one of two, by `USING` or `NATURAL`.
    pub(super) is_merged: bool,
}

/// What the identifiers of one SELECT can mean.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
    /// Names that the select list gives.
    pub(super) outputs: Vec<Col>,
    /// ORDER BY looks at the outputs first, everything else at the tables.
    pub(super) outputs_first: bool,
    /// Columns that joins by names made one of two.
    pub(super) merged: Vec<Out>,
    /// What `*` stands for; `None` where it is not known before planning.
    pub(super) stars: Option<Vec<Out>>,
}

/// Whether an identifier means this name.
pub(super) fn means(ident: &Ident, name: &str) -> bool {
    ident.value == name || (ident.quote_style.is_none() && ident.value.to_lowercase() == name.to_lowercase())
}

/// The identifier in the exact spelling, at its place in the text.
pub(super) fn exact(ident: &Ident, name: &str) -> Ident {
    Ident { value: name.to_owned(), quote_style: Some('"'), span: ident.span }
}

/// A resolved chain of identifiers and the type of what it names.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) idents: Vec<Ident>,
    pub(super) data_type: Option<DataType>,
    /// How many of `idents` are the column and its qualifier; the rest are nested fields.
    pub(super) column: usize,
}

/// Looks a chain of identifiers up, innermost scope first. `None`: it is found nowhere.
pub(super) fn look_up(scopes: &[Scope], idents: &[Ident]) -> Result<Option<Resolved>, Error> {
    for scope in scopes.iter().rev() {
        if let Some(found) = scope.look_up(idents)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Scope {
    fn look_up(&self, idents: &[Ident]) -> Result<Option<Resolved>, Error> {
        if let Some(found) = self.qualified(idents)? {
            return Ok(Some(found));
        }
        let first = if self.outputs_first { self.output(idents)? } else { self.unqualified(idents)? };
        match first {
            Some(found) => Ok(Some(found)),
            None if self.outputs_first => self.unqualified(idents),
            None => self.output(idents),
        }
    }

    /// `alias.column`, `table.column`, `schema.table.column`, `catalog.schema.table.column`, each with nested fields.
    fn qualified(&self, idents: &[Ident]) -> Result<Option<Resolved>, Error> {
        for length in (1..idents.len().min(4)).rev() {
            let (qualifier, rest) = idents.split_at(length);
            let mut found: Option<Resolved> = None;
            for relation in self.relations.iter().filter(|relation| relation.is_named(qualifier)) {
                let Some(mut this) = relation.column(rest) else { continue };
                if found.is_some() {
                    return Err(ambiguous(idents));
                }
                if let (Some(name), Some(last)) = (&relation.qualifier, qualifier.last()) {
                    this.idents.insert(0, exact(last, name));
                    this.column += 1;
                }
                found = Some(this);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn unqualified(&self, idents: &[Ident]) -> Result<Option<Resolved>, Error> {
        let known = self.relations.iter().filter(|relation| relation.columns.is_some());
        let found: Vec<Resolved> = known.filter_map(|relation| relation.column(idents)).collect();
        one_spelling(found, idents)
    }

    fn output(&self, idents: &[Ident]) -> Result<Option<Resolved>, Error> {
        let found = self.outputs.iter().filter(|col| idents.first().is_some_and(|ident| means(ident, &col.name)));
        one_spelling(found.filter_map(|col| nested(col, idents)).collect(), idents)
    }
}

/// Several tables may have the column (the planner decides whether that is an error); their spellings may differ, then
/// the one that the caller wrote is meant.
fn one_spelling(mut found: Vec<Resolved>, idents: &[Ident]) -> Result<Option<Resolved>, Error> {
    let spelled = |resolved: &Resolved| resolved.idents.first().map(|ident| ident.value.clone());
    let Some(first) = found.first().and_then(spelled) else { return Ok(None) };
    if found.iter().all(|other| spelled(other).as_ref() == Some(&first)) {
        return Ok(Some(found.swap_remove(0)));
    }
    let written = idents.first().map(|ident| ident.value.clone());
    match found.into_iter().find(|resolved| spelled(resolved) == written) {
        Some(this) => Ok(Some(this)),
        None => Err(ambiguous(idents)),
    }
}

impl Relation {
    fn is_named(&self, qualifier: &[Ident]) -> bool {
        qualifier.len() <= self.parts.len()
            && qualifier.iter().rev().zip(self.parts.iter().rev()).all(|(ident, part)| means(ident, part))
    }

    /// The column that `idents` begin with; of two that differ only in case, the one written exactly.
    pub(super) fn column(&self, idents: &[Ident]) -> Option<Resolved> {
        let ident = idents.first()?;
        let Some(columns) = &self.columns else {
            let data_type = None;
            return Some(Resolved { idents: idents.to_vec(), data_type, column: 1 });
        };
        let col = columns
            .iter()
            .find(|col| col.name == ident.value)
            .or_else(|| columns.iter().find(|col| means(ident, &col.name)))?;
        nested(col, idents)
    }
}

/// The column and the nested fields after it, as far as their names are known.
fn nested(col: &Col, idents: &[Ident]) -> Option<Resolved> {
    let (first, fields) = idents.split_first()?;
    let mut spelled = vec![exact(first, &col.name)];
    let mut data_type = col.data_type.clone();
    for ident in fields {
        let (name, inner) = field(data_type.as_ref(), ident);
        spelled.push(name);
        data_type = inner;
    }
    Some(Resolved { idents: spelled, data_type, column: 1 })
}

/// A field of a struct, in its exact spelling.
pub(super) fn field(data_type: Option<&DataType>, ident: &Ident) -> (Ident, Option<DataType>) {
    let Some(DataType::Struct(fields)) = data_type else { return (ident.clone(), None) };
    let found = fields
        .iter()
        .find(|field| *field.name() == ident.value)
        .or_else(|| fields.iter().find(|field| means(ident, field.name())));
    match found {
        Some(field) => (exact(ident, field.name()), Some(field.data_type().clone())),
        None => (ident.clone(), None),
    }
}

fn ambiguous(idents: &[Ident]) -> Error {
    let text = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
    let start = idents.first().map(|ident| ident.span.start);
    match fault::invalid(format!("column `{text}` is ambiguous: write the table's alias before it")) {
        Error::Invalid { message, .. } => Error::Invalid {
            message,
            line: start.map(|place| place.line).filter(|line| *line > 0),
            column: start.map(|place| place.column).filter(|column| *column > 0),
        },
        other => other,
    }
}

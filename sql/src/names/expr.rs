use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Query, Subscript, Value, VisitMut, VisitorMut};

use super::{
    merged::meant,
    query::Walk,
    scope::{Scope, field, look_up},
};
use crate::Error;

/// Spells the columns of an expression; subqueries in it are walked with the scopes around them.
pub(super) fn spell<T: VisitMut>(part: &mut T, walk: &mut Walk<'_>) -> Result<(), Error> {
    let mut speller = Speller { walk, depth: 0 };
    match part.visit(&mut speller) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Speller<'w, 'a> {
    walk: &'w mut Walk<'a>,
    /// Above zero inside a subquery, which has been walked as a whole.
    depth: usize,
}

impl VisitorMut for Speller<'_, '_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if self.depth == 0
            && let Err(error) = self.walk.query(query)
        {
            return ControlFlow::Break(Box::new(error));
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match column(&self.walk.scopes, expr) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// Spells an expression that is a column, or a field of one, and tells its name and type; `None` for another expression.
pub(super) fn column(scopes: &[Scope], expr: &mut Expr) -> Result<Option<(String, Option<DataType>, bool)>, Error> {
    if let Expr::Identifier(ident) = expr
        && let Some(out) = meant(scopes, ident)
    {
        *expr = out.expr;
        return Ok(Some((out.name, out.data_type, false)));
    }
    match expr {
        Expr::Identifier(ident) => {
            let found = look_up(scopes, std::slice::from_ref(ident))?;
            let data_type = found.and_then(|found| {
                if let Some(spelled) = found.idents.last() {
                    *ident = spelled.clone();
                }
                found.data_type
            });
            Ok(Some((name_of(ident), data_type, false)))
        }
        Expr::CompoundIdentifier(idents) => {
            let found = look_up(scopes, idents)?;
            let (data_type, is_nested) = match found {
                Some(found) => {
                    let is_nested = found.idents.len() > found.column;
                    *idents = found.idents;
                    (found.data_type, is_nested)
                }
                None => (None, false),
            };
            Ok(idents.last().map(|last| (name_of(last), data_type, is_nested)))
        }
        Expr::CompoundFieldAccess { root, access_chain } => access(scopes, root, access_chain),
        _ => Ok(None),
    }
}

/// `name[1].family`, `p.name[1].given[1]`.
fn access(
    scopes: &[Scope],
    root: &mut Box<Expr>,
    chain: &mut Vec<AccessExpr>,
) -> Result<Option<(String, Option<DataType>, bool)>, Error> {
    let mut idents = match root.as_ref() {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(idents) => idents.clone(),
        _ => return Ok(None),
    };
    let dots = chain.iter().take_while(|step| matches!(step, AccessExpr::Dot(Expr::Identifier(_)))).count();
    idents.extend(chain.drain(..dots).filter_map(|step| match step {
        AccessExpr::Dot(Expr::Identifier(ident)) => Some(ident),
        _ => None,
    }));
    let mut data_type = None;
    if let Some(found) = look_up(scopes, &idents)? {
        idents = found.idents;
        data_type = found.data_type;
    }
    let mut name = idents.last().map(name_of);
    **root = match <[Ident; 1]>::try_from(idents) {
        Ok([ident]) => Expr::Identifier(ident),
        Err(idents) => Expr::CompoundIdentifier(idents),
    };
    for step in chain.iter_mut() {
        match step {
            AccessExpr::Dot(Expr::Identifier(ident)) => {
                let (spelled, inner) = field(data_type.as_ref(), ident);
                let text = name_of(&spelled);
                // The planner knows a field after an index only as `['field']`.
                let index = Expr::Value(Value::SingleQuotedString(text.clone()).with_span(ident.span));
                *step = AccessExpr::Subscript(Subscript::Index { index });
                name = Some(text);
                data_type = inner;
            }
            AccessExpr::Subscript(Subscript::Index { .. }) => data_type = element(data_type),
            AccessExpr::Subscript(Subscript::Slice { .. }) => {}
            AccessExpr::Dot(_) => data_type = None,
        }
    }
    Ok(name.map(|name| (name, data_type, true)))
}

pub(super) fn element(data_type: Option<DataType>) -> Option<DataType> {
    match data_type? {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item) => Some(item.data_type().clone()),
        _ => None,
    }
}

/// The name that the planner will know an identifier by.
pub(super) fn name_of(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

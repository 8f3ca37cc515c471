//! Columns that `USING` and `NATURAL` make one of two. Named without a table, such a column is the side's whose rows are all
//! there: of a full join, whichever side has a row. `*` has them first. The engine takes the left one whatever the join is, and
//! calls those of a second join ambiguous, so joins are put as `ON` here and the columns as what they are.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, SelectItem, Value,
    WildcardAdditionalOptions,
};

use super::scope::{Col, Out, Relation, Scope, means};
use crate::{Error, fault};

/// The columns of a relation; `None` where they are not known before planning.
pub(super) fn columns(relation: &Relation) -> Option<Vec<Out>> {
    let quoted = |name: &str| Ident::with_quote('"', name);
    let out = |col: &Col| {
        let column = quoted(&col.name);
        let expr = match &relation.qualifier {
            Some(table) => Expr::CompoundIdentifier(vec![quoted(table), column]),
            None => Expr::Identifier(column),
        };
        Out { name: col.name.clone(), expr, data_type: col.data_type.clone(), is_merged: false }
    };
    relation.columns.as_ref().map(|columns| columns.iter().map(out).collect())
}

/// Puts a join by names as one by a condition, and tells the columns that come of it.
///
/// # Errors
/// [`Error::Invalid`] for a column that a side does not have, or has twice.
pub(super) fn join(operator: &mut JoinOperator, left: Vec<Out>, right: Vec<Out>) -> Result<Vec<Out>, Error> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    let (is_left, is_right) = match operator {
        Join(_) | Inner(_) | Left(_) | LeftOuter(_) => (true, false),
        Right(_) | RightOuter(_) => (false, true),
        FullOuter(_) => (true, true),
        // Only one side comes of the others.
        _ => return Ok(left),
    };
    let (Join(constraint)
    | Inner(constraint)
    | Left(constraint)
    | LeftOuter(constraint)
    | Right(constraint)
    | RightOuter(constraint)
    | FullOuter(constraint)) = operator
    else {
        return Ok(left);
    };
    let names = match constraint {
        JoinConstraint::Using(names) => names.iter().filter_map(ident).cloned().collect(),
        JoinConstraint::Natural => common(&left, &right),
        _ => return Ok(left.into_iter().chain(right).collect()),
    };
    let (mut merged, mut condition): (Vec<Out>, Option<Expr>) = (Vec::new(), None);
    for name in &names {
        let (one, other) = (found(&left, name)?, found(&right, name)?);
        let equal = Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(one.expr.clone()),
            op: BinaryOperator::Eq,
            right: Box::new(other.expr.clone()),
        }));
        condition = Some(match condition {
            Some(before) => Expr::BinaryOp { left: Box::new(before), op: BinaryOperator::And, right: Box::new(equal) },
            None => equal,
        });
        let expr = match (is_left, is_right) {
            (true, true) => either(one.expr.clone(), other.expr.clone()),
            (false, true) => other.expr.clone(),
            _ => one.expr.clone(),
        };
        merged.push(Out { name: one.name.clone(), expr, data_type: one.data_type.clone(), is_merged: true });
    }
    *constraint = JoinConstraint::On(condition.unwrap_or_else(|| Expr::value(Value::Boolean(true))));
    let is_other = |out: &Out| !names.iter().any(|name| means(name, &out.name));
    let others: Vec<Out> = left.into_iter().chain(right).filter(is_other).collect();
    merged.extend(others);
    Ok(merged)
}

/// Whether a join is by names.
pub(super) fn is_by_names(operator: &JoinOperator) -> bool {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match operator {
        Join(constraint)
        | Inner(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint) => {
            matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
        }
        _ => false,
    }
}

fn ident(name: &ObjectName) -> Option<&Ident> {
    name.0.last().and_then(ObjectNamePart::as_ident)
}

fn common(left: &[Out], right: &[Out]) -> Vec<Ident> {
    let both = left.iter().filter(|out| right.iter().any(|other| other.name == out.name));
    let mut names: Vec<Ident> = both.map(|out| Ident::with_quote('"', &out.name)).collect();
    names.dedup();
    names
}

fn found<'a>(side: &'a [Out], name: &Ident) -> Result<&'a Out, Error> {
    let exactly = side.iter().filter(|out| out.name == name.value).count() == 1;
    let mut those = side.iter().filter(|out| if exactly { out.name == name.value } else { means(name, &out.name) });
    let (first, second) = (those.next(), those.next());
    let message = match (first, second) {
        (Some(out), None) => return Ok(out),
        (None, _) => format!("column `{}` that the join is by is not on both sides of it", name.value),
        _ => format!(
            "column `{}` that the join is by is there twice on one side: write ON with the tables' names",
            name.value
        ),
    };
    Err(match fault::invalid(message) {
        Error::Invalid { message, .. } => Error::Invalid {
            message,
            line: Some(name.span.start.line).filter(|line| *line > 0),
            column: Some(name.span.start.column).filter(|column| *column > 0),
        },
        other => other,
    })
}

fn either(left: Expr, right: Expr) -> Expr {
    let args = [left, right].map(|side| FunctionArg::Unnamed(FunctionArgExpr::Expr(side)));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new("coalesce"))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.to_vec(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Those columns that are made one.
pub(super) fn merged(columns: &[Out]) -> impl Iterator<Item = &Out> {
    columns.iter().filter(|out| out.is_merged)
}

/// What a name without a table means, where it is a merged column; the innermost scope that has it tells.
pub(super) fn meant(scopes: &[Scope], ident: &Ident) -> Option<Out> {
    for scope in scopes.iter().rev() {
        if scope.outputs_first && scope.outputs.iter().any(|col| means(ident, &col.name)) {
            return None;
        }
        if let Some(out) = scope.merged.iter().find(|out| means(ident, &out.name)) {
            return Some(out.clone());
        }
        let has = |relation: &Relation| {
            relation.columns.as_ref().is_some_and(|columns| columns.iter().any(|col| means(ident, &col.name)))
        };
        if scope.relations.iter().any(has) {
            return None;
        }
    }
    None
}

/// `*` of a FROM with merged columns, written out.
pub(super) fn written_out(items: &mut Vec<SelectItem>, scope: &Scope) {
    let Some(stars) = scope.stars.as_ref().filter(|_| !scope.merged.is_empty()) else { return };
    let written = std::mem::take(items).into_iter().flat_map(|item| match item {
        SelectItem::Wildcard(options) => starred(stars, options),
        other => vec![other],
    });
    *items = written.collect();
}

fn starred(stars: &[Out], options: WildcardAdditionalOptions) -> Vec<SelectItem> {
    let mut left_out: Vec<Ident> = match options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => ident(&name).cloned().into_iter().collect(),
        Some(ExcludeSelectItem::Multiple(names)) => names.iter().filter_map(ident).cloned().collect(),
        None => Vec::new(),
    };
    if let Some(except) = options.opt_except {
        left_out.push(except.first_element);
        left_out.extend(except.additional_elements);
    }
    let replaced = options.opt_replace.map(|replace| replace.items).unwrap_or_default();
    let kept = stars.iter().filter(|out| !left_out.iter().any(|ident| means(ident, &out.name)));
    let item = |out: &Out| {
        let alias = Ident::with_quote('"', &out.name);
        if let Some(other) = replaced.iter().find(|element| means(&element.column_name, &out.name)) {
            return SelectItem::ExprWithAlias { expr: other.expr.clone(), alias };
        }
        match &out.expr {
            Expr::Function(_) => SelectItem::ExprWithAlias { expr: out.expr.clone(), alias },
            column => SelectItem::UnnamedExpr(column.clone()),
        }
    };
    kept.map(item).collect()
}

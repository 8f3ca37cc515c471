//! The types that parameters have by where they stand in a plan, beyond what its planner tells.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::{
        DFSchema, Result,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        Between, BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan,
        expr::{InList, Placeholder, ScalarFunction},
        utils::merge_schema,
    },
};

use crate::planner::plain_type;

/// Functions whose values are of one type, which is that of the answer.
const ALIKE: [&str; 5] = ["coalesce", "nvl", "nullif", "greatest", "least"];

/// The types that are told, by the names of parameters. One that stands in several places is typed by the first that says
/// something.
pub(crate) fn types(plan: &LogicalPlan) -> Result<HashMap<String, DataType>> {
    let mut found = Found::default();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Filter(filter) = node {
            found.add(&filter.predicate, &DataType::Boolean);
        }
        let mut schema = None;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Placeholder(Placeholder { id, field: Some(field) }) = expr
                    && *field.data_type() != DataType::Null
                {
                    found.typed.insert(id.clone(), field.data_type().clone());
                } else if has_open(expr) {
                    let schema = schema.get_or_insert_with(|| merge_schema(&node.inputs()));
                    found.around(expr, schema);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let Found { typed, mut guessed } = found;
    guessed.extend(typed);
    Ok(guessed)
}

fn open(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Placeholder(Placeholder { id, field }) => {
            field.as_ref().is_none_or(|field| *field.data_type() == DataType::Null).then_some(id)
        }
        Expr::Alias(alias) => open(&alias.expr),
        _ => None,
    }
}

/// Whether a parameter of no type stands right in it, or in a function right in it.
fn has_open(expr: &Expr) -> bool {
    let mut found = false;
    let walked = expr.apply_children(|child| {
        found |= open(child).is_some() || bounds(child).is_some();
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && found
}

/// The parameter whose least or largest item is asked for, which is what the engine makes of `x > ANY ($1)`.
fn bounds(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if matches!(func.name(), "array_min" | "array_max") => {
            open(args.first()?)
        }
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Found {
    typed: HashMap<String, DataType>,
    guessed: HashMap<String, DataType>,
}

impl Found {
    fn add(&mut self, expr: &Expr, of: &DataType) {
        if let Some(id) = open(expr).filter(|_| *of != DataType::Null) {
            self.guessed.entry(id.to_owned()).or_insert_with(|| of.clone());
        }
    }

    /// Parameters among them are what the first of the others is whose type is known.
    fn alike<'a>(&mut self, exprs: impl Iterator<Item = &'a Expr> + Clone, schema: &DFSchema) {
        let known = exprs.clone().filter(|expr| open(expr).is_none()).find_map(|expr| type_of(expr, schema));
        if let Some(known) = known {
            exprs.for_each(|expr| self.add(expr, &known));
        }
    }

    fn list_of(&mut self, id: Option<&str>, item: &Expr, schema: &DFSchema) {
        if let (Some(id), Some(item)) = (id, type_of(item, schema)) {
            let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
            self.guessed.entry(id.to_owned()).or_insert(list);
        }
    }

    fn around(&mut self, expr: &Expr, schema: &DFSchema) {
        match expr {
            Expr::Not(inner) => self.add(inner, &DataType::Boolean),
            Expr::InList(InList { expr, list, .. }) => {
                self.alike(std::iter::once(expr.as_ref()).chain(list), schema);
            }
            Expr::Between(Between { expr, low, high, .. }) => {
                self.alike([expr, low, high].into_iter().map(AsRef::as_ref), schema);
            }
            Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
                let thens = when_then_expr.iter().map(|(_, then)| then.as_ref());
                self.alike(thens.chain(else_expr.iter().map(AsRef::as_ref)), schema);
            }
            Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
                self.list_of(bounds(left), right, schema);
                self.list_of(bounds(right), left, schema);
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), args.as_slice()) {
                ("array_has", [list, item]) => self.list_of(open(list), item, schema),
                (name, args) if ALIKE.contains(&name) => self.alike(args.iter(), schema),
                _ => {}
            },
            _ => {}
        }
    }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok().filter(|of| *of != DataType::Null).map(|of| plain_type(&of))
}

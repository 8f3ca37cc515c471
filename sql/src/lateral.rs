//! `FROM t LATERAL VIEW [OUTER] explode(t.items) v AS item`, as Hive has it: a row for each item of a list (or entry of a map)
//! beside the columns of its row.
//!
//! DataFusion plans no lateral views, but lets relations be planned by others. A parsed statement has no place for what is
//! asked, so [`carry`] puts FROM and view into a form that the parser knows and that no statement of ours can have (PIVOT is
//! refused), and [`LateralViews`] plans it: the columns of FROM with their qualifiers, and the list beside them taken apart.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{Column, DFSchema, Result, TableReference, UnnestOptions, plan_err},
    functions_nested::expr_fn::{array_empty, cardinality, map_keys, map_values, range},
    logical_expr::{
        Expr, ExprSchemable, LogicalPlanBuilder,
        planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning},
        when,
    },
    prelude::lit,
    scalar::ScalarValue,
    sql::sqlparser::ast::{
        self, ExprWithAlias, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, LateralView, PivotValueSource,
        Select, TableFactor, TableWithJoins,
    },
};

/// Which function a view applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Items of a list; keys and values of a map.
    Explode,
    /// Places from 0, and items, of a list.
    PosExplode,
}

impl Kind {
    fn of(call: &ast::Function) -> Option<Self> {
        match call.name.to_string().to_lowercase().as_str() {
            // what `explode` is called by then, see `dialect::hive`
            "explode" | "unnest" => Some(Self::Explode),
            "posexplode" => Some(Self::PosExplode),
            _ => None,
        }
    }
}

/// The list that a view takes apart; `None` for a function that is not known.
pub(crate) fn list_of(view: &mut LateralView) -> Option<&mut ast::Expr> {
    let ast::Expr::Function(call) = &mut view.lateral_view else { return None };
    Kind::of(call)?;
    match &mut call.args {
        FunctionArguments::List(list) => match list.args.as_mut_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the view gives the place of an item before the item.
pub(crate) fn tells_place(view: &LateralView) -> bool {
    matches!(&view.lateral_view, ast::Expr::Function(call) if Kind::of(call) == Some(Kind::PosExplode))
}

/// Takes the views of a SELECT into its FROM.
pub(crate) fn carry(select: &mut Select) {
    for view in std::mem::take(&mut select.lateral_views) {
        let mut from = std::mem::take(&mut select.from).into_iter();
        let Some(mut whole) = from.next() else { return };
        // `FROM a, b` is a cross join
        whole.joins.extend(from.flat_map(|item| {
            let first = ast::Join {
                relation: item.relation,
                global: false,
                join_operator: ast::JoinOperator::CrossJoin(ast::JoinConstraint::None),
            };
            std::iter::once(first).chain(item.joins)
        }));
        let inner = TableFactor::NestedJoin { table_with_joins: Box::new(whole), alias: None };
        let name = view.lateral_view_name.0.last().and_then(|part| part.as_ident()).cloned();
        let carrier = TableFactor::Pivot {
            table: Box::new(inner),
            aggregate_functions: vec![ExprWithAlias { expr: view.lateral_view, alias: name }],
            value_column: view.lateral_col_alias.into_iter().map(ast::Expr::Identifier).collect(),
            value_source: PivotValueSource::List(Vec::new()),
            default_on_null: view.outer.then(|| ast::Expr::value(ast::Value::Boolean(true))),
            alias: None,
        };
        select.from = vec![TableWithJoins { relation: carrier, joins: Vec::new() }];
    }
}

/// Plans what [`carry`] made.
#[derive(Debug)]
pub(crate) struct LateralViews;

impl RelationPlanner for LateralViews {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::Pivot { table, mut aggregate_functions, value_column, default_on_null, .. } = relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let Some(ExprWithAlias { expr: ast::Expr::Function(call), alias: Some(view) }) = aggregate_functions.pop()
        else {
            return plan_err!("a lateral view applies a function and has a name");
        };
        let (Some(kind), FunctionArguments::List(mut list)) = (Kind::of(&call), call.args) else {
            return plan_err!("LATERAL VIEW knows explode() and posexplode()");
        };
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(list))) = list.args.pop() else {
            return plan_err!("{} takes one list or map", call.name);
        };
        let names: Vec<&Ident> = value_column
            .iter()
            .filter_map(|name| if let ast::Expr::Identifier(name) = name { Some(name) } else { None })
            .collect();
        let plan = context.plan(*table)?;
        let list = context.sql_to_expr(list, plan.schema())?;
        let qualifier = TableReference::bare(view.value);
        let outer = default_on_null.is_some();
        let parts = parts(kind, list, plan.schema())?;
        // Taken apart a column has no qualifier: it goes by a name that no column has, and gets its own afterwards.
        let (mut lists, mut held, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (default, list)) in parts.into_iter().enumerate() {
            let column = Column::from_name(format!("\0lateral {at}"));
            let name = names.get(at).map_or_else(|| default.to_owned(), |name| name.value.clone());
            // A list without items is kept as NULL is: by a row without an item.
            let list = if outer { or_null(list, plan.schema())? } else { list };
            lists.push(list.alias(column.name.clone()));
            named.push(Expr::Column(column.clone()).alias_qualified(Some(qualifier.clone()), name));
            held.push(column);
        }
        let kept: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let options = UnnestOptions::new().with_preserve_nulls(outer);
        let plan = LogicalPlanBuilder::from(plan)
            .project(kept.iter().cloned().chain(lists).collect::<Vec<_>>())?
            .unnest_columns_with_options(held, options)?
            .project(kept.into_iter().chain(named).collect::<Vec<_>>())?
            .build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}

/// NULL in the place of a list without items.
fn or_null(list: Expr, schema: &Arc<DFSchema>) -> Result<Expr> {
    let null = lit(ScalarValue::try_from(&list.get_type(schema)?)?);
    when(array_empty(list.clone()), null).otherwise(list)
}

/// The lists of a view, with the names that Hive gives them.
fn parts(kind: Kind, list: Expr, schema: &Arc<DFSchema>) -> Result<Vec<(&'static str, Expr)>> {
    let data_type = list.get_type(schema)?;
    Ok(match (kind, data_type) {
        (Kind::Explode, DataType::Map(..)) => vec![("key", map_keys(list.clone())), ("value", map_values(list))],
        (Kind::Explode, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => {
            vec![("col", list)]
        }
        (Kind::PosExplode, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => {
            let places = range(lit(0_i64), cardinality(list.clone()), lit(1_i64));
            vec![("pos", places), ("col", list)]
        }
        (_, other) => return plan_err!("a lateral view takes a list or a map apart, not {other}"),
    })
}

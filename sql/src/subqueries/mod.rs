//! `EXISTS` and `IN (SELECT ...)` as values, which the engine knows as conditions only.
//!
//! Where a row is kept or left out by them, DataFusion joins. In a list of columns, in an aggregate, a window or an order they
//! are counts here: `EXISTS (q)` is `(SELECT count(*) FROM q) > 0`, which becomes a join with groups, and of `x IN (q)` the
//! rows that are equal are counted. Whether it is NULL (nothing is equal, and `x` or something of `q` is NULL) is told by
//! counting once more, where there may be NULLs. `x NOT IN (q)` that is asked anew for each row is a `NOT EXISTS`, and a query in
//! the condition of a join is computed on the side that it asks about. Before all that, [`spread`] answers what the engine does not
//! join rightly.

mod domain;
mod spread;

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchema, Result,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    functions_aggregate::expr_fn::count,
    logical_expr::{
        Aggregate, Distinct, Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
        Sort, SortExpr, Subquery, Window, binary_expr,
        expr::{Exists, InSubquery},
        expr_rewriter::NamePreserver,
        lit, not, not_exists, scalar_subquery,
        utils::{conjunction, split_conjunction_owned},
        when,
    },
    scalar::ScalarValue,
};

use domain::called;

/// A plan without `EXISTS` and `IN` where rows are not chosen by them.
///
/// # Errors
/// Those of building plans, which a plan of the planner's does not cause.
pub(crate) fn as_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = spread::spread(plan)?.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Projection(_) if asks(&node)? => listed(node),
        LogicalPlan::Aggregate(aggregate) if any(aggregate.group_expr.iter().chain(&aggregate.aggr_expr))? => {
            aggregated(aggregate)
        }
        LogicalPlan::Window(window) if any(&window.window_expr)? => windowed(window),
        LogicalPlan::Filter(filter) if any([&filter.predicate])? => filtered(filter),
        LogicalPlan::Sort(sort) if any(sort.expr.iter().map(|key| &key.expr))? => sorted(sort),
        LogicalPlan::Join(join) if has_sides(&join) => joined(join),
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(plan.data)
}

/// Conditions. A question that is asked alone is a join with every rule of NULL, and so is one within `AND` and `OR`, where it
/// makes no difference that what is not known is taken for `false`. But what is not known is not made true by a `NOT`.
fn filtered(node: Filter) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    let parts = split_conjunction_owned(node.predicate).into_iter().map(|part| {
        let part = condition(part, true, node.input.schema())?;
        changed |= part.transformed;
        Ok(part.data)
    });
    let parts = parts.collect::<Result<Vec<Expr>>>()?;
    let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, node.input)?);
    Ok(if changed { Transformed::yes(filter) } else { Transformed::no(filter) })
}

/// A condition that leaves a row out where it is not known. `alone`: nothing but `AND` is around it.
fn condition(expr: Expr, alone: bool, outer: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            let (left, right) = (condition(*binary.left, false, outer)?, condition(*binary.right, false, outer)?);
            let changed = left.transformed || right.transformed;
            let both = binary_expr(left.data, binary.op, right.data);
            Ok(if changed { Transformed::yes(both) } else { Transformed::no(both) })
        }
        Expr::Not(inner) if matches!(*inner, Expr::InSubquery(_)) => match *inner {
            Expr::InSubquery(asked) => in_condition(turned(asked), alone, outer),
            inner => Ok(Transformed::no(not(inner))),
        },
        Expr::InSubquery(asked) => in_condition(asked, alone, outer),
        other => other.transform_up(|expr| match expr {
            // (One that asks for each row, and is never unknown, may compare in ways that only a join can.)
            Expr::InSubquery(asked) if !is_correlated(&asked) || is_unknown_at_times(&asked, outer)? => {
                value(Expr::InSubquery(asked), outer)
            }
            other => Ok(Transformed::no(other)),
        }),
    }
}

fn in_condition(asked: InSubquery, alone: bool, outer: &DFSchema) -> Result<Transformed<Expr>> {
    match is_correlated(&asked) {
        true if !asked.negated => Ok(Transformed::no(Expr::InSubquery(asked))),
        true => nowhere(asked, outer),
        false if is_one_row(&asked.subquery.subquery) => value(Expr::InSubquery(asked), outer),
        false if alone || !asked.negated => Ok(Transformed::no(Expr::InSubquery(asked))),
        false => value(Expr::InSubquery(asked), outer),
    }
}

/// `x NOT IN (q)` for each row, as a condition: there is nothing in `q` that is `x`, or of which that is not known. The engine's
/// own join takes a NULL that `q` has for one row for one of all rows, and a row for which `q` is empty for an unknown one where
/// what `q` compares with is NULL.
fn nowhere(asked: InSubquery, outer: &DFSchema) -> Result<Transformed<Expr>> {
    if is_beyond(&asked)? || is_one_row(&asked.subquery.subquery) {
        return value(Expr::InSubquery(asked), outer);
    }
    let Some((items, sought)) = items(&asked.expr, &asked.subquery, outer)? else {
        return value(Expr::InSubquery(asked), outer);
    };
    let may_be = binary_expr(item(), Operator::Eq, sought.clone()).or(item().is_null()).or(sought.is_null());
    let may_be = LogicalPlanBuilder::from(items).filter(may_be)?.build()?;
    Ok(Transformed::yes(not_exists(Arc::new(may_be))))
}

fn is_correlated(asked: &InSubquery) -> bool {
    !asked.subquery.outer_ref_columns.is_empty()
}

fn turned(asked: InSubquery) -> InSubquery {
    InSubquery { negated: !asked.negated, ..asked }
}

/// Whether the answer may be NULL.
fn is_unknown_at_times(asked: &InSubquery, outer: &DFSchema) -> Result<bool> {
    Ok(asked.subquery.subquery.schema().field(0).is_nullable() || asked.expr.nullable(outer)?)
}

fn is_question(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_))
}

fn asks(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found = expr.exists(|expr| Ok(is_question(expr)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn any<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Result<bool> {
    for expr in exprs {
        if expr.exists(|expr| Ok(is_question(expr)))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Columns of a list: the values stand where the questions stood.
fn listed(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Projection(list) = &node else { return Ok(Transformed::no(node)) };
    let input = Arc::clone(list.input.schema());
    let names = NamePreserver::new(&node);
    let changed = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|expr| value(expr, &input))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?;
    Ok(changed)
}

/// Questions of an input, computed below what asks them.
struct Lifted {
    input: Arc<LogicalPlan>,
    values: Vec<Expr>,
    /// What tells its values from those of another input.
    mark: &'static str,
}

impl Lifted {
    fn over(input: &Arc<LogicalPlan>) -> Self {
        Self { input: Arc::clone(input), values: Vec::new(), mark: "" }
    }

    /// A column in the place of a value that is computed below.
    fn keep(&mut self, value: Expr) -> Expr {
        let name = format!("\0asked {}{}", self.mark, self.values.len());
        self.values.push(value.alias(&name));
        Expr::Column(Column::new_unqualified(name))
    }

    /// The expression with columns where questions stood.
    fn lift(&mut self, expr: Expr) -> Result<Expr> {
        let lifted = expr.transform_up(|expr| {
            let changed = value(expr, self.input.schema())?;
            if !changed.transformed {
                return Ok(changed);
            }
            Ok(Transformed::yes(self.keep(changed.data)))
        })?;
        Ok(lifted.data)
    }

    fn all(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.lift(expr)).collect()
    }

    /// The input with the values after its columns.
    fn input(&self) -> Result<Arc<LogicalPlan>> {
        let own = self.input.schema().columns().into_iter().map(Expr::Column);
        let all = own.chain(self.values.iter().cloned());
        Ok(Arc::new(LogicalPlanBuilder::from(Arc::clone(&self.input)).project(all)?.build()?))
    }
}

fn aggregated(node: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut lifted = Lifted::over(&node.input);
    let (groups, aggregates) = (lifted.all(node.group_expr)?, lifted.all(node.aggr_expr)?);
    let changed = Aggregate::try_new(lifted.input()?, groups, aggregates)?;
    called(LogicalPlan::Aggregate(changed), 0..node.schema.fields().len(), &node.schema)
}

fn windowed(node: Window) -> Result<Transformed<LogicalPlan>> {
    let mut lifted = Lifted::over(&node.input);
    let windows = lifted.all(node.window_expr)?;
    let own = node.input.schema().fields().len();
    let values = lifted.values.len();
    let changed = Window::try_new(windows, lifted.input()?)?;
    let places = (0..own).chain(own + values..node.schema.fields().len() + values);
    called(LogicalPlan::Window(changed), places, &node.schema)
}

fn sorted(node: Sort) -> Result<Transformed<LogicalPlan>> {
    let mut lifted = Lifted::over(&node.input);
    let keys = node.expr.into_iter().map(|key| Ok(SortExpr { expr: lifted.lift(key.expr)?, ..key }));
    let expr = keys.collect::<Result<_>>()?;
    let schema = Arc::clone(node.input.schema());
    let changed = Sort { expr, input: lifted.input()?, fetch: node.fetch };
    called(LogicalPlan::Sort(changed), 0..schema.fields().len(), &schema)
}

fn has_sides(join: &Join) -> bool {
    matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
        && join.filter.is_some()
}

/// Queries in the condition of a join that ask for each row of one side are computed on that side: the engine takes them in
/// lists and conditions only.
fn joined(node: Join) -> Result<Transformed<LogicalPlan>> {
    let mut sides = [Lifted::over(&node.left), Lifted { mark: "right ", ..Lifted::over(&node.right) }];
    let Some(filter) = node.filter.clone() else { return Ok(Transformed::no(LogicalPlan::Join(node))) };
    let filter = filter.transform_up(|expr| {
        let Expr::ScalarSubquery(asked) = &expr else { return Ok(Transformed::no(expr)) };
        let asks = |side: &&mut Lifted| {
            let has = |asked: &Expr| {
                matches!(asked, Expr::OuterReferenceColumn(_, column) if side.input.schema().has_column(column))
            };
            !asked.outer_ref_columns.is_empty() && asked.outer_ref_columns.iter().all(has)
        };
        match sides.iter_mut().find(asks) {
            Some(side) => Ok(Transformed::yes(side.keep(expr))),
            None => Ok(Transformed::no(expr)),
        }
    })?;
    if !filter.transformed {
        return Ok(Transformed::no(LogicalPlan::Join(node)));
    }
    let (left, right) = (node.left.schema().fields().len(), node.right.schema().fields().len());
    let after = left + sides[0].values.len();
    let [left_side, right_side] = [sides[0].input()?, sides[1].input()?];
    let changed = Join::try_new(
        left_side,
        right_side,
        node.on,
        Some(filter.data),
        node.join_type,
        node.join_constraint,
        node.null_equality,
        node.null_aware,
    )?;
    called(LogicalPlan::Join(changed), (0..left).chain(after..after + right), &node.schema)
}

/// A question as a value, over rows of `outer`; anything else, and what cannot be counted, as it is.
fn value(expr: Expr, outer: &DFSchema) -> Result<Transformed<Expr>> {
    let (value, negated) = match expr {
        Expr::Exists(asked) if has_groups_of_one(&asked.subquery) => return Ok(Transformed::no(Expr::Exists(asked))),
        Expr::Exists(Exists { subquery, negated }) => (exists(subquery)?, negated),
        Expr::InSubquery(asked) if is_beyond(&asked)? => return Ok(Transformed::no(Expr::InSubquery(asked))),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => (among(&expr, subquery, outer)?, negated),
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(if negated { not(value) } else { value }))
}

/// Whether a question cannot be put in other words.
fn is_beyond(asked: &InSubquery) -> Result<bool> {
    Ok(asked.expr.is_volatile()
        || asked.expr.exists(|part| Ok(is_question(part) || matches!(part, Expr::ScalarSubquery(_))))?
        || has_groups_of_one(&asked.subquery))
}

/// Whether a query is one row for all of its input, whatever that is.
fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(list) => is_one_row(&list.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// Whether such a row is chosen by a condition, for each row outside: joined, there would be none where there is one.
fn has_groups_of_one(asked: &Subquery) -> bool {
    !asked.outer_ref_columns.is_empty()
        && !is_one_row(&asked.subquery)
        && asked
            .subquery
            .exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty())))
            .unwrap_or(true)
}

fn exists(asked: Subquery) -> Result<Expr> {
    if is_one_row(&asked.subquery) {
        return Ok(lit(true));
    }
    let mut query = asked.subquery;
    // What changes nothing of whether there are rows, and would stand in the way of a join.
    loop {
        query = match query.as_ref() {
            LogicalPlan::Projection(list) => Arc::clone(&list.input),
            LogicalPlan::Distinct(Distinct::All(input)) => Arc::clone(input),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Arc::clone(&sort.input),
            LogicalPlan::Limit(limit) if limit.skip.is_none() && is_some(limit.fetch.as_deref()) => {
                Arc::clone(&limit.input)
            }
            _ => break,
        };
    }
    let mut rows = LogicalPlanBuilder::from(query);
    if asked.outer_ref_columns.is_empty() {
        rows = rows.limit(0, Some(1))?;
    }
    Ok(binary_expr(counted(rows)?, Operator::Gt, lit(0_i64)))
}

/// Whether a LIMIT leaves rows where there are some.
fn is_some(fetch: Option<&Expr>) -> bool {
    fetch.is_none_or(|fetch| matches!(fetch, Expr::Literal(ScalarValue::Int64(Some(rows)), _) if *rows > 0))
}

/// What a query has, under a name of its own (an outer column may have the inner one's), and what is looked for in it, as the
/// query sees it. `None` for a query without columns.
fn items(expr: &Expr, asked: &Subquery, outer: &DFSchema) -> Result<Option<(LogicalPlan, Expr)>> {
    let Some(column) = asked.subquery.schema().columns().into_iter().next() else { return Ok(None) };
    let items = LogicalPlanBuilder::from(Arc::clone(&asked.subquery)).project([Expr::Column(column).alias(ITEM)])?;
    let sought = expr.clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let (_, field) = outer.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(Some((items.build()?, sought.data)))
}

const ITEM: &str = "\0item";

fn item() -> Expr {
    Expr::Column(Column::new_unqualified(ITEM))
}

fn among(expr: &Expr, asked: Subquery, outer: &DFSchema) -> Result<Expr> {
    let Some((items, sought)) = items(expr, &asked, outer)? else { return exists(asked) };
    if is_one_row(&asked.subquery) {
        return Ok(binary_expr(expr.clone(), Operator::Eq, Expr::ScalarSubquery(asked)));
    }
    let may_be_null = asked.subquery.schema().field(0).is_nullable() || expr.nullable(outer)?;
    let equal = LogicalPlanBuilder::from(items.clone()).filter(binary_expr(item(), Operator::Eq, sought))?;
    let found = binary_expr(counted(equal)?, Operator::Gt, lit(0_i64));
    if !may_be_null {
        return Ok(found);
    }
    let all = counted(LogicalPlanBuilder::from(items.clone()))?;
    let nulls = counted(LogicalPlanBuilder::from(items).filter(item().is_null())?)?;
    let has_nulls = binary_expr(nulls, Operator::Gt, lit(0_i64));
    let is_null = expr.clone().is_null().and(binary_expr(all, Operator::Gt, lit(0_i64)));
    when(found, lit(true)).when(has_nulls.or(is_null), lit(ScalarValue::Boolean(None))).otherwise(lit(false))
}

fn counted(rows: LogicalPlanBuilder) -> Result<Expr> {
    let rows = rows.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
    Ok(scalar_subquery(Arc::new(rows)))
}

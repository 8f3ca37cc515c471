//! A query that asks for each row outside, computed once for all of them.
//!
//! What it asks about is a table of its own, the *domain*: every combination of the outer columns' values, once. The query is
//! rebuilt over it, node by node, so that each of its rows tells for which combination it stands (its *keys*): a part that asks
//! nothing is crossed with the domain, groups and windows are made within keys, joins meet on them, and a count over no rows is
//! there for every one. (After Neumann and Kemper, "Unnesting Arbitrary Queries", BTW 2015.)

use std::{cell::Cell, collections::HashMap, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column, DFSchema, NullEquality, Result, TableReference,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    functions::expr_fn::coalesce,
    functions_window::expr_fn::row_number,
    logical_expr::{
        Aggregate, Distinct, Expr, ExprFunctionExt, ExprSchemable, FetchType, Filter, Join, JoinConstraint, JoinType,
        Limit, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, SortExpr, Window, binary_expr,
        expr::{Exists, InSubquery, SetComparison},
        lit,
        utils::conjunction,
    },
};

/// Names that nothing else in a statement has.
#[derive(Debug, Default)]
pub(super) struct Names(Cell<usize>);

impl Names {
    pub(super) fn fresh(&self) -> TableReference {
        self.0.set(self.0.get() + 1);
        TableReference::bare(format!("\0for {}", self.0.get()))
    }
}

/// What a query is asked about.
pub(super) struct Domain<'a> {
    /// Rows that the values are taken from.
    outer: &'a Arc<LogicalPlan>,
    /// The values, over those rows; those of outer columns by their place.
    values: Vec<Expr>,
    places: HashMap<Column, usize>,
    names: &'a Names,
}

/// A plan's columns as they were, and after them its keys.
pub(super) struct Over {
    pub(super) plan: LogicalPlan,
    pub(super) keys: Vec<Column>,
}

impl<'a> Domain<'a> {
    /// The domain of the outer columns of a query, and of one more value where it is compared with one: its last key.
    pub(super) fn new(
        outer: &'a Arc<LogicalPlan>,
        columns: &[Expr],
        compared: Option<&Expr>,
        names: &'a Names,
    ) -> Self {
        let (mut values, mut places) = (Vec::new(), HashMap::new());
        for column in columns {
            let Expr::OuterReferenceColumn(_, column) = column else { continue };
            if !places.contains_key(column) {
                places.insert(column.clone(), values.len());
                values.push(Expr::Column(column.clone()));
            }
        }
        values.extend(compared.cloned());
        Self { outer, values, places, names }
    }

    /// Every combination of values, once.
    fn rows(&self) -> Result<Over> {
        let relation = self.names.fresh();
        let named = self.values.iter().enumerate().map(|(place, value)| {
            let value = value.clone().unalias();
            value.alias_qualified(Some(relation.clone()), place.to_string())
        });
        let rows = LogicalPlanBuilder::from(Arc::clone(self.outer)).project(named)?.distinct()?.build()?;
        let keys = rows.schema().columns();
        Ok(Over { plan: rows, keys })
    }

    /// That the row outside is the one that a row of these keys stands for.
    pub(super) fn is_for(&self, keys: &[Column]) -> Result<Vec<Expr>> {
        let schema = self.outer.schema();
        self.values.iter().zip(keys).map(|(value, key)| is_same(value.clone(), key, value.nullable(schema)?)).collect()
    }

    /// An expression that reads keys where it read outer columns.
    fn inner(&self, expr: Expr, keys: &[Column]) -> Result<Expr> {
        let inner = expr.transform_up(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) if self.places.contains_key(&column) => {
                Ok(Transformed::yes(Expr::Column(keys[self.places[&column]].clone())))
            }
            other => Ok(Transformed::no(other)),
        });
        inner.data()
    }

    fn all_inner(&self, exprs: &[Expr], keys: &[Column]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.inner(expr.clone(), keys)).collect()
    }

    /// `plan` for every key. `None` where a part of it is not known to be the same when it is computed once.
    ///
    /// # Errors
    /// Those of building plans.
    pub(super) fn spread(&self, plan: &LogicalPlan) -> Result<Option<Over>> {
        if !asks_outside(plan) {
            let rows = self.rows()?;
            let crossed = LogicalPlanBuilder::from(plan.clone()).cross_join(rows.plan)?.build()?;
            return Ok(Some(Over { plan: crossed, keys: rows.keys }));
        }
        match plan {
            LogicalPlan::Projection(list) => {
                let Some(input) = self.spread(&list.input)? else { return Ok(None) };
                self.listed(input, &list.expr, &list.schema)
            }
            LogicalPlan::Filter(filter) => {
                let Some(input) = self.spread(&filter.input)? else { return Ok(None) };
                let predicate = self.inner(filter.predicate.clone(), &input.keys)?;
                let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input.plan))?);
                Ok(Some(Over { plan, keys: input.keys }))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.spread(&alias.input)? else { return Ok(None) };
                let columns: Vec<Expr> = alias.input.schema().columns().into_iter().map(Expr::Column).collect();
                self.listed(input, &columns, &alias.schema)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(input) = self.spread(input)? else { return Ok(None) };
                let plan = LogicalPlanBuilder::from(input.plan).distinct()?.build()?;
                Ok(Some(Over { plan, keys: input.keys }))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let Some(input) = self.spread(&sort.input)? else { return Ok(None) };
                let keys = self.order(&sort.expr, &input.keys)?;
                let plan = LogicalPlanBuilder::from(input.plan).sort(keys)?.build()?;
                Ok(Some(Over { plan, keys: input.keys }))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregated(aggregate),
            LogicalPlan::Window(window) => self.windowed(window),
            LogicalPlan::Limit(limit) => self.limited(limit),
            LogicalPlan::Join(join) => self.joined(join),
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::with_capacity(union.inputs.len());
                for input in &union.inputs {
                    let Some(input) = self.spread(input)? else { return Ok(None) };
                    inputs.push(input.plan);
                }
                let mut inputs = inputs.into_iter();
                let Some(first) = inputs.next() else { return Ok(None) };
                let all = inputs.try_fold(LogicalPlanBuilder::from(first), LogicalPlanBuilder::union)?.build()?;
                self.numbered(all, &union.schema).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Expressions over an input, called as in `schema`, and its keys.
    fn listed(&self, input: Over, exprs: &[Expr], schema: &DFSchema) -> Result<Option<Over>> {
        let exprs = self.all_inner(exprs, &input.keys)?.into_iter().zip(schema.iter());
        let named = exprs.map(|(expr, (relation, field))| match expr {
            Expr::Column(column) if column.relation.as_ref() == relation && column.name == *field.name() => {
                Expr::Column(column)
            }
            expr => expr.unalias().alias_qualified(relation.cloned(), field.name()),
        });
        let all: Vec<Expr> = named.chain(input.keys.iter().cloned().map(Expr::Column)).collect();
        let plan = LogicalPlanBuilder::from(input.plan).project(all)?.build()?;
        Ok(Some(Over { plan, keys: input.keys }))
    }

    /// The first columns of `plan` called as in `schema`; those after them are its keys, and get new names.
    fn numbered(&self, plan: LogicalPlan, schema: &DFSchema) -> Result<Over> {
        let relation = self.names.fresh();
        let own = schema.fields().len();
        let named = plan.schema().columns().into_iter().enumerate().map(|(place, column)| {
            if place < own {
                let (to, field) = schema.qualified_field(place);
                Expr::Column(column).alias_qualified(to.cloned(), field.name())
            } else {
                Expr::Column(column).alias_qualified(Some(relation.clone()), (place - own).to_string())
            }
        });
        let named: Vec<Expr> = named.collect();
        let plan = LogicalPlanBuilder::from(plan).project(named)?.build()?;
        let keys = plan.schema().columns().split_off(own);
        Ok(Over { plan, keys })
    }

    fn order(&self, order: &[SortExpr], keys: &[Column]) -> Result<Vec<SortExpr>> {
        order.iter().map(|key| Ok(SortExpr { expr: self.inner(key.expr.clone(), keys)?, ..key.clone() })).collect()
    }

    fn aggregated(&self, node: &Aggregate) -> Result<Option<Over>> {
        if node.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
            return Ok(None);
        }
        let Some(input) = self.spread(&node.input)? else { return Ok(None) };
        let groups = self.all_inner(&node.group_expr, &input.keys)?;
        let own = groups.len();
        let groups: Vec<Expr> = groups.into_iter().chain(input.keys.iter().cloned().map(Expr::Column)).collect();
        let aggregates = self.all_inner(&node.aggr_expr, &input.keys)?;
        let grouped = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input.plan), groups, aggregates)?);
        let columns = grouped.schema().columns();
        let after = own + input.keys.len();
        let results = columns[..own].iter().chain(&columns[after..]).cloned().map(Expr::Column);
        if own > 0 {
            let results: Vec<Expr> = results.collect();
            return self.listed(Over { plan: grouped, keys: input.keys }, &results, &node.schema);
        }
        // One row for each key, also where there was none.
        let rows = self.rows()?;
        let pairs = rows.keys.iter().zip(&input.keys);
        let on =
            pairs.map(|(key, other)| is_same(Expr::Column(key.clone()), other, true)).collect::<Result<Vec<_>>>()?;
        let results = results.zip(&node.aggr_expr).zip(node.schema.fields());
        let results = results.map(|((result, aggregate), field)| of_nothing(result, aggregate, field.data_type()));
        let results = results.collect::<Result<Vec<Expr>>>()?;
        let all = meet(rows.plan, grouped, on, JoinType::Left)?;
        self.listed(Over { plan: all, keys: rows.keys }, &results, &node.schema)
    }

    fn windowed(&self, node: &Window) -> Result<Option<Over>> {
        let Some(input) = self.spread(&node.input)? else { return Ok(None) };
        let mut windows = self.all_inner(&node.window_expr, &input.keys)?;
        for window in &mut windows {
            while let Expr::Alias(alias) = window {
                *window = alias.expr.as_ref().clone();
            }
            let Expr::WindowFunction(function) = window else { return Ok(None) };
            function.params.partition_by.extend(input.keys.iter().cloned().map(Expr::Column));
        }
        let own = node.input.schema().fields().len();
        let windowed = LogicalPlan::Window(Window::try_new(windows, Arc::new(input.plan))?);
        let columns = windowed.schema().columns();
        let values = columns[..own].iter().chain(&columns[own + input.keys.len()..]);
        let values: Vec<Expr> = values.cloned().map(Expr::Column).collect();
        self.listed(Over { plan: windowed, keys: input.keys }, &values, &node.schema)
    }

    /// So many rows for each key.
    fn limited(&self, node: &Limit) -> Result<Option<Over>> {
        let (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) =
            (node.get_skip_type(), node.get_fetch_type())
        else {
            return Ok(None);
        };
        // Columns that are only sorted by are left out after the sort.
        if let LogicalPlan::Projection(list) = node.input.as_ref() {
            let limit = Limit { input: Arc::clone(&list.input), ..node.clone() };
            let Some(input) = self.spread(&LogicalPlan::Limit(limit))? else { return Ok(None) };
            return self.listed(input, &list.expr, &list.schema);
        }
        let (input, order) = match node.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (&sort.input, sort.expr.as_slice()),
            _ => (&node.input, [].as_slice()),
        };
        let Some(over) = self.spread(input)? else { return Ok(None) };
        let order = self.order(order, &over.keys)?;
        let nth = row_number().partition_by(over.keys.iter().cloned().map(Expr::Column).collect());
        let nth = if order.is_empty() { nth.build()? } else { nth.order_by(order).build()? };
        let numbered = LogicalPlan::Window(Window::try_new(vec![nth], Arc::new(over.plan))?);
        let mut columns = numbered.schema().columns();
        let Some(nth) = columns.pop().map(Expr::Column) else { return Ok(None) };
        let rows = |rows: usize| lit(u64::try_from(rows).unwrap_or(u64::MAX));
        let from = (skip > 0).then(|| binary_expr(nth.clone(), Operator::Gt, rows(skip)));
        let to = fetch.map(|fetch| binary_expr(nth.clone(), Operator::LtEq, rows(skip.saturating_add(fetch))));
        let chosen = conjunction(from.into_iter().chain(to)).unwrap_or_else(|| lit(true));
        let columns: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
        let plan = LogicalPlanBuilder::from(numbered).filter(chosen)?.project(columns)?.build()?;
        Ok(Some(Over { plan, keys: over.keys }))
    }

    fn joined(&self, node: &Join) -> Result<Option<Over>> {
        let (of_left, of_right) = (asks_outside(&node.left), asks_outside(&node.right));
        let sets = matches!(node.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
        let (left, right) = match node.join_type {
            JoinType::Inner => (of_left || !of_right, of_right),
            JoinType::Left => (true, of_right),
            JoinType::Right => (of_left, true),
            JoinType::Full => (true, true),
            // INTERSECT and EXCEPT.
            _ if sets && node.null_equality == NullEquality::NullEqualsNull && !node.null_aware => (true, true),
            _ => return Ok(None),
        };
        let side = |plan: &LogicalPlan, is_over: bool| -> Result<Option<Over>> {
            if is_over { self.spread(plan) } else { Ok(Some(Over { plan: plan.clone(), keys: Vec::new() })) }
        };
        let (Some(left), Some(right)) = (side(&node.left, left)?, side(&node.right, right)?) else { return Ok(None) };
        let one = if left.keys.is_empty() { &right.keys } else { &left.keys };
        let mut on = node.on.clone();
        let mut filter = node.filter.clone().map(|filter| self.inner(filter, one)).transpose()?;
        for (key, other) in left.keys.iter().zip(&right.keys) {
            if sets {
                on.push((Expr::Column(key.clone()), Expr::Column(other.clone())));
            } else {
                let same = is_same(Expr::Column(key.clone()), other, true)?;
                filter = Some(filter.map_or_else(|| same.clone(), |filter| filter.and(same.clone())));
            }
        }
        // A row that only the right has stands for the right's key.
        let results: Vec<Expr> = node.schema.columns().into_iter().map(Expr::Column).collect();
        let (keys, of_either) = match node.join_type {
            JoinType::Full => {
                let pairs = left.keys.iter().zip(&right.keys);
                let either = |(key, other): (&Column, &Column)| {
                    coalesce(vec![Expr::Column(key.clone()), Expr::Column(other.clone())])
                };
                (left.keys.clone(), Some(pairs.map(either).collect::<Vec<Expr>>()))
            }
            JoinType::Right => (right.keys.clone(), None),
            _ => (one.clone(), None),
        };
        let plan = LogicalPlan::Join(Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            on,
            filter,
            node.join_type,
            JoinConstraint::On,
            node.null_equality,
            node.null_aware,
        )?);
        match of_either {
            Some(keys) => {
                let all: Vec<Expr> = results.into_iter().chain(keys).collect();
                self.numbered(LogicalPlanBuilder::from(plan).project(all)?.build()?, &node.schema).map(Some)
            }
            None => self.listed(Over { plan, keys }, &results, &node.schema),
        }
    }
}

/// Rows of `left` with those of `right` for which all of `on` holds.
pub(super) fn meet(left: LogicalPlan, right: LogicalPlan, on: Vec<Expr>, kind: JoinType) -> Result<LogicalPlan> {
    let (left, right) = (Arc::new(left), Arc::new(right));
    let (nulls, constraint) = (NullEquality::NullEqualsNothing, JoinConstraint::On);
    let join = Join::try_new(left, right, Vec::new(), conjunction(on), kind, constraint, nulls, false)?;
    Ok(LogicalPlan::Join(join))
}

fn is_same(value: Expr, key: &Column, may_be_null: bool) -> Result<Expr> {
    let same = if may_be_null { Operator::IsNotDistinctFrom } else { Operator::Eq };
    Ok(binary_expr(value, same, Expr::Column(key.clone())))
}

/// The result of an aggregate where a key had no rows: a count is 0.
fn of_nothing(result: Expr, aggregate: &Expr, data_type: &DataType) -> Result<Expr> {
    let mut function = aggregate;
    while let Expr::Alias(alias) = function {
        function = &alias.expr;
    }
    let Expr::AggregateFunction(function) = function else { return Ok(result) };
    let of_none = function.func.default_value(data_type)?;
    Ok(if of_none.is_null() { result } else { coalesce(vec![result, lit(of_none)]) })
}

/// The columns of `plan` at `places`, called as in `schema`.
pub(super) fn called(
    plan: LogicalPlan,
    places: impl Iterator<Item = usize>,
    schema: &DFSchema,
) -> Result<Transformed<LogicalPlan>> {
    let columns = plan.schema().columns();
    let named = places.zip(schema.iter()).map(|(place, (relation, field))| {
        let column = &columns[place];
        if column.name == *field.name() && column.relation.as_ref() == relation {
            Expr::Column(column.clone())
        } else {
            Expr::Column(column.clone()).alias_qualified(relation.cloned(), field.name())
        }
    });
    let named: Vec<Expr> = named.collect();
    Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(named)?.build()?))
}

/// Whether a plan reads columns of the rows outside. (A `LATERAL` within it reads those of its neighbour.)
pub(super) fn asks_outside(plan: &LogicalPlan) -> bool {
    if matches!(plan, LogicalPlan::Subquery(_)) {
        return false;
    }
    plan.contains_outer_reference() || plan.inputs().into_iter().any(asks_outside)
}

/// The query of a question.
pub(super) fn asked(expr: &Expr) -> Option<&datafusion::logical_expr::Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery)
        | Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. }) => Some(subquery),
        _ => None,
    }
}

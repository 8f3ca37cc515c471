//! Questions that the engine cannot join, or joins wrongly, as columns of a join with their answers.
//!
//! The engine moves the conditions of a query that is asked for each row out of it, and finds their columns again by name. It
//! does so rightly where they stand over one input whose columns have names of their own; those are left to it
//! ([`is_plain`]). All others are answered for every combination of what they ask about ([`Domain`]) beside the rows outside.

use std::{collections::HashSet, sync::Arc};

use datafusion::{
    common::{
        Column, DataFusionError, Result,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    functions_aggregate::expr_fn::count,
    logical_expr::{
        Aggregate, BinaryExpr, Distinct, Expr, ExprFunctionExt, Filter, JoinType, LogicalPlan, LogicalPlanBuilder,
        Operator, Sort, SortExpr, Subquery, Window, binary_expr,
        expr::{Exists, InSubquery, SetComparison, SetQuantifier},
        expr_rewriter::NamePreserver,
        lit,
        utils::{conjunction, split_conjunction, split_conjunction_owned},
        when,
    },
    scalar::ScalarValue,
};

use super::domain::{Domain, Names, Over, asked, asks_outside, called, meet};

/// A plan in which only those questions are left that the engine joins rightly.
///
/// # Errors
/// Those of building plans; a question that cannot be answered without being asked anew for each row.
pub(super) fn spread(plan: LogicalPlan) -> Result<LogicalPlan> {
    let names = Names::default();
    plan.transform_up_with_subqueries(|node| match in_words_of_in(node)?.data {
        LogicalPlan::Filter(filter) if any([&filter.predicate], Place::Condition)? => filtered(filter, &names),
        LogicalPlan::Projection(list) if any(&list.expr, Place::Value)? => {
            let node = LogicalPlan::Projection(list);
            let saved = NamePreserver::new(&node);
            let LogicalPlan::Projection(list) = node else { return Ok(Transformed::no(node)) };
            let mut lifted = Lifted::over(list.input, Place::Value, &names);
            let exprs = list.expr.into_iter().map(|expr| {
                let name = saved.save(&expr);
                Ok(name.restore(lifted.lift(expr)?))
            });
            let exprs = exprs.collect::<Result<Vec<Expr>>>()?;
            Ok(Transformed::yes(LogicalPlanBuilder::from(lifted.joined).project(exprs)?.build()?))
        }
        LogicalPlan::Aggregate(node) if any(node.group_expr.iter().chain(&node.aggr_expr), Place::Within)? => {
            let mut lifted = Lifted::over(node.input, Place::Within, &names);
            let (groups, aggregates) = (lifted.all(node.group_expr)?, lifted.all(node.aggr_expr)?);
            let changed = Aggregate::try_new(Arc::new(lifted.joined), groups, aggregates)?;
            called(LogicalPlan::Aggregate(changed), 0..node.schema.fields().len(), &node.schema)
        }
        LogicalPlan::Window(node) if any(&node.window_expr, Place::Within)? => {
            let own = node.input.schema().fields().len();
            let mut lifted = Lifted::over(node.input, Place::Within, &names);
            let windows = lifted.all(node.window_expr)?;
            let more = lifted.joined.schema().fields().len() - own;
            let changed = Window::try_new(windows, Arc::new(lifted.joined))?;
            let places = (0..own).chain(own + more..node.schema.fields().len() + more);
            called(LogicalPlan::Window(changed), places, &node.schema)
        }
        LogicalPlan::Sort(node) if any(node.expr.iter().map(|key| &key.expr), Place::Within)? => {
            let schema = Arc::clone(node.input.schema());
            let mut lifted = Lifted::over(node.input, Place::Within, &names);
            let keys = node.expr.into_iter().map(|key| Ok(SortExpr { expr: lifted.lift(key.expr)?, ..key }));
            let expr = keys.collect::<Result<_>>()?;
            let changed = Sort { expr, input: Arc::new(lifted.joined), fetch: node.fetch };
            called(LogicalPlan::Sort(changed), 0..schema.fields().len(), &schema)
        }
        LogicalPlan::Join(mut join) if join.join_type == JoinType::Inner && any(&join.filter, Place::Condition)? => {
            let (asks, plain) = conditions(join.filter.take())?;
            join.filter = conjunction(plain);
            let predicate = conjunction(asks).unwrap_or_else(|| lit(true));
            filtered(Filter::try_new(predicate, Arc::new(LogicalPlan::Join(join)))?, &names)
        }
        LogicalPlan::Join(join) if is_lateral(&join.right) => {
            let (left, schema) = (Arc::clone(&join.left), Arc::clone(&join.schema));
            let Some(joined) = beside(&join, &left, &names)? else {
                return Ok(Transformed::no(LogicalPlan::Join(join)));
            };
            called(joined, 0..schema.fields().len(), &schema)
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// `= ANY` and `<> ALL` are `IN` and `NOT IN`.
fn in_words_of_in(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut has_any = false;
    node.apply_expressions(|expr| {
        has_any |= expr.exists(|expr| Ok(matches!(expr, Expr::SetComparison(_))))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !has_any {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let put = expr.transform_up(|expr| match expr {
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier })
                if matches!(
                    (op, quantifier),
                    (Operator::Eq, SetQuantifier::Any) | (Operator::NotEq, SetQuantifier::All)
                ) =>
            {
                let negated = quantifier == SetQuantifier::All;
                Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(put.update_data(|expr| name.restore(expr)))
    })
}

fn any<'a>(exprs: impl IntoIterator<Item = &'a Expr>, place: Place) -> Result<bool> {
    for expr in exprs {
        for part in split_conjunction(expr) {
            let place = place.within(part);
            if part.exists(|expr| Ok(is_hard(expr, place)))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Those parts of a condition that ask, and the others.
fn conditions(predicate: Option<Expr>) -> Result<(Vec<Expr>, Vec<Expr>)> {
    let (mut asks, mut plain) = (Vec::new(), Vec::new());
    for part in predicate.into_iter().flat_map(split_conjunction_owned) {
        if any([&part], Place::Condition)? { asks.push(part) } else { plain.push(part) }
    }
    Ok((asks, plain))
}

/// What can be said without asking is said first: there is less to be asked about then.
fn filtered(node: Filter, names: &Names) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(node.input.schema());
    let (asks, plain) = conditions(Some(node.predicate))?;
    let input = match conjunction(plain) {
        Some(plain) => Arc::new(LogicalPlan::Filter(Filter::try_new(plain, node.input)?)),
        None => node.input,
    };
    let mut lifted = Lifted::over(input, Place::Condition, names);
    let predicate = conjunction(lifted.all(asks)?).unwrap_or_else(|| lit(true));
    let chosen = Filter::try_new(predicate, Arc::new(lifted.joined))?;
    called(LogicalPlan::Filter(chosen), 0..schema.fields().len(), &schema)
}

/// Rows, and beside them the answers to questions about them.
struct Lifted<'a> {
    rows: Arc<LogicalPlan>,
    joined: LogicalPlan,
    place: Place,
    names: &'a Names,
}

impl<'a> Lifted<'a> {
    fn over(rows: Arc<LogicalPlan>, place: Place, names: &'a Names) -> Self {
        Self { joined: rows.as_ref().clone(), rows, place, names }
    }

    fn all(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.lift(expr)).collect()
    }

    /// The expression with what was answered in the place of questions.
    fn lift(&mut self, expr: Expr) -> Result<Expr> {
        let place = self.place.within(&expr);
        let lifted = expr.transform_up(|expr| {
            if !is_hard(&expr, place) {
                return Ok(Transformed::no(expr));
            }
            match self.answered(&expr)? {
                Some(answer) => Ok(Transformed::yes(answer)),
                None => Ok(Transformed::no(expr)),
            }
        });
        lifted.data()
    }

    fn answered(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::ScalarSubquery(query) => self.value(query),
            Expr::Exists(Exists { subquery, negated }) => self.existing(subquery, *negated),
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let among = self.compared(expr, subquery, Operator::Eq, SetQuantifier::Any)?;
                Ok(among.map(|among| if *negated { Expr::Not(Box::new(among)) } else { among }))
            }
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                self.compared(expr, subquery, *op, *quantifier)
            }
            _ => Ok(None),
        }
    }

    /// The rows that a question is about. They are computed twice: what would be others the second time is not asked about.
    fn outer(&self, compared: Option<&Expr>) -> Result<Arc<LogicalPlan>> {
        let is_own = |expr: &Expr| expr.column_refs().iter().all(|column| self.rows.schema().has_column(column));
        let outer = if compared.is_none_or(is_own) { Arc::clone(&self.rows) } else { Arc::new(self.joined.clone()) };
        if is_same_again(&outer)? {
            return Ok(outer);
        }
        Err(DataFusionError::NotImplemented(
            "Physical plan does not support logical expression of a subquery over LIMIT, windows or chance".to_owned(),
        ))
    }

    /// The rows with those of `answers` that are for them.
    fn join(&mut self, domain: &Domain<'_>, answers: LogicalPlan, keys: &[Column]) -> Result<()> {
        self.joined = meet(self.joined.clone(), answers, domain.is_for(keys)?, JoinType::Left)?;
        Ok(())
    }

    /// A query's one value.
    fn value(&mut self, query: &Subquery) -> Result<Option<Expr>> {
        if !has_one_row_at_most(&query.subquery) {
            return Ok(None);
        }
        let outer = self.outer(None)?;
        let domain = Domain::new(&outer, &query.outer_ref_columns, None, self.names);
        let Some(over) = domain.spread(&query.subquery)? else { return Ok(None) };
        let (plan, value) = self.named(over.plan, &over.keys, |columns| Expr::Column(columns[0].clone()))?;
        self.join(&domain, plan, &over.keys)?;
        Ok(Some(value))
    }

    fn existing(&mut self, query: &Subquery, negated: bool) -> Result<Option<Expr>> {
        let outer = self.outer(None)?;
        let domain = Domain::new(&outer, &query.outer_ref_columns, None, self.names);
        let Some(over) = domain.spread(&query.subquery)? else { return Ok(None) };
        let keys: Vec<Expr> = over.keys.iter().cloned().map(Expr::Column).collect();
        let plan = LogicalPlanBuilder::from(over.plan).project(keys)?.distinct()?.build()?;
        let (plan, there) = self.named(plan, &over.keys, |_| lit(true))?;
        self.join(&domain, plan, &over.keys)?;
        Ok(Some(if negated { there.is_null() } else { there.is_not_null() }))
    }

    /// `value op ANY (query)` and `value op ALL (query)`: known where one row decides it, unknown where a row is not known.
    fn compared(
        &mut self,
        value: &Expr,
        query: &Subquery,
        op: Operator,
        quantifier: SetQuantifier,
    ) -> Result<Option<Expr>> {
        if value.is_volatile() || value.exists(|expr| Ok(asked(expr).is_some()))? {
            return Ok(None);
        }
        // (A domain has a value at least.)
        let is_constant = value.column_refs().is_empty() && !query.outer_ref_columns.is_empty();
        let outer = self.outer(Some(value))?;
        let compared = (!is_constant).then_some(value);
        let domain = Domain::new(&outer, &query.outer_ref_columns, compared, self.names);
        let Some(over) = domain.spread(&query.subquery)? else { return Ok(None) };
        let Over { plan, keys } = over;
        let Some(item) = plan.schema().columns().into_iter().next() else { return Ok(None) };
        let sought = match keys.last() {
            Some(key) if !is_constant => Expr::Column(key.clone()),
            _ => value.clone(),
        };
        let holds = binary_expr(sought, op, Expr::Column(item));
        let decides = match quantifier {
            SetQuantifier::Any => holds.clone().is_true(),
            SetQuantifier::All => holds.clone().is_false(),
        };
        let counts = [decides, holds.is_unknown()].map(|rows| count(lit(1_i64)).filter(rows).build());
        let counts = counts.into_iter().collect::<Result<Vec<Expr>>>()?;
        let groups: Vec<Expr> = keys.iter().cloned().map(Expr::Column).collect();
        let counted = LogicalPlanBuilder::from(plan).aggregate(groups, counts)?.build()?;
        let at = keys.len();
        let some = |column: &Column| binary_expr(Expr::Column(column.clone()), Operator::Gt, lit(0_i64));
        // 1: decided, 0: not known.
        let state =
            |columns: &[Column]| when(some(&columns[at]), lit(1_i64)).when(some(&columns[at + 1]), lit(0_i64)).end();
        let mut failed = None;
        let (plan, state) = self.named(counted, &keys, |columns| {
            state(columns).unwrap_or_else(|error| {
                failed = Some(error);
                lit(0_i64)
            })
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.join(&domain, plan, &keys)?;
        let decided = quantifier == SetQuantifier::Any;
        let is = |number: i64| binary_expr(state.clone(), Operator::Eq, lit(number));
        let unknown = lit(ScalarValue::Boolean(None));
        Ok(Some(when(is(1), lit(decided)).when(is(0), unknown).otherwise(lit(!decided))?))
    }

    /// One value over `plan` under a new name, beside the keys.
    fn named(
        &self,
        plan: LogicalPlan,
        keys: &[Column],
        value: impl FnOnce(&[Column]) -> Expr,
    ) -> Result<(LogicalPlan, Expr)> {
        let relation = self.names.fresh();
        let value = value(&plan.schema().columns()).alias_qualified(Some(relation.clone()), "answer");
        let all = keys.iter().cloned().map(Expr::Column).chain([value]);
        let plan = LogicalPlanBuilder::from(plan).project(all)?.build()?;
        Ok((plan, Expr::Column(Column::new(Some(relation), "answer"))))
    }
}

/// Whether rows are the same when they are computed again.
fn is_same_again(plan: &LogicalPlan) -> Result<bool> {
    let changes = plan.exists(|node| {
        let mut changes =
            matches!(node, LogicalPlan::Limit(_) | LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)));
        changes |= matches!(node, LogicalPlan::Sort(sort) if sort.fetch.is_some());
        node.apply_expressions(|expr| {
            changes |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(changes)
    })?;
    Ok(!changes)
}

fn has_one_row_at_most(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(list) => has_one_row_at_most(&list.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row_at_most(&alias.input),
        LogicalPlan::Filter(filter) => has_one_row_at_most(&filter.input),
        LogicalPlan::Sort(sort) => has_one_row_at_most(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => has_one_row_at_most(input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Limit(limit) => {
            let one = |fetch: &Expr| matches!(fetch, Expr::Literal(ScalarValue::Int64(Some(..=1)), _));
            limit.fetch.as_deref().is_some_and(one)
        }
        _ => false,
    }
}

/// Where a question is asked.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// It chooses rows: a join does.
    Condition,
    /// It is a value, and counted.
    Value,
    /// It is a value of an aggregate, a window or an order, where the engine takes none.
    Within,
}

impl Place {
    /// Where a part of a condition asks: below anything but `AND`, `OR` and `NOT` the answer is wanted as a value.
    fn within(self, part: &Expr) -> Self {
        match self {
            Self::Condition if chooses(part) => Self::Condition,
            Self::Condition | Self::Value => Self::Value,
            Self::Within => Self::Within,
        }
    }
}

fn chooses(part: &Expr) -> bool {
    let is_question = |expr: &Expr| matches!(expr, Expr::Exists(_) | Expr::InSubquery(_));
    match part {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            chooses(left) && chooses(right)
        }
        Expr::Not(inner) => is_question(inner) || chooses_nothing(inner),
        question if is_question(question) => true,
        other => chooses_nothing(other),
    }
}

fn chooses_nothing(part: &Expr) -> bool {
    let asks = |expr: &Expr| matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_));
    !part.exists(|expr| Ok(asks(expr))).unwrap_or(true)
}

/// Whether the engine does not answer a question rightly.
fn is_hard(expr: &Expr, place: Place) -> bool {
    let Some(query) = asked(expr) else { return false };
    let plan = query.subquery.as_ref();
    if query.outer_ref_columns.is_empty() {
        return place != Place::Condition && matches!(expr, Expr::SetComparison(_));
    }
    match expr {
        Expr::ScalarSubquery(_) => place == Place::Within || !is_plain_value(plan),
        Expr::SetComparison(_) => true,
        _ => !is_plain(plan, |part| place == Place::Condition || is_key(part)),
    }
}

fn is_key(part: &Expr) -> bool {
    match part {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => matches!(
            (left.as_ref(), right.as_ref()),
            (Expr::Column(_), Expr::OuterReferenceColumn(..)) | (Expr::OuterReferenceColumn(..), Expr::Column(_))
        ),
        _ => false,
    }
}

/// A query whose conditions ask, over one input that does not, and whose columns have names of their own.
fn is_plain(plan: &LogicalPlan, fits: impl Fn(&Expr) -> bool + Copy) -> bool {
    if plan.contains_outer_reference() && !matches!(plan, LogicalPlan::Filter(_)) {
        return false;
    }
    match plan {
        LogicalPlan::Projection(list) => is_plain(&list.input, fits),
        LogicalPlan::Distinct(Distinct::All(input)) => is_plain(input, fits),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => is_plain(&sort.input, fits),
        LogicalPlan::Filter(filter) => {
            let parts = split_conjunction(&filter.predicate);
            parts.into_iter().filter(|part| part.contains_outer()).all(fits)
                && !asks_outside(&filter.input)
                && !asks_more(&filter.predicate)
                && has_own_names(&filter.input)
        }
        _ => false,
    }
}

fn asks_more(predicate: &Expr) -> bool {
    predicate.exists(|expr| Ok(asked(expr).is_some_and(|query| !query.outer_ref_columns.is_empty()))).unwrap_or(true)
}

fn has_own_names(plan: &LogicalPlan) -> bool {
    let mut names = HashSet::new();
    plan.schema().fields().iter().all(|field| names.insert(field.name()))
}

/// One aggregate over rows that are found by equality.
fn is_plain_value(plan: &LogicalPlan) -> bool {
    if plan.contains_outer_reference() {
        return false;
    }
    match plan {
        LogicalPlan::Projection(list) => is_plain_value(&list.input),
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            matches!(aggregate.input.as_ref(), LogicalPlan::Filter(_)) && is_plain(&aggregate.input, is_key)
        }
        _ => false,
    }
}

/// `LATERAL (SELECT ...)` that asks its neighbour.
fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        LogicalPlan::Subquery(query) => !query.outer_ref_columns.is_empty(),
        _ => false,
    }
}

fn beside(
    join: &datafusion::logical_expr::Join,
    left: &Arc<LogicalPlan>,
    names: &Names,
) -> Result<Option<LogicalPlan>> {
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) || !join.on.is_empty() || !is_same_again(left)? {
        return Ok(None);
    }
    let mut columns = Vec::new();
    let query = join.right.as_ref().clone().transform_down(|node| match node {
        LogicalPlan::Subquery(query) => {
            columns.extend(query.outer_ref_columns);
            Ok(Transformed::new(query.subquery.as_ref().clone(), true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    });
    let query = query.data()?;
    let domain = Domain::new(left, &columns, None, names);
    let Some(over) = domain.spread(&query)? else { return Ok(None) };
    let on = domain.is_for(&over.keys)?.into_iter().chain(join.filter.clone()).collect();
    meet(left.as_ref().clone(), over.plan, on, join.join_type).map(Some)
}

//! Conditions of row filters, from SQL to expressions over the columns of the table that they are on.
//!
//! A condition may ask other tables (`__patient IN (SELECT ...)`: consent). That is answered for Mavis itself, before the
//! statement is planned: the answer is part of the expression. These tables are asked as they are now, also where the statement
//! looks back: a consent that was taken back hides what was known before.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch},
    compute::{cast, concat},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::{
        Column, Result as PlanResult, ToDFSchema, exec_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    dataframe::DataFrame,
    datasource::{empty::EmptyTable, provider_as_source},
    execution::SessionState,
    logical_expr::{
        ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility,
        expr::{Cast, InSubquery, TryCast},
        lit,
        simplify::SimplifyContext,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    scalar::ScalarValue,
};
use mavis_types::{Principal, Role, Scope, TableName, TokenId};

use super::View;
use crate::{
    Error,
    answers::Question,
    dialect::parse,
    fault,
    guard::{Lens, Policy},
    micros::{in_expr, in_micros},
    names::{BoundName, TableKey, resolve, tables},
    planner,
    views::Only,
};

/// Where the table that a condition is on stands while the condition is planned; no schema is called so.
const HERE: &str = "rows of";
/// Values of another table that a condition may ask for.
const MOST: usize = 5_000_000;
/// Up to so many values are a list of the plan, by which files can be passed over; more are a set.
const LISTED: usize = 100;

/// A condition over columns without qualifiers, and what it depends on beside the table's own rows; `None`: on something
/// that changes unnoticed.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) holds: Expr,
    pub(crate) stamp: Option<String>,
}

impl View<'_> {
    /// A policy over the columns that a table has, and what of it makes the difference between two answers (`None`: it
    /// may be another one each time). `old`: of an earlier version of the table.
    pub(super) async fn lens(
        &self,
        policy: &Policy,
        schema: &SchemaRef,
        old: bool,
    ) -> Result<(Lens, Option<String>), Error> {
        if policy.is_open() {
            return Ok((Lens::default(), Some(String::new())));
        }
        let (mut conditions, mut told) = (Vec::new(), Some(policy.told()));
        for filter in policy.conditions() {
            let asked = async {
                let condition = self.held_on(policy.table(), filter, schema, old).await?;
                Box::pin(self.condition(policy.table(), schema, &condition)).await
            };
            let asked = asked.await;
            let Condition { holds, stamp } = asked.map_err(|error| match error {
                Error::Catalog(_) | Error::Lake(_) | Error::Limit { .. } => error,
                // The reason may repeat values that the condition names.
                _ => {
                    tracing::error!(table = %policy.table(), "a row filter cannot be applied");
                    let reason = format!("a row filter of {} cannot be applied: tell an administrator", policy.table());
                    Error::Refused { reason }
                }
            })?;
            conditions.push(holds);
            told = told.zip(stamp).map(|(told, stamp)| format!("{told} {stamp}"));
        }
        Ok((Lens::new(policy, schema, conditions, &self.inner.mask_key), told))
    }

    /// # Errors
    /// [`Error::Invalid`] for what is no condition over these columns. [`Error::Refused`] where it asks for too many values.
    pub(crate) async fn condition(
        &self,
        table: &TableName,
        schema: &SchemaRef,
        condition: &str,
    ) -> Result<Condition, Error> {
        let here = TableKey { parts: vec![HERE.to_owned(), table.table.clone()], as_of: None };
        let mut statement = parse(&format!("SELECT 1 FROM \"{HERE}\".\"{}\" WHERE ({condition}\n)", table.table))?;
        let mavis = Arc::new(Principal::new(TokenId::new(), "mavis", Role::Admin, Scope::All));
        let snapshot = match self.pinned {
            None => self.snapshot().await?.map(|snapshot| snapshot.id),
            Some(_) => None,
        };
        let view = View::new(self.inner, &mavis, snapshot);
        let mut others = tables(&statement)?;
        others.remove(&here);
        let mut opened = view.open(&others, super::Given { views: &Default::default(), only: &Only::default() }).await;
        let stamps = opened.stamps();
        let question = stamps.map(|stamps| Question::new(&format!("{condition} ON {table} {schema:?}"), stamps));
        let stamp = question.as_ref().map(|question| format!("{question:?}"));
        let stamp = if others.is_empty() { Some(String::new()) } else { stamp };
        if let Some(holds) = question.as_ref().and_then(|question| self.inner.answers.condition(question)) {
            return Ok(Condition { holds, stamp });
        }
        let relation = ["fhir".to_owned(), HERE.to_owned(), table.table.clone()];
        let name = [table.zone.to_string(), table.schema.clone(), table.table.clone()];
        let empty = provider_as_source(Arc::new(EmptyTable::new(Arc::clone(schema))));
        opened.sources.insert(relation.clone(), empty);
        let bound = BoundName { relation, name, columns: Arc::clone(schema), stamp: None };
        opened.bindings.insert(here, Ok(Arc::new(bound)));
        resolve(&mut statement, &mut opened.bindings)?;
        let state = self.inner.state()?;
        let plan = planner::plan_condition(state.as_ref(), &opened.sources, statement)?;
        let lasting = is_lasting(&plan).map_err(|error| fault::planning(&error))?;
        let predicate =
            predicate(&plan).ok_or_else(|| fault::invalid(format!("`{condition}` says nothing of a row")))?;
        let holds = self.answered(predicate, schema).await?;
        let holds = typed(holds, &state, schema).map_err(|error| fault::planning(&error))?;
        if !lasting {
            return Ok(Condition { holds, stamp: None });
        }
        if let Some(question) = question {
            self.inner.answers.note_condition(question, &holds);
        }
        Ok(Condition { holds, stamp })
    }

    /// The condition with the answers of its subqueries put in.
    async fn answered(&self, predicate: Expr, schema: &SchemaRef) -> Result<Expr, Error> {
        let mut asked: Vec<Expr> = Vec::new();
        let mut strange = None;
        let walked = predicate.apply(|expr| {
            match expr {
                Expr::InSubquery(_) | Expr::ScalarSubquery(_) => asked.push(expr.clone()),
                Expr::Exists(_) | Expr::SetComparison(_) => strange = Some("EXISTS, ANY and ALL"),
                Expr::AggregateFunction(_) | Expr::WindowFunction(_) => strange = Some("aggregates"),
                Expr::Placeholder(_) => strange = Some("parameters"),
                other if other.is_volatile_node() => strange = Some("functions that answer differently each time"),
                _ => return Ok(TreeNodeRecursion::Continue),
            }
            Ok(TreeNodeRecursion::Jump)
        });
        walked.map_err(|error| fault::planning(&error))?;
        if let Some(strange) = strange {
            return Err(fault::invalid(format!(
                "a row filter takes no {strange}: compare columns, or ask other tables with `column IN (SELECT ...)`"
            )));
        }
        let mut answers = Vec::new();
        for expr in asked {
            answers.push(match expr {
                Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                    let left = bare(*expr)?;
                    let columns = schema.as_ref().clone().to_dfschema().map_err(|error| fault::planning(&error))?;
                    let data_type = exact(left.get_type(&columns).map_err(|error| fault::planning(&error))?);
                    let values = self.values(subquery.subquery, &subquery.outer_ref_columns, &data_type).await?;
                    one_of(left, &values, negated).map_err(|error| fault::planning(&error))?
                }
                Expr::ScalarSubquery(subquery) => {
                    let data_type = exact(subquery.subquery.schema().field(0).data_type().clone());
                    let values = self.values(subquery.subquery, &subquery.outer_ref_columns, &data_type).await?;
                    if values.len() > 1 {
                        return Err(fault::invalid("a subquery of a row filter answers with more than one row"));
                    }
                    let value = match values.is_empty() {
                        true => ScalarValue::try_from(&data_type),
                        false => ScalarValue::try_from_array(&values, 0),
                    };
                    lit(value.map_err(|error| fault::planning(&error))?)
                }
                other => other,
            });
        }
        let mut answers = answers.into_iter();
        let put = predicate.transform_down(|expr| match expr {
            Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Ok(answers
                .next()
                .map_or(Transformed::no(expr), |answer| Transformed::new(answer, true, TreeNodeRecursion::Jump))),
            other => Ok(Transformed::no(other)),
        });
        bare(put.map_err(|error| fault::planning(&error))?.data)
    }

    /// What a subquery that stands by itself answers with, as values of one type.
    async fn values(&self, plan: Arc<LogicalPlan>, outer: &[Expr], data_type: &DataType) -> Result<ArrayRef, Error> {
        if !outer.is_empty() {
            return Err(fault::invalid("a subquery of a row filter must not use columns of the filtered table"));
        }
        let state = *self.inner.state()?;
        let work = async move {
            let limited = DataFrame::new(state, plan.as_ref().clone()).limit(0, Some(MOST + 1))?;
            limited.collect().await
        };
        let failed = || Error::Execution { message: "a row filter could not be computed".to_owned() };
        let task = self.inner.cpu.as_ref().and_then(|cpu| cpu.spawn(work)).ok_or_else(failed)?;
        let batches: Vec<RecordBatch> = task.await.map_err(|_| failed())?.map_err(|error| fault::execution(&error))?;
        let columns: Vec<&dyn Array> =
            batches.iter().filter_map(|batch| batch.columns().first()).map(AsRef::as_ref).collect();
        if columns.is_empty() {
            return Ok(arrow::array::new_empty_array(data_type));
        }
        let all = concat(&columns).and_then(|all| cast(&all, data_type)).map_err(|_| {
            fault::invalid("a subquery of a row filter answers with another type than what it is compared with")
        })?;
        if all.len() > MOST {
            return Err(Error::Refused { reason: format!("a row filter asks for more than {MOST} values") });
        }
        Ok(all)
    }
}

/// Whether a condition means the same as long as the tables that it asks stay as they are: `now()` does not.
fn is_lasting(plan: &LogicalPlan) -> PlanResult<bool> {
    let mut lasting = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr {
                    lasting &= call.func.signature().volatility == Volatility::Immutable;
                }
                Ok(if lasting { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })
    })?;
    Ok(lasting)
}

/// The type that values have when the condition is evaluated: times are microseconds by then.
fn exact(data_type: DataType) -> DataType {
    in_micros(&data_type).unwrap_or(data_type)
}

/// The condition with the casts that its comparisons need. A value that cannot be cast meets no condition, rather than to
/// fail: an error would come or not come by what a caller asks of a row that is hidden from him.
fn typed(holds: Expr, state: &SessionState, schema: &SchemaRef) -> PlanResult<Expr> {
    let columns = schema.as_ref().clone().to_dfschema_ref()?;
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(state.config_options()))
        .with_schema(Arc::clone(&columns))
        .with_current_time()
        .build();
    let simplifier = ExprSimplifier::new(context);
    let holds = in_expr(simplifier.coerce(holds, &columns)?, columns.as_ref(), state.config_options())?;
    let holds = simplifier.coerce(holds, &columns)?;
    let mut read: Vec<Expr> = Vec::new();
    let tried = holds.transform_up(|expr| match expr {
        Expr::Cast(Cast { expr, field }) if !matches!(expr.as_ref(), Expr::Literal(..)) => {
            let may_fail = expr.get_type(columns.as_ref())?.is_string();
            let from = expr.as_ref().clone();
            let tried = Expr::TryCast(TryCast { expr, field });
            if may_fail {
                read.push(from.is_null().or(tried.clone().is_not_null()));
            }
            Ok(Transformed::yes(tried))
        }
        other => Ok(Transformed::no(other)),
    })?;
    // Also where the condition asks for what is NULL.
    let all = read.into_iter().fold(tried.data, Expr::and);
    simplifier.simplify(all)
}

/// The condition of the first filter of a plan.
fn predicate(plan: &LogicalPlan) -> Option<Expr> {
    match plan {
        LogicalPlan::Filter(filter) => Some(filter.predicate.clone()),
        other => other.inputs().into_iter().find_map(predicate),
    }
}

/// Columns without the name of the table.
fn bare(expr: Expr) -> Result<Expr, Error> {
    let bare = expr.transform(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    });
    bare.map(|bare| bare.data).map_err(|error| fault::planning(&error))
}

fn one_of(left: Expr, values: &ArrayRef, negated: bool) -> PlanResult<Expr> {
    let known = (0..values.len()).map(|place| ScalarValue::try_from_array(values, place));
    let known: HashSet<ScalarValue> = known.collect::<PlanResult<_>>()?;
    if known.len() <= LISTED {
        let mut listed: Vec<ScalarValue> = known.into_iter().collect();
        listed.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
        return Ok(left.in_list(listed.into_iter().map(lit).collect(), negated));
    }
    let has_null = known.iter().any(ScalarValue::is_null);
    let set = Set { known: Arc::new(known), has_null, signature: Signature::any(1, Volatility::Immutable) };
    let is_one = ScalarUDF::new_from_impl(set).call(vec![left]);
    Ok(if negated { Expr::Not(Box::new(is_one)) } else { is_one })
}

/// `x IN (...)` of many values, as SQL has it with NULL.
#[derive(Debug)]
struct Set {
    known: Arc<HashSet<ScalarValue>>,
    has_null: bool,
    signature: Signature,
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.known, &other.known)
    }
}

impl Eq for Set {}

impl std::hash::Hash for Set {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.known).hash(state);
    }
}

impl ScalarUDFImpl for Set {
    fn name(&self) -> &'static str {
        "is_one_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let Some(values) = args.args.first() else { return exec_err!("nothing to look for") };
        let values = values.to_array(args.number_rows)?;
        let found = (0..values.len()).map(|place| {
            let value = ScalarValue::try_from_array(&values, place)?;
            Ok(match (value.is_null(), self.known.contains(&value)) {
                (true, _) => None,
                (false, true) => Some(true),
                (false, false) => {
                    if self.has_null {
                        None
                    } else {
                        Some(false)
                    }
                }
            })
        });
        Ok(ColumnarValue::Array(Arc::new(found.collect::<PlanResult<BooleanArray>>()?)))
    }
}

//! Answers that were computed once, kept in memory and given again.
//!
//! A [`Question`] is the text of a statement and, for each table that it names, which version of which table that means and
//! what the principal sees of it. Names are resolved, and rights asked for, each time anew; only then is a question put. A
//! version of a table never changes, so an answer is never out of date: the next commit makes another question of the same
//! text. Two principals share an answer where they see the same of every table.
//!
//! What may answer differently without a table having changed is not kept: statements on system tables and views, and those
//! with a function like `now()` or `random()`.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::{Expr, LogicalPlan, Volatility},
    scalar::ScalarValue,
};
use mavis_types::TokenId;
use moka::sync::Cache;

use crate::{
    Error, fault,
    names::{Stamp, TableKey},
    stream::Keeper,
};

/// An answer that nobody asked for again is forgotten after this.
const IDLE: Duration = Duration::from_secs(600);
/// Statements whose columns are remembered.
const MEANINGS: u64 = 10_000;
/// Plans that are remembered, and how long one that nobody asks for again: it holds on to the files of its tables' versions.
const PLANS: u64 = 1_000;
const PLAN_IDLE: Duration = Duration::from_secs(60);
/// Conditions of filters that are remembered.
const CONDITIONS: u64 = 256;
/// Of all the room for answers, what one may take: a quarter.
const SHARE: usize = 4;
/// Unit of weights, in bytes.
const UNIT: usize = 1 << 10;

/// A statement over states of tables; parameters are still open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question(Arc<Inner>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Inner {
    sql: String,
    /// `None`: the name means no table, but a CTE of the statement.
    tables: Vec<(TableKey, Option<Stamp>)>,
}

impl Question {
    /// `tables` in a fixed order.
    pub(crate) fn new(sql: &str, tables: Vec<(TableKey, Option<Stamp>)>) -> Self {
        Self(Arc::new(Inner { sql: sql.to_owned(), tables }))
    }
}

/// What a statement answers with, before any row of it.
#[derive(Debug, Clone)]
pub(crate) struct Meaning {
    pub(crate) schema: SchemaRef,
    pub(crate) parameters: Vec<DataType>,
    /// Places of parameters that may be of any type.
    pub(crate) open: Vec<usize>,
    pub(crate) ordered: bool,
    pub(crate) large: bool,
}

/// A statement that was planned and passed the guard, its parameters still open.
#[derive(Debug, Clone)]
pub(crate) struct KeptPlan {
    pub(crate) plan: LogicalPlan,
    pub(crate) parameters: Vec<DataType>,
    /// Places of parameters that may be of any type.
    pub(crate) open: Vec<usize>,
    pub(crate) schema: SchemaRef,
}

/// A question with the values of its parameters as they were given, and their types: an instant is equal to itself in
/// another zone, and the hour of it is another one.
type Asked = (Question, Vec<(ScalarValue, DataType)>);

fn typed(params: &[ScalarValue]) -> Vec<(ScalarValue, DataType)> {
    params.iter().map(|value| (value.clone(), value.data_type())).collect()
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Arc<Vec<RecordBatch>>,
    bytes: usize,
}

impl Answer {
    /// One row of one text.
    ///
    /// # Errors
    /// None that can happen: the column is of its schema.
    pub(crate) fn of_text(column: &str, text: &str) -> Result<Self, Error> {
        let schema = Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8, false)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![texts]).map_err(|error| fault::execution(&error.into()))?;
        Ok(Self { schema, batches: Arc::new(vec![batch]), bytes: 0 })
    }
}

/// The answers of an engine. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    meanings: Cache<Question, Meaning>,
    /// The guard lets a plan pass for one token.
    plans: Cache<(Question, TokenId), Arc<KeptPlan>>,
    answers: Cache<Asked, Answer>,
    /// What conditions of filters say of rows, with the values that they ask of other tables put in.
    conditions: Cache<Question, Expr>,
    /// Bytes that one answer may take.
    largest: usize,
}

impl Answers {
    /// `bytes`: room for all answers; 0 keeps none.
    pub(crate) fn new(bytes: usize) -> Self {
        let weight = |_: &Asked, answer: &Answer| u32::try_from(answer.bytes / UNIT + 1).unwrap_or(u32::MAX);
        let answers = Cache::builder().weigher(weight).max_capacity((bytes / UNIT) as u64).time_to_idle(IDLE).build();
        let meanings = Cache::builder().max_capacity(MEANINGS).time_to_idle(IDLE).build();
        let plans = Cache::builder().max_capacity(PLANS).time_to_idle(PLAN_IDLE).build();
        let conditions = Cache::builder().max_capacity(CONDITIONS).time_to_idle(IDLE).build();
        Self { meanings, plans, answers, conditions, largest: bytes / SHARE }
    }

    pub(crate) fn meaning(&self, question: &Question) -> Option<Meaning> {
        self.meanings.get(question)
    }

    pub(crate) fn note_meaning(&self, question: &Question, meaning: &Meaning) {
        self.meanings.insert(question.clone(), meaning.clone());
    }

    /// The plan of a question that was asked before. What it reads is what the question says, so that it is never out of date.
    pub(crate) fn plan(&self, question: &Question, token: TokenId) -> Option<Arc<KeptPlan>> {
        self.plans.get(&(question.clone(), token))
    }

    /// Keeps a plan that answers the same as long as its tables stay what they are: see [`is_lasting`].
    pub(crate) fn note_plan(&self, question: &Question, token: TokenId, plan: KeptPlan) {
        self.plans.insert((question.clone(), token), Arc::new(plan));
    }

    pub(crate) fn condition(&self, question: &Question) -> Option<Expr> {
        self.conditions.get(question)
    }

    pub(crate) fn note_condition(&self, question: Question, condition: &Expr) {
        self.conditions.insert(question, condition.clone());
    }

    pub(crate) fn answer(&self, question: &Question, params: &[ScalarValue]) -> Option<Answer> {
        let answer = self.answers.get(&(question.clone(), typed(params)));
        let outcome = if answer.is_some() { "kept" } else { "computed" };
        metrics::counter!("mavis_sql_answers_total", "outcome" => outcome).increment(1);
        answer
    }

    /// What collects the batches of a running statement and keeps them when it has come to its end.
    pub(crate) fn keeper(&self, question: Question, params: &[ScalarValue], schema: &SchemaRef) -> Keeper {
        let (answers, asked, schema) = (self.answers.clone(), (question, typed(params)), Arc::clone(schema));
        Keeper::new(
            self.largest,
            Box::new(move |batches, bytes| answers.insert(asked, Answer { schema, batches: Arc::new(batches), bytes })),
        )
    }

    /// Forgets every answer: what was erased from the lake's past must not be told from memory.
    pub(crate) fn forget(&self) {
        self.answers.invalidate_all();
        self.meanings.invalidate_all();
        self.plans.invalidate_all();
        self.conditions.invalidate_all();
    }
}

/// Whether a plan answers the same as long as its tables stay what they are.
pub(crate) fn is_lasting(plan: &LogicalPlan) -> bool {
    let mut lasting = true;
    let walked = plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
            lasting = false;
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                lasting &= is_steady(expr);
                Ok(if lasting { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })?;
        Ok(if lasting { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    lasting && walked.is_ok()
}

fn is_steady(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::HigherOrderFunction(_) => !expr.is_volatile_node(),
        Expr::AggregateFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::ScalarVariable(..) => false,
        other => !other.is_volatile_node(),
    }
}

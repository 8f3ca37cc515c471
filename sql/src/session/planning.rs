//! From a statement that was let through to its plan, and the types of parameters that nothing around them tells.

use std::{ops::ControlFlow, sync::Arc};

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::{
    execution::SessionState,
    logical_expr::LogicalPlan,
    scalar::ScalarValue,
    sql::sqlparser::ast::{Expr, Statement, Value, visit_expressions},
};

use super::{Planned, Put, Session};
use crate::{
    Error,
    answers::{Answer, KeptPlan, Meaning, is_lasting},
    dialect::Admitted,
    extent, guard,
    micros::in_micros,
    names::resolve_answer,
    planner::{self, Sources, plain_type},
    postgres, rights, told,
};

impl Session {
    /// The columns and parameters of a statement; planned only if that was not done before.
    pub(super) async fn meant(&self, sql: &str, values: &[ScalarValue]) -> Result<Meaning, Error> {
        let put = match rights::read(sql)? {
            None => self.put(sql).await?,
            Some(rights::Statement::Show { sql }) => self.put(&sql).await?,
            Some(_) => {
                let schema = Answer::of_text("status", "")?.schema;
                let (parameters, open) = (Vec::new(), Vec::new());
                return Ok(Meaning { schema, parameters, open, ordered: true, large: false });
            }
        };
        let known = put.question.as_ref().and_then(|question| self.inner.answers.meaning(question));
        if let Some(meaning) = known.filter(|meaning| are_texts(&meaning.open, values)) {
            return Ok(meaning);
        }
        let question = put.question.clone();
        let (Planned { plan, schema, parameters, open, typed, .. }, _) = self.planned_once(put, values).await?;
        let (ordered, large) = (extent::is_ordered(&plan), extent::is_large(&plan));
        let meaning = Meaning { schema, parameters, open, ordered, large };
        if let Some(question) = question.filter(|_| !typed) {
            self.inner.answers.note_meaning(&question, &meaning);
        }
        Ok(meaning)
    }

    /// As [`Session::planned`], but the plan of before where the same was asked, and whether it may be asked again.
    pub(super) async fn planned_once(&self, put: Put, values: &[ScalarValue]) -> Result<(Planned, bool), Error> {
        let Some(question) = put.question.clone() else { return Ok((self.planned(put, values).await?, false)) };
        let kept = self.inner.answers.plan(&question, self.principal.token);
        if let Some(kept) = kept.filter(|kept| are_texts(&kept.open, values)) {
            let KeptPlan { plan, parameters, open, schema } = kept.as_ref().clone();
            return Ok((Planned { plan, parameters, open, schema, state: self.state()?, typed: false }, true));
        }
        let planned = self.planned(put, values).await?;
        let lasting = is_lasting(&planned.plan);
        // What PostgreSQL's forms mean depends on the connection.
        if lasting && self.postgres.is_none() && !planned.typed {
            let Planned { plan, parameters, open, schema, .. } = &planned;
            let (plan, parameters, open) = (plan.clone(), parameters.clone(), open.clone());
            let kept = KeptPlan { plan, parameters, open, schema: Arc::clone(schema) };
            self.inner.answers.note_plan(&question, self.principal.token, kept);
        }
        Ok((planned, lasting))
    }

    /// `values`: of the parameters, for the types of those that could be anything; none where they are not known yet.
    pub(super) async fn planned(&self, put: Put, values: &[ScalarValue]) -> Result<Planned, Error> {
        let Put { statement, mut opened, parameters, .. } = put;
        let mut statement = match statement {
            Admitted::Query(statement) => statement,
            Admitted::Told(told) => {
                let (view, state) = (self.view_of_lake(), self.state()?);
                let plan = told::answer(&view, &state, told).await?;
                self.note(&view);
                return self.passed(plan, state);
            }
            Admitted::Nothing => return self.passed(LogicalPlan::default(), self.state()?),
        };
        if opened.veiled && matches!(*statement, Statement::Explain { .. }) {
            return Err(Error::Refused {
                reason: "EXPLAIN would show the definition of a view that you may not see".to_owned(),
            });
        }
        resolve_answer(&mut statement, &mut opened.bindings)?;
        let mut planned = self.typed(&opened.sources, &statement, values)?;
        if self.postgres.is_some() {
            let known = planned.parameters.len().max(parameters);
            planned.open.extend(planned.parameters.len()..known);
            planned.parameters.resize(known, DataType::Utf8);
        }
        Ok(planned)
    }

    /// Plans with what stands around the parameters, and where that tells nothing, with the types of their values.
    pub(crate) fn typed(
        &self,
        sources: &Sources,
        statement: &Statement,
        values: &[ScalarValue],
    ) -> Result<Planned, Error> {
        // PostgreSQL's clients say the types of their parameters, and one without a type is a text there.
        if let Some(own) = &self.postgres {
            return postgres::plan(self, own, sources, statement.clone());
        }
        let plan = |types: &[Option<DataType>]| {
            let state = self.state()?;
            Ok::<_, Error>((planner::plan_typed(&state, sources, statement.clone(), types)?, state))
        };
        let (known, first) = match plan(&[]) {
            Ok((plan, state)) => {
                let known = planner::parameters(&plan)?;
                (known.clone(), self.passed_with(plan, state, known))
            }
            Err(error) => (vec![None; placeholders(statement)], Err(error)),
        };
        match &first {
            Ok(planned) if values.len() != known.len() || are_texts(&planned.open, values) => return first,
            Err(_) if known.is_empty() => return first,
            Err(_) if !values.is_empty() && values.len() != known.len() => {
                return Err(planner::miscounted(known.len(), values.len()));
            }
            _ => {}
        }
        let mut refused = None;
        for types in guesses(&known, values) {
            match plan(&types).and_then(|(plan, state)| self.passed(plan, state)) {
                Ok(planned) if values.is_empty() => {
                    // What was guessed is good for the columns of the answer; a value may be anything.
                    let parameters = known.into_iter().map(|known| known.unwrap_or(DataType::Utf8)).collect();
                    return Ok(Planned { parameters, typed: true, ..planned });
                }
                Ok(planned) => return Ok(Planned { typed: true, ..planned }),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match (first, refused) {
            (Err(_), Some(error)) if !values.is_empty() => Err(error),
            // Good for texts only, and so is every value one.
            (Ok(planned), _) => Ok(Planned { open: Vec::new(), ..planned }),
            (first, _) => first,
        }
    }

    /// The last step of planning, the same for every kind of statement.
    pub(crate) fn passed(&self, plan: LogicalPlan, state: Box<SessionState>) -> Result<Planned, Error> {
        let known = planner::parameters(&plan)?;
        self.passed_with(plan, state, known)
    }

    pub(crate) fn passed_with(
        &self,
        plan: LogicalPlan,
        state: Box<SessionState>,
        known: Vec<Option<DataType>>,
    ) -> Result<Planned, Error> {
        guard::check(&plan, self.principal.token)?;
        let open = known.iter().enumerate().filter(|(_, known)| known.is_none()).map(|(place, _)| place).collect();
        // One that may be anything is a text for as long as nobody says more.
        let parameters: Vec<DataType> = known.into_iter().map(|known| known.unwrap_or(DataType::Utf8)).collect();
        let schema = planner::answer(&state, &plan, &parameters)?;
        Ok(Planned { plan, state, parameters, open, schema, typed: false })
    }
}

/// Whether a plan that takes its `open` parameters for texts is good for these values.
fn are_texts(open: &[usize], values: &[ScalarValue]) -> bool {
    let is_text = |value: &ScalarValue| matches!(natural(&value.data_type()), DataType::Utf8 | DataType::Null);
    open.iter().all(|place| values.get(*place).is_none_or(is_text))
}

/// Types for all parameters, the likeliest first: the known one, that of the value, or one that is tried.
fn guesses(known: &[Option<DataType>], values: &[ScalarValue]) -> Vec<Vec<Option<DataType>>> {
    let tried = [
        DataType::Utf8,
        DataType::Int64,
        DataType::Float64,
        DataType::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
    ];
    let of_value = |place: usize| {
        let natural = values.get(place).map(|value| natural(&value.data_type()));
        natural.filter(|data_type| *data_type != DataType::Null)
    };
    let base: Vec<Option<DataType>> =
        known.iter().enumerate().map(|(place, known)| known.clone().or_else(|| of_value(place))).collect();
    if base.iter().all(Option::is_some) {
        return vec![base];
    }
    let filled = |tried: &DataType| base.iter().map(|known| known.clone().or_else(|| Some(tried.clone()))).collect();
    tried.iter().map(filled).collect()
}

/// The type that a value has in a statement.
fn natural(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 => DataType::Utf8,
        DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => natural(value),
        DataType::RunEndEncoded(_, value) => natural(value.data_type()),
        other => {
            let plain = plain_type(other);
            in_micros(&plain).unwrap_or(plain)
        }
    }
}

/// How many parameters a statement has: the largest number of a `$n`.
fn placeholders(statement: &Statement) -> usize {
    let mut most = 0;
    let _walked: ControlFlow<()> = visit_expressions(statement, |expr| {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            let number = name.strip_prefix('$').and_then(|number| number.parse::<u16>().ok());
            most = most.max(number.map_or(0, usize::from));
        }
        ControlFlow::Continue(())
    });
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_or_the_values_or_tried() {
        let known = [Some(DataType::Int64), None, None];
        let values = [ScalarValue::from("5"), ScalarValue::Float64(Some(0.5)), ScalarValue::Null];
        let guesses = guesses(&known, &values);
        assert_eq!(guesses[0], [Some(DataType::Int64), Some(DataType::Float64), Some(DataType::Utf8)]);
        assert_eq!(guesses[1][2], Some(DataType::Int64));
        let values = [ScalarValue::from("5"), ScalarValue::LargeUtf8(None), ScalarValue::Date32(None)];
        let guesses = super::guesses(&known, &values);
        assert_eq!(guesses, [[Some(DataType::Int64), Some(DataType::Utf8), Some(DataType::Date32)]]);
    }

    #[test]
    fn texts_and_nothing_are_what_an_open_parameter_is_taken_for() {
        let values = [ScalarValue::Int64(Some(1)), ScalarValue::from("x"), ScalarValue::Null];
        assert!(are_texts(&[1, 2, 7], &values) && are_texts(&[0], &[]));
        assert!(!are_texts(&[0, 1], &values));
    }
}

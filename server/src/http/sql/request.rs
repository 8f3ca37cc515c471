//! The body of a request: a statement, the values of its parameters, and what may be spent on it.

use std::{collections::BTreeMap, time::Duration};

use axum::http::StatusCode;
use datafusion::scalar::ScalarValue;
use mavis_sql::{Executed, Limits, QueryStream};
use mavis_types::Principal;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::value::scalar;
use crate::{App, auth::Door, http::ApiError, query_log::QueryLog};

/// A statement with the values of its parameters.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Statement {
    /// One statement.
    #[schema(example = "SELECT gender, count(*) AS patients FROM patient WHERE birthdate < :born GROUP BY gender")]
    pub(in crate::http) sql: String,
    /// Values of the parameters: a list for `$1`, `$2`, ... (or `?`) in order, or an object for `:name`. A value is null,
    /// true or false, a number or a text; texts become dates and times where the statement compares them with one. To say
    /// the type: `{"type": "date", "value": "1950-01-01"}`.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"born": "1950-01-01"}))]
    params: Params,
    /// Rows that are answered at most. Whether there were more is said: in JSON as `cut` at the end, else in the header
    /// `x-mavis-cut`, or, where that is known only at the end, in a trailer of this name.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub(in crate::http) max_rows: Option<u64>,
    /// Seconds after which the query is ended; the server's own limit stays in force.
    #[serde(default)]
    #[schema(minimum = 0.001, example = 30.0)]
    timeout: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Params {
    Listed(Vec<Value>),
    Named(BTreeMap<String, Value>),
}

impl Default for Params {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// Values as the engine takes them.
#[derive(Debug)]
enum Values {
    Listed(Vec<ScalarValue>),
    Named(Vec<(String, ScalarValue)>),
}

/// A statement whose values and limits were read.
#[derive(Debug)]
pub(in crate::http) struct Ready {
    sql: String,
    values: Values,
    limits: Option<Limits>,
}

impl Statement {
    /// # Errors
    /// 400 for a value that cannot be read, or a time that is none.
    pub(in crate::http) fn ready(&self, app: &App, long: bool) -> Result<Ready, ApiError> {
        let values = match &self.params {
            Params::Listed(values) => {
                let values = (1..).zip(values).map(|(number, value)| scalar(&format!("${number}"), value));
                Values::Listed(values.collect::<Result<_, _>>()?)
            }
            Params::Named(values) => {
                let values = values.iter().map(|(name, value)| Ok((name.clone(), scalar(&format!(":{name}"), value)?)));
                Values::Named(values.collect::<Result<_, ApiError>>()?)
            }
        };
        Ok(Ready { sql: self.sql.clone(), values, limits: self.limits(app, long)? })
    }

    /// `None`: the engine's own.
    fn limits(&self, app: &App, long: bool) -> Result<Option<Limits>, ApiError> {
        let query = &app.config.query;
        let longest = Duration::from_secs(if long { query.long_seconds } else { query.time_seconds });
        let asked = match self.timeout {
            None => None,
            Some(seconds) => match Duration::try_from_secs_f64(seconds) {
                Ok(time) if !time.is_zero() => Some(time),
                _ => return Err(ApiError::invalid("`timeout` is a number of seconds above 0")),
            },
        };
        if asked.is_none() && !long {
            return Ok(None);
        }
        let time = asked.map_or(longest, |asked| asked.min(longest));
        Ok(Some(Limits { time, memory_bytes: query.memory_bytes, rows: None, result_bytes: None }))
    }
}

impl Ready {
    /// Plans it without running; answers whether it asks for an order.
    ///
    /// # Errors
    /// As [`Ready::run`], as far as planning tells.
    pub(in crate::http) async fn check(&self, app: &App, principal: &Principal) -> Result<bool, ApiError> {
        let told = |error| ApiError::of_statement(error, &self.sql);
        let session = app.engine.session(principal, None).await.map_err(told)?;
        let Values::Listed(values) = &self.values else { return Ok(false) };
        let prepared = session.prepare(&self.sql).await.map_err(told)?;
        let wanted = prepared.parameters.fields().len();
        if wanted != values.len() {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_sql",
                format!("the statement has {wanted} parameters, {} values were given", values.len()),
            ));
        }
        Ok(prepared.ordered)
    }

    /// Whether it makes, changes or drops tables or views: then it is executed and answers no rows.
    pub(in crate::http) fn writes(&self) -> bool {
        mavis_sql::writes(&self.sql)
    }

    /// Executes it for a principal; counted and audited.
    ///
    /// # Errors
    /// Those of the statement, with their places in the text.
    pub(in crate::http) async fn execute(self, app: &App, principal: &Principal) -> Result<Executed, ApiError> {
        let log = QueryLog::write(app, principal, Door::Http, &self.sql, String::new());
        let outcome = async {
            let session = app.engine.session(principal, None).await?;
            match &self.values {
                Values::Listed(values) => session.execute(&self.sql, values, self.limits).await,
                Values::Named(values) => session.execute_named(&self.sql, values, self.limits).await,
            }
        };
        let outcome = outcome.await;
        log.wrote(&outcome);
        outcome.map_err(|error| ApiError::of_statement(error, &self.sql))
    }

    /// Runs it for a principal; counted and audited.
    ///
    /// # Errors
    /// Those of the query before its first batch, with their places in the text.
    pub(in crate::http) async fn run(self, app: &App, principal: &Principal) -> Result<QueryStream, ApiError> {
        let log = QueryLog::begin(app, principal, Door::Http, &self.sql);
        let queried = async {
            let session = app.engine.session(principal, None).await?;
            match &self.values {
                Values::Listed(values) => session.query(&self.sql, values, self.limits).await,
                Values::Named(values) => session.query_named(&self.sql, values, self.limits).await,
            }
        };
        match queried.await {
            Ok(stream) => Ok(log.follow(stream)),
            Err(error) => {
                log.failed(&error);
                Err(ApiError::of_statement(error, &self.sql))
            }
        }
    }
}

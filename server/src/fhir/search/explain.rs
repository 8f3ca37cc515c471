//! `__explain=true`: the plan of a search, for administrators, in the place of its answer.

use axum::{http::StatusCode, response::Response};
use futures::TryStreamExt;

use super::{
    asked::Asked,
    matches::{Part, page},
    tables::Tables,
};
use crate::fhir::{
    outcome::{Outcome, issue},
    read::unplanned,
    rows,
};

/// The plan that finds the keys of the page, as DataFusion tells it; what stands below the guard is not shown.
pub(super) async fn explain(asked: &Asked, tables: &Tables<'_>, parts: &[Part]) -> Result<Response, Outcome> {
    let text = match page(tables, parts, None)? {
        None => "no table is there: nothing is read".to_owned(),
        Some(frame) => {
            let frame = frame.explain(false, false).map_err(unplanned)?;
            let answer = tables.session.run(frame, None).await?;
            let batches: Vec<_> = answer.batches.try_collect().await.map_err(Outcome::from)?;
            let column = |index: usize| batches.iter().flat_map(move |batch| rows::texts(batch, index));
            let plans: Vec<String> = column(0).zip(column(1)).map(|(kind, plan)| format!("{kind}\n{plan}")).collect();
            plans.join("\n")
        }
    };
    Ok(asked.format.answer(StatusCode::OK, issue("information", "informational", &text).to_string()))
}

//! What shall run: a view or a query, given whole, by reference or by its canonical URL.

use std::sync::Arc;

use axum::http::StatusCode;
use datafusion::{logical_expr::lit, prelude::ident};
use mavis_catalog::ViewRow;
use mavis_fhir::{
    ResourceType,
    json::{self, Value},
    view::Plan,
};
use mavis_sql::Session;

use super::{library::SqlQuery, planned, request::once};
use crate::{
    App,
    fhir::{
        outcome::Outcome,
        rows::{columns, current, fetch, frame, unplanned},
        views::is_seen,
    },
};

/// A view or query, as a request names it: exactly one of the three.
#[derive(Debug, Default)]
pub(in crate::fhir) struct Which {
    canonical: Option<String>,
    pub(super) reference: Option<String>,
    /// Its JSON.
    resource: Option<String>,
}

impl Which {
    /// Takes a parameter with a primitive value or a reference, if it is one of these.
    ///
    /// # Errors
    /// 400 where it says two things.
    pub(in crate::fhir) fn set(&mut self, name: &str, value: &str) -> Result<bool, Outcome> {
        let place = match name {
            "subjectCanonical" | "viewCanonical" | "queryCanonical" => &mut self.canonical,
            "subjectReference" | "viewReference" | "queryReference" => &mut self.reference,
            _ => return Ok(false),
        };
        once(name, place, value.to_owned()).map(|()| true)
    }

    /// As [`Which::set`], of a parameter that is a resource.
    ///
    /// # Errors
    /// 400 where it says two things.
    pub(in crate::fhir) fn set_resource(&mut self, name: &str, value: &Value<'_>) -> Result<bool, Outcome> {
        match name {
            "subjectResource" | "viewResource" | "queryResource" => {
                once(name, &mut self.resource, value.to_json()).map(|()| true)
            }
            _ => Ok(false),
        }
    }
}

#[derive(Debug)]
pub(in crate::fhir) enum Subject {
    View(Arc<Plan>),
    Query(Box<SqlQuery>),
}

impl Subject {
    /// What the audit says of it.
    pub(in crate::fhir) fn audited(&self) -> &str {
        match self {
            Self::View(plan) => plan.resource().table(),
            Self::Query(query) => &query.sql,
        }
    }
}

/// The subject, and the name that it gives itself.
///
/// # Errors
/// 400 where not exactly one is given, 404 where there is none such, 422 where it is not valid.
pub(in crate::fhir) async fn find(
    app: &App,
    session: &Session,
    which: &Which,
) -> Result<(Subject, Option<String>), Outcome> {
    match (&which.resource, &which.reference, &which.canonical) {
        (Some(text), None, None) => of_json(app, session, text).await,
        (None, Some(reference), None) => {
            let text = referred(app, session, reference).await?.ok_or_else(unknown)?;
            of_json(app, session, &text).await
        }
        (None, None, Some(canonical)) => {
            let text = of_canonical(app, session, canonical).await?.ok_or_else(unknown)?;
            of_json(app, session, &text).await
        }
        _ => Err(Outcome::invalid(
            "exactly one of `subjectResource`, `subjectReference` and `subjectCanonical` says what shall run",
        )),
    }
}

fn unknown() -> Outcome {
    Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such view or query")
}

async fn of_json(app: &App, session: &Session, text: &str) -> Result<(Subject, Option<String>), Outcome> {
    let json = json::parse(text.as_bytes()).map_err(|error| Outcome::invalid(error.to_string()))?;
    let subject = match json.get_str("resourceType") {
        Some("Library") => Subject::Query(Box::new(SqlQuery::read(app, session, &json).await?)),
        // a view need not say what it is
        _ => Subject::View(planned(&json)?),
    };
    Ok((subject, json.get_str("name").map(str::to_owned)))
}

/// The text of a stored view or library.
async fn referred(app: &App, session: &Session, reference: &str) -> Result<Option<String>, Outcome> {
    let mut parts = reference.rsplit('/');
    let (id, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match kind {
        "ViewDefinition" => match app.catalog.view(kind, id).await {
            Ok(row) => Ok(Some(row).filter(|row| is_seen(session.principal(), row)).map(|row| row.text)),
            Err(mavis_catalog::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(mavis_sql::Error::from(error).into()),
        },
        "Library" => library(session, "id", id).await,
        _ => Err(Outcome::invalid("a subject is referred to as `ViewDefinition/[id]` or `Library/[id]`")),
    }
}

/// The text of the view or library of a canonical URL, with or without `|version`.
pub(super) async fn of_canonical(app: &App, session: &Session, canonical: &str) -> Result<Option<String>, Outcome> {
    let (url, version) = canonical.split_once('|').map_or((canonical, None), |(url, version)| (url, Some(version)));
    let rows = app.catalog.views_by_url(url).await.map_err(mavis_sql::Error::from)?;
    let is = |row: &ViewRow| {
        is_seen(session.principal(), row)
            && version.is_none_or(|version| {
                json::parse(row.text.as_bytes()).is_ok_and(|json| json.get_str("version") == Some(version))
            })
    };
    match rows.into_iter().find(is) {
        Some(row) => Ok(Some(row.text)),
        None => {
            let found = library(session, "url", url).await?;
            Ok(found.filter(|text| {
                let is_version =
                    |json: &Value<'_>| version.is_none_or(|version| json.get_str("version") == Some(version));
                json::parse(text.as_bytes()).is_ok_and(|json| is_version(&json))
            }))
        }
    }
}

/// The text of a Library of the lake.
async fn library(session: &Session, column: &str, value: &str) -> Result<Option<String>, Outcome> {
    let library: ResourceType = "Library".parse().map_err(|_| unknown())?;
    let Some(frame) = frame(session, &current(library)).await? else { return Ok(None) };
    if frame.schema().inner().field_with_name(column).is_err() {
        return Ok(None);
    }
    let found =
        frame.filter(ident(column).eq(lit(value))).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
    Ok(fetch(session, found).await?.into_iter().find_map(|stored| stored.json))
}

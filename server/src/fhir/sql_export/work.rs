//! The work of an export of rows, subject by subject.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use futures::StreamExt;
use mavis_sql::{Limits, Only, QueryStream, Session};
use mavis_types::Principal;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::asked::Format;
use crate::{
    App,
    auth::Door,
    fhir::{
        export::{
            TIME,
            job::{Live, Written},
            run::Failure,
        },
        outcome::Outcome,
        sql_run::{Given, Subject, refused, stored, told},
    },
    http::send,
    query_log::QueryLog,
};

/// One output.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: String,
    subject: Subject,
    values: Vec<(String, Given)>,
}

impl Task {
    /// # Errors
    /// 400 for values where nothing takes them.
    pub(super) fn new(name: String, subject: Subject, values: Vec<(String, Given)>) -> Result<Self, Outcome> {
        match &subject {
            Subject::Query(query) => query.values(&values).map(drop)?,
            Subject::View(_) if !values.is_empty() => {
                return Err(Outcome::invalid("`parameters` go with a query: a view has none"));
            }
            Subject::View(_) => {}
        }
        Ok(Self { name, subject, values })
    }

    /// A file's name: the output's, as far as it can be one.
    fn file(&self, number: usize, format: Format) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        let name: String = self.name.chars().take(64).map(plain).collect();
        format!("{number}.{name}.{}", format.name)
    }
}

#[expect(clippy::too_many_arguments, reason = "what a job is made of")]
pub(super) async fn write(
    app: &App,
    principal: &Principal,
    session: &Session,
    tasks: Vec<Task>,
    only: &Only,
    format: Format,
    job: Uuid,
    live: &Arc<Live>,
) -> Result<Vec<Written>, Failure> {
    live.parts.store(tasks.len() as u64, Ordering::Relaxed);
    let mut outputs = Vec::with_capacity(tasks.len());
    for (number, task) in (1..).zip(tasks) {
        let log = QueryLog::begin(app, principal, Door::Fhir, task.subject.audited());
        let limits = Some(Limits { time: TIME, ..Limits::default() });
        let rows = match stored(session, &task.subject, &task.values, only, limits).await? {
            Ok(rows) => log.follow(rows),
            Err(error) => {
                log.failed(&error);
                return Err(refused(error).into());
            }
        };
        let file = task.file(number, format);
        let before = live.rows.load(Ordering::Relaxed);
        one(rows, format, &app.exports.folder(job).join(&file), live).await?;
        let rows = live.rows.load(Ordering::Relaxed) - before;
        outputs.push(Written { resource: task.name, file, rows });
        live.parts_done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(outputs)
}

/// Writes a file as an answer of `$sql-run` would be written.
async fn one(rows: QueryStream, format: Format, path: &std::path::Path, live: &Arc<Live>) -> Result<(), Failure> {
    let broken = Arc::new(Mutex::new(None));
    let rows = watched(rows, Arc::clone(live), Arc::clone(&broken));
    let written = to_file(rows, format, path).await;
    // What broke off the rows says more than that they were broken off; and lines end without an error where rows do.
    match broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(failure) => Err(failure),
        None => written,
    }
}

async fn to_file(rows: QueryStream, format: Format, path: &std::path::Path) -> Result<(), Failure> {
    let answer = send(rows, format.written).await.map_err(|error| Failure::from(told(&error)))?;
    let mut file = tokio::fs::File::create_new(path).await.map_err(Failure::server)?;
    let mut body = answer.into_body().into_data_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|_| Failure::server("the rows could not be written in this format"))?;
        file.write_all(&bytes).await.map_err(Failure::server)?;
    }
    file.flush().await.map_err(Failure::server)
}

/// Counts the rows that go by, and notes why they break off.
fn watched(mut rows: QueryStream, live: Arc<Live>, broken: Arc<Mutex<Option<Failure>>>) -> QueryStream {
    let batches = rows.batches;
    rows.batches = batches
        .map(move |batch| match batch {
            Ok(batch) => {
                live.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                Ok(batch)
            }
            Err(error) => {
                let failure = Failure::from(refused(error));
                let message = failure.reason.clone();
                *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                Err(mavis_sql::Error::Execution { message })
            }
        })
        .boxed();
    rows
}

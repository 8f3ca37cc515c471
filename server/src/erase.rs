//! Erasing a person, as the gRPC door and the FHIR door do it.

use mavis_pipeline::{EraseOptions, Erasure};
use mavis_types::Principal;

use crate::App;

/// Erases a person, and every bulk export and every answer that waits to be fetched, finished or not: what they hold cannot
/// be told apart. The principal may administer.
///
/// # Errors
/// As [`mavis_pipeline::Pipeline::erase`].
pub(crate) async fn erase(
    app: &App,
    by: &Principal,
    patient: &str,
    options: EraseOptions,
) -> Result<(Erasure, u64), mavis_pipeline::Error> {
    let mut done = app.pipeline.erase(by, patient, options).await?;
    // Answers that were computed before are kept in memory.
    app.engine.forget_answers();
    if let Err(error) = app.results.remove_all().await {
        done.unreached.push(format!("files of answers that wait to be fetched: {error}"));
    }
    // Last: one that begins before that reads what was there before.
    let exports = match app.exports.remove_all().await {
        Ok(exports) => exports,
        Err(error) => {
            done.unreached.push(format!("files of bulk exports: {error}"));
            0
        }
    };
    Ok((done, exports))
}

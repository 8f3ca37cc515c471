use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::{QuarantineFilter, Quarantined};
use mavis_types::TableName;

use super::named_run;
use crate::{
    sight::{Payloads, origin},
    system::{
        Definition, Lines, Request,
        request::Names,
        sheet::{Sheet, word},
    },
};

/// Rows that are read at once: payloads may be long.
const PAGE: u32 = 1_000;

pub(in crate::system) const QUARANTINE: Definition = Definition {
    schema: "ops",
    table: "quarantine",
    comment: "Rows that could not go on, with the reason; only those of tables that you may read. `payload` is the row as it was \
              before, shown to those who may read its raw zone too.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

/// A row, the table that it was on its way to, and whether its content is shown.
type Line = (Quarantined, TableName, bool);

fn sheet(rows: &[Line]) -> Sheet {
    Sheet::default()
        .number("id", rows.iter().map(|(row, ..)| row.id))
        .text("run_id", rows.iter().map(|(row, ..)| row.run.to_string()))
        .text("table_name", rows.iter().map(|(_, table, _)| table.to_string()))
        .text("step", rows.iter().map(|(row, ..)| word(&row.step)))
        .text("reason", rows.iter().map(|(row, ..)| row.reason.as_str()))
        .text("origin", rows.iter().map(|(row, _, shown)| origin(row, *shown)))
        .maybe_text("payload", rows.iter().map(|(row, _, shown)| shown.then_some(row.payload.as_str())))
        .text("state", rows.iter().map(|(row, ..)| word(&row.state)))
        .time("at", rows.iter().map(|(row, ..)| row.at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let mut names = Names::default();
        let mut payloads = Payloads::default();
        let mut filter = QuarantineFilter { limit: Some(PAGE), ..QuarantineFilter::default() };
        match named_run(&request) {
            // No run is called that, so nothing of it was set aside.
            Some(None) => return,
            Some(run) => filter.run = run,
            None => {}
        }
        if let Some(Ok(table)) = request.equal("table_name").map(str::parse::<TableName>) {
            filter.table = request.catalog.find_table(&table).await?.map(|table| table.id);
            if filter.table.is_none() {
                return;
            }
        }
        loop {
            let page = request.catalog.quarantined(&filter).await?;
            let Some(last) = page.last().map(|row| row.id) else { break };
            filter.after = Some(last);
            let mut rows = Vec::with_capacity(page.len());
            for row in page {
                if let Some(table) = names.of(&request, row.table).await? {
                    let shown = payloads.are_shown(&request.catalog, &request.principal, &row, &table).await?;
                    rows.push((row, table, shown));
                }
            }
            yield sheet(&rows).batch()?;
        }
    }
    .boxed()
}

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::RunUnit;
use mavis_types::TableName;

use super::{counts, named_or_known_runs};
use crate::{
    sight::knows_counts,
    system::{
        Definition, Lines, Request,
        request::Names,
        sheet::{Sheet, word},
    },
};

pub(in crate::system) const RUN_UNITS: Definition = Definition {
    schema: "ops",
    table: "run_units",
    comment: "The parts of runs: one line per step and table written.",
    for_admins: false,
    columns: || sheet(&[], true).schema(),
    read,
};

fn sheet(units: &[(RunUnit, TableName)], counted: bool) -> Sheet {
    let sheet = Sheet::default()
        .text("run_id", units.iter().map(|(unit, _)| unit.run.to_string()))
        .text("step", units.iter().map(|(unit, _)| word(&unit.step)))
        .text("table_name", units.iter().map(|(_, table)| table.to_string()))
        .text("state", units.iter().map(|(unit, _)| word(&unit.state)));
    let all: Vec<_> = units.iter().map(|(unit, _)| counted.then_some(unit.counts)).collect();
    counts(sheet, &all)
        .maybe_text("error", units.iter().map(|(unit, _)| unit.error.as_deref().filter(|_| counted)))
        .seconds("seconds", units.iter().map(|(unit, _)| unit.seconds))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let mut names = Names::default();
        let counted = knows_counts(&request.principal);
        for (run, _) in named_or_known_runs(&request).await? {
            let mut lines = Vec::new();
            for unit in request.catalog.run_units(run.id).await? {
                if let Some(table) = names.of(&request, unit.table).await? {
                    lines.push((unit, table));
                }
            }
            yield sheet(&lines, counted).batch()?;
        }
    }
    .boxed()
}

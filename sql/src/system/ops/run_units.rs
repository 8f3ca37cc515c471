use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::RunUnit;
use mavis_types::TableName;

use super::{counts, known_runs, named_run};
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
        .maybe_text("error", units.iter().map(|(unit, _)| unit.error.as_deref()))
        .seconds("seconds", units.iter().map(|(unit, _)| unit.seconds))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let mut names = Names::default();
        let counted = knows_counts(&request.principal);
        let runs = match named_run(&request) {
            Some(run) => run.into_iter().collect::<Vec<_>>(),
            None => known_runs(&request).await?.into_iter().map(|run| run.id).collect(),
        };
        for run in runs {
            let mut lines = Vec::new();
            for unit in request.catalog.run_units(run).await? {
                if let Some(table) = names.of(&request, unit.table).await? {
                    lines.push((unit, table));
                }
            }
            yield sheet(&lines, counted).batch()?;
        }
    }
    .boxed()
}

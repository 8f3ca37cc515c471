use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::LogLine;

use super::{NEWEST_LINES, named_or_known_runs};
use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, word},
};

pub(in crate::system) const RUN_LOG: Definition = Definition {
    schema: "ops",
    table: "run_log",
    comment: "What runs told while they went on, in words a data engineer acts on.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

fn sheet(lines: &[LogLine]) -> Sheet {
    Sheet::default()
        .text("run_id", lines.iter().map(|line| line.run.to_string()))
        .number("sequence", lines.iter().map(|line| line.sequence))
        .time("at", lines.iter().map(|line| line.at))
        .text("level", lines.iter().map(|line| word(&line.level)))
        .text("message", lines.iter().map(|line| line.message.as_str()))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let mut told = 0;
        for (run, _) in named_or_known_runs(&request).await?.into_iter().filter(|(_, is_told)| *is_told) {
            if told >= NEWEST_LINES as usize {
                break;
            }
            let lines = request.catalog.run_log(run.id, -1).await?;
            told += lines.len();
            yield sheet(&lines).batch()?;
        }
    }
    .boxed()
}

use datafusion::{
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    prelude::{col, lit},
    scalar::ScalarValue,
};

use crate::{Error, fault};

/// Lines of text under names of columns.
#[derive(Debug)]
pub(super) struct Sheet {
    names: &'static [&'static str],
    lines: Vec<Vec<Option<String>>>,
}

impl Sheet {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        Self { names, lines: Vec::new() }
    }

    pub(super) fn line<const N: usize>(&mut self, cells: [Option<String>; N]) {
        self.lines.push(cells.into());
    }

    /// The lines as a plan of literals, so that it goes the way of every plan.
    pub(super) fn plan(self) -> Result<LogicalPlan, Error> {
        let Self { names, lines } = self;
        let empty = lines.is_empty();
        let text = |cell: Option<String>| lit(ScalarValue::Utf8(cell));
        let mut rows: Vec<Vec<_>> = lines.into_iter().map(|line| line.into_iter().map(text).collect()).collect();
        if empty {
            // A line that is filtered out again gives the columns their types.
            rows.push(names.iter().map(|_| text(Some(String::new()))).collect());
        }
        let columns = (1..).zip(names).map(|(n, name)| col(format!("column{n}")).alias(*name));
        let built = LogicalPlanBuilder::values(rows)
            .and_then(|values| values.project(columns.collect::<Vec<_>>()))
            .and_then(|values| if empty { values.filter(lit(false)) } else { Ok(values) })
            .and_then(LogicalPlanBuilder::build);
        built.map_err(|error| fault::planning(&error))
    }
}

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ListArray, RecordBatch, RecordBatchOptions, StructArray},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Fields},
};

use super::{
    Over, Plan, ViewError,
    meta::meta,
    plan::{Place, PlannedColumn, PlannedSelect},
    repeat::repeat,
    rows::Rows,
    table::Table,
};
use crate::path::eval::{Around, EvalError, Items, NOTHING, Part, Scope, evaluate};

/// How many rows, and values on the way to them, are made at once of several resources, and of one.
const ROWS: usize = 1 << 17;
const ROWS_OF_ONE: usize = 1 << 21;
/// Rows of a batch that is answered.
const BATCH: usize = 8192;

/// What stays the same for all selects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) resources: &'a Part,
    /// How many rows one step may make.
    pub(super) limit: usize,
}

impl Run<'_> {
    /// # Errors
    /// [`ViewError::TooManyRows`].
    pub(super) fn check(&self, rows: u64) -> Result<(), ViewError> {
        if rows > self.limit as u64 { Err(ViewError::TooManyRows { limit: self.limit }) } else { Ok(()) }
    }
}

impl Plan {
    /// The rows of these resources, a batch of the current table of [`Plan::resource`]; columns that it does not have are
    /// null. More than one batch where the rows are very many.
    ///
    /// # Errors
    /// [`ViewError::Data`] where the data do not fit the view, [`ViewError::TooManyRows`].
    pub fn run(&self, resources: &RecordBatch) -> Result<Vec<RecordBatch>, ViewError> {
        let mut made = Vec::new();
        let mut waiting = vec![resources.clone()];
        while let Some(batch) = waiting.pop() {
            let limit = if batch.num_rows() > 1 { ROWS } else { ROWS_OF_ONE };
            match self.rows(&batch, limit) {
                Ok(rows) => {
                    made.extend(
                        (0..rows.num_rows()).step_by(BATCH).map(|at| rows.slice(at, BATCH.min(rows.num_rows() - at))),
                    );
                }
                Err(ViewError::TooManyRows { .. }) if batch.num_rows() > 1 => {
                    let half = batch.num_rows() / 2;
                    waiting.push(batch.slice(half, batch.num_rows() - half));
                    waiting.push(batch.slice(0, half));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    fn rows(&self, resources: &RecordBatch, limit: usize) -> Result<RecordBatch, ViewError> {
        let part = Part { type_id: self.root, values: structure(resources)?, text: None };
        let rows = self.kept(&part, resources.num_rows())?;
        let table = select(&self.select, &rows, Run { resources: &part, limit })?;
        let options = RecordBatchOptions::new().with_row_count(Some(table.rows));
        Ok(RecordBatch::try_new_with_options(self.schema(), table.columns()?, &options)?)
    }

    /// The resources for which all of the view's `where` is true.
    fn kept(&self, part: &Part, count: usize) -> Result<Rows, ViewError> {
        let all = u32::try_from(count).unwrap_or(NOTHING);
        let mut resource: Vec<u32> = (0..all).collect();
        for Place { place, expr, .. } in &self.wheres {
            let foci = foci(part, &resource);
            let around = Around::Rows { row_index: None, resources: part, resource: &resource };
            let scope = Scope { count: resource.len(), foci, around };
            let truths = evaluate(expr, &scope).and_then(|items| items.truths(scope.count));
            let truths = truths.map_err(|error| data(place, error))?;
            let mut truths = truths.into_iter();
            resource.retain(|_| truths.next() == Some(Some(true)));
        }
        Ok(Rows { foci: foci(part, &resource), count: resource.len(), row_index: None, resource })
    }
}

/// Each of these resources as a focus.
fn foci(part: &Part, resource: &[u32]) -> Items {
    let owners = (0..).take(resource.len()).collect();
    Items { parts: vec![part.clone()], owners, part: None, index: resource.to_vec() }
}

/// A batch as an array of resources. The column `resource` is Mavis's own, whatever the type has of that name.
fn structure(resources: &RecordBatch) -> Result<ArrayRef, ViewError> {
    let schema = resources.schema();
    let meta = meta(resources)?;
    let is_own = |name: &str| name == "resource" || (name == "meta" && meta.is_some());
    let columns = schema.fields().iter().zip(resources.columns()).filter(|(field, _)| !is_own(field.name()));
    let columns = columns.map(|(field, array)| (Arc::clone(field), Arc::clone(array)));
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.chain(meta.clone()).unzip();
    if fields.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(resources.num_rows(), None)));
    }
    Ok(Arc::new(StructArray::try_new(Fields::from(fields), arrays, None)?))
}

pub(super) fn data(place: &str, error: EvalError) -> ViewError {
    match error {
        EvalError::Arrow(error) => ViewError::Arrow(error),
        error => ViewError::Data { place: place.to_owned(), reason: error.to_string() },
    }
}

/// The rows of a select, for each row of its parent.
fn select(planned: &PlannedSelect, rows: &Rows, run: Run<'_>) -> Result<Table, ViewError> {
    let found = match &planned.over {
        Over::Parent => return inside(planned, rows, run),
        Over::ForEach(Place { place, expr, .. }) | Over::ForEachOrNull(Place { place, expr, .. }) => {
            evaluate(expr, &rows.scope(run.resources)).map_err(|error| data(place, error))?
        }
        Over::Repeat(places) => repeat(places, rows, run)?,
    };
    run.check(found.len() as u64)?;
    let (opened, owners) = rows.opened(&found, matches!(planned.over, Over::ForEachOrNull(_)));
    Ok(inside(planned, &opened, run)?.moved_out(owners))
}

fn inside(planned: &PlannedSelect, rows: &Rows, run: Run<'_>) -> Result<Table, ViewError> {
    let mut tables = Vec::with_capacity(2 + planned.selects.len());
    if !planned.columns.is_empty() {
        let scope = rows.scope(run.resources);
        let columns = planned.columns.iter().map(|planned| column(planned, &scope)).collect::<Result<Vec<_>, _>>()?;
        tables.push(Table::of_columns(columns, rows.count));
    }
    for nested in &planned.selects {
        tables.push(select(nested, rows, run)?);
    }
    if !planned.unions.is_empty() {
        let branches = planned.unions.iter().map(|branch| select(branch, rows, run)).collect::<Result<Vec<_>, _>>()?;
        tables.push(Table::union(&branches, rows.count, run)?);
    }
    Table::product(tables, rows.count, run)
}

fn column(planned: &PlannedColumn, scope: &Scope<'_>) -> Result<ArrayRef, ViewError> {
    let place = || format!("column `{}`", planned.field.name());
    let found = evaluate(&planned.path.expr, scope).map_err(|error| data(&place(), error))?;
    if !planned.collection {
        if found.owners.windows(2).any(|pair| pair[0] == pair[1]) {
            let reason = "more than one value for a row; `collection: true` makes a list of them, `first()` takes one";
            return Err(ViewError::Data { place: place(), reason: reason.to_owned() });
        }
        let mut places = vec![NOTHING; scope.count];
        for (at, owner) in (0..).zip(&found.owners) {
            places[*owner as usize] = at;
        }
        return Ok(found.gather(&places, &planned.data_type)?);
    }
    let all: Vec<u32> = (0..).take(found.len()).collect();
    let values = found.gather(&all, &planned.data_type)?;
    let offsets = found.offsets(scope.count).into_iter().map(|at| i32::try_from(at).unwrap_or(i32::MAX));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets.collect::<Vec<_>>()));
    let item = match planned.field.data_type() {
        DataType::List(item) => Arc::clone(item),
        other => Arc::new(Field::new("element", other.clone(), true)),
    };
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None)?))
}

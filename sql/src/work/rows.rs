//! Rows on their way from a query, or from values, into a change.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, SchemaRef},
};
use datafusion::{
    scalar::ScalarValue,
    sql::sqlparser::ast::{Expr, Ident, Query, SetExpr, Value},
};
use futures::StreamExt;
use mavis_lake::work::{Change, Doing};
use mavis_types::TableName;

use super::{
    fit::fit,
    rewrite::{Act, Over, position},
};
use crate::{Error, QueryStream, fault};

use super::run::{PLACES, PLACES_AND_CLAUSES, VALUES_AT_ONCE, told};

/// Parameters that stand alone in VALUES have the types of the columns that they go into.
pub(super) fn typed_values(
    mut query: Query,
    schema: &SchemaRef,
    columns: &[Ident],
) -> Result<(Query, HashMap<String, DataType>), Error> {
    let name = TableName::new(mavis_types::Zone::Work, "", "");
    let mut over = Over { name: &name, columns: schema, typed: Vec::new() };
    if let SetExpr::Values(values) = query.body.as_mut() {
        let places: Vec<usize> = if columns.is_empty() {
            (0..schema.fields().len()).collect()
        } else {
            columns.iter().filter_map(|column| position(schema, column)).collect()
        };
        for row in &mut values.rows {
            for (value, place) in row.content.iter_mut().zip(&places) {
                let taken = std::mem::replace(
                    value,
                    Expr::Wildcard(datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty()),
                );
                *value = over.value(taken, *place);
            }
        }
    }
    Ok((query, over.typed.into_iter().collect()))
}

pub(super) fn with_types(mut parameters: Vec<DataType>, typed: &HashMap<String, DataType>) -> Vec<DataType> {
    for (number, parameter) in (1..).zip(&mut parameters) {
        // One that stands elsewhere too has the type that it needs there.
        if *parameter == DataType::Utf8
            && let Some(data_type) = typed.get(&format!("${number}"))
        {
            parameter.clone_from(data_type);
        }
    }
    parameters
}

/// For each column of the table, which column of the query it takes.
pub(super) fn places_of(schema: &SchemaRef, columns: &[Ident], given: usize) -> Result<Vec<Option<usize>>, Error> {
    let wanted = if columns.is_empty() { schema.fields().len() } else { columns.len() };
    if wanted != given {
        return Err(fault::invalid(format!(
            "{given} columns are inserted into {wanted}: list the columns that are meant"
        )));
    }
    if columns.is_empty() {
        return Ok((0..given).map(Some).collect());
    }
    let mut from = vec![None; schema.fields().len()];
    for (index, column) in columns.iter().enumerate() {
        let at = position(schema, column);
        let at = at.ok_or_else(|| fault::invalid(format!("the table has no column `{}`", column.value)))?;
        if from[at].replace(index).is_some() {
            return Err(fault::invalid(format!("column `{}` is listed twice", column.value)));
        }
    }
    Ok(from)
}

/// Pushes a query's rows. `from`: see [`fit`]; `None`: column by column.
pub(super) async fn fill(
    change: &mut Change,
    mut rows: QueryStream,
    from: Option<&[Option<usize>]>,
) -> Result<u64, Error> {
    let schema = Arc::clone(change.schema());
    let all: Vec<Option<usize>> = (0..schema.fields().len()).map(Some).collect();
    let mut count = 0;
    while let Some(batch) = rows.batches.next().await {
        let batch = fit(&batch?, &schema, from.unwrap_or(&all))?;
        change.push(&batch).await.map_err(told)?;
        count += batch.num_rows() as u64;
    }
    Ok(count)
}

/// The parameters of `VALUES ($2, $1)`, as places in a row of values; `None` for another query.
pub(super) fn only_parameters(query: &Query) -> Option<Vec<usize>> {
    let is_plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    let SetExpr::Values(values) = query.body.as_ref() else { return None };
    let [row] = values.rows.as_slice() else { return None };
    let place = |value: &Expr| match value {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    };
    row.content.iter().map(place).collect::<Option<Vec<_>>>().filter(|_| is_plain)
}

/// Pushes rows of values without planning each of them.
pub(super) async fn push_values(
    change: &mut Change,
    order: &[usize],
    rows: &[&[ScalarValue]],
    from: &[Option<usize>],
) -> Result<u64, Error> {
    let schema = Arc::clone(change.schema());
    let wanted = order.iter().max().map_or(0, |last| last + 1);
    if let Some(row) = rows.iter().find(|row| row.len() != wanted) {
        return Err(fault::invalid(format!("the statement has {wanted} parameters, {} values were given", row.len())));
    }
    let mut count = 0;
    for some in rows.chunks(VALUES_AT_ONCE) {
        let columns = order.iter().enumerate().map(|(number, place)| {
            let values = ScalarValue::iter_to_array(some.iter().filter_map(|row| row.get(*place)).cloned());
            let values = values.map_err(|_| fault::invalid("values of one parameter have different types"))?;
            Ok((format!("column{number}"), values))
        });
        let batch = RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>, Error>>()?).map_err(|_| broken())?;
        change.push(&fit(&batch, &schema, from)?).await.map_err(told)?;
        count += batch.num_rows() as u64;
    }
    Ok(count)
}

/// Commits where all went well, and throws everything away where not.
pub(super) async fn finished(change: Change, doing: Doing, done: Result<u64, Error>) -> Result<u64, Error> {
    match done {
        Ok(rows) => {
            // From here on it goes to its end, whether anybody waits for the answer or not.
            let committing = tokio::spawn(async move { change.commit(doing).await });
            committing.await.map_err(|_| broken())??;
            Ok(rows)
        }
        Err(error) => {
            change.abandon().await;
            Err(error)
        }
    }
}

/// Marks and pushes what a rewritten statement answers; tells how many rows it concerned.
pub(super) async fn carry_out(change: &mut Change, mut rows: QueryStream, act: &Act) -> Result<u64, Error> {
    let schema = Arc::clone(change.schema());
    let before = if matches!(act, Act::Merge { .. }) { PLACES_AND_CLAUSES } else { PLACES };
    let from: Vec<Option<usize>> = (0..schema.fields().len()).map(|column| Some(column + before)).collect();
    let mut count = 0;
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        let places = numbers(&batch, 0)?;
        let clauses = if before == PLACES_AND_CLAUSES { Some(numbers(&batch, 1)?) } else { None };
        let mut written = vec![false; batch.num_rows()];
        for (row, written) in written.iter_mut().enumerate() {
            let deletes = match act {
                Act::Delete => true,
                Act::Update => false,
                Act::Merge { deletes, .. } => {
                    clauses.as_ref().is_some_and(|clauses| deletes.contains(&clauses.value(row)))
                }
            };
            let is_there = places.is_valid(row);
            if is_there && !change.mark(places.value(row)) {
                if matches!(act, Act::Delete | Act::Merge { twice: true, .. }) {
                    continue;
                }
                return Err(Error::Value {
                    message: "several rows of the source meet one row of the table: say which of them counts"
                        .to_owned(),
                });
            }
            count += 1;
            *written = !deletes;
        }
        if written.iter().any(|written| *written) {
            let mask = arrow::array::BooleanArray::from(written);
            let new = arrow::compute::filter_record_batch(&batch, &mask).map_err(|_| broken())?;
            change.push(&fit(&new, &schema, &from)?).await.map_err(told)?;
        }
    }
    Ok(count)
}

pub(super) fn numbers(batch: &RecordBatch, column: usize) -> Result<arrow::array::Int64Array, Error> {
    let numbers = batch.columns().get(column).and_then(|column| column.as_primitive_opt::<Int64Type>());
    numbers.cloned().ok_or_else(broken)
}

pub(super) fn broken() -> Error {
    Error::Execution { message: "the statement ended in the middle of its work".to_owned() }
}

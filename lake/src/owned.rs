//! The SQL condition that says which rows of a shared table a writing may delete.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    datatypes::{Schema, SchemaRef},
};
use datafusion::{common::DFSchema, physical_plan::PhysicalExpr, prelude::SessionContext};

use crate::{Error, Sessions};

#[derive(Debug)]
pub(crate) struct Owned {
    condition: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

impl Owned {
    /// Reads the condition against the table's columns. Names are taken as they are written, in either case.
    pub(crate) fn new(sessions: &Sessions, condition: &str, table: &Schema) -> Result<Self, Error> {
        let config = sessions.config().set_bool("datafusion.sql_parser.enable_ident_normalization", false);
        let session = SessionContext::new_with_config_rt(config, sessions.runtime());
        let whole = DFSchema::try_from(table.clone())?;
        let expression = session.parse_sql_expr(condition, &whole)?;
        let names: Vec<&str> = expression.column_refs().into_iter().map(|column| column.name.as_str()).collect();
        let indices: Vec<usize> =
            (0..table.fields().len()).filter(|index| names.contains(&table.field(*index).name().as_str())).collect();
        let schema = Arc::new(table.project(&indices).map_err(Error::arrow)?);
        let narrow = DFSchema::try_from(Arc::clone(&schema))?;
        let condition = session.create_physical_expr(expression, &narrow)?;
        Ok(Self { condition, schema })
    }

    /// Names of the columns that the condition reads.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// Which rows it holds for; unknown is no.
    pub(crate) fn holds(&self, batch: &RecordBatch) -> Result<BooleanArray, Error> {
        let indices = self.columns().map(|name| batch.schema_ref().index_of(name)).collect::<Result<Vec<_>, _>>();
        let narrow = indices.and_then(|indices| batch.project(&indices)).map_err(Error::arrow)?;
        let values = self.condition.evaluate(&narrow)?.into_array(batch.num_rows())?;
        let Some(values) = values.as_boolean_opt() else {
            return Err(Error::Query(datafusion::error::DataFusionError::Plan(
                "the condition that says which rows may be deleted is neither true nor false".to_owned(),
            )));
        };
        Ok((0..values.len()).map(|row| Some(values.is_valid(row) && values.value(row))).collect())
    }
}

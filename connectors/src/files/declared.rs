//! Columns as somebody declared them: names, types and comments beside what the files themselves say.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::{DataType, Field, Schema},
};

use crate::{Error, SourceColumn, frame};

/// A declared column.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredColumn {
    pub(crate) name: String,
    /// `None`: as the files have it.
    pub(crate) data_type: Option<DataType>,
    pub(crate) source_type: String,
    pub(crate) comment: Option<String>,
}

/// The declared columns of a table; columns that files have beside them come after them. Names are matched whatever their
/// case: Hive knows only lower-case ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    pub(crate) columns: Vec<DeclaredColumn>,
}

impl Declared {
    fn find(&self, name: &str) -> Option<&DeclaredColumn> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The columns of the table: the declared ones, and those that only files have.
    pub(super) fn describe(&self, found: Vec<SourceColumn>) -> Vec<SourceColumn> {
        let of_files = |name: &str| found.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        let mut columns: Vec<SourceColumn> = self
            .columns
            .iter()
            .map(|declared| SourceColumn {
                name: declared.name.clone(),
                data_type: declared
                    .data_type
                    .clone()
                    .or_else(|| of_files(&declared.name).map(|column| column.data_type.clone()))
                    .unwrap_or(DataType::Utf8),
                nullable: true,
                source_type: declared.source_type.clone(),
                comment: declared.comment.clone(),
            })
            .collect();
        columns.extend(found.into_iter().filter(|column| self.find(&column.name).is_none()));
        columns
    }

    /// Rows of a file with the declared names and types; a column that the file does not have is NULL.
    pub(super) fn conform(&self, batch: &RecordBatch, file: &str) -> Result<RecordBatch, Error> {
        let schema = batch.schema();
        let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for declared in &self.columns {
            let at = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(&declared.name));
            let column = match (at, &declared.data_type) {
                (Some(at), None) => Arc::clone(batch.column(at)),
                (Some(at), Some(data_type)) => {
                    frame::cast(batch.column(at), data_type).map_err(|_| Error::Malformed {
                        place: format!("file `{file}`"),
                        reason: format!(
                            "column `{}` is {} there and holds a value that is no {}, as it is declared",
                            declared.name,
                            schema.field(at).data_type(),
                            declared.source_type
                        ),
                    })?
                }
                // Nothing is known of a nested column that only other files have.
                (None, None) => continue,
                (None, Some(data_type)) => new_null_array(data_type, batch.num_rows()),
            };
            fields.push(Field::new(&declared.name, column.data_type().clone(), true));
            columns.push(column);
        }
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if self.find(field.name()).is_none() {
                fields.push(field.as_ref().clone());
                columns.push(Arc::clone(column));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| Error::Malformed { place: format!("file `{file}`"), reason: error.to_string() })
    }
}

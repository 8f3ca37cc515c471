//! Columns of a table taken over in place: what the files call them, what the table does, and Delta's own words for both.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake_core::{DeltaTable, kernel::StructType};
use mavis_types::{TableName, normalize_name};
use serde_json::{Value, json};

use super::{InPlaceSpec, footer::Footer};
use crate::{
    Error,
    columns::{self, is_lake_column, with_lake_columns},
    create::to_kernel,
};

/// The lake's columns that are the same for all rows of a file.
pub(super) const OF_A_FILE: [&str; 3] = [columns::RUN, columns::INGESTED_AT, columns::SOURCE];
const PHYSICAL: &str = "delta.columnMapping.physicalName";
const ID: &str = "delta.columnMapping.id";
pub(super) const MODE: &str = "delta.columnMapping.mode";
pub(super) const LAST_ID: &str = "delta.columnMapping.maxColumnId";

/// A column that the files have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) in_files: String,
    pub(crate) name: String,
    pub(crate) data_type: DataType,
}

/// The columns of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    pub(crate) own: Vec<Column>,
    /// Columns with one value per file: folders, then the lake's.
    pub(crate) of_a_file: Vec<(String, DataType)>,
    /// Whether Delta maps their names.
    pub(crate) mapped: bool,
}

fn refused(table: &TableName, reason: String) -> Error {
    Error::InPlace { table: table.clone(), reason }
}

/// What to do instead, said at the end of each refusal.
const COPY: &str = "declare the source with `\"take_over\": \"copy\"` to have the rows copied and converted";

impl Columns {
    /// Those of a table that is there; `None` where it was not taken over in place.
    pub(crate) fn of(table: &DeltaTable) -> Result<Self, Error> {
        let snapshot = table.snapshot()?;
        let metadata = snapshot.metadata();
        let partitions = metadata.partition_columns();
        let schema = snapshot.snapshot().arrow_schema();
        let names = names_in_files(&snapshot.schema())?;
        let data_type = |name: &str| schema.field_with_name(name).map(|field| field.data_type().clone());
        let own = schema
            .fields()
            .iter()
            .filter(|field| !partitions.contains(field.name()) && !is_lake_column(field.name()))
            .map(|field| Column {
                in_files: names.get(field.name()).unwrap_or(field.name()).clone(),
                name: field.name().clone(),
                data_type: field.data_type().clone(),
            })
            .collect();
        let of_a_file = partitions
            .iter()
            .map(|name| data_type(name).map(|data_type| (name.clone(), data_type)).map_err(Error::arrow))
            .collect::<Result<_, Error>>()?;
        let mapped = metadata.configuration().get(MODE).is_some_and(|mode| mode != "none");
        Ok(Self { own, of_a_file, mapped })
    }

    /// Those that a new table begins with: no column of the files yet.
    pub(super) fn begin(folders: &[(String, DataType)]) -> Self {
        let lake = OF_A_FILE.map(|name| {
            let data_type = if name == columns::INGESTED_AT { columns::instant() } else { DataType::Utf8 };
            (name.to_owned(), data_type)
        });
        Self { own: Vec::new(), of_a_file: folders.iter().cloned().chain(lake).collect(), mapped: false }
    }

    /// Takes in a file's columns: those that are new come after the others. Refuses what would make rows of one table differ
    /// in their types or names. Whether there were new ones.
    pub(super) fn learn(
        &mut self,
        spec: &InPlaceSpec,
        table: &TableName,
        file: &str,
        footer: &Footer,
    ) -> Result<bool, Error> {
        let mut grown = false;
        let refuse = |reason: String| Err(refused(table, format!("file `{file}`: {reason}; {COPY}")));
        for (name, found) in &footer.columns {
            if spec.held.iter().any(|held| held.eq_ignore_ascii_case(name)) {
                continue;
            }
            let data_type = match found {
                Ok(data_type) => data_type,
                Err(reason) => return refuse(format!("column `{name}` {reason}")),
            };
            if let Some(known) = self.own.iter().find(|column| column.in_files.eq_ignore_ascii_case(name)) {
                if known.in_files != *name {
                    return refuse(format!("it calls a column `{name}` that other files call `{}`", known.in_files));
                }
                if known.data_type != *data_type {
                    let other = &known.data_type;
                    return refuse(format!("column `{name}` is {data_type} there and {other} in other files"));
                }
                continue;
            }
            let declared = spec.names.iter().find(|(in_files, _)| in_files.eq_ignore_ascii_case(name));
            let mut own_name = declared.map_or_else(|| normalize_name(name), |(_, own)| own.clone());
            if self.of_a_file.iter().any(|(folder, _)| *folder == own_name) {
                return refuse(format!("it has a column `{name}`, and so has its folder's name"));
            }
            if is_lake_column(&own_name) || is_lake_column(name) {
                return refuse(format!("it has a column `{name}`, which is a name of Mavis's own"));
            }
            let base = own_name.clone();
            let mut number = 2;
            while self.own.iter().any(|column| column.name == own_name) {
                own_name = format!("{base}_{number}");
                number += 1;
            }
            if let Some((_, wanted)) = spec.declared.iter().find(|(declared, _)| *declared == own_name)
                && !data_type.is_nested()
                && !same_values(wanted, data_type)
            {
                return refuse(format!("column `{name}` is {data_type} there, and declared as {wanted}"));
            }
            self.own.push(Column { in_files: name.clone(), name: own_name, data_type: data_type.clone() });
            grown = true;
        }
        Ok(grown)
    }

    /// Takes in columns that were declared and that no file has yet: they are null.
    pub(super) fn declare(&mut self, spec: &InPlaceSpec) {
        for (_, name) in &spec.names {
            let known = self.own.iter().any(|column| column.name == *name)
                || self.of_a_file.iter().any(|(folder, _)| folder == name);
            let declared = spec.declared.iter().find(|(declared, _)| declared == name);
            if let Some((_, data_type)) = declared.filter(|(_, data_type)| !known && !data_type.is_nested()) {
                let data_type = crate::evolve::storable(data_type);
                self.own.push(Column { in_files: name.clone(), name: name.clone(), data_type });
            }
        }
    }

    /// Puts the columns in the order in which they were declared; for a table that is not there yet.
    pub(super) fn order(&mut self, spec: &InPlaceSpec) {
        let place =
            |column: &Column| spec.names.iter().position(|(_, name)| *name == column.name).unwrap_or(usize::MAX);
        self.own.sort_by_key(place);
        self.mapped = self.own.iter().any(|column| column.in_files != column.name);
    }

    /// The whole table's.
    pub(super) fn schema(&self, keyless: bool) -> SchemaRef {
        let own = self.own.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let folders = self.of_a_file.iter().filter(|(name, _)| !is_lake_column(name));
        let folders = folders.map(|(name, data_type)| Field::new(name, data_type.clone(), true));
        std::sync::Arc::new(with_lake_columns(&Schema::new(own.chain(folders).collect::<Vec<_>>()), keyless))
    }

    /// The columns that a file of the table has, as it calls them, in the table's types.
    pub(crate) fn in_files(&self) -> SchemaRef {
        let fields = self.own.iter().map(|column| Field::new(&column.in_files, column.data_type.clone(), true));
        std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Delta's schema of a new table, and the number of the last column where names are mapped.
    pub(super) fn to_delta(&self, keyless: bool) -> Result<(StructType, i64), Error> {
        let mut schema = json_of(&to_kernel(&self.schema(keyless))?)?;
        let mut last = 0;
        if self.mapped {
            number(&mut schema, &mut last);
            for column in &self.own {
                if let Some(field) = field_of(&mut schema, &column.name) {
                    field["metadata"][PHYSICAL] = json!(column.in_files);
                }
            }
        }
        Ok((from_json(schema)?, last))
    }

    /// Delta's schema of a table that is there, with the columns that it lacks before those with one value per file.
    pub(super) fn grown(&self, table: &DeltaTable) -> Result<(StructType, i64), Error> {
        let snapshot = table.snapshot()?;
        let mut schema = json_of(&snapshot.schema())?;
        let last = snapshot.metadata().configuration().get(LAST_ID).and_then(|id| id.parse().ok());
        let mut last: i64 = last.unwrap_or_default();
        let known: Vec<String> = snapshot.schema().fields().map(|field| field.name().clone()).collect();
        let new: Vec<&Column> = self.own.iter().filter(|column| !known.contains(&column.name)).collect();
        let fields: Vec<Field> =
            new.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
        let mut added = json_of(&to_kernel(&Schema::new(fields))?)?;
        if self.mapped {
            number(&mut added, &mut last);
            for column in &new {
                if let Some(field) = field_of(&mut added, &column.name) {
                    field["metadata"][PHYSICAL] = json!(column.in_files);
                }
            }
        }
        let added = added["fields"].as_array().cloned().unwrap_or_default();
        if let Some(fields) = schema["fields"].as_array_mut() {
            let is_last = |field: &Value| {
                let name = field["name"].as_str().unwrap_or_default();
                is_lake_column(name) || self.of_a_file.iter().any(|(folder, _)| folder == name)
            };
            let at = fields.iter().position(is_last).unwrap_or(fields.len());
            fields.splice(at..at, added);
        }
        Ok((from_json(schema)?, last))
    }

    /// # Errors
    /// Where a new column would have to be mapped in a table whose names are not.
    pub(super) fn check_mapping(&self, table: &TableName) -> Result<(), Error> {
        match self.own.iter().find(|column| column.in_files != column.name) {
            Some(column) if !self.mapped => Err(refused(
                table,
                format!(
                    "new files have a column `{}`, which would be `{}` here, and names of this table are not mapped; declare the \
                     tree as another source, or {COPY}",
                    column.in_files, column.name
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether values of a column of files are what was declared: the same type, or whole numbers of another width.
fn same_values(declared: &DataType, found: &DataType) -> bool {
    let whole = |data_type: &DataType| {
        matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
    };
    crate::evolve::storable(declared) == *found || (whole(declared) && whole(found))
}

fn json_of(schema: &StructType) -> Result<Value, Error> {
    serde_json::to_value(schema).map_err(|error| Error::store("describing a table's columns", &error))
}

fn from_json(schema: Value) -> Result<StructType, Error> {
    serde_json::from_value(schema).map_err(|error| Error::store("describing a table's columns", &error))
}

fn field_of<'a>(schema: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    schema["fields"].as_array_mut()?.iter_mut().find(|field| field["name"] == name)
}

/// Gives each field, at any depth, a number and its own name as the name in files.
fn number(data_type: &mut Value, last: &mut i64) {
    match data_type["type"].as_str() {
        Some("struct") => {
            for field in data_type["fields"].as_array_mut().into_iter().flatten() {
                *last += 1;
                let name = field["name"].clone();
                if !field["metadata"].is_object() {
                    field["metadata"] = json!({});
                }
                field["metadata"][ID] = json!(*last);
                field["metadata"][PHYSICAL] = name;
                number(&mut field["type"], last);
            }
        }
        Some("array") => number(&mut data_type["elementType"], last),
        Some("map") => {
            number(&mut data_type["keyType"], last);
            number(&mut data_type["valueType"], last);
        }
        _ => {}
    }
}

fn names_in_files(schema: &StructType) -> Result<HashMap<String, String>, Error> {
    let schema = json_of(schema)?;
    let fields = schema["fields"].as_array().into_iter().flatten();
    Ok(fields
        .filter_map(|field| {
            let physical = field["metadata"][PHYSICAL].as_str()?;
            Some((field["name"].as_str()?.to_owned(), physical.to_owned()))
        })
        .collect())
}

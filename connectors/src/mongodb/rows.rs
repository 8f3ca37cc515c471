//! Documents as rows.

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value};

use super::value;
use crate::{
    SourceColumn,
    json::{Rows, Shape},
};

/// The column with the whole document.
pub(super) const DOCUMENT: &str = "document";

/// A field as a column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) shape: Shape,
    /// What MongoDB calls its type; empty where several are.
    pub(super) bson_type: String,
}

impl Column {
    pub(super) fn describe(&self) -> SourceColumn {
        SourceColumn {
            name: self.name.clone(),
            data_type: self.shape.data_type(),
            nullable: self.name != "_id",
            source_type: self.bson_type.clone(),
            comment: (self.name == DOCUMENT).then(|| "the whole document as Extended JSON".to_owned()),
        }
    }
}

/// The columns that documents show, `_id` first and the whole document last.
pub(super) fn learn(documents: &[Document]) -> Vec<Column> {
    let mut columns = vec![Column { name: "_id".to_owned(), shape: Shape::Null, bson_type: String::new() }];
    for document in documents {
        for (name, bson) in document {
            let (shape, word) = (Shape::of(&value::cell(bson).to_string()), value::type_name(bson));
            match columns.iter_mut().find(|column| column.name == *name) {
                Some(known) => {
                    known.shape = known.shape.and(shape);
                    if known.bson_type.is_empty() || known.bson_type == "null" {
                        known.bson_type = word.to_owned();
                    } else if word != "null" && known.bson_type != word {
                        known.bson_type = "mixed".to_owned();
                    }
                }
                None if name == DOCUMENT || name.is_empty() => {}
                None => columns.push(Column { name: name.clone(), shape, bson_type: word.to_owned() }),
            }
        }
    }
    columns.push(Column { name: DOCUMENT.to_owned(), shape: Shape::Text, bson_type: "document".to_owned() });
    columns
}

/// Rows of these columns.
pub(super) fn rows(columns: &[Column]) -> Rows {
    let shapes: Vec<(String, Shape)> = columns.iter().map(|column| (column.name.clone(), column.shape)).collect();
    Rows::new(&shapes)
}

/// A document as the object that a row is made of. A field called `document`, or nothing, stands in the whole document only.
pub(super) fn row(document: &Document, whole: &str) -> String {
    let mut members: Map<String, Value> = document
        .iter()
        .filter(|(name, _)| !name.is_empty() && name.as_str() != DOCUMENT)
        .map(|(name, bson)| (name.clone(), value::cell(bson)))
        .collect();
    members.insert(DOCUMENT.to_owned(), Value::String(whole.to_owned()));
    Value::Object(members).to_string()
}

/// The `_id` as its column has it.
pub(super) fn key(id: &Bson) -> Value {
    value::cell(id)
}

//! Statements that change what there is of a table beside its rows.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use mavis_catalog::RightKind;
use mavis_lake::work::Doing;
use mavis_types::{Place, RunId, TableName};

use super::{
    rewrite::position,
    statement::{column_comment, refused},
    target::{may_write, sees_all},
};
use crate::{Error, Session, fault};

use super::rows::finished;

impl Session {
    pub(super) async fn drop(&self, name: &TableName, view: bool, if_exists: bool) -> Result<(), Error> {
        match self.find_target(name).await? {
            None if if_exists => Ok(()),
            None => Err(Error::NoSuchTable { table: name.to_string(), hint: String::new() }),
            Some(table) if table.view.is_some() != view => Err(refused(if view {
                format!("`{name}` is a table: DROP TABLE")
            } else {
                format!("`{name}` is a view: DROP VIEW")
            })),
            Some(table) if view => Ok(self.lake().catalog().remove_table(table.id).await?),
            Some(table) => {
                sees_all(self.principal(), name)?;
                Ok(Box::pin(self.lake().drop_table(table.id, RunId::new())).await?)
            }
        }
    }

    pub(super) async fn rename(&self, name: &TableName, to: &ObjectName, if_exists: bool) -> Result<(), Error> {
        // A name alone stays in the schema of the table.
        let to = match to.0.as_slice() {
            [part] => {
                let key = crate::names::TableKey::read(&ObjectName(vec![part.clone()]), None)?;
                let to = TableName::new(name.zone, &name.schema, key.to_string().to_lowercase());
                may_write(self.principal(), &to)?;
                to
            }
            _ => self.written(to)?,
        };
        let found = self.find_target(name).await?;
        if found.as_ref().is_some_and(|table| table.view.is_none()) {
            // What is granted and what is hidden goes by names: under another one, all of it could be read.
            sees_all(self.principal(), name)?;
            self.hidden_by_name(name).await?;
        }
        match found {
            None if if_exists => Ok(()),
            None => Err(Error::NoSuchTable { table: name.to_string(), hint: String::new() }),
            Some(table) if table.view.is_some() => Ok(self.lake().catalog().rename_table(table.id, &to).await?),
            Some(table) => Ok(Box::pin(self.lake().rename_table(table.id, &to, RunId::new())).await?),
        }
    }

    /// # Errors
    /// [`Error::Refused`] where a filter or a mask of anybody is on the table: it would stay with the old name, and what it
    /// hides could be read under the new one.
    async fn hidden_by_name(&self, name: &TableName) -> Result<(), Error> {
        let on = Place::Table(name.clone());
        let rights = self.lake().catalog().rights().await?;
        let is_hiding = |kind: &RightKind| matches!(kind, RightKind::Filter { .. } | RightKind::Mask { .. });
        if rights.iter().any(|right| right.on == on && is_hiding(&right.kind)) {
            return Err(refused(format!(
                "row policies or masks are on `{name}`, and they go by its name: drop them, rename it, and create them anew"
            )));
        }
        Ok(())
    }

    pub(super) async fn add_columns(
        &self,
        name: &TableName,
        columns: Vec<(datafusion::sql::sqlparser::ast::ColumnDef, bool)>,
        if_exists: bool,
    ) -> Result<(), Error> {
        if if_exists && self.find_target(name).await?.is_none() {
            return Ok(());
        }
        let table = self.target(name).await?;
        let mut change = self.lake().change(table.id, RunId::new()).await?;
        let widened = async {
            let mut fields: Vec<_> = change.schema().fields().iter().cloned().collect();
            let mut comments = Vec::new();
            for (column, if_not_exists) in columns {
                let text = column.name.value.clone();
                let is_there = fields.iter().any(|field| field.name().to_lowercase() == text.to_lowercase());
                if is_there && if_not_exists {
                    continue;
                }
                if is_there {
                    return Err(fault::invalid(format!("table `{name}` has a column `{text}` already")));
                }
                comments.push((text.clone(), column_comment(&column)?));
                let added = self.listed(vec![column])?;
                if !added.field(0).is_nullable() {
                    return Err(fault::invalid(format!(
                        "column `{text}` is new: the rows that there are have nulls in it"
                    )));
                }
                fields.extend(added.fields().iter().cloned());
            }
            Ok((Arc::new(Schema::new(fields)), comments))
        };
        let (widened, comments) = match widened.await {
            Ok((schema, comments)) => {
                change.widen(&schema);
                (Ok(0), comments)
            }
            Err(error) => (Err(error), Vec::new()),
        };
        finished(change, Doing::Alter, widened).await?;
        self.say(name, comments).await
    }

    pub(super) async fn comment(
        &self,
        name: &TableName,
        column: Option<Ident>,
        comment: Option<String>,
        if_exists: bool,
    ) -> Result<(), Error> {
        let Some(table) = self.find_target(name).await? else {
            return if if_exists {
                Ok(())
            } else {
                Err(Error::NoSuchTable { table: name.to_string(), hint: String::new() })
            };
        };
        let column = match column {
            None => None,
            Some(ident) => {
                let columns = crate::catalogs::schema_of(&self.lake().catalog().columns(table.id).await?)?;
                let at = position(&columns, &ident);
                let at = at.ok_or_else(|| fault::invalid(format!("table `{name}` has no column `{}`", ident.value)))?;
                Some(columns.field(at).name().clone())
            }
        };
        Ok(self.lake().catalog().comment(table.id, column.as_deref(), comment.as_deref()).await?)
    }

    /// Notes comments of columns.
    pub(super) async fn say(&self, name: &TableName, comments: Vec<(String, Option<String>)>) -> Result<(), Error> {
        let Some(table) = self.find_target(name).await? else { return Ok(()) };
        for (column, comment) in comments {
            if comment.is_some() {
                self.lake().catalog().comment(table.id, Some(&column), comment.as_deref()).await?;
            }
        }
        Ok(())
    }
}

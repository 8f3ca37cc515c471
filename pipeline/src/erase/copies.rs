//! What analysts copied. Tables of `work` are theirs, so nothing is taken out of them; that rows of the person stand there
//! is said.

use datafusion::prelude::{Expr, SessionContext, lit};
use mavis_catalog::{Column, Table};
use mavis_types::Zone;

use super::{Found, Running};
use crate::failure::Failure;

const SESSION_BYTES: usize = 256 << 20;

/// Names, in words, the tables of `work` in which a column that is called like a patient's id holds one of these ids.
pub(super) async fn copies(
    running: &Running,
    patient: &str,
    found: &Found,
    told: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut ids: Vec<String> = vec![patient.to_owned(), format!("Patient/{patient}")];
    ids.extend(found.ids.values().flatten().cloned());
    let tables = running.catalog().tables(Some(Zone::Work), None, None, None).await?;
    for table in tables.into_iter().filter(|table| table.version.is_some()) {
        let columns = running.catalog().columns(table.id).await?;
        let columns: Vec<Column> = columns.into_iter().filter(names_patients).collect();
        match holds(running, &table, &columns, &ids).await {
            Ok(None) => {}
            Ok(Some(column)) => told.push(format!(
                "rows of `{}`, a copy that an analyst made: column `{column}` holds an id of the person; delete them there, \
                 drop older versions with the table",
                table.name
            )),
            Err(_) => told.push(format!("`{}`, a table of an analyst, could not be read", table.name)),
        }
    }
    Ok(())
}

/// Text columns that could hold a patient's id.
fn names_patients(column: &Column) -> bool {
    let name = column.name.to_lowercase();
    column.data_type == "Utf8"
        && (name == "id" || name.ends_with("_id") || name.contains("patient") || name == "subject")
}

/// The first of the columns that holds one of the ids.
async fn holds(
    running: &Running,
    table: &Table,
    columns: &[Column],
    ids: &[String],
) -> Result<Option<String>, Failure> {
    if columns.is_empty() {
        return Ok(None);
    }
    let provider = running.lake().provider(table.id, None).await?;
    let session: SessionContext = running.lake().sessions().session(SESSION_BYTES);
    for column in columns {
        let ids: Vec<Expr> = ids.iter().map(lit).collect();
        let is = datafusion::prelude::ident(&column.name).in_list(ids, false);
        let rows = session.read_table(provider.clone())?.filter(is)?.limit(0, Some(1))?.count().await?;
        if rows > 0 {
            return Ok(Some(column.name.clone()));
        }
    }
    Ok(None)
}

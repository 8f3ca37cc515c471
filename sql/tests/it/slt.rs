use std::path::Path;

use async_trait::async_trait;
use mavis_sql::{Engine, Error};
use mavis_types::Principal;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::fixture::{Fixture, batches};

/// Answers sqllogictest files: as the administrator, or as the reader in files that start with `reader_`.
struct Door {
    engine: Engine,
    who: Principal,
}

#[async_trait]
impl AsyncDB for Door {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let session = self.engine.session(&self.who, None).await?;
        if session.prepare(sql).await?.command.is_some() {
            return Ok(DBOutput::StatementComplete(session.execute(sql, &[], None).await?.rows));
        }
        let stream = session.query(sql, &[], None).await?;
        let types = stream.schema.fields().iter().map(|field| {
            if field.data_type().is_integer() {
                DefaultColumnType::Integer
            } else if field.data_type().is_numeric() {
                DefaultColumnType::FloatingPoint
            } else {
                DefaultColumnType::Text
            }
        });
        let types = types.collect();
        let mut rows = Vec::new();
        for batch in batches(stream).await? {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| {
                    if column.is_null(row) {
                        return "NULL".to_owned();
                    }
                    let text = arrow::util::display::array_value_to_string(column, row).unwrap();
                    if text.is_empty() { "(empty)".to_owned() } else { text }
                });
                rows.push(cells.collect());
            }
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_slt_holds() {
    let lake = Fixture::new().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let is_reader = file.file_name().unwrap().to_string_lossy().starts_with("reader_");
        let who = if is_reader { &lake.reader } else { &lake.admin };
        let mut runner = Runner::new(|| async { Ok(Door { engine: lake.engine.clone(), who: who.clone() }) });
        runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{}", error.display(false)));
    }
}

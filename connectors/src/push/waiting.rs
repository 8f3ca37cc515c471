//! What stays in an inbox: uploads that wait to land, those that have landed, and what broken ones left.

use std::{
    fs::{self, File},
    io::BufReader,
    path::Path,
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    ipc::reader::FileReader,
};
use mavis_types::Cursor;

use super::{
    Inbox,
    inbox::{begin, delete_through, failed, file_name, numbers, unwritten},
};
use crate::{Error, reading::aside};

impl Inbox {
    /// The folders of tables, also of those that are no longer declared.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the disk does not answer.
    pub async fn sent(&self) -> Result<Vec<String>, Error> {
        let folder = self.folder.clone();
        aside("the inbox", move || {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(|error| failed("reading the inbox", &error))?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|error| failed("reading the inbox", &error))?;
                if entry.path().is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
            names.sort();
            Ok(names)
        })
        .await
    }

    /// Deletes what has landed by a committed cursor, and answers the numbers of the uploads that wait.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a cursor of another connector, or where the disk does not answer.
    pub async fn waiting(&self, table: &str, cursor: Option<&Cursor>) -> Result<Vec<u64>, Error> {
        let last = self.landed(cursor)?;
        let folder = self.folder.join(table);
        aside(table, move || {
            delete_through(&folder, last)?;
            numbers(&folder)
        })
        .await
    }

    /// Takes the rows for which `goes` is true out of an upload that waits; it keeps its number. Answers how many went, and
    /// how many are left. `None`: there is no such upload any more.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file that cannot be read or written; `goes`'s own.
    pub async fn take_out(
        &self,
        table: &str,
        number: u64,
        goes: impl Fn(&RecordBatch) -> Result<BooleanArray, Error> + Send + 'static,
    ) -> Result<Option<(u64, u64)>, Error> {
        let folder = self.folder.join(table);
        aside(table, move || rewrite(&folder, number, goes)).await
    }

    /// Deletes what uploads left that broke off. Nobody may be sending.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the disk does not answer.
    pub async fn tidy(&self) -> Result<(), Error> {
        for table in self.sent().await? {
            let folder = self.folder.join(&table);
            aside(&table, move || {
                let entries = fs::read_dir(&folder).map_err(|error| failed("reading the inbox", &error))?;
                for entry in entries {
                    let entry = entry.map_err(|error| failed("reading the inbox", &error))?;
                    if is_part(&entry.file_name()) {
                        let removed = fs::remove_file(entry.path());
                        removed.map_err(|error| failed("deleting what an upload left", &error))?;
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Deletes the inbox with everything in it: its source was removed.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the disk does not answer.
    pub async fn delete(&self) -> Result<(), Error> {
        let folder = self.folder.clone();
        aside("the inbox", move || match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("deleting the inbox of a removed source", &error))
            }
            _ => Ok(()),
        })
        .await
    }
}

/// Whether a file of a table's folder is one that never became whole.
fn is_part(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("part-") || name.contains(".part-"))
}

/// An upload without the rows that go: in its place, and on the disk, when this returns. Who has it open reads on in the old one.
fn rewrite(
    folder: &Path,
    number: u64,
    goes: impl Fn(&RecordBatch) -> Result<BooleanArray, Error>,
) -> Result<Option<(u64, u64)>, Error> {
    let path = folder.join(file_name(number));
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| failed("reading an upload", &error))?,
    };
    let broken = |_| Error::Malformed { place: "an upload".to_owned(), reason: "its file cannot be read".to_owned() };
    let reader = FileReader::try_new(BufReader::new(file), None).map_err(broken)?;
    let mut part = begin(folder, &reader.schema())?;
    let outcome = (|| -> Result<_, Error> {
        let (mut gone, mut left) = (0, 0);
        for batch in reader {
            let batch = batch.map_err(broken)?;
            let stays = arrow::compute::not(&goes(&batch)?).map_err(broken)?;
            let kept = arrow::compute::filter_record_batch(&batch, &stays).map_err(broken)?;
            gone += (batch.num_rows() - kept.num_rows()) as u64;
            left += kept.num_rows() as u64;
            part.writer.write(&kept).map_err(unwritten)?;
        }
        if gone > 0 {
            let stored = |error: std::io::Error| failed("storing an upload", &error);
            part.store()?;
            fs::rename(&part.path, &path).map_err(stored)?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(stored)?;
        }
        Ok(Some((gone, left)))
    })();
    if !matches!(outcome, Ok(Some((1.., _)))) {
        drop(fs::remove_file(&part.path));
    }
    outcome
}

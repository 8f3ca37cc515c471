//! CSV with a line of names, as files have it.

use serde_json::{Map, Value};

use super::{Each, Item, Passed, broken, cut, malformed};
use crate::{
    Error,
    files::{
        head::head_of,
        records::Records,
        text::{decode, lines_of, not_text},
    },
    http::table::Table,
    objects::{FileEntry, Opened, printable},
    reading::Halt,
    web::Answer,
};

pub(super) fn pass(answer: &Answer, table: &Table, each: &mut Each<'_>) -> Result<Passed, Halt> {
    let is_blank = answer.body.beginning(1024).map_err(|error| broken(answer, &error))?.trim_ascii().is_empty();
    if is_blank {
        // No line of names: nothing says that this is the table.
        return Err(malformed(
            answer,
            &format!("table `{}`: the answer is empty, without a line of names", table.name),
        )
        .into());
    }
    let entry = FileEntry {
        path: object_store::path::Path::default(),
        size: answer.body.len(),
        modified: chrono::DateTime::UNIX_EPOCH,
        stamp: String::new(),
        name: format!("answer of `{}`", table.name),
        is_known: true,
    };
    let open = |_: u64| -> Result<Opened, Error> {
        let reader = answer.body.open().map_err(|error| broken(answer, &error))?;
        Ok(Opened { reader: Box::new(reader), is_compressed: true })
    };
    let encoding = table.encoding.or_else(|| answer.charset());
    let lines = || lines_of(&open, encoding, &entry, 0, 0);
    let head = head_of(&lines, table.delimiter, table.params.header_row, &entry)
        .map_err(|error| interrupted(answer, error))?;
    let mut records = Records::new(lines()?, head.delimiter, &entry);
    let mut text = String::new();
    while let Some(found) = records.next(Some(head.width())).map_err(|error| interrupted(answer, error))? {
        if found.line <= head.header_line {
            continue;
        }
        let fields = match found.outcome {
            Ok(fields) => fields,
            Err(reason) => {
                each(Item::Bad { reason, payload: printable(&found.raw) })?;
                continue;
            }
        };
        let encoding = records.text.encoding;
        let mut members = Map::new();
        let mut is_text = true;
        for (name, field) in head.names.iter().zip(fields) {
            let value = match field {
                None => Value::Null,
                Some(bytes) => match decode(encoding, &bytes) {
                    Some(text) => Value::String(text),
                    None => {
                        is_text = false;
                        break;
                    }
                },
            };
            members.insert(name.clone(), value);
        }
        if !is_text {
            each(Item::Bad { reason: not_text(encoding), payload: printable(&found.raw) })?;
            continue;
        }
        text.clear();
        text.push_str(&Value::Object(members).to_string());
        each(Item::Record(&text))?;
    }
    Ok(Passed { is_complete: answer.body.has_told_end, ..Passed::default() })
}

/// Compressed data that is cut is worth another try.
fn interrupted(answer: &Answer, error: Error) -> Error {
    match error {
        Error::Malformed { reason, .. } if reason.contains("broken or cut") => {
            cut(answer, "the answer cannot be unpacked")
        }
        other => other,
    }
}

//! A JSON object on each line.

use serde::de::IgnoredAny;

use super::{Each, Item, Passed, broken, cut};
use crate::{
    objects::{Lines, printable},
    reading::Halt,
    web::Answer,
};

/// Whether a text holds a complete JSON value on its first line and more below it.
pub(super) fn holds_lines(start: &[u8]) -> bool {
    let Some(end) = start.iter().position(|byte| *byte == b'\n') else { return false };
    let rest = start[end..].trim_ascii_start();
    serde_json::from_slice::<IgnoredAny>(&start[..end]).is_ok() && rest.starts_with(b"{")
}

pub(super) fn pass(answer: &Answer, each: &mut Each<'_>) -> Result<Passed, Halt> {
    let body = answer.body.open().map_err(|error| broken(answer, &error))?;
    let mut lines = Lines::new(Box::new(body), 0, 0);
    while let Some(line) = lines.next_line().map_err(|error| broken(answer, &error))? {
        let mut bytes = line.bytes.as_slice();
        if line.start == 0 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        // JSON text sequences (RFC 7464) put a mark before each record.
        let bytes = bytes.strip_prefix(b"\x1e").unwrap_or(bytes).trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        let is_json = !line.is_cut && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        match std::str::from_utf8(bytes) {
            Ok(text) if is_json => each(Item::Record(text))?,
            _ if !line.is_terminated => return Err(cut(answer, "the last line ends in the middle").into()),
            _ if line.is_cut => {
                let payload = printable(&bytes[..bytes.len().min(1024)]);
                each(Item::Bad { reason: "the line is longer than 64 MiB".to_owned(), payload })?;
            }
            Ok(text) => each(Item::Bad { reason: "the line is not JSON".to_owned(), payload: text.to_owned() })?,
            Err(_) => {
                let reason = "the line is not valid UTF-8".to_owned();
                each(Item::Bad { reason, payload: printable(bytes) })?;
            }
        }
    }
    Ok(Passed { is_complete: answer.body.has_told_end, ..Passed::default() })
}

//! Secrets in files: one per variable, as Kubernetes mounts a Secret and systemd its credentials.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use crate::{Error, Stage};

/// More than any key has.
const LONGEST: u64 = 64 << 10;

/// The secret of a variable: in the file that is named for it, or in the first folder with a file of its name. A line's end
/// after it is not part of it.
///
/// # Errors
/// A file that is named and cannot be read, or one that is there and cannot; it is said which, never what is in it.
pub(super) fn read(
    named: Option<&PathBuf>,
    folders: &[PathBuf],
    variable: &str,
) -> Result<Option<SecretString>, Error> {
    if let Some(path) = named {
        return match content(path)? {
            Some(secret) => Ok(Some(secret)),
            None => Err(unreadable(
                &path.display().to_string(),
                &format!("there is no such file ({variable}_FILE names it)"),
            )),
        };
    }
    for folder in folders {
        if let Some(secret) = content(&folder.join(variable))? {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}

/// `None`: there is no such file, or it is empty.
fn content(path: &Path) -> Result<Option<SecretString>, Error> {
    let failed = |reason: &str| unreadable(&path.display().to_string(), reason);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error.kind().to_string())),
    };
    let mut text = String::new();
    match file.take(LONGEST + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 > LONGEST => return Err(failed("more than 64 KiB: that is no secret")),
        Ok(_) => {}
        Err(error) => return Err(failed(&error.kind().to_string())),
    }
    let end = text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end);
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

pub(super) fn unreadable(place: &str, reason: &str) -> Error {
    Error::Refused {
        endpoint: place.to_owned(),
        stage: Stage::Secret,
        reason: format!("the secret cannot be read: {reason}"),
    }
}
